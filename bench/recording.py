"""What does it cost to record every call, on the worker's core and on the recorder's?

The whole path with an echo agent. In one server recording is turned on and off by turns, and the CPU of both processes is read from
the scheduler, so what else the machine does falls on both alike. The bar is a tenth more on the worker.
"""

import os
import pathlib
import sys
import tempfile
from statistics import median
from typing import Any

from bench.callers import Callers
from bench.load_generator import Generator
from bench.server import OTHER_CORE, Server, cpu_ns, running
from control_plane.client import ask
from control_plane.messages import RecordCall

CALLS, TURNS, WARM_S, MEASURED_S = 400, 4, 2.0, 5.0
AGENT = "echo_batch"


def record(server: Server, state: str) -> None:
    for call in server.calls():
        ask(server.runtime, RecordCall(call.call_id, state))  # type: ignore[arg-type]


def turn(server: Server, generator: Generator, state: str, seconds: float) -> dict[str, float]:
    record(server, state)
    generator.run(WARM_S, is_counted=False)
    worker, recorder = server.worker_pid(), server.pid_of("media_workers.recording")
    before = server.total("packets_sent"), cpu_ns(worker), cpu_ns(recorder)
    generator.run(seconds)
    packets, worker_ns, recorder_ns = (
        now - then for now, then in zip((server.total("packets_sent"), cpu_ns(worker), cpu_ns(recorder)), before, strict=True)
    )
    return {"worker_us": worker_ns / packets / 1000, "recorder_percent": recorder_ns / seconds / 1e7}


def answer(calls: int = CALLS, turns: int = TURNS, seconds: float = MEASURED_S, format: str = "wav") -> dict[str, Any]:
    """µs of the worker's CPU a packet sent, medians over the turns; and the recorder's part of a core."""
    with (
        tempfile.TemporaryDirectory(prefix="bellframe-bench-") as folder,
        running(AGENT, calls, recordings=folder, format=format) as server,
    ):
        generator = Generator(calls)
        callers = Callers(server, generator)
        callers.open(calls)
        found: dict[str, list[dict[str, float]]] = {"off": [], "on": []}
        for _ in range(turns):
            for state, rows in found.items():
                rows.append(turn(server, generator, state, seconds))
        written = sum(path.stat().st_size for path in pathlib.Path(folder).glob(f"*.{format}"))
        callers.close()
        generator.close()
    off, on = (median(row["worker_us"] for row in found[state]) for state in ("off", "on"))
    return {
        "calls": calls,
        "worker_us": {"not recorded": round(off, 2), "recorded": round(on, 2)},
        "more_percent": round(100 * (on / off - 1), 1),
        "bar_percent": 10,
        "recorder_core_percent": round(median(row["recorder_percent"] for row in found["on"]), 1),
        "written_mb": round(written / 1e6, 1),
    }


def test_recording(benchmark):
    assert benchmark.pedantic(answer, (10, 1, 1.0), rounds=1)["written_mb"] > 0


if __name__ == "__main__":
    os.sched_setaffinity(0, {OTHER_CORE})
    print(answer(int(sys.argv[1]) if len(sys.argv) > 1 else CALLS, format=sys.argv[2] if len(sys.argv) > 2 else "wav"))
