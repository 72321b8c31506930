"""The agent's own voice, as it comes back from a speakerphone: taken out of what the caller sends, and never taken for the caller's.

A partitioned block filter in the frequency domain (overlap-save, one block a frame of 20 ms) learns the way from what was sent, sample for
sample as playout sent it, to what came back. Two filters guard against both talking at once: the one behind learns all the time, the
one in front is used, takes over what has proved better and gives it back to the one behind when that has gone astray. What the filter
leaves (reverberation, a cheap loudspeaker's distortion) is judged by how much it usually leaves: a frame that has no more than that
is echo. Twin: tests/reference/echo.py. Measured: bench/echo.py.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shm.jit import njit

PARTITIONS = 14
"""Of 20 ms each: an echo that is 200 ms late and rings for 60 is still within, behind the margin."""
RATES_HZ = (8_000, 16_000)
MAX_FFT = 1024
FFT_PER_HZ = 512 / 8_000
BINS = MAX_FFT // 2 + 1
SENT_SAMPLES = 8_192
"""What was sent is remembered for half a second at 16 kHz: frames that a gap held up look so far back."""
STEP = np.float32(0.5)
MEMORY = np.float32(0.9)  # of a bin's power: what was loud just now is not divided by little
REGULAR = np.float32(0.01)  # of the mean power
CONSTRAINED = 2  # partitions a frame that are brought back to their 20 ms: all of them every 140 ms
SMOOTH = 0.8
BETTER, USEFUL, ASTRAY = 0.85, 0.7, 2.0
ACTIVE_POWER = 10 ** (-5.5)  # -55 dBov: comfort noise is below
SPOKEN_POWER = 10 ** (-5.0)
LEAK_FALL, LEAK_RISE, LEAK_RISE_MOST = 0.2, 0.01, 4.0
LEAK_FACTOR, LEAK_LOW = 10.0, 1.0
"""A frame that holds less than ten times what usually leaks, or no more than the echo's own power, is echo."""
LEAK_EARLY, SETTLED_FRAMES = 4.0, 400
"""Nor if it holds so much more, while the way is not known well: less and less over eight seconds of the agent's speech."""
GRACE_FRAMES = 75
"""Of speech of the agent that it takes to learn the way: until then nothing interrupts."""
LEVEL_DBOV = -60
"""The loudest that a frame of echo counts as."""
ANCHOR_FRAMES = 250
MARGIN_MS = 20
"""What comes is held against what was sent so much earlier: a frame that is faster than the first ones then moves nothing, for
each move has the filter learn anew."""
LATEST_MS = 300
"""Behind a hole, a frame that is later than this is of another stream."""
SHORTEST = 1e-8  # power of an estimate that says nothing

STATE = np.dtype(
    [
        ("rate_hz", "i8"),  # 0: fresh
        ("sent_until", "i8"),  # the sample behind the last one that is remembered; a second has rate_hz of them, by CLOCK_MONOTONIC
        ("expected", "i8"),  # position of the next frame
        ("align", "i8"),  # what is added to a position for the sample that went out when the frame came
        ("lowest", "i8"),  # the least of it in this window of ANCHOR_FRAMES
        ("frames", "i8"),
        ("quiet", "i8"),  # frames since the agent was last heard
        ("head", "i8"),  # where the newest spectrum lies
        ("turn", "i8"),  # the partition to constrain next
        ("learnt", "i8"),  # frames of the agent's speech so far
        ("front_power", "f8"),
        ("back_power", "f8"),
        ("mic_power", "f8"),
        ("leak", "f8"),
        ("echo_powers", "f8", 3),
    ]
)


class Echo(NamedTuple):
    """A worker's own memory, by row: a successor learns anew. Pages of calls that want no guard are never touched."""

    states: npt.NDArray[np.void]  # (C,) STATE
    sent: npt.NDArray[np.int16]  # (C, SENT_SAMPLES), sample s at s mod SENT_SAMPLES
    spectra: npt.NDArray[np.complex64]  # (C, PARTITIONS, BINS) of what was sent
    front: npt.NDArray[np.complex64]
    back: npt.NDArray[np.complex64]
    power: npt.NDArray[np.float32]  # (C, BINS)
    work: npt.NDArray[np.complex64]  # (2, MAX_FFT)
    left: npt.NDArray[np.float32]  # (2, MAX_FFT): what is left of the frame, and the echo in it


