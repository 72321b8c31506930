import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.errors import NotAcceptable
from control_plane.formats import FORMATS, PTIMES_MS
from control_plane.messages import MediaDescription, SrtpKeys
from control_plane.srtp_suites import SUITES
from sip_front import sdes
from sip_front.offer_answer import accept, answer, check_remote, offer, renumbered
from sip_front.sdp import SessionDescription, parse_sdp

OURS = {"address": "198.51.100.1", "port": 10_000, "session_id": 7, "version": 1}
BOTH = ("PCMU", "PCMA")


def described(*lines: str, address: str = "192.0.2.7") -> SessionDescription:
    return parse_sdp("\r\n".join(("v=0", f"o=- 1 1 IN IP4 {address}", "s=-", f"c=IN IP4 {address}", "t=0 0", *lines, "")).encode())


def answered(*lines: str, formats: tuple[str, ...] = BOTH, address: str = "192.0.2.7") -> tuple[str, MediaDescription]:
    sdp, media = answer(described(*lines, address=address), formats=formats, **OURS)
    assert parse_sdp(sdp.encode()) == sdp
    return sdp.encode().decode().replace("\r\n", "\n"), media


def test_an_ordinary_offer_is_answered():
    text, media = answered(
        *("m=audio 4000 RTP/AVP 18 8 0 101 13", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15", "a=ptime:30", "a=rtcp-mux"),
        *("m=video 4002 RTP/AVP 31",),
    )
    assert text == (
        "v=0\no=- 7 1 IN IP4 198.51.100.1\ns=Bellframe\nc=IN IP4 198.51.100.1\nt=0 0\n"
        "m=audio 10000 RTP/AVP 0 13 101\na=rtpmap:0 PCMU/8000\na=rtpmap:13 CN/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-16\n"
        "a=ptime:30\na=sendrecv\na=rtcp-mux\nm=video 0 RTP/AVP 31\n"
    )
    assert media == MediaDescription(
        format="PCMU",
        payload_type=0,
        remote_host="192.0.2.7",
        remote_port=4000,
        ptime_ms=30,
        dtmf_payload_type=101,
        comfort_noise_payload_type=13,
        has_rtcp_mux=True,
    )


@pytest.mark.parametrize(
    ("attributes", "port"),
    [
        *(((), 0), (("a=rtcp:53020",), 53020), (("a=rtcp:53020 IN IP4 192.0.2.9",), 53020)),
        *((("a=rtcp:99999",), 0), (("a=rtcp:x",), 0), (("a=rtcp:-1",), 0), (("a=rtcp",), 0)),
    ],
)
def test_where_reports_go_may_be_said(attributes: tuple[str, ...], port: int) -> None:
    text, media = answered("m=audio 4000 RTP/AVP 0", *attributes)
    assert (media.remote_rtcp_port, media.has_rtcp_mux) == (port, False) and "rtcp" not in text


@pytest.mark.parametrize(
    ("attributes", "ssrc"),
    [
        *(((), -1), (("a=ssrc:7 cname:x",), 7), (("a=ssrc:4294967295 cname:x", "a=ssrc:4294967295 label:y"), 0xFFFFFFFF)),
        *((("a=ssrc:7 cname:x", "a=ssrc:8 cname:x"), -1), (("a=ssrc:4294967296 cname:x",), -1), (("a=ssrc:x",), -1), (("a=ssrc",), -1)),
    ],
)
def test_the_stream_that_the_far_end_names_is_told(attributes: tuple[str, ...], ssrc: int) -> None:
    _, media = answered("m=audio 4000 RTP/AVP 0", *attributes)
    assert media.remote_ssrc == ssrc
    assert accept(described("m=audio 4000 RTP/AVP 0", *attributes), offer(formats=BOTH, **OURS)).remote_ssrc == ssrc


@pytest.mark.parametrize("is_muxed", [True, False])
def test_reports_share_the_port_when_both_say_so(is_muxed: bool) -> None:
    ours = offer(formats=BOTH, **OURS)
    theirs = described("m=audio 4000 RTP/AVP 0", *(["a=rtcp-mux"] if is_muxed else []), "a=rtcp:4001")
    media = accept(theirs, ours)
    assert (media.has_rtcp_mux, media.remote_rtcp_port) == (is_muxed, 4001)
    unasked = ours._replace(media=(ours.media[0]._replace(attributes=()),))
    assert not accept(described("m=audio 4000 RTP/AVP 0", "a=rtcp-mux"), unasked).has_rtcp_mux


PICKS = [
    #  m= line and attributes, our formats, format, payload type, keys, comfort noise
    (("m=audio 4000 RTP/AVP 0 8",), BOTH, "PCMU", 0, -1, -1),
    (("m=audio 4000 RTP/AVP 8 0",), BOTH, "PCMU", 0, -1, -1),
    (("m=audio 4000 RTP/AVP 8 0",), ("PCMA", "PCMU"), "PCMA", 8, -1, -1),
    (("m=audio 4000 RTP/AVP 8",), BOTH, "PCMA", 8, -1, -1),
    (("m=audio 4000 RTP/AVP 97", "a=rtpmap:97 pcma/8000"), BOTH, "PCMA", 97, -1, -1),
    (("m=audio 4000 RTP/AVP 0 8", "a=rtpmap:0 PCMU/16000"), BOTH, "PCMA", 8, -1, -1),
    (("m=audio 4000 RTP/AVP 0 8", "a=rtpmap:0 PCMU/8000/2"), BOTH, "PCMA", 8, -1, -1),
    (("m=audio 4000 RTP/AVP 0 8", "a=rtpmap:0 PCMU/8000/1"), BOTH, "PCMU", 0, -1, -1),
    (("m=audio 4000 RTP/AVP 0 96", "a=rtpmap:96 telephone-event/48000"), BOTH, "PCMU", 0, -1, -1),
    (("m=audio 4000 RTP/AVP 9 0",), ("G722", "PCMU"), "G722", 9, -1, -1),
    (("m=audio 4000 RTP/AVP 9 0", "a=rtpmap:9 G722/8000"), (*BOTH, "G722"), "PCMU", 0, -1, -1),
    (("m=audio 4000 RTP/AVP 109", "a=rtpmap:109 L16/16000"), ("L16/8000", "L16/16000"), "L16/16000", 109, -1, -1),
    (("m=audio 4000 RTP/AVP 109 110", "a=rtpmap:109 L16/16000", "a=rtpmap:110 L16/8000"), ("L16/8000",), "L16/8000", 110, -1, -1),
    (
        ("m=audio 4000 RTP/AVP 0 96 100", "a=rtpmap:96 telephone-event/48000", "a=rtpmap:100 TELEPHONE-EVENT/8000"),
        *(BOTH, "PCMU", 0, 100, -1),
    ),
    (("m=audio 4000 RTP/AVP 0 98", "a=rtpmap:98 CN/8000"), BOTH, "PCMU", 0, -1, 98),
    (("m=audio 0 RTP/AVP 0", "m=audio 4004 RTP/AVP 8"), BOTH, "PCMA", 8, -1, -1),
    (("m=audio 4000 RTP/SAVP 0", "a=crypto:1 A inline:x", "m=audio 4004 RTP/AVP 8"), BOTH, "PCMA", 8, -1, -1),
    (("m=audio 4000 RTP/AVP 0", "a=crypto:1 A inline:x"), BOTH, "PCMU", 0, -1, -1),
]


@pytest.mark.parametrize(("lines", "formats", "name", "payload_type", "keys", "noise"), PICKS)
def test_our_first_format_that_is_offered_is_taken(lines, formats, name, payload_type, keys, noise):
    text, media = answered(*lines, formats=formats)
    assert (media.format, media.payload_type) == (name, payload_type)
    assert (media.dtmf_payload_type, media.comfort_noise_payload_type) == (keys, noise)
    lines_of_answer = [line for line in text.split("\n") if line.startswith("m=")]
    assert len(lines_of_answer) == sum(line.startswith("m=") for line in lines)
    assert [line.split(" ")[1] for line in lines_of_answer].count("10000") == 1
    assert f"a=rtpmap:{payload_type} {name if '/' in name else name + '/8000'}" in text and "crypto" not in text and "rtcp-mux" not in text


PTIMES = [
    *[((f"a=ptime:{ptime}",), ptime) for ptime in PTIMES_MS],
    ((), 20),
    (("a=ptime:0",), 20),
    (("a=ptime:25",), 20),
    (("a=ptime:100",), 20),
    (("a=maxptime:20", "a=ptime:60"), 20),
    (("a=maxptime:10",), 10),
    (("a=maxptime:5",), 10),
    (("a=maxptime:50", "a=ptime:60"), 40),
    (("a=maxptime:150", "a=ptime:60"), 60),
]


@pytest.mark.parametrize(("attributes", "ptime_ms"), PTIMES)
def test_we_send_the_ptime_that_is_wished_for_where_we_can(attributes, ptime_ms):
    text, media = answered("m=audio 4000 RTP/AVP 0", *attributes)
    assert media.ptime_ms == ptime_ms and f"a=ptime:{ptime_ms}\n" in text


DIRECTIONS = [
    #  theirs, their address, ours
    ("sendrecv", "192.0.2.7", "sendrecv"),
    ("sendonly", "192.0.2.7", "recvonly"),
    ("recvonly", "192.0.2.7", "sendonly"),
    ("inactive", "192.0.2.7", "inactive"),
    ("sendrecv", "0.0.0.0", "recvonly"),
    ("recvonly", "0.0.0.0", "inactive"),
    ("inactive", "0.0.0.0", "inactive"),
]


@pytest.mark.parametrize("level", ["session", "media"])
@pytest.mark.parametrize(("theirs", "address", "ours"), DIRECTIONS)
def test_the_direction_is_the_mirror_of_theirs(theirs, address, ours, level):
    lines = ("m=audio 4000 RTP/AVP 0", f"a={theirs}") if level == "media" else (f"a={theirs}", "m=audio 4000 RTP/AVP 0")
    text, media = answered(*lines, address=address)
    assert media.direction == ours and text.endswith(f"a={ours}\n")
    assert media.remote_host == ("" if address == "0.0.0.0" else address)


REFUSED = [
    (("m=audio 4000 RTP/AVP 18 9",), r"offered 'G729/8000, G722/8000'; we have PCMU, PCMA"),
    (("m=audio 4000 RTP/AVP 99",), "none that is known"),
    (("m=audio 4000 RTP/AVP 101", "a=rtpmap:101 telephone-event/8000"), "no audio format in common"),
    (("m=audio 4000 RTP/SAVP 0", "a=crypto:1 A inline:x"), 'SRTP .* media.srtp = "off" does not allow'),
    (("m=audio 4000 UDP/TLS/RTP/SAVPF 0",), r"the offer is WebRTC \('UDP/TLS/RTP/SAVPF': DTLS and ICE\)"),
    (("m=audio 4000 RTP/AVPF 0",), "'RTP/AVPF' only"),
    (("m=audio 0 RTP/AVP 0",), "no audio: it offers nothing"),
    (("m=video 4000 RTP/AVP 31",), "no audio: it offers 'video'"),
    ((), "no audio"),
]


@pytest.mark.parametrize(("lines", "why"), REFUSED)
def test_an_offer_without_anything_in_common_is_refused_with_both_sides_named(lines, why):
    with pytest.raises(NotAcceptable, match=why) as refusal:
        answered(*lines)
    assert refusal.value.sip_status == 488


def test_our_offer_holds_our_formats_and_keys():
    assert offer(formats=("PCMA", "PCMU"), direction="sendonly", **OURS).encode().decode().split("\r\n")[5:] == [
        *("m=audio 10000 RTP/AVP 8 0 101", "a=rtpmap:8 PCMA/8000", "a=rtpmap:0 PCMU/8000", "a=rtpmap:101 telephone-event/8000"),
        *("a=fmtp:101 0-16", "a=ptime:20", "a=sendonly", "a=rtcp-mux", ""),
    ]


ACCEPTED = [
    #  the answer, our direction in the offer, what comes of it
    (("m=audio 4000 RTP/AVP 8 0",), "sendrecv", ("PCMA", 8, -1, 20, "sendrecv", "192.0.2.7")),
    (
        ("m=audio 4000 RTP/AVP 0 97", "a=rtpmap:97 telephone-event/8000", "a=ptime:40", "a=sendonly"),
        *("sendrecv", ("PCMU", 0, 97, 40, "recvonly", "192.0.2.7")),
    ),
    (("m=audio 4000 RTP/AVP 0", "a=sendrecv"), "sendonly", ("PCMU", 0, -1, 20, "sendonly", "192.0.2.7")),
    (("m=audio 4000 RTP/AVP 0", "a=recvonly"), "sendonly", ("PCMU", 0, -1, 20, "sendonly", "192.0.2.7")),
    (("m=audio 4000 RTP/AVP 0", "c=IN IP4 0.0.0.0"), "sendrecv", ("PCMU", 0, -1, 20, "recvonly", "")),
]


@pytest.mark.parametrize(("lines", "direction", "outcome"), ACCEPTED)
def test_an_answer_to_our_offer_is_accepted(lines, direction, outcome):
    media = accept(described(*lines), offer(formats=BOTH, direction=direction, **OURS))
    assert (media.format, media.payload_type, media.dtmf_payload_type, media.ptime_ms, media.direction, media.remote_host) == outcome


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (("m=audio 0 RTP/AVP 0",), "refused the audio"),
        (("m=audio 4000 RTP/AVP 18",), "no audio format in common"),
        (("m=audio 4000 RTP/SAVP 0",), "RTP/SAVP"),
        (("m=video 4000 RTP/AVP 31",), "'video'"),
        ((), "0 media lines"),
        (("m=audio 4000 RTP/AVP 0", "m=audio 4002 RTP/AVP 0"), "2 media lines"),
    ],
)
def test_an_answer_that_answers_something_else_is_refused(lines, why):
    with pytest.raises(NotAcceptable, match=why):
        accept(described(*lines), offer(formats=BOTH, **OURS))


