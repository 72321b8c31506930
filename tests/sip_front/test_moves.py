"""Calls that go on with another far end: REFER that we follow, and INVITE with Replaces."""

import pytest

from control_plane.messages import CloseMedia, HangUp, OpenMedia, StartAgent, StopAgent, UpdateMedia
from sip_front.message import Request, Response
from sip_front.referral import TRANSITIONS, State
from sip_front.replaces import parse_replaces
from tests.sip_front.simulation import CALLER, Machine, Network, Phone

OTHER = "192.0.2.20"
DESK = f"sip:desk@{OTHER}"


@pytest.fixture
def machine(network: Network) -> Machine:
    return Machine(network, follow=(f"*@{OTHER}",))


@pytest.fixture
def phone(network: Network, machine: Machine) -> Phone:
    phone = Phone(network)
    phone.call()
    return phone


@pytest.fixture
def desk(network: Network) -> Phone:
    return Phone(network, OTHER)


def refer(phone: Phone, target: str = DESK, headers: str = "") -> Response:
    before = len(phone.got)
    phone.request("REFER", headers=f"Refer-To: <{target}>\r\nReferred-By: <sip:+491@{CALLER}>\r\n{headers}")
    return next(m for m in phone.got[before:] if isinstance(m, Response))


def notified(phone: Phone) -> list[str]:
    found = {m.cseq: m for m in phone.requests("NOTIFY")}.values()
    for notify in found:
        assert (notify.headers.get("Event") or "").startswith("refer;id=")
    return [notify.body.decode().strip().removeprefix("SIP/2.0 ") for notify in found]


def test_every_state_can_be_left_and_reached() -> None:
    assert {state for state, _ in TRANSITIONS} == {State.ASKED, State.TELLING} and set(TRANSITIONS.values()) == {State.TELLING, State.OVER}


def test_a_refer_is_followed_and_the_agent_stays(network: Network, machine: Machine, phone: Phone, desk: Phone) -> None:
    (call_id,) = machine.front.calls
    assert refer(phone).status == 202 and notified(phone) == ["100 Trying"]
    (invite,) = desk.requests("INVITE")
    assert invite.uri == DESK and invite.headers.get("Referred-By") == f"<sip:+491@{CALLER}>" and b"m=audio 10000" in invite.body
    desk.respond(invite, 180, "Ringing")
    assert notified(phone)[-1] == "180 Ringing" and machine.states == ["UP"]
    desk.respond(invite, 200, body=desk.sdp(port=44_000))
    assert notified(phone)[-1] == "200 OK"
    assert "terminated" in (phone.requests("NOTIFY")[-1].headers.get("Subscription-State") or "")
    assert len(phone.requests("BYE")) == 1 and machine.states == ["UP"] and list(machine.front.calls) == [call_id]
    (update,) = machine.told(UpdateMedia)
    assert (update.media.remote_host, update.media.remote_port) == (OTHER, 44_000)
    assert len(machine.told(StartAgent)) == len(machine.told(OpenMedia)) == 1 and not machine.told(StopAgent)
    phone.respond(phone.requests("BYE")[0], 200)
    desk.request("BYE", call_id=invite.call_id, tag=invite.from_.tag, from_tag="callee")
    assert machine.states == [] and len(machine.told(CloseMedia)) == 1 and not machine.front.user_agent.sessions


def test_who_hangs_up_after_its_refer_leaves_the_call_to_the_other(machine: Machine, phone: Phone, desk: Phone) -> None:
    refer(phone)
    phone.request("BYE")
    assert machine.states == ["UP"] and machine.told(UpdateMedia)[-1].media.direction == "inactive"
    desk.respond(desk.requests("INVITE")[0], 200, body=desk.sdp(port=44_000))
    assert machine.states == ["UP"] and machine.told(UpdateMedia)[-1].media.remote_port == 44_000
    assert machine.told(UpdateMedia)[-1].media.direction == "sendrecv"


def test_and_if_nobody_answers_then_the_call_ends(network: Network, machine: Machine, phone: Phone, desk: Phone) -> None:
    refer(phone)
    phone.request("BYE")
    desk.respond(desk.requests("INVITE")[0], 486, "Busy Here")
    assert machine.states == [] and "after a transfer that failed: 486 Busy Here" in machine.last_cause


def test_a_target_that_is_busy_leaves_the_call_as_it_was(machine: Machine, phone: Phone, desk: Phone) -> None:
    refer(phone)
    desk.respond(desk.requests("INVITE")[0], 486, "Busy Here")
    assert notified(phone)[-1] == "486 Busy Here" and machine.states == ["UP"] and not machine.told(UpdateMedia)
    assert refer(phone).status == 202, "another try"


def test_a_target_that_rings_for_ever_is_given_up(network: Network, machine: Machine, phone: Phone, desk: Phone) -> None:
    refer(phone)
    desk.respond(desk.requests("INVITE")[0], 180, "Ringing")
    for notify in phone.requests("NOTIFY"):
        phone.respond(notify, 200)
    network.run(122)
    assert len(desk.requests("CANCEL")) >= 1
    desk.respond(desk.requests("INVITE")[0], 487, "Request Terminated")
    assert notified(phone)[-1] == "487 Request Terminated" and machine.states == ["UP"]


