"""A stream cut anywhere gives the same messages as a whole one."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.errors import BellframeError
from sip_front.framing import PING, Framer
from sip_front.message import MAX_BODY, MAX_HEAD, parse


def message(body: bytes = b"", length: str | None = None, extra: str = "", name: str = "Content-Length") -> bytes:
    text = f"{len(body)}" if length is None else length
    return f"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\n{extra}{name}: {text}\r\n\r\n".encode() + body


STREAM = [message(), message(b"v=0\r\n\r\n"), message(b"x" * 300, name="l"), message(b"ab", name="CONTENT-LENGTH \t"), message(b"\r\n\r\n")]


def test_a_stream_may_be_cut_anywhere() -> None:
    whole = b"".join(STREAM)
    for cut in range(len(whole) + 1):
        framer = Framer()
        assert framer.receive(whole[:cut]) + framer.receive(whole[cut:]) == STREAM and not framer.failure and not framer.is_within
    framer = Framer()
    assert [m for octet in whole for m in framer.receive(bytes([octet]))] == STREAM


def test_a_message_that_has_begun_is_known() -> None:
    framer = Framer()
    assert framer.receive(STREAM[1][:-1]) == [] and framer.is_within
    assert framer.receive(STREAM[1][-1:]) == [STREAM[1]] and not framer.is_within


@pytest.mark.parametrize("parts", [(b"\r\n\r\n",), (b"\r\n", b"\r\n"), (b"\r", b"\n", b"\r", b"\n"), (b"\r\n\r", b"\n")])
def test_two_line_ends_are_a_ping(parts: tuple[bytes, ...]) -> None:
    framer = Framer()
    assert [found for part in parts for found in framer.receive(part)] == [PING] and not framer.is_within


def test_one_line_end_is_a_pong_or_nothing() -> None:
    framer = Framer()
    assert framer.receive(b"\r\n" + STREAM[0] + b"\r\n") == [STREAM[0]]
    assert framer.receive(b"\r\n") == [PING], "those after a message count by themselves"


def test_a_flood_of_pings_is_worth_one_answer() -> None:
    assert Framer().receive(b"\r\n" * 30_000) == [PING]


@pytest.mark.parametrize(
    "octets",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"\0" * 10,
        b"hello\r\n",
        b"\r\r\n",
        b" OPTIONS sip:a@b SIP/2.0\r\n",
        b"A" * 9_000,
    ],
)
def test_what_is_not_sip_is_found_out_early(octets: bytes) -> None:
    framer = Framer()
    assert framer.receive(octets) == [] and framer.failure == "what came is not SIP" and not framer.is_within
    assert framer.receive(STREAM[0]) == [], "nothing is read after it"


@pytest.mark.parametrize("length", ["", "-1", "+1", "1e3", "0x10", "1 2", "99999999999", "1, 1", "٣"])
def test_a_length_that_is_none_ends_the_stream_with_the_head_to_be_answered(length: str) -> None:
    framer = Framer()
    octets = message(length=length)
    assert framer.receive(octets + STREAM[0]) == [octets] and "Content-Length" in framer.failure


def test_two_lengths_or_none_end_the_stream() -> None:
    for octets in (message(extra="Content-Length: 0\r\n"), message(extra="l: 0\r\n"), message(name="X-Length")):
        framer = Framer()
        assert framer.receive(octets) == [octets] and framer.failure


def test_a_folded_length_is_read_as_the_parser_reads_it() -> None:
    octets = b"OPTIONS sip:a@b SIP/2.0\r\nX: 1\r\n Content-Length: 9\r\nContent-Length:\r\n\t2\r\n\r\nab"
    assert Framer().receive(octets + STREAM[0]) == [octets, STREAM[0]] and parse(octets).body == b"ab"


def test_everything_is_bounded() -> None:
    framer = Framer()
    assert framer.receive(message(length=str(MAX_BODY + 1))) and framer.failure.startswith(f"a body of {MAX_BODY + 1} octets")
    framer = Framer()
    start = b"OPTIONS sip:a@b SIP/2.0\r\n"
    for _ in range(200):
        framer.receive(start + b"X: " + b"y" * 1_000 + b"\r\n")
        assert len(framer.buffer) <= MAX_HEAD + 2_000
    assert framer.failure == "a head of more than 64 KiB"


def test_a_head_in_small_pieces_is_read_once() -> None:
    """Each octet is searched a bounded number of times: 64 KiB in single octets must not take seconds."""
    framer = Framer()
    for octet in b"OPTIONS sip:a@b SIP/2.0\r\n" + b"X: y\r\n" * 5_000:
        framer.receive(bytes([octet]))
    assert framer.is_within and not framer.failure


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*STREAM, b"\r\n", PING]), max_size=8), st.lists(st.integers(0, 2_000), max_size=12))
def test_cuts_change_nothing(parts: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(parts)
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    framer = Framer()
    found = [m for first, last in itertools.pairwise(places) for m in framer.receive(whole[first:last])]
    assert [m for m in found if m != PING] == [part for part in parts if len(part) > 4] and not framer.failure


START = b"OPTIONS sip:a@b SIP/2.0\r\n"
PIECES = [b"\r\n", b"\r", b"\n", b" ", b":", b"l", b"Content-Length", b"0", b"5", b"SIP/2.0", START, b"Via: SIP/2.0/TCP h"]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=6)), max_size=30), st.integers(1, 7))
def test_whatever_comes_it_agrees_with_the_parser(parts: list[bytes], step: int) -> None:
    """A message that the framer cut out has the body that the parser sees in it, so that nothing can be smuggled between the two."""
    whole, framer = b"".join(parts), Framer()
    found = [m for at in range(0, len(whole), step) for m in framer.receive(whole[at : at + step])]
    for octets in [m for m in found if m != PING][: None if not framer.failure else -1]:
        try:
            parsed = parse(octets)
        except BellframeError:
            continue
        head = octets.partition(b"\r\n\r\n")[0]
        assert parsed.body == octets[len(head) + 4 :]
