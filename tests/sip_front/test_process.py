"""The real process, with real sockets on loopback."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import zmq

from control_plane.channel import Channel
from control_plane.messages import (
    Alive,
    Calls,
    CloseMedia,
    Done,
    Drain,
    FrontStarted,
    GetCall,
    GetStatus,
    MediaClosed,
    MediaOpened,
    Message,
    OpenMedia,
    Originate,
    Status,
)

pytestmark = pytest.mark.system
OPTIONS = (
    "OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:1;branch=z9hG4bK{n};rport\r\nFrom: <sip:a@b>;tag=1\r\n"
    "To: <sip:a@b>\r\nCall-ID: {n}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n\r\n"
)


class Server:
    def __init__(self, directory: pathlib.Path, listen: str = "127.0.0.1") -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.directory = directory
        config = directory / "bellframe.toml"
        config.write_text(f'runtime_directory = "{directory}"\n[sip]\nlisten = "{listen}:{self.port}"\ndrain_seconds = 1\n')
        directory.chmod(0o700)
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(directory / "notify"))
        self.notified.settimeout(10)
        environment = {**os.environ, "NOTIFY_SOCKET": str(directory / "notify")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sip_front", "--config", str(config)],
            env=environment, stderr=subprocess.PIPE, text=True, cwd=pathlib.Path(__file__).parents[2],
        )  # fmt: skip
        self.phone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.phone.settimeout(5)
        self.phone.bind(("127.0.0.1", 0))

    def options(self, n: int) -> bytes:
        self.phone.sendto(OPTIONS.format(n=n).encode(), ("127.0.0.1", self.port))
        return self.phone.recv(4096)

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        _, text = self.process.communicate(timeout=10)
        return text

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.phone.close()
        self.notified.close()


@pytest.fixture
def server(tmp_path: pathlib.Path) -> Iterator[Server]:
    server = Server(tmp_path)
    try:
        assert server.notified.recv(1000).startswith(b"READY=1")
        yield server
    finally:
        server.close()


@pytest.fixture
def channel(server: Server) -> Iterator[Channel]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    channel = Channel(context, server.directory, "worker-0")
    yield channel
    channel.close()
    context.term()


def test_it_answers_sip_and_control_and_ends_on_sigterm(server: Server, channel: Channel) -> None:
    assert server.options(1).startswith(b"SIP/2.0 200 OK")
    started = channel.ask(Alive("worker", 0, 1, capacity=10), 5000)
    assert isinstance(started, FrontStarted) and started.front > 0
    status = channel.ask(GetStatus(), 5000)
    assert isinstance(status, Status) and [p.role for p in status.peers] == ["worker"]
    assert isinstance(channel.ask(Drain(), 5000), Done)
    assert server.options(2).startswith(b"SIP/2.0 503 ")
    text = server.stop()
    assert server.process.returncode == 0 and "Traceback" not in text and "stopped" in text


def test_a_front_that_is_restarted_makes_room_at_once_and_leaves_its_journal(server: Server) -> None:
    """RestartKillSignal= of the unit. SIGTERM would drain, and remove the journal of a server without calls."""
    assert server.options(1).startswith(b"SIP/2.0 200 OK")
    server.process.send_signal(signal.SIGUSR1)
    _, text = server.process.communicate(timeout=10)
    assert server.process.returncode == 0 and "making room for the next front, with 0 calls" in text and "Traceback" not in text
    assert (server.directory / "journal").exists() and "draining" not in text


def test_a_burst_of_questions_is_answered_whole(server: Server, channel: Channel) -> None:
    """The control descriptor is edge-triggered: none may be left lying."""
    for _ in range(500):
        channel.send(GetStatus())
    count, deadline = 0, time.monotonic() + 10
    while count < 500 and time.monotonic() < deadline:
        channel.socket.poll(100)
        count += sum(isinstance(m, Status) for m in channel.receive())
    assert count == 500


def test_a_call_that_the_kernel_cannot_send_fails_at_once(server: Server, channel: Channel) -> None:
    seen: list[Message] = []

    def wait_for(kind: type[Message]) -> None:
        deadline = time.monotonic() + 5
        while not any(isinstance(m, kind) for m in seen) and time.monotonic() < deadline:
            channel.socket.poll(100)
            seen.extend(channel.receive())

    channel.send(Alive("worker", 0, 1, capacity=10))
    channel.send(Alive("bridge", 0, 2))
    channel.send(Originate("out", "sip:1@255.255.255.255", "echo"))  # EACCES without SO_BROADCAST
    wait_for(OpenMedia)
    channel.send(MediaOpened("out", 0, 0, 1, 10_000, 8_000))
    wait_for(CloseMedia)
    channel.send(MediaClosed("out"))
    channel.send(GetCall("out"))
    wait_for(Calls)
    (calls,) = [m for m in seen if isinstance(m, Calls)]
    assert calls.calls[0].state == "ended" and calls.calls[0].cause.startswith("cannot send to 255.255.255.255:5060: ")
    assert "cannot send to 255.255.255.255:5060" in server.stop()


def test_noise_does_not_end_it(server: Server) -> None:
    for octets in (b"", b"\0" * 1000, os.urandom(60_000), b"INVITE", b"SIP/2.0 200 OK\r\n\r\n", OPTIONS.encode()[:100]):
        server.phone.sendto(octets, ("127.0.0.1", server.port))
    answers = [server.options(7)]
    while b"OPTIONS" not in answers[-1]:
        answers.append(server.phone.recv(4096))
    assert b"SIP/2.0 200 OK" in answers[-1]
    assert "Traceback" not in server.stop()


def test_a_port_that_is_taken_is_said_in_one_line(server: Server, tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-m", "sip_front", "--config", str(tmp_path / "bellframe.toml")]
    second = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=pathlib.Path(__file__).parents[2])
    assert second.returncode == 1 and len(second.stderr.splitlines()) == 1
    assert f"sip.listen: cannot listen on 127.0.0.1:{server.port}" in second.stderr and "ss -ulpn" in second.stderr
