"""Joining, conferences and connecting, as the front orders them; what becomes of who is left alone; who is told."""

import pytest

from control_plane.messages import (
    MAX_PARTIES,
    CallFacts,
    Calls,
    Done,
    EnterRoom,
    Failed,
    GetCall,
    HangUp,
    JoinCalls,
    LeaveRoom,
    Message,
    OpenMedia,
    Originate,
    Party,
    RoomChanged,
    RoomSet,
    SetRoom,
    decode,
    encode,
)
from sip_front.rooms import MAX_NAME
from tests.sip_front.simulation import CALLER, Machine, Network, Phone

OPERATOR, BRIDGE = b"operator", b"bridge-0"
HUMAN = "192.0.2.77"


@pytest.fixture
def machine(network: Network) -> Machine:
    return Machine(network, workers=1)


def a_call(machine: Machine, host: str) -> str:
    """Somebody who calls; its id."""
    known = set(machine.front.calls)
    Phone(machine.network, host).call(call_id=f"from-{host}")
    (call_id,) = set(machine.front.calls) - known
    return call_id


def two(machine: Machine) -> list[str]:
    return [a_call(machine, host) for host in (CALLER, "192.0.2.11")]


def ask(machine: Machine, question: Message, who: bytes = OPERATOR) -> Message:
    machine.tell(who, question)
    machine.network.run()
    return decode(encode(machine.told(Message, who)[-1]))


def facts(machine: Machine, call_id: str) -> CallFacts:
    answer = ask(machine, GetCall(call_id))
    assert isinstance(answer, Calls)
    return answer.calls[0]


def rooms(machine: Machine) -> dict[str, tuple[Party, ...]]:
    """As the worker was told last."""
    return {message.room_id: message.parties for message in machine.told(SetRoom)}


def changes(machine: Machine, call_id: str) -> list[tuple[str, str, str]]:
    """What its agent was told."""
    return [(m.room, m.role, m.agent) for m in machine.told(RoomChanged) if m.call_id == call_id]


# ---- two -------------------------------------------------------------------------------------------------------------


def test_two_calls_are_joined_and_their_agents_are_out(machine: Machine) -> None:
    one, other = two(machine)
    assert ask(machine, JoinCalls(one, other)) == Done(one)
    assert rooms(machine) == {one: (Party(one), Party(other))}
    assert changes(machine, one) == [(one, "talk", "out")] and changes(machine, other) == [(one, "talk", "out")]
    assert (facts(machine, other).room, facts(machine, other).role) == (one, "talk")
    count = len(machine.told(SetRoom))
    assert ask(machine, JoinCalls(one, other)) == Done(one) and len(machine.told(SetRoom)) == count, "said again, it changes nothing"


@pytest.mark.parametrize("after", ["end", "return", "stay"])
@pytest.mark.parametrize("who_ends", [0, 1])
def test_when_one_hangs_up_the_other_does_what_the_order_says(machine: Machine, after: str, who_ends: int) -> None:
    pair = two(machine)
    ask(machine, JoinCalls(*pair, after=after))  # type: ignore[arg-type]
    ended, left = pair[who_ends], pair[1 - who_ends]
    ask(machine, HangUp(ended, "enough"))
    if after == "end":
        assert machine.states == [] and "the other side hung up: enough" in machine.front.ended[left].cause
    else:
        assert machine.states == ["UP"] and facts(machine, left).room == ("" if after == "return" else pair[0])
    if after == "return":
        assert changes(machine, left)[-1][0] == "" and rooms(machine)[pair[0]] == ()


def test_unjoined_both_go_back(machine: Machine) -> None:
    one, other = two(machine)
    ask(machine, JoinCalls(one, other, after="return"))
    assert ask(machine, LeaveRoom(one)) == Done(one)
    assert machine.states == ["UP", "UP"] and rooms(machine) == {one: ()}
    assert [changes(machine, call_id)[-1][0] for call_id in (one, other)] == ["", ""]
    assert machine.front.rooms.rooms == {}
    assert ask(machine, LeaveRoom(one)) == Failed(f"call {one} is in no room", 422)


def test_the_agent_may_stay_to_listen_to_talk_or_to_whisper(machine: Machine) -> None:
    one, other = two(machine)
    for agent in ("listen", "talk"):
        ask(machine, JoinCalls(one, other, agent=agent))  # type: ignore[arg-type]
        assert rooms(machine)[one] == (Party(one, agent=agent), Party(other))  # type: ignore[arg-type]
    ask(machine, JoinCalls(one, other, agent="whisper"))
    assert rooms(machine)[one] == (Party(one, agent="whisper", agent_to=other), Party(other))


def test_agents_join_and_are_told_what_became_of_it(machine: Machine) -> None:
    one, other = two(machine)
    machine.tell(BRIDGE, JoinCalls(one, other))
    assert changes(machine, one) == [(one, "talk", "out")] and not machine.told(Done, BRIDGE)
    machine.tell(BRIDGE, JoinCalls(one, "nobody"))
    (failed,) = machine.told(Failed, BRIDGE)
    assert (failed.call_id, failed.status) == (one, 404)


