"""Putting speech into the rings: many frames of one call, or one frame of many calls, in one compiled call."""

from shm.atomics import load_acquire
from shm.jit import njit
from shm.layout import FRAME_SAMPLES, TURN
from shm.ring import try_say


@njit
def say_frames(rings, row, generation, turn, mark, key, pcm, start):
    """Publish `pcm[start:]` as whole frames while they fit; `mark` goes on the last one, `key` on all.

    `pcm` is int16 and a multiple of the call's frame. Returns the sample to go on from.
    """
    samples = rings.words[row, FRAME_SAMPLES]
    while start < pcm.size:
        is_last = start + samples >= pcm.size
        if not try_say(rings, row, generation, turn, mark if is_last else 0, pcm, start, samples, key):
            break
        start += samples
    return start


@njit
def say_batch(rings, rows, generations, indexes, said, pcm, was_taken):
    """Publish one frame for each of many calls, in each call's present turn.

    indexes (n,) picks from rows and generations; pcm (n, samples) int16, at least as wide as every call's frame;
    said (calls,) grows by what was published; was_taken (n,) tells which. Returns how many were.
    """
    taken = 0
    for i in range(indexes.size):
        row = rows[indexes[i]]
        samples = rings.words[row, FRAME_SAMPLES]
        generation = generations[indexes[i]]
        was_taken[i] = samples <= pcm.shape[1] and try_say(
            rings, row, generation, load_acquire(rings.words, row, TURN), 0, pcm[i], 0, samples
        )
        if was_taken[i]:
            said[row] += samples
            taken += 1
    return taken