def test_an_offer_gives_numbers_to_what_has_none_and_keys_to_each_clock():
    text = offer(formats=("G722", "L16/16000", "L16/8000"), **OURS).encode().decode()
    assert "m=audio 10000 RTP/AVP 9 96 97 101 98\r\n" in text
    for wanted in ("9 G722/8000", "96 L16/16000", "97 L16/8000", "101 telephone-event/8000", "98 telephone-event/16000"):
        assert f"a=rtpmap:{wanted}\r\n" in text


def test_keys_of_another_clock_than_the_audios_are_better_than_none_and_are_answered_as_offered():
    text, media = answered(
        "m=audio 4000 RTP/AVP 109 101", "a=rtpmap:109 L16/16000", "a=rtpmap:101 telephone-event/8000", formats=("L16/16000",)
    )
    assert media.dtmf_payload_type == 101 and "a=rtpmap:101 telephone-event/8000" in text


def test_the_packet_time_is_one_that_a_packet_can_hold():
    """60 ms of L16 at 16 kHz are 1,920 octets: more than a datagram on most networks."""
    _, media = answered("m=audio 4000 RTP/AVP 109", "a=rtpmap:109 L16/16000", "a=ptime:60", formats=("L16/16000",))
    assert media.ptime_ms == 40


def test_what_the_far_end_says_about_a_format_is_passed_on():
    _, media = answered("m=audio 4000 RTP/AVP 9 0", "a=fmtp:0 other", "a=fmtp: 9  x=1; y=2", "a=fmtp:9", formats=("G722",))
    assert media.fmtp == "x=1; y=2"


