import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sip_front.sdp import BadDescription, Encoding, parse_sdp
from tests.sip_front.torture import wire

PHONE = wire("""
v=0
o=alice 2890844526 18446744073709551615 IN IP4 phone.example.com
s=A call
i=for people
c=IN IP4 192.0.2.7
b=AS:128
t=0 0
a=sendonly
a=tool:phone 1.0
m=audio 49170 RTP/AVP 9 8 0 18 96 101 13
c=IN IP6 2001:DB8::7
b=TIAS:64000
a=rtpmap:8 PCMA/8000
a=rtpmap:96 opus/48000/2
a=fmtp:96 useinbandfec=1; usedtx=0
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:30
a=maxptime:60
a=rtcp:53020 IN IP4 192.0.2.9
a=rtcp-mux
a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz
a=crypto:2 AES_256_CM_HMAC_SHA1_80 inline:x
a=recvonly
m=video 0/2 RTP/AVP 31
m=image 5000 udptl t38
""")


def changed(old: str, new: str) -> bytes:
    assert old.encode() in PHONE
    return PHONE.replace(old.encode(), new.encode(), 1)


def test_a_description_is_read():
    session = parse_sdp(PHONE)
    audio, video, image = session.media
    assert (session.session_id, session.version, session.origin_address) == (2890844526, 2**64 - 1, "phone.example.com")
    assert (session.address, session.address_of(audio), session.address_of(image)) == ("192.0.2.7", "2001:db8::7", "192.0.2.7")
    assert (audio.port, audio.protocol, audio.formats[:3]) == (49170, "RTP/AVP", ("9", "8", "0"))
    assert audio.encodings == {
        9: Encoding("G722", 8000),
        8: Encoding("PCMA", 8000),
        0: Encoding("PCMU", 8000),
        18: Encoding("G729", 8000),
        96: Encoding("OPUS", 48000, 2),
        101: Encoding("TELEPHONE-EVENT", 8000),
        13: Encoding("CN", 8000),
    }
    assert list(audio.encodings)[:2] == [9, 8]
    assert (audio.ptime_ms, audio.maxptime_ms, audio.attribute("rtcp-mux"), video.attribute("rtcp-mux")) == (30, 60, "", None)
    assert (session.direction_of(audio), session.direction_of(video)) == ("recvonly", "sendonly")
    assert (video.port, video.port_count, image.encodings) == (0, 2, {})


def test_what_was_read_is_written_and_read_again():
    session = parse_sdp(PHONE)
    assert parse_sdp(session.encode()) == session
    assert b"a=crypto:2 AES_256_CM_HMAC_SHA1_80 inline:x\r\n" in session.encode() and b"i=for people" not in session.encode()


TOLERATED = [
    ("\r\n", "\n", lambda s: len(s.media) == 3),
    ("a=ptime:30", "a=ptime:0", lambda s: s.media[0].ptime_ms is None),
    ("a=ptime:30", "a=ptime:-30", lambda s: s.media[0].ptime_ms is None),
    ("a=ptime:30", "a=ptime:99999999999999999999", lambda s: s.media[0].ptime_ms is None),
    ("a=ptime:30", "a=ptime", lambda s: s.media[0].ptime_ms is None),
    ("a=rtcp:53020 IN IP4 192.0.2.9", "a=rtcp:x", lambda s: s.media[0].attribute("rtcp") == "x"),
    ("a=rtpmap:8 PCMA/8000", "a=rtpmap:8 PCMA", lambda s: s.media[0].encodings[8] == Encoding("PCMA", 8000)),
    ("a=rtpmap:8 PCMA/8000", "a=rtpmap:8 PCMA/99999999999", lambda s: s.media[0].encodings[8] == Encoding("PCMA", 8000)),
    ("a=rtpmap:101 ", "a=rtpmap:1o1 ", lambda s: 101 not in s.media[0].encodings),
    ("a=tool:phone 1.0", "a=sendrecv", lambda s: s.direction_of(s.media[2]) == "sendonly"),
    ("s=A call", "s=", lambda s: s.name == ""),
    ("s=A call\r\n", "", lambda s: s.name == "-"),
    ("m=video 0/2 RTP/AVP 31", "m=video 0 RTP/AVP", lambda s: s.media[1].formats == ()),
    ("c=IN IP4 192.0.2.7", "c=IN IP4 224.2.36.42/127", lambda s: s.address == "224.2.36.42"),
    ("c=IN IP4 192.0.2.7", "c=IN IP4 0.0.0.0", lambda s: s.address == "0.0.0.0"),
]


