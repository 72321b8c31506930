"""When a worker counts as hung."""

import os
import signal

import pytest

from media_workers.pulse import MS, Pulse, Seen, look

SPAWNED, BEAT = 1_000 * MS, 5_000 * MS


def pulse() -> Pulse:
    return Pulse(7, SPAWNED, 200 * MS)


@pytest.mark.parametrize("state", ["R", "S", "D", "T"])
def test_nothing_is_asked_while_it_goes_round(state: str) -> None:
    asked: list[int] = []
    assert pulse().why_hung(BEAT, BEAT + 59 * MS, lambda pid: asked.append(pid) or Seen(state, 0)) == "" and asked == []


def test_one_that_was_stopped_is_seen_within_100_ms() -> None:
    assert pulse().why_hung(BEAT, BEAT + 61 * MS, lambda _: Seen("T", 0)) == "has not finished a cycle for 61 ms: somebody has stopped it"


def test_one_that_gets_no_core_has_the_whole_time() -> None:
    one = pulse()
    for silent_ms in range(60, 201, 20):
        assert one.why_hung(BEAT, BEAT + silent_ms * MS, lambda _: Seen("R", 10 * MS)) == ""
    assert one.why_hung(BEAT, BEAT + 201 * MS, lambda _: Seen("R", 10 * MS)) == "has not finished a cycle for 201 ms"


def test_one_that_has_a_core_and_does_not_come_round_is_seen_sooner() -> None:
    one = pulse()
    cpu = {60: 10, 80: 30, 100: 50, 120: 70, 140: 90, 160: 110, 180: 130}
    why = [one.why_hung(BEAT, BEAT + at * MS, lambda _, used=used: Seen("R", used * MS)) for at, used in cpu.items()]  # type: ignore[misc]
    assert why == [""] * 6 + ["has not finished a cycle for 180 ms, though it had a core for 120 ms of them"]
    assert one.why_hung(BEAT + 170 * MS, BEAT + 240 * MS, lambda _: Seen("R", 190 * MS)) == "", "another heartbeat, counted anew"


def test_the_first_cycle_may_take_longer() -> None:
    one = pulse()
    assert one.why_hung(SPAWNED, SPAWNED + 2_200 * MS, lambda _: Seen("R", 2_000 * MS)) == ""
    assert one.why_hung(SPAWNED, SPAWNED + 2_201 * MS, lambda _: Seen("R", 2_000 * MS)) != ""
    assert "stopped" in pulse().why_hung(SPAWNED, SPAWNED + 100 * MS, lambda _: Seen("T", 0))


def test_what_the_kernel_says() -> None:
    pid = os.fork()
    if pid == 0:
        while True:
            signal.pause()
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    assert look(pid).state == "T"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert look(pid) == Seen("", 0) and look(os.getpid()).cpu_ns > 0
