"""What does a hop through a ring cost, and how long does a sleeping bridge take to hear of it?

The hop: publish and read of one 20 ms frame, in one process. The wake-up: one process publishes 500 times a
second and rings the eventfd; another, on another core, sleeps in epoll and notes when it has the frame.
"""

import os
import select
import signal
import time

import numpy as np

from bench.server import OTHER_CORE, WORKER_CORE
from media_workers import sockets
from shm import doorbell, layout, ring, segment
from shm.jit import njit

HOPS, RUNS, WAKE_UPS, WAKE_UP_SPACING_S = 200_000, 5, 1500, 0.002


@njit
def hop(rings, pcm, frame, count):
    cursor = ring.load_word(rings.words, 0, layout.TO_AI_WRITE)
    for i in range(count):
        ring.publish(rings, 0, layout.AUDIO, 0, -20, pcm, 0, 160, i * 160, i, 0, 0, i)
        cursor = ring.read_at(rings, 0, cursor, frame, pcm)
    return cursor


@njit
def say_and_take(rings, pcm, generation, count):
    for _ in range(count):
        ring.try_say(rings, 0, generation, 0, 0, pcm, 0, 160)
        ring.release(rings, 0, ring.try_take(rings, 0))


def make_rings() -> layout.Rings:
    rings = layout.rings_format(segment.map_fd(segment.make("bench", layout.rings_bytes(1))), 1)
    ring.open_row(rings, 0, 1, 8000, 0)
    return rings


def hop_us() -> dict[str, float]:
    """Microseconds for a frame in and out of each ring, best of RUNS."""
    rings, frame, pcm = make_rings(), np.zeros(1, layout.FRAME), np.zeros(960, np.int16)
    results = {}
    runs = {"publish, read_at": lambda n: hop(rings, pcm, frame, n), "try_say, try_take": lambda n: say_and_take(rings, pcm, 1, n)}
    for name, run in runs.items():
        run(1)
        times = []
        for _ in range(RUNS):
            started = time.perf_counter_ns()
            run(HOPS)
            times.append((time.perf_counter_ns() - started) / HOPS / 1000)
        results[name] = min(times)
    return results


def wake_up_us() -> dict[str, float]:
    """Microseconds from before publishing to the frame in the hands of a process that slept: p50, p99, p99.9."""
    rings, bell = make_rings(), doorbell.make()
    sleeper = os.fork()
    if sleeper == 0:
        os.sched_setaffinity(0, {WORKER_CORE})
        while True:
            time.sleep(WAKE_UP_SPACING_S)
            now = time.monotonic_ns()
            ring.publish(rings, 0, layout.AUDIO, 0, 0, np.zeros(160, np.int16), 0, 160, 0, 0, 0, 0, now)
            if doorbell.must_ring(rings.bells, 0):
                sockets.ring_bell(bell)
    try:
        os.sched_setaffinity(0, {OTHER_CORE})
        late: list[float] = []
        frame, pcm, cursor = np.zeros(1, layout.FRAME), np.zeros(960, np.int16), 0
        poll = select.epoll()
        poll.register(bell, select.EPOLLIN)
        while len(late) < WAKE_UPS:
            following = ring.read_at(rings, 0, cursor, frame, pcm)
            if following == cursor:
                doorbell.fall_asleep(rings.bells, 0)
                if ring.load_word(rings.words, 0, layout.TO_AI_WRITE) == cursor:
                    poll.poll(1.0)
                    doorbell.answer(bell)
                doorbell.wake_up(rings.bells, 0)
                continue
            late.append((time.monotonic_ns() - int(frame[0]["captured_ns"])) / 1000)
            cursor = following
    finally:
        os.kill(sleeper, signal.SIGKILL)
        os.waitpid(sleeper, 0)
    return {f"p{p}": float(np.percentile(late[100:], p)) for p in (50, 99, 99.9)}


def answer() -> dict[str, dict[str, float]]:
    return {"hop_us": hop_us(), "wake_up_us": wake_up_us()}


def test_ring_hop(benchmark):
    rings, frame, pcm = make_rings(), np.zeros(1, layout.FRAME), np.zeros(960, np.int16)
    hop(rings, pcm, frame, 1)
    assert benchmark(hop, rings, pcm, frame, 1000) > 1000


if __name__ == "__main__":
    print(answer())
