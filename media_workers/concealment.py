"""What an agent hears in place of audio that never came: the waveform from before, turning into the one from after.

Waveform repetition in the manner of G.711 Appendix I, but from both sides: a gap is bridged when the packet behind it is
here already, so nobody need guess how it went on. The last pitch period of the past is repeated into the gap, stretched by
a few per cent so that it arrives in step with what follows, and fades over into the first period of the future repeated
backwards. Where nothing followed in time, the past alone fades to nothing, because made-up speech that goes on is worse
than silence. bench/concealment.py measures it.
"""

import math

from shm.copying import copy
from shm.jit import njit
from shm.layout import AUDIO, FRAME_SAMPLES, LINE, MIXED_FLAG, TO_AI_SLOTS, TO_AI_WRITE

PAST_SAMPLES = 960
"""What is recalled of a stream when something is missing: a window and the lowest pitch at 16 kHz."""
MIN_PITCH_HZ, MAX_PITCH_HZ = 66, 400
FADE_MS = 60
# The numbers below are the best of those tried: docs/benchmarks.md.
PITCH_WINDOW_HZ = 50  # 20 ms: its inverse
ALIGN_WINDOW_HZ = 100  # 10 ms
MAX_STRETCH = 0.15  # of a period, forwards and backwards
PERIOD_CHANGE = 0.85  # the future's period is at least this much of the past's
MIN_FUTURE_HZ = 200  # 5 ms behind a period of the future, to know it by
IS_PERIODIC = 0.4
SILENT_AMPLITUDE = 64  # -54 dBov


@njit
def recall(worker, row, past):
    """Gather in `past` what was last heard, from the ring and what does not fill a frame yet: concealment goes on from it.

    The ring remembers it anyway, so that nothing is kept twice for a loss that may never come.
    """
    rx, words = worker.calls[row]["rx"], worker.rings.words
    free = past.size - rx["partial_samples"]
    copy(past, free, worker.calls[row]["partial"], 0, rx["partial_samples"])
    frame_samples = words[row, FRAME_SAMPLES]
    cursor = words[row, TO_AI_WRITE] - 1
    while free > 0 and cursor >= 0 and words[row, TO_AI_WRITE] - cursor < TO_AI_SLOTS:
        slot = cursor & (TO_AI_SLOTS - 1)
        frame = worker.rings.to_ai[row, slot]
        if frame["kind"] == LINE or (frame["kind"] == AUDIO and frame["flags"] & MIXED_FLAG == 0):
            count = min(free, frame_samples)
            free -= count
            copy(past, free, worker.rings.to_ai_pcm[row], slot * frame_samples + frame_samples - count, count)
        cursor -= 1
    for i in range(free):
        past[i] = 0


@njit
def _similarity(pcm, one, other, count, step):
    """Normalised correlation of pcm[one : one + count] with pcm[other : other + count], every `step` samples."""
    product, energy, other_energy = 0.0, 1.0, 1.0
    for i in range(0, count, step):
        x, y = float(pcm[one + i]), float(pcm[other + i])
        product += x * y
        energy += x * x
        other_energy += y * y
    return product / math.sqrt(energy * other_energy)


@njit
def pitch_period(past, sample_rate_hz):
    """The lag, in samples, at which the end of `past` is most like itself. Coarse above 8 kHz, then to the sample."""
    step = max(1, sample_rate_hz // 8_000)
    shortest = sample_rate_hz // MAX_PITCH_HZ
    longest = min(sample_rate_hz // MIN_PITCH_HZ, past.size // 2)
    window = min(sample_rate_hz // PITCH_WINDOW_HZ, past.size - longest)
    start = past.size - window
    best_lag, best = longest, -1.0
    for lag in range(shortest, longest + 1, step):
        score = _similarity(past, start, start - lag, window, step)
        if score > best:
            best_lag, best = lag, score
    if step == 1:
        return best_lag
    coarse, best = best_lag, -1.0
    for lag in range(max(shortest, coarse - step + 1), min(longest, coarse + step - 1) + 1):
        score = _similarity(past, start, start - lag, window, 1)
        if score > best:
            best_lag, best = lag, score
    return best_lag


@njit
def is_periodic(past, period):
    """Whether one of the two last periods of `past` can stand for both: they are alike, or there is next to nothing in them."""
    start = past.size - period
    energy = 0.0
    for i in range(start - period, past.size):
        energy += float(past[i]) * float(past[i])
    return energy < 2 * period * SILENT_AMPLITUDE**2 or _similarity(past, start, start - period, period, 1) > IS_PERIODIC


@njit
def _future_period(future, samples, sample_rate_hz, period):
    """The period with which `future` begins: near the past's, or the past's where it has none."""
    best_lag, best = period, IS_PERIODIC
    longest = min(samples - sample_rate_hz // MIN_FUTURE_HZ, int(period / PERIOD_CHANGE))
    for lag in range(max(sample_rate_hz // MAX_PITCH_HZ, int(period * PERIOD_CHANGE)), longest + 1):
        score = _similarity(future, 0, lag, min(samples - lag, sample_rate_hz // MIN_PITCH_HZ), 1)
        if score > best:
            best_lag, best = lag, score
    return best_lag


@njit
def _shift(past, period, future, samples, sample_rate_hz, gap):
    """By how many samples the repeated past must be ahead at the end of the gap to be in step with the future."""
    window, first = min(samples, sample_rate_hz // ALIGN_WINDOW_HZ), past.size - period
    most = min(int(period * MAX_STRETCH), gap - 1)
    best_shift, best = 0, -2.0
    for shift in range(-most, most + 1):
        product, energy = 0.0, 1.0
        for i in range(window):
            x, y = float(past[first + (gap + shift + i) % period]), float(future[i])
            product += x * y
            energy += x * x
        score = product / math.sqrt(energy)
        if score > best:
            best_shift, best = shift, score
    return best_shift


@njit
def conceal(past, sample_rate_hz, future, future_samples, pcm_out, gap):
    """Make up `gap` samples between the end of `past` and the beginning of `future`; future_samples 0: nothing followed."""
    period = pitch_period(past, sample_rate_hz)
    if future_samples == 0:
        fade = sample_rate_hz * FADE_MS // 1000
        for i in range(gap):
            pcm_out[i] = int(max(0.0, 1.0 - i / fade) * past[past.size - period + i % period])
        return
    shift = _shift(past, period, future, future_samples, sample_rate_hz, gap)
    next_period = _future_period(future, future_samples, sample_rate_hz, period)
    pace = (gap + shift) / gap
    next_pace = pace * next_period / period
    has_next = next_period <= future_samples
    first = past.size - period
    for i in range(gap):
        at = i * pace
        whole = int(at)
        fraction = at - whole
        before = past[first + whole % period] * (1.0 - fraction) + past[first + (whole + 1) % period] * fraction
        after = before
        if has_next:
            at = (gap - i) * next_pace
            whole = int(at)
            fraction = at - whole
            after = future[-whole % next_period] * (1.0 - fraction) + future[(-whole - 1) % next_period] * fraction
        turned = (i + 0.5) / gap
        pcm_out[i] = int(before * (1.0 - turned) + after * turned)
