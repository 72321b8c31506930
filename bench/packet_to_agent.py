"""How long from a packet on the wire to its frame in the agent's ring?

The generator sends to a probe call, then watches that call's ring, which it has mapped as a bridge would, until
the frame is there: kernel, wake-up, worker and ring together. Other calls run beside it. The neighbour core, on
which the generator runs, is otherwise idle.
"""

import os
import sys

import numpy as np

from bench.callers import Callers
from bench.load_generator import PERIOD_NS, Generator, run
from bench.server import OTHER_CORE, running
from media_workers import rtp, sockets
from shm import handover, layout
from shm.atomics import load_acquire
from shm.jit import njit

CALLS, PROBES, PATIENCE_NS = (1, 100, 500), 500, 40_000_000


@njit
def probe(load, words, row, i):
    """Send one packet of caller i; nanoseconds until its frame is in the ring, or PATIENCE_NS."""
    caller, packet = load.callers[i], load.packet
    before = load_acquire(words, row, layout.TO_AI_WRITE)
    rtp.write_header(packet, 0, False, caller["seq"], caller["timestamp"], caller["ssrc"])
    for k in range(rtp.HEADER_BYTES, 172):
        packet[k] = 0xFF
    caller["seq"] = (caller["seq"] + 1) & 0xFFFF
    caller["timestamp"] = (caller["timestamp"] + 160) & 0xFFFFFFFF
    started = sockets.now_ns(load.clock)
    sockets.send(caller["fd"], packet, 172, caller["sockaddr"], 16)
    while True:
        waited = sockets.now_ns(load.clock) - started
        if load_acquire(words, row, layout.TO_AI_WRITE) != before or waited > PATIENCE_NS:
            return waited


def measure(calls: int) -> dict[str, float]:
    """Microseconds: p50, p99, worst, over PROBES packets with `calls` calls running."""
    with running("echo_batch", calls) as server:
        generator = Generator(calls)
        callers = Callers(server, generator)
        callers.open(calls)
        rings, _, bell = handover.ask_as_bridge(server.runtime, 0)
        os.close(bell)
        ports = {int(call["rtp_port"]): row for row, call in enumerate(server.counters.calls)}
        row = ports[int(np.flatnonzero(generator.load.by_port == 0)[0])]
        generator.run(1.0, is_counted=False)
        load, waited = generator.load, []
        probe(load, rings.words, row, 0)
        if calls > 1:
            load.callers[0]["next_ns"] = np.iinfo(np.int64).max  # the probe sends it by hand
        for n in range(PROBES):
            now = int(sockets.now_ns(load.clock))
            others = load._replace(callers=load.callers[1:], by_port=np.maximum(load.by_port - 1, -1)) if calls > 1 else load
            until = now + PERIOD_NS + n % 17 * 100_000  # not in step with the worker's grid
            if calls > 1:
                run(others, generator.epoll.fileno(), until, False)
            else:
                sockets.wait(generator.epoll.fileno(), load.events, load.clock, until - now)
            waited.append(probe(load, rings.words, row, 0) / 1000)
        callers.close()
        generator.close()
    return {"p50": float(np.percentile(waited, 50)), "p99": float(np.percentile(waited, 99)), "worst": max(waited)}


def answer(calls: tuple[int, ...] = CALLS) -> dict[int, dict[str, float]]:
    return {n: measure(n) for n in calls}


def test_packet_to_agent(benchmark):
    found = benchmark.pedantic(measure, (10,), rounds=1)
    assert found["worst"] * 1000 < PATIENCE_NS

if __name__ == "__main__":
    os.sched_setaffinity(0, {OTHER_CORE})
    print(answer(tuple(int(n) for n in sys.argv[1:]) or CALLS))