@pytest.mark.parametrize(
    ("order", "status", "words"),
    [
        (JoinCalls("{one}", "{one}"), 422, "with itself"),
        (JoinCalls("{one}", "none"), 404, "no call none"),
        (LeaveRoom("none"), 404, "no call none"),
        (EnterRoom("r", Party("none")), 404, "no call none"),
        (EnterRoom("a b", Party("{one}")), 422, "no space"),
        (EnterRoom("r" * (MAX_NAME + 1), Party("{one}")), 422, "1 to 40"),
        (EnterRoom("r", Party("{one}", "whisper", to="{other}")), 422, "whisper to whom?"),
        (EnterRoom("r", Party("{one}", agent="whisper", agent_to="{one}/ear")), 422, "CALL_ID/agent"),
    ],
)
def test_what_cannot_be_is_refused_in_words(machine: Machine, order: Message, status: int, words: str) -> None:
    one, other = two(machine)
    refused = ask(machine, _filled(order, one, other))
    assert isinstance(refused, Failed) and refused.status == status and words in refused.why
    assert machine.told(SetRoom) == []


def _filled(order: Message, one: str, other: str) -> Message:
    def filled(value: object) -> object:
        if isinstance(value, str):
            return value.replace("{one}", one).replace("{other}", other)
        if isinstance(value, Party):
            return Party(*(filled(getattr(value, name)) for name in value.__struct_fields__))  # type: ignore[arg-type]
        return value

    return type(order)(*(filled(getattr(order, name)) for name in order.__struct_fields__))


# ---- where calls are ---------------------------------------------------------------------------------------------------


def test_calls_of_two_workers_are_not_joined_and_the_remedy_is_told(network: Network) -> None:
    machine = Machine(network, workers=2)
    one, other = two(machine)
    assert {facts(machine, one).worker, facts(machine, other).worker} == {0, 1}
    refused = ask(machine, JoinCalls(one, other))
    assert isinstance(refused, Failed) and "beside" in refused.why and "media.workers = 1" in refused.why and refused.status == 422


def test_beside_puts_a_call_on_the_worker_of_another(network: Network) -> None:
    machine = Machine(network, workers=2)
    one, other = two(machine)
    for n, beside in enumerate((one, other, one, other)):
        machine.tell(OPERATOR, Originate(f"out-{n}", f"sip:x@{HUMAN}", "echo", beside=beside))
        assert facts(machine, f"out-{n}").worker == facts(machine, beside).worker
    refused = ask(machine, Originate("out-9", f"sip:x@{HUMAN}", "echo", beside="none"))
    assert isinstance(refused, Failed) and "no call none to be beside of" in refused.why


def test_a_full_worker_takes_no_call_beside_its_own(network: Network) -> None:
    machine = Machine(network, workers=2, capacity=1)
    (one, _) = two(machine)
    refused = ask(machine, Originate("out", f"sip:x@{HUMAN}", "echo", beside=one))
    assert isinstance(refused, Failed) and refused.status == 503 and "widen media.rtp_ports" in refused.why


def test_a_call_beside_another_does_not_go_elsewhere_when_its_worker_is_silent(network: Network) -> None:
    machine = Machine(network, workers=2)
    one = a_call(machine, CALLER)
    machine.deaf = {b"worker-0", b"worker-1"}
    machine.tell(OPERATOR, Originate("out", f"sip:x@{HUMAN}", "echo", beside=one))
    network.run(3)
    assert "out" in machine.front.ended or machine.front.calls["out"].state.name == "CLOSING"
    assert len({to for to, m in machine.said if isinstance(m, OpenMedia) and m.call_id == "out"}) == 1


def test_without_an_agent_there_must_be_a_call_to_join(machine: Machine) -> None:
    refused = ask(machine, Originate("out", f"sip:x@{HUMAN}", ""))
    assert isinstance(refused, Failed) and "Name an agent" in refused.why


def test_a_name_that_another_worker_has_not_given_back_is_free(network: Network) -> None:
    machine = Machine(network, workers=2)
    calls = {facts(machine, call_id).worker: call_id for call_id in two(machine)}
    machine.deaf = {b"worker-0"}
    ask(machine, EnterRoom("weekly", Party(calls[0]), "return"))
    ask(machine, LeaveRoom(calls[0]))
    assert ask(machine, EnterRoom("weekly", Party(calls[1]))) == Done(calls[1])
    last = {to: m for to, m in machine.said if isinstance(m, SetRoom)}
    assert last[b"worker-0"].parties == () and last[b"worker-1"].parties == (Party(calls[1]),)


# ---- conferences -------------------------------------------------------------------------------------------------------


