"""The bot process of `bellframe demo --wire NAME`, and what it tells."""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from control_plane import client
from control_plane.messages import Noted

START_LIMIT_S = 60.0  # it learns what to say first


class BotFailed(client.CommandFailed):
    """The bot did not come up. The text says why."""


class Bot:
    """Raises BotFailed if it does not listen in time."""

    def __init__(self, wire: str) -> None:
        command = [sys.executable, "-m", "ai_bridge.wires.demo_bot", wire]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._complaints: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        threading.Thread(target=self._read_complaints, daemon=True).start()
        try:
            self.reference = f"{wire}+ws://127.0.0.1:{self._port()}/"
        except BaseException:
            self.stop()
            raise

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _read_complaints(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self._complaints = [*self._complaints[-20:], line.strip()]

    def _port(self) -> int:
        until = time.monotonic() + START_LIMIT_S
        try:
            line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            raise BotFailed(f"the bot did not listen within {START_LIMIT_S:.0f} s") from None
        if line is None:
            self._process.wait()
            raise BotFailed(f"the bot ended before it listened: {self._complaints[-1] if self._complaints else self._process.returncode}")
        return int(line)

    def notes(self) -> Iterator[Noted]:
        """What it did since it was asked last. Times are of the monotonic clock, as the server's are."""
        while True:
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                return
            if line is None:
                return
            told = json.loads(line)
            yield Noted("", told["at_ns"], told["kind"], told["text"])

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def __enter__(self) -> "Bot":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
