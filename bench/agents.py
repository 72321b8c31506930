"""How many calls does one bridge process carry: Python echo agents, one a call, and one batched agent for all that measures loudness?

The bridge is the real one, in a process pinned to a core, with real rings, bells and channel. On the other core a compiled line plays
the worker's part for every call, spread over 20 ms: each frame that an echo agent is given must be back before the next one, else the
caller hears a gap (an underrun). CPU is the scheduler's count for the bridge process, all its threads; waited is how long it was ready
and had no core, because others had it: the disturbance.
"""

import asyncio
import os
import pathlib
import select
import signal
import sys
import tempfile
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import zmq

from ai_bridge import BatchAgent
from ai_bridge.bridge import Bridge
from ai_bridge.frame import Pcm
from ai_bridge.process import event_loop
from ai_bridge.warm_up import warm_up
from bench.server import OTHER_CORE, WORKER_CORE, threads_cpu_ns
from control_plane.channel import Channel, Switchboard
from control_plane.messages import AgentFailed, AgentStarted, Alive, StartAgent
from media_workers import sockets
from shm import doorbell, layout, ring, segment
from shm.jit import njit

RATE_HZ, SAMPLES, SPREAD_MS = 8_000, 160, 20
WARM_S, MEASURED_S, PATIENCE_S = 2.0, 8.0, 30.0
ECHO_STEPS, BATCH_STEPS = (200, 500, 800), (1_000, 2_000, 3_000)
MS = 1_000_000


class Levels(BatchAgent):
    """Voice activity by energy over a floor that follows the line, in numpy, for all calls at once."""

    def __init__(self) -> None:
        self.floor_db = np.full(4_096, -60.0, np.float32)
        self.is_speech = np.zeros(4_096, np.bool_)

    def on_batch(self, indexes: npt.NDArray[np.int64], frames: npt.NDArray[np.void], samples: Pcm) -> None:
        pcm = samples.astype(np.float32)
        level_db = 10 * np.log10(np.einsum("ij,ij->i", pcm, pcm) / (SAMPLES * 2.0**29) + 1e-9)
        floor_db = self.floor_db[indexes]
        self.is_speech[indexes] = level_db > np.maximum(floor_db + 9, -48)
        self.floor_db[indexes] = np.where(level_db < floor_db, 0.75 * floor_db + 0.25 * level_db, np.minimum(floor_db + 0.05, -30))


@njit
def play_line(rings, calls, pcm, clock, events, epoll_fd, bell_fd, until_ns, echoes, counts):
    """A frame for every call each 20 ms, each call in its own millisecond. counts: frames given, underruns, bells."""
    now = sockets.now_ns(clock)
    ms = now // MS
    while now < until_ns:
        ms += 1
        sockets.wait(epoll_fd, events, clock, max(0, ms * MS - now))
        now = sockets.now_ns(clock)
        for row in range(ms % SPREAD_MS, calls, SPREAD_MS):
            if echoes:
                cursor = ring.try_take(rings, row)
                if cursor < 0:
                    counts[1] += 1
                else:
                    ring.release(rings, row, cursor)
                ring.set_played(rings.words, row, 0, 0)
            position = counts[0] * SAMPLES
            ring.publish(rings, row, layout.AUDIO, 0, -20, pcm, 0, SAMPLES, position, position & 0xFFFFFFFF, 0, 0, now)
            counts[0] += 1
        if doorbell.must_ring(rings.bells, 0):
            sockets.ring_bell(bell_fd)
            counts[2] += 1
        now = sockets.now_ns(clock)


def live(rings: layout.Rings, bell_fd: int, folder: pathlib.Path) -> None:
    """The bridge's process."""
    os.sched_setaffinity(0, {WORKER_CORE})

    async def serve() -> None:
        bridge = Bridge(rings, bell_fd, Channel(zmq.Context(), folder, "bridge-0"), 0)
        bridge.start()
        await asyncio.Event().wait()

    asyncio.Runner(loop_factory=event_loop()).run(serve())


def waited_ns(pid: int) -> int:
    """How long a process's first thread was ready and did not run."""
    return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[1])


