"""What a stolen token cannot do, through the whole front in simulated time: each rule, and that a day's cap is never exceeded."""

import logging
import pathlib

import pytest

from control_plane.errors import ConfigurationError
from control_plane.messages import Done, Failed, GetStatus, HangUp, Message, Originate, Status, decode, encode
from control_plane.tenant_config import Tenant
from control_plane.trunk_config import Trunk, check_trunks
from sip_front import toll_guard
from sip_front.front import Front
from sip_front.message import Request
from sip_front.spend_file import SpendFile
from sip_front.toll_guard import Spent
from tests.sip_front.simulation import Machine, Network, Phone

OPERATOR, CARRIER = b"operator", "192.0.2.50"
PRICES = {"+49": 0.10, "+4917": 0.50, "+": 5.0}


class Carrier(Phone):
    """Answers every call at once."""

    is_answering = True

    def receive(self, octets, source) -> None:  # type: ignore[no-untyped-def]
        super().receive(octets, source)
        request = self.got[-1]
        answered = ("INVITE", "BYE", "CANCEL") if self.is_answering else ("BYE", "CANCEL")
        if isinstance(request, Request) and request.method in answered:
            self.network.at(self.network.now_ns, lambda: self.answer(request))

    def answer(self, request: Request) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items() if name in ("Via", "From", "Call-ID", "CSeq"))
        to = request.headers.get("To") or ""
        body = self.sdp() if request.method == "INVITE" else ""
        kind = "Content-Type: application/sdp\r\n" if body else ""
        tag = "" if "tag=" in to else ";tag=callee"
        contact = f"Contact: <sip:me@{self.host}:5060>\r\n"
        self.send(f"SIP/2.0 200 OK\r\n{head}To: {to}{tag}\r\n{contact}{kind}Content-Length: {len(body)}\r\n\r\n{body}")


