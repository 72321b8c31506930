"""RTP packets, RFC 3550 section 5. Every length is checked before it is used."""

import numpy as np

from shm.jit import njit

HEADER_BYTES = 12
MAX_PACKET_BYTES = 1500
MAX_PAYLOAD_BYTES = MAX_PACKET_BYTES - HEADER_BYTES
VERSION_BITS = 0x80
WRONG = -1


@njit
def read_u16(octets, at):
    return (np.int64(octets[at]) << 8) | np.int64(octets[at + 1])


@njit
def read_u32(octets, at):
    return (read_u16(octets, at) << 16) | read_u16(octets, at + 2)


@njit
def write_u16(octets, at, value):
    octets[at] = (value >> 8) & 0xFF
    octets[at + 1] = value & 0xFF


@njit
def write_u32(octets, at, value):
    write_u16(octets, at, value >> 16)
    write_u16(octets, at + 2, value)


@njit
def payload_start(packet, size):
    """Where the payload of a datagram of `size` octets begins, past CSRCs and extension; WRONG if it is not RTP."""
    if size < HEADER_BYTES or size > MAX_PACKET_BYTES or packet[0] & 0xC0 != VERSION_BITS:
        return WRONG
    start = HEADER_BYTES + 4 * (np.int64(packet[0]) & 0x0F)
    if packet[0] & 0x10:
        if start + 4 > size:
            return WRONG
        start += 4 + 4 * read_u16(packet, start + 2)
    if start > size:
        return WRONG
    return start


@njit
def payload_end(packet, size, start):
    """Where the payload ends, short of the padding; WRONG if the padding is longer than what there is (RFC 3550 5.1)."""
    if packet[0] & 0x20:
        padding = np.int64(packet[size - 1]) if size > start else 0
        if padding == 0 or padding > size - start:
            return WRONG
        return size - padding
    return size


@njit
def payload_type(packet):
    return np.int64(packet[1]) & 0x7F


@njit
def is_rtcp(packet):
    """RFC 5761 4: these payload types, with the marker, are RTCP's on a shared port."""
    return 192 <= packet[1] <= 223


@njit
def write_header(packet, payload_type_number, marker, seq, rtp_timestamp, ssrc):
    packet[0] = VERSION_BITS
    packet[1] = payload_type_number | (0x80 if marker else 0)
    write_u16(packet, 2, seq)
    write_u32(packet, 4, rtp_timestamp)
    write_u32(packet, 8, ssrc)
