"""Routes whose webhook decides, as the front sees it: somebody asks for it, or nobody does; in time, or too late."""

import logging

import pytest

from control_plane.config import Route
from control_plane.messages import AdviceOffered, AskRoute, Decision, RouteAdvised, StartAgent
from control_plane.trunk_config import Trunk
from sip_front import advice
from sip_front.message import Response
from tests.sip_front.simulation import CALLER, SECOND, Machine, Network, Phone

ADVISER = b"http-1"
ROUTE = Route(agent="menu", webhook="https://example.com/route", webhook_seconds=1.0)


class House(Machine):
    """With a process that asks webhooks, which answers as `decide` says."""

    def __init__(self, *routes: Route, is_there: bool = True, **more: object) -> None:
        self.decision: Decision | None = Decision(agent="echo")
        self.delay_s = 0.1
        self.is_there = is_there
        super().__init__(Network(), more={"routes": routes or (ROUTE,), **more})

    def report(self) -> None:
        super().report()
        if self.is_there:
            self.tell(ADVISER, AdviceOffered())

    def pump(self) -> None:
        before = len(self.said)
        super().pump()
        for _, message in self.said[before:]:
            if isinstance(message, AskRoute) and self.delay_s:
                answer = RouteAdvised(message.call_id, self.decision, "it answers 500")
                self.network.at(self.network.now_ns + round(self.delay_s * SECOND), lambda what=answer: self.tell(ADVISER, what))  # type: ignore[misc]

    def agents(self) -> list[str]:
        return [start.agent for start in self.told(StartAgent)]


def calls(house: House, count: int, run_s: float = 0.0) -> list[Phone]:
    """Each from a host of its own, one after the other."""
    phones = []
    for number in range(count):
        phone = Phone(house.network, f"192.0.2.{20 + len(house.network.hosts)}")
        phone.invite(call_id=f"call-{len(house.network.hosts)}", run_s=run_s)
        phones.append(phone)
        assert number < 1000
    return phones


def test_it_decides_who_takes_the_call() -> None:
    house = House(trunks=(Trunk("carrier", allow=(CALLER,), tenant="acme"),))
    house.decision = Decision(agent="echo", arguments={"who": "Ada"}, max_minutes=3)
    phone = Phone(house.network)
    phone.invite(headers="X-Level: gold\r\n", run_s=0.01)
    assert phone.statuses() == [100], "it waits for the answer"
    house.network.run(0.3)
    assert phone.statuses() == [100, 180, 200]
    (asked,), (start,) = house.told(AskRoute, ADVISER), house.told(StartAgent)
    assert (asked.route, asked.caller, asked.callee, asked.source) == (0, "+491", "100", CALLER)
    assert (asked.trunk, asked.tenant) == ("carrier", "acme")
    assert asked.headers == {"X-Level": "gold"}
    assert (start.agent, start.arguments) == ("echo", {"who": "Ada"})
    assert next(iter(house.front.calls.values())).max_ns == 180 * SECOND


def test_it_may_refuse() -> None:
    house = House()
    house.decision = Decision(refuse=603)
    assert calls(house, 1, run_s=0.3)[0].statuses() == [100, 603]


@pytest.mark.parametrize(
    ("decision", "why"),
    [
        (None, "it answers 500"),
        (Decision(agent="echo", refuse=603), "its answer makes no route: routes[0]: name one"),
        (Decision(refuse=200), "its answer makes no route: routes[0].refuse: 200"),
        (Decision(agent="echo", ring_seconds=0), "its answer makes no route: routes[0].ring_seconds"),
        (Decision(agent="echo", record=True), "its answer makes no route: it wants a recording"),
    ],
)
def test_what_is_no_decision_leaves_the_call_to_the_route(decision: Decision | None, why: str, caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    house.decision = decision
    with caplog.at_level(logging.WARNING):
        calls(house, 2, run_s=1)
    assert house.agents() == ["menu", "menu"]
    lines = [record.getMessage() for record in caplog.records if "its webhook decides nothing" in record.getMessage()]
    assert len(lines) == 1 and why in lines[0] and lines[0].endswith("calls go on without it: menu")


def test_one_that_says_nothing_of_it_leaves_it_to_the_route_or_to_the_next_one() -> None:
    house = House(Route(webhook="https://example.com/"), Route(agent="desk"))
    house.decision = Decision()
    calls(house, 1, run_s=1)
    assert house.agents() == ["desk"] and house.front.arrivals.advice.webhooks[0].failures == 0


def test_one_alone_that_decides_nothing_is_a_404_with_the_remedy(caplog: pytest.LogCaptureFixture) -> None:
    house = House(Route(webhook="https://example.com/"))
    house.decision = Decision()
    with caplog.at_level(logging.WARNING):
        (phone,) = calls(house, 1, run_s=0.3)
    assert phone.statuses() == [100, 404] and "100 is left to the webhook of routes[0], which decides nothing" in caplog.text


def test_one_that_hangs_delays_three_calls_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    house.delay_s = 0.0
    with caplog.at_level(logging.INFO):
        for phone in calls(house, 3, run_s=0.2):
            assert phone.statuses() == [100]
        house.network.run(1.0)
        assert house.agents() == ["menu"] * 3
        for phone in calls(house, 20, run_s=0.01):
            assert phone.statuses() == [100, 180, 200], "they do not wait"
        assert len(house.told(AskRoute)) == 3
        house.network.run(advice.REST_NS / SECOND)
        house.delay_s = 0.1
        calls(house, 2, run_s=1)
    assert house.agents()[-2:] == ["echo", "echo"], "it is asked again"
    assert caplog.text.count("its webhook decides nothing (no answer within 1 s)") == 1 and "its webhook answers again" in caplog.text
    assert not house.front.arrivals.advice.waiting


def test_without_anybody_to_ask_calls_go_on_at_once(caplog: pytest.LogCaptureFixture) -> None:
    house = House(is_there=False)
    with caplog.at_level(logging.WARNING):
        assert calls(house, 1, run_s=0.01)[0].statuses() == [100, 180, 200]
    assert "the HTTP process, which asks it, is not there" in caplog.text


def test_as_many_as_may_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "MAX_WAITING", 2)
    house = House()
    house.delay_s = 0.0
    calls(house, 3, run_s=0.01)
    assert len(house.told(AskRoute)) == 2 and house.agents() == ["menu"]


def test_a_caller_who_hangs_up_meanwhile_gets_no_agent() -> None:
    house = House()
    phone = Phone(house.network)
    phone.invite(run_s=0.01)
    phone.request("CANCEL", branch="call-1-1-INVITE", cseq=1, tag="", run_s=0.3)
    assert [m.status for m in phone.got if isinstance(m, Response)] == [100, 200, 487]
    assert house.agents() == [] and not house.front.arrivals.advice.waiting


def test_an_answer_that_comes_too_late_or_twice_changes_nothing() -> None:
    house = House()
    house.delay_s = 1.5
    calls(house, 1, run_s=3)
    (asked,) = house.told(AskRoute)
    house.tell(ADVISER, RouteAdvised(asked.call_id, Decision(agent="echo")))
    assert house.agents() == ["menu"]


def test_a_trunk_that_became_full_meanwhile_takes_no_more() -> None:
    house = House(trunks=(Trunk("carrier", allow=("192.0.2.0/24",), max_calls=1),))
    phones = calls(house, 2, run_s=0.01)
    house.network.run(1)
    assert [phone.statuses()[-1] for phone in phones] == [200, 503]