def test_a_call_that_ends_meanwhile_takes_the_ringing_with_it(machine: Machine, phone: Phone, desk: Phone) -> None:
    refer(phone)
    desk.respond(desk.requests("INVITE")[0], 180, "Ringing")
    machine.tell(b"bridge-0", HangUp(next(iter(machine.front.calls)), "done"))
    machine.network.run()
    assert len(desk.requests("CANCEL")) >= 1 and len(phone.requests("BYE")) >= 1 and not machine.front.moves.moves


def test_who_wants_to_hear_nothing_hears_nothing(machine: Machine, phone: Phone, desk: Phone) -> None:
    answer = refer(phone, headers="Refer-Sub: false\r\nRequire: norefersub\r\n")
    assert answer.status == 202 and answer.headers.get("Refer-Sub") == "false"
    desk.respond(desk.requests("INVITE")[0], 200, body=desk.sdp())
    assert not phone.requests("NOTIFY") and machine.states == ["UP"]


@pytest.mark.parametrize(
    ("target", "status", "why"),
    [
        ("sip:+900@198.51.100.9", 603, "is outside of the far end's own host; add a pattern to sip.follow"),
        ("tel:+900", 603, "is not a sip: URI"),
        ("http://x", 400, "we reach sip:"),
    ],
)
def test_what_is_not_followed(
    machine: Machine, phone: Phone, target: str, status: int, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert refer(phone, target).status == status and why in caplog.text and machine.states == ["UP"] and not notified(phone)


def test_a_refer_that_cannot_be_read_gets_400(machine: Machine, phone: Phone) -> None:
    answer = phone.request("REFER")[0]
    assert isinstance(answer, Response) and answer.status == 400
    outside = phone.request("REFER", tag="", call_id="none", headers=f"Refer-To: <{DESK}>\r\n")[0]
    assert isinstance(outside, Response) and outside.status == 481


def test_one_at_a_time(machine: Machine, phone: Phone, desk: Phone) -> None:
    assert refer(phone).status == 202
    assert refer(phone).status == 603


def test_an_attended_refer_hands_replaces_on(machine: Machine, phone: Phone, desk: Phone) -> None:
    refer(phone, f"{DESK}?Replaces=abc%40x%3Bto-tag%3D1%3Bfrom-tag%3D2&Subject=no")
    (invite,) = desk.requests("INVITE")
    assert invite.headers.get("Replaces") == "abc@x;to-tag=1;from-tag=2" and "Subject" not in invite.headers and invite.uri == DESK


# ---- INVITE with Replaces --------------------------------------------------------------------------------------------


def replacing(machine: Machine, phone: Phone, desk: Phone, more: str = "", **changes: str) -> list[Request | Response]:
    tags = {"call": "call-1", "to": phone.to_tag, "from": "caller", **changes}
    value = f"{tags['call']};to-tag={tags['to']};from-tag={tags['from']}{more}"
    return desk.request("INVITE", call_id="new", body=desk.sdp(port=44_000), headers=f"Replaces: {value}\r\nRequire: replaces\r\n")


def test_another_call_takes_the_place_of_the_first(machine: Machine, phone: Phone, desk: Phone) -> None:
    (call_id,) = machine.front.calls
    answers = replacing(machine, phone, desk)
    assert [m.status for m in answers if isinstance(m, Response)] == [100, 200] and b"m=audio 10000" in answers[-1].body
    desk.request("ACK", call_id="new")
    assert len(phone.requests("BYE")) == 1 and "Replaces" in (phone.requests("BYE")[0].headers.get("Reason") or "")
    assert machine.states == ["UP"] and list(machine.front.calls) == [call_id] and len(machine.told(StartAgent)) == 1
    assert machine.told(UpdateMedia)[-1].media.remote_host == OTHER
    phone.respond(phone.requests("BYE")[0], 200)
    desk.request("BYE", call_id="new")
    assert machine.states == [] and not machine.front.user_agent.sessions


@pytest.mark.parametrize(
    ("changes", "more", "status"),
    [({"call": "x"}, "", 481), ({"to": "x"}, "", 481), ({"from": "x"}, "", 481), ({}, ";early-only", 486), ({"to": ""}, "", 400)],
)
def test_what_is_not_replaced(machine: Machine, phone: Phone, desk: Phone, changes: dict[str, str], more: str, status: int) -> None:
    (answer,) = replacing(machine, phone, desk, more, **changes)
    assert isinstance(answer, Response) and answer.status == status and machine.states == ["UP"] and not phone.requests("BYE")


def test_an_offer_that_is_no_good_replaces_nothing(machine: Machine, phone: Phone, desk: Phone) -> None:
    value = f"call-1;to-tag={phone.to_tag};from-tag=caller"
    desk.request("INVITE", call_id="new", body=desk.sdp(formats="18"), headers=f"Replaces: {value}\r\n")
    assert desk.statuses() == [100, 488] and machine.states == ["UP"] and not phone.requests("BYE")


def test_a_call_that_just_ended_or_only_rings_is_not_replaced(network: Network, machine: Machine, phone: Phone, desk: Phone) -> None:
    machine.front.hang_up_all("done", network.now_ns)
    machine.pump()
    (answer,) = replacing(machine, phone, desk)
    assert isinstance(answer, Response) and answer.status == 603


@pytest.mark.parametrize("value", ["", "a", "a;to-tag=1", "a;from-tag=1", ";to-tag=1;from-tag=2"])
def test_values_that_name_no_call(value: str) -> None:
    assert parse_replaces(value) is None


def test_a_value() -> None:
    assert parse_replaces("a@b; from-tag=2 ;to-tag=1;early-only") == ("a@b", "1", "2", True)
