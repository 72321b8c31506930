"""A real server for a benchmark: `bellframe up`, its processes pinned, its counters read from shared memory."""

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from control_plane.client import ask
from control_plane.messages import CallFacts, Calls, GetCalls, GetStatus, Status
from shm import handover
from shm.counters import CALL_COLUMN, WORKER, Counters

START_TIMEOUT_S = 180
ERRORS_SHOWN = 5
LOWEST_PORT, HIGHEST_PORT, ATTEMPTS = 10_000, 32_000, 50
WORKER_CORE, OTHER_CORE = (sorted(os.sched_getaffinity(0)) * 2)[1::-1]
"""The worker has a core of its own; generator, front and bridge share another."""


class Server:
    """A running server. `host`, `sip_port` and `runtime` say where it is."""

    def __init__(self, process: subprocess.Popen[str], runtime: pathlib.Path, sip_port: int) -> None:
        self.process, self.runtime, self.sip_port, self.host = process, runtime, sip_port, "127.0.0.1"
        self.counters: Counters = handover.ask_for_counters(runtime)

    def total(self, name: str) -> int:
        """A counter, summed over the workers."""
        return int(self.counters.workers[:, WORKER[name]].sum())

    def lost(self) -> int:
        """Packets of the calls that are up that never came to the worker, by their sequence numbers."""
        return int(self.counters.calls["counters"][:, CALL_COLUMN["lost"]].sum())

    def worker_pid(self) -> int:
        return int(self.counters.workers[0, WORKER["pid"]])

    def front_pid(self) -> int:
        """0: there is none just now."""
        return self.pid_of("sip_front")

    def pid_of(self, module: str) -> int:
        """Of the process that runs this module; 0: there is none just now."""
        for pid in self.pids():
            with contextlib.suppress(OSError):
                if module.encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    return pid
        return 0

    def status(self) -> Status:
        answer = ask(self.runtime, GetStatus())
        assert isinstance(answer, Status)
        return answer

    def calls(self) -> tuple[CallFacts, ...]:
        answer = ask(self.runtime, GetCalls())
        assert isinstance(answer, Calls)
        return answer.calls

    def pids(self) -> list[int]:
        """The supervisor and all below it."""
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                    found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def memory_mb(self) -> dict[str, float]:
        """Proportional set size by process: what is shared is counted once."""
        sizes: dict[str, float] = {}
        for pid in self.pids():
            with contextlib.suppress(OSError):
                command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                name = next((word.decode() for word in command if word.startswith((b"sip_", b"media_", b"ai_", b"control_"))), "other")
                rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
                kilobytes = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
                sizes[name] = sizes.get(name, 0) + kilobytes / 1000
        return sizes


def cpu_ns(pid: int) -> int:
    """CPU time of a process's first thread, from the scheduler, in nanoseconds."""
    return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def threads_cpu_ns(pid: int) -> int:
    """The same, with all its threads."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir())


def free_ports(count: int) -> int:
    """The first, even, of so many UDP ports in a row that nobody holds now, below those that the kernel gives away."""
    for first in random.sample(range(LOWEST_PORT, HIGHEST_PORT - count, 2), ATTEMPTS):
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):
            for port in range(first, first + count):
                held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind(("127.0.0.1", port))
            return first
    raise RuntimeError(f"there are no {count} free ports in a row")


@contextlib.contextmanager
def running(
    agent: str, calls: int, sip: dict[str, object] | None = None, recordings: str = "", records: dict[str, object] | None = None,
    is_port_shared: bool = False, format: str = "wav", routes: list[dict[str, object]] | None = None, **media: object,
) -> Iterator[Server]:
    """A server with one worker on its own core and room for so many calls; ended, and its folder removed, at the end.

    `routes`: what goes to other agents, before all the rest goes to `agent`.
    `recordings`: the folder that they may go to, and `format` what they are. `is_port_shared`: all calls have one RTP port.
    """
    runtime = pathlib.Path(tempfile.mkdtemp(prefix="bellframe-bench-"))
    pairs = 2 if is_port_shared else calls
    sip_port = free_ports(2 * pairs + 2)
    first_port = sip_port + 2
    trunks = [{"name": "load", "allow": ["127.0.0.1"], "shared_rtp_port": True}] if is_port_shared else []
    settings = {
        "runtime_directory": str(runtime),
        "sip": {"listen": f"127.0.0.1:{sip_port}", "max_calls_per_second": 2000.0, "drain_seconds": 0.0, **(sip or {})},
        "media": {
            "rtp_ports": f"{first_port}-{first_port + 2 * pairs}",
            "shared_port_calls": calls,
            "workers": 1,
            "max_busy_percent": 100,  # how much it can carry is the question
            "max_late_percent": 100,
            "cores": str(WORKER_CORE),
            "port_quiet_seconds": 0.5,
            **media,
        },
        "routes": [*(routes or []), {"agent": agent}],
        "trunks": trunks,
        "recording": {"directory": recordings, "format": format},
        "records": records or {},
    }
    config = runtime / "bench.json"
    config.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "control_plane.command", "up", "--config", str(config)]
    usable = os.sched_getaffinity(0) | {WORKER_CORE, OTHER_CORE}
    root = pathlib.Path(__file__).parent.parent
    log = runtime / "log"  # a line a call would bury the answers
    with log.open("w") as written:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=written, text=True, cwd=root, preexec_fn=lambda: os.sched_setaffinity(0, usable)
        )
    try:
        assert process.stdout is not None
        started = time.monotonic()
        while "accepts calls" not in (line := process.stdout.readline()):
            if not line or time.monotonic() - started > START_TIMEOUT_S:
                raise RuntimeError(f"the server did not start:\n{log.read_text()[-2000:]}")
        server = Server(process, runtime, sip_port)
        for pid in server.pids():
            if pid not in (server.worker_pid(), process.pid):  # the supervisor is idle, and what it starts must find the core
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(pid, {OTHER_CORE})
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        errors = [line for line in log.read_text().splitlines() if " ERROR " in line]
        for line in errors[:ERRORS_SHOWN]:
            print(f"  the server said, {len(errors)} errors in all: {line}", file=sys.stderr)
        shutil.rmtree(runtime, ignore_errors=True)
