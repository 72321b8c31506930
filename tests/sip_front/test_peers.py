import pytest

from control_plane.messages import Alive
from sip_front.peers import FORGOTTEN_NS, SILENT_NS, Peers

SECOND = 1_000_000_000


def staffed(workers: int = 3, capacity: int = 2) -> Peers:
    peers = Peers()
    for index in range(workers):
        peers.hear(Alive("worker", index, 100 + index, capacity=capacity), f"worker-{index}".encode(), 0)
    return peers


def test_the_worker_with_the_fewest_calls_is_chosen_until_all_are_full() -> None:
    peers = staffed()
    chosen = []
    while (peer := peers.choose("worker", 0)) is not None:
        peer.calls.add(f"call-{len(chosen)}")
        chosen.append(peer.index)
    assert chosen == [0, 1, 2, 0, 1, 2]
    assert peers.why_none("worker", 0).startswith("503: all 6 calls")


def test_a_silent_one_gets_no_calls_and_is_back_when_it_speaks() -> None:
    peers = staffed(2)
    now_ns = SILENT_NS + SECOND
    peers.hear(Alive("worker", 1, 101, capacity=2), b"worker-1", SECOND)
    chosen = peers.choose("worker", now_ns)
    assert chosen is not None and chosen.index == 1
    assert peers.choose("worker", now_ns, but=1) is None
    assert "none of 2 workers has been heard" in peers.why_none("worker", 10 * SECOND)
    peers.hear(Alive("worker", 0, 100, capacity=2), b"worker-0", now_ns)
    assert peers.choose("worker", now_ns, but=1) is not None


def test_where_all_are_silent_calls_wait_for_one_that_is_being_started_again() -> None:
    peers = staffed(2)
    peers.hear(Alive("worker", 1, 101, capacity=2), b"worker-1", SECOND)
    chosen = peers.choose("worker", 10 * SECOND)
    assert chosen is not None and chosen.index == 1, "the other one has been away for too long"
    assert peers.choose("worker", 11 * SECOND) is None


def test_a_bridge_has_no_limit_and_nobody_is_invented() -> None:
    peers = Peers()
    assert peers.choose("bridge", 0) is None and "no bridge has ever reported" in peers.why_none("bridge", 0)
    peers.hear(Alive("bridge", 0, 1), b"bridge-0", 0)
    for i in range(50):
        bridge = peers.choose("bridge", 0)
        assert bridge is not None
        bridge.calls.add(str(i))


def test_another_pid_is_another_process_and_keeps_the_calls() -> None:
    peers = staffed(1)
    worker = peers.get("worker", 0)
    assert worker is not None
    worker.calls.add("a")
    assert not peers.hear(Alive("worker", 0, 100, capacity=2), b"worker-0", 10 * SECOND).is_replaced
    heard = peers.hear(Alive("worker", 0, 999, generation=2, capacity=2), b"worker-0", 11 * SECOND)
    assert heard.is_replaced and not heard.is_new and heard.peer.calls == {"a"}


def test_facts_and_pruning() -> None:
    peers = staffed(2)
    worker = peers.get("worker", 1)
    assert worker is not None
    worker.calls.add("a")
    facts = peers.facts(1_500_000_000)
    assert [(f.role, f.index, f.pid, f.calls, f.capacity, f.silent_ms) for f in facts] == [
        ("worker", 0, 100, 0, 2, 1500),
        ("worker", 1, 101, 1, 2, 1500),
    ]
    peers.prune(FORGOTTEN_NS + 1)
    assert [f.index for f in peers.facts(0)] == [1], "one that has calls is never forgotten"


def loaded(*loads: tuple[float, float], calls: int = 0) -> Peers:
    """Workers that are busy and late by these percentages."""
    peers = Peers(max_busy_percent=90, max_late_percent=5)
    for index, (busy, late) in enumerate(loads):
        alive = Alive("worker", index, 100 + index, calls=calls, capacity=1_000, busy_percent=busy, late_percent=late)
        peers.hear(alive, f"worker-{index}".encode(), 0)
    return peers


@pytest.mark.parametrize(
    ("loads", "expected"),
    [
        (((50, 0), (20, 0)), 1),
        (((4, 0), (1, 0)), 0),  # as good as equal
        (((95, 0), (89, 0)), 1),
        (((10, 6), (80, 4)), 1),
        (((91, 0), (50, 5.1)), None),
    ],
)
def test_the_least_loaded_is_chosen_and_an_overloaded_one_not(loads: tuple[tuple[float, float], ...], expected: int | None) -> None:
    peers = loaded(*loads)
    chosen = peers.choose("worker", 0)
    assert (chosen.index if chosen else None) == expected
    if expected is None:
        assert peers.why_none("worker", 0).startswith("503: overloaded: worker 0 is busy for 91 % of the time and sends 0 % late; give")


def test_calls_given_since_it_last_spoke_count_before_it_says_so() -> None:
    peers, given = loaded((0, 0), (12, 0)), []
    for number in range(400):
        peer = peers.choose("worker", 0)
        assert peer is not None
        peer.calls.add(str(number))
        given.append(peer.index)
    assert given.index(1) == 200, "two hundred calls are ten per cent of a core, and less than five is no difference"


def test_a_limit_of_a_hundred_is_none() -> None:
    peers = loaded((100, 100))
    peers.max_busy_percent = peers.max_late_percent = 100
    assert peers.choose("worker", 0) is not None
