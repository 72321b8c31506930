"""The real process, against a keeper's memory socket and a front's switchboard that the test holds."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest
import zmq

from ai_bridge.process import load_routes, main
from control_plane.channel import Switchboard
from control_plane.config import Config, Route
from control_plane.messages import AgentFailed, AgentStarted, Alive, Message, StartAgent
from shm import counters, doorbell, handover, layout, segment
from tests.ai_bridge.line import Line, tone

ROOT = pathlib.Path(__file__).parent.parent.parent
DEADLINE_S = 60.0  # the first start of a state of the sources compiles

OWN_AGENT = """
from ai_bridge import Agent
class Greeter(Agent):
    def on_start(self, call):
        call.say(bytes(320) if call.resumed else b"\\1\\0" * 320)
    def on_audio(self, frame):
        self.call.note("heard", str(frame.position))
"""


class House:
    """What a keeper and a front give to a bridge."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.rings_fd = segment.make("rings", layout.rings_bytes(4))
        self.counters_fd = segment.make("counters", counters.counters_bytes(1, 4))
        self.rings = layout.rings_format(memoryview(segment.map_fd(self.rings_fd)), 4)
        counters.counters_format(memoryview(segment.map_fd(self.counters_fd)), 1, 4)
        self.bell_fd = doorbell.make()
        self.listener = handover.listen(folder)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.switchboard = Switchboard(self.context, folder)
        self.told: list[Message] = []
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.manager.bind(str(folder / "notify"))
        self.notified: list[bytes] = []
        (folder / "own_greeter.py").write_text(OWN_AGENT)
        routes = '[[routes]]\nagent = "own_greeter:Greeter"\n[[routes]]\nagent = "nothing:Here"\nto = "1"\n'
        (folder / "bellframe.toml").write_text(f'runtime_directory = "{folder}"\n[bridge]\nmodules = "{folder}"\n{routes}')

    def start_bridge(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ai_bridge", "--config", str(self.folder / "bellframe.toml"), "--index", "0"]
        environment = {**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify"), "WATCHDOG_USEC": "200000"}
        environment.pop("WATCHDOG_PID", None)
        return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline
            self.told += [message for _, message in self.switchboard.receive()]
            with contextlib.suppress(BlockingIOError):
                handover.serve_one(self.listener, self.rings_fd, self.counters_fd, [self.bell_fd])
            with contextlib.suppress(BlockingIOError):
                self.notified.append(self.manager.recv(4096))
            time.sleep(0.002)

    def of(self, kind: type[Message]) -> list[Message]:
        return [message for message in self.told if isinstance(message, kind)]

    def close(self) -> None:
        self.switchboard.close()
        self.context.term()
        self.listener.close()
        self.manager.close()
        for fd in (self.rings_fd, self.counters_fd, self.bell_fd):
            os.close(fd)


@pytest.mark.compiled
def test_a_bridge_serves_is_killed_is_followed_and_stops_at_once(tmp_path):
    house = House(tmp_path)
    first, second = house.start_bridge(), None
    try:
        house.until(lambda: house.of(Alive) and b"READY=1" in house.notified)
        ended = house.of(Alive)[0].pid
        line = Line(house.rings, 2)
        start = StartAgent(call_id="c", row=2, generation=7, sample_rate_hz=8_000, agent="own_greeter:Greeter")
        house.switchboard.send(b"bridge-0", start)
        house.until(lambda: house.of(AgentStarted))
        house.until(lambda: line.rings.words[2, layout.FROM_AI_WRITE] == 2)
        line.tick(3)
        assert np.array_equal(line.heard(), np.ones(320, np.int16))
        house.until(lambda: b"WATCHDOG=1" in house.notified)
        first.send_signal(signal.SIGKILL)
        first.wait(10)
        line.caller_says(tone(320))
        house.told.clear()
        second = house.start_bridge()
        house.until(lambda: any(alive.pid != ended for alive in house.of(Alive)))
        house.switchboard.send(b"bridge-0", StartAgent(**{**{f: getattr(start, f) for f in start.__struct_fields__}, "resumed": True}))
        house.until(lambda: [m.text for m in house.told if type(m).__name__ == "Noted"] == ["0", "160"])
        second.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert second.wait(10) == 0 and time.monotonic() - began < 5
        assert not house.of(AgentFailed)
        assert b'there is no module "nothing"' in second.stderr.read(), "a bad route is told at the start"
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                process.wait()
                process.stderr.close()
        house.close()


def test_a_configuration_that_is_wrong_is_told_in_one_line(tmp_path, capsys):
    (tmp_path / "bad.toml").write_text("[bridge]\nprocess = 3\n")
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main(["--config", str(tmp_path / "bad.toml"), "--index", "0"]) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "bridge 0" in (told := capsys.readouterr().err) and "line 2" in told and told.count("\n") == 1


@pytest.mark.compiled
def test_an_agent_that_takes_its_process_down_is_followed_at_once_by_the_same_parent(tmp_path):
    house = House(tmp_path)
    parent = house.start_bridge()
    try:
        house.until(lambda: house.of(Alive))
        first = house.of(Alive)[0].pid
        assert first != parent.pid
        os.kill(first, signal.SIGKILL)
        house.until(lambda: any(alive.pid != first for alive in house.of(Alive)))
        assert parent.poll() is None
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(10) == 0
        assert b"its calls are taken over at once" in parent.stderr.read()
    finally:
        parent.kill()
        parent.wait()
        parent.stderr.close()
        house.close()


def test_a_server_that_only_rings_phones_wants_no_agent(caplog: pytest.LogCaptureFixture) -> None:
    only_phones = Config(routes=(Route(phones=("anna",)), Route(refuse=603)))
    assert load_routes(only_phones) and not caplog.records
    assert not load_routes(Config(routes=(Route(phones=("anna",)), Route(agent="nothing:Here")))) and "nothing" in caplog.text
