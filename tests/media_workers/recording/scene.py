"""A row of the rings, written as a worker would, and a recorder's window on it."""

import numpy as np

from media_workers.recording.weave import MAX_WINDOW_SAMPLES, TRACK, cut_off, ready, weave_all
from shm import layout, ring
from shm.layout import (
    AUDIO,
    FRAME,
    MAX_FRAME_SAMPLES,
    REEL,
    REEL_AT,
    REEL_NS,
    TAPE,
    TAPE_FRAMES,
    TAPE_PAUSED,
    TAPE_RUNNING,
    TAPE_WRITE,
    Rings,
)
from tests.reference.weave import Heard, Reel

MS = 1_000_000
START = 50_000 * MS
GENERATION = 9


class Scene:
    def __init__(self, sample_rate_hz: int = 8_000) -> None:
        self.sample_rate_hz, self.frame_samples = sample_rate_hz, sample_rate_hz // 50
        self.rings: Rings = layout.rings_format(bytearray(layout.rings_bytes(1)), 1)
        ring.open_row(self.rings, 0, GENERATION, sample_rate_hz, 0)
        self.tracks, self.windows = np.zeros(1, TRACK), np.zeros((1, 2 * MAX_WINDOW_SAMPLES), np.int16)
        self.tracks["generation"], self.tracks["sample_rate_hz"] = GENERATION, sample_rate_hz
        self.written: list[np.ndarray] = []
        self.heard: list[Heard] = []
        self.sent: list[int] = []
        self.reels: list[Reel] = []

    def begin_reel(self, now_ns: int) -> None:
        self.reels.append(Reel(len(self.sent), now_ns))
        for column, value in ((REEL, 0), (REEL_AT, len(self.sent)), (REEL_NS, now_ns), (REEL, len(self.reels)), (TAPE, TAPE_RUNNING)):
            ring.store_word(self.rings.words, 0, column, value)

    def pause(self) -> None:
        ring.store_word(self.rings.words, 0, TAPE, TAPE_PAUSED)

    def send(self, pcm: np.ndarray) -> None:
        """What goes out in one packet time."""
        size, at = self.frame_samples * TAPE_FRAMES, len(self.sent)
        self.rings.tape[0, np.arange(at, at + pcm.size) % size] = pcm
        self.sent += pcm.tolist()
        ring.store_word(self.rings.words, 0, TAPE_WRITE, len(self.sent))

    def hear(self, position: int, captured_ns: int, pcm: np.ndarray, flags: int = 0) -> None:
        ring.publish(self.rings, 0, AUDIO, flags, 0, pcm, 0, pcm.size, position, 0, 0, 0, captured_ns)
        is_speech, is_discontinuous = flags & layout.SPEECH_FLAG != 0, flags & layout.DISCONTINUITY_FLAG != 0
        self.heard.append(Heard(position, captured_ns, pcm.tolist(), is_speech, is_discontinuous))

    def look(self, now_ns: int, is_all: bool = False) -> None:
        """A pass of the recorder; `is_all`: also what might still change."""
        frame, pcm, track = np.zeros(1, FRAME), np.zeros(MAX_FRAME_SAMPLES, np.int16), self.tracks[0]
        stereo = np.zeros((MAX_WINDOW_SAMPLES, 2), np.int16)
        is_more = True
        while is_more:
            is_more = bool(weave_all(self.rings, np.zeros(1, np.int64), self.tracks, self.windows, now_ns, frame, pcm))
            until = int(track["taken"] if is_all and not is_more else ready(track, now_ns))
            if until > int(track["flushed"]):
                self.written.append(stereo[: cut_off(track, self.windows[0], until, stereo)].copy())
            else:
                break

    @property
    def file(self) -> np.ndarray:
        return np.concatenate([np.zeros((0, 2), np.int16), *self.written])

    def track(self, name: str) -> int:
        return int(self.tracks[0][name])
