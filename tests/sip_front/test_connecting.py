"""Somebody is rung for a call: what the caller hears, who is told, and that nobody is left hanging."""

import pytest

from control_plane.messages import (
    ConnectCall,
    ConnectEnded,
    Done,
    Failed,
    HangUp,
    LeaveRoom,
    Message,
    OpenMedia,
    Party,
    PressKeys,
    SetRoom,
    StartAgent,
)
from sip_front.message import Request
from tests.sip_front.simulation import CALLER, Machine, Network, Phone
from tests.sip_front.test_rooms import BRIDGE, HUMAN, OPERATOR, a_call, ask, changes, facts, rooms


@pytest.fixture
def machine() -> Machine:
    return Machine(Network(), workers=1)


def connect(machine: Machine, call_id: str, who: bytes = OPERATOR, **more: object) -> Message:
    Phone(machine.network, HUMAN)
    order = ConnectCall(call_id, f"sip:human@{HUMAN}", "leg", **more)  # type: ignore[arg-type]
    machine.tell(who, order)
    machine.network.run()
    return machine.told(Message, who)[-1]


def human(machine: Machine) -> Phone:
    phone = machine.network.hosts[HUMAN]
    assert isinstance(phone, Phone)
    return phone


def answer_call(machine: Machine) -> Request:
    invite = human(machine).requests("INVITE")[-1]
    human(machine).respond(invite, 200, body=human(machine).sdp())
    return invite


def outcomes(machine: Machine, who: bytes) -> list[tuple[bool, int, str]]:
    return [(m.was_accepted, m.status, m.why) for m in machine.told(ConnectEnded, who)]


def test_the_caller_hears_music_while_a_human_is_rung_and_is_joined_when_he_answers(machine: Machine) -> None:
    caller = a_call(machine, CALLER)
    assert connect(machine, caller) == Done("leg")
    assert rooms(machine)["leg"] == (Party(caller, "music", "listen"),) and changes(machine, caller) == [("leg", "music", "listen")]
    assert "+491" in str(human(machine).requests("INVITE")[0].from_.uri), "the human sees who calls"
    answer_call(machine)
    assert rooms(machine)["leg"] == (Party(caller), Party("leg")) and machine.states == ["UP", "UP"]
    assert outcomes(machine, BRIDGE) == outcomes(machine, OPERATOR) == [(True, 200, "")]
    assert not [m for m in machine.told(StartAgent) if m.call_id == "leg"], "the human has no agent"
    refused = ask(machine, PressKeys("leg", "1"))
    assert isinstance(refused, Failed) and "no agent" in refused.why
    opened = next(m for m in machine.told(OpenMedia) if m.call_id == "leg")
    assert opened.bridge == -1
    human(machine).request("BYE", tag=None, call_id=human(machine).requests("INVITE")[0].call_id)


@pytest.mark.parametrize("after", ["end", "return"])
def test_when_the_human_hangs_up_the_caller_ends_or_is_given_back(machine: Machine, after: str) -> None:
    caller = a_call(machine, CALLER)
    connect(machine, caller, BRIDGE, after=after)
    answer_call(machine)
    ask(machine, HangUp("leg", "the human is done"))
    if after == "end":
        assert machine.states == [] and "the human is done" in machine.front.ended[caller].cause
    else:
        assert machine.states == ["UP"] and changes(machine, caller)[-1] == ("", "talk", "out")


def test_when_the_caller_hangs_up_the_human_is_let_go_too(machine: Machine) -> None:
    caller = a_call(machine, CALLER)
    connect(machine, caller, BRIDGE)
    answer_call(machine)
    ask(machine, HangUp(caller))
    assert machine.states == [] and human(machine).requests("BYE")


def test_a_caller_that_does_not_wait_ends_the_ringing(machine: Machine) -> None:
    caller = a_call(machine, CALLER)
    connect(machine, caller, BRIDGE)
    human(machine).respond(human(machine).requests("INVITE")[0], 180, "Ringing")
    ask(machine, HangUp(caller))
    assert human(machine).requests("CANCEL") and outcomes(machine, BRIDGE) == [(False, 487, "the caller hung up")]