def test_a_conference_is_entered_one_by_one_and_left_one_by_one(machine: Machine) -> None:
    calls = [a_call(machine, f"192.0.2.{n}") for n in (10, 11, 12)]
    for call_id in calls:
        assert ask(machine, EnterRoom("weekly", Party(call_id))) == Done(call_id)
    assert rooms(machine)["weekly"] == tuple(Party(call_id) for call_id in calls)
    ask(machine, EnterRoom("weekly", Party(calls[2], "whisper", to=calls[1])))
    assert rooms(machine)["weekly"][2] == Party(calls[2], "whisper", to=calls[1])
    ask(machine, HangUp(calls[0]))
    ask(machine, HangUp(calls[1]))
    assert machine.states == ["UP"] and facts(machine, calls[2]).room == "weekly", "who is left waits for others"


def test_who_only_listens_is_nobody_to_stay_for(machine: Machine) -> None:
    one, other, supervisor = (a_call(machine, f"192.0.2.{n}") for n in (10, 11, 12))
    ask(machine, JoinCalls(one, other))
    ask(machine, EnterRoom(one, Party(supervisor, "listen"), "return"))
    ask(machine, HangUp(one, "done"))
    assert list(machine.front.calls) == [supervisor] and facts(machine, supervisor).room == ""


def test_joining_takes_calls_out_of_where_they_were(machine: Machine) -> None:
    a, b, c = (a_call(machine, f"192.0.2.{n}") for n in (10, 11, 12))
    ask(machine, EnterRoom("one", Party(a), "return"))
    ask(machine, EnterRoom("one", Party(b), "return"))
    ask(machine, JoinCalls(b, c))
    assert rooms(machine) == {"one": (), b: (Party(b), Party(c))} and facts(machine, a).room == ""


def test_a_room_is_bounded(network: Network) -> None:
    machine = Machine(network, workers=1)
    for n in range(MAX_PARTIES + 1):
        call_id = a_call(machine, f"192.0.2.{100 + n}")
        answer = ask(machine, EnterRoom("all", Party(call_id)))
        network.run(1)
    assert isinstance(answer, Failed) and f"{MAX_PARTIES} calls" in answer.why


@pytest.mark.parametrize("order", ["join", "enter"])
def test_calls_of_two_tenants_are_kept_apart(machine: Machine, order: str) -> None:
    one, other = two(machine)
    machine.front.calls[one].tenant = "a"
    ask(machine, EnterRoom("weekly", Party(one)))

    def asked(tenant: str) -> Message:
        return ask(machine, JoinCalls(one, other, tenant=tenant) if order == "join" else EnterRoom("weekly", Party(other), tenant=tenant))

    for mine, theirs in (("a", ""), ("a", "b"), ("b", "b")):
        machine.front.calls[other].tenant = theirs
        refused = asked(mine)
        assert isinstance(refused, Failed) and "is not of tenant" in refused.why
    refused = asked("")
    assert isinstance(refused, Failed) and "is not of tenant" in refused.why, "not even an operator mixes them"
    machine.front.calls[other].tenant = ""
    assert isinstance(asked(""), Done), "a supervisor is nobody's"
    machine.front.calls[other].tenant = "b"
    refused = ask(machine, Originate("out", f"sip:x@{HUMAN}", "", beside=one, tenant="b"))
    assert isinstance(refused, Failed)


def test_an_agent_that_asks_for_what_is_so_already_is_told(machine: Machine) -> None:
    one, other = two(machine)
    for _ in range(2):
        machine.tell(BRIDGE, JoinCalls(one, other))
    assert changes(machine, one) == [(one, "talk", "out")] * 2


def test_an_agent_whose_process_died_learns_where_its_call_is(machine: Machine) -> None:
    one, other = two(machine)
    ask(machine, JoinCalls(one, other))
    machine.said.clear()
    machine.replace(BRIDGE)
    machine.network.run(1)
    assert changes(machine, one) == [(one, "talk", "out")]


# ---- what lasts ----------------------------------------------------------------------------------------------------------


def test_a_worker_is_told_again_until_it_has_heard(machine: Machine) -> None:
    one, other = two(machine)
    machine.deaf = {b"worker-0"}
    machine.tell(OPERATOR, JoinCalls(one, other))
    machine.network.run(3)
    orders = machine.told(SetRoom)
    assert len(orders) >= 3 and len(set(orders)) == 1
    machine.tell(b"worker-0", RoomSet(one, orders[-1].number - 1))
    machine.network.run(2)
    assert len(machine.told(SetRoom)) > len(orders), "an answer to an older order does not count"
    machine.tell(b"worker-0", RoomSet(one, orders[-1].number))
    count = len(machine.told(SetRoom))
    machine.network.run(3)
    assert len(machine.told(SetRoom)) == count


def test_the_next_front_knows_who_is_joined(machine: Machine) -> None:
    one, other = two(machine)
    ask(machine, JoinCalls(one, other, agent="listen"))
    machine.kill_front()
    machine.said.clear()
    machine.start_front()
    machine.network.run(2)
    assert rooms(machine) == {one: (Party(one, agent="listen"), Party(other))}
    ask(machine, HangUp(one))
    assert machine.states == []
