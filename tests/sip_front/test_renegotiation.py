"""Hold, resume and what a far end may do with our re-INVITEs."""

import pytest

from control_plane.config import Media
from control_plane.messages import Done, Failed, HoldCall, HoldEnded, Originate, SetRoom, UpdateMedia
from sip_front.message import Request, Response
from sip_front.renegotiation import TRANSITIONS, State
from tests.sip_front.simulation import Machine, Network, Phone

OPERATOR, BRIDGE = b"operator", b"bridge-0"


@pytest.fixture
def phone(network: Network, machine: Machine) -> Phone:
    phone = Phone(network)
    phone.call()
    return phone


def ask(machine: Machine, is_held: bool, who: bytes = OPERATOR, run_s: float = 0.1) -> None:
    (call_id,) = machine.front.calls
    machine.tell(who, HoldCall(call_id, is_held))
    machine.network.run(run_s)


def direction(message: Request | Response) -> str:
    lines = message.body.decode().split("\r\n")
    return next(line[2:] for line in lines if line in ("a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"))


def outcomes(machine: Machine, who: bytes = OPERATOR) -> list[tuple[bool, bool, int]]:
    return [(m.is_held, m.was_accepted, m.status) for m in machine.told(HoldEnded, who)]


def test_the_table_can_be_walked() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State) == {state for state, _ in TRANSITIONS.values()}


def test_hold_and_resume(machine: Machine, phone: Phone) -> None:
    origin = phone.got[-1].body.split(b"\r\n")[1].split()
    ask(machine, True)
    (invite,) = phone.requests("INVITE")
    assert direction(invite) == "sendonly" and invite.body.split(b"\r\n")[1].split()[2] == b"%d" % (int(origin[2]) + 1)
    assert invite.to.tag == "caller" and invite.contact is not None
    assert invite.headers.get_all("Supported") == ["100rel", "norefersub", "replaces", "timer"]
    phone.respond(invite, 200, body=phone.sdp("recvonly"))
    assert [ack.cseq for ack in phone.requests("ACK")] == [(invite.cseq[0], "ACK")]
    ask(machine, False)
    invite = phone.requests("INVITE")[-1]
    assert direction(invite) == "sendrecv"
    phone.respond(invite, 200, body=phone.sdp("sendrecv"))
    assert [m.media.direction for m in machine.told(UpdateMedia)] == ["sendonly", "sendrecv"]
    assert outcomes(machine) == outcomes(machine, BRIDGE) == [(True, True, 200), (False, True, 200)]
    assert len(machine.told(Done, OPERATOR)) == 2 and machine.states == ["UP"]


@pytest.mark.parametrize("who", [OPERATOR, BRIDGE])
def test_who_is_held_by_an_operator_hears_music_if_the_configuration_says_so(network: Network, who: bytes) -> None:
    machine = Machine(network, more={"media": Media(music_on_hold=True)})
    phone = Phone(network)
    phone.call()
    ask(machine, True, who)
    assert machine.told(SetRoom) == [], "not before the far end has agreed"
    phone.respond(phone.requests("INVITE")[-1], 200, body=phone.sdp("recvonly"))
    heard = [[(party.role, party.agent) for party in room.parties] for room in machine.told(SetRoom)]
    assert heard == ([[("music", "listen")]] if who == OPERATOR else []), "an agent that holds speaks itself"
    ask(machine, False, BRIDGE)
    phone.respond(phone.requests("INVITE")[-1], 200, body=phone.sdp("sendrecv"))
    assert [len(room.parties) for room in machine.told(SetRoom)] == ([1, 0] if who == OPERATOR else [])


def test_who_is_held_and_holds_as_well_lets_nothing_flow(machine: Machine, phone: Phone) -> None:
    phone.invite(body=phone.sdp("sendonly"))
    phone.request("ACK")
    ask(machine, True)
    invite = phone.requests("INVITE")[-1]
    assert direction(invite) == "inactive"
    phone.respond(invite, 200, body=phone.sdp("inactive"))
    answer = phone.invite(body=phone.sdp("sendrecv"))[0]
    assert direction(answer) == "sendonly", "they took us back; we still hold them (RFC 6337 5.3)"
    phone.request("ACK")
    ask(machine, False)
    invite = phone.requests("INVITE")[-1]
    assert direction(invite) == "sendrecv"
    phone.respond(invite, 200, body=phone.sdp("sendrecv"))
    assert machine.told(UpdateMedia)[-1].media.direction == "sendrecv"


