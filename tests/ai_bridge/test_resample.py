import numpy as np
import pytest

from ai_bridge.resample import Resampler, resample
from tests.reference import resample as reference

DOWN = [(16_000, 8_000), (22_050, 8_000), (24_000, 8_000), (48_000, 8_000), (44_100, 16_000)]
UP = [(8_000, 16_000), (8_000, 24_000), (8_000, 48_000), (16_000, 24_000)]
PAIRS = DOWN + UP
FROM_THE_LINE = [(8_000, 16_000), (8_000, 24_000), (8_000, 48_000), (16_000, 8_000), (48_000, 16_000), (8_000, 22_050)]


def sine(hz: float, rate_hz: int, seconds: float = 0.5, amplitude: float = 16_384) -> np.ndarray:
    return np.rint(amplitude * np.sin(2 * np.pi * hz * np.arange(int(rate_hz * seconds)) / rate_hz)).astype(np.int16)


def middle(pcm: np.ndarray) -> np.ndarray:
    """Without the ends, where the sine begins out of nothing."""
    return pcm[pcm.size // 4 : 3 * pcm.size // 4].astype(np.float64)


def level_db(pcm: np.ndarray, of: np.ndarray) -> float:
    return 20 * np.log10((np.sqrt(np.mean(pcm**2)) + 1e-9) / np.sqrt(np.mean(of**2)))


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_agrees_with_the_reference_on_noise(from_hz, to_hz):
    pcm = np.random.default_rng(1).integers(-12_000, 12_000, 700).astype(np.int16)
    expected = reference.resample(pcm, from_hz, to_hz)
    given = resample(pcm, from_hz, to_hz)
    assert given.size == expected.size
    assert np.abs(given - expected).max() < 0.55  # rounding, and float32 against float64


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
@pytest.mark.parametrize("hz", [300, 1_000, 3_000])
def test_a_tone_comes_out_clean_level_and_in_place(from_hz, to_hz, hz):
    given, ideal = middle(resample(sine(hz, from_hz), from_hz, to_hz)), middle(sine(hz, to_hz))
    assert level_db(given - ideal, ideal) < -75


@pytest.mark.parametrize(("from_hz", "to_hz"), DOWN)
def test_what_the_slower_rate_cannot_carry_is_removed(from_hz, to_hz):
    high = sine(0.56 * to_hz, from_hz)
    assert level_db(middle(resample(high, from_hz, to_hz)), middle(high)) < -80


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_chunks_of_any_size_give_the_samples_of_one_piece(from_hz, to_hz):
    random = np.random.default_rng(2)
    pcm = random.integers(-30_000, 30_000, 9_000).astype(np.int16)
    resampler, parts, at = Resampler(from_hz, to_hz), [], 0
    while at < pcm.size:
        size = int(random.integers(1, 700))
        parts.append(resampler.convert(pcm[at : at + size]))
        at += size
    assert np.array_equal(np.concatenate((*parts, resampler.finish())), resample(pcm, from_hz, to_hz))


@pytest.mark.parametrize(("from_hz", "to_hz"), FROM_THE_LINE)
def test_in_real_time_every_frame_gives_a_frame_less_than_3_ms_late(from_hz, to_hz):
    pcm = sine(440, from_hz)
    resampler = Resampler(from_hz, to_hz, is_realtime=True)
    frames = [resampler.convert(pcm[start : start + from_hz // 50]) for start in range(0, pcm.size, from_hz // 50)]
    assert {f.size for f in frames} == {to_hz // 50}
    assert resampler.delay_ms < 3
    late = resampler.delay_ms * to_hz / 1000
    if late == int(late):
        whole = resample(pcm, from_hz, to_hz)
        assert np.array_equal(np.concatenate(frames)[int(late) :], whole[: -int(late)])


def test_loud_audio_is_clipped_and_does_not_wrap():
    square = np.where(np.arange(4_000) % 40 < 20, 32_767, -32_768).astype(np.int16)
    out = resample(square, 16_000, 8_000)
    assert np.array_equal(out[1_000:1_008] > 0, square[2_000:2_016:2] > 0) and np.abs(out.astype(int)).max() == 32_768


def test_nothing_gives_nothing_and_equal_rates_change_nothing():
    pcm = sine(440, 8_000)
    assert resample(pcm[:0], 24_000, 8_000).size == 0
    assert np.array_equal(resample(pcm, 8_000, 8_000), pcm)


@pytest.mark.parametrize("rate_hz", [0, -8_000, 400_000])
def test_an_impossible_rate_is_refused(rate_hz):
    with pytest.raises(ValueError, match="4000 to 192000"):
        resample(sine(440, 8_000), rate_hz, 8_000)
