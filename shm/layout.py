"""What lies where in the memory that workers and bridges share. Nothing else writes an offset.

The segment `rings`, for C calls (a call is a row, the same in every array):

    header     64 B      magic, layout version, C
    bells      64 x 8    int64, one line a bridge: is it asleep (shm/doorbell.py)
    words      C x 64    int64, the cursors and the few numbers that both sides read (below)
    to_ai      C x 128   FRAME, one for 20 ms that came from the caller, or for an event
    from_ai    C x 64    SPEECH, one for 20 ms that the agent says
    to_ai_pcm  C x 122880 int16: frame n lies at (n mod 128) x samples of a frame
    from_ai_pcm C x 61440 int16: the same, mod 64
    tape       C x 122880 int16: what goes out on the wire, while the call is recorded: sample s lies at s mod (128 x samples of a frame)
    capture    C x 256   CAPTURED: packets of both ways, while somebody captures the call

A frame is 20 ms at the codec's own rate: 160 samples at 8 kHz, 960 at 48 kHz. So the rings keep 2.56 s of what
the caller said and take 1.28 s of speech ahead, at any rate. Room is laid out for 48 kHz; what a call at 8 kHz
does not touch has no pages.

A cursor counts frames since the call began and never goes back; slot = cursor & (slots - 1).
  to_ai    the worker writes and never waits; a reader that was lapped is told how much it lost.
  from_ai  the bridge writes while TO write - read < slots; the worker reads.

words of a call, in cache lines by writer:

    line 0  worker, at open  GENERATION SAMPLE_RATE_HZ FRAME_SAMPLES BRIDGE
    line 1  worker           TO_AI_WRITE
    line 2  worker           FROM_AI_READ PLAYED
    line 3  bridge           FROM_AI_WRITE
    line 4  bridge           TURN PAUSED DUCK_DB AT_WORK ECHO_GUARD
    line 5  bridge           TO_AI_READ, kept here so that the bridge's successor goes on where it was
    line 6  worker           TAPE TAPE_WRITE REEL REEL_AT REEL_NS
    line 7  worker           CAPTURE_WRITE

GENERATION is unique for each use of a row and 0 while the row is free: a bridge that is late with words for
the call before is recognised, because every SPEECH carries the generation that it is meant for.
TURN is the newest turn of the agent: the worker drops what belongs to an older one at its next tick, so
"stop and say this instead" is one store. PLAYED is turn << 40 | samples of that turn that are on the wire:
one word, so that both are always read together.
DUCK_DB is by how many decibels what the agent says is lowered, 0 to MAX_DUCK_DB: from the next packet on, keys excepted.
AT_WORK is GENERATION while the bridge is in this call's agent's code, else 0: whose code ran when a bridge died.
ECHO_GUARD is 1 while the agent's own voice is to be taken out of what the caller sends (media_workers/echo.py).

TAPE says whether the call is recorded: TAPE_OFF, TAPE_RUNNING or TAPE_PAUSED. TAPE_WRITE counts the samples on the tape, on the
absolute grid that packets go out on: while it runs, a second of the clock is a second of it, to the sample, also where nothing was sent.
Nothing is put on it while it is paused, so it goes on as another reel: sample REEL_AT is the first of reel REEL, and goes out at
REEL_NS (CLOCK_MONOTONIC). REEL is 0 while the two are being changed, and before the first.
Its readers have cursors of their own. What lies less than MAX_PACKET_MS beyond TAPE_WRITE may be under way.

CAPTURE_WRITE counts the packets that were captured, slot = cursor & 255; readers have cursors of their own there, too.
"""

import mmap
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

LAYOUT_VERSION = 4
MAGIC = 0x42_45_4C_4C_46_52_4D_31  # "BELLFRM1"

WORDS = 64
GENERATION, SAMPLE_RATE_HZ, FRAME_SAMPLES, BRIDGE = range(4)
TO_AI_WRITE = 8
FROM_AI_READ, PLAYED = 16, 17
FROM_AI_WRITE = 24
TURN, PAUSED, DUCK_DB, AT_WORK, ECHO_GUARD = range(32, 37)
MAX_DUCK_DB = 60
TO_AI_READ = 40
TAPE, TAPE_WRITE, REEL, REEL_AT, REEL_NS = range(48, 53)
TAPE_OFF, TAPE_RUNNING, TAPE_PAUSED = range(3)
CAPTURE_WRITE = 56

FRAME_MS = 20
MAX_FRAME_SAMPLES = 960  # 20 ms at 48 kHz
TO_AI_SLOTS, FROM_AI_SLOTS = 128, 64
TAPE_FRAMES, MAX_PACKET_MS = 128, 60
CAPTURE_SLOTS = 256  # 2.5 s of a call with packets of 20 ms both ways
TO_AI_ARENA, FROM_AI_ARENA = TO_AI_SLOTS * MAX_FRAME_SAMPLES, FROM_AI_SLOTS * MAX_FRAME_SAMPLES
TAPE_ARENA = TAPE_FRAMES * MAX_FRAME_SAMPLES
MAX_CAPTURED_BYTES = 1500

PLAYED_SAMPLES_BITS = 40
PLAYED_SAMPLES_MASK = (1 << PLAYED_SAMPLES_BITS) - 1