def make(calls: int) -> Echo:
    spectra, front, back = (np.zeros((calls, PARTITIONS, BINS), np.complex64) for _ in range(3))
    return Echo(
        states=np.zeros(calls, STATE),
        sent=np.zeros((calls, SENT_SAMPLES), np.int16),
        spectra=spectra,
        front=front,
        back=back,
        power=np.zeros((calls, BINS), np.float32),
        work=np.zeros((2, MAX_FFT), np.complex64),
        left=np.zeros((2, MAX_FFT), np.float32),
    )


TWIDDLES = np.exp(-2j * np.pi * np.arange(MAX_FFT // 2) / MAX_FFT).astype(np.complex64)


@njit
def transform(x, n, is_inverse):
    """The discrete Fourier transform of x[:n] in its place, n a power of two up to MAX_FFT; the inverse is not divided by n."""
    j = 0
    for i in range(1, n):
        bit = n >> 1
        while j & bit:
            j ^= bit
            bit >>= 1
        j |= bit
        if i < j:
            x[i], x[j] = x[j], x[i]
    half = 1
    while half < n:
        stride = MAX_FFT // (2 * half)
        for k in range(half):
            turn = TWIDDLES[k * stride]
            if is_inverse:
                turn = np.conj(turn)
            for i in range(k, n, 2 * half):
                odd = x[i + half] * turn
                x[i + half] = x[i] - odd
                x[i] += odd
        half *= 2


@njit
def position_at(now_ns, rate_hz):
    """The sample that goes out at this time. Packets go out at whole milliseconds, so theirs is exact."""
    return now_ns // 1_000_000 * (rate_hz // 1000) + now_ns % 1_000_000 * rate_hz // 1_000_000_000


@njit
def remember(echo, row, pcm, samples, due_ns, rate_hz):
    """`pcm[:samples]` is about to be sent, and was due at `due_ns`. What was not sent before it was silence."""
    state, sent = echo.states[row], echo.sent[row]
    at = position_at(due_ns, rate_hz)
    for i in range(max(state["sent_until"], at - SENT_SAMPLES), at):
        sent[i & (SENT_SAMPLES - 1)] = 0
    for i in range(samples):
        sent[(at + i) & (SENT_SAMPLES - 1)] = pcm[i]
    state["sent_until"] = at + samples


def forget(echo: Echo, row: int) -> None:
    """The row's next call has another speakerphone."""
    echo.states[row] = np.zeros((), STATE)


@njit
def _begin(echo, row, rate_hz, position, now_align):
    state = echo.states[row]
    for name in (echo.spectra, echo.front, echo.back):
        for p in range(PARTITIONS):
            for k in range(BINS):
                name[row, p, k] = 0
    for k in range(BINS):
        echo.power[row, k] = 0
    state["rate_hz"], state["expected"] = rate_hz, position
    state["lowest"] = now_align
    _anchor(state, rate_hz, now_align)
    state["frames"] = state["head"] = state["turn"] = 0
    state["quiet"] = PARTITIONS + 4
    state["front_power"] = state["back_power"] = state["mic_power"] = 0.0
    state["leak"] = 1.0
    for i in range(3):
        state["echo_powers"][i] = 0.0


@njit
def _anchor(state, rate_hz, now_align):
    """Hold what comes against what was sent so much before: the way that was learnt is another now."""
    state["align"] = now_align - MARGIN_MS * rate_hz // 1000
    state["learnt"] = 0


@njit
def _follow_clock(state, rate_hz, now_align, samples):
    """Where what was sent stands against what comes. The frame that came fastest counts, anew every few seconds: clocks drift."""
    state["lowest"] = min(state["lowest"], now_align)
    if now_align < state["align"]:
        _anchor(state, rate_hz, now_align)
    state["frames"] += 1
    if state["frames"] % ANCHOR_FRAMES == 0:
        if state["lowest"] - state["align"] > MARGIN_MS * rate_hz // 1000 + samples:
            _anchor(state, rate_hz, state["lowest"])
        state["lowest"] = now_align


@njit
def _pass_hole(echo, row, rate_hz, position, now_align, n, samples):
    """Frames are missing before this one. What was sent meanwhile is known; a stream that began anew stands elsewhere against it."""
    state = echo.states[row]
    if now_align - state["align"] > (MARGIN_MS + LATEST_MS) * rate_hz // 1000:
        _anchor(state, rate_hz, now_align)
    if state["quiet"] < PARTITIONS + 4:
        for back in range(PARTITIONS - 1, 0, -1):
            _load_sent(echo, row, position + samples + state["align"] - back * samples, n, samples)
            _keep_spectrum(echo, row, n)


@njit
def _keep_spectrum(echo, row, n):
    """Of what is in work[0]: the newest."""
    state = echo.states[row]
    state["head"] = (state["head"] + 1) % PARTITIONS
    transform(echo.work[0], n, False)
    for k in range(n // 2 + 1):
        echo.spectra[row, state["head"], k] = echo.work[0, k]


@njit
def guard(echo, row, frame, rate_hz, position, now_ns):
    """Take the echo out of the caller's `frame`, which came at `now_ns`. True: it holds nothing else. Only at RATES_HZ."""
    samples = frame.size
    if rate_hz not in RATES_HZ:
        return False
    state, now_align = echo.states[row], position_at(now_ns, rate_hz) - position - samples
    if state["rate_hz"] != rate_hz:
        _begin(echo, row, rate_hz, position, now_align)
    n = int(rate_hz * FFT_PER_HZ)
    _follow_clock(state, rate_hz, now_align, samples)
    if position != state["expected"]:
        _pass_hole(echo, row, rate_hz, position, now_align, n, samples)
    state["expected"] = position + samples
    end = position + samples + state["align"]
    sent_power = _load_sent(echo, row, end, n, samples)
    if sent_power > ACTIVE_POWER:
        if state["quiet"] >= PARTITIONS + 4:
            for p in range(PARTITIONS):
                for k in range(n // 2 + 1):
                    echo.spectra[row, p, k] = 0
        state["quiet"] = 0
    elif state["quiet"] >= PARTITIONS + 4:
        return False  # the agent is silent: nothing to do, and nothing to pay
    else:
        state["quiet"] += 1
    if sent_power > SPOKEN_POWER:
        state["learnt"] += 1
    _keep_spectrum(echo, row, n)
    mean_power = _power(echo, row, n)
    mic, front, back, heard = _filter(echo, row, frame, n, samples)
    if mean_power * 2 / (PARTITIONS * float(n) * float(n)) > ACTIVE_POWER:
        _learn(echo, row, n, samples, mean_power)
        _choose(echo, row, n, mic, front, back)
    return _judge(echo, row, frame, samples, mic, front, heard)


@njit
def _load_sent(echo, row, end, n, samples):
    """The `n` samples sent up to `end` into work[0]; returns the mean power of the last `samples`."""
    state, sent, work = echo.states[row], echo.sent[row], echo.work[0]
    until, power = state["sent_until"], 0.0
    for i in range(n):
        at = end - n + i
        value = np.float32(sent[at & (SENT_SAMPLES - 1)]) / np.float32(32768) if until - SENT_SAMPLES <= at < until else np.float32(0)
        work[i] = value
        if i >= n - samples:
            power += value * value
    return power / samples


@njit
def _power(echo, row, n):
    """The power of what was sent in each bin, remembered for a while; returns what it is now, summed over bins."""
    total = 0.0
    for k in range(n // 2 + 1):
        now = np.float32(0)
        for p in range(PARTITIONS):
            value = echo.spectra[row, p, k]
            now += value.real * value.real + value.imag * value.imag
        total += now
        echo.power[row, k] = max(now, MEMORY * echo.power[row, k])
    return total


@njit
def _filter(echo, row, frame, n, samples):
    """What both filters leave. left[0] and left[1]: what the one in front leaves, and the echo that it found; work[1]: what the one behind
    leaves. Returns the powers of the frame, of both, and of the echo."""
    z, half, head = echo.work[0], n // 2, echo.states[row]["head"]
    for k in range(half + 1):
        one, other = np.complex64(0), np.complex64(0)
        for p in range(PARTITIONS):
            value = echo.spectra[row, (head - p) % PARTITIONS, k]
            one += value * echo.front[row, p, k]
            other += value * echo.back[row, p, k]
        # Two real signals in one transform: the second as the imaginary part of the first.
        z[k] = np.complex64(complex(one.real - other.imag, one.imag + other.real))
        if 0 < k < half:
            z[n - k] = np.complex64(complex(one.real + other.imag, other.real - one.imag))
    transform(z, n, True)
    mic, front, back, heard = 0.0, 0.0, 0.0, 0.0
    behind = echo.work[1]
    for i in range(n - samples):
        behind[i] = 0
    for i in range(samples):
        value = z[n - samples + i]
        sample = np.float32(frame[i]) / np.float32(32768)
        estimate, other = value.real / np.float32(n), value.imag / np.float32(n)
        echo.left[0, i], echo.left[1, i] = sample - estimate, estimate
        behind[n - samples + i] = sample - other
        mic += sample * sample
        front += (sample - estimate) ** 2
        back += (sample - other) ** 2
        heard += estimate * estimate
    return mic, front, back, heard


@njit
def _learn(echo, row, n, samples, mean_power):
    """Move the filter behind by what it left, and bring two of its partitions back to the samples that they stand for."""
    state, error, half = echo.states[row], echo.work[1], n // 2
    transform(error, n, False)
    regular = REGULAR * np.float32(mean_power / (half + 1)) + np.float32(1e-6)
    head = state["head"]
    for p in range(PARTITIONS):
        at = (head - p) % PARTITIONS
        for k in range(half + 1):
            step = error[k] * (STEP / (echo.power[row, k] + regular))
            echo.back[row, p, k] += np.conj(echo.spectra[row, at, k]) * step
    one, other = state["turn"] % PARTITIONS, (state["turn"] + 1) % PARTITIONS
    state["turn"] = (state["turn"] + CONSTRAINED) % PARTITIONS
    z, back = echo.work[0], echo.back[row]
    for k in range(half + 1):
        a, b = back[one, k], back[other, k]
        if k == 0 or k == half:
            a, b = np.complex64(a.real), np.complex64(b.real)
        z[k] = np.complex64(complex(a.real - b.imag, a.imag + b.real))
        if 0 < k < half:
            z[n - k] = np.complex64(complex(a.real + b.imag, b.real - a.imag))
    transform(z, n, True)
    for i in range(n):
        z[i] = z[i] / np.float32(n) if i < samples else np.complex64(0)
    transform(z, n, False)
    for k in range(half + 1):
        value, mirrored = z[k], np.conj(z[(n - k) % n])
        back[one, k] = (value + mirrored) * np.float32(0.5)
        difference = (value - mirrored) * np.float32(0.5)
        back[other, k] = np.complex64(complex(difference.imag, -difference.real))


@njit
def _choose(echo, row, n, mic, front, back):
    """Which filter has proved better?"""
    state = echo.states[row]
    state["front_power"] = SMOOTH * state["front_power"] + (1 - SMOOTH) * front
    state["back_power"] = SMOOTH * state["back_power"] + (1 - SMOOTH) * back
    state["mic_power"] = SMOOTH * state["mic_power"] + (1 - SMOOTH) * mic
    if state["back_power"] < BETTER * state["front_power"] and state["back_power"] < USEFUL * state["mic_power"]:
        _copy(echo.front[row], echo.back[row], n)
        state["front_power"] = state["back_power"]
    elif state["back_power"] > ASTRAY * state["front_power"] or state["back_power"] > ASTRAY * state["mic_power"]:
        _copy(echo.back[row], echo.front[row], n)
        state["back_power"] = state["front_power"]


@njit
def _copy(target, source, n):
    for p in range(PARTITIONS):
        for k in range(n // 2 + 1):
            target[p, k] = source[p, k]


@njit
def _judge(echo, row, frame, samples, mic, front, heard):
    """Put what is left in the frame's place, if that is less; is it no more than what usually leaks?"""
    state = echo.states[row]
    left = min(mic, front)
    if front < mic:
        for i in range(samples):
            frame[i] = np.int16(max(-32768.0, min(32767.0, np.rint(echo.left[0, i] * np.float32(32768)))))
    powers = state["echo_powers"]
    powers[2], powers[1], powers[0] = powers[1], powers[0], heard
    loudest = max(powers[0], max(powers[1], powers[2]))
    if heard > SHORTEST * samples:
        ratio = left / loudest
        if ratio < state["leak"]:
            state["leak"] += LEAK_FALL * (ratio - state["leak"])
        else:
            state["leak"] += LEAK_RISE * (min(ratio, LEAK_RISE_MOST * state["leak"]) - state["leak"])
    low = LEAK_LOW + LEAK_EARLY * max(0.0, 1.0 - state["learnt"] / SETTLED_FRAMES)
    return left < max(LEAK_FACTOR * state["leak"], low) * loudest or state["learnt"] < GRACE_FRAMES
