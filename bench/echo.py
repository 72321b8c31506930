"""The caller's speakerphone returns the agent's voice. How often does the agent interrupt itself, and is the caller still heard?

An agent speaks for a minute (espeak-ng, four voices, -23 dBov, over µ-law); it comes back 20 to 200 ms later, 6 to 20 dB softer, with
60 ms of room, through a clean loudspeaker or one that distorts, over a network that is late with each packet by another time. In a
second run the caller speaks over it, -26 dBov. With the guard and without: talk-spurts found where nobody spoke, sentences of the caller's
that were not noticed, how soon they were, and how much softer the echo became (ERLE, from the fifth second on). Needs the extra `agent`.
"""

import itertools
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.voice_activity import others, sentences
from control_plane import g711
from media_workers import echo, voice_activity

RATE_HZ, FRAME, FRAME_NS, BEGIN_NS = 8_000, 160, 20_000_000, 10**15
DELAYS_MS, LOSSES_DB, LOUDSPEAKERS = (20, 80, 200), (6, 12, 20), ("clean", "distorting")
ROOM_MS, ROOM_FADES_MS, NOISE_DBOV, LOUDER_DB = 60, 12, -60, 3
SETTLED_S, FIRST_WORD_S, PAUSE_S = 4, 6, 3
LATE_MS = 5
"""The network's part, which no two packets have alike: so much at the mean, rarely four times that. The first is a late one."""
Pcm = npt.NDArray[np.int16]


def over_line(signal: npt.NDArray[np.float64]) -> Pcm:
    return g711.decode(0, g711.encode(0, np.clip(np.round(signal), -32_768, 32_767).astype(np.int16)))


def scene(delay_ms: int, loss_db: float, loudspeaker: str, has_caller: bool) -> tuple[Pcm, Pcm, list[tuple[int, int]]]:
    """What the agent sends, what comes, and where the caller speaks."""
    random = np.random.default_rng(1)
    pause = np.zeros(RATE_HZ // 2)
    sent = over_line(np.concatenate([np.concatenate((speech, pause)) for speech in others()]) * 10 ** (LOUDER_DB / 20))
    played = sent.astype(np.float64)
    if loudspeaker == "distorting":
        played = np.tanh(played / 32_768 * 3) / 3 * 32_768
    taps = RATE_HZ * ROOM_MS // 1000
    room = random.standard_normal(taps) * np.exp(-np.arange(taps) * 1000 / RATE_HZ / ROOM_FADES_MS)
    room[0] += 2  # the loudspeaker itself
    path = np.concatenate((np.zeros(delay_ms * RATE_HZ // 1000), room / np.sqrt((room**2).sum()) * 10 ** (-loss_db / 20)))
    came = np.convolve(played, path)[: sent.size] + random.standard_normal(sent.size) * 32_768 * 10 ** (NOISE_DBOV / 20)
    spans, at = [], FIRST_WORD_S * RATE_HZ
    for speech in sentences() if has_caller else ():
        if at + speech.size > sent.size:
            break
        came[at : at + speech.size] += speech
        spans.append((at, at + speech.size))
        at += speech.size + PAUSE_S * RATE_HZ
    return sent, over_line(came), spans


def listen(sent: Pcm, came: Pcm, is_guarded: bool) -> tuple[list[int], Pcm, float]:
    """Samples at which talk-spurts were found, what was left, and us a frame."""
    memory, voice, found, was_speech, took_ns = echo.make(1), np.zeros(1, voice_activity.VOICE), [], False, 0
    voice_activity.start(voice[0])
    left, late_ms = came.copy(), np.random.default_rng(2).exponential(LATE_MS, sent.size // FRAME)
    late_ms[0], came_ns = 3 * LATE_MS, 0
    for n in range(sent.size // FRAME):
        frame, due_ns, is_echo = left[n * FRAME : (n + 1) * FRAME], BEGIN_NS + n * FRAME_NS, False
        came_ns = max(came_ns, due_ns + FRAME_NS + int(late_ms[n] * 1e6))  # in order
        if is_guarded:
            began_ns = time.perf_counter_ns()
            echo.remember(memory, 0, sent[n * FRAME : (n + 1) * FRAME], FRAME, due_ns, RATE_HZ)
            is_echo = echo.guard(memory, 0, frame, RATE_HZ, n * FRAME, came_ns)
            took_ns += time.perf_counter_ns() - began_ns
        level = voice_activity.level_dbov(frame, FRAME)
        is_speech = bool(voice_activity.is_speech(voice[0], min(level, echo.LEVEL_DBOV) if is_echo else level))
        if is_speech and not was_speech:
            found.append((n + 1) * FRAME)
        was_speech = is_speech
    return found, left, took_ns / (sent.size // FRAME) / 1000


def judge(delay_ms: int, loss_db: float, loudspeaker: str, is_guarded: bool) -> dict[str, float]:
    sent, came, _ = scene(delay_ms, loss_db, loudspeaker, False)
    found, left, us = listen(sent, came, is_guarded)
    settled = slice(SETTLED_S * RATE_HZ, None)
    erle_db = 10 * np.log10((came[settled].astype(float) ** 2).sum() / (left[settled].astype(float) ** 2).sum())
    sent, came, spans = scene(delay_ms, loss_db, loudspeaker, True)
    told = listen(sent, came, is_guarded)[0]
    soon = [[(at - begins) * 1000 / RATE_HZ for at in told if begins <= at <= ends] for begins, ends in spans]
    heard = [times[0] for times in soon if times]
    return {
        "self_interruptions_a_minute": round(len(found) * 60 * RATE_HZ / sent.size, 1),
        "missed": sum(not times for times in soon),
        "of": len(spans),
        "told_after_ms": round(float(np.median(heard)), 1) if heard else float("nan"),
        "worst_ms": round(max(heard), 1) if heard else float("nan"),
        "erle_db": round(float(erle_db), 1),
        "us_per_frame": round(us, 1),
    }


def measure(
    delays_ms: tuple[int, ...] = DELAYS_MS, losses_db: tuple[int, ...] = LOSSES_DB, loudspeakers: tuple[str, ...] = LOUDSPEAKERS
) -> dict[str, Any]:
    results = {}
    for loudspeaker, delay_ms, loss_db in itertools.product(loudspeakers, delays_ms, losses_db):
        name = f"{loudspeaker}, {delay_ms} ms, -{loss_db} dB"
        results[name] = {key: judge(delay_ms, loss_db, loudspeaker, key == "guarded") for key in ("unguarded", "guarded")}
        print(f"  {name}: {results[name]}", flush=True)
    return results


answer = measure


def test_echo(benchmark):
    (row,) = benchmark.pedantic(measure, ((80,), (12,), ("clean",)), rounds=1).values()
    assert row["guarded"]["self_interruptions_a_minute"] < 2 < row["unguarded"]["self_interruptions_a_minute"]
    assert not row["guarded"]["missed"]


if __name__ == "__main__":
    measure()
