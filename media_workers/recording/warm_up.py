"""Compile the recorder's kernels, by running them on a row that has no call."""

import numpy as np

from media_workers.recording.weave import MAX_WINDOW_SAMPLES, TRACK, cut_off, ready, weave_all
from shm import layout
from shm.layout import FRAME, MAX_FRAME_SAMPLES


def compile_all() -> None:
    """Takes seconds the first time, a moment once the machine code is in the cache."""
    memory = bytearray(layout.rings_bytes(1))
    layout.rings_format(memory, 1)
    rings = layout.rings_views(memoryview(bytes(memory)))  # read-only, as the keeper gives them: another type to the compiler
    tracks, windows = np.zeros(1, TRACK), np.zeros((1, 2 * MAX_WINDOW_SAMPLES), np.int16)
    tracks["sample_rate_hz"] = 8_000
    weave_all(rings, np.zeros(1, np.int64), tracks, windows, 0, np.zeros(1, FRAME), np.zeros(MAX_FRAME_SAMPLES, np.int16))
    ready(tracks[0], 0)
    cut_off(tracks[0], windows[0], 0, np.zeros((1, 2), np.int16))
