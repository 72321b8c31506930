"""sippy, the library of B2BUA, in an environment of its own: it logs in, calls an agent, holds it, is called, and ends calls both ways."""

import json
import os
import queue
import subprocess
import threading
from collections.abc import Iterator

import pytest

from control_plane.client import ask
from control_plane.messages import Done, Originate
from tests.environments import ROOT, SIPPY
from tests.system.server import HOST, Server, free_ports, wait_for

pytestmark = [pytest.mark.system, pytest.mark.sippy, pytest.mark.timeout(420)]
PHONE = ROOT / "tests" / "interop" / "sippy_phone.py"


class Phone:
    """sippy_phone.py, logged in: `order` it, and `wait` for what happens."""

    def __init__(self, server: Server) -> None:
        command = [SIPPY.python(), str(PHONE), HOST, str(free_ports(4)), str(server.sip_port)]
        log = {"SIPLOG_BEND": "stderr", "SIPLOG_LVL": "WARN"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **log, "PYTHONPATH": ""}
        )
        self.events: queue.Queue[dict[str, str]] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.wait("ready")
        self.order("register")
        self.wait("registered")

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.events.put(json.loads(line))

    def order(self, text: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def wait(self, kind: str) -> str:
        """The body of the next event of this kind."""
        for _ in range(20):
            event = self.events.get(timeout=10)
            if event["kind"] == kind:
                return event.get("body", "")
        raise AssertionError(f"no {kind}")

    def end(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        try:
            assert self.process.wait(10) == 0
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


@pytest.fixture(scope="module", name="phone")
def _phone(server: Server) -> Iterator[Phone]:
    phone = Phone(server)
    try:
        yield phone
    finally:
        phone.end()


def is_up(server: Server) -> bool:
    return [call.state for call in server.calls()] == ["up"]


def test_it_calls_an_agent_with_a_password_holds_it_and_hangs_up(server: Server, phone: Phone) -> None:
    phone.order("call echo")
    assert "m=audio" in phone.wait("CCEventConnect")
    wait_for("the call is up", lambda: is_up(server))
    phone.order("hold")
    assert "a=recvonly" in phone.wait("CCEventConnect"), "a held party may still listen"
    phone.order("resume")
    assert "a=sendrecv" in phone.wait("CCEventConnect")
    phone.order("bye")
    server.wait_until_quiet()
    server.check_log()


def test_it_is_called_held_and_hung_up_on(server: Server, phone: Phone) -> None:
    assert ask(server.runtime, Originate("to-emma", "emma", "echo")) == Done("to-emma")
    assert "m=audio" in phone.wait("CCEventTry")
    phone.order("answer")
    wait_for("the call is up", lambda: is_up(server))
    assert server.command("hold", "to-emma").returncode == 0
    assert "a=sendonly" in phone.wait("CCEventUpdate")
    assert server.command("resume", "to-emma").returncode == 0
    assert "a=sendrecv" in phone.wait("CCEventUpdate")
    assert server.command("hangup", "to-emma").returncode == 0
    phone.wait("CCEventDisconnect")
    server.wait_until_quiet()
    server.check_log()
