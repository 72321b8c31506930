"""Both directions of a call on one clock: the caller on the left, what we sent on the right.

The clock is the tape's (shm/layout.py), which is the machine's: sample s of the file is sample s of the tape. What the caller said
comes with its own clock, and with the network's moods. It is placed where it would have come without them: the least delay of the
last seconds decides, and where the two clocks drift apart it is followed by a sample a frame, which nobody hears. What is
missing, at either side, is silence of its length.

A window of the last second is composed in memory, because the caller's frames come late. What leaves it is written down.
"""

import numpy as np

from shm import ring
from shm.atomics import keep_order, load_acquire
from shm.jit import njit
from shm.layout import (
    AUDIO,
    DISCONTINUITY_FLAG,
    GENERATION,
    LINE,
    MAX_FRAME_SAMPLES,
    MAX_PACKET_MS,
    MIXED_FLAG,
    REEL,
    REEL_AT,
    REEL_NS,
    SPEECH_FLAG,
    TAPE,
    TAPE_FRAMES,
    TAPE_RUNNING,
    TAPE_WRITE,
)

WINDOW_MS = 1024
MAX_WINDOW_SAMPLES = WINDOW_MS * 48
PATIENCE_NS = 500_000_000
"""How late a frame may be and still find its place. The jitter buffer holds for 80 ms; the rest is for what stood still."""
FLOOR_FRAMES = 500  # ten seconds: in fewer, jitter alone may look like a drift
SLACK_MS = 2  # what the least delay may seem to change, without the clocks drifting
LEAP_MS = 20  # an error of more than that is mended at once, where nobody speaks
MOST_NS = 172_800_000_000_000  # two days: times 48,000 still fits
NOWHERE = 1 << 62
FAR_MS = 3_000  # no frame lies this far ahead: its times are wrong

TRACK = np.dtype(
    [
        ("generation", "i8"),
        ("sample_rate_hz", "i8"),
        ("is_there", "i8"),  # the row is still the call's
        ("written", "i8"),  # the tape's cursor, as last seen
        ("held_at", "i8"),  # where the caller's next frame begins that does not fit into the window yet
        ("taken", "i8"),  # samples of the tape that are in the window or the file
        ("flushed", "i8"),  # samples that have left the window: its first sample
        ("cursor", "i8"),  # of the frames to the agent
        ("reel", "i8"),
        ("reel_at", "i8"),
        ("reel_ns", "i8"),
        ("before_at", "i8"),  # the reel before: frames that came late may belong there
        ("before_ns", "i8"),
        ("is_anchored", "i8"),
        ("offset", "i8"),  # from the caller's timeline to the tape
        ("floor", "i8"),  # the least offset that any frame asked for, lately
        ("floor_frames", "i8"),
        ("creep", "i8"),  # samples by which the offset is still to be changed
        ("lost_right", "i8"),  # samples that were overwritten before they were read
        ("lost_left", "i8"),  # frames and events, likewise
        ("crept", "i8"),  # samples by which the caller's clock was followed
    ]
)


@njit
def weave_all(rings, rows, tracks, windows, now_ns, frame, pcm):
    """Take what is new of these calls into their windows; true where one came to the end of its window and wants to be called again."""
    is_more = False
    for i in range(rows.size):
        is_more |= weave(rings, rows[i], tracks, windows, now_ns, frame, pcm)
    return is_more


@njit
def weave(rings, row, tracks, windows, now_ns, frame, pcm):
    """One call. Nothing is kept of a row that another call has meanwhile."""
    track, window = tracks[row], windows[row]
    taken, cursor = track["taken"], track["cursor"]
    track["held_at"] = NOWHERE
    if not _is_its(rings, row, track) or not _follow_reel(rings, row, track, window):
        return False
    is_more = _take_sent(rings, row, track, window)
    is_more |= _take_heard(rings, row, track, window, frame, pcm)
    keep_order()
    if not _is_its(rings, row, track):
        clear(track, window, taken, track["flushed"] + window_samples(track))
        track["taken"], track["cursor"] = taken, cursor
        return False
    return is_more


@njit
def window_samples(track):
    return track["sample_rate_hz"] * WINDOW_MS // 1000


@njit
def ready(track, now_ns):
    """Up to which sample the window may be written down: nothing that is still to come belongs before it."""
    return max(track["flushed"], min(track["taken"], track["held_at"], _at(track, now_ns - PATIENCE_NS)))


@njit
def cut_off(track, window, until, stereo):
    """Copy the window up to the sample `until` into `stereo` (n, 2), and move it on; returns the samples."""
    size, first = window_samples(track), track["flushed"]
    at = first % size
    for i in range(until - first):
        stereo[i, 0] = window[2 * at]
        stereo[i, 1] = window[2 * at + 1]
        window[2 * at] = 0
        window[2 * at + 1] = 0
        at = at + 1 if at + 1 < size else 0
    track["flushed"] = until
    return until - first


@njit
def clear(track, window, start, end):
    size = window_samples(track)
    for p in range(start, end):
        at = 2 * (p % size)
        window[at] = 0
        window[at + 1] = 0


@njit
def _is_its(rings, row, track):
    track["is_there"] = 1 if load_acquire(rings.words, row, GENERATION) == track["generation"] else 0
    return track["is_there"] != 0


