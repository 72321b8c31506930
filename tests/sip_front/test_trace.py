"""What is kept of a call's messages, and what is covered."""

import pytest

from control_plane.messages import Failed, GetTrace, Message, SipTraced, Traced, Watch
from sip_front import trace
from sip_front.trace import TraceStore, redact, text_of
from tests.sip_front.simulation import Machine, Network, Phone

SECRET = (
    b"INVITE sip:a@b SIP/2.0\r\n"
    b'Authorization: Digest username="bob", response="0123456789abcdef"\r\n'
    b'proxy-authorization :  Digest username="bob",\r\n response="0123"\r\n'
    b"X-Note: Authorization: is fine here\r\nContent-Length: 99\r\n\r\n"
    b"v=0\r\nk=clear:hunter2\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20\r\na=sendrecv\r\n"
)


def test_credentials_and_keys_are_covered_and_lengths_stay() -> None:
    covered = redact(SECRET)
    assert len(covered) == len(SECRET) and covered.count(b"\r\n") == SECRET.count(b"\r\n")
    for secret in (b"bob", b"0123", b"hunter2", b"d0Rm", b"2^20"):
        assert secret not in covered
    kept_ones = (b"Authorization: Digest ****", b"X-Note: Authorization: is fine here", b"HMAC_SHA1_80 inline:***", b"a=sendrecv")
    for kept in kept_ones:
        assert kept in covered, kept
    assert redact(covered) == covered and redact(b"no secrets\r\n") == b"no secrets\r\n"


def test_hostile_input_is_covered_in_no_time() -> None:
    for octets in (b"Authorization:" * 5000, b"Authorization: x\r\n " * 4000, b"a=crypto:" * 7000, b"a=crypto:inline:" * 4000):
        assert len(redact(octets)) == len(octets)


def message(call_id: str, number: int, size: int = 100) -> SipTraced:
    return SipTraced(call_id, number, True, str(number), "192.0.2.1:5060", text="x" * size)


def test_of_a_long_call_the_beginning_and_the_end_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "MAX_CALL_BYTES", 2_000)
    store = TraceStore()
    for number in range(100):
        store.add(message("a", number))
    numbers = [m.at_ns for m in store.calls["a"]]
    assert numbers == [*range(trace.KEPT_AT_START), *range(92, 100)] and store.left_out["a"] == 80
    assert store.sizes["a"] == store.total_bytes == 2_000


def test_calls_are_bounded_in_number_and_size_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "MAX_CALLS", 3)
    store = TraceStore()
    for name in "abcd":
        store.add(message(name, 1))
    store.add(message("b", 2))
    assert list(store.calls) == ["c", "d", "b"] and store.total_bytes == 400
    monkeypatch.setattr(trace, "MAX_BYTES", 350)
    store.add(message("e", 1))
    assert list(store.calls) == ["b", "e"] and store.total_bytes == sum(store.sizes.values()) == 300


def test_a_long_message_is_cut() -> None:
    assert len(text_of(b"y" * 100_000)) == trace.MAX_MESSAGE_BYTES and text_of(b"\xff") == "\ufffd"


@pytest.fixture
def machine() -> Machine:
    return Machine(Network(), trace=True)


def ask(machine: Machine, call_id: str) -> Message:
    machine.tell(b"operator", GetTrace(call_id))
    answer: Message = machine.told(Message, b"operator")[-1]
    return answer


def test_the_messages_of_a_call_are_kept_beyond_its_end(machine: Machine, phone: Phone) -> None:
    phone.call(headers='Authorization: Digest response="0123"\r\n')
    (call_id,) = machine.front.calls
    phone.request("BYE")
    traced = ask(machine, call_id)
    assert isinstance(traced, Traced)
    assert [m.summary for m in traced.messages][:2] == ["INVITE", "100 Trying (INVITE)"] and traced.messages[-1].summary == "200 OK (BYE)"
    invite, trying = traced.messages[:2]
    assert invite.text.startswith("INVITE sip:100@192.0.2.1 SIP/2.0\r\n") and "m=audio" in invite.text and "0123" not in invite.text
    assert trying.text.startswith("SIP/2.0 100 ") and trying.is_sent
    assert {m.remote for m in traced.messages} == {"192.0.2.10:5060"} and {m.local for m in traced.messages} == {"192.0.2.1:5060"}
    assert all(m.at > 1e9 for m in traced.messages)


def test_only_who_watches_one_call_sees_the_messages_themselves(machine: Machine, phone: Phone) -> None:
    phone.call()
    (call_id,) = machine.front.calls
    machine.tell(b"one", Watch(call_id))
    machine.tell(b"all", Watch())
    phone.request("BYE")
    assert all(m.text for m in machine.told(SipTraced, b"one")) and machine.told(SipTraced, b"one")
    assert not any(m.text for m in machine.told(SipTraced, b"all")) and machine.told(SipTraced, b"all")


def test_without_a_trace_it_says_how_to_have_one(phone: Phone) -> None:
    machine = Machine(Network())
    other = Phone(machine.network)
    other.call()
    (call_id,) = machine.front.calls
    assert not machine.front.traces.calls
    answer = ask(machine, call_id)
    assert isinstance(answer, Failed) and "sip.trace = true" in answer.why
    unknown = ask(machine, "none")
    assert isinstance(unknown, Failed) and "there is no call" in unknown.why
