"""What an agent hears in place of audio that never came: the last pitch periods again, fading.

Waveform repetition in the manner of G.711 Appendix I: the pitch is the lag with the greatest normalised
correlation in what was last heard; its period is repeated, and fades to nothing within 60 ms, because made-up
speech that goes on is worse than silence.
"""

import numpy as np

from shm.jit import njit

HISTORY_SAMPLES = 960
"""What is recalled of a stream when something is missing: enough for two periods of the lowest pitch at 16 kHz."""
MIN_PITCH_HZ, MAX_PITCH_HZ = 66, 400
FADE_MS = 60

HISTORY = np.dtype([("pcm", "i2", HISTORY_SAMPLES), ("period", "i8"), ("phase", "i8"), ("concealed_samples", "i8")])


@njit
def pitch_period(past, sample_rate_hz):
    """The lag, in samples, at which the end of `past` is most like itself."""
    shortest, longest = sample_rate_hz // MAX_PITCH_HZ, min(sample_rate_hz // MIN_PITCH_HZ, past.size // 2)
    window = longest
    best_lag, best_score = longest, 0.0
    for lag in range(shortest, longest + 1):
        product, energy = 0.0, 1.0
        for i in range(past.size - window, past.size):
            product += float(past[i]) * float(past[i - lag])
            energy += float(past[i - lag]) * float(past[i - lag])
        score = product / energy**0.5
        if score > best_score:
            best_lag, best_score = lag, score
    return best_lag


@njit
def conceal(history, sample_rate_hz, pcm_out, samples):
    """Make up `samples` of audio into `pcm_out`, going on from what was last heard or made up."""
    past = history["pcm"]
    if history["concealed_samples"] == 0:
        history["period"] = pitch_period(past, sample_rate_hz)
        history["phase"] = 0
    fade = sample_rate_hz * FADE_MS // 1000
    period = history["period"]
    for i in range(samples):
        gain = max(0.0, 1.0 - (history["concealed_samples"] + i) / fade)
        pcm_out[i] = int(gain * past[HISTORY_SAMPLES - period + history["phase"]])
        history["phase"] = (history["phase"] + 1) % period
    history["concealed_samples"] += samples