def wait_for(switchboard: Switchboard, kind: type, count: int) -> None:
    """Until the bridge has told so many. Raises RuntimeError when it fails, or takes too long."""
    deadline, seen = time.monotonic() + PATIENCE_S, 0
    while seen < count:
        for _, message in switchboard.receive():
            if isinstance(message, AgentFailed):
                raise RuntimeError(message.why)
            seen += isinstance(message, kind)
        if time.monotonic() > deadline:
            raise RuntimeError(f"the bridge told {seen} of {count} {kind.__name__}")
        time.sleep(0.002)


def open_calls(switchboard: Switchboard, rings: layout.Rings, agent: str, calls: int) -> None:
    for row in range(calls):
        ring.open_row(rings, row, row + 1, RATE_HZ, 0)
        start = StartAgent(call_id=f"{row}", row=row, generation=row + 1, sample_rate_hz=RATE_HZ, agent=agent)
        while not switchboard.send(b"bridge-0", start):
            time.sleep(0.001)
        if row % 100 == 99:
            wait_for(switchboard, AgentStarted, 100)
    wait_for(switchboard, AgentStarted, calls % 100)


def measure(agent: str, calls: int, seconds: float = MEASURED_S) -> dict[str, Any]:
    warm_up()
    memory = segment.map_fd(segment.make("bench", layout.rings_bytes(calls)))
    rings, bell_fd = layout.rings_format(memory, calls), doorbell.make()
    with tempfile.TemporaryDirectory() as name:
        child = os.fork()
        if child == 0:
            try:
                live(rings, bell_fd, pathlib.Path(name))
            finally:
                os._exit(1)
        try:
            switchboard = Switchboard(zmq.Context(), pathlib.Path(name))
            wait_for(switchboard, Alive, 1)
            open_calls(switchboard, rings, agent, calls)
            result = load(rings, calls, bell_fd, child, agent == "echo", seconds)
            switchboard.close()
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    os.close(bell_fd)
    return result


def load(rings: layout.Rings, calls: int, bell_fd: int, child: int, echoes: bool, seconds: float) -> dict[str, Any]:
    pcm, clock = np.random.default_rng(1).integers(-3_000, 3_000, SAMPLES).astype(np.int16), np.zeros(4, np.int64)
    events, counts = np.zeros(sockets.MAX_EVENTS * sockets.EVENT_BYTES, np.uint8), np.zeros(3, np.int64)
    with select.epoll() as epoll:

        def run(duration_s: float) -> None:
            until_ns = int(sockets.now_ns(clock)) + int(duration_s * 1e9)
            play_line(rings, calls, pcm, clock, events, epoll.fileno(), bell_fd, until_ns, echoes, counts)

        run(WARM_S)
        unread = rings.words[:calls, layout.TO_AI_WRITE] - rings.words[:calls, layout.TO_AI_READ]
        cpu, waited, before, began = threads_cpu_ns(child), waited_ns(child), counts.copy(), time.monotonic()
        run(seconds)
        took = time.monotonic() - began
        frames, underruns, bells = (counts - before).tolist()
        cpu, waited = threads_cpu_ns(child) - cpu, waited_ns(child) - waited
        late = rings.words[:calls, layout.TO_AI_WRITE] - rings.words[:calls, layout.TO_AI_READ]
    return {
        "calls": calls,
        "core_percent": round(cpu / took / 1e7, 1),
        "waited_percent": round(waited / took / 1e7, 1),
        "us_per_frame": round(cpu / frames / 1000, 2),
        "frames": frames,
        "underruns": underruns if echoes else 0,
        "unread_at_most": int(max(unread.max(), late.max())),
        "bells_a_second": round(bells / took),
    }


def answer() -> dict[str, Any]:
    results = {}
    for kind, agent, steps in (("echo", "echo", ECHO_STEPS), ("batched", "bench.agents:Levels", BATCH_STEPS)):
        for calls in steps:
            results[f"{kind}, {calls} calls"] = row = measure(agent, calls)
            print(f"  {kind}, {calls} calls: {row}", flush=True)
    return results


def test_agents(benchmark):
    assert benchmark.pedantic(measure, ("bench.agents:Levels", 100, 1.0), rounds=1)["frames"] >= 4_900


if __name__ == "__main__":
    os.sched_setaffinity(0, {OTHER_CORE})
    if len(sys.argv) == 3:
        print(measure(sys.argv[1], int(sys.argv[2])))
    else:
        answer()