def test_a_refused_hold_leaves_everything_as_it_was(machine: Machine, phone: Phone) -> None:
    ask(machine, True)
    (invite,) = phone.requests("INVITE")
    phone.respond(invite, 488, "Not Acceptable Here")
    assert outcomes(machine) == [(True, False, 488)] and machine.told(HoldEnded, OPERATOR)[0].why == "488 Not Acceptable Here"
    assert len(phone.requests("ACK")) == 1 and machine.states == ["UP"] and not machine.told(UpdateMedia)
    version = int(invite.body.split(b"\r\n")[1].split()[2])
    answer = phone.invite(body=phone.sdp())[0]
    assert direction(answer) == "sendrecv" and int(answer.body.split(b"\r\n")[1].split()[2]) == version + 1


def test_the_same_again_changes_nothing(machine: Machine, phone: Phone) -> None:
    ask(machine, False)
    assert not phone.requests("INVITE") and outcomes(machine) == [(False, True, 200)]


def invites(phone: Phone) -> list[Request]:
    """Ours, without their repeats."""
    return list({request.cseq: request for request in phone.requests("INVITE")}.values())


def test_glare_comes_again_after_a_time_of_its_own(network: Network, machine: Machine, phone: Phone) -> None:
    ask(machine, True)
    phone.respond(invites(phone)[0], 491, "Request Pending")
    network.run(2.1)
    first, second = invites(phone)
    assert second.cseq[0] == first.cseq[0] + 1 and second.top_via.branch != first.top_via.branch
    phone.respond(second, 200, body=phone.sdp("recvonly"))
    assert outcomes(machine) == [(True, True, 200)]


def test_who_made_the_call_waits_longer_so_that_both_do_not_meet_again(network: Network, machine: Machine) -> None:
    phone = Phone(network)
    machine.tell(OPERATOR, Originate("out", f"sip:1@{phone.host}", "echo"))
    network.run()
    phone.respond(phone.requests("INVITE")[0], 200, body=phone.sdp())
    ask(machine, True)
    phone.respond(invites(phone)[1], 491, "Request Pending")
    network.run(1.9)
    assert len(invites(phone)) == 2, "2.1 s at the least (14.1)"
    network.run(2.2)
    assert len(invites(phone)) == 3


def test_glare_for_ever_is_given_up(network: Network, machine: Machine, phone: Phone) -> None:
    ask(machine, True)
    for _ in range(6):
        phone.respond(invites(phone)[-1], 491, "Request Pending")
        network.run(2.1)
    assert len(invites(phone)) == 6 and outcomes(machine) == [(True, False, 491)] and machine.states == ["UP"]


def test_their_offer_while_ours_is_open_gets_491(machine: Machine, phone: Phone) -> None:
    ask(machine, True)
    (invite,) = phone.requests("INVITE")
    for method in ("INVITE", "UPDATE"):
        answer = phone.request(method, body=phone.sdp())[-1]
        assert isinstance(answer, Response) and answer.status == 491
    phone.request("ACK", branch=f"call-1-{phone.cseq - 1}-INVITE", cseq=phone.cseq - 1)
    phone.respond(invite, 200, body=phone.sdp("recvonly"))
    assert outcomes(machine) == [(True, True, 200)]


def test_retry_after_is_kept(network: Network, machine: Machine, phone: Phone) -> None:
    ask(machine, True)
    phone.respond(phone.requests("INVITE")[0], 500, "Server Internal Error", headers="Retry-After: 3\r\n")
    network.run(2.5)
    assert len(phone.requests("INVITE")) == 1
    network.run(0.6)
    assert len(phone.requests("INVITE")) == 2


