"""What people hear while they wait: at every rate the same, without a seam, and the operator's own where it can be played."""

import pathlib
import wave

import numpy as np
import pytest

from control_plane.errors import ConfigurationError
from media_workers import sounds
from media_workers.sounds import AMPLITUDE, MUSIC, RATES_HZ, RINGBACK


def samples(loaded: sounds.Sounds, sound: int, rate: int) -> np.ndarray:
    begins, count = loaded.at[sound, rate].tolist()
    return loaded.pcm[begins : begins + count]


def write(path: pathlib.Path, pcm: np.ndarray, rate_hz: int, channels: int = 1, width: int = 2) -> str:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate_hz, 0, "NONE", ""))
        file.writeframes(pcm.tobytes())
    return str(path)


def test_ours_is_as_long_and_as_loud_at_every_rate_and_goes_round_without_a_seam() -> None:
    loaded = sounds.load()
    for sound, seconds in ((MUSIC, 16), (RINGBACK, 5)):
        levels = []
        for rate, rate_hz in enumerate(RATES_HZ):
            pcm = samples(loaded, sound, rate).astype(float)
            assert pcm.size == seconds * rate_hz
            levels.append(float(np.sqrt((pcm**2).mean())))
            around = np.concatenate((pcm[-rate_hz // 100 :], pcm[: rate_hz // 100]))
            assert np.abs(np.diff(around)).max() <= max(np.abs(np.diff(pcm)).max(), 1)
        assert max(levels) < 1.02 * min(levels) and AMPLITUDE / 8 < levels[0] < AMPLITUDE


def test_ringing_is_425_hz_for_a_second_of_five() -> None:
    pcm = samples(sounds.load(), RINGBACK, 0)
    spectrum = np.abs(np.fft.rfft(pcm[:8_000]))
    assert int(spectrum.argmax()) == 425 and not pcm[8_000:].any()


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_operators_own_keeps_its_pitch_at_any_rate(tmp_path: pathlib.Path, rate_hz: int, channels: int) -> None:
    tone = np.asarray(8_000 * np.sin(2 * np.pi * 1_000 * np.arange(2 * rate_hz) / rate_hz), np.int16)
    loaded = sounds.load(write(tmp_path / "m.wav", np.repeat(tone, channels), rate_hz, channels))
    for rate, to_hz in enumerate(RATES_HZ):
        pcm = samples(loaded, MUSIC, rate)
        assert pcm.size == 2 * to_hz and int(np.abs(np.fft.rfft(pcm)).argmax()) == 2_000
        assert 0.99 < np.sqrt(2 * (pcm.astype(float) ** 2).mean()) / 8_000 < 1.01


def test_what_a_line_cannot_carry_is_left_out(tmp_path: pathlib.Path) -> None:
    tone = np.asarray(8_000 * np.sin(2 * np.pi * 6_000 * np.arange(48_000) / 48_000), np.int16)
    loaded = sounds.load(write(tmp_path / "m.wav", tone, 48_000))
    assert np.abs(samples(loaded, MUSIC, 0)).max() < 80 and np.abs(samples(loaded, MUSIC, 1)).max() > 7_900


@pytest.mark.parametrize(
    ("name", "seconds", "rate_hz", "width", "words"),
    [("none.wav", 0, 0, 0, "cannot be read"), ("8bit.wav", 1, 8_000, 1, "8 bit"), ("slow.wav", 1, 6_000, 2, "6000 Hz"),
     ("long.wav", 301, 8_000, 2, "301.0 s"), ("empty.wav", 0, 8_000, 2, "0.0 s")],
)  # fmt: skip
def test_what_cannot_be_played_is_named_with_the_remedy(
    tmp_path: pathlib.Path, name: str, seconds: int, rate_hz: int, width: int, words: str
) -> None:
    path = tmp_path / name
    if rate_hz:
        write(path, np.zeros(seconds * rate_hz * width, np.int8), rate_hz, width=width)
    with pytest.raises(ConfigurationError, match=r"media\.music") as refused:
        sounds.load(str(path))
    assert words in str(refused.value) and "give a WAV" in str(refused.value)


@pytest.mark.parametrize("rate", range(len(RATES_HZ)))
def test_it_is_taken_by_the_clock_from_anywhere_in_it(rate: int) -> None:
    loaded, mix = sounds.load(), np.zeros(2880, np.int32)
    whole = samples(loaded, MUSIC, rate)
    for start in (0, whole.size - 100, 7 * whole.size + 13):
        mix[:] = 5
        sounds.add(loaded, MUSIC, start, 300, RATES_HZ[rate], mix)
        assert (mix[:300] - 5 == np.take(whole, np.arange(start, start + 300), mode="wrap")).all() and (mix[300:] == 5).all()
