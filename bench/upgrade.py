"""Every process is replaced by another, one after the other, under calls and set-ups. Is a call cut, or a set-up refused?

`bellframe upgrade` while all calls echo and new ones are set up and ended at a steady rate. The gap is the longest time between two packets
that any caller heard: a keeper's start. Set-ups that come while a process is away wait for it.
"""

import os
import subprocess
import sys
import time
from typing import Any

import numpy as np

from bench.callers import Callers
from bench.front_takeover import in_child
from bench.kills import set_up
from bench.load_generator import Generator
from bench.server import OTHER_CORE, Server, running

CALLS, TIMES, SECONDS = 200, 3, 30.0
BEFORE_S = 1.5


def upgrade(server: Server) -> dict[str, Any]:
    time.sleep(BEFORE_S)
    began = time.monotonic()
    command = [sys.executable, "-m", "control_plane.command", "upgrade", "--runtime-dir", str(server.runtime)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {"took_s": time.monotonic() - began, "said": done.stdout + done.stderr, "is_good": done.returncode == 0}


def answer(times: int = TIMES, calls: int = CALLS, seconds: float = SECONDS) -> dict[str, Any]:
    took_s, gaps_ms, failures = list[float](), list[float](), list[str]()
    setups_ms: list[float] = []
    setups = 0
    with running("echo_batch", calls + 100) as server:
        generator = Generator(calls)
        callers = Callers(server, generator)
        callers.open(calls)
        generator.run(2.0, is_counted=False)
        for _ in range(times):
            generator.load.callers["longest_gap_ns"] = generator.load.callers["last_rx_ns"] = 0
            before = set(server.pids()) - {server.process.pid}
            replaced, new = in_child(lambda: upgrade(server)), in_child(lambda: set_up(server, seconds - 2))
            generator.run(seconds)
            found = replaced()
            assert found["is_good"], found["said"]
            assert not before & set(server.pids()), "a process was not replaced"
            took_s.append(found["took_s"])
            found = new()
            setups += found["setups"]
            setups_ms += found["setups_ms"]
            failures += [f"{count} times {state}" for state, count in found["failures"].items()]
            gaps_ms += list(generator.load.callers["longest_gap_ns"] / 1e6)
        received = generator.load.callers["received"].copy()
        generator.run(1.5, is_counted=False)
        heard = int((generator.load.callers["received"] > received + 50).sum())
        listed = sum(call.sip_call_id.startswith("load-") for call in server.calls())
        callers.close()
        generator.close()
    return {
        "calls": calls, "upgrades": times, "cut": calls - min(heard, listed), "setups": setups, "failures": failures,
        "took_s": {"median": float(np.median(took_s)), "worst": max(took_s)},
        "gap_ms": {p: float(np.percentile(gaps_ms, p)) for p in (50, 99, 100)},
        "setup_ms": {p: float(np.percentile(setups_ms, p)) for p in (50, 99, 100)},
    }  # fmt: skip


def test_upgrade(benchmark):
    found = benchmark.pedantic(answer, (1, 20), rounds=1)
    assert (found["cut"], found["failures"]) == (0, [])

if __name__ == "__main__":
    os.sched_setaffinity(0, {OTHER_CORE})
    print(answer(*(int(word) for word in sys.argv[1:])))
