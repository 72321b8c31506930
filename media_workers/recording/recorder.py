"""Which calls are recorded, and what becomes of them: found in shared memory, for nobody tells the recorder anything.

A pass takes what is new from the rings and writes down what is older than half a second. A recorder that dies, hangs on a disk
or is lapped costs silence in the files; workers do not know that it is there.
"""

import logging
import mmap
import pathlib
from collections import deque

import numpy as np
import numpy.typing as npt

from control_plane import table
from media_workers.recording import track as files
from media_workers.recording.track import PART, Recording
from media_workers.recording.weave import MAX_WINDOW_SAMPLES, PATIENCE_NS, TRACK, cut_off, ready, weave_all
from shm import layout
from shm.counters import Counters
from shm.layout import (
    FRAME,
    FRAME_MS,
    GENERATION,
    MAX_FRAME_SAMPLES,
    MAX_PACKET_MS,
    SAMPLE_RATE_HZ,
    TAPE,
    TAPE_FRAMES,
    TAPE_OFF,
    TAPE_WRITE,
    TO_AI_SLOTS,
    TO_AI_WRITE,
    Rings,
)

log = logging.getLogger("recorder")

MAP_NORESERVE = 0x4000  # linux/mman.h
WRITE_MS = 250
"""Of a call, written at once: a quarter of a second is four writes a second and call."""
RATES_HZ = frozenset((8_000, 16_000, 24_000, 32_000, 48_000))
AGAIN_NS, MAX_UNFINISHED = 2_000_000_000, 1_000
MARGIN_FRAMES = 8
"""A reader that begins keeps this far from what is overwritten next."""


