"""Who notices that a caller speaks: the worker's energy, or the Silero network? In noise, at several ratios, and what it costs.

Twelve sentences by espeak-ng in four voices at -26 dBov, with pauses of a second and a half, and a minute of noise alone, over µ-law.
car: brown noise that swells and fades; babble: eight other voices at once; white: as it says. A false start is a talk-spurt that begins
where nobody speaks: a false barge-in. Needs the extras `agent` and `vad`.
"""

import asyncio
import functools
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from ai_bridge.offline_speech.synthesis import Voice
from ai_bridge.silero import MOST_AT_ONCE, Ears, Network
from bench.concealment import SENTENCES, VOICES, level
from control_plane import g711
from media_workers import voice_activity
from shm.layout import FRAME_MS

Pcm = npt.NDArray[np.int16]
RATE_HZ, FRAME = 8_000, 160
PAUSE_S, ALONE_S, LEARN_S = 1.5, 60, 3.0
"""Between sentences; of noise without speech at the end; of noise before anything counts."""
SNRS_DB = (20, 10, 5, 0)
SPEECH_RMS = 32_768 * 10 ** (-26 / 20)
BABBLERS = 8
BATCHES = (1, 8, MOST_AT_ONCE)
ROUNDS = 30


async def _speak(voices: tuple[str, ...], words_per_minute: int) -> list[Pcm]:
    found = []
    for name in voices:
        voice = Voice(name, words_per_minute)
        for text in SENTENCES:
            pcm, rate_hz = await voice.speak(text)
            found.append(level(pcm.astype(np.float64), rate_hz, RATE_HZ))
        await voice.close()
    return found


@functools.cache
def sentences() -> list[Pcm]:
    return asyncio.run(_speak(VOICES, 150))


@functools.cache
def others() -> list[Pcm]:
    return asyncio.run(_speak(("en-us+m3", "en-us+f2", "en-us+m1", "en-us+f4"), 170))


def noise(kind: str, samples: int, seed: int = 7) -> npt.NDArray[np.float64]:
    """With a mean power of one."""
    random = np.random.default_rng(seed)
    if kind == "babble":
        made = np.zeros(samples)
        for n in range(BABBLERS):
            order = random.permutation(len(others()))
            voice = np.concatenate([others()[i] for i in order]).astype(np.float64)
            made += np.roll(np.resize(voice, samples), int(random.integers(voice.size))) * (0.6 + 0.4 * n / BABBLERS)
    else:
        made = random.standard_normal(samples)
    if kind == "car":
        spectrum = np.fft.rfft(made)
        spectrum /= np.maximum(np.fft.rfftfreq(samples, 1 / RATE_HZ), 40.0)  # brown: 6 dB an octave, as rolling tyres
        seconds = np.arange(samples) / RATE_HZ
        made = np.fft.irfft(spectrum, samples) * (1 + 0.5 * np.sin(2 * np.pi * 0.13 * seconds) + 0.25 * np.sin(2 * np.pi * 0.7 * seconds))
    return made / np.sqrt((made**2).mean())


def scene(kind: str, snr_db: float) -> tuple[Pcm, list[tuple[int, int]]]:
    """What the worker decodes, and where each sentence begins and ends: where it is first and last within 30 dB of its mean."""
    at, spans, parts = int(LEARN_S * RATE_HZ), [], [np.zeros(int(LEARN_S * RATE_HZ))]
    for speech in sentences():
        loud = np.flatnonzero(np.abs(speech) > SPEECH_RMS * 10 ** (-30 / 20))
        spans.append((at + int(loud[0]), at + int(loud[-1])))
        parts += [speech.astype(np.float64), np.zeros(int(PAUSE_S * RATE_HZ))]
        at += speech.size + int(PAUSE_S * RATE_HZ)
    clean = np.concatenate([*parts, np.zeros(ALONE_S * RATE_HZ)])
    mixed = clean + noise(kind, clean.size) * SPEECH_RMS * 10 ** (-snr_db / 20)
    pcm = np.clip(np.round(mixed), -32_768, 32_767).astype(np.int16)
    return g711.decode(0, g711.encode(0, pcm)), spans


