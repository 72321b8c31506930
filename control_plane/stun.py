"""STUN Binding, RFC 8489 and what RFC 3489 answers: which address a server sees us come from. Values only, no sockets."""

import ipaddress
import struct
import zlib

from control_plane.errors import PeerViolation

COOKIE = 0x2112_A442
FINGERPRINT_XOR = 0x5354_554E  # 14.7
REQUEST, SUCCESS, ERROR = 0x0001, 0x0101, 0x0111
MAPPED_ADDRESS, ERROR_CODE, XOR_MAPPED_ADDRESS, FINGERPRINT = 0x0001, 0x0009, 0x0020, 0x8028
IPV4, IPV6 = 1, 2
HEADER = struct.Struct(">HHI12s")
TRANSACTION_ID_BYTES = 12


class BadStun(PeerViolation):
    """An answer to our question that says no address."""


def encode(kind: int, transaction_id: bytes, attributes: tuple[tuple[int, bytes], ...] = ()) -> bytes:
    """With a fingerprint at its end, which tells it from other protocols."""
    body = b"".join(struct.pack(">HH", name, len(value)) + value + bytes(-len(value) % 4) for name, value in attributes)
    octets = HEADER.pack(kind, len(body) + 8, COOKIE, transaction_id) + body
    return octets + struct.pack(">HHI", FINGERPRINT, 4, zlib.crc32(octets) ^ FINGERPRINT_XOR)


def read_answer(octets: bytes, transaction_id: bytes) -> tuple[str, int] | None:
    """Our address and port as the server sees them. None: it is no answer to this question. Raises BadStun."""
    if len(octets) < HEADER.size:
        return None
    kind, length, _, answered_id = HEADER.unpack_from(octets)
    if answered_id != transaction_id or kind not in (SUCCESS, ERROR) or length != len(octets) - HEADER.size:
        return None
    attributes = _attributes(octets)
    if kind == ERROR:
        value = attributes.get(ERROR_CODE, b"")
        code = 100 * (value[2] & 7) + value[3] if len(value) >= 4 else 0
        raise BadStun(f"it answers with error {code}" if code else "it answers with an error")
    try:
        if XOR_MAPPED_ADDRESS in attributes:
            return _address(attributes[XOR_MAPPED_ADDRESS], octets[4:20])
        return _address(attributes[MAPPED_ADDRESS], bytes(16))
    except (KeyError, ValueError, IndexError, struct.error) as failure:
        raise BadStun("its answer has no address that can be read") from failure


def _attributes(octets: bytes) -> dict[int, bytes]:
    """The first of each kind (14). What is cut short is left out."""
    found: dict[int, bytes] = {}
    at = HEADER.size
    while at + 4 <= len(octets):
        name, length = struct.unpack_from(">HH", octets, at)
        value = octets[at + 4 : at + 4 + length]
        if len(value) == length:
            found.setdefault(name, value)
        at += 4 + length + -length % 4
    return found


def _address(value: bytes, mask: bytes) -> tuple[str, int]:
    """14.1 and 14.2; `mask`: cookie and transaction id, or zeros."""
    family, port = struct.unpack_from(">xBH", value)
    host = value[4 : 4 + {IPV4: 4, IPV6: 16}[family]]
    shown = bytes(a ^ b for a, b in zip(host, mask, strict=False))
    return str(ipaddress.ip_address(shown)), port ^ int.from_bytes(mask[:2], "big")
