"""The media's figures, read from the shared counters: the workers do nothing for it, and do not notice.

What a call has counted goes with its row when the row is given to another call. A look once a second adds up what
came since the last one, so the totals only grow, and miss at most what a row counted in its last second before it was reused.
"""

import asyncio
import contextlib
import logging
import pathlib
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from shm.counters import Counters

log = logging.getLogger("http")
LOOK_S = 1.0
AWAY_NS = 3_000_000_000
"""No heartbeat of any worker for so long: the keeper was replaced, and its successor has other counters."""
QUANTILES = (0.5, 0.9, 0.99, 1.0)
LOW_QUANTILES = (0.0, 0.01, 0.1, 0.5)


class OpenCalls(NamedTuple):
    """Of the calls that are open now, one value each."""

    mos: npt.NDArray[np.float64]
    """Of those that have been measured; as round_trip_s."""
    round_trip_s: npt.NDArray[np.float64]
    jitter_s: npt.NDArray[np.float64]
    loss_ratio: npt.NDArray[np.float64]
    late_ratio: npt.NDArray[np.float64]


class Media:
    """`run` looks once a second; `look` may be called in between."""

    def __init__(self, directory: pathlib.Path) -> None:
        from shm.counters import CALL_COUNTERS

        self.directory = directory
        self.views: Counters | None = None
        self.totals = np.zeros(len(CALL_COUNTERS), np.int64)
        """By column of CALL_COUNTERS, over all calls since this process began to look."""
        self.known_generations: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.known: npt.NDArray[np.int64] = np.zeros((0, 0), np.int64)

    async def run(self) -> None:
        while True:
            if self.views is None or self.is_away():
                with contextlib.suppress(OSError, ValueError):
                    self.adopt(await asyncio.to_thread(self.ask))
            self.look()
            await asyncio.sleep(LOOK_S)

    def ask(self) -> "Counters":
        """Raises OSError while no keeper listens."""
        from shm import handover

        return handover.ask_for_counters(self.directory)

    def adopt(self, views: "Counters") -> None:
        self.views = views
        self.known_generations, self.known = np.zeros(len(views.calls), np.int64), np.zeros((len(views.calls), self.totals.size), np.int64)

    def is_away(self) -> bool:
        from shm.counters import WORKER

        return self.views is None or time.monotonic_ns() - int(self.views.workers[:, WORKER["heartbeat_ns"]].max(initial=0)) > AWAY_NS

    def look(self) -> None:
        """Add what was counted since the last look. A row with another generation began from nothing."""
        if self.views is None:
            return
        generations = self.views.calls["generation"].copy()
        counters = self.views.calls["counters"][:, : self.totals.size].copy()
        is_same = (generations == self.known_generations)[:, None]
        self.totals += np.maximum(0, counters - np.where(is_same, self.known, 0)).sum(axis=0)
        self.known_generations, self.known = generations, counters

    def levels(self, call_id: str) -> dict[str, float] | None:
        """How loud both sides are now, and what is wrong with the sound. None: no such call is open."""
        from shm.counters import CALL_COLUMN as COLUMN

        if self.views is None or not call_id:
            return None
        rows = np.flatnonzero(self.views.calls["call_id"] == call_id.encode()[:40])
        if not rows.size:
            return None
        counters = self.views.calls["counters"][rows[0]]
        return {
            "rx_dbov": int(counters[COLUMN["level_rx_dbov"]]),
            "tx_dbov": int(counters[COLUMN["level_tx_dbov"]]),
            "jitter_ms": int(counters[COLUMN["jitter_us"]]) / 1000,
            **{name: int(counters[COLUMN[name]]) for name in ("packets_received", "lost", "late", "concealed_frames")},
        }

    def open_calls(self) -> OpenCalls:
        from shm.counters import CALL_COLUMN as COLUMN

        if self.views is None:
            return OpenCalls(*[np.zeros(0)] * len(OpenCalls._fields))
        rows = self.views.calls[self.views.calls["call_id"] != b""]["counters"]
        received, lost, late = (rows[:, COLUMN[name]] for name in ("packets_received", "lost", "late"))
        expected = np.maximum(1, received + lost)
        mos, round_trip_us = (rows[:, COLUMN[name]] for name in ("mos_x100", "rtt_us"))
        measured = mos[mos > 0] / 100, round_trip_us[round_trip_us > 0] / 1e6
        return OpenCalls(*measured, rows[:, COLUMN["jitter_us"]] / 1e6, lost / expected, late / expected)
