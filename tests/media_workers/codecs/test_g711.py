"""The kernels of G.711 against the formula (tests/reference/g711.py)."""

import numpy as np
import pytest

from media_workers import codecs
from media_workers.codecs import g711
from shm.jit import IS_COMPILED
from tests.media_workers.call_under_test import CallUnderTest
from tests.reference import g711 as reference

LAWS = [reference.ULAW, reference.ALAW]


@pytest.mark.parametrize("law", LAWS)
def test_all_256_codes_decode_as_the_formula_says(law: int) -> None:
    payload, pcm = np.arange(256, dtype=np.uint8), np.zeros(256, np.int16)
    assert g711.decode(law, payload, 0, 256, pcm) == 256
    assert pcm.tolist() == list(reference.levels(law))


@pytest.mark.parametrize("law", LAWS)
def test_every_sample_is_encoded_to_the_nearest_code(law: int) -> None:
    step = 1 if IS_COMPILED else 97
    pcm = np.arange(-32768, 32768, step).astype(np.int16)
    packet = np.zeros(pcm.size, np.uint8)
    assert g711.encode(law, pcm, pcm.size, packet, 0) == pcm.size
    levels = np.array(reference.levels(law))
    errors = np.abs(levels[packet] - pcm.astype(np.int64))
    nearest = np.min(np.abs(levels[:, None] - pcm[None, :].astype(np.int64)), axis=0)
    assert (errors == nearest).all()


def test_the_codec_of_a_call_is_a_number() -> None:
    """The duty cycle's switch leads where control_plane/formats.py says."""
    payload, pcm = np.array([0x00, 0x2A, 0xD5], np.uint8), np.zeros(3, np.int16)
    for name, law in (("PCMU", reference.ULAW), ("PCMA", reference.ALAW)):
        call = CallUnderTest(format=name).call
        codecs.decode(call, payload, 0, 3, pcm)
        assert pcm.tolist() == [reference.decode(law, code) for code in (0x00, 0x2A, 0xD5)]
        packet = np.zeros(5, np.uint8)
        assert codecs.encode(call, pcm, 3, packet, 2) == 3
        assert packet.tolist() == [0, 0, 0x00, 0x2A, 0xD5]


@pytest.mark.parametrize("start", [0, 12])
def test_a_payload_longer_than_the_room_is_cut(start: int) -> None:
    payload, pcm = np.full(200, 0x80, np.uint8), np.zeros(160, np.int16)
    assert g711.decode(0, payload, start, 180, pcm) == 160


def test_an_empty_payload_is_no_samples() -> None:
    assert g711.decode(1, np.zeros(1, np.uint8), 0, 0, np.zeros(160, np.int16)) == 0