KEY = base64.b64encode(bytes(range(30))).decode()
BIG = base64.b64encode(bytes(range(46))).decode()
PLAIN, SAVP, CM = "m=audio 4000 RTP/AVP 0", "m=audio 4002 RTP/SAVP 0", f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"
MKI = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4"
OTHERS = (f"a=crypto:7 AES_256_CM_HMAC_SHA1_32 inline:{BIG}", CM)
NO_KEY, IS_OFF = "no key offered can be used", "does not allow"
# What was offered, and under off, preferred, required: which line is answered and whether with a key; or why not.
POLICIES = [
    ((PLAIN,),                  (0, False), (0, False), NO_KEY),
    ((PLAIN, CM),               (0, False), (0, True),  (0, True)),
    ((SAVP, CM),                IS_OFF,     (0, True),  (0, True)),
    ((SAVP,),                   IS_OFF,     NO_KEY,     NO_KEY),
    ((SAVP, MKI),               IS_OFF,     "MKI",      "MKI"),
    ((PLAIN, MKI),              (0, False), (0, False), "MKI"),
    ((SAVP, CM, PLAIN),         (1, False), (0, True),  (0, True)),
    ((PLAIN, SAVP, CM),         (0, False), (1, True),  (1, True)),
    ((SAVP, MKI, PLAIN),        (1, False), (1, False), "MKI"),
    ((SAVP, MKI, PLAIN, CM),    (1, False), (1, True),  (1, True)),
]  # fmt: skip


