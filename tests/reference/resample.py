"""Rate conversion, slow and plain: the windowed sinc of ai_bridge/resample.py, evaluated at every output in float64."""

import math

import numpy as np
import numpy.typing as npt

MARGIN = 1_000  # zeros around the recording: more than any filter is long


def resample(pcm: npt.NDArray[np.int16], from_hz: int, to_hz: int, zero_crossings: int = 20, beta: float = 7.0, cutoff: float = 0.95):
    """ceil(size x to_hz / from_hz) samples, float64, not rounded. Outside of the recording there is silence."""
    slower = min(from_hz, to_hz)
    half = 2 * math.ceil(zero_crossings * from_hz / slower / 2)
    padded = np.concatenate((np.zeros(MARGIN), pcm, np.zeros(MARGIN)))
    out = []
    for n in range(math.ceil(pcm.size * to_hz / from_hz)):
        centre = n * from_hz / to_hz  # in input samples
        first = math.floor(centre + 1e-9) - half + 1
        distance = centre - np.arange(first, first + 2 * half)
        window = np.i0(beta * np.sqrt(np.maximum(0.0, 1 - (distance / half) ** 2)))
        weights = np.sinc(distance * cutoff * slower / from_hz) * window
        out.append(float(weights @ padded[first + MARGIN : first + MARGIN + 2 * half]) / float(weights.sum()))
    return np.array(out)
