"""G.729 (RFC 3551 4.5.6) through bcg729: 10 octets are 10 ms at 8 kHz, and 2 at the end of a packet describe silence (annex B)."""

import numpy as np

from media_workers import libbcg729
from shm.jit import njit

FRAME_OCTETS, SID_OCTETS, FRAME_SAMPLES = 10, 2, 80

G729 = np.dtype(
    [
        ("decoder", "i8"),  # addresses in the memory of the worker that has the row; 0: there is no library
        ("encoder", "i8"),
        ("decode", "i8"),
        ("encode", "i8"),
        ("octets", "u1", 8),  # how many the library wrote
    ]
)


@njit
def decode(g729, payload, start, size, pcm_out):
    """The samples written. What is no whole frame at the end is dropped."""
    if g729["decoder"] == 0:
        return 0
    samples, at, end = 0, start, start + size
    while samples + FRAME_SAMPLES <= pcm_out.size:
        left = end - at
        if left != SID_OCTETS and left < FRAME_OCTETS:
            break
        octets = SID_OCTETS if left == SID_OCTETS else FRAME_OCTETS
        is_sid = 1 if left == SID_OCTETS else 0
        where = pcm_out.ctypes.data + 2 * samples
        libbcg729.call_decoder(
            np.uint64(g729["decode"]),
            (
                np.uint64(g729["decoder"]), np.uint64(payload.ctypes.data + at), np.uint64(octets), np.uint64(0), np.uint64(is_sid),
                np.uint64(0), np.uint64(where),
            ),
        )  # fmt: skip
        samples += FRAME_SAMPLES
        at += octets
    return samples


@njit
def encode(g729, pcm, samples, packet, start):
    """The octets written. `samples` is a multiple of 10 ms."""
    if g729["encoder"] == 0:
        return 0
    octets = 0
    for first in range(0, samples - FRAME_SAMPLES + 1, FRAME_SAMPLES):
        libbcg729.call_encoder(
            np.uint64(g729["encode"]),
            (
                np.uint64(g729["encoder"]), np.uint64(pcm.ctypes.data + 2 * first), np.uint64(packet.ctypes.data + start + octets),
                np.uint64(g729["octets"].ctypes.data),
            ),
        )  # fmt: skip
        octets += FRAME_OCTETS
    return octets


# ---- Python's side: once per call, and per worker that takes over --------------------------------------------


def start(g729: np.void) -> None:
    """New coders. Of those that are there, the process that made them has ended, or `forget` has freed them."""
    g729["decoder"], g729["encoder"] = libbcg729.open_coders()
    if libbcg729.is_there():
        g729["decode"], g729["encode"] = libbcg729.address("bcg729Decoder"), libbcg729.address("bcg729Encoder")


def forget(g729: np.void) -> None:
    """The call is over, or has another codec."""
    libbcg729.close_coders(int(g729["decoder"]), int(g729["encoder"]))
    g729["decoder"] = g729["encoder"] = 0