@pytest.mark.parametrize("policy", ["off", "preferred", "required"])
@pytest.mark.parametrize("row", POLICIES, ids=lambda row: " ".join(row[0]).replace(KEY, ""))
def test_what_is_protected_is_chosen_first_and_what_must_be_is_never_answered_otherwise(row, policy):
    expected = row[1 + ["off", "preferred", "required"].index(policy)]
    if isinstance(expected, str):
        with pytest.raises(NotAcceptable, match=expected):
            answer(described(*row[0]), formats=BOTH, srtp=policy, **OURS)
        return
    index, has_key = expected
    offered = described(*row[0])
    text, media = answer(offered, formats=BOTH, srtp=policy, **OURS)
    assert [bool(line.port) for line in text.media] == [i == index for i in range(len(offered.media))]
    assert text.media[index].protocol == offered.media[index].protocol
    found = sdes.read(parse_sdp(text.encode()).media[index].attributes)
    assert (media.srtp is not None, len(found.usable)) == (has_key, int(has_key))
    if media.srtp:
        assert media.srtp.rx == bytes(range(30)) and found.usable[0].secret == media.srtp.tx != media.srtp.rx
        assert found.usable[0].tag == 1 and found.usable[0].suite == media.srtp.suite == "AES_CM_128_HMAC_SHA1_80"


