"""The HTTP API against a server that carries calls, and calls that it is asked to make."""

import hmac
import http.server
import json
import pathlib
import queue
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import require_peer
from tests.system.caller import Caller
from tests.system.conftest import StartServer
from tests.system.server import HOST, Server, free_tcp_port, wait_for

TOKEN, SECRET = "the-token-of-this-test", "the-secret-of-this-test"


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what is posted. The first one is refused, as a receiver that is just being restarted does."""

    posts: "queue.Queue[tuple[dict[str, str], bytes]]"
    refused = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        is_first, type(self).refused = not self.refused, 1
        if not is_first:
            self.posts.put((dict(self.headers), body))
        self.send_response(503 if is_first else 204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture(scope="module")
def receiver() -> Iterator[http.server.ThreadingHTTPServer]:
    Receiver.posts = queue.Queue()
    server = http.server.ThreadingHTTPServer((HOST, 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Api:
    def __init__(self, server: Server, port: int) -> None:
        self.server, self.base = server, f"http://{HOST}:{port}"

    def __call__(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", **({"Content-Type": "application/json"} if data else {}), **headers}
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                content, is_json = response.read(), response.headers.get_content_type() == "application/json"
                return response.status, json.loads(content) if is_json else content.decode()
        except urllib.error.HTTPError as failure:
            return failure.code, json.loads(failure.read())

    def ended(self, call_id: str) -> Any:
        def look() -> Any:
            _, call = self("GET", f"/v1/calls/{call_id}")
            return call if call.get("state") == "ended" else None

        return wait_for(f"{call_id} has ended", look)


@pytest.fixture(scope="module")
def api(start_server: StartServer, receiver: http.server.ThreadingHTTPServer, tmp_path_factory: pytest.TempPathFactory) -> Api:
    port = free_tcp_port()
    webhook = f"http://{HOST}:{receiver.server_port}/hook"
    settings = {"listen": f"{HOST}:{port}", "tokens": [TOKEN], "webhook": webhook, "webhook_secret": SECRET}
    records = {"file": str(tmp_path_factory.mktemp("records") / "calls.db")}
    return Api(start_server(only=[{"agent": "echo"}], http=settings, records=records, sip={"trace": True}), port)


def test_a_call_that_came_in_is_seen_and_hung_up(api: Api) -> None:
    wait_for("it is well", lambda: api("GET", "/healthz")[0] == 200)
    with Caller(api.server.sip_port) as caller:
        caller.wait_for_packets(10)
        status, listed = api("GET", "/v1/calls")
        [call] = listed["calls"]
        assert status == 200 and (call["caller"], call["state"], call["outcome"], call["status"]) == (caller.name, "up", "answered", 200)
        assert call["started_at"] <= call["rang_at"] <= call["answered_at"] and call["ended_at"] == 0
        figures = api("GET", "/metrics")[1]
        assert 'bellframe_calls{direction="inbound",trunk="",state="up"} 1' in figures
        assert float(figures.partition("\nbellframe_media_packets_received_total ")[2].partition("\n")[0]) >= 10
        assert 'bellframe_worker_lateness_seconds_count{worker="0"} 0' not in figures
        assert api("DELETE", f"/v1/calls/{call['call_id']}") == (204, "")
        caller.answer_bye()
    ended = api.ended(call["call_id"])
    assert (ended["cause"], ended["outcome"]) == ("hung up through the API", "answered")
    assert ended["counters"]["packets_received"] >= 10 and ended["ended_at"] > ended["answered_at"]


def test_a_call_out_to_ourselves_is_one_call_whose_steps_are_posted(api: Api) -> None:
    api.server.wait_until_quiet()
    order = {"to": f"sip:echo@{HOST}:{api.server.sip_port}", "agent": "echo", "caller": "+4930"}
    made = [api("POST", "/v1/calls", order, **{"Idempotency-Key": "test-1"}) for _ in range(2)]
    assert made[0] == made[1] and made[0][0] == 202
    call_id = made[0][1]["call_id"]

    def is_up() -> bool:
        return bool(api("GET", f"/v1/calls/{call_id}")[1]["state"] == "up")

    wait_for("it is up", is_up)
    assert {call["direction"] for call in api("GET", "/v1/calls")[1]["calls"]} == {"inbound", "outbound"}
    assert len(api("GET", "/v1/calls")[1]["calls"]) == 2
    assert api("POST", f"/v1/calls/{call_id}/hold")[0] == 202
    assert api("POST", f"/v1/calls/{call_id}/resume")[0] == 202
    assert api("POST", f"/v1/calls/{call_id}/dtmf", {"keys": "12#"})[0] == 202
    assert api("DELETE", f"/v1/calls/{call_id}")[0] == 204
    assert api.ended(call_id)["outcome"] == "answered"
    found = []
    while not found or found[-1]["event"] != "call.ended":
        headers, body = Receiver.posts.get(timeout=15)
        at = headers["Bellframe-Signature"].partition(",")[0].removeprefix("t=")
        expected = hmac.new(SECRET.encode(), f"{at}.".encode() + body, "sha256").hexdigest()
        assert headers["Bellframe-Signature"] == f"t={at},v1={expected}"
        if json.loads(body)["call"]["call_id"] == call_id:
            found.append(json.loads(body))
    assert [event["event"] for event in found] == ["call.started", "call.ringing", "call.answered", "call.ended"]


def test_every_call_leaves_a_record(api: Api) -> None:
    with Caller(api.server.sip_port) as caller:
        caller.wait_for_packets(20)

    def look() -> Any:
        done = api.server.command("records", "--since", "10m", "--json")
        return next((call for call in json.loads(done.stdout) if call["caller"] == caller.name), None) if done.returncode == 0 else None

    call = wait_for("its record", look)
    assert (call["outcome"], call["status"], call["cause"]) == ("answered", 200, "the far end hung up")
    assert call["counters"]["packets_received"] >= 20 and call["started_at"] <= call["answered_at"] < call["ended_at"]
    assert caller.name in api.server.command("records").stdout


@pytest.mark.peer
def test_a_call_that_ended_is_drawn_and_captured(api: Api, tmp_path: pathlib.Path) -> None:
    tshark = require_peer("tshark")
    with Caller(api.server.sip_port) as caller:
        caller.wait_for_packets(5)
        call_id = api("GET", "/v1/calls")[1]["calls"][0]["call_id"]
    api.ended(call_id)
    file = tmp_path / "call.pcap"
    done = api.server.command("trace", call_id, "--full", "--pcap", str(file))
    assert done.returncode == 0, done
    drawn = [line for line in done.stdout.splitlines() if "──" in line]
    assert " INVITE " in drawn[0] and " 200 OK (BYE) " in drawn[-1] and f"Call-ID: {caller.call_id}" in done.stdout
    command = [tshark, "-r", str(file), "-T", "fields", "-e", "sip.Call-ID", "-e", "_ws.malformed"]
    fields = subprocess.run(command, capture_output=True, text=True)
    assert fields.stdout.split() == [caller.call_id] * len(drawn), fields
    assert len(api("GET", f"/v1/calls/{call_id}/trace")[1]["messages"]) == len(drawn)


def test_what_becomes_of_an_order_is_told_later(api: Api) -> None:
    nobody = f"sip:x@{HOST}:{free_tcp_port()}"
    status, made = api("POST", "/v1/calls", {"to": nobody, "agent": "echo"})
    assert status == 202 and made["outcome"] in ("queued", "failed")
    ended = wait_for("it failed", lambda: (c := api("GET", f"/v1/calls/{made['call_id']}")[1])["state"] == "ended" and c, limit_s=40)
    assert ended["outcome"] == "failed" and ended["cause"]
    assert api("POST", "/v1/calls", {"to": "bob", "agent": "echo"})[0] == 422


def test_events_are_streamed(api: Api) -> None:
    request = urllib.request.Request(api.base + "/v1/events", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=20) as stream:
        with Caller(api.server.sip_port) as caller:
            caller.wait_for_packets(5)
        kinds: list[str] = []
        states: list[str] = []
        while "ended" not in states:
            line = stream.readline().decode()
            if line.startswith("event: "):
                kinds.append(line.split()[1])
            elif line.startswith("data: ") and kinds[-1] == "call":
                states.append(json.loads(line[6:])["state"])
        assert {"call", "sip"} <= set(kinds) and states[-2:] == ["closing", "ended"]


def test_health_is_red_while_draining_and_the_process_ends_with_the_server(api: Api) -> None:
    """The last test of this module: the server drains for good."""
    with Caller(api.server.sip_port) as caller:
        caller.wait_for_packets(5)
        api.server.terminate()
        wait_for("it is red", lambda: api("GET", "/healthz")[1]["why"].startswith("draining"))
        file = json.loads((api.server.runtime / "config.json").read_text())["records"]["file"]
    api.server.stop()
    assert caller.name in api.server.command("records", "--file", file).stdout, "also the call that ended last"
