"""Both directions on one clock: against the slow twin, and for what a listener would notice."""

import numpy as np
import pytest

from shm import layout, ring
from shm.layout import COMFORT_NOISE_FLAG, DISCONTINUITY_FLAG, SPEECH_FLAG, TAPE_FRAMES, TO_AI_SLOTS
from tests.media_workers.recording.scene import GENERATION, MS, START, Scene
from tests.reference import weave as reference

FRAME, FRAME_NS = 160, 20 * MS


def loud(value: int, samples: int = FRAME) -> np.ndarray:
    return np.full(samples, value, np.int16)


def talk(scene: Scene, frames: int, first: int = 0, delay_ns: int = 7 * MS, look_every: int = 5, flags: int = SPEECH_FLAG) -> int:
    """Both sides say the number of each frame; returns the time after the last one."""
    for n in range(first, first + frames):
        now = START + (n + 1) * FRAME_NS
        scene.send(loud(10_000 + n % 5_000, scene.frame_samples))
        scene.hear(n * scene.frame_samples, now + delay_ns, loud(1 + n, scene.frame_samples), flags)
        if n % look_every == look_every - 1:
            scene.look(now + FRAME_NS)
    return START + (first + frames + 1) * FRAME_NS


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
def test_both_are_there_to_the_sample(rate_hz: int) -> None:
    scene = Scene(rate_hz)
    scene.begin_reel(START)
    now = talk(scene, 120)
    scene.look(now, is_all=True)
    assert scene.file[:, 1].tolist() == scene.sent
    assert (scene.file == reference.weave(scene.heard, scene.sent, scene.reels, rate_hz)).all()
    assert scene.file[7 * rate_hz // 1000, 0] == 1, "7 ms after it was said"
    assert scene.track("lost_right") == scene.track("lost_left") == scene.track("crept") == 0


def test_jitter_does_not_move_what_was_said() -> None:
    scene, random = Scene(), np.random.default_rng(1)
    scene.begin_reel(START)
    for n in range(400):
        now = START + (n + 1) * FRAME_NS
        scene.send(loud(7))
        scene.hear(n * FRAME, now + int(random.integers(0, 60 * MS)) * (n > 0), loud(1 + n), SPEECH_FLAG)
        if n % 5 == 4:
            scene.look(now)
    scene.look(now + 600 * MS)
    left = scene.file[:, 0]
    assert (left[FRAME : 300 * FRAME] == 1 + np.arange(FRAME, 300 * FRAME) // FRAME).all() and scene.track("crept") == 0


@pytest.mark.parametrize("ppm", [-300, 300])
def test_two_clocks_that_drift_apart_stay_together(ppm: int) -> None:
    """Five minutes at 300 ppm are 90 ms, or 720 samples; they must not add up."""
    scene = Scene()
    scene.begin_reel(START)
    frames = 15_000
    for n in range(frames):
        scene.send(loud(7))
        scene.hear(n * FRAME, START + round((n + 1) * FRAME_NS * (1 + ppm * 1e-6)), loud(n + 1 - 32_000), SPEECH_FLAG)
        if n % 5 == 4:
            scene.look(START + (n + 1) * FRAME_NS)
    scene.look(START + (frames + 50) * FRAME_NS, is_all=True)
    left = scene.file[:, 0].astype(int)
    wanted = np.arange(0, len(left)) / FRAME / (1 + ppm * 1e-6)
    error_frames = abs(left + 32_000 - 1 - wanted)[FRAME : -40 * FRAME]
    assert error_frames.max() < 1.5, "a frame holds 20 ms of one number; the error of the placing is 8 ms at most"
    assert 600 < scene.track("crept") < 760 and not (left[FRAME : -40 * FRAME] == 0).any(), "no gap where it crept"


def test_what_never_came_is_silence_of_its_length() -> None:
    scene = Scene()
    scene.begin_reel(START)
    talk(scene, 50)
    for _ in range(50, 80):  # the far end pauses; we go on
        scene.send(loud(7))
    now = talk(scene, 50, first=80)
    scene.look(now, is_all=True)
    left, start = scene.file[:, 0], 7 * 8
    assert not left[start + 50 * FRAME : start + 80 * FRAME].any()
    assert left[start + 80 * FRAME] == 81 and left[start + 50 * FRAME - 1] == 50


def test_a_stall_of_the_network_costs_nothing() -> None:
    """300 ms come at once: they stand where they were said."""
    scene = Scene()
    scene.begin_reel(START)
    for n in range(100):
        now = START + (n + 1) * FRAME_NS
        scene.send(loud(7))
        late = (55 - n) * FRAME_NS if 40 <= n < 55 else 0
        scene.hear(n * FRAME, now + late, loud(1 + n), SPEECH_FLAG)
    scene.look(now, is_all=True)
    assert (scene.file[:, 0] == 1 + np.arange(100 * FRAME) // FRAME).all()


@pytest.mark.parametrize("flags", [DISCONTINUITY_FLAG, SPEECH_FLAG])
def test_a_timeline_that_begins_anew_is_placed_anew(flags: int) -> None:
    """Hold: the caller's timeline stood still for three seconds."""
    scene = Scene()
    scene.begin_reel(START)
    talk(scene, 50)
    for n in range(50, 200):
        scene.send(loud(7))
        if n % 5 == 4:
            scene.look(START + (n + 1) * FRAME_NS)
    for n in range(200, 250):
        scene.send(loud(7))
        scene.hear((n - 150) * FRAME, START + (n + 1) * FRAME_NS + 7 * MS, loud(1 + n), flags if n == 200 else SPEECH_FLAG)
    scene.look(START + 300 * FRAME_NS, is_all=True)
    left, start = scene.file[:, 0], 7 * 8
    assert not left[start + 50 * FRAME : start + 200 * FRAME].any() and left[start + 200 * FRAME] == 201


def test_a_first_frame_that_came_late_is_made_good_in_the_next_silence() -> None:
    scene = Scene()
    scene.begin_reel(START)
    for n in range(40):
        scene.send(loud(7))
        scene.hear(n * FRAME, START + (n + 1) * FRAME_NS + (90 * MS if n == 0 else 0), loud(1 + n), COMFORT_NOISE_FLAG)
    scene.look(START + 100 * FRAME_NS, is_all=True)
    assert scene.file[30 * FRAME, 0] == 31


def test_a_pause_is_left_out_on_both_sides() -> None:
    scene = Scene()
    scene.begin_reel(START)
    talk(scene, 60)
    for n in range(60, 99):  # paused: the tape stands still, the caller goes on
        if n == 70:
            scene.pause()  # until here, the recorder does not know why the tape stands still
        scene.hear(n * FRAME, START + (n + 1) * FRAME_NS + 7 * MS, loud(1 + n), SPEECH_FLAG)
        scene.look(START + (n + 1) * FRAME_NS)
    scene.begin_reel(START + 100 * FRAME_NS)
    scene.hear(99 * FRAME, START + 100 * FRAME_NS + 7 * MS, loud(100), SPEECH_FLAG)
    now = talk(scene, 60, first=100)
    scene.look(now + 600 * MS, is_all=True)
    left, start = scene.file[:, 0], 7 * 8
    assert len(left) == 120 * FRAME
    assert (left[start : 60 * FRAME] == 1 + np.arange(60 * FRAME - start) // FRAME).all(), "up to the pause"
    assert left[60 * FRAME] == 100 and left[60 * FRAME + start] == 101 and not np.isin(left, np.arange(62, 100)).any()
    assert (scene.file == reference.weave(scene.heard, scene.sent, scene.reels, 8_000)).all()


def test_a_reader_that_was_lapped_writes_silence_of_that_length() -> None:
    scene = Scene()
    scene.begin_reel(START)
    talk(scene, 25)
    frames = TAPE_FRAMES + 60
    now = talk(scene, frames, first=25, look_every=10_000)
    scene.look(now + 600 * MS, is_all=True)
    left, right = scene.file[:, 0], scene.file[:, 1]
    lost = scene.track("lost_right")
    assert 60 * FRAME <= lost <= 70 * FRAME and scene.track("lost_left") >= 60
    assert len(right) == (25 + frames) * FRAME and (right == 0).sum() == lost
    assert right[-1] == 10_000 + 24 + frames and (left[-FRAME:] != 0).any()
    assert (right[25 * FRAME + lost :] == np.array(scene.sent[25 * FRAME + lost :])).all(), "what was left stands where it belongs"


def test_a_row_that_another_call_has_is_left_alone() -> None:
    scene = Scene()
    scene.begin_reel(START)
    now = talk(scene, 25)
    ring.open_row(scene.rings, 0, GENERATION + 1, 8_000, 0)
    scene.rings.tape[:] = 5
    scene.rings.words[0, layout.TAPE_WRITE] = 100 * FRAME
    scene.look(now + 1000 * MS, is_all=True)
    assert scene.track("is_there") == 0 and len(scene.file) == 25 * FRAME and not (scene.file[:, 1] == 5).any()


def test_times_that_cannot_be_right_are_passed_over() -> None:
    """An agent's process may write into the ring: nothing but this recording suffers."""
    scene = Scene()
    scene.begin_reel(START)
    now = talk(scene, 25)
    for captured_ns in (2**62, -(2**62), 0):
        scene.hear(25 * FRAME, captured_ns, loud(1), SPEECH_FLAG)
    scene.rings.to_ai["samples"][0, 26] = 30_000
    now = talk(scene, 60, first=25)
    scene.look(now, is_all=True)
    assert scene.file[84 * FRAME + 7 * 8 + 1, 0] == 85 and scene.track("cursor") == 88


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_the_slow_twin(seed: int) -> None:
    random, scene = np.random.default_rng(seed), Scene()
    scene.begin_reel(START)
    position, skew = 0, float(random.uniform(-2e-3, 2e-3))
    for n in range(600):
        now = START + (n + 1) * FRAME_NS
        scene.send(random.integers(-9_000, 9_000, FRAME).astype(np.int16))
        if random.random() < 0.02:
            position += FRAME * int(random.integers(1, 9))
        if random.random() < 0.95:
            flags = int(random.choice([0, SPEECH_FLAG, SPEECH_FLAG, DISCONTINUITY_FLAG], p=[0.3, 0.4, 0.29, 0.01]))
            captured_ns = now + round(n * FRAME_NS * skew) + int(random.exponential(8 * MS))
            scene.hear(position, captured_ns, random.integers(-9_000, 9_000, FRAME).astype(np.int16), flags)
        position += FRAME
        if n % 7 == 6:
            scene.look(now)
    scene.look(now + 600 * MS, is_all=True)
    wanted = reference.weave(scene.heard, scene.sent, scene.reels, 8_000)
    assert len(scene.heard) < 600 and TO_AI_SLOTS == 128
    assert (scene.file[:, 1] == wanted[:, 1]).all()
    late = 40 * FRAME  # the twin has room for what lies beyond the end of the tape
    assert (scene.file[:-late, 0] == wanted[:-late, 0]).mean() > 0.999
