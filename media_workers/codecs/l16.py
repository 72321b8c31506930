"""L16: samples as they are, in network byte order (RFC 3551 4.5.11)."""

import numpy as np

from shm.jit import njit


@njit
def decode(payload, start, size, pcm_out):
    """Half an octet pair at the end is dropped."""
    samples = min(size // 2, pcm_out.size)
    for i in range(samples):
        word = np.int64(payload[start + 2 * i]) << 8 | np.int64(payload[start + 2 * i + 1])
        pcm_out[i] = (word ^ 0x8000) - 0x8000
    return samples


@njit
def encode(pcm, samples, packet, start):
    for i in range(samples):
        packet[start + 2 * i] = np.int64(pcm[i]) >> 8 & 0xFF
        packet[start + 2 * i + 1] = np.int64(pcm[i]) & 0xFF
    return 2 * samples
