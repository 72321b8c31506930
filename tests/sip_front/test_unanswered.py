"""A front dies while a call of ours rings: the next one hears its answer, and can still take it back."""

import pytest

from control_plane.messages import CallFacts, EndedCalls, GetEnded, HangUp, OpenMedia, Originate, StartAgent, UpdateMedia
from sip_front.call import State
from sip_front.message import Request
from tests.sip_front.simulation import Machine, Network, Phone
from tests.sip_front.test_succession import replace_front

RELIABLE = "Require: 100rel\r\nRSeq: 7\r\n"


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def machine(network: Network) -> Machine:
    return Machine(network)


@pytest.fixture
def phone(network: Network, machine: Machine) -> Phone:
    return Phone(network)


def dial(machine: Machine, phone: Phone, **more: object) -> Request:
    machine.tell(b"operator", Originate("out-1", f"sip:me@{phone.host}", "echo", **more))  # type: ignore[arg-type]
    machine.network.run()
    (invite,) = phone.requests("INVITE")
    return invite


def ended(machine: Machine) -> CallFacts:
    machine.tell(b"recorder", GetEnded())
    (facts,) = machine.told(EndedCalls, b"recorder")[-1].calls
    return facts


def test_what_rings_is_answered_at_the_next_front(machine: Machine, phone: Phone) -> None:
    invite = dial(machine, phone)
    phone.respond(invite, 180, "Ringing")
    assert not machine.front.is_setting_up, "a front that is to make room for another need not wait for it"
    (before,) = machine.front.calls.values()
    replace_front(machine)
    assert len(phone.requests("INVITE")) == 1, "it was heard, and is not sent again"
    (call,) = machine.front.calls.values()
    assert (call.state, call.rang_ns, call.step_deadline_ns) == (State.CALLING, before.rang_ns, before.step_deadline_ns)
    assert not machine.told(StartAgent) and not machine.told(OpenMedia)
    phone.respond(invite, 200, body=phone.sdp())
    (ack,) = phone.requests("ACK")
    assert ack.cseq == (invite.cseq[0], "ACK") and ack.to.tag == "callee"
    (update,), (start,) = machine.told(UpdateMedia), machine.told(StartAgent)
    assert update.media.remote_port == 40_000 and not start.resumed and machine.states == ["UP"]
    replace_front(machine)
    machine.tell(b"operator", HangUp("out-1"))
    machine.network.run()
    (bye,) = phone.requests("BYE")
    assert bye.cseq[0] == invite.cseq[0] + 1
    phone.respond(bye, 200, tag="")
    assert (ended(machine).outcome, ended(machine).status) == ("answered", 200)


def test_what_nobody_has_heard_is_sent_again_as_the_same_request(machine: Machine, phone: Phone) -> None:
    invite = dial(machine, phone)
    replace_front(machine, 0.1)
    again = phone.requests("INVITE")[-1]
    assert len(phone.requests("INVITE")) > 1 and again.encode() == invite.encode()
    phone.respond(again, 200, body=phone.sdp())
    assert machine.states == ["UP"]


def test_it_can_be_taken_back(machine: Machine, phone: Phone) -> None:
    invite = dial(machine, phone)
    phone.respond(invite, 180, "Ringing")
    replace_front(machine)
    machine.tell(b"operator", HangUp("out-1"))
    machine.network.run()
    (cancel,) = phone.requests("CANCEL")
    assert cancel.top_via.branch == invite.top_via.branch and cancel.cseq[0] == invite.cseq[0]
    phone.respond(cancel, 200)
    phone.respond(invite, 487, "Request Terminated")
    assert len(phone.requests("ACK")) == 1 and not machine.front.calls and ended(machine).outcome == "cancelled"


@pytest.mark.parametrize(("status", "outcome"), [(486, "busy"), (603, "rejected"), (480, "no answer")])
def test_it_may_fail(machine: Machine, phone: Phone, status: int, outcome: str) -> None:
    invite = dial(machine, phone)
    phone.respond(invite, 180, "Ringing")
    replace_front(machine)
    phone.respond(invite, status, "No")
    assert len(phone.requests("ACK")) == 1 and (ended(machine).outcome, ended(machine).status) == (outcome, status)


def test_it_rings_no_longer_than_it_would_have(machine: Machine, phone: Phone, network: Network) -> None:
    phone.respond(dial(machine, phone, ring_seconds=20), 180, "Ringing")
    network.run(10)
    replace_front(machine)
    network.run(7)
    assert machine.states == ["CALLING"]
    network.run(3)
    assert len(phone.requests("CANCEL")) >= 1
    assert machine.last_cause == "nobody answered within 20 s"


def test_an_answer_that_came_reliably_before_holds(machine: Machine, phone: Phone) -> None:
    invite = dial(machine, phone)
    phone.respond(invite, 183, "Session Progress", phone.sdp(port=41_000), headers=RELIABLE)
    (prack,) = phone.requests("PRACK")
    phone.respond(prack, 200, tag="")
    replace_front(machine)
    phone.respond(invite, 200)
    assert machine.states == ["UP"] and machine.told(UpdateMedia)[-1].media.remote_port == 41_000
    machine.tell(b"operator", HangUp("out-1"))
    machine.network.run()
    assert phone.requests("BYE")[-1].cseq[0] == prack.cseq[0] + 1


def test_the_next_server_is_tried_as_it_would_have_been(machine: Machine, network: Network) -> None:
    first, second = Phone(network), Phone(network, "192.0.2.11")
    invite = dial(machine, first)
    (call,) = machine.front.calls.values()
    call.session.alternatives = [call.session.peer._replace(host=second.host)]
    first.respond(invite, 180, "Ringing")
    replace_front(machine)
    first.respond(invite, 503, "Overloaded")
    (again,) = second.requests("INVITE")
    assert again.call_id == invite.call_id and again.top_via.branch != invite.top_via.branch
    second.respond(again, 200, body=second.sdp())
    assert machine.states == ["UP"]


def test_a_leg_that_is_of_use_beside_another_call_only_is_not_kept(machine: Machine, phone: Phone, network: Network) -> None:
    caller = Phone(network, "192.0.2.20")
    caller.call()
    (call_id,) = machine.front.calls
    machine.tell(b"operator", Originate("leg", f"sip:me@{phone.host}", "", beside=call_id))
    network.run()
    assert phone.requests("INVITE") and machine.front.is_setting_up
    replace_front(machine)
    assert list(machine.front.calls) == [call_id]
