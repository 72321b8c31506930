"""RTP as RFC 3550 5.1 draws it, taken apart with struct and slices."""

import struct
from typing import NamedTuple


class Packet(NamedTuple):
    payload_type: int
    marker: bool
    seq: int
    timestamp: int
    ssrc: int
    payload_at: int
    payload: bytes


def parse(datagram: bytes) -> Packet | None:
    """None: not RTP, or a length that lies."""
    if not 12 <= len(datagram) <= 1500:
        return None
    first, second, seq, timestamp, ssrc = struct.unpack_from("!BBHII", datagram)
    if first >> 6 != 2:
        return None
    rest = datagram[12:]
    csrc_bytes = 4 * (first & 0x0F)
    if csrc_bytes > len(rest):
        return None
    rest = rest[csrc_bytes:]
    if first & 0x10:
        if len(rest) < 4:
            return None
        (words,) = struct.unpack_from("!2xH", rest)
        if 4 + 4 * words > len(rest):
            return None
        rest = rest[4 + 4 * words :]
    at = len(datagram) - len(rest)
    if first & 0x20:
        if not rest or not 1 <= rest[-1] <= len(rest):
            return None
        rest = rest[: len(rest) - rest[-1]]
    return Packet(second & 0x7F, bool(second & 0x80), seq, timestamp, ssrc, at, rest)


def build(
    seq: int, timestamp: int, payload: bytes = b"", payload_type: int = 0, ssrc: int = 7, marker: bool = False, version: int = 2
) -> bytes:
    return struct.pack("!BBHII", version << 6, payload_type | marker << 7, seq & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + payload
