"""A front dies at every moment of a call, and the next one goes on: no call that was up ends, none that was set up is lost."""

import pytest

from control_plane.messages import (
    CallFacts,
    CloseMedia,
    EndedCalls,
    GetEnded,
    HangUp,
    HoldCall,
    MediaClosed,
    MediaRefused,
    OpenMedia,
    Originate,
    StartAgent,
    UpdateMedia,
)
from sip_front import journal
from sip_front.call import State
from sip_front.message import BadMessage, Response
from tests.sip_front.simulation import SECOND, Machine, Network, Phone


def replace_front(machine: Machine, seconds: float = 0.5) -> None:
    machine.kill_front()
    machine.network.run(seconds)
    machine.said.clear()
    machine.start_front()
    machine.network.run(1.5)


def test_a_call_goes_on_and_its_bye_is_answered(machine: Machine, phone: Phone) -> None:
    phone.call(to="4711", headers="X-Account: 7\r\n")
    (before,) = machine.front.calls.values()
    replace_front(machine)
    (after,) = machine.front.calls.values()
    assert after.state is State.UP
    names = ("call_id", "caller", "callee", "agent", "arguments", "headers", "worker", "bridge", "opened", "started_ns", "answered_ns")
    assert {name: getattr(after, name) for name in names} == {name: getattr(before, name) for name in names}
    assert [m.status for m in phone.request("BYE") if isinstance(m, Response)] == [200]
    machine.network.run()
    assert not machine.front.calls and len(machine.told(CloseMedia)) == 1
    assert all(not peer.calls for peer in machine.front.peers.peers.values())


def test_worker_and_bridge_are_asked_whether_they_have_it(machine: Machine, phone: Phone) -> None:
    phone.call()
    replace_front(machine)
    (update,), (start,) = machine.told(UpdateMedia), machine.told(StartAgent)
    assert start.resumed and start.generation == 7 and update.media.remote_port == 40_000
    (call,) = machine.front.calls.values()
    assert call.worker_command is None and call.bridge_command is None and call.step_deadline_ns is None
    assert not machine.told(OpenMedia)


def test_a_call_whose_media_have_gone_is_ended_with_bye(machine: Machine, phone: Phone, network: Network) -> None:
    phone.call()
    answer = machine.answer
    machine.answer = lambda identity, m: MediaRefused(m.call_id, "no such call") if isinstance(m, UpdateMedia) else answer(identity, m)  # type: ignore[method-assign]
    replace_front(machine)
    assert len(phone.requests("BYE")) >= 1


def test_a_worker_that_never_comes_back(machine: Machine, phone: Phone, network: Network) -> None:
    phone.call()
    machine.silent |= {b"worker-0", b"worker-1"}
    replace_front(machine)
    network.run(30)
    assert len(phone.requests("BYE")) >= 1 and "has not reported since the front was started" in machine.last_cause


def test_our_requests_count_on(machine: Machine, phone: Phone, network: Network) -> None:
    phone.call()
    (call_id,) = machine.front.calls
    machine.front.receive_message(b"operator", HoldCall(call_id, True), network.now_ns)
    machine.pump()
    network.run()
    (held,) = phone.requests("INVITE")
    phone.respond(held, 200, body=phone.sdp("recvonly"))
    replace_front(machine)
    machine.tell(b"operator", HangUp(call_id))
    network.run()
    (bye,) = phone.requests("BYE")
    assert bye.cseq[0] == held.cseq[0] + 1 and bye.to.tag == "caller"


def test_a_re_invite_of_ours_that_was_under_way_gets_its_ack(machine: Machine, phone: Phone, network: Network) -> None:
    phone.call()
    (call_id,) = machine.front.calls
    machine.tell(b"operator", HoldCall(call_id, True))
    network.run()
    (held,) = phone.requests("INVITE")
    replace_front(machine)
    acks = len(phone.requests("ACK"))
    phone.respond(held, 200, body=phone.sdp("recvonly"))
    assert len(phone.requests("ACK")) == acks + 1 and phone.requests("ACK")[-1].cseq == (held.cseq[0], "ACK")


def test_a_re_invite_of_theirs_moves_the_media_as_before(machine: Machine, phone: Phone) -> None:
    phone.call()
    (before,) = machine.front.calls.values()
    replace_front(machine)
    machine.said.clear()
    assert [m.status for m in phone.request("INVITE", body=phone.sdp(port=41_000)) if isinstance(m, Response)][-1] == 200
    phone.request("ACK", cseq=phone.cseq)
    assert machine.told(UpdateMedia)[0].media.remote_port == 41_000
    (call,) = machine.front.calls.values()
    assert call.session.negotiation.local == before.session.negotiation.local  # the same again keeps its version (RFC 3264 8)


