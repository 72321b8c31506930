"""The phone against a server made of the same grammar by hand; the system tests call the real one."""

import json
import pathlib

import numpy as np
import pytest

from control_plane.errors import ConfigurationError
from sip_front import offer_answer
from sip_front.message import Headers, Request, Response, make_response, parse
from sip_front.phone_script import parse as parse_script
from sip_front.sdp import parse_sdp
from sip_front.softphone import LINGER_NS, Softphone, read_wav, write_wav

MS, S = 1_000_000, 1_000_000_000
SERVER, PHONE = ("192.0.2.1", 5060), ("192.0.2.2", 40_000)


class Far:
    """What the server would answer, said by the test."""

    def __init__(self, *steps: dict[str, object]) -> None:
        self.phone = Softphone(SERVER, PHONE, 40_002, steps=parse_script(json.dumps(steps)))
        self.now_ns = 0
        self.phone.start(0)
        self.invite = self.take_request("INVITE")

    def take(self) -> list[Request | Response]:
        messages = [parse(octets) for octets in self.phone.sip_out]
        self.phone.sip_out.clear()
        return messages

    def take_request(self, method: str) -> Request:
        (message,) = self.take()
        assert isinstance(message, Request) and message.method == method
        return message

    def give(self, message: Request | Response) -> None:
        self.phone.receive_sip(message.encode(), self.now_ns)

    def wait(self, ns: int) -> None:
        for _ in range(ns // (10 * MS)):
            self.now_ns += 10 * MS
            self.phone.poll(self.now_ns)

    def respond(self, status: int, body: bytes = b"") -> Response:
        contact = (("Contact", "<sip:agent@192.0.2.1:5070>"),)
        kind = "application/sdp" if body else None
        return make_response(self.invite, status, to_tag="far", headers=contact, body=body, content_type=kind)

    def answer(self) -> Response:
        offer = parse_sdp(self.invite.body)
        description, _ = offer_answer.answer(offer, formats=("PCMU",), address="192.0.2.9", port=20_000, session_id=1, version=1)
        return self.respond(200, description.encode())

    def bye(self) -> Request:
        headers = Headers()
        for name, value in (
            ("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKbye"), ("Max-Forwards", "70"), ("From", f"<{self.invite.uri}>;tag=far"),
            ("To", self.invite.headers.get("From") or ""), ("Call-ID", self.invite.call_id), ("CSeq", "1 BYE"),
        ):  # fmt: skip
            headers.add(name, value)
        return Request("BYE", "sip:caller@192.0.2.2:40000", headers)


def test_a_call_is_set_up_acknowledged_again_and_ended_by_the_script() -> None:
    far = Far({"do": "wait", "ms": 100}, {"do": "hang_up"})
    far.give(far.respond(180))
    far.give(far.answer())
    ack = far.take_request("ACK")
    assert ack.uri == "sip:agent@192.0.2.1:5070" and ack.cseq == (1, "ACK") and ack.to.tag == "far"
    far.give(far.answer())  # our ACK was lost
    assert far.take_request("ACK").top_via.branch == ack.top_via.branch
    assert far.phone.rtp_destination == ("192.0.2.9", 20_000)
    far.wait(200 * MS)
    bye = far.take_request("BYE")
    assert bye.cseq == (2, "BYE") and 5 <= len(far.phone.rtp_out) <= 12
    far.give(make_response(bye, 200))
    far.wait(LINGER_NS + 20 * MS)
    assert far.phone.is_over and not far.phone.failure
    assert far.phone.summary()["quality"]["sent"] >= 5


def test_a_call_may_last_longer_than_what_set_it_up() -> None:
    far = Far({"do": "wait", "ms": 40_000}, {"do": "hang_up"})
    far.give(far.answer())
    far.take_request("ACK")
    far.wait(39 * S)
    assert not far.take() and not far.phone.failure and not far.phone.is_over
    far.wait(1_200 * MS)
    far.give(make_response(far.take_request("BYE"), 200))
    far.wait(LINGER_NS + 20 * MS)
    assert far.phone.is_over and not far.phone.failure


def test_a_call_that_the_far_end_ends_is_a_failure_unless_the_script_waits_for_it() -> None:
    for steps, failure in (({"do": "wait_end"},), ""), (({"do": "wait_speech"},), "the call ended during step 0 (wait_speech)"):
        far = Far(*steps)
        far.give(far.answer())
        far.take()
        far.wait(50 * MS)
        far.give(far.bye())
        far.give(far.bye())
        answers = far.take()
        assert [answer.status for answer in answers if isinstance(answer, Response)] == [200, 200]
        far.wait(LINGER_NS + 20 * MS)
        assert far.phone.is_over and far.phone.failure == failure


def test_a_refusal_is_acknowledged_and_told() -> None:
    far = Far({"do": "wait_end"})
    far.give(far.respond(486))
    assert far.take_request("ACK").top_via.branch == far.invite.top_via.branch
    far.wait(LINGER_NS + 20 * MS)
    assert far.phone.is_over and far.phone.failure == "the server answered 486 Busy Here"
    assert far.phone.summary()["failure"] == far.phone.failure


def test_without_an_answer_the_invite_is_repeated_and_at_last_given_up() -> None:
    far = Far({"do": "wait_end"})
    far.wait(40 * S)
    assert len(far.take()) == 6, "sent again after 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s"
    assert far.phone.is_over and far.phone.failure == "no answer to INVITE from 192.0.2.1:5060"


def test_hanging_up_while_it_rings_cancels() -> None:
    far = Far()
    far.phone.hang_up(0)
    assert far.take() == [], "not before a provisional response (RFC 3261 9.1)"
    far.give(far.respond(180))
    cancel = far.take_request("CANCEL")
    assert cancel.top_via.branch == far.invite.top_via.branch
    far.give(make_response(cancel, 200))
    far.give(far.respond(487))
    assert far.take_request("ACK")
    far.wait(LINGER_NS + 20 * MS)
    assert far.phone.is_over and not far.phone.failure


def test_an_answer_without_audio_ends_the_call() -> None:
    far = Far({"do": "wait_end"})
    far.give(far.respond(200, b"v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\n"))
    assert [message.method for message in far.take() if isinstance(message, Request)] == ["ACK", "BYE"]
    assert "port 0" in far.phone.failure


@pytest.mark.parametrize("octets", [b"", b"\r\n\r\n", b"garbage", b"SIP/2.0 200 OK\r\n\r\n", b"BYE sip:x SIP/2.0\r\n\r\n"])
def test_garbage_changes_nothing(octets: bytes) -> None:
    far = Far({"do": "wait_end"})
    far.phone.receive_sip(octets, 1)
    assert far.take() == [] and not far.phone.is_over and not far.phone.failure


def test_wav_files_come_back_as_they_were_and_others_are_refused(tmp_path: pathlib.Path) -> None:
    stereo = np.arange(200, dtype=np.int16).reshape(-1, 2)
    write_wav(tmp_path / "two.wav", stereo)
    with pytest.raises(ConfigurationError, match="8000 Hz, 16 bits and 2 channels"):
        read_wav(tmp_path / "two.wav")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_wav(tmp_path / "none.wav")
