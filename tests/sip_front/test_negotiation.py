import pytest

from control_plane.errors import Misuse, NotAcceptable
from sip_front.negotiation import Negotiation, warning
from sip_front.sdp import parse_sdp
from tests.sip_front.simulation import SDP


def sdp(host: str = "192.0.2.10", port: int = 40_000, formats: str = "0 8 101", direction: str = "sendrecv") -> bytes:
    return SDP.format(host=host, port=port, formats=formats, direction=direction).encode()


def opened(**more: bool) -> Negotiation:
    negotiation = Negotiation(("PCMU", "PCMA"), "192.0.2.1", allow_loopback=more.get("allow_loopback", False))
    negotiation.port = 10_000
    return negotiation


def test_a_preview_needs_no_port_and_an_answer_does() -> None:
    negotiation = Negotiation(("PCMU",), "192.0.2.1", allow_loopback=False)
    assert negotiation.preview(sdp()).format == "PCMU"
    for too_early in (negotiation.offer, lambda: negotiation.answer(sdp())):
        with pytest.raises(Misuse):
            too_early()


def test_the_version_goes_up_when_something_changes_and_only_then() -> None:
    negotiation = opened()
    answers = [parse_sdp(negotiation.answer(offer)) for offer in (sdp(), sdp(port=50_000), sdp(direction="sendonly"), sdp())]
    assert [a.version - answers[0].version for a in answers] == [0, 0, 1, 2]
    assert len({a.session_id for a in answers}) == 1


def test_what_is_in_use_stays_in_use() -> None:
    negotiation = opened()
    negotiation.answer(sdp(formats="8"))
    negotiation.answer(sdp(formats="0 8"))
    assert negotiation.agreed is not None and negotiation.agreed.format == "PCMA"
    assert parse_sdp(negotiation.offer()).media[0].formats[:2] == ("8", "0")


def test_an_offer_is_open_until_it_is_answered_or_withdrawn() -> None:
    negotiation = opened()
    negotiation.offer()
    assert negotiation.is_open
    with pytest.raises(NotAcceptable):
        negotiation.accept(sdp(formats="18"))
    assert not negotiation.is_open and negotiation.agreed is None
    negotiation.offer()
    negotiation.withdraw()
    with pytest.raises(Misuse):
        negotiation.accept(sdp())


def test_an_offer_that_is_refused_changes_nothing() -> None:
    negotiation = opened()
    negotiation.answer(sdp())
    before = negotiation.agreed, negotiation.local
    with pytest.raises(NotAcceptable):
        negotiation.answer(sdp(formats="18"))
    assert (negotiation.agreed, negotiation.local) == before


def test_loopback_is_for_those_who_are_there() -> None:
    with pytest.raises(NotAcceptable):
        opened().preview(sdp(host="127.0.0.1"))
    assert opened(allow_loopback=True).preview(sdp(host="127.0.0.1")).remote_host == "127.0.0.1"


def test_a_warning_is_one_line_of_ascii() -> None:
    text = warning(NotAcceptable('no "format"\r\nX: ü'), "192.0.2.1")
    assert text == "305 192.0.2.1 \"no 'format'  X: ?\""
