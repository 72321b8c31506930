import base64

import pytest

from control_plane.errors import Misuse, NotAcceptable
from control_plane.srtp_suites import SUITES
from sip_front import sdes
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


# ---- SRTP --------------------------------------------------------------------------------------------------------


def secure_sdp(number: int = 1, suite: str = "AES_CM_128_HMAC_SHA1_80", profile: str = "RTP/SAVP", port: int = 40_000) -> bytes:
    """The far end's, with its key of that number."""
    text = sdp(port=port).decode().replace("RTP/AVP", profile)
    return (text + f"a=crypto:1 {suite} inline:{base64.b64encode(bytes([number]) * SUITES[suite].secret_bytes).decode()}\r\n").encode()


def secure(srtp: str = "preferred") -> Negotiation:
    negotiation = Negotiation(("PCMU",), "192.0.2.1", allow_loopback=False, srtp=srtp)
    negotiation.port = 10_000
    return negotiation


def ours(body: bytes) -> dict[str, bytes]:
    """Our keys in what we said, by suite."""
    return {crypto.suite: crypto.secret for crypto in sdes.read(parse_sdp(body).media[0].attributes).usable}


def test_our_key_stays_as_long_as_theirs_does() -> None:
    negotiation = secure()
    preview = negotiation.preview(secure_sdp())
    keys = [(ours(negotiation.answer(offer)), negotiation.agreed) for offer in (secure_sdp(), secure_sdp(), secure_sdp(port=50_000))]
    assert keys[0][0] == keys[1][0] == keys[2][0] and preview == keys[0][1] == keys[1][1]
    assert keys[0][1] is not None and keys[0][1].srtp is not None and keys[0][1].srtp.tx == next(iter(keys[0][0].values()))
    assert parse_sdp(negotiation.answer(secure_sdp(port=50_000))).version == 1, "nothing that we say has changed"


def test_new_keys_of_theirs_get_new_ones_of_ours_and_a_refused_offer_changes_none() -> None:
    negotiation = secure()
    first = ours(negotiation.answer(secure_sdp(1)))
    with pytest.raises(NotAcceptable):
        negotiation.answer(secure_sdp(2).replace(b" 0 8 101", b" 18"))
    assert ours(negotiation.answer(secure_sdp(1))) == first
    second = ours(negotiation.answer(secure_sdp(2)))
    third = ours(negotiation.answer(secure_sdp(1)))
    assert len({*first.values(), *second.values(), *third.values()}) == 3
    assert ours(negotiation.answer(secure_sdp(1, "AEAD_AES_128_GCM"))).keys() == {"AEAD_AES_128_GCM"}


def test_a_protected_call_stays_protected() -> None:
    negotiation = secure()
    negotiation.answer(secure_sdp())
    before = negotiation.agreed
    with pytest.raises(NotAcceptable, match="must be protected"):
        negotiation.answer(sdp())
    assert negotiation.agreed == before
    offered = negotiation.offer()
    with pytest.raises(NotAcceptable):
        negotiation.accept(sdp())
    assert negotiation.agreed == before and b"RTP/SAVP" in offered


@pytest.mark.parametrize(("srtp", "profile"), [("preferred", "RTP/AVP"), ("required", "RTP/SAVP")])
def test_our_offer_and_theirs_later_use_the_same_keys(srtp: str, profile: str) -> None:
    negotiation = secure(srtp)
    first = negotiation.offer()
    assert f"m=audio 10000 {profile} " in first.decode() and list(ours(first)) == list(SUITES)
    tag = list(SUITES).index("AES_CM_128_HMAC_SHA1_80") + 1
    media = negotiation.accept(secure_sdp(profile=profile).replace(b"crypto:1", f"crypto:{tag}".encode()))
    assert media.srtp is not None and media.srtp.tx == ours(first)["AES_CM_128_HMAC_SHA1_80"]
    again = negotiation.offer()
    assert next(iter(ours(again).items())) == ("AES_CM_128_HMAC_SHA1_80", media.srtp.tx) and ours(again) == ours(first)
    assert f"m=audio 10000 {profile} " in again.decode()
    assert negotiation.accept(secure_sdp(profile=profile)).srtp == media.srtp
    assert ours(negotiation.answer(secure_sdp(profile=profile)))["AES_CM_128_HMAC_SHA1_80"] == media.srtp.tx


def test_preferred_speaks_plain_with_those_who_only_do_that() -> None:
    negotiation = secure()
    negotiation.offer()
    assert negotiation.accept(sdp()).srtp is None
    assert negotiation.preview(sdp()).srtp is None and negotiation.preview(secure_sdp()).srtp is not None
    assert secure("off").preview(secure_sdp(profile="RTP/AVP")).srtp is None and ours(secure("off").offer()) == {}
