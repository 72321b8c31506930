import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.errors import Misuse
from sip_front.message import BadMessage, Headers, Request, Response, is_keepalive, make_response, parse, validate
from sip_front.sdp import parse_sdp
from tests.sip_front import torture

INVITE = torture.wire("""
INVITE sip:+4930123456@sip.example.com:5060 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK776asdhds;rport
Via: SIP/2.0/UDP 10.1.2.3:5060;received=198.51.100.7;branch=z9hG4bKnashds8
Max-Forwards: 68
Record-Route: <sip:192.0.2.7;lr;ftag=1928301774>
From: "Alice Adams" <sip:+4940987654@carrier.example.net;user=phone>;tag=1928301774
To: <sip:+4930123456@sip.example.com;user=phone>
Call-ID: a84b4c76e66710b2f9aa@10.1.2.3
CSeq: 314159 INVITE
Timestamp: 54
Contact: <sip:alice@10.1.2.3:5060;transport=udp>
Allow: INVITE, ACK, CANCEL, OPTIONS, BYE
Supported: replaces, timer
Supported: 100rel
Content-Type: text/plain
Content-Length: 5

hello""")


def changed(old: str, new: str, octets: bytes = INVITE) -> bytes:
    assert old.encode() in octets
    return octets.replace(old.encode(), new.encode("utf-8", "surrogateescape"), 1)


def refusal_of(octets: bytes) -> BadMessage:
    with pytest.raises(BadMessage) as refusal:
        validate(parse(octets))
    return refusal.value


def test_a_request_is_read():
    invite = parse(INVITE)
    validate(invite)
    assert isinstance(invite, Request) and (invite.method, invite.uri) == ("INVITE", "sip:+4930123456@sip.example.com:5060")
    assert invite.top_via.branch == "z9hG4bK776asdhds" and invite.top_via.params["rport"] is None
    assert invite.from_.display == "Alice Adams" and invite.from_.tag == "1928301774" and invite.to.tag is None
    assert invite.contact is not None and invite.contact.uri == "sip:alice@10.1.2.3:5060;transport=udp"
    assert invite.cseq == (314159, "INVITE") and invite.call_id == "a84b4c76e66710b2f9aa@10.1.2.3" and invite.max_forwards == 68
    assert invite.headers.get_all("Supported") == ["replaces", "timer", "100rel"] and len(invite.headers.get_all("Allow")) == 5
    assert invite.body == b"hello"


def test_what_was_read_is_written_again_octet_for_octet():
    assert parse(INVITE).encode() == INVITE
    strange = changed("hello", "\x00\r\n\r\n", changed("Alice Adams", "\udcff\udcfeJ\u00fcrgen\x85\u2028", INVITE))
    assert parse(strange).encode() == strange


@pytest.mark.parametrize("name", ["Route", "Record-Route"])
@pytest.mark.parametrize("route", ["<sip:h;lr>", "sip:h"])
def test_more_proxies_than_a_message_can_pass_are_refused(name, route):
    most = changed("Max-Forwards", f"{name}: {','.join([route] * 70)}\r\nMax-Forwards", INVITE.replace(b"Record-Route", b"X-R"))
    validate(parse(most))
    assert refusal_of(changed(f"{name}: ", f"{name}: {route}, ", most)).sip_status == 513


def test_typed_views_follow_the_headers():
    invite = parse(INVITE)
    assert invite.top_via.port == 5060 and invite.to.tag is None
    invite.headers.replace_first("Via", invite.top_via.with_param("rport", "31337").encode())
    invite.headers.set("To", "<sip:bob@b>;tag=2")
    assert invite.top_via.params["rport"] == "31337" and invite.to.tag == "2" and len(invite.headers.get_all("Via")) == 2


@pytest.mark.parametrize("case", torture.CASES, ids=lambda case: case.name)
def test_torture(case):
    verdict = case.outcome.verdict
    if verdict is None:
        message = parse(case.octets)
        validate(message)
        again = parse(message.encode())
        for headers in (again.headers, message.headers):
            headers.remove("Content-Length")  # ours is written, wherever theirs stood
        assert again.headers == message.headers
        assert again.body == message.body and again.encode() == message.encode()
        return
    refusal = refusal_of(case.octets)
    assert refusal.status == refusal.sip_status == verdict and str(refusal).isascii()
    assert (refusal.request is not None) == case.outcome.is_answerable
    if refusal.request:
        response = parse(make_response(refusal.request, refusal.status).encode())
        assert isinstance(response, Response) and response.status == verdict
        assert response.headers.get_all("CSeq") == refusal.request.headers.get_all("CSeq")