@njit
def _follow_reel(rings, row, track, window):
    """False: the tape is just being started."""
    words = rings.words
    reel = load_acquire(words, row, REEL)
    at, since_ns = load_acquire(words, row, REEL_AT), load_acquire(words, row, REEL_NS)
    keep_order()
    if reel == 0 or load_acquire(words, row, REEL) != reel:
        return False
    if reel == track["reel"]:
        return True
    if track["reel"] != 0:
        track["before_at"] = track["reel_at"]
        track["before_ns"] = track["reel_ns"]
        was = _at(track, since_ns)
        track["offset"] += at - was  # the caller's timeline went on in the pause
        track["floor"] += at - was
    else:
        track["before_at"] = at
        track["before_ns"] = since_ns
    track["reel"] = reel
    track["reel_at"] = at
    track["reel_ns"] = since_ns
    clear(track, window, max(at, track["flushed"]), track["flushed"] + window_samples(track))  # said when nobody knew of the pause yet
    return True


@njit
def _at(track, then_ns):
    """The sample of the tape that was due at this time, were there no reel but the present one."""
    since_ns = max(-MOST_NS, min(MOST_NS, then_ns - track["reel_ns"]))
    return track["reel_at"] + since_ns * track["sample_rate_hz"] // 1_000_000_000


@njit
def _take_sent(rings, row, track, window):
    """What is new on the tape, into the right channel."""
    rate_hz = track["sample_rate_hz"]
    size, window_size = rate_hz // 50 * TAPE_FRAMES, window_samples(track)
    room = size - rate_hz * MAX_PACKET_MS // 1000
    written = load_acquire(rings.words, row, TAPE_WRITE)
    track["written"] = written
    start = track["taken"]
    end = min(written, track["flushed"] + window_size)
    if end <= start:
        return written > start
    held = min(end, max(start, written - room))  # what lies before is overwritten
    source, target = held % size, held % window_size
    for _ in range(end - held):
        window[2 * target + 1] = rings.tape[row, source]
        source = source + 1 if source + 1 < size else 0
        target = target + 1 if target + 1 < window_size else 0
    keep_order()  # the copy is complete before the cursor is looked at again
    safe = min(end, max(held, load_acquire(rings.words, row, TAPE_WRITE) - room))
    for p in range(held, safe):
        window[2 * (p % window_size) + 1] = 0
    track["lost_right"] += safe - start
    track["taken"] = end
    return written > end


@njit
def _take_heard(rings, row, track, window, frame, pcm):
    """What is new from the caller, into the left channel."""
    is_running = load_acquire(rings.words, row, TAPE) == TAPE_RUNNING
    while True:
        cursor = track["cursor"]
        following = ring.read_at(rings, row, cursor, frame, pcm)
        if following == cursor:
            return False
        if following != cursor + 1 or frame[0]["sequence"] != cursor:
            track["lost_left"] += following - cursor
        elif frame[0]["kind"] == LINE or (frame[0]["kind"] == AUDIO and frame[0]["flags"] & MIXED_FLAG == 0):
            samples = max(0, min(frame[0]["samples"], MAX_FRAME_SAMPLES))
            asked = _at(track, frame[0]["captured_ns"]) - samples - frame[0]["position"]  # had it been on its way for no time
            is_anew = _begins_anew(track, frame[0]["flags"], asked)
            start = frame[0]["position"] + (asked if is_anew else track["offset"])
            if abs(start - track["written"]) > FAR_MS * (track["sample_rate_hz"] // 1000):
                track["is_anchored"] = 0  # its times cannot be right
            elif is_running and start + samples >= track["flushed"] + window_samples(track):
                track["held_at"] = start
                return True  # its place is not in the window yet
            else:
                step = _learn(track, asked, is_anew)
                _put(track, window, start + step, samples, frame[0]["captured_ns"], step, pcm)
        track["cursor"] = following


@njit
def _begins_anew(track, flags, asked):
    """Is where the caller's timeline lies to be taken from this frame, whatever it was?"""
    ms, off = track["sample_rate_hz"] // 1000, asked - track["offset"]
    if track["is_anchored"] == 0 or flags & DISCONTINUITY_FLAG != 0 or abs(off) > PATIENCE_NS // 1_000_000 * ms:
        return True
    return off < -LEAP_MS * ms and flags & SPEECH_FLAG == 0


@njit
def _learn(track, asked, is_anew):
    """Follow the caller's clock, by a sample at most; returns the step."""
    if is_anew:
        track["is_anchored"] = 1
        track["offset"] = asked
        track["floor"] = asked
        track["floor_frames"] = 0
        track["creep"] = 0
        return 0
    slack = SLACK_MS * (track["sample_rate_hz"] // 1000)
    track["floor"] = min(track["floor"], asked)
    track["floor_frames"] += 1
    if asked < track["offset"] - slack:
        track["creep"] = asked - track["offset"]
    if track["floor_frames"] >= FLOOR_FRAMES:
        if track["floor"] > track["offset"] + slack:
            track["creep"] = track["floor"] - track["offset"]
        track["floor"] = asked
        track["floor_frames"] = 0
    step = 1 if track["creep"] > 0 else -1 if track["creep"] < 0 else 0
    track["offset"] += step
    track["creep"] -= step
    track["crept"] += abs(step)
    return step


@njit
def _put(track, window, start, samples, captured_ns, step, pcm):
    """The frame, or as much of it as belongs to its reel and has not been written down."""
    size = window_samples(track)
    low, high = track["reel_at"], track["flushed"] + size
    if captured_ns < track["reel_ns"]:
        start += track["before_at"] - _at(track, track["before_ns"])
        low, high = track["before_at"], min(high, track["reel_at"])
    low = max(low, track["flushed"])
    for p in range(max(low, start), min(high, start + samples)):
        window[2 * (p % size)] = pcm[p - start]
    if step > 0 and samples > 0 and low <= start - 1 < high:
        window[2 * ((start - 1) % size)] = pcm[0]  # it has crept away from the frame before


__all__ = ["MAX_WINDOW_SAMPLES", "TRACK", "clear", "cut_off", "ready", "weave", "weave_all"]
