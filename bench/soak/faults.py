"""Killing our own processes, one after the other, while calls go on."""

import contextlib
import os
import pathlib
import signal
import time

from bench.server import Server

KINDS = {"worker": "media_workers", "bridge": "ai_bridge", "keeper": "media_workers", "front": "sip_front"}
"""Kind of fault -> module of the process. A worker is forked by the keeper, so both carry its name."""


class Faults:
    """`strike` kills the next kind's process. `events`: (seconds, kind, pid)."""

    def __init__(self, server: Server, kinds: list[str]) -> None:
        self.server, self.kinds = server, kinds
        self.events: list[tuple[float, str, int]] = []
        self.started = time.monotonic()

    def strike(self) -> None:
        kind = self.kinds[len(self.events) % len(self.kinds)]
        pid = find(self.server, kind)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.events.append((time.monotonic() - self.started, kind, pid))


def find(server: Server, kind: str) -> int:
    """0: it is being replaced just now."""
    if kind == "worker":
        return server.worker_pid()
    module = KINDS[kind].encode()
    of_module = [pid for pid in server.pids() if module in _words(pid)]
    if kind == "bridge":
        return of_module[-1] if of_module else 0  # the fork that runs the agents, not its warm parent
    return of_module[0] if of_module else 0


def _words(pid: int) -> list[bytes]:
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
