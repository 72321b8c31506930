"""RTCP as RFC 3550 section 6 draws it, taken apart and put together with struct."""

import struct
from typing import NamedTuple


class Block(NamedTuple):
    ssrc: int
    fraction: int
    lost: int
    highest: int
    jitter: int
    last_report: int
    delay: int

    def encode(self) -> bytes:
        lost = self.lost & 0xFFFFFF
        return struct.pack("!IIIIII", self.ssrc, self.fraction << 24 | lost, self.highest, self.jitter, self.last_report, self.delay)


class Part(NamedTuple):
    """One packet of a compound."""

    kind: int
    count: int
    body: bytes
    """Behind the first word."""

    @property
    def ssrc(self) -> int:
        return int.from_bytes(self.body[:4], "big")

    @property
    def sender(self) -> tuple[int, int, int, int, int]:
        """NTP seconds and fraction, RTP timestamp, packets, octets."""
        assert self.kind == 200
        return struct.unpack_from("!IIIII", self.body, 4)

    @property
    def blocks(self) -> list[Block]:
        start = {200: 24, 201: 4}[self.kind]
        found = []
        for at in range(start, start + 24 * self.count, 24):
            ssrc, lost, highest, jitter, last_report, delay = struct.unpack_from("!IIIIII", self.body, at)
            signed = (lost & 0xFFFFFF) - (0x1000000 if lost & 0x800000 else 0)
            found.append(Block(ssrc, lost >> 24, signed, highest, jitter, last_report, delay))
        return found


def parse(datagram: bytes) -> list[Part] | None:
    """None: a length lies."""
    if not 8 <= len(datagram) <= 1500 or len(datagram) % 4:
        return None
    parts, rest = [], datagram
    while rest:
        first, kind, words = struct.unpack_from("!BBH", rest)
        size, count = 4 + 4 * words, first & 0x1F
        if first >> 6 != 2 or not 192 <= kind <= 223 or size > len(rest):
            return None
        least = {200: 28 + 24 * count, 201: 8 + 24 * count, 203: 4 + 4 * count}.get(kind, 4)
        if size < least:
            return None
        parts.append(Part(kind, count, rest[4:size]))
        rest = rest[size:]
    return parts


def part(kind: int, count: int, body: bytes) -> bytes:
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


def sender_report(ssrc: int, ntp: tuple[int, int] = (1, 2), blocks: tuple[Block, ...] = ()) -> bytes:
    return part(200, len(blocks), struct.pack("!IIIIII", ssrc, *ntp, 3, 4, 5) + b"".join(block.encode() for block in blocks))


def receiver_report(ssrc: int, *blocks: Block) -> bytes:
    return part(201, len(blocks), struct.pack("!I", ssrc) + b"".join(block.encode() for block in blocks))


def description(ssrc: int, name: bytes = b"far@end") -> bytes:
    item = bytes((1, len(name))) + name
    return part(202, 1, struct.pack("!I", ssrc) + item + bytes(4 - len(item) % 4))


def bye(ssrc: int) -> bytes:
    return part(203, 1, struct.pack("!I", ssrc))
