"""The pace of a campaign, and that each number is called once, in time that is an argument."""

import msgspec
import pytest

from control_plane.campaign import REST_S, Campaign, Entry
from control_plane.messages import CallFacts

FACTS = CallFacts(
    "", "ended", "outbound", "", "+491", "echo", 1000.0, 12.0, outcome="answered", status=200, answered_at=1002.0, ended_at=1012.0
)  # fmt: skip


def entries(count: int) -> list[Entry]:
    return [Entry(row, f"+49{row}", {}) for row in range(1, count + 1)]


def campaign(count: int = 10, per_second: float = 2.0, concurrent: int = 100) -> Campaign:
    made = Campaign("name", per_second, concurrent)
    made.add(entries(count))
    return made


def dialled_until(made: Campaign, until: float, step: float = 0.01, start: float = 0.0) -> list[float]:
    """When calls were dialled."""
    times, now = list[float](), start
    while now <= until:
        while made.take_due(now):
            times.append(now)
        now = round(now + step, 6)
    return times


def test_they_are_dialled_at_the_rate() -> None:
    assert dialled_until(campaign(), 3.0) == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0], abs=0.02)


def test_a_pause_is_not_made_up_for() -> None:
    made = campaign()
    dialled_until(made, 0.5)
    assert len(dialled_until(made, 10.01, start=10.0)) <= 2


def test_a_rate_above_that_of_the_loop_is_kept() -> None:
    assert len(dialled_until(campaign(1000, per_second=200.0, concurrent=1000), 1.0, step=0.05)) == pytest.approx(200, abs=12)


def test_as_many_at_a_time_as_it_says() -> None:
    made = campaign(per_second=100.0, concurrent=3)
    assert len(dialled_until(made, 1.0)) == 3 and made.take_due(2.0) is None
    call_id = next(iter(made.active))
    settled = made.settle(msgspec.structs.replace(FACTS, call_id=call_id))
    assert settled is not None and (settled.number, settled.outcome, settled.talked_s) == ("+491", "answered", 10.0)
    assert made.take_due(2.0) is not None and made.take_due(2.0) is None


def test_only_an_end_of_a_call_of_ours_settles_one() -> None:
    made = campaign()
    made.take_due(0.0)
    call_id = next(iter(made.active))
    assert made.settle(msgspec.structs.replace(FACTS, call_id=call_id, state="up")) is None
    assert made.settle(msgspec.structs.replace(FACTS, call_id="another")) is None
    ended = msgspec.structs.replace(FACTS, call_id=call_id)
    assert made.settle(ended) is not None and made.settle(ended) is None


def test_a_number_that_stands_twice_is_called_once() -> None:
    made = Campaign("name", 100.0, 10)
    made.add([Entry(1, "+491", {}), Entry(2, "+491", {}), Entry(3, "+492", {})])
    assert len(dialled_until(made, 1.0)) == 2 and made.duplicates == 1


def test_not_now_puts_it_back_and_rests() -> None:
    made = campaign(per_second=100.0)
    entry = made.take_due(0.0)
    assert entry is not None
    made.put_back(entry, 0.0)
    assert made.take_due(REST_S / 2) is None and made.take_due(REST_S) == entry


def test_stopped_it_dials_nobody_and_is_over_with_the_calls_that_are_up() -> None:
    made = campaign()
    made.take_due(0.0)
    made.is_stopped = True
    assert made.take_due(10.0) is None and not made.is_over
    made.settle(msgspec.structs.replace(FACTS, call_id=next(iter(made.active))))
    assert made.is_over and len(made.waiting) == 9


def test_the_next_run_goes_on_where_it_was() -> None:
    made = Campaign("name", 100.0, 10)
    made.add(entries(5), dialled={1, 2, 3}, settled={1, 3})
    assert list(made.active.values()) == [entries(5)[1]] and made.settled == 2, "dialled, and its end is not known"
    assert list(made.active) == [campaign().call_id(entries(5)[1])], "the same call as before"
    assert [entry.row for entry in made.waiting] == [4, 5]
    unknown = made.fail(entries(5)[1], "unknown", "why", 5.0)
    assert (unknown.outcome, made.settled) == ("unknown", 3)
    other = Campaign("another", 100.0, 10)
    assert other.call_id(entries(5)[1]) != made.call_id(entries(5)[1])
