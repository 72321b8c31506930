import pytest

from sip_front.admission import MAX_KNOWN_HOSTS, Admission

SECOND = 1_000_000_000


def test_calls_above_the_rate_get_503_and_the_rate_is_kept() -> None:
    admission = Admission(5)
    admission.filled_at_ns = 0
    burst = [admission.refuse_call(0) for _ in range(8)]
    assert [r is None for r in burst] == [True] * 5 + [False] * 3
    refusal = burst[-1]
    assert refusal and refusal.status == 503 and refusal.headers == (("Retry-After", "1"),) and "sip.max_calls_per_second" in refusal.text
    accepted = sum(admission.refuse_call(t * SECOND // 100) is None for t in range(1, 1001))
    assert accepted == pytest.approx(50, abs=1), "ten seconds at five a second"


def test_draining_refuses_every_call() -> None:
    admission = Admission(5)
    admission.is_draining, admission.drain_seconds = True, 12
    refusal = admission.refuse_call(SECOND)
    assert refusal and refusal.headers == (("Retry-After", "12"),)


def test_a_flood_neither_fills_the_log_nor_the_memory() -> None:
    admission = Admission(5)
    assert [admission.is_worth_a_line("198.51.100.7", "403", t * SECOND) for t in (1, 2, 10, 12)] == [True, False, False, True]
    for i in range(3 * MAX_KNOWN_HOSTS):
        admission.is_worth_a_line(str(i), "403", (12 + i) * SECOND)
    assert len(admission.logged_ns) <= MAX_KNOWN_HOSTS


def test_forged_sources_get_twenty_lines_a_second_and_the_rest_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    admission = Admission(5)
    lines = 0
    for i in range(50_000):  # ten seconds of 5,000 sources
        now_ns = SECOND + i * SECOND // 5_000
        lines += admission.is_worth_a_line(f"10.0.{i % 5_000 // 250}.{i % 250}", "403", now_ns)
        admission.log_the_rest(now_ns)
    assert 200 <= lines <= 221, "twenty a second, and what the bucket held"
    admission.log_the_rest(12 * SECOND)
    admission.log_the_rest(20 * SECOND)
    rest = [record.message for record in caplog.records]
    assert 9 <= len(rest) <= 11 and all(text.endswith(" more refused like these") for text in rest)
    assert sum(int(text.split()[0]) for text in rest) == 50_000 - lines