# What a FRAME is. Everything that happens to a call's audio goes through the one ring, hence in order.
AUDIO, DTMF, MARK_PLAYED, TURN_ENDED, DRAINED, HELD, CLOSED, QUALITY, LINE = range(1, 10)
# LINE: 20 ms of the far end as AUDIO is, but of a call in a room: for concealment and the recorder. What its agent hears is AUDIO with
# MIXED_FLAG, or nothing.
# QUALITY: value is MOS x 100, position the round trip in us, turn the loss in 1/100 %, rtp_timestamp the jitter in us.
# Flags of AUDIO.
SPEECH_FLAG, CONCEALED_FLAG, COMFORT_NOISE_FLAG, DISCONTINUITY_FLAG, VOICED_FLAG, ECHO_FLAG, MIXED_FLAG = 1, 2, 4, 8, 16, 32, 64
SPEECH_HANGOVER_MS = 300
"""SPEECH_FLAG is off from the frame on that ends so long after the last sound: pauses between words are shorter.
VOICED_FLAG is on where this very frame has sound: speech begins with the first of those in a row that it is found in."""

FRAME = np.dtype(
    [
        ("sequence", "i8"),  # its cursor value: a slot read whole says so itself
        ("captured_ns", "i8"),  # CLOCK_MONOTONIC when the packet that completed it was read
        ("position", "i8"),  # of its first sample in what the caller sent; for events, of the turn's samples
        ("turn", "i8"),  # MARK_PLAYED, TURN_ENDED, DRAINED: whose
        ("value", "i8"),  # DTMF: the key's ASCII code; MARK_PLAYED: the mark; HELD: 1 or 0; TURN_ENDED: samples heard
        ("rtp_timestamp", "u4"),
        ("samples", "i4"),
        ("kind", "u1"),
        ("flags", "u1"),
        ("level_dbov", "i1"),  # 0 is the loudest sine, -127 silence (RFC 6464 counts the same downwards)
        ("reserved", "u1", 13),
    ]
)
SPEECH = np.dtype(
    [
        ("generation", "i8"),
        ("turn", "i8"),
        ("mark", "i8"),  # 0: none; else told back with MARK_PLAYED once this frame is on the wire
        ("samples", "i4"),
        ("key", "i4"),  # ASCII code of the key that this frame is a part of, KEY_GAP after one; 0: speech
    ]
)
CAPTURED = np.dtype(
    [
        ("at_ns", "i8"),  # CLOCK_MONOTONIC when it was read, or written
        ("remote", "i8", 3),  # whom it came from or goes to: family << 16 | port, then the address
        ("size", "i4"),
        ("local_port", "u2"),
        ("flags", "u1"),
        ("octets", "u1", MAX_CAPTURED_BYTES),
    ],
    align=True,
)
IS_SENT, IS_PROTECTED = 1, 2
"""Flags of CAPTURED. IS_PROTECTED: as it is on the wire; else as it is without SRTP."""
KEY_GAP = 0x20
"""Silence behind a key: its end may be sent in place of it. Speech waits until the end was sent."""
assert FRAME.itemsize == 64 and SPEECH.itemsize == 32


class Rings(NamedTuple):
    """The views of the segment `rings`, as kernels take them."""

    bells: npt.NDArray[np.int64]  # (64, 8)
    words: npt.NDArray[np.int64]  # (calls, 64)
    to_ai: npt.NDArray[np.void]  # (calls, 128) FRAME
    from_ai: npt.NDArray[np.void]  # (calls, 64) SPEECH
    to_ai_pcm: npt.NDArray[np.int16]  # (calls, 122880)
    from_ai_pcm: npt.NDArray[np.int16]  # (calls, 61440)
    tape: npt.NDArray[np.int16]  # (calls, 122880)
    capture: npt.NDArray[np.void]  # (calls, 256) CAPTURED


HEADER_BYTES = 64
MAX_BRIDGES, BELL_WORDS = 64, 8


def rings_bytes(calls: int) -> int:
    """Size of the segment. Pages that no call has touched cost nothing."""
    per_call = WORDS * 8 + TO_AI_SLOTS * FRAME.itemsize + FROM_AI_SLOTS * SPEECH.itemsize + CAPTURE_SLOTS * CAPTURED.itemsize
    return HEADER_BYTES + MAX_BRIDGES * BELL_WORDS * 8 + calls * (per_call + 2 * TO_AI_ARENA + 2 * FROM_AI_ARENA + 2 * TAPE_ARENA)


def rings_format(memory: "memoryview | bytearray | mmap.mmap", calls: int) -> Rings:
    """Write the header into fresh, zeroed memory, and give its views."""
    np.frombuffer(memory, "i8", 3)[:] = MAGIC, LAYOUT_VERSION, calls
    return rings_views(memory)


def rings_views(memory: "memoryview | bytearray | mmap.mmap") -> Rings:
    """Views of memory that another process laid out.

    Raises ValueError if it was laid out by another version: the bridge must be restarted from the same release.
    """
    magic, version, calls = (int(n) for n in np.frombuffer(memory, "i8", 3))
    if magic != MAGIC or version != LAYOUT_VERSION:
        raise ValueError(f"ring memory has layout {version}, this release reads {LAYOUT_VERSION}: restart it from the same release")
    offset = HEADER_BYTES
    views: list[npt.NDArray[Any]] = []
    for dtype, rows, columns in (
        (np.dtype("i8"), MAX_BRIDGES, BELL_WORDS),
        (np.dtype("i8"), calls, WORDS),
        (FRAME, calls, TO_AI_SLOTS),
        (SPEECH, calls, FROM_AI_SLOTS),
        (np.dtype("i2"), calls, TO_AI_ARENA),
        (np.dtype("i2"), calls, FROM_AI_ARENA),
        (np.dtype("i2"), calls, TAPE_ARENA),
        (CAPTURED, calls, CAPTURE_SLOTS),
    ):
        views.append(np.frombuffer(memory, dtype, rows * columns, offset).reshape(rows, columns))
        offset += views[-1].nbytes
    return Rings(*views)
