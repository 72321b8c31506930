from sip_front.limit import Limit

SECOND = 1_000_000_000


def test_as_many_at_a_time_as_it_says() -> None:
    limit = Limit("tenant acme", 2, 0)
    limit.calls |= {"a", "b"}
    assert limit.why_full() == "503: tenant acme has 2 calls up, its max_calls; raise it if more are meant"
    limit.calls.discard("a")
    assert limit.why_full() == ""


def test_as_many_a_second_and_no_more_saved_up() -> None:
    limit = Limit("trunk carrier", 0, 2)
    assert [bool(limit.why_too_fast(0)) for _ in range(3)] == [False, False, True]
    assert [bool(limit.why_too_fast(100 * SECOND)) for _ in range(3)] == [False, False, True]
    assert not limit.why_too_fast(100 * SECOND + SECOND // 2)


def test_none_is_none() -> None:
    limit = Limit("trunk carrier", 0, 0)
    limit.calls |= {str(i) for i in range(1000)}
    assert not limit.why_full() and not any(limit.why_too_fast(0) for _ in range(1000))
