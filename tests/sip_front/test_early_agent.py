"""Calls of ours whose agent hears the far end before it answers: ringing tones, announcements, menus of carriers."""

import pytest

from control_plane.messages import Alive, CallAnswered, HangUp, MediaRefused, Originate, StartAgent, UpdateMedia
from sip_front.message import Request
from tests.sip_front.simulation import CALLER, Machine, Network, Phone


@pytest.fixture
def invite(network: Network, machine: Machine, phone: Phone) -> Request:
    machine.tell(b"operator", Originate("out", f"sip:1@{CALLER}", "echo", hears_early=True))
    network.run()
    (found,) = phone.requests("INVITE")
    return found


def test_the_agent_starts_with_the_early_media_and_is_told_of_the_answer(machine: Machine, phone: Phone, invite: Request) -> None:
    phone.respond(invite, 180, "Ringing")
    assert machine.states == ["CALLING"] and not machine.told(StartAgent), "there is nothing to hear yet"
    phone.respond(invite, 183, "Session Progress", body=phone.sdp(port=42_000))
    (start,) = machine.told(StartAgent)
    assert start.is_early and start.direction == "outbound" and machine.states == ["LISTENING"]
    assert [m.media.direction for m in machine.told(UpdateMedia)] == ["sendrecv"]
    phone.respond(invite, 200, body=phone.sdp(port=42_000))
    assert machine.states == ["UP"] and machine.told(CallAnswered) == [CallAnswered("out")] and len(machine.told(StartAgent)) == 1
    assert len(phone.requests("ACK")) == 1


def test_without_early_media_it_starts_with_the_answer(machine: Machine, phone: Phone, invite: Request) -> None:
    phone.respond(invite, 200, body=phone.sdp())
    (start,) = machine.told(StartAgent)
    assert not start.is_early and machine.states == ["UP"] and not machine.told(CallAnswered)


def test_an_answer_before_the_agent_is_there_reaches_it_with_its_start(machine: Machine, phone: Phone, invite: Request) -> None:
    machine.deaf |= {b"bridge-0", b"bridge-1"}
    phone.respond(invite, 183, "Session Progress", body=phone.sdp())
    phone.respond(invite, 200, body=phone.sdp())
    assert machine.states == ["UP"] and [start.is_early for start in machine.told(StartAgent)][-1] is False
    machine.deaf.clear()
    machine.network.run(1)
    assert machine.states == ["UP"] and machine.told(StartAgent)[-1].is_early is False


def test_a_bridge_that_dies_meanwhile_starts_it_again_as_early(machine: Machine, phone: Phone, invite: Request) -> None:
    phone.respond(invite, 183, "Session Progress", body=phone.sdp())
    machine.tell(b"bridge-0", Alive("bridge", 0, 99))
    assert [(start.is_early, start.resumed) for start in machine.told(StartAgent)] == [(True, False), (True, True)]
    assert machine.states == ["LISTENING"]


def test_nobody_answers_and_nobody_can(network: Network, machine: Machine, phone: Phone, invite: Request) -> None:
    phone.respond(invite, 183, "Session Progress", body=phone.sdp())
    network.run(121)
    assert phone.requests("CANCEL") and machine.last_cause == "nobody answered within 120 s"


def test_a_refusal_after_the_announcement_ends_it(machine: Machine, phone: Phone, invite: Request) -> None:
    phone.respond(invite, 183, "Session Progress", body=phone.sdp())
    machine.tell(b"worker-0", MediaRefused("out", "not that rate"))
    assert machine.states == ["LISTENING"]
    phone.respond(invite, 404, "Not Found")
    assert machine.states == [] and machine.last_cause.startswith("404 Not Found")


def test_the_agent_may_hang_up_on_an_announcement(machine: Machine, phone: Phone, invite: Request) -> None:
    phone.respond(invite, 183, "Session Progress", body=phone.sdp())
    machine.tell(b"bridge-0", HangUp("out", "an answering machine's announcement"))
    machine.network.run()
    assert phone.requests("CANCEL")
