"""The process as it is started, beside a front that is real."""

import asyncio
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
import zmq

from control_plane.channel import Channel
from control_plane.config import Config
from control_plane.http.feed import Feed
from control_plane.http.process import serve
from control_plane.messages import Alive, CloseMedia, MediaClosed, MediaOpened, OpenMedia, Originate
from tests.control_plane.http.test_spans import Collector
from tests.sip_front.test_process import Server, server  # noqa: F401  (a fixture)

TOKEN = "a-token-of-our-own-1"


class Http:
    def __init__(self, directory: pathlib.Path, config: dict[str, object]) -> None:
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(directory / "http-notify"))
        self.notified.settimeout(10)
        file = directory / "http.json"
        file.write_text(json.dumps({"runtime_directory": str(directory), **config}))
        environment = {**os.environ, "NOTIFY_SOCKET": str(directory / "http-notify"), "WATCHDOG_USEC": "500000"}
        command = [sys.executable, "-m", "control_plane.http", "--config", str(file)]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    def get(self, path: str, token: str = TOKEN) -> tuple[int, bytes]:
        request = urllib.request.Request(f"{self.base}{path}", headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as failure:
            return failure.code, failure.read()

    @property
    def base(self) -> str:
        """Where it listens, as it says to its manager."""
        if not hasattr(self, "_base"):
            told = self.notified.recv(1000).decode()
            assert told.startswith("READY=1\nSTATUS=listening for HTTP on "), told
            self._base = f"http://{told.rpartition(' ')[2]}"
        return self._base

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        _, text = self.process.communicate(timeout=10)
        self.notified.close()
        return text


def test_it_serves_reports_ready_feeds_its_watchdog_and_ends(server: Server) -> None:  # noqa: F811
    http = Http(server.directory, {"http": {"listen": "127.0.0.1:0", "tokens": [TOKEN]}})
    try:
        assert http.get("/v1/calls") == (200, b'{"calls":[]}')
        assert http.get("/v1/calls", "another")[0] == 401
        status, body = http.get("/healthz", "")
        assert status == 503 and json.loads(body)["why"].startswith("no worker is heard")
        assert http.notified.recv(1000) == b"WATCHDOG=1"
    finally:
        text = http.stop()
    assert http.process.returncode == 0 and "Traceback" not in text and TOKEN not in text


def test_work_that_fails_ends_the_process_so_that_another_takes_its_place(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(feed: Feed) -> None:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(Feed, "run", fail)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        asyncio.run(asyncio.wait_for(serve(Config(runtime_directory=str(tmp_path)), context), 10))
    finally:
        context.term()
    assert any("another takes its place" in record.message and "nobody thought" in str(record.exc_info) for record in caplog.records)


def test_a_call_that_has_ended_is_a_trace_at_the_collector(server: Server) -> None:  # noqa: F811
    """Through the real front and the real process: a call out that cannot even be sent."""
    collector = Collector()
    http = Http(server.directory, {"http": {"listen": "127.0.0.1:0", "tokens": [TOKEN]}, "traces": {"endpoint": collector.url}})
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    channel = Channel(context, server.directory, "worker-0")
    try:
        assert http.get("/v1/calls")[0] == 200
        channel.send(Alive("worker", 0, 1, capacity=10))
        channel.send(Alive("bridge", 0, 2))
        channel.send(Originate("out-1", "sip:1@255.255.255.255", "echo"))
        until(lambda: any(isinstance(message, OpenMedia) for message in channel.receive()))
        channel.send(MediaOpened("out-1", 0, 0, 1, 10_000, 8_000))
        until(lambda: any(isinstance(message, CloseMedia) for message in channel.receive()))
        channel.send(MediaClosed("out-1", {"lost": 3}))
        until(lambda: b'"ended"' in http.get("/v1/calls/out-1")[1])
    finally:
        text = http.stop()
        channel.close()
        context.term()
        collector.close()
    spans = collector.spans()
    assert set(spans) == {"call", "set-up"} and "Traceback" not in text
    attributes = {one.key: one.value.string_value or one.value.int_value for one in spans["call"].attributes}
    assert (attributes["bellframe.call_id"], attributes["bellframe.outcome"], attributes["bellframe.lost"]) == ("out-1", "failed", 3)


def until(is_true: Callable[[], bool], limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


WRONG: list[tuple[dict[str, object], str]] = [
    ({}, "there is nothing to do"),
    ({"http": {"listen": "127.0.0.1:0", "token_file": "/nonexistent"}}, "http.token_file: /nonexistent cannot be read"),
    ({"http": {"listen": "192.0.2.77:80", "tokens": [TOKEN]}}, "http.listen: cannot listen on 192.0.2.77:80"),
]


@pytest.mark.parametrize(("config", "why"), WRONG)
def test_it_says_why_it_does_not_start(tmp_path: pathlib.Path, config: dict[str, object], why: str) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    http = Http(tmp_path / "run", config)
    _, text = http.process.communicate(timeout=10)
    http.notified.close()
    assert http.process.returncode == 1 and f"bellframe: http: {why}" in text and "Traceback" not in text