def test_all_messages_of_both_rfcs_are_there():
    assert (len(torture.RFC_4475), len(torture.RFC_5118), len(torture.OUTCOMES)) == (49, 12, 61)
    assert len(torture.OCTETS["mpart01"].partition(b"\r\n\r\n")[2]) == 553, "as its Content-Length says"


def test_rfc_4475_wsinv_means_what_the_rfc_says():
    message = parse(torture.OCTETS["wsinv"])
    assert message.to.tag == "1918181833n" and message.from_.tag == "98asjd8" and message.from_.display == 'J Rosenberg \\"'
    assert message.max_forwards == 68 and message.cseq == (9, "INVITE") and message.headers.get("Subject") == ""
    vias = message.headers.get_all("Via")
    assert len(vias) == 3 and message.top_via.branch == "390skdjuw" and message.top_via.host == "192.0.2.2"
    assert message.headers.get("NewFangledHeader") == "newfangled value continued newfangled value"
    assert message.headers.get("UnknownHeaderWithUnusualValue") == ";;,,;;,;"
    assert message.contact is not None
    assert message.contact.params == {"newparam": "newvalue", "secondparam": None, "q": "0.33"}
    assert message.contact.display == 'Quoted string ""'
    assert [line.kind for line in parse_sdp(message.body).media] == ["audio", "video"]


def test_rfc_4475_unusual_but_valid_octets():
    intmeth = parse(torture.OCTETS["intmeth"])
    assert isinstance(intmeth, Request) and intmeth.method == intmeth.cseq[1] == "!interesting-Method0123456789_*+`.%indeed'~"
    assert intmeth.to.display == "BEL:\x07 NUL:\x00 DEL:\x7f" and intmeth.from_.tag == "_token~1'+`*%!-."
    assert intmeth.call_id == "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"
    unreason = parse(torture.OCTETS["unreason"])
    assert isinstance(unreason, Response) and unreason.reason.startswith("= 2**3 * 5**2 \u043d\u043e ")
    noreason = parse(torture.OCTETS["noreason"])
    assert isinstance(noreason, Response) and (noreason.status, noreason.reason) == (100, "")
    assert parse(torture.OCTETS["dblreq"]).body == b"" and parse(torture.OCTETS["dblreq"]).call_id.startswith("dblreq.0ha0isndaksdj99")


LIBERAL = [
    ("Max-Forwards: 68\r\n", ""),
    ("SIP/2.0\r\n", "sip/2.0\r\n"),
    ("INVITE sip:", "INVITE SIP:"),
    ("INVITE sip:", "\r\n\r\nINVITE sip:"),
    (";tag=1928301774\r\nTo", "\r\nTo"),
    (";branch=z9hG4bK776asdhds", ""),
    ("Content-Length: 5\r\n", ""),
    ("Content-Length: 5\r\n", "l : 0005\r\n"),
    ("Supported: 100rel", "Supported:"),
    ("Timestamp: 54", "X-Odd: \u00d6\r\n continued: \udcff"),
    ("CSeq: 314159 INVITE", "CSeq:\t314159\t INVITE\t"),
    ("Contact: <sip:alice@10.1.2.3:5060;transport=udp>\r\n", ""),
    ("Contact: <sip:alice@10.1.2.3:5060;transport=udp>", "Contact: <sip:alice@pbx1;ob>;+sip.instance=\"<urn:uuid:0>\";reg-id=1"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), LIBERAL)
def test_what_real_devices_send_is_taken(old, new):
    message = parse(changed(old, new))
    validate(message)
    assert message.body == b"hello" and message.call_id == "a84b4c76e66710b2f9aa@10.1.2.3"


