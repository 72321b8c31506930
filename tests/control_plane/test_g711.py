"""The tables of G.711 against its formula (tests/reference/g711.py)."""

import numpy as np
import pytest

from control_plane import g711
from tests.reference import g711 as reference

LAWS = [reference.ULAW, reference.ALAW]


@pytest.mark.parametrize("law", LAWS)
def test_all_256_codes_decode_as_the_formula_says(law: int) -> None:
    assert g711.decode(law, bytes(range(256))).tolist() == list(reference.levels(law))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("sample", [-32768, -32767, -32636, -32635, -256, -9, -8, -1, 0, 1, 4, 8, 9, 255, 256, 16383, 32635, 32767])
def test_the_nearest_code_is_chosen(law: int, sample: int) -> None:
    (code,) = g711.encode(law, np.array([sample], np.int16))
    assert abs(reference.decode(law, code) - sample) == reference.least_error(law, sample)


@pytest.mark.parametrize("law", LAWS)
def test_every_sample_is_encoded_to_the_nearest_code(law: int) -> None:
    pcm = np.arange(-32768, 32768).astype(np.int16)
    back = g711.decode(law, g711.encode(law, pcm)).astype(np.int64)
    levels = np.array(sorted(set(reference.levels(law))))
    above = np.clip(np.searchsorted(levels, pcm), 1, levels.size - 1)
    nearest = np.minimum(np.abs(levels[above] - pcm), np.abs(levels[above - 1] - pcm))
    assert (np.abs(back - pcm) == nearest).all()
    assert (np.diff(back) >= 0).all()


@pytest.mark.parametrize("law", LAWS)
def test_a_decoded_code_keeps_its_value_through_another_round(law: int) -> None:
    once = g711.decode(law, bytes(range(256)))
    assert (g711.decode(law, g711.encode(law, once)) == once).all()


def test_silence_is_the_quietest_code() -> None:
    assert g711.encode(0, np.zeros(1, np.int16)) == bytes([g711.SILENCE_ULAW]) and g711.decode(0, bytes([g711.SILENCE_ULAW]))[0] == 0
    assert g711.encode(1, np.zeros(1, np.int16)) == bytes([g711.SILENCE_ALAW]) and g711.decode(1, bytes([g711.SILENCE_ALAW]))[0] == 8
