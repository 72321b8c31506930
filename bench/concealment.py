"""How good does speech sound to PESQ (ITU-T P.862, P.862.2) when packets of 20 ms are lost at random?

Sentences by espeak-ng go as packets through the worker's own kernels, some do not come, and what the agent got is
compared with what was said. "nothing" puts silence in the gaps: what concealment is worth. Narrow band for 8 kHz, wide band for
16 kHz: the two scales do not compare. Needs the extras `agent` and `bench`.
"""

import asyncio
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from ai_bridge.offline_speech.rate import convert, to_pcm16
from ai_bridge.offline_speech.synthesis import Voice
from bench.frame_cost import best_us, one_call
from control_plane.formats import FORMATS
from media_workers import codecs, concealment, jitter_buffer, libopus
from media_workers.concealment import PAST_SAMPLES
from shm import layout, ring
from shm.jit import njit

LOSSES = (0.0, 0.01, 0.03, 0.05, 0.10)
SEEDS = (1, 2, 3)
VOICES = ("en-us", "en-us+f3", "en-us+m7", "en-us+f5")
SENTENCES = (  # Harvard sentences, list 1 (IEEE, 1969)
    "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background.",
    "It is easy to tell the depth of a well. These days a chicken leg is a rare dish.",
    "Rice is often served in round bowls. The juice of lemons makes fine punch.",
)
LEVEL_DBOV = -26  # ITU-T P.800: active speech
BARS = {"1 %": 3.83, "3 %": 3.39, "5 %": 3.07, "10 %": 2.54}
FIRST_LOST = 8  # a stream that begins with a loss does not know of it
FRAME_NS = 20_000_000
Pcm = npt.NDArray[np.int16]


async def _speak() -> list[tuple[npt.NDArray[np.float64], int]]:
    found = []
    for name in VOICES:
        voice = Voice(name, 150)
        for text in SENTENCES:
            pcm, rate_hz = await voice.speak(text)
            found.append((pcm.astype(np.float64), rate_hz))
        await voice.close()
    return found


def level(speech: npt.NDArray[np.float64], from_hz: int, to_hz: int) -> Pcm:
    converted = convert(speech, from_hz, to_hz)
    return to_pcm16(converted * (32_768 * 10 ** (LEVEL_DBOV / 20) / np.sqrt((converted**2).mean())))


def through(format_name: str, pcm: Pcm, lost: npt.NDArray[np.bool_]) -> Pcm:
    """What the agent gets of `pcm` when these packets do not come."""
    worker, row = one_call(format_name)
    far_end, far_row = one_call(format_name)
    call, talker = worker.calls[row], far_end.calls[far_row]
    frame_samples, ticks = int(call["packet_samples"]), int(call["rtp_clock_hz"]) // 50
    payload_type, packet, cursor = int(call["payload_type"]), worker.own[0]["packet"], 0
    frame, heard, room = np.zeros(1, layout.FRAME), np.zeros(pcm.size, np.int16), np.zeros(2_880, np.int16)
    for n in range(pcm.size // frame_samples):
        room[:frame_samples] = pcm[n * frame_samples : (n + 1) * frame_samples]
        size = codecs.encode(talker, room, frame_samples, packet, 12)
        now_ns = (n + 1) * FRAME_NS
        if not lost[n]:
            jitter_buffer.insert(worker, row, 12, size, payload_type, n, n * ticks, 1, now_ns)
            jitter_buffer.expire(worker, row, now_ns + 5 * FRAME_NS)
        while (following := int(ring.read_at(worker.rings, row, cursor, frame, room))) != cursor:
            cursor, position = following, int(frame[0]["position"])
            heard[position : position + frame_samples] = room[:frame_samples]
    return heard


def with_silence(format_name: str, pcm: Pcm, lost: npt.NDArray[np.bool_]) -> Pcm:
    heard, frame_samples = through(format_name, pcm, np.zeros_like(lost)), FORMATS[format_name].sample_rate_hz // 50
    for n in np.flatnonzero(lost):
        heard[n * frame_samples : (n + 1) * frame_samples] = 0
    return heard


def score(format_name: str, speech: list[tuple[npt.NDArray[np.float64], int]], loss: float, way: Any = through) -> float:
    """The mean over all sentences and seeds."""
    from pesq import pesq  # built from source: not everywhere

    rate_hz, scores = FORMATS[format_name].sample_rate_hz, []
    for index, (said, from_hz) in enumerate(speech):
        pcm = level(said, from_hz, rate_hz)
        for seed in SEEDS if loss else SEEDS[:1]:
            lost = np.random.default_rng(1000 * seed + index).random(pcm.size * 50 // rate_hz + 1) < loss
            lost[:FIRST_LOST] = False
            scores.append(pesq(rate_hz, pcm, _aligned(pcm, way(format_name, pcm, lost), rate_hz), "nb" if rate_hz == 8_000 else "wb"))
    return float(np.mean(scores))


def _aligned(said: Pcm, heard: Pcm, rate_hz: int) -> Pcm:
    """Without the codec's own delay (22 samples of G.722, 6.5 ms of Opus), which would move the losses against the grid of PESQ."""
    most = rate_hz // 50
    spectrum = np.fft.rfft(heard.astype(float), 2 * said.size) * np.conj(np.fft.rfft(said.astype(float), 2 * said.size))
    delay = int(np.fft.irfft(spectrum)[:most].argmax())
    return np.concatenate((heard[delay:], np.zeros(delay, np.int16)))


@njit
def make_up(past, rate_hz, future, samples, made_up, count):
    for _ in range(count):
        concealment.conceal(past, rate_hz, future, samples, made_up, samples)


def cost_us(rate_hz: int) -> float:
    random = np.random.default_rng(1)
    past, future = (random.integers(-8_000, 8_000, size).astype(np.int16) for size in (PAST_SAMPLES, 2_880))
    made_up = np.zeros(2_880, np.int16)
    return best_us(lambda n: make_up(past, rate_hz, future, rate_hz // 50, made_up, max(1, n // 50))) * 50


def answer() -> dict[str, dict[str, float]]:
    speech = asyncio.run(_speak())
    named = {f"{loss:.0%}".replace("%", " %"): loss for loss in LOSSES}
    found = {"PCMU, nothing": {name: score("PCMU", speech, loss, with_silence) for name, loss in named.items()}}
    for format_name in ("PCMU", "G722", *(("OPUS",) if libopus.IS_THERE else ())):
        found[format_name] = {name: score(format_name, speech, loss) for name, loss in named.items()}
    found["bar, PCMU"] = BARS
    found["one lost packet, us"] = {"8 kHz": cost_us(8_000), "16 kHz": cost_us(16_000)}
    return found


def test_concealment(benchmark):
    started = time.monotonic()
    pcm = (8_000 * np.sin(np.arange(80_000) / 20)).astype(np.int16)
    lost = np.random.default_rng(1).random(600) < 0.1
    benchmark.pedantic(through, ("PCMU", pcm, lost), rounds=1)
    assert time.monotonic() > started