def test_the_far_ends_first_suite_is_taken_with_its_tag():
    text, media = answer(described(SAVP, *OTHERS), formats=BOTH, srtp="required", **OURS)
    assert media.srtp is not None and media.srtp.suite == "AES_256_CM_HMAC_SHA1_32" and len(media.srtp.tx) == 46
    assert text.media[0].attribute("crypto").startswith("7 AES_256_CM_HMAC_SHA1_32 inline:")


SECRETS = {name: bytes([suite.number]) * suite.secret_bytes for name, suite in SUITES.items()}
FULL = f"a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"


@pytest.mark.parametrize(
    ("protocol", "policy", "lines", "why"),
    [
        ("RTP/SAVP", "required", ("m=audio 4000 RTP/SAVP 0", FULL), None),
        ("RTP/AVP", "preferred", ("m=audio 4000 RTP/AVP 0", FULL), None),
        ("RTP/AVP", "preferred", ("m=audio 4000 RTP/AVP 0",), ""),
        ("RTP/AVP", "required", ("m=audio 4000 RTP/AVP 0",), "chose none"),
        ("RTP/SAVP", "required", ("m=audio 4000 RTP/SAVP 0",), "chose none"),
        ("RTP/SAVP", "required", ("m=audio 4000 RTP/AVP 0",), "not audio over RTP/SAVP"),
        ("RTP/SAVP", "required", ("m=audio 4000 RTP/SAVP 0", MKI), "MKI"),
        ("RTP/AVP", "preferred", ("m=audio 4000 RTP/AVP 0", MKI), "MKI"),
        ("RTP/AVP", "preferred", ("m=audio 4000 RTP/AVP 0", FULL.replace(":3", ":9")), None),  # numbered anew: the suite says it
        ("RTP/SAVP", "required", ("m=audio 4000 RTP/SAVP 0", FULL.replace(":3", ":1")), None),
    ],
)
def test_the_answer_to_our_keys(protocol, policy, lines, why):
    offered = offer(formats=BOTH, protocol=protocol, secrets=SECRETS, **OURS)
    assert [crypto.suite for crypto in sdes.read(offered.media[0].attributes).usable] == list(SUITES)
    if why:
        with pytest.raises(NotAcceptable, match=why):
            accept(described(*lines), offered, policy)
        return
    keys = accept(described(*lines), offered, policy).srtp
    assert keys == (SrtpKeys("AES_CM_128_HMAC_SHA1_80", bytes(range(30)), bytes([3]) * 30) if why is None else None)


