"""What an agent hears in place of audio that never came."""

import numpy as np
import numpy.typing as npt
import pytest

from media_workers import concealment
from media_workers.concealment import FADE_MS, PAST_SAMPLES

RATE_HZ = 8_000
Pcm = npt.NDArray[np.int16]


def voiced(period: float, samples: int, first: int = 0) -> Pcm:
    """A pitch with overtones, as of a vowel; `first` is the sample that it begins with."""
    phase = 2 * np.pi * (first + np.arange(samples)) / period
    return (6000 * np.sin(phase) + 3000 * np.sin(2 * phase + 1) + 1500 * np.sin(3 * phase + 2)).astype(np.int16)


def conceal(past: Pcm, future: Pcm, gap: int, rate_hz: int = RATE_HZ) -> Pcm:
    room = np.zeros(2_880, np.int16)
    room[: future.size] = future
    made_up = np.zeros(2_880, np.int16)
    concealment.conceal(past, rate_hz, room, future.size, made_up, gap)
    assert not made_up[gap:].any()
    return made_up[:gap]


NOTHING = np.zeros(0, np.int16)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
@pytest.mark.parametrize("period_ms", [2.5, 4.125, 7.125, 10, 12.5, 15])
def test_the_pitch_is_found(period_ms: float, rate_hz: int) -> None:
    period = period_ms * rate_hz / 1000
    found = concealment.pitch_period(voiced(period, PAST_SAMPLES), rate_hz)
    assert min(found % period, -found % period) <= 1  # a multiple repeats as well


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("sample", [0, -32768], ids=["silence", "full scale"])
def test_a_period_is_within_what_is_known_whatever_was_heard(rate_hz: int, sample: int) -> None:
    pcm = np.full(PAST_SAMPLES, sample, np.int16)
    assert 0 < concealment.pitch_period(pcm, rate_hz) <= PAST_SAMPLES // 2


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
@pytest.mark.parametrize("gap_ms", [10, 20, 40, 60])
@pytest.mark.parametrize("period_ms", [3.3, 5.1, 8.9])
def test_a_steady_voice_goes_on_as_if_nothing_was_missing(period_ms: float, gap_ms: int, rate_hz: int) -> None:
    period, gap = period_ms * rate_hz / 1000, gap_ms * rate_hz // 1000
    whole = voiced(period, PAST_SAMPLES + gap + rate_hz // 50)
    made_up = conceal(whole[:PAST_SAMPLES], whole[PAST_SAMPLES + gap :], gap, rate_hz)
    assert np.corrcoef(made_up, whole[PAST_SAMPLES : PAST_SAMPLES + gap])[0, 1] > 0.9
    heard = np.concatenate((whole[:PAST_SAMPLES], made_up, whole[PAST_SAMPLES + gap :])).astype(int)
    assert np.abs(np.diff(heard)).max() < 1.5 * np.abs(np.diff(whole.astype(int))).max()  # no click at either seam


def test_a_voice_whose_pitch_moved_is_bridged_in_step_with_what_follows() -> None:
    past, future = voiced(80, PAST_SAMPLES), voiced(76, 160, 13)
    made_up = conceal(past, future, 160)
    heard = np.concatenate((past, made_up, future)).astype(int)
    assert np.abs(np.diff(heard)).max() < 1.7 * np.abs(np.diff(past.astype(int))).max()
    assert np.abs(made_up.astype(int)).mean() > 0.8 * np.abs(past.astype(int)).mean()


def test_what_grows_silent_fades_and_what_begins_rises() -> None:
    silence = np.zeros(PAST_SAMPLES, np.int16)
    ends = np.abs(conceal(voiced(80, PAST_SAMPLES), silence[:160], 160).astype(int))
    begins = np.abs(conceal(silence, voiced(80, 160), 160).astype(int))
    assert ends[:80].mean() > 2 * ends[80:].mean() and begins[80:].mean() > 2 * begins[:80].mean() > 0


def test_without_a_future_it_fades_to_nothing_within_60_ms() -> None:
    made_up = conceal(voiced(80, PAST_SAMPLES), NOTHING, 800)
    loudness = [float(np.abs(part.astype(int)).mean()) for part in np.split(made_up, 5)]
    assert loudness[0] > loudness[1] > loudness[2] > 0 == loudness[3] == loudness[4] and FADE_MS == 60


@pytest.mark.parametrize("future_samples", [0, 1, 39, 40, 80, 160, 480])
@pytest.mark.parametrize("gap", [1, 7, 80, 160, 480])
def test_any_lengths_will_do(gap: int, future_samples: int) -> None:
    random = np.random.default_rng(gap)
    past = random.integers(-32_768, 32_768, PAST_SAMPLES).astype(np.int16)
    made = conceal(past, random.integers(-32_768, 32_768, future_samples).astype(np.int16), gap)
    assert made.shape == (gap,) and made.dtype == np.int16 and made.any()


def test_silence_is_concealed_by_silence() -> None:
    silence = np.zeros(PAST_SAMPLES, np.int16)
    assert not conceal(silence, silence[:160], 320).any() and not conceal(silence, NOTHING, 320).any()


def test_the_loudest_samples_do_not_wrap() -> None:
    loudest = np.full(PAST_SAMPLES, -32_768, np.int16)
    assert (conceal(loudest, loudest[:160], 160) < -32_000).all()
    made_up = conceal(loudest, NOTHING, 160)
    assert made_up[0] == -32_768 and (made_up <= 0).all() and (np.diff(made_up.astype(int)) >= 0).all()
