"""Calls over TCP and TLS with real peers, and connections that come to nothing."""

import contextlib
import json
import os
import pathlib
import socket
import ssl
import statistics
import subprocess
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.conftest import require_peer
from tests.pki import Authority, Pair
from tests.system import sipp
from tests.system.baresip import Baresip
from tests.system.conftest import StartServer
from tests.system.server import HOST, ROOT, Server, free_tcp_port, wait_for
from tests.system.sound import pitch_and_level, write_tone
from tests.system.stream_caller import StreamCaller

START_S, IDLE_S = 2.0, 3.0
IDLE_CONNECTIONS, STALLED_HANDSHAKES = 1_000, 50


class Secure(NamedTuple):
    server: Server
    tls_port: int
    authority: Authority
    pair: Pair

    def context(self, pair: Pair | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        if pair:
            context.load_cert_chain(pair.certificate, pair.key)
        return context


@pytest.fixture(scope="module", name="secure")
def _secure(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    authority = Authority(tmp_path_factory.mktemp("pki"))
    pair, tls_port = authority.issue("bellframe"), free_tcp_port()
    server = start_server(agent="echo", more_listen=(f"tls:{HOST}:{tls_port}",), sip={
        "tls_certificate": str(pair.certificate), "tls_key": str(pair.key), "tls_server_ca": str(authority.certificate),
        "connection_start_seconds": START_S, "connection_idle_seconds": IDLE_S, "max_connections_per_source": 3_000,
    })  # fmt: skip
    yield Secure(server, tls_port, authority, pair)


@pytest.mark.peer
@pytest.mark.parametrize("mode", ["t1", "tn"])
def test_sipp_calls_over_tcp(server: Server, tmp_path: pathlib.Path, mode: str) -> None:
    """t1: all calls on one connection; tn: each on its own."""
    before = server.status().calls_total
    messages = sipp.run("call", server.sip_port, tmp_path, "-t", mode, "-d", "300", "-max_socket", "50", calls=20, rate=20)
    assert "SIP/2.0/TCP" in messages and ";transport=tcp>" in messages
    server.wait_until_quiet()
    assert server.status().calls_total - before == 20


@pytest.mark.parametrize("is_secure", [False, True], ids=["tcp", "tls"])
def test_a_call_over_a_stream_is_heard_and_ended_by_either_side(secure: Secure, is_secure: bool) -> None:
    port, context = (secure.tls_port, secure.context()) if is_secure else (secure.server.sip_port, None)
    with StreamCaller(port, context=context) as caller:
        caller.wait_for_packets(75)
        pitch_hz, level = pitch_and_level(caller.audio(len(caller.received) - 50))
        assert abs(pitch_hz - 440) < 15 and 7_000 < level < 9_000
        [call] = json.loads(secure.server.command("calls", "--json").stdout)
        assert call["remote"].startswith("tls:" if is_secure else "tcp:")
        secure.server.command("hangup", call["call_id"])
        assert caller.answer_bye().startswith("BYE ")
    with StreamCaller(port, context=context) as caller:
        time.sleep(IDLE_S + START_S)  # silent for longer than an idle connection may be: a call uses it
    secure.server.wait_until_quiet()
    secure.server.check_log()


def test_a_call_whose_connection_was_cut_is_ended_over_a_new_one(secure: Secure) -> None:
    with StreamCaller(secure.server.sip_port) as caller:
        caller.wait_for_packets(10)
        caller.cut()
        caller.wait_for_packets(50)
        [call] = json.loads(secure.server.command("calls", "--json").stdout)
        secure.server.command("hangup", call["call_id"])
        caller.wait_for_connection()
        assert caller.answer_bye().startswith("BYE ")
    secure.server.wait_until_quiet()


@pytest.mark.peer
@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_baresip_calls_us_and_we_call_it(secure: Secure, tmp_path: pathlib.Path, transport: str) -> None:
    folder = tmp_path / "phone"
    folder.mkdir()
    with Baresip(folder, answers=True, transport=transport, authority=secure.authority) as phone:
        port = secure.tls_port if transport == "tls" else secure.server.sip_port
        phone.dial(f"sip:echo@{HOST}:{port}")  # its account names the transport, and it would write it twice
        [call] = json.loads(secure.server.command("calls", "--json").stdout)
        assert call["remote"].startswith(f"{transport}:")
        phone.hang_up()
        secure.server.wait_until_quiet()
        write_tone(folder / "short.wav", 1_000, seconds=1.0)
        uri = f"sip:{phone.user}@{HOST}:{phone.sip_port + (transport == 'tls')};transport={transport}"
        done = secure.server.command("call", uri, "--play", str(folder / "short.wav"), "--json")
        told = json.loads(done.stdout)
        assert done.returncode == 0 and told["was_answered"], (done, phone.log())
    secure.server.wait_until_quiet()
    secure.server.check_log()


@pytest.mark.peer
def test_openssl_speaks_1_2_and_1_3_with_us_and_nothing_older(secure: Secure) -> None:
    for option, is_spoken in (("-tls1_2", True), ("-tls1_3", True), ("-tls1_1", False)):
        command = [require_peer("openssl"), "s_client", "-connect", f"{HOST}:{secure.tls_port}", option]
        command += ["-CAfile", str(secure.authority.certificate), "-verify_return_error", "-cipher", "ALL:@SECLEVEL=0"]
        done = subprocess.run(command, input=b"", capture_output=True, timeout=10, check=False)
        assert (b"Verify return code: 0 (ok)" in done.stdout and b"Cipher is (NONE)" not in done.stdout) == is_spoken, (option, done)


def test_a_certificate_that_does_not_fit_is_said_in_the_call_s_cause(secure: Secure, tmp_path: pathlib.Path) -> None:
    other = Authority(tmp_path / "other").issue("impostor")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(other.certificate, other.key)
    with socket.create_server((HOST, 0)) as one:
        command = secure.server.command_line("call", f"sip:x@{HOST}:{one.getsockname()[1]};transport=tls", "--json")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        accepted, _ = one.accept()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(accepted, server_side=True).recv(1)
        out, _ = process.communicate(timeout=20)
    cause = json.loads(out)["call"]["cause"]
    assert "cannot connect to tls:" in cause and "signed by one of sip.tls_server_ca" in cause


def test_a_renewed_certificate_is_shown_without_a_restart(secure: Secure) -> None:
    def serial() -> str:
        one = socket.create_connection((HOST, secure.tls_port), timeout=5)
        with secure.context().wrap_socket(one, server_hostname=HOST) as tls:
            return str((tls.getpeercert() or {})["serialNumber"])

    first = serial()
    with StreamCaller(secure.tls_port, context=secure.context()) as caller:
        caller.wait_for_packets(10)
        secure.authority.issue("bellframe", into=secure.pair)
        wait_for("the new certificate", lambda: serial() != first)
        caller.wait_for_packets(10)


def test_mutual_tls_lets_in_whom_the_authority_signed(start_server: StartServer, tmp_path: pathlib.Path) -> None:
    authority, tls_port = Authority(tmp_path / "pki"), free_tcp_port()
    pair = authority.issue("bellframe")
    server = start_server(agent="echo", more_listen=(f"tls:{HOST}:{tls_port}",), sip={
        "tls_certificate": str(pair.certificate), "tls_key": str(pair.key), "tls_client_ca": str(authority.certificate),
    })  # fmt: skip
    secure = Secure(server, tls_port, authority, pair)
    with StreamCaller(tls_port, context=secure.context(authority.issue("carrier"))) as caller:
        caller.wait_for_packets(10)
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        StreamCaller(tls_port, context=secure.context()).transact("OPTIONS")
    wait_for("the reason", lambda: f"no TLS with {HOST}: " in server.log())


def test_idle_connections_and_stalled_handshakes_are_gone_in_time_and_nobody_waits_for_them(secure: Secure) -> None:
    server = secure.server
    front = next(pid for pid in server.pids() if b"sip_front" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{front}/fd"))

    wait_for("earlier connections are gone", lambda: descriptors() < 60, IDLE_S + START_S + 5)
    before, began = descriptors(), time.monotonic()
    idle = [socket.create_connection((HOST, server.sip_port), timeout=5) for _ in range(IDLE_CONNECTIONS)]
    stalled = [socket.create_connection((HOST, secure.tls_port), timeout=5) for _ in range(STALLED_HANDSHAKES)]
    set_ups = []
    for _ in range(20):
        at = time.monotonic()
        with StreamCaller(server.sip_port):
            set_ups.append(1_000 * (time.monotonic() - at))
    print(f"set-up beside {len(idle) + len(stalled)} connections: median {statistics.median(set_ups):.0f} ms, worst {max(set_ups):.0f} ms")
    assert max(set_ups) < 500
    wait_for("all of them are gone", lambda: descriptors() <= before + 2, START_S + 5)
    print(f"all gone {time.monotonic() - began:.1f} s after the first of them came")
    for one in (*idle, *stalled):
        one.settimeout(5)
        with contextlib.suppress(ConnectionError):
            assert one.recv(1) == b""
        one.close()
    server.check_log()
