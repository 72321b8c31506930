"""The worker's side of one call, by hand: real rings and kernels, a tick when a test says so."""

import numpy as np
import numpy.typing as npt

from shm import layout, ring
from shm.layout import (
    AUDIO,
    CLOSED,
    DRAINED,
    DTMF,
    FROM_AI_READ,
    FROM_AI_SLOTS,
    FROM_AI_WRITE,
    HELD,
    MARK_PLAYED,
    QUALITY,
    TURN,
    TURN_ENDED,
)

NOTHING = np.zeros(960, np.int16)


def make_rings(calls: int = 4) -> layout.Rings:
    return layout.rings_format(bytearray(layout.rings_bytes(calls)), calls)


class Line:
    """What the duty cycle does for a row, in Python (media_workers/playout.py is the real one)."""

    def __init__(self, rings: layout.Rings, row: int, generation: int = 7, rate_hz: int = 8_000) -> None:
        self.rings, self.row, self.generation, self.rate_hz = rings, row, generation, rate_hz
        ring.open_row(rings, row, generation, rate_hz, 0)
        self.frame_samples = rate_hz // 50
        self.position, self.now_ns = 0, 1_000
        self.turn, self.turn_samples, self.is_speaking = 0, 0, False
        self.wire: list[npt.NDArray[np.int16]] = []
        self.turns: list[int] = []
        self.keys: list[int] = []

    def _publish(self, kind: int, flags: int, pcm: npt.NDArray[np.int16], samples: int, turn: int, value: int) -> None:
        self.now_ns += 1
        ring.publish(self.rings, self.row, kind, flags, -30, pcm, 0, samples, self.position, self.position, turn, value, self.now_ns)

    def caller_says(self, pcm: npt.NDArray[np.int16], flags: int = 0) -> None:
        for start in range(0, pcm.size, self.frame_samples):
            self._publish(AUDIO, flags, np.ascontiguousarray(pcm[start:]), self.frame_samples, 0, 0)
            self.position += self.frame_samples

    def caller_presses(self, key: str) -> None:
        self._publish(DTMF, 0, NOTHING, 0, 0, ord(key))

    def hold(self, is_held: bool) -> None:
        self._publish(HELD, 0, NOTHING, 0, 0, int(is_held))

    def report(self, mos: float, lost_percent: float, jitter_ms: float, rtt_ms: float) -> None:
        position, jitter_us = round(rtt_ms * 1000), round(jitter_ms * 1000)
        values = round(lost_percent * 100), round(mos * 100)
        ring.publish(self.rings, self.row, QUALITY, 0, 0, NOTHING, 0, 0, position, jitter_us, *values, self.now_ns)

    def close(self) -> None:
        self._publish(CLOSED, 0, NOTHING, 0, 0, 0)

    def tick(self, times: int = 1) -> None:
        """Put the next 20 ms on the wire."""
        for _ in range(times):
            self._follow(ring.load_word(self.rings.words, self.row, TURN))
            cursor = ring.try_take(self.rings, self.row)
            if cursor < 0:
                self._stay_silent()
                continue
            speech = self.rings.from_ai[self.row, cursor & (FROM_AI_SLOTS - 1)]
            base = (cursor & (FROM_AI_SLOTS - 1)) * self.frame_samples
            self.wire.append(self.rings.from_ai_pcm[self.row, base : base + speech["samples"]].copy())
            self.turns.append(int(speech["turn"]))
            self.keys.append(int(speech["key"]))
            self.turn_samples += int(speech["samples"])
            self.is_speaking = True
            turn, mark = int(speech["turn"]), int(speech["mark"])
            ring.release(self.rings, self.row, cursor)
            if mark:
                self._publish(MARK_PLAYED, 0, NOTHING, 0, turn, mark)
            ring.set_played(self.rings.words, self.row, self.turn, self.turn_samples)

    def is_waiting(self) -> bool:
        """Is there speech in the ring that has not been played?"""
        words = self.rings.words
        return ring.load_word(words, self.row, FROM_AI_WRITE) > ring.load_word(words, self.row, FROM_AI_READ)

    def _stay_silent(self) -> None:
        words = self.rings.words[self.row]
        if self.is_speaking and words[FROM_AI_WRITE] == words[FROM_AI_READ]:
            self.is_speaking = False
            self._publish(DRAINED, 0, NOTHING, 0, self.turn, self.turn_samples)

    def _follow(self, turn: int) -> None:
        if turn > self.turn:
            self._publish(TURN_ENDED, 0, NOTHING, 0, self.turn, self.turn_samples)
            self.turn, self.turn_samples, self.is_speaking = turn, 0, False
            ring.set_played(self.rings.words, self.row, turn, 0)

    def heard(self) -> npt.NDArray[np.int16]:
        """Everything that the caller got."""
        return np.concatenate(self.wire) if self.wire else NOTHING[:0]


def tone(samples: int, first: int = 1) -> npt.NDArray[np.int16]:
    """Samples that can be told apart: first, first + 1, ..."""
    return (np.arange(first, first + samples) % 30_000).astype(np.int16)