def by_energy(pcm: Pcm) -> list[tuple[int, int]]:
    """(told, began): the sample at which each talk-spurt was found out, and where it is said to have begun."""
    voice, found, was_speech, since = np.zeros(1, voice_activity.VOICE), [], False, -1
    voice_activity.start(voice[0])
    for at in range(0, pcm.size - FRAME + 1, FRAME):
        is_speech = bool(voice_activity.is_speech(voice[0], voice_activity.level_dbov(pcm[at : at + FRAME], FRAME)))
        since = (at if since < 0 else since) if voice_activity.is_voiced(voice[0]) else -1
        if is_speech and not was_speech:
            found.append((at + FRAME, since))
        was_speech = is_speech
    return found


def by_silero(pcm: Pcm) -> list[tuple[int, int]]:
    ears, found, was_speech = Ears(), [], False
    voice = ears.add(RATE_HZ)
    for at in range(0, pcm.size - FRAME + 1, FRAME):
        if voice.feed(pcm[at : at + FRAME], at):
            ears.judge()
            if voice.heard.is_speech and not was_speech:
                found.append((at + FRAME, voice.heard.started_at))
            was_speech = voice.heard.is_speech
    return found


def judge(found: list[tuple[int, int]], spans: list[tuple[int, int]], samples: int) -> dict[str, float]:
    """Against what was said. A sentence is missed if nothing was found while it lasts; a start within 300 ms after one is its end."""
    slack = RATE_HZ * 3 // 10
    missed, late_ms, offset_ms = 0, [], []
    for begins, ends in spans:
        inside = [(told, began) for told, began in found if begins <= told <= ends + slack]
        before = [told for told, _ in found if begins - slack < told < begins]
        if inside:
            late_ms.append((inside[0][0] - begins) * 1000 / RATE_HZ)
            offset_ms.append((inside[0][1] - begins) * 1000 / RATE_HZ)
        missed += not inside and not before
    false = [told for told, _ in found if told > LEARN_S * RATE_HZ and not any(begins <= told <= ends + slack for begins, ends in spans)]
    silent_s = (samples - sum(ends - begins for begins, ends in spans)) / RATE_HZ - LEARN_S
    return {
        "missed": missed,
        "of": len(spans),
        "false_a_minute": round(len(false) * 60 / silent_s, 2),
        "told_after_ms": round(float(np.median(late_ms)), 1) if late_ms else float("nan"),
        "onset_off_ms": round(float(np.median(offset_ms)), 1) if offset_ms else float("nan"),
    }


def cost_us() -> dict[str, float]:
    """Of a window of 32 ms of one call, by calls in an inference; and of the worker's energy, for 20 ms."""
    found = {}
    for rate_hz in (8_000, 16_000):
        for calls in BATCHES:
            network = Network(rate_hz, calls)
            seats, pcm = [network.add() for _ in range(calls)], np.ones(network.window, np.int16)
            took = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                for seat in seats:
                    network.feed(seat, pcm)
                network.run()
                took.append(time.perf_counter() - began)
            found[f"{rate_hz // 1000} kHz, {calls} at once"] = float(np.median(took)) / calls * 1e6
    voice, frame = np.zeros(1, voice_activity.VOICE), np.ones(FRAME, np.int16)
    began = time.perf_counter()
    for _ in range(2_000):
        voice_activity.is_speech(voice[0], voice_activity.level_dbov(frame, FRAME))
    found[f"energy, {FRAME_MS} ms, called from Python"] = (time.perf_counter() - began) / 2_000 * 1e6
    return found


def measure(kinds: tuple[str, ...] = ("white", "car", "babble"), snrs_db: tuple[int, ...] = SNRS_DB) -> dict[str, Any]:
    results: dict[str, Any] = {"cost_us": cost_us()}
    for kind in kinds:
        for snr_db in snrs_db:
            pcm, spans = scene(kind, snr_db)
            row = {name: judge(ask(pcm), spans, pcm.size) for name, ask in (("energy", by_energy), ("silero", by_silero))}
            results[f"{kind}, {snr_db} dB"] = row
            print(f"  {kind}, {snr_db} dB: {row}", flush=True)
    return results


answer = measure


def test_voice_activity(benchmark):
    found = benchmark.pedantic(measure, (("car",), (10,)), rounds=1)["car, 10 dB"]
    assert found["silero"]["missed"] == 0 and found["silero"]["false_a_minute"] <= found["energy"]["false_a_minute"]


if __name__ == "__main__":
    measure()
