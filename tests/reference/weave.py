"""Both directions of a call on one clock, the slow way: all of it at once, with room for everything."""

from typing import NamedTuple

import numpy as np

PATIENCE_MS, FLOOR_FRAMES, SLACK_MS, LEAP_MS = 500, 500, 2, 20


class Heard(NamedTuple):
    position: int
    captured_ns: int
    pcm: list[int]
    is_speech: bool = True
    is_discontinuous: bool = False


class Reel(NamedTuple):
    at: int
    since_ns: int


def weave(heard: list[Heard], sent: list[int], reels: list[Reel], sample_rate_hz: int) -> np.ndarray:
    """(n, 2) int16, n being what was sent. Every reel begins where the one before it ended."""
    left = [0] * len(sent)
    ms = sample_rate_hz // 1000
    offset = floor = creep = frames = 0
    is_anchored = False
    reel = 0
    for frame in heard:
        while reel + 1 < len(reels) and frame.captured_ns >= reels[reel + 1].since_ns:
            gained = reels[reel + 1].at - due(reels[reel], reels[reel + 1].since_ns, sample_rate_hz)
            offset, floor, reel = offset + gained, floor + gained, reel + 1
        asked = due(reels[reel], frame.captured_ns, sample_rate_hz) - len(frame.pcm) - frame.position
        step = 0
        is_broken = frame.is_discontinuous or abs(asked - offset) > PATIENCE_MS * ms
        if not is_anchored or is_broken or (asked - offset < -LEAP_MS * ms and not frame.is_speech):
            is_anchored, offset, floor, creep, frames = True, asked, asked, 0, 0
        else:
            floor, frames = min(floor, asked), frames + 1
            if asked < offset - SLACK_MS * ms:
                creep = asked - offset
            if frames == FLOOR_FRAMES:
                if floor > offset + SLACK_MS * ms:
                    creep = floor - offset
                floor, frames = asked, 0
            step = (creep > 0) - (creep < 0)
            offset, creep = offset + step, creep - step
        low = reels[reel].at
        high = reels[reel + 1].at if reel + 1 < len(reels) else len(sent)
        samples = frame.pcm[:1] * (step > 0) + frame.pcm
        start = frame.position + offset - (step > 0)
        for i, sample in enumerate(samples):
            if low <= start + i < high:
                left[start + i] = sample
    return np.array([left, sent], np.int16).T


def due(reel: Reel, then_ns: int, sample_rate_hz: int) -> int:
    return reel.at + (then_ns - reel.since_ns) * sample_rate_hz // 1_000_000_000
