import numpy as np

from ai_bridge.kernels import say_batch, say_frames
from shm import ring
from shm.layout import FROM_AI_SLOTS
from tests.ai_bridge.line import Line, make_rings, tone


def test_frames_are_published_while_they_fit_and_the_mark_is_on_the_last():
    rings = make_rings()
    line = Line(rings, 1)
    slots = FROM_AI_SLOTS
    pcm = tone((slots + 2) * 160)
    at = say_frames(rings, 1, 7, 3, 99, 0, pcm, 0)
    assert at == slots * 160 and not rings.from_ai[1]["mark"].any() and say_frames(rings, 1, 7, 3, 99, 0, pcm, at) == at
    line.tick(2)
    assert say_frames(rings, 1, 7, 3, 99, 0, pcm, at) == pcm.size
    assert rings.from_ai[1]["mark"][:slots].tolist() == [0, 99] + [0] * (slots - 2)
    line.tick(slots)
    assert np.array_equal(line.heard(), pcm)


def test_another_call_in_the_row_gets_nothing():
    rings = make_rings()
    Line(rings, 1, generation=8)
    assert say_frames(rings, 1, 7, 0, 0, 0, tone(320), 0) == 0
    said, was_taken = np.zeros(4, np.int64), np.ones(1, np.bool_)
    assert say_batch(rings, np.array([1]), np.array([7]), np.array([0]), said, np.ones((1, 160), np.int16), was_taken) == 0
    assert not was_taken[0] and not said.any() and ring.room(rings, 1) == FROM_AI_SLOTS


def test_a_batch_reaches_each_call_in_its_own_turn_and_at_its_own_rate():
    rings = make_rings()
    lines = [Line(rings, 0), Line(rings, 2, rate_hz=16_000), Line(rings, 3, rate_hz=48_000)]
    ring.set_turn(rings.words, 2, 5)
    pcm = np.stack((tone(320, 1), tone(320, 1_000), tone(320, 2_000)))
    said, was_taken = np.zeros(4, np.int64), np.zeros(3, np.bool_)
    rows, generations = np.array([3, 2, 0]), np.array([7, 7, 7])
    assert say_batch(rings, rows, generations, np.array([2, 1, 0]), said, pcm, was_taken) == 2
    assert was_taken.tolist() == [True, True, False], "a row of samples too short for the call's frame is refused"
    for line in lines:
        line.tick()
    assert np.array_equal(lines[0].heard(), tone(160, 1)) and np.array_equal(lines[1].heard(), tone(320, 1_000))
    assert lines[1].turns == [5] and said.tolist() == [160, 0, 320, 0]
