"""a=crypto lines: what phones and carriers write is understood, what we cannot do is passed over with a reason, and no key is shown."""

import base64
import re

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from control_plane.logs import clean
from control_plane.srtp_suites import SUITES
from sip_front import sdes
from sip_front.sdes import Crypto
from sip_front.uri import quoted

SECRET = bytes(range(1, 31))
KEY = base64.b64encode(SECRET).decode()
CM = "AES_CM_128_HMAC_SHA1_80"


@pytest.mark.parametrize("suite", SUITES)
def test_what_we_write_we_read(suite: str) -> None:
    crypto = Crypto(4, suite, sdes.new_secret(suite))
    assert sdes.parse(crypto.value) == crypto
    assert sdes.parse(crypto.value.rstrip("=")) == crypto, "some leave the padding out"
    assert sdes.new_secret(suite) != sdes.new_secret(suite)


@pytest.mark.parametrize(
    "value",
    [
        f"1 {CM} inline:{KEY}",
        f" 1  {CM.lower()}  INLINE:{KEY} ",
        f"1 {CM} inline:{KEY}|2^20",
        f"1 {CM} inline:{KEY}|1048576",
        f"1 {CM} inline:{KEY}|2^31 WSH=64",
        f"1 {CM} inline:{KEY} -VENDOR=1",
    ],
)
def test_what_far_ends_write(value: str) -> None:
    assert sdes.parse(value) == Crypto(1, CM, SECRET)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "not a tag"),
        (f"1 {CM}", "not a tag"),
        (f"x {CM} inline:{KEY}", "no tag"),
        (f"9999999999 {CM} inline:{KEY}", "no tag"),
        (f"+1 {CM} inline:{KEY}", "no tag"),
        (f"1 F8_128_HMAC_SHA1_80 inline:{KEY}", "not known"),
        (f"1 {CM} {KEY}", "not inline"),
        (f"1 {CM} uri:{KEY}", "not inline"),
        (f"1 {CM} inline:{KEY[:-4]}", "30 octets"),
        (f"1 {CM} inline:{KEY}AAAA", "30 octets"),
        (f"1 {CM} inline:", "30 octets"),
        (f"1 {CM} inline:{KEY[:-1]}\u0661", "30 octets"),
        (f"1 {CM} inline:={KEY}", "30 octets"),
        (f"1 AEAD_AES_128_GCM inline:{KEY}", "28 octets"),
        (f"1 {CM} inline:{KEY}|2^20|1:4", "MKI"),
        (f"1 {CM} inline:{KEY}|1:4", "MKI"),
        (f"1 {CM} inline:{KEY}|2^20|1:4;inline:{KEY}|2^20|2:4", "several keys"),
        (f"1 {CM} inline:{KEY}|2^49", "lifetime"),
        (f"1 {CM} inline:{KEY}|0", "lifetime"),
        (f"1 {CM} inline:{KEY}|2^20|2^20", "lifetime"),
        (f"1 {CM} inline:{KEY}|", "lifetime"),
        (f"1 {CM} inline:{KEY} UNENCRYPTED_SRTP", "unprotected"),
        (f"1 {CM} inline:{KEY} UNENCRYPTED_SRTCP", "unprotected"),
        (f"1 {CM} inline:{KEY} WSH=64 UNAUTHENTICATED_SRTP", "unprotected"),
        (f"1 {CM} inline:{KEY} KDR=1", "KDR"),
        (f"1 {CM} inline:{KEY} WSH=x", "WSH"),
        (f"1 {CM} inline:{KEY} FEC_ORDER=FEC_SRTP", "FEC_ORDER' is not supported"),
        (f"1 {CM} inline:{KEY} VENDOR", "VENDOR' is not supported"),
    ],
)
def test_what_cannot_be_used_says_why_and_shows_no_key(value: str, why: str) -> None:
    found = sdes.parse(value)
    assert isinstance(found, str) and why in found and KEY[:8] not in found


def test_a_line_that_cannot_be_used_gives_way_to_the_next() -> None:
    lines = [f"1 {CM} inline:{KEY}|1:4", "2 NOVEL inline:x", f"3 {CM} inline:{KEY}", f"3 AES_CM_128_HMAC_SHA1_32 inline:{KEY}"]
    found = sdes.read([("ptime", "20"), *(("crypto", line) for line in lines), ("CRYPTO", f"5 {CM} inline:{KEY}"), ("crypto", None)])
    assert [crypto.tag for crypto in found.usable] == [3, 5] and len(found.why_not) == 4


def test_an_answer_chooses_by_its_tag_and_else_by_its_suite() -> None:
    offered = sdes.read([("crypto", f"2 {CM} inline:{KEY}"), ("crypto", f"5 {CM} inline:{KEY}")])
    chosen = {tag: offered.chosen_by(sdes.Crypto(tag, CM, offered.usable[0].secret)) for tag in (2, 5, 1)}
    assert chosen == {2: offered.usable[0], 5: offered.usable[1], 1: offered.usable[0]}
    assert offered.chosen_by(sdes.Crypto(2, "AES_CM_128_HMAC_SHA1_32", b"")) is None


def test_a_thousand_lines_cost_no_more_than_sixteen() -> None:
    found = sdes.read([("crypto", f"{tag} {CM} inline:{KEY}") for tag in range(1, 1001)])
    assert len(found.usable) == sdes.MAX_LINES


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=120) | st.from_regex(r"[0-9]{1,3} [A-Z0-9_]{4,30} inline:[A-Za-z0-9+/=|:^;]{0,60}( [A-Z_=0-9-]{1,20}){0,3}"))
def test_any_text_is_a_key_or_a_reason(value: str) -> None:
    found = sdes.parse(value)
    assert isinstance(found, str) or len(found.secret) == SUITES[found.suite].secret_bytes


@pytest.mark.parametrize("line", [f"a=crypto:1 {CM} inline:{KEY}|2^20", f"crypto 1 {CM} INLINE: {KEY} x", f'"inline:{KEY}"'])
def test_no_text_for_people_has_a_key(line: str) -> None:
    read = sdes.read([("crypto", line[9:])])
    for text in (quoted(line, 200), clean(f"seen: {line}"), clean(repr(line)), repr(Crypto(1, CM, SECRET)), repr(read)):
        assert KEY[:6] not in text and not re.search(KEY[-6:], text) and repr(SECRET) not in text