BROKEN = [
    #  what stands there, what stands there instead, status, part of the reason
    ("Call-ID: a84b4c76e66710b2f9aa@10.1.2.3\r\n", "", 400, "no Call-ID"),
    ("To: <sip:+4930123456@sip.example.com;user=phone>\r\n", "", 400, "no To"),
    ("To: <sip:+4930123456@sip.example.com;user=phone>", "To:", 400, "no To"),
    ("CSeq: 314159 INVITE\r\n", "", 400, "no CSeq"),
    ("CSeq: 314159", "CSeq: 4294967296", 400, "CSeq"),
    ("CSeq: 314159", "CSeq: \u0661", 400, "CSeq"),
    ("CSeq: 314159 INVITE", "CSeq: 314159", 400, "CSeq"),
    ("314159 INVITE", "314159 BYE", 400, "CSeq names 'BYE'"),
    ("Call-ID: a84b", "Call-ID: a8 4b", 400, "holds a space"),
    ("Max-Forwards: 68", "Max-Forwards: 256", 400, "Max-Forwards"),
    ("Max-Forwards: 68", "Max-Forwards: 68\r\nmax-forwards : 70", 400, "Max-Forwards stands there 2 times"),
    ("Timestamp: 54", "f: <sip:x@y>", 400, "From stands there 2 times"),
    ("Timestamp: 54", "Content-Length : 0", 400, "not one number"),
    ("Content-Length: 5", "Content-Length: +5", 400, "not one number"),
    ("Content-Length: 5", "Content-Length: 00000000005", 400, "not one number"),
    ("Content-Length: 5", "Content-Length: 4294967301", 400, "and there are 5"),
    ("Content-Length: 5", "Content-Length: 6", 400, "and there are 5"),
    ("SIP/2.0\r\n", "SIP/3.0\r\n", 505, "SIP/2.0"),
    ("INVITE sip:", "INVITE urn:", 416, "we reach sip:"),
    ("INVITE sip:", "INVITE sip:@", 400, "Request-URI"),
    (" sip:+4930123456@sip.example.com:5060 ", " sip:a@b?Subject=x ", 400, "holds headers"),
    (" sip:+4930123456@sip.example.com:5060 ", "  ", 400, "Request-URI"),
    ("Timestamp: 54", "Time\u00a0stamp: 54", 400, "not the name of a header"),
    ("Timestamp: 54", "Timestamp", 400, "it has no colon"),
    ("Timestamp: 54", ": 54", 400, "not the name of a header"),
    ("Timestamp: 54", "A: 1\nTo: <sip:evil@x>", 400, "LF or CR alone"),
    ("Timestamp: 54", "A: 1\rB: 2", 400, "LF or CR alone"),
    ("Timestamp: 54", "A: " + "x" * 8200, 513, "characters; we take"),
    ("Timestamp: 54", "\r\n".join(["A: 1"] * 200), 513, "we take 200"),
    ("Timestamp: 54", "Via: " + ", ".join(["SIP/2.0/UDP a"] * 69), 513, "71 Vias"),
    ("SIP/2.0\r\n", "SIP/2.0\r\n continued\r\n", 400, "goes on in a second line"),
    ("\r\n\r\nhello", "", 400, "no empty line"),
    ("Contact: <sip:alice@", "Contact: <sip:alice@@", 400, "Contact"),
    ("Record-Route: <sip:192.0.2.7;lr", "Record-Route: <;lr", 400, "Record-Route"),
    ("Via: SIP/2.0/UDP 10", "Via: SIP/2.0/UDP [10", 400, "Via"),
]


@pytest.mark.parametrize(("old", "new", "status", "why"), BROKEN)
def test_what_is_broken_is_refused_and_can_be_answered(old, new, status, why):
    refusal = refusal_of(changed(old, new))
    assert refusal.status == status and why in str(refusal) and len(str(refusal)) < 500
    assert refusal.request is not None
    answer = make_response(refusal.request, status).encode()
    assert answer.startswith(b"SIP/2.0 %d " % status) and b"evil" not in answer and b"z9hG4bKnashds8" in answer


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01",
        b"",
        b"INVITE",
        b"INVITE sip:a@b\r\n\r\n",
        b"SIP/2.0 099 x\r\n\r\n",
        b"SIP/2.0 2000 x\r\n\r\n",
        b"SIP/2.0\r\n\r\n",
        "SIP/2.0 \u0661\u0660\u0660 x\r\n\r\n".encode(),
        "INV\u0130TE sip:a SIP/2.0\r\n\r\n".encode(),
        b"INVITE sip:a SIP/2.0\nVia: x\n\n",
        b"x" * 70_000,
        "INVITE sip:a \u017fIP/2.0\r\n\r\n".encode(),
        b"SIP/2.0 200 OK\r\n: x\r\n\r\n",
    ],
)
def test_what_is_no_request_is_not_answered(octets):
    with pytest.raises(BadMessage) as refusal:
        parse(octets)
    assert refusal.value.request is None


