"""How loaded a worker is, from what it counts anyway: the part of the time it was busy, and the part of its packets that went out late."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shm.counters import WORKER

LATE_BUCKET = 15
"""Of the lateness histogram: 16 ms and more. Most of a packet late is heard; less is jitter as networks have it."""
FEWEST_PACKETS = 100
"""Of two calls in a second. What fewer say of lateness is chance."""


class Load(NamedTuple):
    busy_percent: float
    late_percent: float


class LoadMeter:
    """`measure` it once a second. Half of a figure is the second before, so that one stall refuses no calls for long."""

    def __init__(self, totals: npt.NDArray[np.int64], lateness: npt.NDArray[np.int64], now_ns: int) -> None:
        """`totals` and `lateness`: this worker's rows of the counters."""
        self.totals, self.lateness = totals, lateness
        self.load = Load(0.0, 0.0)
        self._before = self._read(now_ns)

    def _read(self, now_ns: int) -> tuple[int, int, int, int]:
        return now_ns, int(self.totals[WORKER["busy_ns"]]), int(self.lateness.sum()), int(self.lateness[LATE_BUCKET:].sum())

    def measure(self, now_ns: int) -> Load:
        now = self._read(now_ns)
        elapsed_ns, busy_ns, sent, late = (b - a for a, b in zip(self._before, now, strict=True))
        if elapsed_ns <= 0:
            return self.load
        self._before = now
        busy_percent = min(100.0, 100.0 * busy_ns / elapsed_ns)
        late_percent = 100.0 * late / sent if sent >= FEWEST_PACKETS else 0.0
        self.load = Load(round((self.load.busy_percent + busy_percent) / 2, 1), round((self.load.late_percent + late_percent) / 2, 1))
        return self.load
