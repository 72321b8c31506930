"""Payload to PCM and back. The codec is a number of control_plane/formats.py; a new one is a branch here and a file."""

from media_workers.codecs import g711
from shm.jit import njit


@njit
def decode(codec_id, payload, start, size, pcm_out):
    """Decode `size` octets into `pcm_out`; returns the samples written, at most pcm_out.size."""
    return g711.decode(codec_id, payload, start, size, pcm_out)


@njit
def encode(codec_id, pcm, samples, packet, start):
    """Encode into `packet` from `start` on; returns the octets written."""
    return g711.encode(codec_id, pcm, samples, packet, start)
