import numpy as np
import pytest

from ai_bridge.offline_speech.rate import convert, to_pcm16


def tone(pitch_hz: float, rate_hz: int, seconds: float = 0.5) -> np.ndarray:
    return 10_000 * np.sin(2 * np.pi * pitch_hz * np.arange(int(rate_hz * seconds)) / rate_hz)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(22_050, 8_000), (8_000, 16_000), (16_000, 8_000), (48_000, 8_000), (8_000, 22_050)])
def test_a_tone_keeps_its_pitch_its_level_and_its_place(from_hz: int, to_hz: int) -> None:
    converted = convert(tone(1_000, from_hz), from_hz, to_hz)
    expected = tone(1_000, to_hz)
    assert converted.size == -(-tone(1_000, from_hz).size * to_hz // from_hz)
    inner = slice(to_hz // 20, min(converted.size, expected.size) - to_hz // 20)  # the ends meet silence
    error = converted[inner] - expected[inner]
    assert np.sqrt((error**2).mean()) < 10_000 / 10 ** (60 / 20)


def test_what_the_slower_rate_cannot_carry_is_gone() -> None:
    converted = convert(tone(6_000, 22_050), 22_050, 8_000)
    assert np.abs(converted[400:-400]).max() < 10


@pytest.mark.parametrize("size", [0, 1, 5, 441])
def test_short_recordings_are_converted_too(size: int) -> None:
    assert convert(np.ones(size), 22_050, 8_000).size == -(-size * 160 // 441)


def test_too_loud_is_clipped_not_wrapped() -> None:
    assert to_pcm16(np.array([40_000.0, -40_000.0, 1.5])).tolist() == [32767, -32768, 2]
