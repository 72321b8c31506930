"""Recording, as the front sees it: remembered until the answer, told to the worker until it says so, known to the next front."""

import pytest

from control_plane.config import RecordingSection, Route
from control_plane.messages import Done, Failed, HangUp, Message, RecordCall, RecordMedia, decode, encode
from tests.sip_front.simulation import Machine, Network, Phone

OPERATOR = b"operator"
ON = {"recording": RecordingSection("/var/lib/bellframe/recordings")}
RECORDED = {**ON, "routes": (Route(agent="echo", record=True),)}


def ask(machine: Machine, question: Message, who: bytes = OPERATOR) -> Message:
    machine.tell(who, question)
    return decode(encode(machine.told(Message, who)[-1]))


def told(machine: Machine) -> list[str]:
    return [message.state for message in machine.told(RecordMedia)]


def test_a_route_is_recorded_from_the_answer_on() -> None:
    machine = Machine(Network(), more=RECORDED)
    phone = Phone(machine.network)
    machine.deaf = {b"bridge-0", b"bridge-1"}
    phone.invite()
    assert told(machine) == [], "it rings"
    machine.deaf = set()
    machine.network.run(1)
    assert told(machine) == ["on"]
    (call,) = machine.front.calls.values()
    assert call.facts(0).recording == "on" and call.record_command is None


def test_without_a_word_nothing_is_recorded() -> None:
    machine = Machine(Network(), more=ON)
    Phone(machine.network).call()
    assert told(machine) == []


@pytest.mark.parametrize("who", [OPERATOR, b"bridge-0"])
def test_operators_and_agents_record(who: bytes) -> None:
    machine = Machine(Network(), more=ON)
    Phone(machine.network).call()
    (call_id,) = machine.front.calls
    for state in ("on", "pause", "on", "off"):
        machine.tell(who, RecordCall(call_id, state))  # type: ignore[arg-type]
    machine.network.run()
    assert told(machine) == ["on", "pause", "on", "off"] and len(machine.told(Done, who)) == (4 if who == OPERATOR else 0)


def test_it_is_said_again_until_the_worker_has_heard_it() -> None:
    machine = Machine(Network(), more=ON)
    Phone(machine.network).call()
    (call_id,) = machine.front.calls
    machine.deaf = {b"worker-0", b"worker-1"}
    assert ask(machine, RecordCall(call_id, "on")) == Done()
    ask(machine, RecordCall(call_id, "pause"))
    machine.network.run(1)
    machine.deaf = set()
    machine.network.run(1)
    assert told(machine)[:3] == ["on", "pause", "pause"]
    count = len(told(machine))
    machine.network.run(5)
    assert len(told(machine)) == count


def test_without_a_folder_it_is_refused_with_the_remedy() -> None:
    machine = Machine(Network())
    Phone(machine.network).call()
    (call_id,) = machine.front.calls
    refused = ask(machine, RecordCall(call_id, "on"))
    assert isinstance(refused, Failed) and "recording.directory" in refused.why and told(machine) == []
    assert isinstance(ask(machine, RecordCall("none", "on")), Failed)


def test_the_next_front_knows() -> None:
    machine = Machine(Network(), more=ON)
    phone = Phone(machine.network)
    phone.call()
    (call_id,) = machine.front.calls
    ask(machine, RecordCall(call_id, "pause"))
    machine.network.run()
    machine.kill_front()
    machine.start_front()
    machine.network.run(4)
    assert machine.front.calls[call_id].recording == "pause" and told(machine)[-1] == "pause"
    ask(machine, HangUp(call_id))
    machine.network.run(4)
    assert call_id in machine.front.ended
