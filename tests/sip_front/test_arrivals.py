"""Calls that come in, through the whole front: which route takes them, and when they are answered."""

import logging

import pytest

from control_plane.config import Route
from control_plane.messages import AnswerCall, Done, Failed, MediaSilent, Originate, StartAgent
from control_plane.trunk_config import Trunk
from sip_front.message import Response
from tests.sip_front.simulation import CALLER, SECOND, Machine, Network, Phone

BRIDGES = {b"bridge-0", b"bridge-1"}


def machine_with(network: Network, *routes: Route, trunks: tuple[Trunk, ...] = ()) -> Machine:
    return Machine(network, more={"routes": routes, "trunks": trunks})


def last_told(machine: Machine, who: bytes) -> object:
    return [message for to, message in machine.said if to == who][-1]


def test_a_route_may_refuse_with_its_status_and_a_line_says_which(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    machine = machine_with(network, Route(refuse=603, caller="+491"), Route(agent="echo"))
    phone = Phone(network)
    with caplog.at_level(logging.WARNING):
        phone.invite()
    assert phone.statuses() == [100, 603] and "603: routes[0] refuses such calls" in caplog.text
    assert not machine.front.calls


def test_a_header_and_the_trunks_tenant_choose_the_agent(network: Network) -> None:
    routes = (Route(agent="globex", tenant="globex"), Route(agent="vip", headers={"X-Level": "gold"}), Route(agent="echo"))
    machine = machine_with(network, *routes, trunks=(Trunk("carrier", allow=(CALLER,), tenant="acme"),))
    phone = Phone(network)
    phone.call(headers="x-level: gold\r\n")
    phone.call(call_id="call-2", from_tag="b", tag="")
    assert [start.agent for start in machine.told(StartAgent)] == ["vip", "echo"]


def test_answered_at_once_while_the_agent_is_fetched(network: Network) -> None:
    machine = machine_with(network, Route(agent="echo", answer="at once"))
    machine.deaf = BRIDGES
    phone = Phone(network)
    phone.call()
    assert phone.statuses() == [100, 200] and machine.states == ["UP"]
    machine.deaf = set()
    network.run(1)
    (call,) = machine.front.calls.values()
    assert call.has_agent and call.step_deadline_ns is None
    network.run(20)
    assert machine.states == ["UP"]


def test_one_whose_agent_never_comes_ends_soon_after(network: Network) -> None:
    machine = machine_with(network, Route(agent="echo", answer="at once"))
    machine.deaf = BRIDGES
    phone = Phone(network)
    phone.call()
    network.run(9)
    assert [bye.method for bye in phone.requests("BYE")] and "did not start the agent echo within 8 s" in machine.last_cause


def early(network: Network) -> tuple[Machine, Phone, str]:
    machine = machine_with(network, Route(agent="echo", answer="early", ring_seconds=20))
    phone = Phone(network)
    phone.invite()
    (call_id,) = machine.front.calls
    return machine, phone, call_id


def test_an_agent_speaks_as_early_media_and_answers_when_it_says_so(network: Network) -> None:
    machine, phone, call_id = early(network)
    assert phone.statuses() == [100, 183] and machine.states == ["EARLY"]
    (start,) = machine.told(StartAgent)
    assert start.is_early
    network.run(10)
    machine.tell(b"bridge-0", AnswerCall(call_id))
    network.run()
    phone.request("ACK")
    assert phone.statuses()[:3] == [100, 183, 200] and machine.states == ["UP"]
    said = [m.body for m in phone.got if isinstance(m, Response) and m.status in (183, 200)]
    assert said[0] == said[1] != b"", "the 200 says what the 183 said (13.3.1.1)"
    network.run(60)
    assert machine.states == ["UP"], "ring_seconds count until the answer only"


def test_an_operator_may_answer_it_too_and_again(network: Network) -> None:
    machine, _, call_id = early(network)
    for _ in range(2):
        machine.tell(b"operator", AnswerCall(call_id))
        assert last_told(machine, b"operator") == Done()
    machine.tell(b"operator", AnswerCall("nobody"))
    assert isinstance(last_told(machine, b"operator"), Failed)


def test_what_rings_for_long_says_so_each_minute(network: Network) -> None:
    machine = machine_with(network, Route(agent="echo", answer="early", ring_seconds=200))
    phone = Phone(network)
    phone.invite(run_s=150)
    assert phone.statuses() == [100, 183, 183, 183], "else a proxy gives up (RFC 3261 13.3.1.1)"
    machine.tell(b"bridge-0", AnswerCall(next(iter(machine.front.calls))))
    network.run()
    phone.request("ACK")
    network.run(70)
    assert phone.statuses().count(183) == 3 and machine.states == ["UP"]


def test_one_that_is_not_answered_in_time_is_refused(network: Network) -> None:
    machine, phone, _ = early(network)
    network.run(21)
    assert phone.statuses()[-1] == 480 and not machine.front.calls
    assert "did not answer within 20 s, ring_seconds of its route" in machine.last_cause
    (facts,) = machine.front.ended.values()
    assert (facts.outcome, facts.answered_at) == ("rejected", 0.0)


def test_a_caller_may_hang_up_meanwhile(network: Network) -> None:
    machine, phone, _ = early(network)
    phone.request("CANCEL", branch="call-1-1-INVITE", cseq=1, tag="")
    assert 487 in phone.statuses() and not machine.front.calls


def test_its_agent_is_replaced_and_the_call_is_still_early(network: Network) -> None:
    machine, _, _ = early(network)
    (call,) = machine.front.calls.values()
    machine.replace(f"bridge-{call.bridge}".encode())
    network.run()
    starts = machine.told(StartAgent)
    assert [(start.is_early, start.resumed) for start in starts] == [(True, False), (True, True)] and machine.states == ["EARLY"]


def test_early_media_towards_callers_that_require_reliable_ringing(network: Network) -> None:
    machine = machine_with(network, Route(agent="echo", answer="early"))
    phone = Phone(network)
    phone.invite(headers="Require: 100rel\r\n")
    (call_id,) = machine.front.calls
    first = next(m for m in phone.got if isinstance(m, Response) and m.status == 183)
    assert first.body and first.headers.get("RSeq")
    machine.tell(b"bridge-0", AnswerCall(call_id))
    network.run()
    assert 200 not in phone.statuses(), "it waits for the PRACK (RFC 3262 3)"
    phone.request("PRACK", headers=f"RAck: {first.headers.get('RSeq')} 1 INVITE\r\n")
    assert phone.statuses()[-2:] == [200, 200]


def test_without_an_offer_there_is_no_early_media_and_the_call_works_all_the_same(network: Network) -> None:
    machine = machine_with(network, Route(agent="echo", answer="early"))
    phone = Phone(network)
    phone.invite(body="")
    assert phone.statuses() == [100, 180] and machine.states == ["EARLY"]
    machine.tell(b"operator", AnswerCall(next(iter(machine.front.calls))))
    network.run()
    assert phone.statuses()[-1] == 200


def test_a_call_ends_after_its_minutes_also_with_another_front(network: Network) -> None:
    machine = machine_with(network, Route(agent="echo", max_minutes=2))
    phone = Phone(network)
    phone.call()
    network.run(30)
    machine.kill_front()
    machine.start_front()
    network.run(80)
    assert machine.states == ["UP"]
    assert network.run_until(lambda: bool(phone.requests("BYE")), within_s=15)
    network.run()
    assert machine.last_cause == "it lasted 2 min, max_minutes of its route"


def test_the_limit_begins_with_the_answer(network: Network) -> None:
    machine = machine_with(network, Route(agent="echo", answer="early", ring_seconds=60, max_minutes=1))
    phone = Phone(network)
    phone.invite()
    network.run(50)
    machine.tell(b"bridge-0", AnswerCall(next(iter(machine.front.calls))))
    network.run()
    phone.request("ACK")
    (call,) = machine.front.calls.values()
    assert call.end_ns == call.answered_ns + 60 * SECOND


def test_a_route_has_formats_of_its_own_also_under_the_next_front(network: Network) -> None:
    trunks = (Trunk("carrier", allow=(CALLER,), formats=("PCMU", "PCMA")),)
    machine = machine_with(network, Route(agent="echo", to="100", formats=("PCMA",)), Route(agent="echo"), trunks=trunks)
    phone = Phone(network)
    phone.call()
    (call,) = machine.front.calls.values()
    assert call.media.format == "PCMA" and call.session.negotiation.formats == ("PCMA",)
    machine.kill_front()
    machine.start_front()
    network.run(4)
    assert machine.front.calls[call.call_id].session.negotiation.formats == ("PCMA",)


def test_a_route_whose_formats_nobody_offers_refuses_with_both_lists(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    machine_with(network, Route(agent="echo", formats=("G722",)))
    phone = Phone(network)
    with caplog.at_level(logging.WARNING):
        phone.invite()
    assert phone.statuses() == [100, 488] and "we have G722" in caplog.text


def test_before_the_answer_and_just_after_it_a_far_end_may_be_silent(network: Network) -> None:
    machine, phone, call_id = early(network)
    (call,) = machine.front.calls.values()
    worker = f"worker-{call.worker}".encode()
    network.run(15)
    machine.tell(worker, MediaSilent(call_id, 30_000))
    machine.tell(b"bridge-0", AnswerCall(call_id))
    network.run()
    phone.request("ACK")
    machine.tell(worker, MediaSilent(call_id, 60_000))
    assert machine.states == ["UP"]
    network.run(31)
    machine.tell(worker, MediaSilent(call_id, 90_000))
    network.run()
    assert "the far end sent no audio for 90 s" in machine.last_cause


def test_a_call_that_we_make_may_ring_for_long(network: Network) -> None:
    machine = machine_with(network, Route(agent="echo"))
    callee = Phone(network, "192.0.2.77")
    machine.tell(b"operator", Originate("out", "sip:200@192.0.2.77", "echo"))
    network.run()
    callee.respond(callee.requests("INVITE")[0], 180, "Ringing")
    (call,) = machine.front.calls.values()
    network.run(40)
    machine.tell(f"worker-{call.worker}".encode(), MediaSilent("out", 30_000))
    assert machine.states == ["CALLING"]
