"""The front's process of its own, for tests and benchmarks that speak to it over real sockets."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import zmq

from control_plane.channel import Channel
from control_plane.messages import AgentStarted, Alive, CloseMedia, MediaClosed, MediaOpened, Message, OpenMedia, StartAgent
from tests.pki import Authority

HOST, ROOT = "127.0.0.1", pathlib.Path(__file__).parents[2]
START_S, IDLE_S = 1.0, 2.0
ALIVE_S = 1.0


class Front:
    """The process; its ports are `sip` (UDP and TCP) and `tls`."""

    def __init__(self, folder: pathlib.Path, authority: Authority, after: str = "", **more: Any) -> None:
        """`more`: of [sip]. `after`: the rest of the configuration."""
        self.folder = folder
        self.sip, self.tls = free_port(), free_port()
        pair = authority.issue("bellframe")
        folder.mkdir(mode=0o700)
        values = {
            "listen": [f"{HOST}:{self.sip}", f"tls:{HOST}:{self.tls}"], "tls_certificate": str(pair.certificate), "tls_key": str(pair.key),
            "connection_start_seconds": START_S, "connection_idle_seconds": IDLE_S, "drain_seconds": 0, **more,
        }  # fmt: skip
        lines = [f"{name} = {str(value).lower() if isinstance(value, bool) else repr(value)}" for name, value in values.items()]
        config = folder / "bellframe.toml"
        config.write_text(f'runtime_directory = "{folder}"\n[sip]\n' + "\n".join(lines).replace("'", '"') + f"\n{after}")
        self.log_path = folder / "log"
        with self.log_path.open("wb") as log:
            command = [sys.executable, "-m", "sip_front", "--config", str(config)]
            self.process = subprocess.Popen(command, stderr=log, cwd=ROOT)
        self.wait_for("it listens", lambda: "listening for SIP" in self.log())
        self.sockets_at_start = self.sockets

    def log(self) -> str:
        return self.log_path.read_text()

    def wait_for(self, what: str, look: Callable[[], object], limit_s: float = 10.0) -> None:
        deadline = time.monotonic() + limit_s
        while not look():
            assert self.process.poll() is None and time.monotonic() < deadline, f"{what}: not within {limit_s:g} s\n{self.log()}"
            time.sleep(0.02)

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def files(self) -> list[str]:
        folder, found = pathlib.Path(f"/proc/{self.process.pid}/fd"), []
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                found.append(os.readlink(path))
        return found

    @property
    def sockets(self) -> int:
        return sum(name.startswith("socket:") for name in self.files)

    def connect(self, port: int = 0, source: str = HOST) -> socket.socket:
        return socket.create_connection((HOST, port or self.sip), timeout=5, source_address=(source, 0))

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(10) == 0, self.log()
        finally:
            self.process.kill()
            self.process.wait()
        assert "Traceback" not in self.log() and "Warning" not in self.log() and "a bug" not in self.log(), self.log()


def free_port() -> int:
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


class Staff:
    """A worker and a bridge in name only: they say yes to every call, and send no audio to anybody."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder, self.is_over = folder, threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def stop(self) -> None:
        self.is_over.set()
        self.thread.join()

    def _run(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        worker, bridge = (Channel(context, self.folder, name) for name in ("worker-0", "bridge-0"))
        due = 0.0
        while not self.is_over.is_set():
            if time.monotonic() >= due:
                due = time.monotonic() + ALIVE_S
                worker.send(Alive("worker", 0, os.getpid(), capacity=1000))
                bridge.send(Alive("bridge", 0, os.getpid()))
            zmq.select([worker.socket, bridge.socket], [], [], 0.05)
            for channel in (worker, bridge):
                for message in channel.receive():
                    answer = self._answer(message)
                    if answer:
                        channel.send(answer)
        worker.close()
        bridge.close()
        context.term()

    @staticmethod
    def _answer(message: Message) -> Message | None:
        match message:
            case OpenMedia(call_id=call_id):
                return MediaOpened(call_id, 0, 0, 1, 10_000, 8_000)
            case CloseMedia(call_id=call_id):
                return MediaClosed(call_id, {"packets_received": 500, "lost": 2, "mos_mean_x100": 421})
            case StartAgent(call_id=call_id):
                return AgentStarted(call_id)
        return None
