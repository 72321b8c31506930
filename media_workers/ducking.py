"""Speaking more softly while the caller speaks: what the agent says, lowered by so many decibels and brought back without a click."""

import numpy as np

from shm.jit import njit
from shm.layout import MAX_DUCK_DB

UNITY = 32_768
TAKEN = np.array([round(UNITY * (1 - 10 ** (-lowered_db / 20))) for lowered_db in range(MAX_DUCK_DB + 1)])
"""By decibels: how much is taken away, so that a row full of zeros takes nothing."""
RAMP_HZ = 100  # from all to nothing in 10 ms: shorter clicks, longer is heard as late


@njit
def lower(tx, pcm, samples, lowered_db, sample_rate_hz):
    """Multiply `pcm[:samples]` by what is left, on the way to `lowered_db`."""
    target, taken = TAKEN[max(0, min(MAX_DUCK_DB, lowered_db))], tx["ducked"]
    if taken == 0 and target == 0:
        return
    step = UNITY * RAMP_HZ // sample_rate_hz
    for i in range(samples):
        taken += max(-step, min(step, target - taken))
        pcm[i] = (np.int64(pcm[i]) * (UNITY - taken) + UNITY // 2) >> 15
    tx["ducked"] = taken