@pytest.mark.parametrize(("status", "reason"), [(486, "Busy Here"), (404, "Not Found"), (603, "Decline")])
def test_a_human_who_does_not_come_leaves_the_caller_with_its_agent(machine: Machine, status: int, reason: str) -> None:
    caller = a_call(machine, CALLER)
    connect(machine, caller, BRIDGE, meanwhile="ringback")
    assert rooms(machine)["leg"][0].role == "ringback"
    human(machine).respond(human(machine).requests("INVITE")[0], status, reason)
    ((was_accepted, told, why),) = outcomes(machine, BRIDGE)
    assert (was_accepted, told) == (False, status) and reason in why
    assert list(machine.front.calls) == [caller] and rooms(machine)["leg"] == () and changes(machine, caller)[-1][0] == ""


def test_nobody_rings_for_longer_than_was_asked(machine: Machine) -> None:
    caller = a_call(machine, CALLER)
    connect(machine, caller, BRIDGE, ring_seconds=20, meanwhile="agent")
    assert machine.told(SetRoom) == [], "the agent goes on with the caller meanwhile"
    human(machine).respond(human(machine).requests("INVITE")[0], 180, "Ringing")
    machine.network.run(19)
    assert not outcomes(machine, BRIDGE)
    machine.network.run(2)
    assert outcomes(machine, BRIDGE)[0][:2] == (False, 408) and list(machine.front.calls) == [caller]


def test_unjoin_ends_the_ringing(machine: Machine) -> None:
    caller = a_call(machine, CALLER)
    connect(machine, caller)
    human(machine).respond(human(machine).requests("INVITE")[0], 180, "Ringing")
    assert ask(machine, LeaveRoom(caller)) == Done(caller)
    assert human(machine).requests("CANCEL") and facts(machine, caller).room == "" and outcomes(machine, OPERATOR)[0][1] == 487


@pytest.mark.parametrize("who", [OPERATOR, BRIDGE])
def test_who_cannot_be_rung_is_told_at_once(machine: Machine, who: bytes) -> None:
    caller = a_call(machine, CALLER)
    machine.tell(who, ConnectCall(caller, "+4930", "leg"))
    last = machine.told(Message, who)[-1]
    why = last.why if isinstance(last, ConnectEnded | Failed) else ""
    assert "needs one of [[trunks]]" in why and machine.told(SetRoom) == [] and machine.front.connecting.attempts == {}
    assert isinstance(last, ConnectEnded if who == BRIDGE else Failed)


def test_one_is_rung_at_a_time(machine: Machine) -> None:
    caller = a_call(machine, CALLER)
    connect(machine, caller)
    assert ask(machine, ConnectCall(caller, f"sip:other@{HUMAN}", "leg")) == Done("leg"), "the same order is the same call"
    refused = ask(machine, ConnectCall(caller, f"sip:other@{HUMAN}", "leg2"))
    assert isinstance(refused, Failed) and "already" in refused.why


def test_who_waited_for_a_ringing_that_died_with_the_front_goes_back_to_its_agent(machine: Machine) -> None:
    caller = a_call(machine, CALLER)
    connect(machine, caller)
    machine.kill_front()
    machine.said.clear()
    machine.start_front()
    machine.network.run(2)
    assert rooms(machine)["leg"] == () and facts(machine, caller).room == "" and list(machine.front.calls) == [caller]


def test_an_agent_that_lets_nobody_be_rung_any_more_is_told(machine: Machine) -> None:
    caller = a_call(machine, CALLER)
    connect(machine, caller, BRIDGE, meanwhile="agent")
    machine.tell(BRIDGE, LeaveRoom(caller))
    assert outcomes(machine, BRIDGE)[-1][1] == 487 and changes(machine, caller)[-1][0] == ""