@pytest.mark.parametrize(("old", "new", "claim"), TOLERATED)
def test_what_phones_write_is_taken(old, new, claim):
    session = parse_sdp(PHONE.replace(old.encode(), new.encode()) if old == "\r\n" else changed(old, new))
    assert claim(session) and parse_sdp(session.encode()) == session


BROKEN = [
    ("v=0", "v=1", "does not start with v=0"),
    ("v=0\r\n", "", "does not start with v=0"),
    ("o=alice 2890844526", "o=alice -1", "numbers of at most 20 digits"),
    ("o=alice 2890844526", "o=alice " + "9" * 5000, "numbers of at most 20 digits"),
    ("o=alice ", "o=", "six words"),
    ("o=alice 2890844526", "o=alice\u2028x 2890844526\x85", "numbers of at most"),
    ("c=IN IP4 192.0.2.7", "c=IN IP4 media.example.com", "names are not looked up"),
    ("c=IN IP4 192.0.2.7", "c=IN IP4 192.0.2.07", "is not an IP4 address"),
    ("c=IN IP4 192.0.2.7", "c=IN IP4 ::1", "is not an IP4 address"),
    ("c=IN IP4 192.0.2.7", "c=IN IP6 fe80::1%eth0", "zone"),
    ("c=IN IP4 192.0.2.7", "c=ATM x y", "is not IN"),
    ("c=IN IP4 192.0.2.7\r\n", "", "have no c= line"),
    ("m=audio 49170", "m=audio 65536", "a port"),
    ("m=audio 49170", "m=audio +9", "a port"),
    ("m=audio 49170", "m=audio 49170/0", "a port"),
    ("m=audio 49170 RTP/AVP 9 8 0 18 96 101 13", "m=audio 49170", "a port"),
    ("RTP/AVP 9 8 0 18 96 101 13", "RTP/AVP", "0 formats"),
    ("RTP/AVP 9 8", "RTP/AVP 9 9", "twice"),
    ("RTP/AVP 9 8", "RTP/AVP 128 8", "payload type"),
    ("RTP/AVP 9 8", "RTP/AVP 09 8", "payload type"),
    ("RTP/AVP 9 8", "RTP/AVP \u0669 8", "payload type"),
    ("RTP/AVP 9 8 0 18 96 101 13", "RTP/AVP " + " ".join(map(str, range(65))), "65 formats"),
    ("m=image 5000 udptl t38", "m=image 5000 udptl t38\r\n" * 3, "5 m= lines"),
    ("a=tool", "a=tool\r\na=", "has no name"),
    ("a=tool", "a tool", "is not a line"),
    ("a=tool", "a=to\rol", "is not a line"),
    ("a=tool", "a=to\0ol", "is not a line"),
    ("a=tool:phone 1.0\r\n", "a=x\r\n" * 500, "lines; we take"),
    ("a=tool", "a=" + "x" * 20_000, "octets; we take"),
]


@pytest.mark.parametrize(("old", "new", "why"), BROKEN)
def test_what_is_broken_is_refused_with_the_reason(old, new, why):
    with pytest.raises(BadDescription, match=why) as refusal:
        parse_sdp(changed(old, new))
    assert refusal.value.sip_status == 400 and len(str(refusal.value)) < 300 and str(refusal.value).isprintable()


LINES = st.sampled_from([*PHONE.split(b"\r\n"), b"m=audio 1 RTP/AVP 0", b"c=IN IP6 ::", b"a=", b"a=rtpmap:", b"o=", b"=", b"m="])


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=200)
    | st.lists(LINES, max_size=25).map(lambda lines: b"v=0\r\no=- 1 1 IN IP4 x\r\n" + b"\r\n".join(lines))
    | st.tuples(st.integers(0, len(PHONE)), st.binary(max_size=6)).map(lambda cut: PHONE[: cut[0]] + cut[1] + PHONE[cut[0] + 3 :])
)
def test_any_octets_are_a_description_that_comes_back_or_a_bad_one(octets):
    try:
        session = parse_sdp(octets)
    except BadDescription:
        return
    assert parse_sdp(session.encode()) == session
    for line in session.media:
        assert session.direction_of(line) in ("sendrecv", "sendonly", "recvonly", "inactive") and len(line.encodings) <= 64
        _ = line.ptime_ms, line.maxptime_ms, line.encodings
