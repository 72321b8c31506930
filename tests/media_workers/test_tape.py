"""The tape: what went out, on the grid that it went out on."""

import numpy as np
import pytest

from media_workers import playout, tape
from media_workers.comfort_noise import COMFORT_NOISE_AMPLITUDE
from media_workers.playout import MAX_CATCH_UP_NS
from shm.layout import REEL, REEL_AT, REEL_NS, TAPE, TAPE_FRAMES, TAPE_OFF, TAPE_PAUSED, TAPE_RUNNING, TAPE_WRITE
from tests.media_workers.call_under_test import MS, SECOND, CallUnderTest, loud

FRAME, SIZE = 160, 160 * TAPE_FRAMES


def word(call: CallUnderTest, column: int) -> int:
    return int(call.worker.rings.words[call.row, column])


def sample(call: CallUnderTest, start: int, count: int = FRAME) -> np.ndarray:
    return call.worker.rings.tape[call.row, np.arange(start, start + count) % SIZE]


def test_nothing_is_put_on_it_before_it_runs() -> None:
    call = CallUnderTest()
    call.say(loud(FRAME))
    call.next_packet()
    assert not call.worker.rings.tape.any() and word(call, TAPE_WRITE) == 0 and word(call, REEL) == 0


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 60])
def test_it_holds_what_was_said_and_comfort_noise_where_nothing_was(ptime_ms: int) -> None:
    call = CallUnderTest(ptime_ms)
    tape.turn(call.worker, call.row, TAPE_RUNNING)
    assert (word(call, REEL), word(call, REEL_AT), word(call, REEL_NS)) == (1, 0, int(call.call["tx"]["next_tx_ns"]))
    call.say(loud(6 * FRAME))
    for _ in range(240 // ptime_ms):
        call.next_packet()
    assert word(call, TAPE_WRITE) == 12 * FRAME
    assert (sample(call, 0, 6 * FRAME) == loud(1)[0]).all()
    rest = sample(call, 6 * FRAME, 6 * FRAME)
    assert rest.any() and abs(rest).max() <= COMFORT_NOISE_AMPLITUDE


def test_it_goes_round() -> None:
    call = CallUnderTest()
    tape.turn(call.worker, call.row, TAPE_RUNNING)
    for frame in range(TAPE_FRAMES + 3):
        call.say(loud(FRAME, 1_000 if frame < TAPE_FRAMES else 9_000))
        call.next_packet()
    assert (sample(call, SIZE, 3 * FRAME) == loud(1, 9_000)[0]).all() and (sample(call, 3 * FRAME, 10) == loud(1, 1_000)[0]).all()


def test_it_is_silent_while_nothing_is_sent() -> None:
    call = CallUnderTest()
    call.worker.rings.tape[:] = 77
    tape.turn(call.worker, call.row, TAPE_RUNNING)
    for _ in range(3):
        call.now_ns = int(call.call["tx"]["next_tx_ns"])
        playout.stay_silent(call.worker, call.row, call.now_ns)
    assert word(call, TAPE_WRITE) == 3 * FRAME and not sample(call, 0, 3 * FRAME).any() and sample(call, 3 * FRAME).all()


@pytest.mark.parametrize("late_ns", [MAX_CATCH_UP_NS + 40 * MS, SECOND, 60 * SECOND])
def test_a_worker_that_comes_back_late_leaves_silence_of_that_length(late_ns: int) -> None:
    call = CallUnderTest()
    tape.turn(call.worker, call.row, TAPE_RUNNING)
    began_ns = int(call.call["tx"]["next_tx_ns"])
    call.say(loud(FRAME))
    call.next_packet()
    call.now_ns += late_ns
    call.say(loud(FRAME, 3_000))
    call.tick()
    end = word(call, TAPE_WRITE)
    assert end == (int(call.call["tx"]["next_tx_ns"]) - began_ns) * 8_000 // SECOND
    oldest = max(FRAME, end - SIZE)
    missed = sample(call, oldest, end - oldest - 2 * FRAME)
    assert not missed.any() and (sample(call, end - 2 * FRAME, 2 * FRAME) == loud(1, 3_000)[0]).sum() == FRAME


def test_a_packet_that_is_built_again_stands_where_it_stood() -> None:
    """A worker that dies between building and counting: its successor builds the same packet time again."""
    call = CallUnderTest()
    tape.turn(call.worker, call.row, TAPE_RUNNING)
    call.next_packet()
    call.now_ns = int(call.call["tx"]["next_tx_ns"])
    for _ in range(2):
        playout.build(call.worker, call.row, call.now_ns)
    assert word(call, TAPE_WRITE) == 2 * FRAME


def test_a_pause_is_nowhere_and_the_next_reel_says_where_it_begins() -> None:
    call = CallUnderTest()
    call.rows.record("call", "on")
    call.next_packet()
    call.rows.record("call", "pause")
    assert word(call, TAPE) == TAPE_PAUSED
    call.say(loud(5 * FRAME))
    for _ in range(5):
        call.next_packet()
    assert word(call, TAPE_WRITE) == FRAME and not (sample(call, 0, SIZE) == loud(1)[0]).any()
    for _ in range(2):  # said twice
        call.rows.record("call", "on")
    due_ns = int(call.call["tx"]["next_tx_ns"])
    assert (word(call, REEL), word(call, REEL_AT), word(call, REEL_NS)) == (2, FRAME, due_ns)
    call.next_packet()
    assert word(call, TAPE_WRITE) == 2 * FRAME
    call.rows.close("call", call.now_ns)
    assert word(call, TAPE) == TAPE_OFF and word(call, TAPE_WRITE) == 2 * FRAME
    assert not call.rows.record("call", "on")


def test_the_next_call_of_the_row_has_a_tape_of_its_own() -> None:
    call = CallUnderTest()
    call.rows.record("call", "on")
    call.next_packet()
    call.rows.close("call", call.now_ns)
    other = CallUnderTest(rows=call.rows, call_id="other")
    assert [int(n) for n in other.worker.rings.words[other.row, TAPE : REEL_NS + 1]] == [0] * 5
    assert int(other.call["tx"]["tape"]) == TAPE_OFF
