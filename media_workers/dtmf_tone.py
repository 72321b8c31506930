"""Keys heard as tones in the audio, for far ends that did not agree to telephone-events: one key told per press.

Goertzel filters over blocks of 12.75 ms, and the tests of a receiver: loud enough, two tones and hardly anything else,
balanced as ITU-T Q.24 allows. Two blocks in a row are a key (25 ms, so that 40 ms always are), three without it end it.
"""

import numpy as np

from control_plane import dtmf
from shm.jit import njit

BLOCK_PER_MILLION = 12_750  # microseconds
LEAST_AMPLITUDE = 175.0  # of each tone: -45 dBov; below it lies the noise of lines
HIGH_OVER_LOW, LOW_OVER_HIGH = 2.51, 6.31  # 4 and 8 dB: lines swallow high tones (Q.24 table A-1)
OVER_OTHERS = 6.31  # above the other three of its group
SHARE_OF_ENERGY = 0.76  # in both tones: speech that happens to have them has more besides
BEGIN_BLOCKS, END_BLOCKS = 2, 3
NO_KEY = -1
KEYPAD = np.frombuffer("".join(dtmf.KEYPAD).encode(), np.uint8).reshape(4, 4)

TONES = np.dtype(
    [
        ("is_on", "i8"),
        ("block", "i8"),  # samples of one
        ("coefficient", "f8", 8),  # of each filter: the four low tones, the four high ones
        ("s1", "f8", 8),
        ("s2", "f8", 8),
        ("energy", "f8"),
        ("samples", "i8"),  # of this block so far
        ("candidate", "i8"),  # the key that the last block had, and how many in a row; NO_KEY: none
        ("blocks", "i8"),
        ("key", "i8"),  # that is told and still down
        ("absent", "i8"),  # blocks since it was heard
    ]
)


def start(tones: np.void, sample_rate_hz: int) -> None:
    """Listen, from now on, at this rate (the worker's Python side)."""
    pitches = np.array(dtmf.LOW_HZ + dtmf.HIGH_HZ)
    tones["block"] = sample_rate_hz * BLOCK_PER_MILLION // 1_000_000
    tones["coefficient"] = 2 * np.cos(2 * np.pi * pitches / sample_rate_hz)
    tones["candidate"] = tones["key"] = NO_KEY
    tones["is_on"] = 1


@njit
def take_key(tones, pcm, samples):
    """The ASCII code of a key that begins within these samples, or NO_KEY."""
    told = NO_KEY
    for i in range(samples):
        x = np.float64(pcm[i])
        for n in range(8):
            s0 = x + tones["coefficient"][n] * tones["s1"][n] - tones["s2"][n]
            tones["s2"][n] = tones["s1"][n]
            tones["s1"][n] = s0
        tones["energy"] += x * x
        tones["samples"] += 1
        if tones["samples"] == tones["block"]:
            key = _follow(tones, _heard(tones))
            told = key if key != NO_KEY else told
            tones["samples"] = 0
            tones["energy"] = 0.0
            for n in range(8):
                tones["s1"][n] = tones["s2"][n] = 0.0
    return told


@njit
def _power(tones, n):
    s1, s2 = tones["s1"][n], tones["s2"][n]
    return s1 * s1 + s2 * s2 - tones["coefficient"][n] * s1 * s2


@njit
def _loudest(tones, first):
    """Which of four filters, if it stands out; else NO_KEY."""
    best = first
    for n in range(first + 1, first + 4):
        if _power(tones, n) > _power(tones, best):
            best = n
    for n in range(first, first + 4):
        if n != best and _power(tones, n) * OVER_OTHERS > _power(tones, best):
            return NO_KEY
    return best


@njit
def _heard(tones):
    """The key of the block that is complete, or NO_KEY."""
    least = (LEAST_AMPLITUDE * tones["block"] / 2) ** 2
    low, high = _loudest(tones, 0), _loudest(tones, 4)
    if low == NO_KEY or high == NO_KEY:
        return NO_KEY
    low_power, high_power = _power(tones, low), _power(tones, high)
    if low_power < least or high_power < least or high_power > low_power * HIGH_OVER_LOW or low_power > high_power * LOW_OVER_HIGH:
        return NO_KEY
    if low_power + high_power < SHARE_OF_ENERGY * tones["energy"] * tones["block"] / 2:
        return NO_KEY
    return np.int64(KEYPAD[low, high - 4])


@njit
def _follow(tones, heard):
    """A key that is down now and was not: told once its second block has come."""
    tones["blocks"] = tones["blocks"] + 1 if heard == tones["candidate"] else 1
    tones["candidate"] = heard
    if heard == tones["key"]:
        tones["absent"] = 0
        return NO_KEY
    tones["absent"] += 1
    if tones["absent"] >= END_BLOCKS:
        tones["key"] = NO_KEY
    if heard == NO_KEY or tones["blocks"] != BEGIN_BLOCKS:
        return NO_KEY
    tones["key"] = heard
    tones["absent"] = 0
    return heard
