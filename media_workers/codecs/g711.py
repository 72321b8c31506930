"""G.711, both laws, by table."""

import numpy as np

from control_plane.g711 import DECODE, ENCODE
from shm.jit import njit


@njit
def decode(codec_id, payload, start, size, pcm_out):
    samples = min(size, pcm_out.size)
    for i in range(samples):
        pcm_out[i] = DECODE[codec_id, payload[start + i]]
    return samples


@njit
def encode(codec_id, pcm, samples, packet, start):
    for i in range(samples):
        packet[start + i] = ENCODE[codec_id, np.int64(pcm[i]) & 0xFFFF]
    return samples
