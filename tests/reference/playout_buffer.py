"""The playout buffer between legs, plainly: one list from the first sample on, nothing that goes round.

What media_workers/playout_buffer.py must do, sample by sample. Only the search for the pitch is not written again: it has its own tests.
"""

import numpy as np

from media_workers.concealment import is_periodic, pitch_period

MS = 1_000_000


class PlayoutBuffer:
    def __init__(self, rate_hz: int) -> None:
        self.rate_hz, self.per_ms = rate_hz, rate_hz // 1000
        self.samples: dict[int, int] = {}
        self.written = self.read = self.frames = self.least = self.least_before = 0
        self.made_up: list[int] = []
        self.cycle: list[int] = []
        self.is_live = False

    def now(self, at_ns: int) -> int:
        return at_ns // 1000 * self.per_ms // 1000

    def append(self, value: int) -> None:
        self.samples[self.written] = value
        self.written += 1

    def past(self) -> np.ndarray:
        return np.array([self.samples.get(n, 0) for n in range(self.written - 960, self.written)], np.int16)

    def begin(self, start: int) -> None:
        self.written = max(start, self.read)
        self.made_up, self.least, self.least_before, self.is_live = [], 0, 0, True

    def gain(self, i: int) -> float:
        return min(1.0, 1.5 * (1.0 - i / (60 * self.per_ms)))

    def make_up(self, gain: float) -> None:
        value = int(gain * self.cycle[len(self.made_up) % len(self.cycle)])
        self.made_up.append(value)
        self.append(value)

    def put(self, frame: list[int], is_noise: bool, lead: int, at_ns: int) -> None:
        now = self.now(at_ns)
        if not self.is_live or self.written - now < -60 * self.per_ms:
            self.begin(now + lead)
            ahead = lead
        else:
            if self.made_up:
                self.come_back()
            ahead = self.written - now
        if ahead > 160 * self.per_ms or (is_noise and ahead > lead):
            return
        for value in frame:
            self.append(value)
        self.least = min(self.least, ahead)
        self.frames += 1
        if self.frames % 100 == 0:
            self.least_before, self.least = self.least, ahead
        self.shorten()

    def come_back(self) -> None:
        period = len(self.cycle)
        rest = -len(self.made_up) % period
        if rest < self.rate_hz // 400:
            rest += period
        gain = self.gain(len(self.made_up))
        for i in range(rest):
            self.make_up(gain + (1.0 - gain) * (i + 1) / rest)
        self.made_up = []

    def cover(self, end: int) -> None:
        if not self.is_live or self.written >= end:
            return
        if not self.made_up:
            past = self.past()
            self.cycle = past[past.size - int(pitch_period(past, self.rate_hz)) :].tolist()
        while self.written < end and len(self.made_up) < 60 * self.per_ms:
            self.make_up(self.gain(len(self.made_up)))
        self.is_live = len(self.made_up) < 60 * self.per_ms

    def fetch(self, start: int, count: int) -> list[int]:
        self.read = max(self.read, start + count)
        return [self.samples.get(n, 0) if n < self.written else 0 for n in range(start, start + count)]

    def shorten(self) -> None:
        spare = min(self.least, self.least_before) - 5 * self.per_ms
        is_urgent = spare > 80 * self.per_ms
        if spare < self.rate_hz // 400 or (self.frames % 5 and not is_urgent):
            return
        past = self.past()
        period = int(pitch_period(past, self.rate_hz))
        start = self.written - 2 * period
        if period > spare or start < self.read or not (is_urgent or is_periodic(past, period)):
            return
        values = past.tolist()
        for i, (one, other) in enumerate(zip(values[-2 * period : -period], values[-period:], strict=True)):
            turned = (i + 0.5) / period
            self.samples[start + i] = int(one * (1.0 - turned) + other * turned)
        self.written -= period
        self.least -= period
        self.least_before -= period
