"""Is somebody speaking? Loudness in dBov, and speech above a floor that follows the line."""

import math

import numpy as np
import pytest

from media_workers import voice_activity
from media_workers.voice_activity import HANGOVER_FRAMES, ONSET_FRAMES, SILENCE_DBOV, SURE_ABOVE_FLOOR_DB, SURE_DBOV, VOICE


def make_voice() -> np.void:
    voice = np.zeros(1, VOICE)[0]
    voice_activity.start(voice)
    return voice


def speech(voice: np.void, *levels: int) -> list[bool]:
    return [bool(voice_activity.is_speech(voice, level)) for level in levels]


def sine(amplitude: float, samples: int = 160) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * 500 * np.arange(samples) / 8000)).round().astype(np.int16)


@pytest.mark.parametrize("below_db", [0, 6, 20, 40, 60])
def test_a_sine_has_its_level_against_full_scale(below_db: int) -> None:
    assert voice_activity.level_dbov(sine(32767 * 10 ** (-below_db / 20)), 160) == pytest.approx(-below_db, abs=1)


def test_the_ends_of_the_scale() -> None:
    assert voice_activity.level_dbov(np.zeros(160, np.int16), 160) == SILENCE_DBOV == -127
    assert voice_activity.level_dbov(np.full(160, -32768, np.int16), 160) == 0  # a square wave is louder than a sine
    assert voice_activity.level_dbov(np.zeros(0, np.int16), 0) == SILENCE_DBOV
    assert voice_activity.level_dbov(np.full(960, -32768, np.int16), 960) == 0


def test_only_the_first_samples_count_and_all_of_them() -> None:
    pcm = np.concatenate((sine(1000), np.full(160, 32767, np.int16)))
    expected = 10 * math.log10(float((sine(1000).astype(float) ** 2).mean()) / (32768**2 / 2))
    assert voice_activity.level_dbov(pcm, 160) == round(expected)


def test_a_click_is_not_speech_and_two_frames_are() -> None:
    assert speech(make_voice(), -40, -60, -60) == [False] * 3 and ONSET_FRAMES == 2
    assert speech(make_voice(), -40, -40) == [False, True]


@pytest.mark.parametrize(("level", "is_sure"), [(SURE_DBOV, False), (SURE_DBOV + 1, True), (0, True)])
def test_a_frame_that_is_loud_throughout_is_enough(level: int, is_sure: bool) -> None:
    assert speech(make_voice(), level) == [is_sure]


def test_on_a_noisy_line_loud_is_what_stands_out() -> None:
    voice = make_voice()
    voice["floor_dbov"] = SURE_DBOV
    assert speech(voice, SURE_DBOV + SURE_ABOVE_FLOOR_DB, -60) == [False, False]
    voice["floor_dbov"] = SURE_DBOV
    assert speech(voice, SURE_DBOV + SURE_ABOVE_FLOOR_DB + 1) == [True]


def test_pauses_between_words_are_bridged_and_silence_ends_speech() -> None:
    voice = make_voice()
    speech(voice, -40, -40)
    told = speech(voice, *[-70] * 20)
    assert told == [True] * (HANGOVER_FRAMES - 1) + [False] * (21 - HANGOVER_FRAMES)
    assert speech(voice, -40, -40) == [False, True]


def test_one_loud_frame_in_the_hangover_prolongs_it() -> None:
    voice = make_voice()
    speech(voice, -20, -20, *[-70] * 10)
    assert speech(voice, -20, *[-70] * 14) == [True] * 15


@pytest.mark.parametrize("level", [-127, -60, -49])
def test_a_quiet_line_is_never_speech(level: int) -> None:
    assert not any(speech(make_voice(), *[level] * 200))


def test_a_hum_is_learnt_and_speech_above_it_still_found() -> None:
    voice = make_voice()
    assert not speech(voice, *[-40] * 1500)[-1]
    assert speech(voice, -25, -25) == [False, True]


def test_a_long_sentence_is_not_learnt() -> None:
    voice = make_voice()
    told = speech(voice, *([-22] * 40 + [-55] * 10) * 10)
    assert all(told[ONSET_FRAMES:])
