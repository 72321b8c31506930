"""STUN against the test vectors of RFC 5769, and against octets that nobody should send."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane import stun

ID = bytes.fromhex("b7e7a701bc34d686fa87dfae")
# RFC 5769 2.2 and 2.3: responses with SOFTWARE, XOR-MAPPED-ADDRESS, MESSAGE-INTEGRITY and FINGERPRINT
IPV4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
IPV6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)


def test_the_answers_of_rfc_5769() -> None:
    assert stun.read_answer(IPV4, ID) == ("192.0.2.1", 32853)
    assert stun.read_answer(IPV6, ID) == ("2001:db8:1234:5678:11:2233:4455:6677", 32853)


def test_a_fingerprint_is_what_rfc_5769_has() -> None:
    at, attributes = stun.HEADER.size, []
    while at < len(IPV4) - 8:
        name, length = int.from_bytes(IPV4[at : at + 2], "big"), int.from_bytes(IPV4[at + 2 : at + 4], "big")
        attributes.append((name, IPV4[at + 4 : at + 4 + length]))
        at += 4 + length + -length % 4
    ours = stun.encode(stun.SUCCESS, ID, tuple(attributes))
    assert len(ours) == len(IPV4) and ours[:20] == IPV4[:20]
    assert zlib.crc32(IPV4[:-8]) ^ stun.FINGERPRINT_XOR == int.from_bytes(IPV4[-4:], "big"), "the sum of the RFC's"
    assert zlib.crc32(ours[:-8]) ^ stun.FINGERPRINT_XOR == int.from_bytes(ours[-4:], "big"), "and of ours, which pads with zeros"


def test_a_server_of_rfc_3489_is_understood() -> None:
    octets = stun.encode(stun.SUCCESS, ID, ((stun.MAPPED_ADDRESS, bytes((0, 1, 0x13, 0xC4, 198, 51, 100, 7))),))
    assert stun.read_answer(octets, ID) == ("198.51.100.7", 5060)


@pytest.mark.parametrize(
    ("attributes", "kind", "why"),
    [
        (((stun.ERROR_CODE, bytes((0, 0, 4, 20)) + b"x"),), stun.ERROR, "error 420"),
        ((), stun.ERROR, "an error"),
        ((), stun.SUCCESS, "no address"),
        (((stun.XOR_MAPPED_ADDRESS, b"\0\3\0\0abcd"),), stun.SUCCESS, "no address"),
        (((stun.XOR_MAPPED_ADDRESS, b"\0\1\0\0ab"),), stun.SUCCESS, "no address"),
    ],
)
def test_an_answer_without_an_address_says_why(attributes: tuple[tuple[int, bytes], ...], kind: int, why: str) -> None:
    with pytest.raises(stun.BadStun, match=why):
        stun.read_answer(stun.encode(kind, ID, attributes), ID)


@given(st.binary(max_size=200), st.integers(0, 60), st.binary(max_size=4))
def test_what_was_not_asked_for_is_passed_over_and_nothing_breaks_it(noise: bytes, at: int, change: bytes) -> None:
    broken = IPV4[:at] + change + IPV4[at + len(change) :]
    for octets in (noise, broken, IPV4[:at]):
        try:
            found = stun.read_answer(octets, ID)
        except stun.BadStun:
            continue
        assert found is None or len(octets) >= stun.HEADER.size
    assert stun.read_answer(IPV4, bytes(12)) is None, "of another question"