def test_an_answer_without_its_ack_is_repeated(machine: Machine, phone: Phone, network: Network) -> None:
    phone.invite()
    assert 200 in phone.statuses()
    replace_front(machine, 0.2)
    repeats = phone.statuses().count(200)
    assert repeats >= 2
    phone.request("INVITE", cseq=1, branch="call-1-1-INVITE", body=phone.sdp(), tag="")  # the far end repeats its INVITE as well
    assert phone.statuses().count(200) > repeats and len(machine.front.calls) == 1
    phone.request("ACK", cseq=1)
    assert machine.states == ["UP"]


def test_a_set_up_is_begun_anew_by_the_invite_that_comes_again(network: Network) -> None:
    machine = Machine(network)
    phone = Phone(network)
    machine.deaf |= {b"bridge-0", b"bridge-1"}
    phone.invite()
    assert 200 not in phone.statuses()
    machine.kill_front()
    machine.deaf.clear()
    machine.start_front()
    assert not machine.front.calls
    phone.to_tag = ""
    phone.request("INVITE", cseq=1, branch="call-1-1-INVITE", body=phone.sdp(), run_s=1.5)
    assert phone.statuses()[-1] == 200  # it waited until worker and bridge had reported


def test_a_call_that_comes_before_anybody_has_reported_waits_and_is_refused_in_the_end(network: Network) -> None:
    machine = Machine(network)
    phone = Phone(network)
    machine.silent |= set(machine.pids)
    machine.kill_front()
    machine.start_front()
    phone.invite(run_s=9.5)
    assert phone.statuses() == [100], "they may be replaced just now, too"
    network.run(2)
    assert 503 in phone.statuses() and machine.front.calls_refused == 1


def test_a_caller_who_gives_up_meanwhile_is_forgotten(network: Network) -> None:
    machine = Machine(network)
    phone = Phone(network)
    silent = set(machine.pids)
    machine.silent |= silent
    machine.kill_front()
    machine.start_front()
    phone.invite()
    phone.request("CANCEL", cseq=1, branch="call-1-1-INVITE", tag="")
    machine.silent.clear()
    network.run(3)
    assert 487 in phone.statuses() and not machine.front.calls and not machine.told(OpenMedia)


def test_a_call_of_ours_goes_on(machine: Machine, phone: Phone, network: Network) -> None:
    machine.tell(b"operator", Originate("out-1", f"sip:me@{phone.host}", "echo"))
    network.run()
    (invite,) = phone.requests("INVITE")
    phone.respond(invite, 200, body=phone.sdp())
    assert machine.states == ["UP"]
    replace_front(machine)
    machine.tell(b"operator", HangUp("out-1"))
    network.run()
    (bye,) = phone.requests("BYE")
    assert bye.cseq[0] == invite.cseq[0] + 1 and bye.from_.tag == invite.from_.tag and bye.to.tag == "callee"


def test_one_front_after_another(machine: Machine, phone: Phone) -> None:
    phone.call()
    for _ in range(5):
        replace_front(machine)
    assert machine.states == ["UP"]
    assert [m.status for m in phone.request("BYE") if isinstance(m, Response)] == [200]


def test_session_timers_go_on(machine: Machine, phone: Phone, network: Network) -> None:
    phone.call(headers="Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n")
    replace_front(machine)
    network.run(100)
    assert len(phone.requests("BYE")) >= 1 and "not refreshed" in machine.last_cause


def test_what_has_ended_is_not_taken_over(machine: Machine, phone: Phone) -> None:
    phone.call()
    phone.request("BYE")
    replace_front(machine)
    assert not machine.front.calls and machine.front.front_id


def recorded(machine: Machine) -> list[tuple[str, dict[str, int]]]:
    """What the front answers to whoever writes the call records."""
    machine.tell(b"http", GetEnded(0))
    answer = machine.told(EndedCalls, b"http")[-1]
    return [(call.cause, call.counters) for call in answer.calls]


def test_a_call_that_ended_before_the_front_died_can_still_be_recorded(machine: Machine, phone: Phone) -> None:
    phone.call()
    phone.request("BYE")
    machine.network.run(1)
    (before,) = recorded(machine)
    replace_front(machine)
    assert recorded(machine) == [before]
    replace_front(machine)
    assert recorded(machine) == [before], "the short journal says it, too"


