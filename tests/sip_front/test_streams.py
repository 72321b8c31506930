"""The front's real process, and connections on loopback: what is let in, answered, closed, and in time."""

import contextlib
import pathlib
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sip_front.streams import explain
from sip_front.transport import Address
from tests.pki import Authority
from tests.sip_front.front_process import HOST, IDLE_S, START_S, Front

pytestmark = [pytest.mark.system, pytest.mark.peer]
OPTIONS = (
    f"OPTIONS sip:echo@{HOST} SIP/2.0\r\nVia: SIP/2.0/TCP {HOST};branch=z9hG4bKo;rport\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:echo@b>\r\n"
    "Call-ID: o\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
).encode()
Start = Callable[..., Front]


@pytest.fixture(scope="module", name="authority")
def _authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(name="start")
def _start(tmp_path: pathlib.Path, authority: Authority) -> Iterator[Start]:
    started: list[Front] = []

    def start(**more: Any) -> Front:
        started.append(Front(tmp_path / f"front-{len(started)}", authority, **more))
        return started[-1]

    yield start
    for front in started:
        front.stop()


def read_all(one: socket.socket) -> bytes:
    got = b""
    with contextlib.suppress(ConnectionError):
        while more := one.recv(4_096):
            got += more
    return got


def test_options_over_tcp_and_tls_in_single_octets_and_with_pings(start: Start, authority: Authority) -> None:
    front = start()
    context = ssl.create_default_context(cafile=str(authority.certificate))
    for one in (front.connect(), context.wrap_socket(front.connect(front.tls), server_hostname=HOST)):
        with one:
            one.sendall(b"\r\n\r\n")
            assert one.recv(10) == b"\r\n"
            for octet in OPTIONS + OPTIONS.replace(b"bKo", b"bKp"):
                one.sendall(bytes([octet]))
            got = b""
            while got.count(b"SIP/2.0 200 OK") < 2:
                got += one.recv(4_096)
            assert b"rport=" in got


@pytest.mark.parametrize(
    ("octets", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b""),
        (b"\x16\x03\x01\x02\x00\x01", b""),
        (OPTIONS.replace(b"Length: 0", b"Length: -1"), b"SIP/2.0 400"),
        (OPTIONS.replace(b"Length: 0", b"Length: 999999"), b"SIP/2.0 400"),
        (OPTIONS.replace(b"Content-Length: 0\r\n", b""), b"SIP/2.0 400"),
    ],
)
def test_what_is_no_sip_ends_the_connection_and_a_bad_length_is_answered_first(start: Start, octets: bytes, answer: bytes) -> None:
    front = start()
    with front.connect() as one:
        one.sendall(octets)
        got = read_all(one)
    assert got.startswith(answer) and bool(got) == bool(answer)


def test_a_stranger_s_connection_is_closed_at_once_with_one_line(start: Start) -> None:
    front = start(allow=["127.0.0.2/32"])
    for port in (front.sip, front.tls) * 10:
        with front.connect(port) as one:
            assert read_all(one) == b""
    front.wait_for("the line", lambda: f"{HOST} is not in sip.allow; add its network there" in front.log())
    assert front.log().count("closed a connection of") == 1
    with front.connect(source="127.0.0.2") as one:
        one.sendall(OPTIONS)
        assert one.recv(4_096).startswith(b"SIP/2.0 200")


def test_one_source_has_so_many_connections_and_no_more(start: Start) -> None:
    front = start(max_connections_per_source=3)
    held = [front.connect() for _ in range(3)]
    with front.connect() as one:
        assert read_all(one) == b""
    front.wait_for("the line", lambda: "it has 3 connections already; raise sip.max_connections_per_source" in front.log())
    with front.connect(source="127.0.0.2") as one:
        one.sendall(OPTIONS)
        assert one.recv(4_096).startswith(b"SIP/2.0 200")
    for one in held:
        one.close()


def test_idle_connections_and_stalled_handshakes_are_gone_in_time(start: Start) -> None:
    front = start(max_connections_per_source=2_000)
    with front.connect() as one:  # uvloop keeps a descriptor in reserve from its first connection on
        one.sendall(OPTIONS)
        one.recv(4_096)
    front.wait_for("that one is gone", lambda: "/dev/null" in front.files and front.sockets == front.sockets_at_start)
    before = front.descriptors
    idle = [front.connect() for _ in range(1_000)]
    stalled = [front.connect(front.tls) for _ in range(50)]
    with front.connect() as quiet:
        quiet.sendall(OPTIONS)
        assert quiet.recv(4_096).startswith(b"SIP/2.0 200"), "one that speaks does not wait for them"
        front.wait_for("all of them are gone", lambda: front.descriptors <= before, START_S + IDLE_S + 4)
        assert read_all(quiet) == b""
    for one in (*idle, *stalled):
        assert read_all(one) == b""
        one.close()


def test_whoever_does_not_read_is_cut_off(start: Start) -> None:
    """Its answers must not pile up here."""
    front = start(connection_start_seconds=30, connection_idle_seconds=30)
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)  # before it connects: later it would drop what it had asked for
        one.settimeout(10)
        one.connect((HOST, front.sip))
        with pytest.raises(ConnectionError):
            for _ in range(2_000):
                one.sendall(OPTIONS * 100)
    front.wait_for("the line", lambda: "it has not read 256 KiB that we sent it" in front.log())
    assert len(front.log().splitlines()) < 5


def test_a_certificate_is_read_again_on_sighup(start: Start, authority: Authority) -> None:
    front = start()
    front.process.send_signal(signal.SIGHUP)
    front.wait_for("the line", lambda: "certificates read again: " in front.log())


@pytest.mark.parametrize(
    ("failure", "transport", "text"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "tcp", "Connection refused; look whether it listens there, and at firewalls"),
        (TimeoutError(), "tcp", "it did not answer in time; look at its address, at firewalls"),
        (TimeoutError(), "tls", "it did not answer in time; look at its address, at firewalls, and whether it speaks TLS at that port"),
    ],
)
def test_what_went_wrong_says_what_helps(failure: OSError, transport: str, text: str) -> None:
    assert explain(failure, Address("192.0.2.1", 5061, transport)).endswith(text)
