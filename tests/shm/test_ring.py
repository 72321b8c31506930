"""The two rings of a call against a model that keeps everything (tests/reference/ring.py)."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shm import layout, ring
from shm.jit import IS_COMPILED
from shm.layout import (
    AUDIO,
    FRAME,
    FRAME_SAMPLES,
    FROM_AI_READ,
    FROM_AI_SLOTS,
    GENERATION,
    PLAYED,
    TO_AI_READ,
    TO_AI_SLOTS,
    TO_AI_WRITE,
    TURN,
    Rings,
)
from tests.reference import ring as reference

EXAMPLES, STEPS = (60, 60) if IS_COMPILED else (5, 20)
RATES_HZ = (8_000, 16_000, 48_000)
ROWS = 3
NO_PCM = np.zeros(layout.MAX_FRAME_SAMPLES, np.int16)


def make_rings(rate_hz: int = 8_000, generation: int = 11, row: int = 1) -> Rings:
    rings = layout.rings_format(bytearray(layout.rings_bytes(ROWS)), ROWS)
    ring.open_row(rings, row, generation, rate_hz, 0)
    return rings


def publish(rings: Rings, row: int, number: int, now_ns: int = 1) -> None:
    """A frame full of its number."""
    samples = int(rings.words[row, FRAME_SAMPLES])
    pcm = np.full(samples + 3, number & 0x7FFF, np.int16)
    ring.publish(rings, row, AUDIO, number & 7, -20, pcm, 3, samples, number * samples, number & 0xFFFF, 0, number, now_ns)


def read(rings: Rings, row: int, cursor: int) -> tuple[int, np.void, np.ndarray]:
    frame, pcm = np.zeros(1, FRAME), np.zeros(layout.MAX_FRAME_SAMPLES, np.int16)
    return ring.read_at(rings, row, cursor, frame, pcm), frame[0], pcm


def say(rings: Rings, row: int, generation: int, turn: int, number: int, mark: int = 0) -> bool:
    pcm = np.full(200, number & 0x7FFF, np.int16)
    return bool(ring.try_say(rings, row, generation, turn, mark, pcm, 0, 160))


def said(rings: Rings, row: int, cursor: int) -> reference.Said:
    slot = cursor & (FROM_AI_SLOTS - 1)
    speech, base = rings.from_ai[row, slot], slot * int(rings.words[row, FRAME_SAMPLES])
    pcm = rings.from_ai_pcm[row, base : base + int(speech["samples"])]
    return reference.Said(int(speech["generation"]), int(speech["turn"]), int(speech["mark"]), (int(pcm[0]), int(pcm[-1])))


class AgainstTheModel(RuleBasedStateMachine):
    """A worker, a bridge and two more readers on one row, in any order; the rows beside it stay as they are."""

    @initialize(rate_hz=st.sampled_from(RATES_HZ))
    def open(self, rate_hz: int) -> None:
        self.rings, self.row, self.generation, self.published, self.rate_hz = make_rings(rate_hz), 1, 11, 0, rate_hz
        self.readers = [0, 0]
        self.start_models()

    def start_models(self) -> None:
        to_ai, from_ai = TO_AI_SLOTS, FROM_AI_SLOTS
        self.to_ai, self.from_ai = reference.ToAi(to_ai), reference.FromAi(from_ai, self.generation)
        self.readers, self.lost, self.collected = [0, 0], np.zeros(1, np.int64), 0
        self.turn = 0

    @rule()
    def the_row_is_given_to_another_call(self) -> None:
        self.generation += 1
        ring.open_row(self.rings, self.row, self.generation, self.rate_hz, 0)
        self.start_models()

    @rule(count=st.sampled_from([1, 1, 2, 5, 40, 130, 300]))
    def the_worker_publishes(self, count: int) -> None:
        for _ in range(count):
            self.published += 1
            publish(self.rings, self.row, self.published)
            self.to_ai.publish((self.published,))

    @rule(which=st.integers(0, 1), count=st.integers(1, 8))
    def a_reader_goes_on(self, which: int, count: int) -> None:
        for _ in range(count):
            cursor = self.readers[which]
            following, frame, pcm = read(self.rings, self.row, cursor)
            expected, written = self.to_ai.read_at(cursor)
            assert following == expected
            if written is not None:
                (number,) = written
                samples = self.rate_hz // 50
                assert (frame["sequence"], frame["value"], frame["samples"], frame["flags"]) == (cursor, number, samples, number & 7)
                assert (pcm[:samples] == number & 0x7FFF).all() and not pcm[samples:].any()
            self.readers[which] = following

    @rule(limit=st.sampled_from([1, 3, 20, 300]), most=st.sampled_from([1, 16]))
    def the_bridge_collects(self, limit: int, most: int) -> None:
        frames, pcm = np.zeros(limit, FRAME), np.zeros((limit, layout.MAX_FRAME_SAMPLES), np.int16)
        rows, generations = np.array([self.row]), np.array([self.generation])
        before = int(self.rings.words[self.row, TO_AI_READ])
        lost = self.lost.copy()
        taken = ring.collect(self.rings, rows, generations, self.lost, frames, pcm, most)
        numbers, cursor = [], before
        while len(numbers) < min(most, limit):
            following, written = self.to_ai.read_at(cursor)
            if following == cursor:
                break
            if written is None:
                lost += following - cursor
            else:
                numbers += written
            cursor = following
        assert [int(n) for n in frames["value"][:taken]] == numbers and (self.lost == lost).all()
        assert self.rings.words[self.row, TO_AI_READ] == cursor and not frames["sequence"][:taken].any()

    @rule(count=st.sampled_from([1, 1, 3, 70, 140]), is_stale=st.sampled_from([False, False, False, True]), mark=st.integers(0, 3))
    def the_agent_speaks(self, count: int, is_stale: bool, mark: int) -> None:
        generation = self.generation - is_stale
        for number in range(count):
            expected = self.from_ai.try_say(reference.Said(generation, self.turn, mark, (number, number)))
            assert say(self.rings, self.row, generation, self.turn, number, mark) == expected

    @rule()
    def a_new_turn(self) -> None:
        self.turn += 1
        self.from_ai.turn = self.turn
        ring.set_turn(self.rings.words, self.row, self.turn)

    @rule(is_paused=st.booleans())
    def the_agent_pauses(self, is_paused: bool) -> None:
        self.from_ai.is_paused = is_paused
        ring.store_word(self.rings.words, self.row, layout.PAUSED, int(is_paused))

    @rule(count=st.integers(1, 10))
    def the_worker_takes(self, count: int) -> None:
        for _ in range(count):
            cursor, expected = ring.try_take(self.rings, self.row), self.from_ai.try_take()
            assert self.rings.words[self.row, FROM_AI_READ] == self.from_ai.read
            if expected is None:
                assert cursor == -1
                return
            assert cursor == self.from_ai.read and said(self.rings, self.row, cursor) == expected
            ring.release(self.rings, self.row, cursor)
            self.from_ai.release()

    @invariant()
    def the_room_is_known_and_the_neighbours_are_untouched(self) -> None:
        if hasattr(self, "rings"):
            assert ring.room(self.rings, self.row) == self.from_ai.room()
            assert not self.rings.words[[0, 2]].any() and not self.rings.to_ai_pcm[[0, 2]].any()


AgainstTheModel.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
TestAgainstTheModel = AgainstTheModel.TestCase


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_reader_that_was_lapped_is_told_how_much_it_lost(rate_hz: int) -> None:
    rings = make_rings(rate_hz)
    slots = TO_AI_SLOTS
    for number in range(slots - 1):
        publish(rings, 1, number)
    assert read(rings, 1, 0)[0] == 1  # all but the slot that is written next can be read
    publish(rings, 1, slots - 1)
    following, frame, _ = read(rings, 1, 0)
    assert following == slots // 4 and frame["samples"] == 0
    following, frame, _ = read(rings, 1, following)
    assert (following, frame["value"]) == (slots // 4 + 1, slots // 4)


def test_lost_frames_do_not_count_against_what_a_call_may_give() -> None:
    rings = make_rings()
    for number in range(300):
        publish(rings, 1, number)
    frames, pcm, lost = np.zeros(64, FRAME), np.zeros((64, 960), np.int16), np.zeros(1, np.int64)
    taken = ring.collect(rings, np.array([1]), np.array([11]), lost, frames, pcm, 16)
    assert taken == 16 and lost[0] == frames["value"][0] == 300 - TO_AI_SLOTS + TO_AI_SLOTS // 4


def test_many_calls_are_collected_in_turn_and_none_starves_the_others() -> None:
    rings = make_rings()
    ring.open_row(rings, 2, 12, 8_000, 0)
    for number in range(100):
        publish(rings, 1, number)
    publish(rings, 2, 500)
    frames, pcm, lost = np.zeros(20, FRAME), np.zeros((20, 960), np.int16), np.zeros(2, np.int64)
    taken = ring.collect(rings, np.array([1, 2]), np.array([11, 12]), lost, frames, pcm)
    assert taken == 17 and frames["value"][:17].tolist() == [*range(16), 500]
    assert frames["sequence"][:17].tolist() == [0] * 16 + [1]  # the index into the rows, not the cursor
    assert (pcm[16, :160] == 500).all()


def test_a_row_of_another_generation_gives_and_takes_nothing() -> None:
    rings = make_rings(generation=11)
    publish(rings, 1, 1)
    frames, pcm, lost = np.zeros(4, FRAME), np.zeros((4, 960), np.int16), np.zeros(1, np.int64)
    assert ring.collect(rings, np.array([1]), np.array([10]), lost, frames, pcm) == 0
    assert rings.words[1, TO_AI_READ] == 0 and not say(rings, 1, 10, 0, 1)
    assert ring.try_take(rings, 1) == -1


def test_a_cursor_of_the_call_before_that_was_stored_late_does_not_make_its_successor_deaf() -> None:
    rings = make_rings()
    for number in range(3):
        publish(rings, 1, number)
    rings.words[1, TO_AI_READ] = 30_000  # ten minutes of the call before: who read it was stopped between its check and its store
    frames, pcm, lost = np.zeros(8, FRAME), np.zeros((8, 160), np.int16), np.zeros(1, np.int64)
    assert ring.collect(rings, np.array([1]), np.array([11]), lost, frames, pcm) == 3
    assert frames["value"][:3].tolist() == [0, 1, 2] and lost[0] == 0 and rings.words[1, TO_AI_READ] == 3


def test_speech_that_was_on_its_way_when_the_row_changed_hands_is_passed_over() -> None:
    """A bridge stalls between its check and its store: the frame lands in the next call's ring."""
    rings = make_rings(generation=11)
    say(rings, 1, 11, 0, 1)
    ring.begin(rings.words, 1, 12)
    say(rings, 1, 12, 0, 2)
    cursor = ring.try_take(rings, 1)
    assert cursor == 1 and said(rings, 1, cursor).pcm == (2, 2)


