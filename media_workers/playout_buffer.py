"""What a far end says, put on the clock for the ears of others: the adaptive playout buffer between legs.

An agent gets frames as they come; people want them evenly. Sample n belongs to the moment n / rate of CLOCK_MONOTONIC, so whoever
listens knows by its own clock which samples are due: there is nothing to keep for each pair of legs. A frame goes behind the one
before it. How far ahead of its moment that is, its lead, absorbs the jitter:

    what came too late       is replaced by repeating the last pitch period, a whole number of times, so that what comes goes on in step:
                             the delay has grown by that, and so it covers the next such packet
    a lead never needed      for two to four seconds is taken back, a pitch period at a time, each half faded into the next (WSOLA)
    more than MOST_MS        is never held: frames beyond it are dropped, and noise as soon as it is ahead

So the delay follows the network, drift of the far end's clock included, is bounded, and nothing is cut in mid-word.
"""

import numpy as np

from media_workers.concealment import FADE_MS, MAX_PITCH_HZ, is_periodic, pitch_period
from shm.copying import copy
from shm.jit import njit

BUFFER_MS = 400
"""What is held ahead, what the longest packet reads back, and the memory of a filter."""
BUFFER_SAMPLES = BUFFER_MS * 48
LEAST_LEAD_MS, MOST_START_MS, MOST_MS = 15, 80, 160
MARGIN_MS = 5
"""Of the smallest lead seen, what is kept."""
WINDOW_FRAMES = 100
"""2 s: the smallest lead of this window and the one before counts."""
TRY_FRAMES = 5
"""Looking for a period costs ten times what a frame does otherwise, so not every frame is tried."""
HURRY_MS = 80
"""A lead that was never below this is too long to wait for a fitting place."""
JITTERS = 3

PLAYOUT_BUFFER = np.dtype(
    [
        ("is_live", "i8"),  # it goes on; 0: silent until the next frame
        ("written", "i8"),  # the sample behind the last one
        ("read", "i8"),  # behind the last one that anybody has had
        ("made_up", "i8"),  # samples at the end that were made up
        ("period", "i8"),  # and what they repeat
        ("least", "i8"),  # smallest lead of this window
        ("least_before", "i8"),
        ("frames", "i8"),
        ("pcm", "i2", BUFFER_SAMPLES),
    ]
)


@njit
def sample_at(at_ns, rate_hz):
    """The number of the sample that belongs to this moment."""
    return at_ns // 1000 * (rate_hz // 1000) // 1000


@njit
def start_lead(jitter_ns, rate_hz):
    """How far ahead a stream with this jitter begins, in samples."""
    return max(LEAST_LEAD_MS * 1_000_000, min(JITTERS * jitter_ns, MOST_START_MS * 1_000_000)) // 1000 * (rate_hz // 1000) // 1000


@njit
def put(buffer, frame, is_noise, lead, now_ns, rate_hz, past):
    """Append 20 ms that came at `now_ns`. Returns the samples by which the stream became longer (or shorter, below 0) than what came.

    `lead`: of a stream that begins. `past` is scratch.
    """
    now = sample_at(now_ns, rate_hz)
    ahead = buffer["written"] - now
    changed = 0
    if buffer["is_live"] == 0 or ahead < -rate_hz * FADE_MS // 1000:
        _begin(buffer, now + lead, rate_hz)
        ahead = lead
    elif buffer["made_up"] > 0:
        made_up = buffer["made_up"]
        rest = _come_back(buffer, rate_hz)
        ahead += rest
        changed = made_up + rest
    if ahead > rate_hz * MOST_MS // 1000 or (is_noise and ahead > lead):
        return changed - frame.size
    _append(buffer, frame, rate_hz)
    buffer["least"] = min(buffer["least"], ahead)
    buffer["frames"] += 1
    if buffer["frames"] % WINDOW_FRAMES == 0:
        buffer["least_before"] = buffer["least"]
        buffer["least"] = ahead
    return changed - _shorten(buffer, rate_hz, past)


@njit
def cover(buffer, end, rate_hz, past):
    """Samples up to `end` are wanted now: make up what has not come. Returns how many it made."""
    if buffer["is_live"] == 0 or buffer["written"] >= end:
        return 0
    if buffer["made_up"] == 0:
        _recall(buffer, rate_hz, past)
        buffer["period"] = pitch_period(past, rate_hz)
    size, fade, before = _size(rate_hz), rate_hz * FADE_MS // 1000, buffer["made_up"]
    count = min(end - buffer["written"], fade - before)
    for i in range(before, before + count):
        _repeat(buffer, size, i, _gain(i, fade))
    if buffer["made_up"] >= fade:
        buffer["is_live"] = 0
    return count


