"""What an agent hears in place of audio that never came."""

import numpy as np
import pytest

from media_workers import concealment
from media_workers.concealment import FADE_MS, HISTORY, HISTORY_SAMPLES

RATE_HZ = 8_000


def voiced(period: int, samples: int = HISTORY_SAMPLES, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A pitch with overtones, as of a vowel."""
    phase = 2 * np.pi * np.arange(samples) / period
    return (6000 * np.sin(phase) + 3000 * np.sin(2 * phase + 1) + 1500 * np.sin(3 * phase + 2)).astype(np.int16)


def make_history(pcm: np.ndarray) -> np.void:
    history = np.zeros(1, HISTORY)[0]
    history["pcm"] = pcm
    return history


def conceal(history: np.void, samples: int, rate_hz: int = RATE_HZ) -> np.ndarray:
    made_up = np.zeros(samples, np.int16)
    concealment.conceal(history, rate_hz, made_up, samples)
    return made_up


@pytest.mark.parametrize("period", [20, 33, 57, 80, 100, 120])
def test_the_pitch_is_found(period: int) -> None:
    found = concealment.pitch_period(voiced(period), RATE_HZ)
    assert found % period == 0 or min(found % period, period - found % period) <= 1  # a multiple repeats as well


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("sample", [0, -32768], ids=["silence", "full scale"])
def test_a_period_is_within_what_is_known_whatever_was_heard(rate_hz: int, sample: int) -> None:
    pcm = np.full(HISTORY_SAMPLES, sample, np.int16)
    assert 0 < concealment.pitch_period(pcm, rate_hz) <= HISTORY_SAMPLES // 2


def test_the_waveform_goes_on_where_it_stopped() -> None:
    period = 80
    whole = voiced(period, HISTORY_SAMPLES + 80)
    made_up = conceal(make_history(whole[:HISTORY_SAMPLES]), 80)
    expected = whole[HISTORY_SAMPLES:]
    assert np.corrcoef(made_up, expected)[0, 1] > 0.95
    assert abs(int(made_up[0]) - int(whole[HISTORY_SAMPLES - 1])) < 2000  # no click at the seam


def test_it_fades_to_nothing_within_60_ms() -> None:
    history = make_history(voiced(80))
    loudness = [float(np.abs(conceal(history, 160).astype(int)).mean()) for _ in range(5)]
    assert loudness[0] > loudness[1] > loudness[2] > 0 == loudness[3] == loudness[4] and FADE_MS == 60


@pytest.mark.parametrize("pieces", [(160,), (80, 80), (1,) * 160, (37, 63, 60)])
def test_the_length_of_the_pieces_does_not_matter(pieces: tuple[int, ...]) -> None:
    history, whole = make_history(voiced(57)), conceal(make_history(voiced(57)), 160)
    assert (np.concatenate([conceal(history, count) for count in pieces]) == whole).all()
    assert history["concealed_samples"] == 160


def test_silence_is_concealed_by_silence() -> None:
    assert not conceal(make_history(np.zeros(HISTORY_SAMPLES, np.int16)), 320).any()


def test_the_loudest_samples_do_not_wrap() -> None:
    made_up = conceal(make_history(np.full(HISTORY_SAMPLES, -32768, np.int16)), 160)
    assert made_up[0] == -32768 and (made_up <= 0).all() and (np.diff(made_up.astype(int)) >= 0).all()
