"""G.711: the two companding laws as tables (ITU-T G.711; RFC 3551 4.5.14).

Tables instead of arithmetic: a lookup a sample, in compiled code as well as in numpy.
"""

import numpy as np
import numpy.typing as npt

SILENCE_ULAW, SILENCE_ALAW = 0xFF, 0xD5


def _decode_ulaw(code: int) -> int:
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 132 << (code >> 4 & 7)) - 132
    return -magnitude if code & 0x80 else magnitude


def _decode_alaw(code: int) -> int:
    code ^= 0x55
    segment, step = code >> 4 & 7, (code & 0x0F) << 4
    magnitude = step + 8 if segment == 0 else step + 264 << segment - 1
    return magnitude if code & 0x80 else -magnitude


def _encoder(decoded: npt.NDArray[np.int16], positive: range, negative: range) -> npt.NDArray[np.uint8]:
    """For every 16-bit sample the code whose value is nearest; of two that are as near, the smaller magnitude."""
    table = np.zeros(65536, np.uint8)
    for codes, sign in ((positive, 1), (negative, -1)):
        values = sorted((abs(int(decoded[code])), code) for code in codes)
        levels = np.array([value for value, _ in values])
        borders = (levels[:-1] + levels[1:]) // 2
        magnitudes = np.arange(32768 if sign == 1 else 32769)
        chosen = np.array([code for _, code in values])[np.searchsorted(borders, magnitudes)]
        if sign == 1:
            table[:32768] = chosen
        else:
            table[65536 - magnitudes[1:]] = chosen[1:]
    return table


ULAW_TO_PCM = np.array([_decode_ulaw(code) for code in range(256)], np.int16)
ALAW_TO_PCM = np.array([_decode_alaw(code) for code in range(256)], np.int16)
PCM_TO_ULAW = _encoder(ULAW_TO_PCM, range(128, 256), range(128))
"""Indexed by the sample's 16 bits, unsigned."""
PCM_TO_ALAW = _encoder(ALAW_TO_PCM, range(128, 256), range(128))

DECODE = np.stack([ULAW_TO_PCM, ALAW_TO_PCM])
"""(2, 256) int16, by codec_id of control_plane/formats.py."""
ENCODE = np.stack([PCM_TO_ULAW, PCM_TO_ALAW])
"""(2, 65536) uint8."""


def decode(codec_id: int, payload: bytes) -> npt.NDArray[np.int16]:
    return np.asarray(DECODE[codec_id][np.frombuffer(payload, np.uint8)], np.int16)


def encode(codec_id: int, pcm: npt.NDArray[np.int16]) -> bytes:
    return bytes(ENCODE[codec_id][pcm.view(np.uint16)].tobytes())