def test_a_new_turn_drops_what_is_older_at_once_and_frees_its_room() -> None:
    rings = make_rings()
    for number in range(FROM_AI_SLOTS):
        assert say(rings, 1, 11, 0, number)
    assert not say(rings, 1, 11, 0, FROM_AI_SLOTS) and ring.room(rings, 1) == 0
    ring.set_turn(rings.words, 1, 1)
    assert ring.try_take(rings, 1) == -1 and ring.room(rings, 1) == FROM_AI_SLOTS
    assert say(rings, 1, 11, 1, 7) and said(rings, 1, ring.try_take(rings, 1)).turn == 1


def test_a_pause_still_drops_older_turns() -> None:
    rings = make_rings()
    say(rings, 1, 11, 0, 1)
    ring.store_word(rings.words, 1, layout.PAUSED, 1)
    assert ring.try_take(rings, 1) == -1 and ring.room(rings, 1) == FROM_AI_SLOTS - 1
    ring.set_turn(rings.words, 1, 1)
    assert ring.try_take(rings, 1) == -1 and ring.room(rings, 1) == FROM_AI_SLOTS


def test_a_frame_stays_the_workers_until_it_is_released() -> None:
    rings = make_rings()
    say(rings, 1, 11, 0, 1)
    assert ring.try_take(rings, 1) == ring.try_take(rings, 1) == 0 and ring.room(rings, 1) == FROM_AI_SLOTS - 1
    ring.release(rings, 1, 0)
    assert ring.try_take(rings, 1) == -1 and ring.room(rings, 1) == FROM_AI_SLOTS