@pytest.mark.parametrize("status", [481, 408])
def test_a_far_end_that_has_no_such_call_ends_it(machine: Machine, phone: Phone, status: int) -> None:
    ask(machine, True)
    phone.respond(phone.requests("INVITE")[0], status, "Gone")
    assert len(phone.requests("BYE")) >= 1 and machine.last_cause == f"our re-INVITE gets {status}: the far end is gone"


def test_a_far_end_that_does_not_answer_ends_the_call(network: Network, machine: Machine, phone: Phone) -> None:
    ask(machine, True, run_s=33)
    assert machine.last_cause == "our re-INVITE is not answered: the far end is gone"


def test_our_ack_comes_again_for_each_2xx(machine: Machine, phone: Phone) -> None:
    ask(machine, True)
    for _ in range(3):
        phone.respond(phone.requests("INVITE")[0], 200, body=phone.sdp("recvonly"))
    assert len(phone.requests("ACK")) == 3 and len({ack.encode() for ack in phone.requests("ACK")}) == 1
    assert outcomes(machine) == [(True, True, 200)]


def test_orders_wait_for_one_another(machine: Machine, phone: Phone) -> None:
    ask(machine, True)
    ask(machine, False)
    assert len(phone.requests("INVITE")) == 1, "one at a time"
    phone.respond(phone.requests("INVITE")[0], 200, body=phone.sdp("recvonly"))
    phone.respond(phone.requests("INVITE")[1], 200, body=phone.sdp("sendrecv"))
    assert outcomes(machine) == [(True, True, 200), (False, True, 200)]


def test_orders_that_wait_are_bounded(machine: Machine, phone: Phone) -> None:
    for is_held in (True, False) * 3:
        ask(machine, is_held)
    assert len(machine.told(Failed, OPERATOR)) == 2 and "wait for its far end already" in machine.told(Failed, OPERATOR)[0].why


def test_a_hold_waits_until_their_invite_is_acknowledged(machine: Machine, phone: Phone) -> None:
    phone.invite(body=phone.sdp(port=50_000))
    ask(machine, True)
    assert not phone.requests("INVITE")
    phone.request("ACK")
    machine.network.run()
    assert len(phone.requests("INVITE")) == 1


def test_an_answer_that_cannot_be_used_ends_the_call(machine: Machine, phone: Phone) -> None:
    ask(machine, True)
    phone.respond(phone.requests("INVITE")[0], 200, body=phone.sdp(formats="18"))
    assert len(phone.requests("ACK")) == 1 and machine.last_cause.startswith("the answer to our re-INVITE cannot be used: no audio format")


def test_what_cannot_be_held_is_refused_at_once(network: Network, machine: Machine, phone: Phone) -> None:
    machine.tell(OPERATOR, HoldCall("none", True))
    assert isinstance(machine.told(Failed, OPERATOR)[0], Failed)
    machine.silent |= {b"bridge-0", b"bridge-1"}
    phone.invite(call_id="two", tag="", cseq=1)
    ringing = next(call for call in machine.front.calls.values() if call.state.name == "STARTING")
    machine.tell(OPERATOR, HoldCall(ringing.call_id, True))
    assert "once it is answered" in machine.told(Failed, OPERATOR)[1].why
    machine.tell(f"bridge-{ringing.bridge}".encode(), HoldCall(ringing.call_id, True))
    (told,) = machine.told(HoldEnded)
    assert not told.was_accepted and told.status == 422


def test_media_lines_of_theirs_that_we_refused_stay_refused(machine: Machine, network: Network) -> None:
    phone = Phone(network)
    phone.call(body=phone.sdp() + "m=video 40002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n")
    ask(machine, True)
    invite = phone.requests("INVITE")[-1]
    assert b"m=video 0 RTP/AVP" in invite.body
    phone.respond(invite, 200, body=phone.sdp("recvonly") + "m=video 0 RTP/AVP 96\r\n")
    ok = phone.invite(body="")[0]
    assert ok.body.count(b"m=") == 2 and b"m=video 0" in ok.body, "an offer of ours in a 200, too (RFC 3264 8)"
