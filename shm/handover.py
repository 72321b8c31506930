"""How a process gets at the segments: it asks the keeper over a Unix socket, and gets descriptors.

The socket lies in the runtime directory, and only our own user is answered. A bridge gets the rings, the
counters to look at, and its doorbell; the recorder gets rings and counters to look at; everybody else gets the counters to look at.
"""

import contextlib
import json
import os
import pathlib
import socket
import struct
from collections.abc import Iterator

from shm import counters, layout, segment

REQUEST_BYTES = 64


def socket_path(runtime_directory: pathlib.Path) -> pathlib.Path:
    return runtime_directory / "memory"


def listen(runtime_directory: pathlib.Path) -> socket.socket:
    """The keeper's socket, non-blocking. A stale one is replaced."""
    path = socket_path(runtime_directory)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(64)
    return listener


def serve_one(listener: socket.socket, rings_fd: int, counters_fd: int, bells: list[int]) -> str:
    """Answer one request; returns what was asked and the outcome, for the log. Waits for nobody longer than 100 ms."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(0.1)
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (0, os.geteuid()):
            return f"refused: user {uid} asked for the memory"
        try:
            what, _, index = connection.recv(REQUEST_BYTES).decode("ascii", "replace").partition(" ")
            if what == "bridge" and index.isdigit() and int(index) < len(bells):
                segment.send(connection, json.dumps({"bridges": len(bells)}).encode(), [rings_fd, counters_fd, bells[int(index)]])
            elif what == "recorder":
                seen_fd = segment.read_only(rings_fd)
                try:
                    segment.send(connection, json.dumps({"bridges": len(bells)}).encode(), [seen_fd, counters_fd])
                finally:
                    os.close(seen_fd)
            elif what == "counters":
                segment.send(connection, json.dumps({"bridges": len(bells)}).encode(), [counters_fd])
            else:
                segment.send(connection, json.dumps({"error": f"no such thing to give: {what} {index}"[:200]}).encode(), [])
        except OSError as failure:
            return f"failed: {failure}"
    return f"{what} {index}".strip()


@contextlib.contextmanager
def _given(runtime_directory: pathlib.Path, request: str) -> Iterator[list[int]]:
    """The keeper's answer: descriptors, closed at the end. A mapping keeps its own."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(5)
        connection.connect(str(socket_path(runtime_directory)))
        connection.send(request.encode())
        answer, fds = segment.receive(connection)
    try:
        error = json.loads(answer).get("error")
        if error:
            raise LookupError(error)
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def ask_as_bridge(runtime_directory: pathlib.Path, index: int) -> tuple[layout.Rings, counters.Counters, int]:
    """The rings (writable), the counters (read-only) and the doorbell's descriptor.

    Raises OSError while no keeper listens, LookupError if it has no bridge of this number.
    """
    with _given(runtime_directory, f"bridge {index}") as (rings_fd, counters_fd, bell_fd):
        rings = layout.rings_views(segment.map_fd(rings_fd))
        return rings, counters.counters_views(segment.map_fd(counters_fd)), os.dup(bell_fd)


def ask_as_recorder(runtime_directory: pathlib.Path) -> tuple[layout.Rings, counters.Counters]:
    """The rings and the counters, both read-only. Raises OSError while no keeper listens."""
    with _given(runtime_directory, "recorder") as (rings_fd, counters_fd):
        return layout.rings_views(segment.map_fd(rings_fd)), counters.counters_views(segment.map_fd(counters_fd))


def ask_for_counters(runtime_directory: pathlib.Path) -> counters.Counters:
    """The counters, read-only. Raises OSError while no keeper listens."""
    with _given(runtime_directory, "counters") as (fd,):
        return counters.counters_views(segment.map_fd(fd))