def test_a_call_that_was_closing_is_recorded_with_what_its_media_counted(machine: Machine, phone: Phone) -> None:
    phone.call()
    (call,) = machine.front.calls.values()
    machine.deaf.add(b"worker-0")
    phone.request("BYE")
    machine.network.run(1)
    assert recorded(machine) == [] and call.state is State.CLOSING
    replace_front(machine)
    assert machine.told(CloseMedia) == [CloseMedia(call.call_id)] and recorded(machine) == []
    machine.tell(b"worker-0", MediaClosed(call.call_id, {"packets_sent": 9}))
    assert recorded(machine) == [(call.cause, {"packets_sent": 9})]


def test_a_call_that_was_closing_is_recorded_though_its_worker_never_answers(machine: Machine, phone: Phone) -> None:
    phone.call()
    machine.deaf.add(b"worker-0")
    phone.request("BYE")
    replace_front(machine)
    machine.network.run(12)
    assert [counters for _, counters in recorded(machine)] == [{}]


def test_the_short_journal_says_the_same(machine: Machine, phone: Phone, network: Network) -> None:
    from sip_front import journal
    from tests.sip_front.simulation import BOOT

    for i in range(3):
        phone.call(call_id=f"c{i}", tag="", cseq=1)
    phone.request("BYE", call_id="c2")
    network.run(40 * SECOND / 1e9)
    long = journal.last_of_each(journal.read(machine.journal), BOOT)
    short = b"".join(map(journal.write, machine.front.succession.all_entries(BOOT)))
    assert journal.last_of_each(journal.read(short), BOOT) == long and len(short) < len(machine.journal)


def ended_calls(machine: Machine) -> list[CallFacts]:
    """As whoever writes the records is told, from the beginning."""
    machine.tell(b"recorder", GetEnded())
    return list(machine.told(EndedCalls, b"recorder")[-1].calls)


def test_a_call_that_was_being_set_up_leaves_a_record_that_says_so(network: Network) -> None:
    machine = Machine(network)
    machine.deaf = {b"worker-0", b"worker-1"}
    machine.tell(b"operator", Originate("asked", "sip:200@192.0.2.77", "echo"))  # has no port yet
    Phone(network).invite(run_s=0.1)
    (came,) = set(machine.front.calls) - {"asked"}
    replace_front(machine)
    network.run(11)
    assert {facts.call_id: (facts.outcome, facts.state) for facts in ended_calls(machine)} == {
        "asked": ("failed", "ended"), came: ("failed", "ended"),
    }  # fmt: skip
    assert {facts.cause for facts in ended_calls(machine)} == {"the front died while this call was set up"}
    assert all(facts.ended_at >= facts.started_at for facts in ended_calls(machine))


@pytest.mark.parametrize("is_heard", [True, False])
def test_one_whose_invite_comes_again_is_one_call_with_one_record(network: Network, is_heard: bool) -> None:
    """Whether the worker says what the media of the first try counted before that, or after."""
    machine = Machine(network)
    phone = Phone(network)
    machine.deaf |= {b"bridge-0", b"bridge-1"}
    phone.invite()
    assert machine.front.calls and 200 not in phone.statuses()
    machine.kill_front()
    machine.deaf = set() if is_heard else {b"worker-0", b"worker-1"}
    machine.start_front()
    network.run(1.5 if is_heard else 0.1)
    assert not machine.front.calls and not recorded(machine)
    machine.deaf.clear()
    phone.to_tag = ""
    phone.request("INVITE", cseq=1, branch="call-1-1-INVITE", body=phone.sdp(), run_s=1.5)
    (call_id,) = machine.front.calls
    phone.request("BYE")
    network.run(12)
    assert [(facts.call_id, facts.outcome) for facts in ended_calls(machine)] == [(call_id, "answered")]
    replace_front(machine)
    network.run(12)
    assert [facts.call_id for facts in ended_calls(machine)] == [call_id], "the journal says the same"


def test_one_that_was_set_up_after_all_leaves_the_record_of_its_end_only(network: Network) -> None:
    machine = Machine(network)
    Phone(network).call()
    (call_id,) = machine.front.calls
    replace_front(machine)
    machine.tell(b"operator", HangUp(call_id))
    network.run(1)
    replace_front(machine)
    network.run(11)
    assert [(facts.call_id, facts.outcome) for facts in ended_calls(machine)] == [(call_id, "answered")]


def test_a_call_that_cannot_be_gone_on_with_leaves_its_record_too(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(network)
    Phone(network).call()
    (call_id,) = machine.front.calls

    def refuse(*_: object) -> None:
        raise BadMessage("of another release")

    monkeypatch.setattr(journal, "restore_session", refuse)
    replace_front(machine)
    network.run(11)
    (facts,) = ended_calls(machine)
    assert (facts.call_id, facts.outcome, facts.status, facts.state) == (call_id, "answered", 200, "ended")
    assert facts.cause.endswith("the next one could not go on with it: of another release") and facts.ended_at >= facts.answered_at > 0
