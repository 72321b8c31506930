"""Is somebody speaking? By energy, above a noise floor that follows the line.

Cheap enough for every frame of every call, and good enough to interrupt; whether the words matter is for the
agent to judge.
"""

import math

import numpy as np

from shm.jit import njit
from shm.layout import FRAME_MS, SPEECH_HANGOVER_MS

ONSET_FRAMES = 2  # 40 ms: shorter is a click
HANGOVER_FRAMES = SPEECH_HANGOVER_MS // FRAME_MS
ABOVE_FLOOR_DB = 9
SURE_ABOVE_FLOOR_DB, SURE_DBOV = 25, -30
"""As loud as this for a whole frame is no click: one frame is enough, and an interruption acts 20 ms sooner."""
NEVER_BELOW_DBOV = -48
FLOOR_START_DBOV = -60
FLOOR_RISE_DB = 0.05  # a frame: 2.5 dB a second, so that a new hum is learnt within seconds, a sentence is not
FLOOR_FALL = 0.25
SILENCE_DBOV = -127

VOICE = np.dtype(
    [
        ("floor_dbov", "f8"),
        ("loud_frames", "i8"),
        ("hangover", "i8"),  # frames that still count as speech; 0: nobody speaks
    ]
)


@njit
def level_dbov(pcm, samples):
    """Mean power of the first `samples` against that of a full-scale sine, rounded: 0 to -127."""
    energy = np.int64(0)  # in integers, because a sum of floats may not be reordered, hence not vectorised
    for i in range(samples):
        energy += np.int64(pcm[i]) * np.int64(pcm[i])
    if energy == 0:
        return SILENCE_DBOV
    level = 10.0 * math.log10(energy / samples / (32768.0 * 32768.0 / 2.0))
    return int(max(-127.0, min(0.0, round(level))))


@njit
def start(voice):
    voice["floor_dbov"] = FLOOR_START_DBOV
    voice["loud_frames"] = 0
    voice["hangover"] = 0


@njit
def is_speech(voice, level):
    """Take the level of the next 20 ms; is it part of speech?"""
    floor = voice["floor_dbov"]
    if level > max(floor + ABOVE_FLOOR_DB, NEVER_BELOW_DBOV):
        is_sure = level > max(floor + SURE_ABOVE_FLOOR_DB, SURE_DBOV)
        voice["loud_frames"] += ONSET_FRAMES if is_sure else 1
        if voice["loud_frames"] >= ONSET_FRAMES or voice["hangover"] > 0:
            voice["hangover"] = HANGOVER_FRAMES
    else:
        voice["loud_frames"] = 0
        if voice["hangover"] > 0:
            voice["hangover"] -= 1
    if level < floor:
        voice["floor_dbov"] = floor + FLOOR_FALL * (max(level, -90) - floor)
    else:
        voice["floor_dbov"] = min(floor + FLOOR_RISE_DB, -30.0)
    return voice["hangover"] > 0


@njit
def is_voiced(voice):
    """Had the frame that `is_speech` took last sound of its own, whether or not it is part of speech?"""
    return voice["loud_frames"] > 0
