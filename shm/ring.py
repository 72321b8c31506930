"""The two rings of a call. shm/layout.py draws them.

Every function takes the `Rings` and the call's row, costs no system call, and never waits.
"""

from shm import layout
from shm.atomics import keep_order, load_acquire, store_release
from shm.copying import copy
from shm.jit import njit
from shm.layout import (
    FRAME_SAMPLES,
    FROM_AI_READ,
    FROM_AI_SLOTS,
    FROM_AI_WRITE,
    GENERATION,
    MAX_FRAME_SAMPLES,
    PLAYED,
    PLAYED_SAMPLES_BITS,
    TO_AI_READ,
    TO_AI_SLOTS,
    TO_AI_WRITE,
    TURN,
    Rings,
)


def open_row(rings: Rings, row: int, generation: int, sample_rate_hz: int, bridge: int) -> None:
    """Give a free row to a call (the worker's Python side). Nobody else looks at the row until GENERATION is set."""
    frame_samples = sample_rate_hz * layout.FRAME_MS // 1000
    words = rings.words
    words[row] = 0
    words[row, layout.SAMPLE_RATE_HZ] = sample_rate_hz
    words[row, FRAME_SAMPLES] = frame_samples
    words[row, layout.BRIDGE] = bridge
    begin(words, row, generation)


@njit
def begin(words, row, generation):
    store_release(words, row, GENERATION, generation)


@njit
def publish(rings, row, kind, flags, level_dbov, pcm, start, samples, position, rtp_timestamp, turn, value, now_ns):
    """Append a frame or an event to what the agent hears. Never refuses: the oldest is overwritten.

    `pcm[start : start + samples]` is copied; an event has samples 0.
    """
    words = rings.words
    sequence = load_acquire(words, row, TO_AI_WRITE)
    slot = sequence & (TO_AI_SLOTS - 1)
    keep_order()  # the cursor that told readers of this slot's reuse is visible before the slot changes
    frame = rings.to_ai[row, slot]
    frame["sequence"] = sequence
    frame["captured_ns"] = now_ns
    frame["position"] = position
    frame["turn"] = turn
    frame["value"] = value
    frame["rtp_timestamp"] = rtp_timestamp
    frame["samples"] = samples
    frame["kind"] = kind
    frame["flags"] = flags
    frame["level_dbov"] = level_dbov
    base = slot * words[row, FRAME_SAMPLES]
    copy(rings.to_ai_pcm[row], base, pcm, start, samples)
    store_release(words, row, TO_AI_WRITE, sequence + 1)  # last: this makes it visible


@njit
def read_at(rings, row, cursor, frame_out, pcm_out):
    """Copy the frame at `cursor` into `frame_out[0]` and `pcm_out`.

    Returns the cursor to read next: cursor + 1 when it was read, `cursor` when there is nothing new, and a
    greater one when the reader was lapped: then the frames up to it are lost and nothing was copied.
    """
    words = rings.words
    written = load_acquire(words, row, TO_AI_WRITE)
    if cursor >= written:
        return cursor
    if written - cursor < TO_AI_SLOTS:
        slot = cursor & (TO_AI_SLOTS - 1)
        frame_out[0] = rings.to_ai[row, slot]
        base = slot * words[row, FRAME_SAMPLES]
        samples = max(0, min(frame_out[0]["samples"], pcm_out.size, MAX_FRAME_SAMPLES))  # another reader may have written there
        copy(pcm_out, 0, rings.to_ai_pcm[row], base, samples)
        keep_order()  # the copy is complete before the cursor is looked at again
        if load_acquire(words, row, TO_AI_WRITE) - cursor < TO_AI_SLOTS:
            return cursor + 1
    # Lapped. Go on with what has a quarter of the ring to live, so as not to be lapped again at once.
    return load_acquire(words, row, TO_AI_WRITE) - TO_AI_SLOTS + TO_AI_SLOTS // 4


