"""HEP version 3, the capture protocol of HOMER and others: a message of ours as one datagram for a collector. Values only.

HEP3, the length of all, then chunks: vendor (0 is the protocol's own), kind, length with these six octets, value.
"""

import ipaddress
import json
import struct
from collections.abc import Mapping
from typing import NamedTuple

FAMILIES = {4: 2, 6: 10}  # of IPv4 and IPv6, as Linux numbers them
UDP, TCP = 17, 6
SIP, RTP_REPORT = 1, 34  # what the payload is
MAX_DATAGRAM = 65_000
CHUNK, HEADER = struct.Struct(">HHH"), struct.Struct(">4sH")
FAMILY, PROTOCOL, SOURCE_4, DESTINATION_4, SOURCE_6, DESTINATION_6, SOURCE_PORT, DESTINATION_PORT = range(1, 9)
SECONDS, MICROSECONDS, KIND, CAPTURE_ID, _, PASSWORD, PAYLOAD = range(9, 16)
CORRELATION_ID = 17


class Place(NamedTuple):
    host: str
    """An IP address without brackets."""
    port: int


class Collector(NamedTuple):
    """What it knows us by."""

    capture_id: int
    password: str = ""


def encode(
    collector: Collector, source: Place, destination: Place, payload: bytes, at_s: float, *,
    is_stream: bool = False, kind: int = SIP, correlation_id: str = "",
) -> bytes:  # fmt: skip
    """`at_s`: seconds of the calendar."""
    sender, receiver = ipaddress.ip_address(source.host), ipaddress.ip_address(destination.host)
    if sender.version != receiver.version:
        sender, receiver = _as_ipv6(sender), _as_ipv6(receiver)
    is_ipv6 = sender.version == 6
    chunks = [
        _chunk(FAMILY, bytes((FAMILIES[sender.version],))),
        _chunk(PROTOCOL, bytes((TCP if is_stream else UDP,))),
        _chunk(SOURCE_6 if is_ipv6 else SOURCE_4, sender.packed),
        _chunk(DESTINATION_6 if is_ipv6 else DESTINATION_4, receiver.packed),
        _chunk(SOURCE_PORT, source.port.to_bytes(2, "big")),
        _chunk(DESTINATION_PORT, destination.port.to_bytes(2, "big")),
        _chunk(SECONDS, (int(at_s) & 0xFFFFFFFF).to_bytes(4, "big")),
        _chunk(MICROSECONDS, int(at_s % 1 * 1e6).to_bytes(4, "big")),
        _chunk(KIND, bytes((kind,))),
        _chunk(CAPTURE_ID, collector.capture_id.to_bytes(4, "big")),
    ]
    if collector.password:
        chunks.append(_chunk(PASSWORD, collector.password.encode()))
    if correlation_id:
        chunks.append(_chunk(CORRELATION_ID, correlation_id.encode("utf-8", "surrogateescape")))
    head = b"".join(chunks)
    chunk = _chunk(PAYLOAD, payload[: MAX_DATAGRAM - len(head)])
    return HEADER.pack(b"HEP3", HEADER.size + len(head) + len(chunk)) + head + chunk


def report(call_id: str, direction: str, counters: Mapping[str, int]) -> bytes:
    """The audio of a call as it was heard here, for RTP_REPORT: the names are those of the RTP agents of HOMER."""
    values = {
        "CORRELATION_ID": call_id,
        "RTP_SIP_CALL_ID": call_id,
        "DIRECTION": direction,
        "TOTAL_PK": counters.get("packets_received", 0),
        "PACKET_LOSS": counters.get("lost", 0),
        "JITTER": counters.get("jitter_us", 0) / 1000,
        "MOS": counters.get("mos_mean_x100", 0) / 100,
        "MIN_MOS": counters.get("mos_worst_x100", 0) / 100,
        "RTT": counters.get("rtt_us", 0) / 1000,
    }
    return json.dumps(values).encode()


def _chunk(kind: int, value: bytes) -> bytes:
    return CHUNK.pack(0, kind, CHUNK.size + len(value)) + value


def _as_ipv6(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    return address if isinstance(address, ipaddress.IPv6Address) else ipaddress.IPv6Address(f"::ffff:{address}")
