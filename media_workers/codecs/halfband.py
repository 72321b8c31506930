"""Between 8 and 16 kHz, for calls whose codec changed to one of the other rate after they began.

A half-band filter: every second tap is zero but the middle one, so a sample costs 12 multiplications. Level to 3.4 kHz, 60 dB down
from 4.6 kHz on; between them 8 kHz cannot tell a sound from its image. 1.4 ms of delay.
"""

import numpy as np
import numpy.typing as npt

from shm.copying import copy
from shm.jit import njit

TAPS = 24
LINE_SAMPLES = 2 * TAPS
KAISER_BETA = 5.7  # 60 dB


def _design() -> npt.NDArray[np.int64]:
    """The odd taps; they sum to 32768."""
    at = np.arange(-TAPS + 1, TAPS, 2) / 2
    taps = np.sinc(at) * np.kaiser(2 * TAPS + 1, KAISER_BETA)[1::2]
    rounded = np.round(taps / taps.sum() * 32_768).astype(np.int64)
    rounded[[TAPS // 2 - 1, TAPS // 2]] += (32_768 - rounded.sum()) // 2
    return rounded


COEFFICIENTS = _design()


@njit
def halve(line, pcm, samples):
    """Audio of 16 kHz becomes 8 kHz, in place; returns the samples left. `line` remembers, int32[48]."""
    for n in range(samples // 2):
        copy(line, 0, line, 2, LINE_SAMPLES - 2)
        line[LINE_SAMPLES - 2] = pcm[2 * n]
        line[LINE_SAMPLES - 1] = pcm[2 * n + 1]
        total = np.int64(line[TAPS]) << 15
        for i in range(TAPS):
            total += line[2 * i + 1] * COEFFICIENTS[i]
        pcm[n] = _limit16(total + 0x8000 >> 16)
    return samples // 2


@njit
def double(line, narrow, pcm, samples):
    """`samples` of 8 kHz in `narrow` become twice as many of 16 kHz in `pcm`; `narrow` may be its second half."""
    for n in range(samples):
        copy(line, 0, line, 1, TAPS - 1)
        line[TAPS - 1] = narrow[n]
        total = np.int64(0)
        for i in range(TAPS):
            total += line[i] * COEFFICIENTS[i]
        pcm[2 * n] = line[TAPS // 2 - 1]
        pcm[2 * n + 1] = _limit16(total + 0x4000 >> 15)
    return 2 * samples


@njit
def _limit16(value):
    return min(max(value, -32768), 32767)
