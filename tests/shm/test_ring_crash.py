"""Both rings between real processes that are killed at random moments and replaced.

Each process is a compiled loop, so that SIGKILL lands within the protocol, not between its calls. What a frame
holds follows from its number, so a torn one is seen. What was read, or told as lost, is noted per frame.
"""

import mmap
import os
import random
import signal
import time
from collections.abc import Callable

import numba
import numpy as np
import pytest

from shm import layout, ring, segment
from shm.atomics import load_acquire, store_release
from shm.layout import AUDIO, FROM_AI_READ, FROM_AI_SLOTS, FROM_AI_WRITE, TO_AI_READ, TO_AI_SLOTS, TO_AI_WRITE

pytestmark = pytest.mark.compiled
KILLS = 60
MOST_FRAMES = 1 << 27  # ten seconds of a producer that nobody holds up; what is not reached costs no memory
READ, TOLD_LOST = 1, 2
TORN, READ_TWICE = range(2)
BURST = 500


@numba.njit
def publish_burst(rings, pcm, limit):
    """The worker: go on where the cursor says. `limit` frames ahead of the reader at most."""
    for _ in range(BURST):
        sequence = load_acquire(rings.words, 0, TO_AI_WRITE)
        if sequence >= MOST_FRAMES or sequence - load_acquire(rings.words, 0, TO_AI_READ) >= limit:
            return
        for i in range(160):
            pcm[i] = sequence & 0x7FFF
        ring.publish(rings, 0, AUDIO, sequence & 7, -20, pcm, 0, 160, sequence * 160, sequence & 0xFFFF, 5, sequence, sequence)


@numba.njit
def read_burst(rings, frame, pcm, noted, faults):
    """A bridge: go on where its predecessor was, check each frame, note it, and only then move on."""
    for _ in range(BURST):
        cursor = load_acquire(rings.words, 0, TO_AI_READ)
        following = ring.read_at(rings, 0, cursor, frame, pcm)
        if following == cursor:
            return
        if following == cursor + 1 and frame[0]["sequence"] == cursor:
            is_whole = frame[0]["value"] == cursor and frame[0]["position"] == cursor * 160 and frame[0]["samples"] == 160
            for i in range(160):
                is_whole = is_whole and pcm[i] == cursor & 0x7FFF
            faults[TORN] += 0 if is_whole else 1
            noted[cursor] = READ
        else:
            faults[TORN] += 1 if following <= cursor else 0
            for missed in range(cursor, following):
                noted[missed] = TOLD_LOST
        store_release(rings.words, 0, TO_AI_READ, following)


@numba.njit
def say_burst(rings, pcm):
    """A bridge that speaks: the next frame, if there is room."""
    for _ in range(BURST):
        sequence = load_acquire(rings.words, 0, FROM_AI_WRITE)
        if sequence >= MOST_FRAMES:
            return
        for i in range(160):
            pcm[i] = sequence & 0x7FFF
        if not ring.try_say(rings, 0, 1, 0, sequence, pcm, 0, 160):
            return


@numba.njit
def take_burst(rings, noted, faults):
    """The worker: take, check, note, release."""
    for _ in range(BURST):
        cursor = ring.try_take(rings, 0)
        if cursor < 0:
            return
        slot = cursor & (FROM_AI_SLOTS - 1)
        speech = rings.from_ai[0, slot]
        is_whole = speech["mark"] == cursor and speech["samples"] == 160 and speech["generation"] == 1
        for i in range(160):
            is_whole = is_whole and rings.from_ai_pcm[0, slot * 160 + i] == cursor & 0x7FFF
        faults[TORN] += 0 if is_whole else 1
        faults[READ_TWICE] += 1 if noted[cursor] else 0
        noted[cursor] = READ
        ring.release(rings, 0, cursor)


class Pair:
    """Two processes on one segment, each of which may be killed and replaced."""

    def __init__(self, *loops: Callable[[], None]) -> None:
        self.loops = loops
        for loop in loops:
            loop()  # compiles, before any fork
        self.pids = [0] * len(loops)

    def start(self, which: int) -> None:
        pid = os.fork()
        if pid == 0:
            while True:
                self.loops[which]()
                os.sched_yield()
        self.pids[which] = pid

    def kill(self, which: int) -> None:
        os.kill(self.pids[which], signal.SIGKILL)
        os.waitpid(self.pids[which], 0)
        self.pids[which] = 0

    def kill_at_random(self, words: np.ndarray, reader: int, seed: int) -> int:
        """KILLS of either side or both, then the reader must still come on. How often the reader was killed."""
        dice, reader_kills = random.Random(seed), 0
        try:
            for which in range(len(self.loops)):
                self.start(which)
            for _ in range(KILLS):
                time.sleep(dice.uniform(0.001, 0.04))
                victims = dice.choice(([0], [1], [0, 1]))
                for which in victims:
                    self.kill(which)
                    reader_kills += which == 1
                for which in victims:
                    self.start(which)
            wanted, deadline = ring.load_word(words, 0, reader) + 1000, time.monotonic() + 60  # of a busy machine: two interpreters start
            while ring.load_word(words, 0, reader) < wanted:
                assert time.monotonic() < deadline, "stuck after a kill"
                time.sleep(0.001)
        finally:
            for which in range(len(self.loops)):
                if self.pids[which]:
                    self.kill(which)
        return reader_kills


def make_rings() -> layout.Rings:
    rings = layout.rings_format(segment.map_fd(segment.make("test", layout.rings_bytes(1))), 1)
    ring.open_row(rings, 0, 1, 8_000, 0)
    return rings


def make_notes() -> tuple[np.ndarray, np.ndarray]:
    """What became of each frame, and the faults, in memory that the children share."""
    return np.frombuffer(mmap.mmap(-1, MOST_FRAMES), np.uint8), np.frombuffer(mmap.mmap(-1, 4096), np.int64)


@pytest.mark.parametrize("limit", [TO_AI_SLOTS - 20, 1 << 40], ids=["the producer waits", "the producer laps"])
def test_frames_to_the_agent_are_whole_or_told_as_lost(limit: int) -> None:
    rings, (noted, faults) = make_rings(), make_notes()
    frame, heard, pcm = np.zeros(1, layout.FRAME), np.zeros(960, np.int16), np.zeros(160, np.int16)
    pair = Pair(lambda: publish_burst(rings, pcm, limit), lambda: read_burst(rings, frame, heard, noted, faults))
    pair.kill_at_random(rings.words, TO_AI_READ, seed=limit & 0xFF)
    reached = int(rings.words[0, TO_AI_READ])
    outcome = np.bincount(noted[:reached], minlength=3)
    assert faults[TORN] == 0 and outcome[0] == 0  # each was read, or told as lost
    assert outcome[READ] > 10_000 and not noted[reached + 1 :].any()
    if limit < TO_AI_SLOTS:
        assert outcome[TOLD_LOST] == 0


def test_speech_of_the_agent_arrives_whole_in_order_and_once() -> None:
    rings, (noted, faults) = make_rings(), make_notes()
    pcm = np.zeros(160, np.int16)
    pair = Pair(lambda: say_burst(rings, pcm), lambda: take_burst(rings, noted, faults))
    reader_kills = pair.kill_at_random(rings.words, FROM_AI_READ, seed=3)
    reached = int(rings.words[0, FROM_AI_READ])
    assert faults[TORN] == 0 and (noted[:reached] == READ).all() and reached > 10_000
    assert faults[READ_TWICE] <= reader_kills  # killed between taking and releasing: the frame in hand
