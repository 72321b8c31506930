import pytest

from sip_front.dialog import Dialog
from sip_front.message import Request, Response, make_response, parse

INVITE = (
    "INVITE sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKp\r\n"
    "Record-Route: <sip:p2.example.com;lr>, <sip:192.0.2.9:5070;lr>\r\nFrom: <sip:a@192.0.2.10>;tag=caller\r\n"
    "To: <sip:100@192.0.2.1>\r\nCall-ID: x\r\nCSeq: 7 INVITE\r\nContact: <sip:a@192.0.2.10:5062>\r\n\r\n"
)


def invite(text: str = INVITE) -> Request:
    message = parse(text.encode())
    assert isinstance(message, Request)
    return message


def answer(request: Request, contact: str = "<sip:b@192.0.2.20>") -> Response:
    return make_response(request, 200, to_tag="callee", headers=(("Contact", contact),))


def test_the_uas_goes_back_through_the_proxies_in_their_order() -> None:
    dialog = Dialog.from_request(invite(), "callee")
    bye = dialog.make_request("BYE", via="SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1", contact="<sip:us@192.0.2.1>")
    assert bye.uri == "sip:a@192.0.2.10:5062"
    assert bye.headers.get_all("Route") == ["<sip:p2.example.com;lr>", "<sip:192.0.2.9:5070;lr>"]
    assert (bye.from_.tag, bye.to.tag, bye.cseq, bye.call_id) == ("callee", "caller", (1, "BYE"), "x")
    hop = dialog.next_hop()
    assert hop is not None and hop.host == "p2.example.com"


def test_the_uac_goes_through_them_in_reverse() -> None:
    request = invite()
    dialog = Dialog.from_response(request, answer(request))
    assert dialog.routes == ["<sip:192.0.2.9:5070;lr>", "<sip:p2.example.com;lr>"]
    assert (dialog.local_tag, dialog.remote_tag, dialog.remote_target) == ("caller", "callee", "sip:b@192.0.2.20")
    assert dialog.make_request("BYE", via="v", contact="c").headers.get("CSeq") == "8 BYE"
    assert dialog.make_request("ACK", via="v", contact="c", cseq=7).headers.get("CSeq") == "7 ACK"
    hop = dialog.next_hop()
    assert hop is not None and (hop.host, hop.port) == ("192.0.2.9", 5070)


def test_a_strict_router_gets_itself_in_the_request_uri() -> None:
    request = invite(INVITE.replace("<sip:p2.example.com;lr>", "<sip:strict.example.com>"))
    bye = Dialog.from_request(request, "callee").make_request("BYE", via="v", contact="c")
    assert bye.uri == "sip:strict.example.com"
    assert bye.headers.get_all("Route") == ["<sip:192.0.2.9:5070;lr>", "<sip:a@192.0.2.10:5062>"]


def test_older_cseqs_are_refused_and_gaps_are_not() -> None:
    dialog = Dialog.from_request(invite(), "callee")
    assert [dialog.accept_cseq(n) for n in (8, 12, 11, 12, 13)] == [True, True, False, True, True]


def test_a_reinvite_moves_the_target_but_not_the_routes() -> None:
    dialog = Dialog.from_request(invite(), "callee")
    moved = invite(INVITE.replace("192.0.2.10:5062", "192.0.2.77"))
    dialog.refresh_target(moved.contact)
    assert dialog.remote_target == "sip:a@192.0.2.77" and len(dialog.routes) == 2


@pytest.mark.parametrize(
    ("from_tag", "to_tag", "call_id", "is_ours"),
    [("caller", "callee", "x", True), ("other", "callee", "x", False), ("caller", "other", "x", False), ("caller", "callee", "y", False)],
)
def test_a_request_belongs_by_call_id_and_both_tags(from_tag: str, to_tag: str, call_id: str, is_ours: bool) -> None:
    dialog = Dialog.from_request(invite(), "callee")
    text = INVITE.replace("tag=caller", f"tag={from_tag}").replace("To: <sip:100@192.0.2.1>", f"To: <sip:100@192.0.2.1>;tag={to_tag}")
    assert dialog.belongs(invite(text.replace("Call-ID: x", f"Call-ID: {call_id}"))) is is_ours


def test_a_target_that_cannot_be_read_is_no_place() -> None:
    dialog = Dialog.from_request(invite(), "callee")
    dialog.routes, dialog.remote_target = [], "http://192.0.2.1/"
    assert dialog.next_hop() is None
