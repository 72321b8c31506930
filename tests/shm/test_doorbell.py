"""Nobody is rung who is awake, and no sleeper is forgotten."""

import os
import select
import signal
import time

import numpy as np
import pytest

from shm import doorbell, layout, ring, segment


def make_bells() -> np.ndarray:
    return np.zeros((layout.MAX_BRIDGES, layout.BELL_WORDS), np.int64)


def test_who_is_awake_is_not_rung() -> None:
    assert not doorbell.must_ring(make_bells(), 3)


def test_a_sleeper_is_rung_once() -> None:
    bells = make_bells()
    doorbell.fall_asleep(bells, 3)
    assert [doorbell.must_ring(bells, b) for b in (2, 3, 3)] == [False, True, False]
    assert not bells.any()


def test_who_woke_up_by_itself_is_not_rung() -> None:
    bells = make_bells()
    doorbell.fall_asleep(bells, 3)
    doorbell.wake_up(bells, 3)
    assert not doorbell.must_ring(bells, 3)


def test_answering_takes_all_rings_and_none_is_fine() -> None:
    bell = doorbell.make()
    doorbell.answer(bell)
    os.eventfd_write(bell, 3)
    assert select.select([bell], [], [], 0)[0] == [bell]
    doorbell.answer(bell)
    assert select.select([bell], [], [], 0)[0] == []
    assert not os.get_inheritable(bell)
    os.close(bell)


@pytest.mark.compiled
def test_no_frame_waits_for_a_bell_that_never_rings() -> None:
    """Two processes, thousands of times: one publishes and rings, the other sleeps unless it finds something.

    The sleeper answers each frame and gives up after two seconds without a bell: then a wake-up was lost.
    """
    rounds, lost_a_wake_up = 3_000, 9
    rings = layout.rings_format(segment.map_fd(segment.make("test", layout.rings_bytes(1))), 1)
    ring.open_row(rings, 0, 1, 8_000, 0)
    bell = doorbell.make()
    words, bells = rings.words, rings.bells
    doorbell.fall_asleep(bells, 0), doorbell.must_ring(bells, 0), doorbell.wake_up(bells, 0)  # compiled before the fork
    ring.load_word(words, 0, 0), ring.store_word(words, 0, layout.TO_AI_READ, 0)
    child = os.fork()
    if child == 0:
        poll, seen = select.poll(), 0
        poll.register(bell, select.POLLIN)
        while seen < rounds:
            doorbell.fall_asleep(bells, 0)
            if ring.load_word(words, 0, layout.TO_AI_WRITE) == seen and not poll.poll(2000):
                os._exit(lost_a_wake_up)
            doorbell.wake_up(bells, 0)
            doorbell.answer(bell)
            seen = ring.load_word(words, 0, layout.TO_AI_WRITE)
            ring.store_word(words, 0, layout.TO_AI_READ, seen)
        os._exit(0)
    deadline, status = time.monotonic() + 30, 0
    try:
        for number in range(1, rounds + 1):
            ring.store_word(words, 0, layout.TO_AI_WRITE, number)
            if doorbell.must_ring(bells, 0):
                os.eventfd_write(bell, 1)
            while ring.load_word(words, 0, layout.TO_AI_READ) < number:
                assert (time.monotonic() < deadline and os.waitpid(child, os.WNOHANG) == (0, 0)) or number == rounds
                if number == rounds:
                    break
        ended, status = os.waitpid(child, 0)
        child = 0
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
        os.close(bell)
    assert os.waitstatus_to_exitcode(status) == 0
