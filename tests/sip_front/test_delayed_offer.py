"""Calls of ours that leave the offer to the far end: it comes in the 2xx or in a reliable 1xx, and our answer in the ACK or the PRACK."""

import pytest

from control_plane.messages import Originate, UpdateMedia
from control_plane.trunk_config import Trunk
from sip_front.message import Request
from sip_front.sdp import parse_sdp
from tests.sip_front.simulation import CALLER, Machine, Network, Phone

RELIABLE = "Require: 100rel\r\nRSeq: {}\r\n"
GATEWAY = Trunk("old", gateways=(CALLER,), allow_numbers=("*",), delayed_offer=True, ping_seconds=0)


@pytest.fixture
def machine(network: Network) -> Machine:
    return Machine(network, more={"trunks": (GATEWAY,)})


@pytest.fixture
def invite(network: Network, machine: Machine, phone: Phone) -> Request:
    machine.tell(b"operator", Originate("out", "+4930123", "echo", trunk="old"))
    network.run()
    (found,) = phone.requests("INVITE")
    return found


def test_the_invite_has_no_offer_and_the_ack_has_our_answer(machine: Machine, phone: Phone, invite: Request) -> None:
    assert not invite.body and "Content-Type" not in invite.headers
    phone.respond(invite, 180, "Ringing", body=phone.sdp(port=41_000))
    assert not machine.told(UpdateMedia), "what rings unreliably makes no offer (RFC 3261 13.2.1)"
    phone.respond(invite, 200, body=phone.sdp(port=42_000))
    (ack,) = phone.requests("ACK")
    assert b"m=audio 10000 RTP/AVP" in ack.body and ack.headers.get("Content-Type") == "application/sdp"
    assert machine.states == ["UP"] and [m.media.remote_port for m in machine.told(UpdateMedia)] == [42_000]
    phone.respond(invite, 200, body=phone.sdp(port=42_000))
    assert phone.requests("ACK")[-1].body == ack.body, "a 2xx that comes again gets the same"


def test_a_reliable_1xx_is_answered_in_the_prack(machine: Machine, phone: Phone, invite: Request) -> None:
    phone.respond(invite, 183, "Session Progress", headers=RELIABLE.format(1), body=phone.sdp(port=42_000))
    (prack,) = phone.requests("PRACK")
    assert b"m=audio 10000" in prack.body and prack.headers.get("Content-Type") == "application/sdp"
    assert [m.media.remote_port for m in machine.told(UpdateMedia)] == [42_000], "early media"
    phone.respond(prack, 200)
    phone.respond(invite, 200)
    assert machine.states == ["UP"] and not phone.requests("ACK")[0].body


def test_an_offer_that_cannot_be_used_is_refused_line_by_line_and_the_call_ends(machine: Machine, phone: Phone, invite: Request) -> None:
    phone.respond(invite, 200, body=phone.sdp(formats="18"))
    (ack,) = phone.requests("ACK")
    assert [line.port for line in parse_sdp(ack.body).media] == [0]
    assert phone.requests("BYE") and machine.last_cause.startswith("the offer cannot be used: no audio format in common")


def test_one_that_cannot_be_used_in_a_reliable_1xx_cancels_the_call(machine: Machine, phone: Phone, invite: Request) -> None:
    phone.respond(invite, 183, "Session Progress", headers=RELIABLE.format(1), body=phone.sdp(formats="18"))
    (prack,) = phone.requests("PRACK")
    assert [line.port for line in parse_sdp(prack.body).media] == [0]
    phone.respond(phone.requests("CANCEL")[0], 200)
    phone.respond(invite, 487, "Request Terminated")
    assert machine.last_cause.startswith("trunk old: the offer cannot be used: no audio format in common")


def test_no_offer_at_all_ends_it(machine: Machine, phone: Phone, invite: Request) -> None:
    phone.respond(invite, 200)
    assert phone.requests("BYE") and "left the offer to the far end (delayed_offer), and it made none" in machine.last_cause


def test_another_phone_s_offer_is_refused_as_it_answers_too_late(machine: Machine, phone: Phone, invite: Request) -> None:
    phone.respond(invite, 200, body=phone.sdp(port=42_000), tag="one")
    phone.respond(invite, 200, body=phone.sdp(port=43_000), tag="two")
    assert [[line.port for line in parse_sdp(ack.body).media] for ack in phone.requests("ACK")] == [[10_000], [0]]
    assert [bye.to.tag for bye in phone.requests("BYE")] == ["two"] and machine.told(UpdateMedia)[-1].media.remote_port == 42_000
