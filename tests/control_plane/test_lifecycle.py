"""The life of a supervised process, row by row and as a whole. No process is started."""

import pytest

from control_plane.errors import Misuse
from control_plane.lifecycle import (
    FIRST_REST_NS,
    LONGEST_REST_NS,
    SECOND_NS,
    STEADY_NS,
    TRANSITIONS,
    Cause,
    Lifecycle,
    Order,
    State,
)


def ready(now_ns: int = 0) -> Lifecycle:
    life = Lifecycle(start_limit_ns=60 * SECOND_NS, stop_limit_ns=5 * SECOND_NS, watchdog_ns=2 * SECOND_NS)
    life.step(Cause.START, now_ns)
    life.step(Cause.SAID_READY, now_ns)
    assert life.orders == [Order.SPAWN]
    life.orders.clear()
    return life


def test_a_process_that_feeds_its_watchdog_lives_and_one_that_does_not_is_killed() -> None:
    life = ready()
    assert life.deadline_ns == 2 * SECOND_NS
    life.step(Cause.FED_WATCHDOG, SECOND_NS)
    assert life.deadline_ns == 3 * SECOND_NS and life.orders == []
    life.step(Cause.DEADLINE, 3 * SECOND_NS)
    assert life.orders == [Order.KILL] and life.deadline_ns is None


def test_one_that_never_gets_ready_is_killed_and_tried_again() -> None:
    life = Lifecycle(60 * SECOND_NS, 5 * SECOND_NS, 0)
    life.step(Cause.START, 0)
    assert life.deadline_ns == 60 * SECOND_NS
    life.step(Cause.DEADLINE, 60 * SECOND_NS)
    life.step(Cause.DIED, 61 * SECOND_NS)
    life.step(Cause.DEADLINE, 62 * SECOND_NS)
    assert life.orders == [Order.SPAWN, Order.KILL, Order.SPAWN]


def test_rests_grow_to_a_limit_and_a_steady_life_is_forgiven() -> None:
    life, rests, now_ns = ready(), [], 0
    for _ in range(10):
        life.step(Cause.DIED, now_ns)
        assert life.deadline_ns is not None
        rests.append(life.deadline_ns - now_ns)
        now_ns = life.deadline_ns
        life.step(Cause.DEADLINE, now_ns)
        life.step(Cause.SAID_READY, now_ns)
    assert rests[:3] == [FIRST_REST_NS, 2 * FIRST_REST_NS, 4 * FIRST_REST_NS] and rests[-1] == LONGEST_REST_NS
    now_ns += STEADY_NS
    life.step(Cause.DIED, now_ns)
    assert life.deadline_ns == now_ns + FIRST_REST_NS


def test_stopping_is_asked_for_first_and_then_forced() -> None:
    life = ready()
    life.step(Cause.STOP, 0)
    assert life.orders == [Order.TERMINATE] and life.deadline_ns == 5 * SECOND_NS
    life.step(Cause.FED_WATCHDOG, SECOND_NS)
    assert life.deadline_ns == 5 * SECOND_NS
    life.step(Cause.DEADLINE, 5 * SECOND_NS)
    life.step(Cause.DIED, 5 * SECOND_NS)
    assert life.orders == [Order.TERMINATE, Order.KILL] and life.state is State.ENDED and life.deadline_ns is None


@pytest.mark.parametrize("state", State)
def test_every_state_can_be_stopped(state: State) -> None:
    assert (state, Cause.STOP) in TRANSITIONS


@pytest.mark.parametrize("state", [State.STARTING, State.READY, State.STOPPING])
def test_a_running_process_may_die_get_ready_or_be_late_at_any_time(state: State) -> None:
    assert all((state, cause) in TRANSITIONS for cause in (Cause.DIED, Cause.SAID_READY, Cause.FED_WATCHDOG, Cause.DEADLINE))


def test_what_is_not_in_the_table_is_a_bug() -> None:
    with pytest.raises(Misuse, match="START while READY"):
        ready().step(Cause.START, 0)
