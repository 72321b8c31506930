"""The packets of a call that somebody captures, as a process reads them that needs no kernels."""

import ipaddress
import socket
from typing import NamedTuple

from shm.layout import CAPTURE_SLOTS, CAPTURE_WRITE, GENERATION, IS_PROTECTED, IS_SENT, MAX_CAPTURED_BYTES, Rings

GO_ON_AT = CAPTURE_SLOTS * 3 // 4
"""Who was lapped goes on with what has a quarter of the ring to live."""


class CapturedPacket(NamedTuple):
    at_ns: int
    """CLOCK_MONOTONIC."""
    is_sent: bool
    local_port: int
    remote_host: str
    remote_port: int
    octets: bytes


class CaptureReader:
    """From now on. `take` when it suits, every second at the latest."""

    def __init__(self, rings: Rings, row: int, generation: int, is_protected: bool) -> None:
        self.rings, self.row, self.generation, self.is_protected = rings, row, generation, is_protected
        self.cursor = self._written()
        self.missed = 0
        """Packets that were overwritten before they were read."""

    def _written(self) -> int:
        return int(self.rings.words[self.row, CAPTURE_WRITE])

    def is_over(self) -> bool:
        """The row is another call's: there is nothing more to read."""
        return int(self.rings.words[self.row, GENERATION]) not in (self.generation, 0)

    def take(self) -> list[CapturedPacket]:
        found: list[CapturedPacket] = []
        written = self._written()
        while self.cursor < written and not self.is_over():
            slot = self.rings.capture[self.row, self.cursor & (CAPTURE_SLOTS - 1)].copy()
            now = self._written()  # after the copy: was it overwritten meanwhile?
            if now - self.cursor >= CAPTURE_SLOTS:
                self.missed += now - GO_ON_AT - self.cursor
                self.cursor = now - GO_ON_AT
                continue
            self.cursor += 1
            flags = int(slot["flags"])
            if bool(flags & IS_PROTECTED) == self.is_protected:
                host, port = _address(*(int(word) for word in slot["remote"]))
                octets = slot["octets"][: min(int(slot["size"]), MAX_CAPTURED_BYTES)].tobytes()
                found.append(CapturedPacket(int(slot["at_ns"]), bool(flags & IS_SENT), int(slot["local_port"]), host, port, octets))
        return found


def _address(first: int, high: int, low: int) -> tuple[str, int]:
    if first >> 16 == socket.AF_INET:
        return str(ipaddress.IPv4Address(high & 0xFFFFFFFF)), first & 0xFFFF
    return str(ipaddress.IPv6Address((high & (1 << 64) - 1) << 64 | low & (1 << 64) - 1)), first & 0xFFFF
