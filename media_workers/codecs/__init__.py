"""Payload to PCM and back. The codec is a number of control_plane/formats.py; a new one is a branch here and a file.

What a codec remembers is nested in its call's row, so a worker that takes over goes on in mid-word. The rings keep the
sample rate that the call began with; where a re-INVITE brought a codec of the other rate, its audio is doubled or halved.
"""

import numpy as np

from control_plane.formats import FORMATS
from media_workers.codecs import g711, g722, g729, halfband, l16, opus
from shm.copying import copy
from shm.jit import njit

G722, L16, L16_WIDE = (FORMATS[name].codec_id for name in ("G722", "L16/8000", "L16/16000"))
OPUS, G729 = FORMATS["OPUS"].codec_id, FORMATS["G729"].codec_id
WIDE_HZ = 16_000

CODEC = np.dtype(
    [
        ("rx", g722.ADPCM),
        ("tx", g722.ADPCM),
        ("rx_line", "i4", halfband.LINE_SAMPLES),
        ("tx_line", "i4", halfband.LINE_SAMPLES),
    ]
)


def fresh() -> np.void:
    """What a codec remembers at the beginning of a stream."""
    codec = np.zeros(1, CODEC)[0]
    codec["rx"] = codec["tx"] = g722.fresh()
    return codec


@njit
def decode(call, payload, start, size, pcm_out):
    """Decode `size` octets into `pcm_out` at the call's sample rate; returns the samples written, at most pcm_out.size."""
    codec_id, codec_hz, sample_rate_hz = call["codec_id"], call["codec_rate_hz"], call["sample_rate_hz"]
    if codec_id == G722:
        return g722.decode(call["codec"]["rx"], payload, start, size, pcm_out, sample_rate_hz == WIDE_HZ)
    if codec_id == OPUS:
        return opus.decode(call["opus"], payload, start, size, pcm_out)
    room = pcm_out[pcm_out.size // 2 if sample_rate_hz > codec_hz else 0 :]
    if codec_id in (L16, L16_WIDE):
        samples = l16.decode(payload, start, size, room)
    elif codec_id == G729:
        samples = g729.decode(call["g729"], payload, start, size, room)
    else:
        samples = g711.decode(codec_id, payload, start, size, room)
    if sample_rate_hz > codec_hz:
        return halfband.double(call["codec"]["rx_line"], room, pcm_out, samples)
    if sample_rate_hz < codec_hz:
        return halfband.halve(call["codec"]["rx_line"], pcm_out, samples)
    return samples


@njit
def encode(call, pcm, samples, packet, start):
    """Encode into `packet` from `start` on; returns the octets written, 0: nothing need be sent.

    `pcm` has room for as much again, and is used up.
    """
    codec_id, codec_hz, sample_rate_hz = call["codec_id"], call["codec_rate_hz"], call["sample_rate_hz"]
    if codec_id == G722:
        return g722.encode(call["codec"]["tx"], pcm, samples, packet, start, sample_rate_hz == WIDE_HZ)
    if codec_id == OPUS:
        return opus.encode(call["opus"], pcm, samples, packet, start)
    if sample_rate_hz > codec_hz:
        samples = halfband.halve(call["codec"]["tx_line"], pcm, samples)
    elif sample_rate_hz < codec_hz:
        copy(pcm, samples, pcm, 0, samples)
        samples = halfband.double(call["codec"]["tx_line"], pcm[samples:], pcm, samples)
    if codec_id in (L16, L16_WIDE):
        return l16.encode(pcm, samples, packet, start)
    if codec_id == G729:
        return g729.encode(call["g729"], pcm, samples, packet, start)
    return g711.encode(codec_id, pcm, samples, packet, start)
