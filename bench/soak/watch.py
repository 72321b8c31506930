"""What a server holds, over time, and whether it grows: a line through the samples, with the interval it lies in."""

import contextlib
import math
import os
import pathlib
from typing import NamedTuple

import numpy as np

from bench.server import Server
from control_plane.errors import BellframeError

WARM_UP_S, WARM_UP_SHARE = 40.0, 0.3
"""Left out, whichever is more: rows touch their pages at their first call, caches and arenas fill."""
LEAST_SAMPLES = 20
T_95 = 2.0
"""Student's t for 95 % of two sides, from 60 samples on; for fewer it is a little more, which widens the interval."""


class Sample(NamedTuple):
    seconds: float
    memory_mb: float
    descriptors: int
    calls: int
    """As the front has them: each is a dialog."""
    rows: int
    """As the workers have them: each is a port pair and its rings."""
    transactions: int = 0
    dialogs: int = 0


class Slope(NamedTuple):
    """Growth an hour. Without limits where a run was too short to tell."""

    per_hour: float
    lowest: float
    highest: float

    @property
    def is_growth(self) -> bool:
        """Zero is not within the interval, from below."""
        return self.lowest > 0

    @property
    def is_known(self) -> bool:
        return math.isfinite(self.lowest)


def take(server: Server, seconds: float) -> Sample:
    descriptors = 0
    for pid in server.pids():
        with contextlib.suppress(OSError):
            descriptors += len(os.listdir(pathlib.Path(f"/proc/{pid}/fd")))
    rows = server.total("calls_open")
    memory_mb = sum(server.memory_mb().values())
    try:
        status = server.status()
    except BellframeError:  # the front is being replaced
        return Sample(seconds, memory_mb, descriptors, rows, rows, dialogs=rows)
    return Sample(seconds, memory_mb, descriptors, status.calls, rows, status.transactions, status.dialogs)


def slope(seconds: list[float], values: list[float]) -> Slope:
    """Least squares over what follows the warm-up, with a 95 % interval that allows for neighbours being alike.

    Memory wanders, so samples are not independent: the interval is widened by the residuals' correlation with their predecessors
    (effective sample size, as for a first-order autoregressive process).
    """
    first = max(int(len(values) * WARM_UP_SHARE), sum(at < WARM_UP_S for at in seconds))
    x, y = np.array(seconds[first:]) / 3600, np.array(values[first:], float)
    if len(x) < LEAST_SAMPLES:
        return Slope(0.0, -math.inf, math.inf)
    centred = x - x.mean()
    gradient = float((centred * y).sum() / (centred**2).sum())
    residuals = y - y.mean() - gradient * centred
    variance = float((residuals**2).sum())
    alike = float((residuals[1:] * residuals[:-1]).sum() / variance) if variance else 0.0
    alike = min(0.95, max(0.0, alike))
    freedom = max(1.0, (len(x) - 2) * (1 - alike) / (1 + alike))
    error = math.sqrt(variance / freedom / float((centred**2).sum()))
    return Slope(gradient, gradient - T_95 * error, gradient + T_95 * error)