def test_turn_and_samples_are_one_word() -> None:
    rings = make_rings()
    ring.set_played(rings.words, 1, 5, 123_456_789)
    word = ring.load_word(rings.words, 1, PLAYED)
    assert (word >> layout.PLAYED_SAMPLES_BITS, word & layout.PLAYED_SAMPLES_MASK) == (5, 123_456_789)


def test_opening_a_row_leaves_nothing_of_the_call_before() -> None:
    rings = make_rings(generation=11)
    publish(rings, 1, 1)
    say(rings, 1, 11, 0, 1)
    ring.set_turn(rings.words, 1, 9)
    ring.open_row(rings, 1, 12, 16_000, 3)
    words = rings.words[1]
    assert words[GENERATION] == 12 and words[TURN] == words[TO_AI_WRITE] == words[PLAYED] == 0
    assert (words[FRAME_SAMPLES], words[layout.BRIDGE]) == (320, 3)
    assert read(rings, 1, 0)[0] == 0 and ring.try_take(rings, 1) == -1


def test_an_event_carries_no_audio() -> None:
    rings = make_rings()
    ring.publish(rings, 1, layout.DTMF, 0, 0, NO_PCM, 0, 0, 320, 99, 0, ord("5"), 42)
    following, frame, pcm = read(rings, 1, 0)
    assert (following, frame["kind"], frame["value"], frame["position"], frame["captured_ns"]) == (1, layout.DTMF, 53, 320, 42)
    assert not pcm.any()
