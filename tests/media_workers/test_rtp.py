"""RTP taken apart: whatever comes, nothing is read outside of it, and the plain parser agrees."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings

from media_workers import rtp
from shm.jit import IS_COMPILED
from tests.reference import rtp as reference

EXAMPLES = 1500 if IS_COMPILED else 60
GUARD = 0xEE


def parse(datagram: bytes, behind: int = GUARD) -> reference.Packet | None:
    """What the duty cycle does with a datagram in its buffer, with `behind` in what follows it there."""
    packet = np.full(2048, behind, np.uint8)
    packet[: len(datagram)] = np.frombuffer(datagram, np.uint8)
    size = len(datagram)
    start = rtp.payload_start(packet, size)
    end = rtp.payload_end(packet, size, start) if start >= 0 else rtp.WRONG
    if end < 0:
        return None
    assert rtp.HEADER_BYTES <= start <= end <= size
    seq, timestamp, ssrc = rtp.read_u16(packet, 2), rtp.read_u32(packet, 4), rtp.read_u32(packet, 8)
    payload = packet[start:end].tobytes()
    return reference.Packet(int(rtp.payload_type(packet)), bool(packet[1] & 0x80), int(seq), int(timestamp), int(ssrc), int(start), payload)


def header(first: int = 0x80, second: int = 0) -> bytes:
    return bytes((first, second)) + bytes(10)


plausible = st.builds(
    lambda first, second, rest: bytes((0x80 | first, second)) + rest,
    st.integers(0, 63),
    st.integers(0, 255),
    st.binary(min_size=10, max_size=90),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.one_of(st.binary(max_size=120), plausible, st.binary(min_size=1495, max_size=1510)))
@example(header(0xA0) + b"\x00")
@example(header(0xA0) + b"\x01")
@example(header(0xA0) + b"\x02")
@example(header(0xBF) + bytes(60) + b"\x00\x00\x00\x00\x01")
def test_agrees_with_the_plain_parser_whatever_comes(datagram: bytes) -> None:
    assert parse(datagram) == reference.parse(datagram)


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(st.one_of(st.binary(max_size=60), plausible))
def test_what_lies_behind_a_datagram_is_never_looked_at(datagram: bytes) -> None:
    """The buffer still holds the packet before: the answer must not depend on it."""
    assert parse(datagram, 0x00) == parse(datagram, 0x01) == parse(datagram, 0xFF)


@pytest.mark.parametrize("size", range(12))
def test_less_than_a_header_is_nothing(size: int) -> None:
    assert parse(header()[:size]) is None


@pytest.mark.parametrize("version", [0, 1, 3])
def test_another_version_is_nothing(version: int) -> None:
    assert parse(header(version << 6) + b"audio") is None


@pytest.mark.parametrize("count", [1, 15])
def test_csrcs_are_passed_over_and_may_not_lie(count: int) -> None:
    found = parse(header(0x80 | count) + bytes(4 * count) + b"audio")
    assert found is not None and found.payload == b"audio" and found.payload_at == 12 + 4 * count
    assert parse(header(0x80 | count) + bytes(4 * count - 1)) is None


@pytest.mark.parametrize(("words", "present", "is_right"), [(0, 0, True), (2, 8, True), (2, 7, False), (0xFFFF, 8, False)])
def test_an_extension_is_passed_over_and_may_not_lie(words: int, present: int, is_right: bool) -> None:
    found = parse(header(0x90) + b"\xbe\xde" + words.to_bytes(2, "big") + bytes(present))
    assert (found is not None) == is_right
    assert parse(header(0x90) + b"\xbe\xde\x00") is None


@pytest.mark.parametrize(("padding", "payload"), [(1, b"1234"), (5, b""), (0, None), (6, None), (255, None)])
def test_padding_is_cut_off_and_may_not_lie(padding: int, payload: bytes | None) -> None:
    found = parse(header(0xA0) + b"1234" + bytes([padding]))
    assert (found.payload if found else None) == payload


@pytest.mark.parametrize(
    ("second", "is_rtcp"), [(191, False), (192, True), (200, True), (223, True), (224, False), (0, False), (72, False)]
)
def test_rtcp_on_the_same_port_is_known(second: int, is_rtcp: bool) -> None:
    assert rtp.is_rtcp(np.frombuffer(header(second=second), np.uint8)) == is_rtcp


@settings(max_examples=EXAMPLES // 5, deadline=None)
@given(st.integers(0, 127), st.booleans(), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF))
def test_what_is_written_is_what_is_read(payload_type: int, marker: bool, seq: int, timestamp: int, ssrc: int) -> None:
    packet = np.full(20, GUARD, np.uint8)
    rtp.write_header(packet, payload_type, marker, seq, timestamp, ssrc)
    assert packet[:12].tobytes() == reference.build(seq, timestamp, b"", payload_type, ssrc, marker)
    assert (packet[12:] == GUARD).all()