def test_a_head_without_end_is_too_large():
    refusal = refusal_of(INVITE[:200].ljust(66_000, b"x"))
    assert refusal.status == 513


@pytest.mark.parametrize(
    ("octets", "kept"), [(b"\r\n\r\n", True), (b"\r\n", True), (b"\0", True), (b"", True), (INVITE, False), (b"x", False)]
)
def test_keepalives(octets, kept):
    assert is_keepalive(octets) == kept


def test_a_response_copies_what_8_2_6_says():
    invite = parse(INVITE)
    assert isinstance(invite, Request)
    ok = make_response(invite, 200, to_tag="t1", headers=[("Contact", "<sip:us>")], body=b"v=0\r\n", content_type="application/sdp")
    assert ok.reason == "OK" and ok.to.tag == "t1" and ok.headers.get("Record-Route") and "Timestamp" not in ok.headers
    assert ok.headers.get_all("Via") == invite.headers.get_all("Via") and ok.from_ == invite.from_ and ok.cseq == invite.cseq
    written = parse(ok.encode())
    assert written.body == b"v=0\r\n" and written.headers.get("Content-Type") == "application/sdp" and written.headers.get("l") == "5"
    trying = make_response(invite, 100)
    assert trying.to.tag is None and trying.headers.get("Timestamp") == "54" and "Record-Route" not in trying.headers
    assert "Record-Route" not in make_response(invite, 404).headers and make_response(invite, 404, "Nobody").reason == "Nobody"


def test_a_stateless_response_has_the_same_tag_for_each_repeat_and_another_for_another_call():
    tags = [make_response(parse(octets), status).to.tag for octets in (INVITE, INVITE, changed("a84b", "b84b")) for status in (180, 486)]
    assert len(set(tags[:4])) == 1 and tags[4] == tags[5] != tags[0] and tags[0]


def test_a_tag_that_is_there_is_kept():
    again = parse(changed("user=phone>\r\nCall-ID", "user=phone>;tag=7\r\nCall-ID"))
    assert make_response(again, 200, to_tag="other").to.tag == "7"


@pytest.mark.parametrize(
    "message",
    [
        Request("INV ITE", "sip:a"),
        Request("INVITE", "sip:a SIP/2.0\r\nX: y"),
        Request("INVITE", ""),
        Response(99, "x"),
        Response(200, "a\r\nb: c"),
    ],
)
def test_our_own_mistakes_do_not_reach_the_wire(message):
    with pytest.raises(Misuse):
        message.encode()


def test_a_message_is_built_and_read_back():
    headers = Headers([("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"), ("From", "<sip:a@b>;tag=1"), ("To", "<sip:c@d>"), ("i", "x@y")])
    headers.add("CSeq", "1 OPTIONS")
    headers.add("Content-Length", "999")
    sent = Request("OPTIONS", "sip:c@d", headers, b"abc")
    received = parse(sent.encode())
    validate(received)
    assert isinstance(received, Request) and received.body == b"abc" and received.headers.get_all("Content-Length") == ["3"]


NASTY = st.sampled_from(
    ["\r\n", "\n", "\r", " ", "\t", ":", ";", ",", '"', "<", ">", "\\", "\0", "\x85", "\u2028", "\u212a", "=", "Via: ", "l: 9"]
)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda tail: b"INVITE sip:a@b SIP/2.0\r\n" + tail))
def test_any_octets_are_a_message_or_a_bad_message(octets):
    _parse_and_check(octets)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(INVITE)), st.integers(0, 12), NASTY | st.text(max_size=5))
def test_any_change_to_an_invite_gives_a_message_or_a_bad_message(place, length, text):
    _parse_and_check(INVITE[:place] + text.encode("utf-8", "surrogatepass") + INVITE[place + length :])


def _parse_and_check(octets: bytes) -> None:
    try:
        message = parse(octets)
        assert parse(message.encode()).encode() == message.encode()
        validate(message)
    except BadMessage as refusal:
        assert str(refusal).isprintable()
        if refusal.request:
            make_response(refusal.request, refusal.status).encode()
