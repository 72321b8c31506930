"""8 kHz and 16 kHz by a half-band filter."""

import numpy as np
import numpy.typing as npt
import pytest

from media_workers.codecs import halfband


def sine(pitch_hz: float, rate_hz: int, samples: int) -> npt.NDArray[np.int16]:
    return (10_000 * np.sin(2 * np.pi * pitch_hz * np.arange(samples) / rate_hz)).astype(np.int16)


def amplitude(pcm: npt.NDArray[np.int16], pitch_hz: float, rate_hz: int) -> float:
    """Of one pitch, in what is settled."""
    settled = pcm[pcm.size // 2 :].astype(float)
    window = np.hanning(settled.size)
    return float(2 * abs((settled * window * np.exp(-2j * np.pi * pitch_hz * np.arange(settled.size) / rate_hz)).sum()) / window.sum())


@pytest.mark.parametrize("pitch_hz", [100, 440, 1_000, 3_000])
def test_a_pitch_goes_through_at_its_loudness_and_leaves_no_image(pitch_hz: int) -> None:
    line, narrow, wide = np.zeros(halfband.LINE_SAMPLES, np.int32), sine(pitch_hz, 8_000, 1_600), np.zeros(3_200, np.int16)
    assert halfband.double(line, narrow, wide, 1_600) == 3_200
    assert amplitude(wide, pitch_hz, 16_000) == pytest.approx(10_000, rel=0.03)
    assert amplitude(wide, 8_000 - pitch_hz, 16_000) < 20
    line[:] = 0
    assert halfband.halve(line, wide, 3_200) == 1_600
    assert amplitude(wide[:1_600], pitch_hz, 8_000) == pytest.approx(10_000, rel=0.05)


@pytest.mark.parametrize("pitch_hz", [4_700, 5_000, 6_000, 7_500])
def test_what_is_above_4_khz_does_not_fold_down(pitch_hz: int) -> None:
    line, pcm = np.zeros(halfband.LINE_SAMPLES, np.int32), sine(pitch_hz, 16_000, 3_200)
    halfband.halve(line, pcm, 3_200)
    assert amplitude(pcm[:1_600], 8_000 - pitch_hz, 8_000) < 20


def test_doubling_may_read_from_the_second_half_of_where_it_writes() -> None:
    narrow, apart = sine(440, 8_000, 160), np.zeros(320, np.int16)
    halfband.double(np.zeros(halfband.LINE_SAMPLES, np.int32), narrow, apart, 160)
    together = np.zeros(320, np.int16)
    together[160:] = narrow
    halfband.double(np.zeros(halfband.LINE_SAMPLES, np.int32), together[160:], together, 160)
    assert (together == apart).all()


def test_the_loudest_samples_do_not_wrap() -> None:
    pcm = np.full(320, -32_768, np.int16)
    wide = np.zeros(640, np.int16)
    halfband.double(np.zeros(halfband.LINE_SAMPLES, np.int32), pcm, wide, 320)
    assert wide[320:].max() < -32_000
