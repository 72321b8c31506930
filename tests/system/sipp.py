"""SIPp, which nobody here wrote: runs a scenario of sipp/*.xml against the server."""

import pathlib
import subprocess
import time

from tests.conftest import require_peer
from tests.system.server import HOST, free_ports

SCENARIOS = pathlib.Path(__file__).parent / "sipp"
LIMIT_S = 30


class Sipp:
    """Started when it is made; `finish` waits and asserts that every call went as its scenario says."""

    def __init__(
        self, scenario: str | pathlib.Path, sip_port: int, folder: pathlib.Path, *more: str, to: str = "echo", calls: int = 1,
        rate: int = 10, port: int = 0,
    ) -> None:  # fmt: skip
        """`scenario`: the name of one of ours, or the path of a file."""
        self.port = port or free_ports(8)
        path = scenario if isinstance(scenario, pathlib.Path) else SCENARIOS / f"{scenario}.xml"
        self.errors, self.messages = folder / f"{path.stem}-{self.port}.errors", folder / f"{path.stem}-{self.port}.messages"
        command = [require_peer("sipp"), f"{HOST}:{sip_port}", "-sf", str(path), "-s", to]
        command += ["-i", HOST, "-p", str(self.port), "-mi", HOST, "-mp", str(self.port + 2), "-m", str(calls), "-r", str(rate)]
        command += ["-timeout", f"{LIMIT_S}s", "-timeout_error", "-recv_timeout", "8000", "-nostdin"]
        command += ["-trace_err", "-error_file", str(self.errors), "-trace_msg", "-message_file", str(self.messages), *more]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)

    def finish(self) -> str:
        """All messages of the run, as SIPp wrote them down."""
        try:
            code = self.process.wait(LIMIT_S + 10)
        finally:
            self.kill()
        messages = self.messages.read_text(errors="replace") if self.messages.exists() else ""
        errors = self.errors.read_text(errors="replace") if self.errors.exists() else ""
        assert code == 0, f"sipp ended with {code}\n{errors[-3_000:]}\n{messages[-6_000:]}"
        return messages

    def wait_for_message(self, text: str, limit_s: float = 10.0) -> None:
        deadline = time.monotonic() + limit_s
        while not self.messages.exists() or text not in self.messages.read_text(errors="replace"):
            assert self.process.poll() is None and time.monotonic() < deadline, f"sipp has not seen {text!r} within {limit_s:g} s"
            time.sleep(0.02)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def run(scenario: str, sip_port: int, folder: pathlib.Path, *more: str, to: str = "echo", calls: int = 1, rate: int = 10) -> str:
    return Sipp(scenario, sip_port, folder, *more, to=to, calls=calls, rate=rate).finish()
