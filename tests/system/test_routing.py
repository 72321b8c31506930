"""Routes with real parts: an agent heard before the answer, a web server that decides, and one that hangs."""

import http.server
import json
import pathlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.baresip import PITCH_HZ, Baresip
from tests.system.caller import Caller, tone
from tests.system.conftest import StartServer
from tests.system.server import HOST, Server, wait_for
from tests.system.sound import loudest_second, pitch_and_level, read_wav

RINGBACK_HZ = 425
DECISIONS: dict[str, dict[str, Any]] = {
    "refused": {"refuse": 486},
    "tone": {"agent": "probes:Early", "answer": "early"},
}


class Decider(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        decision = DECISIONS.get(asked["call"]["callee"])
        body = b"" if decision is None else json.dumps(decision).encode()
        self.send_response(200 if body else 204)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture(scope="module")
def decider() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer((HOST, 0), Decider)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{HOST}:{server.server_address[1]}/route"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def hanging() -> Iterator[str]:
    """It takes connections, and says nothing ever."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(256)
        yield f"http://{HOST}:{listener.getsockname()[1]}/route"


@pytest.fixture(scope="module")
def routed(start_server: StartServer, decider: str, hanging: str) -> Server:
    only = [
        {"to": "early", "agent": "probes:Early", "answer": "early"},
        {"to": "hang*", "webhook": hanging, "webhook_seconds": 0.5, "agent": "echo"},
        {"to": "desk", "phones": ["anna"], "ring_seconds": 10},
        {"to": "desk", "agent": "echo"},
        {"to": "lobby", "phones": ["anna"], "answer": "at once"},
        {"webhook": decider, "agent": "echo", "max_minutes": 1},
    ]
    users = [{"name": "anna", "password": "secret"}]
    return start_server(only=only, http={"webhook_secret": "the secret of this test"}, users=users)


class EarlyCaller(Caller):
    """Hears what comes before the answer."""

    def __enter__(self) -> "EarlyCaller":
        self.sip.settimeout(8)
        self.sip.sendto(self.request("INVITE", self.offer), self.server)
        ringing = self.response()
        assert ringing.startswith("SIP/2.0 183"), ringing
        self.media = (HOST, int(ringing.partition("m=audio ")[2].split()[0]))
        self.description = ringing.partition("\r\n\r\n")[2]
        for thread in self._threads:
            thread.start()
        return self

    def response(self) -> str:
        while (text := self.sip.recv(65_535).decode()).startswith("SIP/2.0 100"):
            pass
        return text

    def be_answered(self) -> None:
        answer = self.response()
        assert answer.startswith("SIP/2.0 200"), answer
        assert answer.partition("\r\n\r\n")[2] == self.description, "the 200 says what the 183 said"
        self.remote_tag = answer.partition("\r\nTo: ")[2].partition("\r\n")[0].partition("tag=")[2]
        self.sip.sendto(self.request("ACK"), self.server)


@pytest.mark.parametrize("number", ["early", "tone"])
def test_an_agent_is_heard_and_hears_before_the_answer(routed: Server, number: str) -> None:
    with EarlyCaller(routed.sip_port, number) as caller:
        caller.wait_for_packets(20)
        (call,) = routed.calls()
        before = len(caller.received)
        assert (call.state, call.answered_at) == ("early", 0.0)
        caller.be_answered()
        pitch_hz, level = pitch_and_level(caller.audio(5, before))
        assert abs(pitch_hz - 1_000) < 60 and level > 6_000, "in what came before the 200"
        caller.wait_for_packets(25)
        caller.check_stream()
    routed.wait_until_quiet()


def test_a_webhook_refuses_and_leaves_a_call_to_the_route(routed: Server) -> None:
    wait_for("the process that asks webhooks", lambda: status_of(routed, "refused") == 486)
    with Caller(routed.sip_port, "other") as caller:
        caller.wait_for_packets(5)
        assert routed.calls()[0].agent == "echo"
    assert "its webhook decides nothing" not in routed.log()


def status_of(server: Server, number: str) -> int:
    caller = Caller(server.sip_port, number)
    try:
        answer = caller.transact("INVITE", caller.offer)
        caller.sip.sendto(caller.request("ACK"), caller.server)
        if answer.startswith("SIP/2.0 200"):
            caller.remote_tag = answer.partition("\r\nTo: ")[2].partition("\r\n")[0].partition("tag=")[2]
            caller.hang_up()
        return int(answer.split()[1])
    finally:
        caller.close()


def test_a_web_server_that_hangs_holds_nobody_up(routed: Server) -> None:
    began = time.monotonic()
    threads, statuses = [], list[int]()
    for _ in range(3):
        thread = threading.Thread(target=lambda: statuses.append(status_of(routed, "hanging")))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    assert statuses == [200] * 3 and time.monotonic() - began > 0.5
    times = []
    for _ in range(20):
        at = time.monotonic()
        assert status_of(routed, "hanging") == 200
        times.append(time.monotonic() - at)
    assert sorted(times)[10] < 0.25, "they do not wait for it any more"
    assert routed.log().count("its webhook decides nothing (no answer within 0.5 s)") == 1
    routed.wait_until_quiet()


@pytest.mark.peer
def test_a_phone_is_rung_and_has_the_call_and_without_it_the_next_route_does(routed: Server, tmp_path: pathlib.Path) -> None:
    with Caller(routed.sip_port, "desk") as caller:
        caller.wait_for_packets(5)
        assert [call.agent for call in routed.calls()] == ["echo"], "she is not registered"
    way = f';outbound="sip:{HOST}:{routed.sip_port};transport=udp"'
    account = f";auth_user=anna;auth_pass=secret;regint=300{way}"
    with Baresip(tmp_path, "anna", answers=True, account=account, registrar=f"{HOST}:{routed.sip_port}") as phone:
        wait_for("she has registered", lambda: "anna" in routed.command("phones").stdout)
        with Caller(routed.sip_port, "desk", tone(700)) as caller:
            caller.wait_for_packets(100)
            assert sorted(call.direction for call in routed.calls()) == ["inbound", "outbound"]
            pitch_hz, level = pitch_and_level(caller.audio(len(caller.received) - 40))
            assert abs(pitch_hz - PITCH_HZ) < 15 and level > 6_000, "what she says"
            time.sleep(1.0)
        routed.wait_until_quiet()
        wait_for("she was hung up", lambda: "Call with" in phone.log() and "terminated" in phone.log())
    heard, rate_hz = read_wav(phone.recording("dec"))
    pitch_hz, level = pitch_and_level(loudest_second(heard, rate_hz), rate_hz)
    assert abs(pitch_hz - 700) < 15 and level > 6_000, "what she hears"


@pytest.mark.peer
def test_a_caller_who_is_answered_at_once_hears_ringing_and_then_the_phone(routed: Server, tmp_path: pathlib.Path) -> None:
    account = f";auth_user=anna;auth_pass=secret;regint=300;outbound=\"sip:{HOST}:{routed.sip_port};transport=udp\""
    with Baresip(tmp_path, "anna", account=account, registrar=f"{HOST}:{routed.sip_port}") as phone:
        wait_for("she has registered", lambda: "anna" in routed.command("phones").stdout)
        with Caller(routed.sip_port, "lobby") as caller:
            caller.wait_for_packets(260)  # a ring and the rest after it
            pitch_hz, level = pitch_and_level(loudest_second(caller.audio()))
            assert abs(pitch_hz - RINGBACK_HZ) < 15 and level > 1_500
            phone.command("accept")
            wait_for("they are joined", lambda: [call.state for call in routed.calls()] == ["up", "up"])
            count = len(caller.received)
            caller.wait_for_packets(count + 60)
            pitch_hz, level = pitch_and_level(caller.audio(count + 20))
            assert abs(pitch_hz - PITCH_HZ) < 15 and level > 6_000, "what she says, and no ringing"
            caller.check_stream()
        routed.wait_until_quiet()
