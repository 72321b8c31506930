"""What is new for many calls, taken from their rings in one compiled call."""

import numpy as np

from ai_bridge.call import Call
from ai_bridge.frame import Pcm
from shm import ring
from shm.layout import DISCONTINUITY_FLAG, FRAME, Rings

FREE = -1
"""No row has this generation: `collect` passes a free seat over."""

FIELDS = [name for name in FRAME.names or () if name != "reserved"]
BRIEF_FRAME = FRAME[FIELDS]
"""FRAME without its reserved bytes: `tolist()` of it is half the work."""
Record = tuple[int, int, int, int, int, int, int, int, int, int]


class Intake:
    """Seats for calls. A seat is an index into every array, a call's own until it leaves."""

    def __init__(self, rings: Rings, seats: int, limit: int) -> None:
        """`limit`: most frames taken at once."""
        self.rings, self.limit = rings, limit
        self.calls: list[Call | None] = []
        self.rows = np.zeros(0, np.int64)
        self.generations = np.zeros(0, np.int64)
        self.lost = np.zeros(0, np.int64)
        self.frames = np.zeros(limit, FRAME)
        self.pcm: Pcm = np.zeros((limit, 160), np.int16)
        self._free: list[int] = []
        self._grow(seats)

    def _grow(self, seats: int) -> None:
        before = len(self.calls)
        self.calls += [None] * (seats - before)
        self.rows = np.concatenate((self.rows, np.zeros(seats - before, np.int64)))
        self.generations = np.concatenate((self.generations, np.full(seats - before, FREE, np.int64)))
        self.lost = np.concatenate((self.lost, np.zeros(seats - before, np.int64)))
        self._free += range(seats - 1, before - 1, -1)

    def add(self, call: Call) -> int:
        if not self._free:
            self._grow(2 * len(self.calls))
        seat = self._free.pop()
        if call.speech.frame_samples > self.pcm.shape[1]:
            self.pcm = np.zeros((self.limit, call.speech.frame_samples), np.int16)
        self.calls[seat] = call
        self.rows[seat], self.lost[seat] = call.row, 0
        self.generations[seat] = call.generation
        return seat

    def remove(self, seat: int) -> None:
        self.generations[seat] = FREE
        self.calls[seat] = None
        self._free.append(seat)

    def collect(self, most: int) -> int:
        """How many frames lie in `frames` and `pcm` now, at most `most` of each call, whose seat is in `sequence`."""
        return int(ring.collect(self.rings, self.rows, self.generations, self.lost, self.frames, self.pcm, most))

    def take_lost(self, seat: int) -> int:
        """Frames that the ring overwrote before this call's agent came to read them."""
        lost = int(self.lost[seat])
        self.lost[seat] = 0
        return lost

    def flag_lost(self, frames: "np.ndarray[tuple[int], np.dtype[np.void]]") -> None:
        """Set DISCONTINUITY on frames of calls that were lapped."""
        if self.lost.any():
            frames["flags"][self.lost[frames["sequence"]] > 0] |= DISCONTINUITY_FLAG
            self.lost[frames["sequence"]] = 0