@njit
def add(buffer, start, count, rate_hz, mix):
    """Add the samples from `start` on to `mix` (int32). False: there are none, the buffer is silent then."""
    size, end = _size(rate_hz), start + count
    buffer["read"] = max(buffer["read"], end)
    first, last = max(start, buffer["written"] - size), min(end, buffer["written"])
    for n in range(first, last):
        mix[n - start] += buffer["pcm"][n % size]
    return last > first


@njit
def fetch(buffer, start, count, rate_hz, pcm):
    """Copy the samples from `start` on to `pcm`, zeros where there are none. False: there are none at all."""
    size, end = _size(rate_hz), start + count
    buffer["read"] = max(buffer["read"], end)
    pcm[:count] = 0
    first, last = max(start, buffer["written"] - size), min(end, buffer["written"])
    if last <= first:
        return False
    at, whole = first % size, last - first
    part = min(whole, size - at)
    copy(pcm, first - start, buffer["pcm"], at, part)
    copy(pcm, first - start + part, buffer["pcm"], 0, whole - part)
    return True


@njit
def write_at(buffer, start, pcm, count, rate_hz):
    """What has no jitter: put `pcm[:count]` where it belongs."""
    _begin(buffer, max(start, buffer["written"]), rate_hz)
    buffer["is_live"] = 0
    _append(buffer, pcm[:count], rate_hz)


@njit
def _size(rate_hz):
    return rate_hz * BUFFER_MS // 1000


@njit
def _append(buffer, frame, rate_hz):
    size = _size(rate_hz)
    at = buffer["written"] % size
    part = min(frame.size, size - at)
    copy(buffer["pcm"], at, frame, 0, part)
    copy(buffer["pcm"], 0, frame, part, frame.size - part)
    buffer["written"] += frame.size


@njit
def _begin(buffer, start, rate_hz):
    """Go on at `start`, with silence up to there."""
    size = _size(rate_hz)
    start = max(start, buffer["read"])
    for n in range(max(buffer["written"], start - size), start):
        buffer["pcm"][n % size] = 0
    buffer["written"] = start
    buffer["made_up"] = 0
    buffer["least"] = buffer["least_before"] = 0  # nothing is taken back before it was seen for a whole window
    buffer["is_live"] = 1


@njit
def _gain(i, fade):
    """Of the made up sample i: whole for a third, then less and less."""
    return min(1.0, 1.5 * (1.0 - i / fade))


@njit
def _repeat(buffer, size, i, gain):
    """Make the made up sample i: one period before, as it was when it was real."""
    period = max(1, buffer["period"])
    begins = buffer["written"] - i
    buffer["pcm"][buffer["written"] % size] = int(gain * buffer["pcm"][(begins - period + i % period) % size])
    buffer["written"] += 1
    buffer["made_up"] = i + 1


@njit
def _come_back(buffer, rate_hz):
    """Audio again: fill up to a whole number of periods, back to full strength, so that it goes on in step. How many samples."""
    size, period, made_up = _size(rate_hz), max(1, buffer["period"]), buffer["made_up"]
    rest = -made_up % period
    if rest < rate_hz // MAX_PITCH_HZ:
        rest += period
    gain = _gain(made_up, rate_hz * FADE_MS // 1000)
    for i in range(rest):
        _repeat(buffer, size, made_up + i, gain + (1.0 - gain) * (i + 1) / rest)
    buffer["made_up"] = 0
    return rest


@njit
def _recall(buffer, rate_hz, past):
    """The last of it in `past`."""
    size, start = _size(rate_hz), buffer["written"] - past.size
    for i in range(past.size):
        past[i] = buffer["pcm"][(start + i) % size]


@njit
def _shorten(buffer, rate_hz, past):
    """Take a period back where the lead was never needed; how many samples."""
    spare = min(buffer["least"], buffer["least_before"]) - rate_hz * MARGIN_MS // 1000
    is_urgent = spare > rate_hz * HURRY_MS // 1000
    if spare < rate_hz // MAX_PITCH_HZ or (buffer["frames"] % TRY_FRAMES != 0 and not is_urgent):
        return 0
    _recall(buffer, rate_hz, past)
    period = pitch_period(past, rate_hz)
    start = buffer["written"] - 2 * period
    if period > spare or start < buffer["read"] or not (is_urgent or is_periodic(past, period)):
        return 0
    size, first = _size(rate_hz), past.size - 2 * period
    for i in range(period):
        turned = (i + 0.5) / period
        buffer["pcm"][(start + i) % size] = int(past[first + i] * (1.0 - turned) + past[first + period + i] * turned)
    buffer["written"] -= period
    buffer["least"] -= period
    buffer["least_before"] -= period
    return period
