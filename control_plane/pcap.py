"""Packets and SIP messages as a capture file that Wireshark and sngrep read: raw IP, each message one UDP datagram, whatever carried it.

What came over TCP or TLS has lost its segments and its encryption by the time we see it, so it is not made up here.
"""

import ipaddress
import struct
from typing import NamedTuple

MAGIC, LINKTYPE_RAW = 0xA1B2C3D4, 101  # times in microseconds; the link layer is an IPv4 or IPv6 header
FILE_HEADER = struct.Struct("<IHHiIII")
PACKET_HEADER = struct.Struct("<IIII")
MAX_DATAGRAM, SNAPSHOT = 65_000, 65_535
UDP, HOPS = 17, 64
UNKNOWN = "0.0.0.0"


class Endpoint(NamedTuple):
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int


def parse_endpoint(text: str) -> Endpoint:
    """192.0.2.1:5060, [2001:db8::1]:5060, tcp:192.0.2.1:5060. What cannot be read is 0.0.0.0, port 0."""
    scheme, _, rest = text.partition(":")
    text = rest if scheme in ("udp", "tcp", "tls", "ws", "wss") else text
    host, _, port = text.rpartition(":") if text.rpartition(":")[2].isdecimal() else (text, "", "")
    try:
        return Endpoint(ipaddress.ip_address(host.strip("[]")), int(port or 0) & 0xFFFF)
    except ValueError:
        return Endpoint(ipaddress.ip_address(UNKNOWN), 0)


def endpoint(host: str, port: int) -> Endpoint:
    return Endpoint(ipaddress.ip_address(host), port)


def header() -> bytes:
    return FILE_HEADER.pack(MAGIC, 2, 4, 0, 0, SNAPSHOT, LINKTYPE_RAW)


def packet(at_s: float, source: Endpoint, destination: Endpoint, payload: bytes) -> bytes:
    payload = payload[:MAX_DATAGRAM]
    octets = _ip(source, destination, payload)
    seconds, microseconds = divmod(round(at_s * 1e6), 1_000_000)
    return PACKET_HEADER.pack(seconds, microseconds, len(octets), len(octets)) + octets


def _ip(source: Endpoint, destination: Endpoint, payload: bytes) -> bytes:
    one, other = source.address, destination.address
    if one.version != other.version:  # one of them is not known: both are written as IPv6, the IPv4 one mapped (RFC 4291 2.5.5.2)
        one, other = _as_ipv6(one), _as_ipv6(other)
    length = 8 + len(payload)
    if one.version == 6:
        pseudo = one.packed + other.packed + struct.pack("!IHBB", length, 0, 0, UDP)
        head = struct.pack("!IHBB", 6 << 28, length, UDP, HOPS) + one.packed + other.packed
    else:
        pseudo = one.packed + other.packed + struct.pack("!BBH", 0, UDP, length)
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, HOPS, UDP, 0) + one.packed + other.packed
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    udp = struct.pack("!HHHH", source.port, destination.port, length, 0)
    return head + udp[:6] + struct.pack("!H", checksum(pseudo + udp + payload) or 0xFFFF) + payload


def _as_ipv6(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    return address if isinstance(address, ipaddress.IPv6Address) else ipaddress.IPv6Address(f"::ffff:{address}")


def checksum(octets: bytes) -> int:
    """RFC 1071."""
    octets += b"\0" * (len(octets) % 2)
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
