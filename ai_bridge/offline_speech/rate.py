"""Rate conversion of a whole recording with numpy alone, for processes that must start at once: no numba here.

Windowed sinc, 24 zero crossings of the slower rate on each side, Kaiser window with beta 8. ai_bridge/resample.py
does the same for streams, compiled.
"""

import math

import numpy as np
import numpy.typing as npt

ZERO_CROSSINGS = 24
KAISER_BETA = 8.0
CUTOFF = 0.94  # of the slower rate's Nyquist frequency


def convert(samples: npt.NDArray[np.float64], from_hz: int, to_hz: int) -> npt.NDArray[np.float64]:
    """ceil(size x to_hz / from_hz) samples, lined up with the input."""
    if from_hz == to_hz or not samples.size:
        return samples
    up, down = to_hz // math.gcd(from_hz, to_hz), from_hz // math.gcd(from_hz, to_hz)
    band = CUTOFF * min(1.0, to_hz / from_hz)
    half = math.ceil(ZERO_CROSSINGS * max(1.0, from_hz / to_hz))
    padded = np.pad(samples, (half, half + 1))
    out = np.empty(-(-samples.size * up // down))
    for phase in range(min(up, out.size)):
        # outputs `phase`, `phase + up`, ...: they share their filter
        first, fraction = divmod(phase * down, up)
        offset = np.arange(-half + 1, half + 1) - fraction / up
        taps = np.sinc(band * offset) * np.i0(KAISER_BETA * np.sqrt(np.maximum(0.0, 1 - (offset / half) ** 2)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half)[first + 1 :: down]
        count = out[phase::up].size
        out[phase::up] = windows[:count] @ (taps / taps.sum())
    return out


def to_pcm16(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.int16]:
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
