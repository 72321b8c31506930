"""Our processes are killed under calls, each many times. Is a call lost, how long is the gap in sent RTP, is every call recorded once?

SIGKILL of the worker, the front, the agents' process and the keeper while all calls echo, and SIGSTOP of the worker; new calls are
set up and ended all the while. The gap is the longest time between two packets that each caller heard around each kill. `back_ms` is
from the kill until the successor works: for a worker and a keeper its first cycle, for a bridge its report to the front, for a front
its answer. A stopped worker is also continued once it was replaced: it must not be there any more.
"""

import collections
import contextlib
import os
import pathlib
import signal
import sqlite3
import sys
import tempfile
import time
from typing import Any

import numpy as np

from bench.call_setups import Load
from bench.callers import Callers
from bench.front_takeover import in_child
from bench.load_generator import Generator
from bench.server import OTHER_CORE, Server, running
from bench.soak.faults import find
from control_plane.errors import BellframeError

CALLS, TIMES = 200, 20
KINDS = {"worker": 2.0, "front": 2.8, "bridge": 2.4, "keeper": 5.0, "stopped worker": 2.2}
"""Seconds for each kill: one until gaps are counted, the rest for the successor."""
BARS_MS = {"worker": 100, "front": 100, "bridge": 100, "keeper": 2000, "stopped worker": 300}
"""For the 99th percentile of the gaps."""
BEFORE_S, LIMIT_S, LOOK_S = 1.1, 20.0, 0.0005
SETUPS_PER_SECOND = 10.0
RECORDED_LIMIT_S = 15.0


class Strike:
    """One process ended, seen from another process: the generator must not stop for it."""

    def __init__(self, server: Server, kind: str) -> None:
        self.server, self.kind = server, kind

    def __call__(self) -> dict[str, float]:
        time.sleep(BEFORE_S)
        role = self.kind.split()[-1]
        self.pid, self.generation = find(self.server, role), self.server.total("generation")
        self.killed_ns = time.monotonic_ns()
        os.kill(self.pid, signal.SIGSTOP if self.kind == "stopped worker" else signal.SIGKILL)
        seen_ns, is_back, until = 0, getattr(self, f"{role}_is_back"), time.monotonic() + LIMIT_S
        while not is_back():
            assert time.monotonic() < until, f"the {self.kind} was not replaced"
            if not seen_ns and not alive(self.pid):
                seen_ns = time.monotonic_ns()
            time.sleep(LOOK_S)
        found = {"back_ms": (time.monotonic_ns() - self.killed_ns) / 1e6}
        if self.kind == "stopped worker":
            found |= {"seen_ms": ((seen_ns or time.monotonic_ns()) - self.killed_ns) / 1e6, "breathes": 0.0}
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)
                found["breathes"] = 1.0
        return found

    def worker_is_back(self) -> bool:
        return self.server.total("generation") > self.generation and self.server.total("heartbeat_ns") > self.killed_ns + 1_000_000

    keeper_is_back = worker_is_back

    def front_is_back(self) -> bool:
        if self.server.front_pid() in (0, self.pid):
            return False
        self.server.status()
        return True

    def bridge_is_back(self) -> bool:
        with contextlib.suppress(BellframeError):
            return any(peer.role == "bridge" and peer.pid != self.pid for peer in self.server.status().peers)
        return False


def alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def set_up(server: Server, seconds: float) -> dict[str, Any]:
    load = Load(server, SETUPS_PER_SECOND, seconds)
    load.run()
    names = [f"setup-{call}-{load.port}" for call in range(load.calls)]
    failures = collections.Counter(state for state in load.state if state != "over")
    ended = [name for name, state in zip(names, load.state, strict=True) if state == "over"]
    return {"ended": ended, "failures": failures, "setups": load.calls, "setups_ms": load.setups_ms}


def kill(server: Server, generator: Generator, kind: str, times: int) -> dict[str, Any]:
    """So often, and what became of it."""
    gaps_ms, found = list[float](), collections.defaultdict[str, list[float]](list)
    setups = in_child(lambda: set_up(server, times * KINDS[kind] - 0.5))
    for _ in range(times):
        generator.load.callers["longest_gap_ns"] = generator.load.callers["last_rx_ns"] = 0
        struck = in_child(Strike(server, kind))
        generator.run(KINDS[kind])
        for name, value in struck().items():
            found[name].append(value)
        gaps_ms += list(generator.load.callers["longest_gap_ns"] / 1e6)
    received, refused = generator.load.callers["received"].copy(), generator.load.callers["seq_breaks"].copy()
    generator.run(1.5, is_counted=False)
    calls = received.size
    heard = int((generator.load.callers["received"] > received + 50).sum())
    listed = sum(call.sip_call_id.startswith("load-") for call in server.calls())
    new = setups()
    row = {
        "kills": times, "calls": calls, "lost": calls - min(heard, listed), "setups": new["setups"],
        "failed_setups": sum(new["failures"].values()), "failures": dict(new["failures"]),
        "gap_ms": {p: float(np.percentile(gaps_ms, p)) for p in (50, 99, 100)}, "bar_ms": BARS_MS[kind],
        "out_of_order_afterwards": int((generator.load.callers["seq_breaks"] - refused).sum()),
    }  # fmt: skip
    row |= {name: {p: float(np.percentile(values, p)) for p in (50, 99, 100)} for name, values in found.items()}
    return row | {"ended": new["ended"]}


def recorded(file: pathlib.Path, names: list[str]) -> dict[str, int]:
    """How the records of these calls come out. Waits for them, as the last ones are written a second after their end."""
    until = time.monotonic() + RECORDED_LIMIT_S
    while True:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            counts = collections.Counter(name for (name,) in database.execute("SELECT sip_call_id FROM calls"))
        missing = [name for name in names if counts[name] == 0]
        if not missing or time.monotonic() > until:
            return {"calls": len(names), "missing": len(missing), "twice": sum(counts[name] > 1 for name in names)}
        time.sleep(0.2)


def answer(times: int = TIMES, calls: int = CALLS, kinds: str = ",".join(KINDS)) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bellframe-kills-") as folder:
        file = pathlib.Path(folder) / "calls.db"
        with running("echo_batch", calls + 100, records={"file": str(file)}) as server:
            generator = Generator(calls)
            callers = Callers(server, generator)
            callers.open(calls)
            generator.run(2.0, is_counted=False)
            for kind in kinds.split(","):
                found[kind] = kill(server, generator, kind, times)
            callers.close()
            generator.close()
            names = [f"load-{call}-{callers.port}" for call in range(calls)]
            for row in found.values():
                names += row.pop("ended")
            found["records"] = recorded(file, names)
    return found


def test_kills(benchmark):
    found = benchmark.pedantic(answer, (1, 20), rounds=1)
    assert not any(row["lost"] for name, row in found.items() if name != "records")

if __name__ == "__main__":
    os.sched_setaffinity(0, {OTHER_CORE})
    given: list[Any] = [int(word) if word.isdecimal() else word for word in sys.argv[1:]]
    print(answer(*given))
