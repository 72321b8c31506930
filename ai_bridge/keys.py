"""Keys to be pressed, as frames: the tone of each, and the silence behind it.

The media worker sends the frames of a key as telephone-events where the far end agreed to them (RFC 4733), and as the
tones that they hold where it did not.
"""

import numpy as np

from ai_bridge.frame import Pcm
from control_plane.dtmf import PAUSE_KEY, PAUSE_MS, why_not_keys
from control_plane.key_tones import tone
from shm.layout import FRAME_MS, KEY_GAP

MIN_MS, MAX_MS = 40, 1000  # ITU-T Q.24: shorter is no key; longer would overflow the duration of RFC 4733 at 48 kHz


def as_frames(keys: str, tone_ms: int, gap_ms: int, rate_hz: int) -> list[tuple[int, Pcm]]:
    """(key, samples) in order: each key's tone, then KEY_GAP with its silence, in whole frames. Raises ValueError."""
    why_not = why_not_keys(keys)
    if why_not:
        raise ValueError(why_not)
    for name, value in (("tone_ms", tone_ms), ("gap_ms", gap_ms)):
        if not MIN_MS <= value <= MAX_MS:
            raise ValueError(f"{name} is {value}: receivers know keys from {MIN_MS} to {MAX_MS} ms")
    frames: list[tuple[int, Pcm]] = []
    for key in keys.upper():
        if key != PAUSE_KEY:
            frames.append((ord(key), tone(key, _whole_frames(tone_ms, rate_hz), rate_hz)))
        frames.append((KEY_GAP, np.zeros(_whole_frames(PAUSE_MS if key == PAUSE_KEY else gap_ms, rate_hz), np.int16)))
    return frames


def _whole_frames(duration_ms: int, rate_hz: int) -> int:
    return -(-duration_ms // FRAME_MS) * rate_hz * FRAME_MS // 1000
