"""A real server for the tests: `bellframe up` in a process of its own, with ports that nobody else has."""

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
from collections.abc import Callable
from typing import Any, TypeVar

from control_plane.client import ask
from control_plane.messages import CallFacts, Calls, GetCalls, GetStatus, Status

ROOT = pathlib.Path(__file__).parent.parent.parent
AGENTS = pathlib.Path(__file__).parent / "agents"
HOST = "127.0.0.1"
START_LIMIT_S, STOP_LIMIT_S = 150.0, 30.0
"""The first start after a change of the kernels compiles them."""
LOWEST_PORT, HIGHEST_PORT = 20_000, 32_000  # below those that the kernel gives away
ALARMS = ("Traceback (most recent call last)", "ResourceWarning", "was never awaited", "Segmentation fault")
Found = TypeVar("Found")


def wait_for(what: str, look: Callable[[], Found | None], limit_s: float = 10.0, every_s: float = 0.02) -> Found:
    """The first result that is true. Fails with `what` if there is none in time."""
    deadline = time.monotonic() + limit_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {limit_s:g} s"
        time.sleep(every_s)
    return found


def free_ports(count: int) -> int:
    """The first, even, of so many UDP ports in a row that nobody holds now."""
    for _ in range(200):
        first = random.randrange(LOWEST_PORT, HIGHEST_PORT - count, 2)
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):
            for port in range(first, first + count):
                one = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                one.bind((HOST, port))
            return first
    raise AssertionError(f"there are no {count} free ports in a row")


def free_tcp_port() -> int:
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


class Reachable:
    """A server that runs, whoever manages it: what the command and the control socket tell of it."""

    runtime: pathlib.Path
    sip_port: int

    def command(self, *arguments: str, limit_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """`bellframe ...` against this server."""
        return subprocess.run(self.command_line(*arguments), capture_output=True, text=True, cwd=ROOT, timeout=limit_s, check=False)

    def command_line(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "control_plane.command", *arguments, "--runtime-dir", str(self.runtime)]

    def status(self) -> Status:
        answer = ask(self.runtime, GetStatus())
        assert isinstance(answer, Status)
        return answer

    def calls(self) -> tuple[CallFacts, ...]:
        answer = ask(self.runtime, GetCalls())
        assert isinstance(answer, Calls)
        return answer.calls

    def wait_until_quiet(self) -> None:
        wait_for("all calls have ended", lambda: not self.calls())

    def pid_of(self, role: str, index: int = 0) -> int:
        return next(peer.pid for peer in self.status().peers if (peer.role, peer.index) == (role, index))


class Server(Reachable):
    """Running when it is made. `stop` ends it and says how; `discard` takes whatever is left."""

    def __init__(
        self, routes: list[dict[str, Any]], calls: int = 150, bridges: int = 1, more_listen: tuple[str, ...] = (),
        prefix: tuple[str, ...] = (), **sections: Any,
    ) -> None:
        """`more_listen`: beside the place that `sip_port` names. `prefix`: a command that becomes the server's.
        `sections`: more of the configuration, such as http={"listen": ...}; of sip, media and bridge, what a test needs besides."""
        self.runtime = pathlib.Path(tempfile.mkdtemp(prefix="bf-"))  # short: a socket's path has 107 bytes
        first = free_ports(2 * calls + 4)
        self.sip_port, self.rtp_ports = first, range(first + 2, first + 2 * calls + 2)
        settings = {
            **sections,
            "runtime_directory": str(self.runtime),
            "sip": {"listen": [f"{HOST}:{self.sip_port}", *more_listen], **sections.get("sip", {})},
            "media": {
                "rtp_ports": f"{self.rtp_ports.start}-{self.rtp_ports.stop}",
                "workers": 1,
                "port_quiet_seconds": 1.0,
                "heartbeat_timeout_ms": 1000,  # the machine of a test is busy
                "max_busy_percent": 100,
                "max_late_percent": 100,
                **sections.get("media", {}),
            },
            "bridge": {"processes": bridges, "modules": str(AGENTS), **sections.get("bridge", {})},
            "routes": routes,
        }
        file = self.runtime / "test.json"
        file.write_text(json.dumps(settings))
        self.log_path = self.runtime / "log"
        self.checked = 0
        self.returncode: int | None = None
        command = [*prefix, sys.executable, "-m", "control_plane.command", "up", "--config", str(file)]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)
        try:
            wait_for("bellframe accepts calls", self._accepts_calls, START_LIMIT_S, every_s=0.1)
        except BaseException:
            self.discard()
            raise

    def _accepts_calls(self) -> bool:
        assert self.process.poll() is None, f"bellframe up ended with {self.process.returncode}:\n{self.log()}"
        return "bellframe accepts calls" in self.log()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def check_log(self) -> None:
        """Asserts that nothing has gone wrong unseen since the last look."""
        log = self.log()
        fresh, self.checked = log[self.checked :], len(log)
        assert [alarm for alarm in ALARMS if alarm in fresh] == [], fresh

    def pids(self) -> list[int]:
        """The supervisor and all below it."""
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                    found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """End it as an operator would. Asserts that it ended well, and left nothing running."""
        if self.returncode is None:
            pids = self.pids()
            self.terminate()
            try:
                self.returncode = self.process.wait(STOP_LIMIT_S)
            finally:
                self.kill()
            assert self.returncode == 0, self.log()
            wait_for("all processes have ended", lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids))
            self.check_log()
        return self.returncode

    def discard(self) -> None:
        self.kill()
        shutil.rmtree(self.runtime, ignore_errors=True)

    def kill(self) -> None:
        if self.process.poll() is not None:
            return
        for pid in reversed(self.pids()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
