"""What people ask of the front, and what they see while they watch."""

import pytest

from control_plane.messages import (
    CallChanged,
    Calls,
    Done,
    Drain,
    EndedCalls,
    Failed,
    GetCall,
    GetCalls,
    GetEnded,
    GetStatus,
    HangUp,
    InstructCall,
    Message,
    Noted,
    Originate,
    PressKeys,
    SipTraced,
    Status,
    Watch,
    decode,
    encode,
)
from sip_front.operators import MAX_WATCHERS
from sip_front.transport import Address
from tests.sip_front.simulation import Machine, Phone

OPERATOR = b"operator"


def ask(machine: Machine, question: Message, who: bytes = OPERATOR) -> Message:
    machine.tell(who, question)
    answer: Message = machine.told(Message, who)[-1]
    return decode(encode(answer))


def test_status_counts_calls_and_lists_the_staff(machine: Machine, phone: Phone) -> None:
    phone.call()
    phone.invite(call_id="no", to="nobody", tag="", cseq=1)
    status = ask(machine, GetStatus())
    assert isinstance(status, Status)
    assert (status.calls, status.calls_total, status.calls_refused, status.draining) == (1, 2, 1, False)
    assert [(p.role, p.index) for p in status.peers] == [("bridge", 0), ("bridge", 1), ("worker", 0), ("worker", 1)]
    assert status.sip == "192.0.2.1:5060"


def test_a_call_can_be_looked_at_while_it_is_up_and_after(machine: Machine, phone: Phone) -> None:
    phone.call()
    calls = ask(machine, GetCalls())
    assert isinstance(calls, Calls)
    (call,) = calls.calls
    assert (call.state, call.direction, call.caller, call.callee, call.agent) == ("up", "inbound", "+491", "100", "echo")
    assert (call.format, call.worker, call.row, call.bridge) == ("PCMU", 0, 0, 0)
    assert (call.sip_call_id, call.remote) == ("call-1", "192.0.2.10:5060")
    phone.request("BYE")
    ended = ask(machine, GetCall(call.call_id))
    assert isinstance(ended, Calls) and (ended.calls[0].state, ended.calls[0].cause) == ("ended", "the far end hung up")
    assert ask(machine, GetCalls()) == Calls(())
    assert isinstance(ask(machine, GetCall("none")), Failed)


def test_hanging_up_is_idempotent(machine: Machine, phone: Phone) -> None:
    phone.call()
    (call_id,) = machine.front.calls
    assert ask(machine, HangUp(call_id)) == Done()
    assert ask(machine, HangUp(call_id)) == Done()
    machine.network.run()
    assert ask(machine, HangUp(call_id)) == Done() and len(phone.requests("BYE")) >= 1
    assert isinstance(ask(machine, HangUp("none")), Failed)


def test_keys_go_to_the_call_s_bridge(machine: Machine, phone: Phone) -> None:
    phone.call()
    (call_id,) = machine.front.calls
    order = PressKeys(call_id, "12#")
    assert ask(machine, order) == Done() and machine.told(PressKeys, b"bridge-0") == [order]
    for wrong, status in ((PressKeys(call_id, "12E"), 422), (PressKeys(call_id, ""), 422), (PressKeys("none", "1"), 404)):
        answer = ask(machine, wrong)
        assert isinstance(answer, Failed) and answer.status == status
    assert machine.told(PressKeys, b"bridge-0") == [order]


def test_instructions_go_to_the_call_s_bridge_once_it_is_answered(machine: Machine, phone: Phone) -> None:
    phone.call()
    (call_id,) = machine.front.calls
    order = InstructCall(call_id, url="https://app.example/twiml")
    assert ask(machine, order) == Done() and machine.told(InstructCall, b"bridge-0") == [order]
    ask(machine, Originate("out", "sip:1@192.0.2.10", "echo"))
    for call_id, status in (("none", 404), ("out", 503)):
        answer = ask(machine, InstructCall(call_id, document="<Response/>"))
        assert isinstance(answer, Failed) and answer.status == status


