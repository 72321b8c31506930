"""Two network namespaces and a link between them that loses, delays, reorders and repeats packets, as it is told: a TUN device at each
end, and this file run as a process of its own in the middle. What netem does in the kernel, for kernels that are built without it, and it
says exactly which packets it dropped. SIP gets the delay only, so that a call comes about.
"""

import contextlib
import ctypes
import fcntl
import heapq
import itertools
import json
import os
import random
import secrets
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NamedTuple

CLONE_NEWNET, TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x40000000, 0x400454CA, 0x0001, 0x1000
SERVER, CALLER = "10.199.0.1", "10.199.0.2"
UDP, RTP_VERSION = 17, 2


class Weather(NamedTuple):
    """Of each direction."""

    loss: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    """More delay, of up to twice this, evenly spread; without reordering."""
    reorder: float = 0.0
    """So many go ahead of those that were sent before them."""
    duplicate: float = 0.0
    sip_port: int = 0
    """Of the server: what goes there or comes from there is only delayed."""


class BadLink:
    """`with BadLink() as link`: the server runs behind `link.prefix(SERVER)`, a caller is made within `link.inside(CALLER)`."""

    def __init__(self) -> None:
        mark = secrets.token_hex(3)
        self.names = {SERVER: f"bf-{mark}-a", CALLER: f"bf-{mark}-b"}
        self.fds: list[int] = []
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "BadLink":
        """Raises OSError where there may be no namespaces, or no TUN."""
        try:
            for address, name in self.names.items():
                self._make_end(address, name)
            command = [sys.executable, __file__, *map(str, self.fds)]
            self.process = subprocess.Popen(command, pass_fds=self.fds, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        except BaseException:
            self._remove()
            raise
        return self

    def _make_end(self, address: str, name: str) -> None:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.fds.append(fd)
        device = f"t{name[3:]}"
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
        for words in (
            ("netns", "add", name),
            ("link", "set", device, "netns", name),
            ("-n", name, "addr", "add", f"{address}/24", "dev", device),
            ("-n", name, "link", "set", device, "up"),
            ("-n", name, "link", "set", "lo", "up"),
        ):
            done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
            if done.returncode:
                raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")

    def prefix(self, address: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.names[address])

    @contextlib.contextmanager
    def inside(self, address: str) -> Iterator[None]:
        """Sockets that this thread makes meanwhile are in that namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        here, there = (os.open(path, os.O_RDONLY) for path in (f"/proc/self/task/{threading.get_native_id()}/ns/net", self._path(address)))
        try:
            for fd in (there, here):
                if libc.setns(fd, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
                if fd == there:
                    yield
        finally:
            libc.setns(here, CLONE_NEWNET)
            os.close(here)
            os.close(there)

    def _path(self, address: str) -> str:
        return f"/run/netns/{self.names[address]}"

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None) -> None:
        self._remove()

    def _remove(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for fd in self.fds:
            os.close(fd)
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def change(self, weather: Weather) -> dict[str, Any]:
        """From now on. Returns what became of what came before, towards each address: `packets` of RTP and RTCP, the sequence numbers of
        RTP that were `dropped`, how many `reordered` and `duplicated`."""
        assert self.process is not None and self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(weather._asdict()) + "\n")
        self.process.stdin.flush()
        found = json.loads(self.process.stdout.readline())
        assert isinstance(found, dict)
        return found


class Direction:
    """One way. No clock and no device of its own."""

    def __init__(self, seed: int) -> None:
        self.random, self.order = random.Random(seed), itertools.count()
        self.under_way: list[tuple[float, int, bytes]] = []
        self.latest_s = 0.0
        self.begin(Weather())

    def begin(self, weather: Weather) -> None:
        self.weather = weather
        self.dropped: list[int] = []
        self.counts = {"packets": 0, "reordered": 0, "duplicated": 0}

    def take(self, packet: bytes, now_s: float) -> None:
        weather, draw = self.weather, self.random.random
        due_s = now_s + weather.delay_ms / 1000
        if not is_media(packet, weather.sip_port):
            self._send(packet, due_s)
            return
        self.counts["packets"] += 1
        if draw() < weather.loss:
            if not 192 <= packet[29] <= 223:
                self.dropped.append(int.from_bytes(packet[30:32], "big"))
            return
        if draw() < weather.reorder:
            self.counts["reordered"] += 1
            self._send(packet, now_s)
            return
        self.latest_s = max(self.latest_s, due_s + 2 * weather.jitter_ms / 1000 * draw())
        self._send(packet, self.latest_s)
        if draw() < weather.duplicate:
            self.counts["duplicated"] += 1
            self._send(packet, self.latest_s)

    def _send(self, packet: bytes, due_s: float) -> None:
        heapq.heappush(self.under_way, (due_s, next(self.order), packet))

    def pop_due(self, now_s: float) -> Iterator[bytes]:
        while self.under_way and self.under_way[0][0] <= now_s:
            yield heapq.heappop(self.under_way)[2]


def is_media(packet: bytes, sip_port: int) -> bool:
    """RTP or RTCP over IPv4."""
    is_udp = len(packet) >= 32 and packet[0] == 0x45 and packet[9] == UDP
    return is_udp and packet[28] >> 6 == RTP_VERSION and sip_port not in struct.unpack_from("!HH", packet, 20)


def main(fd_a: int, fd_b: int) -> None:
    """Until stdin ends. Each line is the weather from then on, and is answered with what became of what came before."""
    ends = ((fd_a, fd_b, Direction(1)), (fd_b, fd_a, Direction(2)))
    poll = select.poll()
    for fd in (sys.stdin.fileno(), fd_a, fd_b):
        poll.register(fd, select.POLLIN)
    while True:
        waiting = [direction.under_way[0][0] for _, _, direction in ends if direction.under_way]
        ready = poll.poll(max(0.0, min(waiting, default=time.monotonic() + 0.1) - time.monotonic()) * 1000)
        if sys.stdin.fileno() in dict(ready):
            line = sys.stdin.readline()
            if not line:
                return
            towards = zip((CALLER, SERVER), ends, strict=True)
            print(json.dumps({address: {"dropped": way.dropped, **way.counts} for address, (_, _, way) in towards}), flush=True)
            for _, _, direction in ends:
                direction.begin(Weather(**json.loads(line)))
        for source, destination, direction in ends:
            with contextlib.suppress(BlockingIOError):
                while True:
                    direction.take(os.read(source, 2048), time.monotonic())
            for packet in direction.pop_due(time.monotonic()):
                with contextlib.suppress(OSError):
                    os.write(destination, packet)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