class House:
    def __init__(self, tenants: tuple[Tenant, ...] = (), **rules: object) -> None:
        settings = {"gateways": (CARRIER,), "allow_numbers": ("+*",), "ping_seconds": 0, **rules}
        self.trunk = Trunk("carrier", **settings)  # type: ignore[arg-type]
        self.network = Network()
        self.machine = Machine(self.network, more={"trunks": (self.trunk,), "tenants": tenants})
        self.carrier = Carrier(self.network, CARRIER)
        self.made = 0

    @property
    def front(self) -> Front:
        return self.machine.front

    def ask(self, question: Message) -> Message:
        self.machine.tell(OPERATOR, question)
        return decode(encode(self.machine.told(Message, OPERATOR)[-1]))

    def call(self, number: str = "+4930", tenant: str = "") -> str:
        """Why not, or nothing."""
        self.made += 1
        answer = self.ask(Originate(f"out-{self.made}", number, "echo", trunk="carrier", tenant=tenant))
        assert isinstance(answer, Done | Failed)
        self.network.run(0.1)
        return answer.why if isinstance(answer, Failed) else ""

    def hang_up(self, number: int) -> None:
        self.ask(HangUp(f"out-{number}"))
        self.network.run()

    @property
    def spent(self) -> float:
        return self.front.toll_guard.spent.by.get("trunk carrier", 0.0)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A day that one can turn."""
    now = [1_763_700_000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    return now


def test_numbers_that_are_denied_go_before_those_allowed() -> None:
    house = House(deny_numbers=("+49900*",))
    assert house.call("+499001") == "403: trunk carrier may not call +499001: deny_numbers has +49900*"
    assert house.call("0049900 1").startswith("403: trunk carrier may not call +499001") and house.call("+4930") == ""


def test_calls_a_minute() -> None:
    house = House(max_calls_per_minute=3)
    assert [house.call() for _ in range(3)] == [""] * 3
    why = house.call()
    assert why == "503: trunk carrier has made 3 calls within a minute, its max_calls_per_minute; raise it if needed"
    house.network.run(60)
    assert house.call() == ""


def test_calls_to_one_number() -> None:
    house = House(max_calls_per_number_per_hour=2)
    assert [house.call("+4930"), house.call("004930"), house.call("+4931")] == ["", "", ""]
    assert house.call("+4930").startswith("403: trunk carrier has called +4930 2 times within an hour, its max_calls_per_number_per_hour")
    house.network.run(3600)
    assert house.call("+4930") == ""


def test_numbers_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toll_guard, "MAX_NUMBERS", 5)
    house = House(max_calls_per_number_per_hour=1)
    for number in range(10):
        assert house.call(f"+49{number}") == ""
    assert len(house.front.toll_guard.trunks["carrier"].numbers) == 5 and house.call("+499") != ""


def test_minutes_are_counted_by_the_longest_prefix() -> None:
    house = House(prices=PRICES, max_spend_per_day=100.0)
    assert [house.call(number) for number in ("+4930", "+49171", "+1900")] == ["", "", ""]
    assert house.spent == pytest.approx(5.60)
    house.network.run(121)
    assert house.spent == pytest.approx(3 * 5.60), "the third minute has begun"
    for number in (1, 2, 3):
        house.hang_up(number)
    house.network.run(300)
    assert house.spent == pytest.approx(3 * 5.60)


def test_a_call_that_is_not_answered_costs_nothing() -> None:
    house = House(prices=PRICES, max_spend_per_day=100.0)
    house.carrier.is_answering = False
    assert house.call("+1900") == "" and house.spent == pytest.approx(5.0)
    house.network.run(125)
    assert house.spent == 0.0 and not house.front.toll_guard.meters


def test_calls_at_the_same_time_cannot_exceed_the_cap_together() -> None:
    house = House(prices={"+49": 1.0}, max_spend_per_day=3.0)
    assert [house.call() for _ in range(3)] == ["", "", ""]
    why = house.call()
    assert why.startswith("403: trunk carrier has spent 3.00 of 3 today, its max_spend_per_day, and a minute to +4930 costs 1;")


def test_a_call_whose_next_minute_would_exceed_it_is_ended_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    house = House(prices={"+49": 1.0}, max_spend_per_day=5.0)
    assert [house.call(), house.call()] == ["", ""]
    with caplog.at_level(logging.WARNING):
        house.network.run(150)
    assert house.spent == 5.0 and len(house.front.calls) == 1, "two minutes of each, and a third one of one"
    assert "carrier has spent its max_spend_per_day of 5, and another minute costs 1" in house.machine.last_cause
    assert caplog.text.count("of 5 today, its max_spend_per_day") == 1
    house.network.run(60)
    assert not house.front.calls and house.spent == 5.0


def test_a_number_without_a_price_is_refused_where_there_is_a_cap() -> None:
    house = House(prices={"+49": 1.0}, max_spend_per_day=5.0)
    why = "403: trunk carrier has no price for +1900, and trunk carrier has a max_spend_per_day: add its prefix"
    assert house.call("+1900").startswith(why)
    assert House(prices={"+49": 1.0}).call("+1900") == ""


def test_a_new_day_begins_with_nothing_spent(clock: list[float]) -> None:
    house = House(prices={"+49": 1.0}, max_spend_per_day=2.0)
    assert [house.call(), house.call(), bool(house.call())] == ["", "", True]
    clock[0] += 86_400
    assert house.call() == ""


def test_a_tenants_cap_counts_over_its_calls_only() -> None:
    house = House(tenants=(Tenant("acme", max_spend_per_day=2.0), Tenant("globex", max_calls_per_minute=1)), prices={"+49": 1.0})
    assert [house.call(tenant="acme"), house.call(tenant="acme"), house.call()] == ["", "", ""]
    assert house.call(tenant="acme").startswith("403: tenant acme has spent 2.00 of 2 today")
    assert house.call(tenant="globex") == ""
    assert house.call(tenant="globex").startswith("503: tenant globex has made 1 calls within a minute")


def test_another_front_goes_on_counting(tmp_path: pathlib.Path) -> None:
    house = House(prices={"+49": 1.0}, max_spend_per_day=4.0)
    assert house.call() == ""
    file = SpendFile(tmp_path / "spent.json")
    changed = house.front.toll_guard.take_changed()
    assert changed is not None
    file.write(changed)
    house.machine.kill_front()
    house.machine.start_front()
    house.front.toll_guard.restore(SpendFile(tmp_path / "spent.json").read())
    assert house.spent == 1.0
    house.network.run(125)
    assert house.spent == 3.0, "the call that went on costs as before"
    assert house.call() == "" and house.call().startswith("403: trunk carrier has spent 4.00 of 4 today")


def test_a_far_end_cannot_send_us_to_a_number_of_another_price() -> None:
    house = House(prices={"+49": 1.0}, max_spend_per_day=4.0)
    house.carrier.is_answering = False
    house.call()
    (invite,) = house.carrier.requests("INVITE")
    house.carrier.respond(invite, 302, "Moved", headers=f"Contact: <sip:+49900@{CARRIER}>\r\n")
    assert len(house.carrier.requests("INVITE")) == 1 and not house.front.calls


def test_what_was_spent_is_shown() -> None:
    house = House(prices={"+49": 1.25}, max_spend_per_day=4.0)
    house.call()
    status = house.ask(GetStatus())
    assert isinstance(status, Status) and (status.trunks[0].spent_today, status.trunks[0].max_spend_per_day) == (1.25, 4.0)


def test_the_file_survives_what_it_may(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    file = SpendFile(tmp_path / "spent.json")
    assert file.read() == Spent()
    file.write(Spent("2026-11-21", {"trunk carrier": 1.5}))
    assert file.read() == Spent("2026-11-21", {"trunk carrier": 1.5}) and (tmp_path / "spent.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "spent.json").write_text("{")
    assert file.read() == Spent() and "what was spent today counts from 0" in caplog.text
    away = SpendFile(tmp_path / "nowhere" / "spent.json")
    for _ in range(3):
        away.write(Spent())
    assert caplog.text.count("cannot be written") == 1


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"prices": {"abc": 1.0}}, '.prices: "abc" = 1.0 is not a beginning such as "+49"'),
        ({"prices": {"+49": -1.0}}, '.prices: "+49" = -1.0'),
        ({"max_spend_per_day": 5.0}, ".max_spend_per_day: it needs prices"),
        ({"max_calls_per_minute": -1}, ".max_calls_per_minute: -1 is not from 0"),
        ({"max_spend_per_day": float("nan"), "prices": {"+": 1.0}}, ".max_spend_per_day: nan is not from 0"),
    ],
)
def test_rules_that_are_none(rules: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check_trunks((Trunk("carrier", gateways=("192.0.2.1",), **rules),), ())  # type: ignore[arg-type]
    assert why in str(refused.value)