def test_keys_wait_for_the_answer(machine: Machine) -> None:
    ask(machine, Originate("out", "sip:1@192.0.2.10", "echo"))
    answer = ask(machine, PressKeys("out", "1"))
    assert isinstance(answer, Failed) and answer.status == 503 and "once it is answered" in answer.why


def test_draining_refuses_calls_in_both_directions_and_keeps_those_that_are_up(machine: Machine, phone: Phone) -> None:
    phone.call()
    assert isinstance(ask(machine, Drain()), Done)
    phone.invite(call_id="new", tag="", cseq=1)
    assert phone.statuses()[-1] == 503 and phone.got[-1].headers.get("Retry-After") == "30"
    assert isinstance(ask(machine, Originate("out", "sip:1@192.0.2.10", "echo")), Failed)
    assert machine.states == ["UP"]
    phone.to_tag = next(iter(machine.front.user_agent.sessions))[1]
    phone.request("BYE")
    assert machine.front.live_calls == 0 and machine.front.is_quiet


@pytest.mark.parametrize("to", ["bob", "sips:bob@192.0.2.10;transport=udp", "tel:+49", "sip:bob@192.0.2.10;transport=sctp", "sip:[::1", "http://x"])
def test_what_cannot_be_called_is_refused_with_the_reason(machine: Machine, to: str) -> None:
    answer = ask(machine, Originate("out", to, "echo"))
    assert isinstance(answer, Failed) and answer.why.startswith("cannot call") and machine.states == []


def test_a_name_is_left_to_the_process(machine: Machine) -> None:
    assert ask(machine, Originate("out", "sip:bob@phones.example.com", "echo")) == Done("out")
    (lookup,) = machine.front.originator.take_lookups()
    assert lookup.uri.host == "phones.example.com" and machine.states == []
    assert machine.front.originator.dial_out(lookup.order, lookup.uri, [Address("192.0.2.10", 5060)], machine.network.now_ns) == ""
    assert machine.states == ["PREPARING"]


def test_the_same_order_while_its_name_is_looked_up_is_the_same_call(machine: Machine) -> None:
    order = Originate("out", "sip:bob@phones.example.com", "echo")
    assert [ask(machine, order), ask(machine, order)] == [Done("out"), Done("out")]
    (lookup,) = machine.front.originator.take_lookups()
    machine.front.originator.dial_out(lookup.order, lookup.uri, [Address("192.0.2.10", 5060)], machine.network.now_ns)
    assert ask(machine, order) == Done("out") and not machine.front.originator.take_lookups() and machine.states == ["PREPARING"]


@pytest.mark.parametrize("call_id", ["", "x" * 41, "a b", "a\n", "\u00e9", "\x7f"])
def test_an_id_that_does_not_fit_a_row_is_refused(machine: Machine, call_id: str) -> None:
    for to in ("sip:1@192.0.2.10", "sip:bob@phones.example.com"):
        answer = ask(machine, Originate(call_id, to, "echo"))
        assert isinstance(answer, Failed) and "1 to 40 printable ASCII" in answer.why
    assert machine.states == [] and not machine.front.originator.take_lookups()
    assert ask(machine, Originate("x" * 40, "sip:1@192.0.2.10", "echo")) == Done("x" * 40)


def test_a_watcher_sees_the_whole_call_and_no_bodies(machine: Machine, phone: Phone) -> None:
    ask(machine, Watch())
    phone.call()
    (call_id,) = machine.front.calls
    machine.tell(b"bridge-0", Noted(call_id, 1, "heard", "yes"))
    phone.request("BYE")
    seen = machine.told(Message, OPERATOR)
    traced = [(m.is_sent, m.summary) for m in seen if isinstance(m, SipTraced)]
    assert traced == [
        (False, "INVITE"),
        (True, "100 Trying (INVITE)"),
        (True, "180 Ringing (INVITE)"),
        (True, "200 OK (INVITE)"),
        (False, "ACK"),
        (False, "BYE"),
        (True, "200 OK (BYE)"),
    ]
    states = [m.call.state for m in seen if isinstance(m, CallChanged)]
    assert states == ["opening", "starting", "answered", "up", "closing", "ended"]
    assert [m.text for m in seen if isinstance(m, Noted)] == ["yes"]
    assert all(m == decode(encode(m)) for m in seen)


