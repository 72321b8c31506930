"""How many calls does one core carry, and how far is it from the bare kernel?

Whole path: packet, worker, ring, echo agent in its bridge, ring, worker, packet; calls set up by SIP. Beside it, in
the same run and with the same generator, a bare compiled echo through as many ports. CPU is the scheduler's
count for the worker alone, per frame in and out; a step passes with nothing lost and nothing 20 ms late.

    python -m bench.calls_per_core [CALLS ...] [--format G722] [--suite AEAD_AES_128_GCM] [--shared] [--rtcp SECONDS]

`--shared`: all calls on one RTP port; the bare echo has one port then, too, and the same batches. `--rtcp`: between our reports
of a call; 0 sends none, and what the others cost is the difference.
"""

import argparse
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from bench import payloads
from bench.callers import Callers
from bench.load_generator import BY_PORT, BY_SOCKET, BY_SSRC, Generator, Heard
from bench.server import OTHER_CORE, WORKER_CORE, cpu_ns, running

STEPS = (100, 400, 1000, 1600)
WARM_S, MEASURED_S, DRAIN_S = 3.0, 8.0, 0.3
AGENT = "echo_batch"


def bare(calls: int, seconds: float = MEASURED_S, is_shared: bool = False) -> dict[str, float]:
    """The floor: µs of CPU a packet of the bare echo."""
    command = [sys.executable, "-m", "bench.bare_echo", "--ports", "1" if is_shared else str(calls), "--core", str(WORKER_CORE)]
    command += ["--batches"] if is_shared else []
    both = {WORKER_CORE, OTHER_CORE}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, both)
    ) as echo:
        assert echo.stdin is not None and echo.stdout is not None
        generator = Generator(calls, known_by=BY_SSRC if is_shared else BY_PORT)
        ports = json.loads(echo.stdout.readline())
        for i in range(calls):
            generator.set_target(i, ports[i % len(ports)])
        generator.run(1.0, is_counted=False)
        before, cpu = int(generator.load.callers["received"].sum()), cpu_ns(echo.pid)
        heard = generator.run(seconds)
        us = (cpu_ns(echo.pid) - cpu) / (heard.received - before) / 1000
        generator.close()
        echo.stdin.close()
    return {"cpu_us": us, "p99_ms": heard.percentiles_ms[99]}


def whole_path(
    calls: int, seconds: float = MEASURED_S, suite: str = "", format: str = "PCMU", is_shared: bool = False, **media: Any
) -> dict[str, Any]:
    """One step of the whole path. With a suite, every call is SRTP both ways. `media`: more of the server's configuration."""
    with running(AGENT, calls, is_port_shared=is_shared, srtp="required" if suite else "off", formats=[format], **media) as server:
        generator = Generator(calls, format=format, known_by=BY_PORT if not is_shared else BY_SOCKET if suite else BY_SSRC)
        callers = Callers(server, generator, suite)
        callers.open(calls)
        generator.run(WARM_S, is_counted=False)
        before = {name: server.total(name) for name in ("packets_sent", "packets_received", "sent_late", "frames_to_ai")}
        cpu, lateness, missing = cpu_ns(server.worker_pid()), server.counters.lateness.sum(axis=0), Heard(generator.load, 0).missing
        heard = generator.run(seconds)
        cpu, lateness = cpu_ns(server.worker_pid()) - cpu, server.counters.lateness.sum(axis=0) - lateness
        done = {name: server.total(name) - before[name] for name in before}
        is_stamped = format == "PCMU"
        lost = not_heard(generator, heard) if is_stamped else heard.missing - missing + server.lost()
        result = {
            "calls": calls,
            "cpu_us": cpu / done["packets_sent"] / 1000,
            "core_percent": cpu / seconds / 1e7,
            "lost": lost + heard.refused,
            "sent_late": done["sent_late"],
            "heard_late": heard.late,
            "longest_gap_ms": heard.longest_gap_ms,
            "round_trip_ms": heard.percentiles_ms,
            "added_ms": heard.added_ms,
            "lateness_ms": lateness_ms(lateness),
            "generator_late_ms": heard.generator_late_ms,
            "memory_mb": server.memory_mb(),
        }
        if not is_stamped:
            result["tone_share"] = payloads.tone_share(format, generator.kept())
        callers.close()
        generator.close()
    return result


def lateness_ms(histogram: npt.NDArray[np.int64]) -> dict[float, float]:
    """Percentiles of how late packets were sent: the upper ends of buckets, each twice as wide as the one before."""
    counts = histogram.cumsum()
    if not counts[-1]:
        return {}
    return {p: 2.0 ** int(np.searchsorted(counts, counts[-1] * p / 100)) / 1000 for p in (50, 99, 99.9)}


def not_heard(generator: Generator, heard: Heard) -> int:
    """Frames that never came back: what is missing once the last ones had time to."""
    sent = heard.sent
    callers = generator.load.callers
    in_flight = sent - int(callers["echoed"].sum())
    tail = generator.run(DRAIN_S, is_counted=False)
    return max(0, in_flight - (tail.echoed - heard.echoed))


def answer(
    steps: tuple[int, ...] = STEPS, runs: int = 2, suite: str = "", format: str = "PCMU", is_shared: bool = False, **media: Any
) -> list[dict[str, Any]]:
    """For each step the least disturbed of several runs: the one whose generator was the least late."""
    rows = []
    for calls in steps:
        floors = [bare(calls, is_shared=is_shared) for _ in range(runs)]
        tries = [whole_path(calls, MEASURED_S, suite, format, is_shared, **media) for _ in range(runs)]
        best = min(tries, key=lambda row: (row["lost"] + row["sent_late"] > 0, row["generator_late_ms"]))
        best["bare_us"] = min(floor["cpu_us"] for floor in floors)
        best["ratio"] = best["cpu_us"] / best["bare_us"]
        best["disturbance_ms"] = [round(row["generator_late_ms"], 1) for row in tries]
        rows.append(best)
    return rows


def test_calls_per_core(benchmark):
    assert benchmark.pedantic(whole_path, (20, 2.0), rounds=1)["lost"] == 0

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("calls", type=int, nargs="*", default=STEPS)
    parser.add_argument("--format", default="PCMU")
    parser.add_argument("--suite", default="")
    parser.add_argument("--shared", action="store_true")
    parser.add_argument("--rtcp", type=float, default=5.0)
    asked = parser.parse_args()
    os.sched_setaffinity(0, {OTHER_CORE})
    for row in answer(tuple(asked.calls), 1, asked.suite, asked.format, asked.shared, rtcp_interval_seconds=asked.rtcp):
        print(row, flush=True)