@settings(max_examples=200, deadline=None)
@given(
    st.permutations(list(FORMATS)),
    st.permutations(list(FORMATS)),
    st.sampled_from(["sendrecv", "sendonly", "recvonly", "inactive"]),
)
def test_both_sides_agree_whatever_they_prefer(formats, other_formats, direction):
    """Our offers met by our answers: the same format and numbers, and what one sends the other receives."""
    offered = offer(formats=tuple(formats), direction=direction, **OURS)
    text, media = answer(
        parse_sdp(offered.encode()), formats=tuple(other_formats), address="2001:db8::1", port=20_000, session_id=9, version=1
    )
    agreed = accept(parse_sdp(text.encode()), offered)
    assert (agreed.format, agreed.payload_type, agreed.dtmf_payload_type) == (media.format, media.payload_type, media.dtmf_payload_type)
    assert (agreed.remote_host, agreed.remote_port, media.remote_host, media.remote_port) == ("2001:db8::1", 20_000, "198.51.100.1", 10_000)
    mirror = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}
    assert agreed.direction == mirror[media.direction] and media.format == other_formats[0]


def test_the_version_goes_up_when_something_changed_and_only_then():
    first = offer(formats=BOTH, **OURS)
    again = renumbered(offer(formats=BOTH, **{**OURS, "version": 99, "session_id": 5}), first)
    held = renumbered(offer(formats=BOTH, direction="sendonly", **OURS), again)
    assert again == first and (held.session_id, held.version) == (7, 2) and renumbered(first, None) == first


@pytest.mark.parametrize("address", ["", "192.0.2.7", "10.0.0.1", "2001:db8::1", "0.0.0.0", "::", "::ffff:192.0.2.1"])
def test_media_may_go_to_one_machine(address):
    check_remote(address, allow_loopback=False)


@pytest.mark.parametrize(
    "address", ["224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1", "0.1.2.3", "::ffff:224.0.0.1", "example.com", "127.1", "1.2.3.04"]
)
def test_media_go_nowhere_else(address):
    with pytest.raises(NotAcceptable):
        check_remote(address, allow_loopback=True)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.255.0.3", "::1", "::ffff:127.0.0.1"])
def test_media_go_to_ourselves_only_where_allowed(address):
    check_remote(address, allow_loopback=True)
    with pytest.raises(NotAcceptable, match="this machine"):
        check_remote(address, allow_loopback=False)
