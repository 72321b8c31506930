"""The process as it is started, beside a front that is real."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

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
