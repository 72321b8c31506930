import struct

import numpy as np
import pytest

from ai_bridge.twiml.sound import beep, decode_wav, encode_wav
from ai_bridge.twiml.web import TwimlFailed
from ai_bridge.wires.encoding import PCMA, PCMU
from tests.ai_bridge.line import tone


def wav(kind: int, bits: int, data: bytes, channels: int = 1, rate_hz: int = 8_000) -> bytes:
    header = struct.pack("<HHIIHH", kind, channels, rate_hz, rate_hz * bits // 8, bits // 8, bits)
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    chunks = b"fmt " + struct.pack("<I", 16) + header + odd + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def test_pcm_and_g711_are_played_and_two_channels_become_one():
    pcm = tone(100, 5_000)
    assert np.array_equal(decode_wav(encode_wav(pcm, 16_000))[0], pcm) and decode_wav(encode_wav(pcm, 16_000))[1] == 16_000
    for kind, encoding in ((7, PCMU), (6, PCMA)):
        assert np.array_equal(decode_wav(wav(kind, 8, encoding.encode(pcm)))[0], encoding.decode(encoding.encode(pcm)))
    stereo = np.stack((pcm, pcm + 10), axis=1).astype(np.int16)
    assert np.array_equal(decode_wav(wav(1, 16, stereo.tobytes(), channels=2))[0], pcm + 5)
    assert beep(8_000).size == 4_000


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"ID3\x04", "not a WAV file"),
        (b"RIFF\0\0\0\0WAVE", "no format, or no samples"),
        (wav(1, 24, b"\0" * 6), "24 bits"),
        (wav(3, 32, b"\0" * 8), "format 3"),
        (wav(1, 16, b"\0\0", channels=6), "6 channels"),
        (wav(1, 16, b"\0\0", rate_hz=0), "0 Hz"),
    ],
)
def test_what_is_not_played_is_named(content, why):
    with pytest.raises(TwimlFailed, match=why):
        decode_wav(content)
