"""bellframe campaign against a front that answers as told: refusals, a server that is away, what is lost, and going on."""

import csv
import pathlib
import threading
import time

import pytest

from control_plane.command import main
from control_plane.messages import CallChanged, CallFacts, Calls, Done, Failed, GetCall, Message, Originate, Watch
from tests.control_plane.test_client import Exchange


class Front:
    """Calls of +490... are busy at once, +491... are answered and end, +492... are refused, +493... only GetCall tells of."""

    def __init__(self) -> None:
        self.orders: list[Originate] = []
        self.not_now = 0
        self.forgets = False

    def facts(self, order: Originate) -> CallFacts:
        outcome, status = ("busy", 486) if order.to.startswith("+490") else ("answered", 200)
        return CallFacts(
            order.call_id, "ended", "outbound", "", order.to, order.agent, 1000.0, 3.0, outcome=outcome, status=status, ended_at=1003.0,  # type: ignore[arg-type]
            answered_at=1001.0 if status == 200 else 0.0,
        )  # fmt: skip

    def __call__(self, message: Message) -> list[Message]:
        match message:
            case Originate():
                if self.not_now:
                    self.not_now -= 1
                    return [Failed("503: trunk carrier has 1 calls up", 503)]
                if message.to.startswith("+492"):
                    return [Failed("403: trunk carrier may not call +492", 422)]
                self.orders.append(message)
                return [Done(message.call_id)]
            case Watch():
                return [Done(), *(CallChanged(self.facts(order)) for order in self.orders if not order.to.startswith("+493"))]
            case GetCall(call_id=call_id):
                found = [order for order in self.orders if order.call_id == call_id]
                return [Calls((self.facts(found[0]),)) if found and not self.forgets else Failed("there is no such call", 404)]
        return []


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "numbers.csv"
    path.write_text("number,name\n+4901,Ada\n+4911,Bell\n+4921,Cay\n+4931,Dee\n+4911,again\n")
    return path


def campaign(path: pathlib.Path, *more: str) -> int:
    words = ["--trunk", "carrier", "--agent", "echo", "--per-second", "200", "--runtime-dir", str(path.parent)]
    return main(["campaign", str(path), *words, *more])


def outcomes(path: pathlib.Path) -> dict[str, str]:
    rows = list(csv.DictReader(path.with_name("numbers.csv.outcomes").open(newline="")))
    assert len({row["number"] for row in rows}) == len(rows)
    return {row["number"]: row["outcome"] for row in rows}


EXPECTED = {"+4901": "busy", "+4911": "answered", "+4921": "failed", "+4931": "answered"}


def test_a_list_is_called_and_each_outcome_written(path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    front = Front()
    exchange = Exchange(path.parent, front)
    try:
        assert campaign(path, "--caller", "+4930") == 0
        assert outcomes(path) == EXPECTED
        first = front.orders[0]
        assert (first.to, first.arguments, first.trunk, first.caller) == ("+4901", {"name": "Ada"}, "carrier", "+4930")
        assert "+4921  failed  403: trunk carrier may not call +492" in (output := capsys.readouterr().out) and "2 answered" in output
        assert campaign(path) == 0 and len(front.orders) == 3, "again, there is nothing to do"
    finally:
        exchange.close()


def test_not_now_is_tried_again(path: pathlib.Path) -> None:
    front = Front()
    front.not_now = 1
    exchange = Exchange(path.parent, front)
    try:
        assert campaign(path) == 0 and outcomes(path) == EXPECTED and len(front.orders) == 3
    finally:
        exchange.close()


def test_one_that_nobody_knows_of_any_more_is_not_dialled_again(path: pathlib.Path) -> None:
    front = Front()
    front.forgets = True
    exchange = Exchange(path.parent, front)
    try:
        assert campaign(path) == 0
        assert outcomes(path)["+4931"] == "unknown" and [order.to for order in front.orders].count("+4931") == 1
    finally:
        exchange.close()


def test_a_server_that_is_away_is_waited_for(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("control_plane.commands.campaign.ASK_LIMIT_MS", 50)
    front, started = Front(), list[Exchange]()

    def later() -> None:
        time.sleep(0.4)
        started.append(Exchange(path.parent, front))

    thread = threading.Thread(target=later)
    thread.start()
    try:
        assert campaign(path, "--json") == 0 and outcomes(path) == EXPECTED
    finally:
        thread.join()
        started[0].close()
    assert capsys.readouterr().err.count("no server answers in") == 1


@pytest.mark.parametrize(
    ("more", "why"), [(("--per-second", "0"), "--per-second: above 0"), (("--concurrent", "0"), "--concurrent: from 1")]
)
def test_what_is_impossible_is_refused(
    path: pathlib.Path, more: tuple[str, str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert campaign(path, *more) == 1 and why in capsys.readouterr().err
