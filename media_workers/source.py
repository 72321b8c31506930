"""From whom a call takes packets: symmetric RTP that learns once, then locks.

An injected voice is an injected prompt, so audio from anybody else never reaches an agent. The address in the
SDP is preferred: its first packet locks, whenever it comes. Another address (NAT) must send four packets in sequence, within the
learning time after an offer/answer; none of these reach the agent either. Once locked, only a new
offer/answer opens the learning time again. Meanwhile we send to the address of the SDP. SRTP needs none of this: who has the
keys is the far end, wherever its packets come from.
"""

import socket

import numpy as np

from shm.jit import njit

LEARNING_NS = 10_000_000_000
"""How long after an offer/answer another address than the signalled one may still win."""
PROBATION_PACKETS = 4  # as the field's strict modes do: forged single packets do not win

SOCKADDR_BYTES = 32
AF_INET = int(socket.AF_INET)

SOURCE = np.dtype(
    [
        # An address is three words: family << 16 | port, then the address itself.
        ("signalled", "i8", 3),  # from the SDP; zeros: none yet
        ("locked", "i8", 3),  # zeros: not locked
        ("candidate", "i8", 3),
        ("candidate_seq", "i8"),
        ("candidate_packets", "i8"),
        ("learn_until_ns", "i8"),
        ("sockaddr", "u1", SOCKADDR_BYTES),  # where we send, as the kernel wants it
        ("sockaddr_bytes", "i8"),  # 0: nowhere
    ]
)


@njit
def _word(octets, at, size):
    value = 0
    for i in range(size):
        value = (value << 8) | np.int64(octets[at + i])
    return value


@njit
def read_sockaddr(sockaddr, address_out):
    """The three words of a sockaddr_in or sockaddr_in6. An IPv4 address mapped into IPv6 is that IPv4 address."""
    family = np.int64(sockaddr[0]) | (np.int64(sockaddr[1]) << 8)  # in the machine's order: little-endian
    port = _word(sockaddr, 2, 2)
    if family == AF_INET:
        address_out[0] = (AF_INET << 16) | port
        address_out[1] = _word(sockaddr, 4, 4)
        address_out[2] = 0
        return
    address_out[0] = (family << 16) | port
    address_out[1] = _word(sockaddr, 8, 8)
    address_out[2] = _word(sockaddr, 16, 8)
    if address_out[1] == 0 and address_out[2] >> 32 == 0xFFFF:
        address_out[0] = (AF_INET << 16) | port
        address_out[1] = address_out[2] & 0xFFFFFFFF
        address_out[2] = 0


@njit
def is_same(a, b):
    return a[0] == b[0] and a[1] == b[1] and a[2] == b[2]


@njit
def _lock(source, address, sockaddr, sockaddr_bytes):
    for i in range(sockaddr_bytes):
        source["sockaddr"][i] = sockaddr[i]
    source["sockaddr_bytes"] = sockaddr_bytes
    for i in (2, 1, 0):  # word 0, which says that there is a lock, last: a successor finds all of it or nothing
        source["locked"][i] = address[i]


@njit
def is_of_call(source, address):
    """Is this where the call's audio comes from, or where it was said to come from?"""
    return is_same(address, source["locked"]) or is_same(address, source["signalled"])


@njit
def is_host_of_call(source, address):
    """Is this the host that the call's audio comes from or, while none has come, the one that was signalled? Whatever its port."""
    known = source["locked"] if source["locked"][0] != 0 else source["signalled"]
    return known[0] != 0 and known[0] >> 16 == address[0] >> 16 and known[1] == address[1] and known[2] == address[2]


@njit
def accept(source, address, sockaddr, sockaddr_bytes, seq, now_ns):
    """May a valid RTP packet from here be heard? Learns and locks on the way."""
    if is_same(address, source["locked"]):
        return True
    if is_same(address, source["signalled"]) and (source["locked"][0] == 0 or now_ns <= source["learn_until_ns"]):
        _lock(source, address, sockaddr, sockaddr_bytes)
        return True
    if source["locked"][0] != 0 or now_ns > source["learn_until_ns"] or source["learn_until_ns"] == 0:
        return False
    if is_same(address, source["candidate"]) and seq == (source["candidate_seq"] + 1) & 0xFFFF:
        source["candidate_packets"] += 1
    else:
        for i in range(3):
            source["candidate"][i] = address[i]
        source["candidate_packets"] = 1
    source["candidate_seq"] = seq
    if source["candidate_packets"] < PROBATION_PACKETS:
        return False
    _lock(source, address, sockaddr, sockaddr_bytes)
    return True


@njit
def follow(source, address, sockaddr, sockaddr_bytes, is_newest):
    """A packet that proved by its keys to be the far end's came from here. Send there from now on, unless it had been overtaken:
    one that somebody held back and passed on must not turn the call to them."""
    if is_newest and not is_same(address, source["locked"]):
        _lock(source, address, sockaddr, sockaddr_bytes)


def signal(source: np.void, host: str, port: int, now_ns: int) -> None:
    """An offer/answer named this address (worker's Python side): send there, and learn anew if it is another one.

    The same address again keeps the lock: a session refresh must not open the door to others.
    """
    if not host or not port:
        source["sockaddr_bytes"] = 0
        source["signalled"] = source["locked"] = source["learn_until_ns"] = 0
        return
    octets = np.frombuffer(sockaddr(host, port), np.uint8)
    address = np.zeros(3, np.int64)
    padded = np.zeros(SOCKADDR_BYTES, np.uint8)
    padded[: octets.size] = octets
    read_sockaddr(padded, address)
    if is_same(address, source["signalled"]):
        return
    source["locked"] = source["candidate"] = 0
    source["candidate_packets"] = 0
    source["learn_until_ns"] = now_ns + LEARNING_NS
    source["sockaddr"] = padded
    source["sockaddr_bytes"] = octets.size
    source["signalled"] = address  # last: after a crash before it, the repeated command does all of this again


def sockaddr(host: str, port: int) -> bytes:
    """struct sockaddr_in or sockaddr_in6 for a numeric address."""
    network_port = port.to_bytes(2, "big")
    if ":" in host:
        return int(socket.AF_INET6).to_bytes(2, "little") + network_port + bytes(4) + socket.inet_pton(socket.AF_INET6, host) + bytes(4)
    return AF_INET.to_bytes(2, "little") + network_port + socket.inet_pton(socket.AF_INET, host) + bytes(8)
