"""Ten thousand connections that say nothing, half of them TLS handshakes that never go on. Does a trusted peer still connect in time?

A hundred addresses open them as fast as they can, while a peer of sip.allow connects again and again, by TCP and by TLS in turn, sends
OPTIONS and waits for the answer. "held": the hundred may call, and there is room for all. "strangers": with [[users]] everybody may turn
out to be one, so they are let in, as far as the limits go that the configuration has by itself. All must be gone after their deadline.
"""

import contextlib
import pathlib
import socket
import ssl
import sys
import tempfile
import threading
import time
from typing import Any

import numpy as np

from bench.flood import resident_mb
from bench.front_takeover import in_child
from tests.pki import Authority
from tests.sip_front.front_process import HOST, Front

CONNECTIONS, SOURCES, PROBES_PER_SECOND = 10_000, 100, 20.0
START_S, LATE_S = 10.0, 3.0  # sip.connection_start_seconds as it is, and how late the last may go
USERS = '[[users]]\nname = "anna"\npassword = "secret"\n'
OPTIONS = (
    f"OPTIONS sip:echo@{HOST} SIP/2.0\r\nVia: SIP/2.0/TCP {HOST};branch=z9hG4bKo;rport\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:echo@b>\r\n"
    "Call-ID: o\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
).encode()


class Trusted(threading.Thread):
    """Connects again and again, each time anew."""

    def __init__(self, front: Front, context: ssl.SSLContext) -> None:
        super().__init__()
        self.front, self.context, self.is_over = front, context, threading.Event()
        self.took_ms: list[float] = []
        self.failures: list[str] = []

    def run(self) -> None:
        while not self.is_over.wait(1.0 / PROBES_PER_SECOND):
            began, is_tls = time.monotonic(), len(self.took_ms) % 2
            try:
                with self.front.connect(self.front.tls if is_tls else self.front.sip) as plain:
                    one = self.context.wrap_socket(plain, server_hostname=HOST) if is_tls else plain
                    with one:
                        one.sendall(OPTIONS)
                        if not one.recv(4_096).startswith(b"SIP/2.0 200"):
                            self.failures.append("another answer, or none")
            except OSError as failure:
                self.failures.append(repr(failure))
            self.took_ms.append((time.monotonic() - began) * 1e3)

    def figures(self) -> dict[str, Any]:
        self.is_over.set()
        self.join()
        percent = {str(p): float(np.percentile(self.took_ms, p)) for p in (50, 99, 100)}
        return {"connects": len(self.took_ms), "failed": len(self.failures), "connect_ms": percent}


def strangers(ports: tuple[int, int], count: int, until_s: float) -> int:
    """Opens them and keeps them, until they are closed or the time is over. How many were still open a moment after the last."""
    held: list[socket.socket] = []
    for n in range(count):
        one = socket.socket()
        one.settimeout(5)
        with contextlib.suppress(OSError):
            one.bind((f"127.1.0.{1 + n % SOURCES}", 0))
            one.connect((HOST, ports[n % 2]))
            held.append(one)
    time.sleep(0.5)
    open_now = sum(not is_closed(one) for one in held)
    deadline = time.monotonic() + until_s
    while time.monotonic() < deadline and not all(is_closed(one) for one in held[-10:]):
        time.sleep(0.05)
    return open_now


def is_closed(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return not one.recv(100)
    except BlockingIOError:
        return False
    except OSError:
        return True


def step(name: str, count: int, limits: dict[str, Any], folder: pathlib.Path, start_s: float = START_S) -> dict[str, Any]:
    authority = Authority(folder)
    front = Front(
        folder / "front", authority, after=USERS, connection_start_seconds=start_s, connection_idle_seconds=600, **limits,
    )  # fmt: skip
    try:
        context = ssl.create_default_context(cafile=str(authority.certificate))
        memory, trusted = resident_mb(front.process.pid), Trusted(front, context)
        trusted.start()
        began = time.monotonic()
        opening = in_child(lambda: strangers((front.sip, front.tls), count, start_s + LATE_S))
        most, grown = 0, 0.0
        while time.monotonic() - began < 120:
            most, grown = max(most, front.sockets), max(grown, resident_mb(front.process.pid) - memory)
            if most > 100 and front.sockets <= front.sockets_at_start + 4:
                break
            time.sleep(0.1)
        took_s, taken = time.monotonic() - began, opening()
        during = trusted.figures()
        later = Trusted(front, context)
        later.start()
        time.sleep(4.0)
        return {
            "step": name, "opened": count, "taken": taken, "all_gone_after_s": took_s, "during": during, "after": later.figures(),
            "grew_mb": grown, "kept_mb": resident_mb(front.process.pid) - memory, "kb_per_connection": grown * 1024 / max(1, taken),
        }  # fmt: skip
    finally:
        front.stop()


def answer(count: int = CONNECTIONS, start_s: float = START_S) -> list[dict[str, Any]]:
    room = {"max_connections": 2 * count, "max_connections_per_source": count}
    rows = []
    for name, limits in (("held", room), ("strangers", {"allow": ["127.0.0.1/32"]})):
        with tempfile.TemporaryDirectory(prefix="bf-") as folder:
            rows.append(step(name, count, limits, pathlib.Path(folder), start_s))
    return rows


def test_idle_connections(benchmark):
    rows = benchmark.pedantic(answer, (400, 2.0), rounds=1)
    assert all(row["during"]["failed"] == row["after"]["failed"] == 0 for row in rows)


if __name__ == "__main__":
    for row in answer(*(int(word) for word in sys.argv[1:])):
        print(row)