class Recorder:
    def __init__(self, rings: Rings, counters: Counters, directory: pathlib.Path, format: str = "wav") -> None:
        self.rings, self.counters, self.directory, self.format = rings, counters, directory, format
        rows = rings.words.shape[0]
        self.tracks = np.zeros(rows, TRACK)
        # Room for every row at 48 kHz, of which only what a call uses gets pages.
        memory = mmap.mmap(-1, max(1, rows) * 4 * MAX_WINDOW_SAMPLES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
        self.windows: npt.NDArray[np.int16] = np.frombuffer(memory, np.int16).reshape(rows, 2 * MAX_WINDOW_SAMPLES)
        self.recordings: dict[int, Recording] = {}
        self.frame, self.pcm = np.zeros(1, FRAME), np.zeros(MAX_FRAME_SAMPLES, np.int16)
        self.stereo = np.zeros((MAX_WINDOW_SAMPLES, 2), np.int16)
        self.refused: dict[int, tuple[int, int]] = {}
        """By row: the generation that could not be recorded, said once, and when it is tried again."""
        self.unfinished: deque[tuple[Recording, int, int]] = deque(maxlen=MAX_UNFINISHED)
        """Their calls have ended, and the disk had no room for that: it is tried again at the time beside them."""
        self.dropped_ms = 0
        """Since the disk began to refuse; 0: it does not."""

    # ---- which calls ---------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """What the recorder before us left: calls that are up go on in their files, the others are closed."""
        for part in sorted(self.directory.glob(f"*{PART}")):
            try:
                facts = files.read(part)
                row, generation = int(facts["row"]), int(facts["generation"])
                if 0 <= row < self.tracks.size and self.rings.words[row, GENERATION] == generation:
                    self._begin(row, str(facts["call_id"]), generation)
                else:
                    files.abandon(part, facts)
                    log.warning("the recording was cut: nobody recorded the rest of the call", extra={"call_id": facts["call_id"]})
            except (OSError, ValueError, TypeError) as failure:
                log.error("%s cannot be gone on with: %s", part, failure)

    def _find(self, now_ns: int) -> None:
        """Calls whose tape has begun to run."""
        words = self.rings.words
        for row in np.flatnonzero(words[:, TAPE] != TAPE_OFF).tolist():
            generation = int(words[row, GENERATION])
            refused, again_ns = self.refused.get(row, (0, 0))
            if row in self.recordings or generation == 0 or (refused == generation and now_ns < again_ns):
                continue
            shown = self.counters.calls[row]
            call_id = bytes(shown["call_id"]).decode("ascii", "replace")
            if int(shown["generation"]) == generation and call_id:
                self._begin(row, call_id, generation, now_ns)

    def _begin(self, row: int, call_id: str, generation: int, now_ns: int = 0) -> None:
        rate_hz = int(self.rings.words[row, SAMPLE_RATE_HZ])
        try:
            if rate_hz not in RATES_HZ:
                raise ValueError(f"its sample rate cannot be {rate_hz}")
            recording = Recording(self.directory, call_id, generation, row, rate_hz, self.format)
            there = recording.samples_there()
        except (OSError, ValueError) as failure:
            if self.refused.get(row, (0, 0))[0] != generation:
                log.error("not recorded: %s", failure, extra={"call_id": call_id})
            self.refused[row] = generation, now_ns + AGAIN_NS
            return
        written, to_ai = int(self.rings.words[row, TAPE_WRITE]), int(self.rings.words[row, TO_AI_WRITE])
        oldest = written - rate_hz * (TAPE_FRAMES * FRAME_MS - MAX_PACKET_MS) // 1000 + MARGIN_FRAMES * rate_hz * FRAME_MS // 1000
        first = max(there, oldest)
        self.tracks[row] = np.zeros((), TRACK)
        track = self.tracks[row]
        track["generation"], track["sample_rate_hz"], track["is_there"] = generation, rate_hz, 1
        track["taken"] = track["flushed"] = first
        track["lost_right"] = first - there
        track["cursor"] = max(0, to_ai - TO_AI_SLOTS + MARGIN_FRAMES)
        self.windows[row, : 2 * rate_hz * 1024 // 1000] = 0
        self.recordings[row] = recording

    # ---- a pass ----------------------------------------------------------------------------------------------

    def step(self, now_ns: int, unix_less_ns: int) -> None:
        """One pass at this time (CLOCK_MONOTONIC); with `unix_less_ns` added, it is the time that people know."""
        self._find(now_ns)
        while self.unfinished and now_ns >= self.unfinished[0][2]:
            recording, samples, _ = self.unfinished.popleft()
            self._finish(recording, samples, now_ns)
        if not self.recordings:
            return
        rows = np.fromiter(self.recordings, np.int64, len(self.recordings))
        is_more = True
        while is_more:
            is_more = weave_all(self.rings, rows, self.tracks, self.windows, now_ns, self.frame, self.pcm)
            is_more = bool(self._write_due(rows, now_ns, unix_less_ns, 0 if is_more else WRITE_MS)) and is_more
        is_over = (self.tracks["is_there"][rows] == 0) | (self.rings.words[rows, TAPE] == TAPE_OFF)
        for row in rows[is_over].tolist():
            self._end(row, now_ns)

    def _write_due(self, rows: npt.NDArray[np.int64], now_ns: int, unix_less_ns: int, least_ms: int) -> int:
        """Write what is ready, of calls that have at least so much; how many those were."""
        tracks = self.tracks[rows]
        settled = tracks["reel_at"] + (now_ns - PATIENCE_NS - tracks["reel_ns"]) * tracks["sample_rate_hz"] // 1_000_000_000
        until = np.minimum(np.minimum(tracks["taken"], tracks["held_at"]), settled)
        due = until - tracks["flushed"] > np.maximum(0, tracks["sample_rate_hz"] * least_ms // 1000 - 1)
        for row in rows[due].tolist():
            self._write(row, int(ready(self.tracks[row], now_ns)), unix_less_ns)
        return int(due.sum())

    def _write(self, row: int, until: int, unix_less_ns: int) -> None:
        track, recording = self.tracks[row], self.recordings[row]
        at = int(track["flushed"])
        count = cut_off(track, self.windows[row], until, self.stereo)
        recording.begin_reel(int(track["reel"]), int(track["reel_at"]), int(track["reel_ns"]) + unix_less_ns)
        recording.note_lost(int(track["lost_left"]) * FRAME_MS, int(track["lost_right"]) * 1000 // recording.sample_rate_hz)
        try:
            recording.write(at, self.stereo[:count])
            recording.save()
        except OSError as failure:
            self._say_that_it_failed(failure, count * 1000 // recording.sample_rate_hz)
        else:
            self._say_that_it_works()

    def _end(self, row: int, now_ns: int) -> None:
        """When the last of it has had its time to come, or when the row is another call's."""
        track, recording = self.tracks[row], self.recordings[row]
        is_there = bool(track["is_there"])
        if is_there and (int(track["taken"]) < int(track["written"]) or int(ready(track, now_ns)) < int(track["taken"])):
            return
        if int(track["taken"]) > int(track["flushed"]):
            self._write(row, int(track["taken"]), 0)
        del self.recordings[row]
        recording.note_lost(int(track["lost_left"]) * FRAME_MS, int(track["lost_right"]) * 1000 // recording.sample_rate_hz)
        self._finish(recording, int(track["flushed"]), now_ns)

    def _finish(self, recording: Recording, samples: int, now_ns: int) -> None:
        try:
            recording.finish(samples)
        except OSError as failure:
            self._say_that_it_failed(failure, 0)
            self.unfinished.append((recording, samples, now_ns + AGAIN_NS))

    def leave(self) -> None:
        """We end, and calls may go on: what has been taken and not written is still in the rings for our successor."""
        for recording in self.recordings.values():
            recording.leave()
        self.recordings.clear()

    # ---- what people are told ----------------------------------------------------------------------------------

    def _say_that_it_failed(self, failure: OSError, ms: int) -> None:
        if not self.dropped_ms:
            what = table.count(len(self.recordings), "recording")
            log.error("%s cannot be written in %s: %s; silence stands for what is missing, calls go on", what, self.directory, failure)
        self.dropped_ms += max(1, ms)

    def _say_that_it_works(self) -> None:
        if self.dropped_ms:
            log.warning("recordings are written again; %d ms of them are missing", self.dropped_ms)
            self.dropped_ms = 0


__all__ = ["Recorder", "layout"]