def test_a_name_that_is_not_found_is_a_call_that_failed(machine: Machine) -> None:
    ask(machine, Watch(what="calls"), b"watcher")
    ask(machine, Originate("out", "sip:bob@phones.example.com", "echo"))
    asked = ask(machine, GetCall("out"))
    assert isinstance(asked, Calls) and (asked.calls[0].outcome, asked.calls[0].callee) == ("queued", "bob")
    (lookup,) = machine.front.originator.take_lookups()
    machine.front.originator.fail_order(lookup, "cannot call phones.example.com: its name has no address")
    machine.pump()
    assert machine.told(Failed, OPERATOR)[-1] == Failed("cannot call phones.example.com: its name has no address", 422, "out")
    failed = machine.told(CallChanged, b"watcher")[-1].call
    assert (failed.state, failed.outcome) == ("ended", "failed") and ask(machine, GetCall("out")) == Calls((failed,))


def test_calls_that_ended_are_named_in_order_and_what_is_forgotten_is_counted(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sip_front.operators.MAX_ENDED_AT_ONCE", 2)
    monkeypatch.setattr("sip_front.front.MAX_ENDED", 3)
    for i in range(5):
        ask(machine, Originate(f"out-{i}", "sip:bob@phones.example.com", "echo"))
        (lookup,) = machine.front.originator.take_lookups()
        machine.front.originator.fail_order(lookup, "no address")
    first = ask(machine, GetEnded(1))
    assert isinstance(first, EndedCalls) and (first.front, first.last, first.missed) == (machine.front.started_ns, 4, 1)
    second = ask(machine, GetEnded(first.last))
    assert isinstance(second, EndedCalls) and (second.last, second.missed) == (5, 0)
    assert [call.call_id for call in (*first.calls, *second.calls)] == ["out-2", "out-3", "out-4"]
    assert ask(machine, GetEnded(5)) == EndedCalls(machine.front.started_ns, (), 5)


def test_who_watches_calls_only_costs_no_trace(machine: Machine, phone: Phone) -> None:
    ask(machine, Watch(what="calls"))
    phone.call()
    assert {type(m) for m in machine.told(Message, OPERATOR)} == {Done, CallChanged} and not machine.front.user_agent.is_traced


def test_a_watcher_of_one_call_sees_no_other(machine: Machine, phone: Phone) -> None:
    ask(machine, Watch("other"))
    before = len(machine.told(Message, OPERATOR))
    phone.call()
    assert len(machine.told(Message, OPERATOR)) == before


def test_watchers_are_bounded_and_forgotten_when_they_go(machine: Machine, phone: Phone) -> None:
    for i in range(MAX_WATCHERS):
        assert ask(machine, Watch(), f"w{i}".encode()) == Done()
    assert isinstance(ask(machine, Watch(), b"one-more"), Failed)
    assert ask(machine, Watch(), b"w0") == Done(), "who watches already may say so again"
    for i in range(MAX_WATCHERS):
        machine.front.operators.unreachable(f"w{i}".encode())
    assert not machine.front.user_agent.is_traced


def test_what_callers_write_can_always_be_sent_on(machine: Machine, phone: Phone) -> None:
    """Octets that are no UTF-8 are surrogates in our text, and msgpack refuses those."""
    ask(machine, Watch())
    sdp = phone.sdp().encode()
    head = (
        "INVITE sip:1%ff@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKx\r\nFrom: \"\udcff\" <sip:\udcfe@x>;tag=1\r\n"
        "To: <sip:100@192.0.2.1>\r\nCall-ID: \udcff\r\nCSeq: 1 INVITE\r\nMax-Forwards: 9\r\nContact: <sip:a@192.0.2.10>\r\n"
        f"X-Name: \udcff\x1b\r\nContent-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n"
    )
    machine.receive(head.encode("utf-8", "surrogateescape") + sdp, Address("192.0.2.10", 5060))
    machine.network.run()
    for _, message in machine.said:
        decode(encode(message))
    assert isinstance(ask(machine, GetCalls()), Calls)