@njit
def collect(rings, rows, generations, lost, frames, pcm, most=16):
    """Take what is new for many calls at once, each from its TO_AI_READ on.

    rows (n,) and generations (n,) name the calls; lost (n,) is raised by the frames that a call was lapped by.
    frames (limit,) FRAME with `sequence` replaced by the index into `rows`; pcm (limit, samples) int16.
    Returns how many were taken. Every call gets its turn: a call gives at most `most` frames a time.
    """
    taken = 0
    words = rings.words
    for i in range(rows.size):
        row = rows[i]
        if load_acquire(words, row, GENERATION) != generations[i]:
            continue
        cursor = load_acquire(words, row, TO_AI_READ)
        written = load_acquire(words, row, TO_AI_WRITE)
        if written == cursor:
            continue  # most rows, most of the time: not worth the views below
        if cursor > written:
            cursor = 0  # of the row's call before: who read that was held up between its check and its store
        first = cursor
        given = 0
        while given < most and taken < frames.size:
            following = read_at(rings, row, cursor, frames[taken : taken + 1], pcm[taken])
            if following == cursor:
                break
            if following == cursor + 1 and frames[taken]["sequence"] == cursor:
                frames[taken]["sequence"] = i
                taken += 1
                given += 1
            else:
                lost[i] += following - cursor
            cursor = following
        if cursor != first:
            store_release(words, row, TO_AI_READ, cursor)
    return taken


@njit
def room(rings, row):
    """How many frames of speech fit now."""
    words = rings.words
    return FROM_AI_SLOTS - (load_acquire(words, row, FROM_AI_WRITE) - load_acquire(words, row, FROM_AI_READ))


@njit
def try_say(rings, row, generation, turn, mark, pcm, start, samples, key=0):
    """Append one frame of the agent's speech. False: the ring is full, or the row belongs to another call by now."""
    words = rings.words
    if load_acquire(words, row, GENERATION) != generation:
        return False
    sequence = load_acquire(words, row, FROM_AI_WRITE)
    if sequence - load_acquire(words, row, FROM_AI_READ) >= FROM_AI_SLOTS:
        return False
    slot = sequence & (FROM_AI_SLOTS - 1)
    speech = rings.from_ai[row, slot]
    speech["generation"] = generation
    speech["turn"] = turn
    speech["mark"] = mark
    speech["samples"] = samples
    speech["key"] = key
    base = slot * words[row, FRAME_SAMPLES]
    copy(rings.from_ai_pcm[row], base, pcm, start, samples)
    store_release(words, row, FROM_AI_WRITE, sequence + 1)  # last: this makes it visible
    return True


@njit
def try_take(rings, row):
    """The cursor of the next frame of speech that still counts, or -1: nothing to say, or the agent is paused.

    Frames of older turns, and those meant for the row's call before this one, are passed over. The slot stays the
    worker's until `release`.
    """
    words = rings.words
    turn = load_acquire(words, row, TURN)
    cursor = load_acquire(words, row, FROM_AI_READ)
    written = min(load_acquire(words, row, FROM_AI_WRITE), cursor + FROM_AI_SLOTS)  # a bridge gone mad must not take the worker along
    first = cursor
    while cursor < written:
        speech = rings.from_ai[row, cursor & (FROM_AI_SLOTS - 1)]
        if speech["turn"] >= turn and speech["generation"] == words[row, GENERATION]:
            break
        cursor += 1
    if cursor != first:
        store_release(words, row, FROM_AI_READ, cursor)
    if cursor >= written or load_acquire(words, row, layout.PAUSED) != 0:
        return -1
    return cursor


@njit
def release(rings, row, cursor):
    """The frame at `cursor` was taken: its slot is the bridge's again."""
    store_release(rings.words, row, FROM_AI_READ, cursor + 1)


@njit
def set_turn(words, row, turn):
    """Everything said in older turns is dropped at the worker's next tick."""
    store_release(words, row, TURN, turn)


@njit
def set_played(words, row, turn, samples):
    store_release(words, row, PLAYED, (turn << PLAYED_SAMPLES_BITS) | samples)


@njit
def load_word(words, row, column):
    """For Python code that follows a word another process writes."""
    return load_acquire(words, row, column)


@njit
def store_word(words, row, column, value):
    """For Python code whose store another process waits for."""
    store_release(words, row, column, value)


__all__ = [
    "begin",
    "collect",
    "load_word",
    "open_row",
    "publish",
    "read_at",
    "release",
    "room",
    "set_played",
    "set_turn",
    "store_word",
    "try_say",
    "try_take",
]
