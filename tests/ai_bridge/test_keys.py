import numpy as np
import pytest

from ai_bridge.keys import as_frames, tone
from control_plane.dtmf import KEYS, frequencies_hz
from shm.layout import KEY_GAP


def test_keys_and_silences_alternate_in_whole_frames():
    frames = as_frames("1,a", 90, 50, 8_000)
    assert [(key, pcm.size) for key, pcm in frames] == [(ord("1"), 800), (KEY_GAP, 480), (KEY_GAP, 4_000), (ord("A"), 800), (KEY_GAP, 480)]
    assert all(pcm.any() == (key != KEY_GAP) and pcm.dtype == np.int16 for key, pcm in frames)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("key", KEYS)
def test_a_tone_is_its_two_pitches_and_nothing_else(key, rate_hz):
    pcm = tone(key, rate_hz, rate_hz).astype(float)
    spectrum = np.abs(np.fft.rfft(pcm)) / rate_hz * 2  # bins of 1 Hz
    low_hz, high_hz = frequencies_hz(key)
    assert 20 * np.log10(spectrum[high_hz] / spectrum[low_hz]) == pytest.approx(2, abs=0.1)
    assert 20 * np.log10(spectrum[high_hz] / 32768) + 3.14 == pytest.approx(-9, abs=0.2), "dBm0: 3.14 is a full-scale sine of G.711"
    spectrum[[n + d for n in (low_hz, high_hz) for d in range(-60, 61)]] = 0
    assert 20 * np.log10(spectrum.max() / 8_000) < -40 and np.abs(pcm).max() < 16_384


@pytest.mark.parametrize(
    ("values", "why"), [(("1x", 100, 60), "no key"), (("1", 39, 60), "tone_ms is 39"), (("1", 100, 1001), "gap_ms is 1001")]
)
def test_what_no_receiver_would_understand_is_refused(values, why):
    with pytest.raises(ValueError, match=why):
        as_frames(*values, 8_000)
