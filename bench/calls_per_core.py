"""How many calls does one core carry, and how far is it from the bare kernel?

Whole path: packet, worker, ring, echo agent in its bridge, ring, worker, packet; calls set up by SIP. Beside it, in
the same run and with the same generator, a bare compiled echo through as many ports. CPU is the scheduler's
count for the worker alone, per frame in and out; a step passes with nothing lost and nothing 20 ms late.
"""

import json
import os
import subprocess
import sys
from typing import Any

from bench.callers import Callers
from bench.load_generator import Generator, Heard
from bench.server import OTHER_CORE, WORKER_CORE, cpu_ns, running

STEPS = (100, 400, 1000, 1600)
WARM_S, MEASURED_S, DRAIN_S = 3.0, 8.0, 0.3
AGENT = "echo_batch"


def bare(calls: int, seconds: float = MEASURED_S) -> dict[str, float]:
    """The floor: µs of CPU a packet of the bare echo."""
    command = [sys.executable, "-m", "bench.bare_echo", "--ports", str(calls), "--core", str(WORKER_CORE)]
    both = {WORKER_CORE, OTHER_CORE}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, both)
    ) as echo:
        assert echo.stdin is not None and echo.stdout is not None
        generator = Generator(calls)
        for i, port in enumerate(json.loads(echo.stdout.readline())):
            generator.set_target(i, port)
        generator.run(1.0, is_counted=False)
        before, cpu = int(generator.load.callers["received"].sum()), cpu_ns(echo.pid)
        heard = generator.run(seconds)
        us = (cpu_ns(echo.pid) - cpu) / (heard.received - before) / 1000
        generator.close()
        echo.stdin.close()
    return {"cpu_us": us, "p99_ms": heard.percentiles_ms[99]}


def whole_path(calls: int, seconds: float = MEASURED_S, suite: str = "") -> dict[str, Any]:
    """One step of the whole path. With a suite, every call is SRTP both ways."""
    with running(AGENT, calls, srtp="required" if suite else "off") as server:
        generator = Generator(calls)
        callers = Callers(server, generator, suite)
        callers.open(calls)
        generator.run(WARM_S, is_counted=False)
        packets, cpu, late = server.total("packets_sent"), cpu_ns(server.worker_pid()), server.total("sent_late")
        heard = generator.run(seconds)
        cpu, packets = cpu_ns(server.worker_pid()) - cpu, server.total("packets_sent") - packets
        lost = not_heard(generator, heard)
        result = {
            "calls": calls,
            "cpu_us": cpu / packets / 1000,
            "core_percent": cpu / seconds / 1e7,
            "lost": lost + heard.refused,
            "sent_late": server.total("sent_late") - late,
            "heard_late": heard.late,
            "longest_gap_ms": heard.longest_gap_ms,
            "round_trip_ms": heard.percentiles_ms,
            "generator_late_ms": heard.generator_late_ms,
            "memory_mb": server.memory_mb(),
        }
        callers.close()
        generator.close()
    return result


def not_heard(generator: Generator, heard: Heard) -> int:
    """Frames that never came back: what is missing once the last ones had time to."""
    sent = heard.sent
    callers = generator.load.callers
    in_flight = sent - int(callers["echoed"].sum())
    tail = generator.run(DRAIN_S, is_counted=False)
    return max(0, in_flight - (tail.echoed - heard.echoed))


def answer(steps: tuple[int, ...] = STEPS, runs: int = 2, suite: str = "") -> list[dict[str, Any]]:
    """For each step the least disturbed of several runs: the one whose generator was the least late."""
    rows = []
    for calls in steps:
        floors = [bare(calls) for _ in range(runs)]
        tries = [whole_path(calls, suite=suite) for _ in range(runs)]
        best = min(tries, key=lambda row: (row["lost"] + row["sent_late"] > 0, row["generator_late_ms"]))
        best["bare_us"] = min(floor["cpu_us"] for floor in floors)
        best["ratio"] = best["cpu_us"] / best["bare_us"]
        best["disturbance_ms"] = [round(row["generator_late_ms"], 1) for row in tries]
        rows.append(best)
    return rows


def test_calls_per_core(benchmark):
    assert benchmark.pedantic(whole_path, (20, 2.0), rounds=1)["lost"] == 0

if __name__ == "__main__":
    os.sched_setaffinity(0, {OTHER_CORE})
    for row in answer(tuple(int(n) for n in sys.argv[1:]) or STEPS, runs=1):
        print(row)
