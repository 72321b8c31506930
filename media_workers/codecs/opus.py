"""Opus, RFC 6716 in RTP by RFC 7587: libopus in the call's own memory, at the rate of the call's rings.

What was lost comes again, coarser, inside the packet behind it (in-band FEC), and libopus makes up the rest.
`is_busy` stands while libopus works on a state: who finds it standing took over from a worker that was killed there,
and begins that state anew.
"""

import re

import numpy as np

from control_plane.config import Opus
from media_workers import libopus
from media_workers.libopus import DECODER_BYTES, ENCODER_BYTES
from media_workers.rtp import MAX_PAYLOAD_BYTES
from shm.jit import njit

MIN_BITRATE_BPS = 6_000  # RFC 7587 6.1: what maxaveragebitrate may ask for
EXPECTED_LOSS_PERCENT = 10
"""libopus spends bits on FEC by this; 0 would send none."""
DTX_OCTETS = 2  # opus_encode: so few need not be sent

OPUS = np.dtype(
    [
        ("library", "i8"),  # libopus.TOKEN of whoever made the states
        ("is_busy", "i8"),
        ("bitrate_bps", "i8"),
        ("bandwidth", "i8"),
        ("has_fec", "i8"),
        ("has_dtx", "i8"),
        ("is_cbr", "i8"),
        ("complexity", "i8"),
        ("decoder", "u1", DECODER_BYTES),
        ("encoder", "u1", ENCODER_BYTES),
    ]
)
"""Last in its row: pages of it exist only where Opus is spoken."""


@njit
def decode(opus, payload, start, size, pcm_out):
    """The samples written; 0 for a packet that is none."""
    if size == 0:
        return 0
    opus["is_busy"] = 1
    samples = libopus.decode(opus["decoder"].ctypes.data, payload.ctypes.data + start, size, pcm_out.ctypes.data, pcm_out.size, 0)
    opus["is_busy"] = 0
    return max(samples, 0)


@njit
def make_up(opus, pcm_out, samples):
    """What libopus makes up for packets that did not come. `samples` is a multiple of 2.5 ms."""
    opus["is_busy"] = 1
    made = libopus.decode(opus["decoder"].ctypes.data, 0, 0, pcm_out.ctypes.data, samples, 0)
    opus["is_busy"] = 0
    return max(made, 0)


@njit
def recover(opus, payload, start, size, pcm_out, samples):
    """The packet before this one, out of this one."""
    opus["is_busy"] = 1
    made = libopus.decode(opus["decoder"].ctypes.data, payload.ctypes.data + start, size, pcm_out.ctypes.data, samples, 1)
    opus["is_busy"] = 0
    return max(made, 0)


@njit
def recoverable_samples(payload, start, size, sample_rate_hz):
    """How much of what went before is in this packet again (its LBRR flag, RFC 6716 4.2.4), 0: nothing."""
    if size < 2 or payload[start] & 0x80:  # CELT has none
        return 0
    config, frames_code = np.int64(payload[start]) >> 3, np.int64(payload[start]) & 3
    if frames_code == 3:
        return 0  # several frames in a packet of any lengths: nobody sends them with FEC
    first = start + 1
    if frames_code == 2:
        first += 1 if payload[first] < 252 else 2
    silk_frames = 1 if config >= 12 else max(1, (1, 1, 2, 3)[config & 3])
    if first >= start + size or (np.int64(payload[first]) >> (7 - silk_frames)) & 1 == 0:
        return 0
    return libopus.frame_samples(payload.ctypes.data + start, sample_rate_hz)


@njit
def encode(opus, pcm, samples, packet, start):
    """The octets written; 0 where nothing need be sent."""
    opus["is_busy"] = 1
    octets = libopus.encode(opus["encoder"].ctypes.data, pcm.ctypes.data, samples, packet.ctypes.data + start, MAX_PAYLOAD_BYTES)
    opus["is_busy"] = 0
    return octets if octets > DTX_OCTETS else 0


# ---- Python's side: once per offer and answer ----------------------------------------------------------------


def parameters(fmtp: str) -> dict[str, int]:
    """The numbers in a=fmtp; what is none is left out."""
    pairs = (part.partition("=")[::2] for part in fmtp.lower().split(";"))
    return {name.strip(): int(value) for name, value in pairs if re.fullmatch(r" *[0-9]{1,9} *", value)}


def start(opus: np.void, fmtp: str, sample_rate_hz: int, ours: Opus) -> None:
    """New states, as the far end wants them."""
    _restart(opus, sample_rate_hz)
    configure(opus, fmtp, ours)


def configure(opus: np.void, fmtp: str, ours: Opus) -> None:
    """What the far end's a=fmtp asks of our encoder (RFC 7587 6.1), as far as our own settings go. The sound goes on."""
    asked = parameters(fmtp)
    rate_hz = asked.get("maxplaybackrate", 48_000)
    steps = ((8_000, libopus.NARROWBAND), (12_000, libopus.MEDIUMBAND), (16_000, libopus.WIDEBAND), (24_000, libopus.SUPERWIDEBAND))
    opus["bandwidth"] = next((bandwidth for limit_hz, bandwidth in steps if rate_hz <= limit_hz), libopus.FULLBAND)
    opus["bitrate_bps"] = max(min(ours.bitrate_bps, asked.get("maxaveragebitrate", ours.bitrate_bps)), MIN_BITRATE_BPS)
    has_fec, has_dtx, opus["is_cbr"] = (asked.get(name, 0) == 1 for name in ("useinbandfec", "usedtx", "cbr"))
    opus["has_fec"], opus["has_dtx"], opus["complexity"] = has_fec and ours.fec, has_dtx and ours.dtx, ours.complexity
    _set(opus)


def restore(opus: np.void, sample_rate_hz: int) -> bool:
    """For a worker that took over: go on with the states where that is safe, else begin them anew. True: anew."""
    if opus["library"] == libopus.TOKEN and not opus["is_busy"]:
        return False
    _restart(opus, sample_rate_hz)
    _set(opus)
    return True


def _restart(opus: np.void, sample_rate_hz: int) -> None:
    libopus.start_decoder(opus["decoder"].ctypes.data, sample_rate_hz)
    libopus.start_encoder(opus["encoder"].ctypes.data, sample_rate_hz)
    opus["library"], opus["is_busy"] = libopus.TOKEN, 0


def _set(opus: np.void) -> None:
    encoder = opus["encoder"].ctypes.data
    for request, value in (
        (libopus.SET_COMPLEXITY, int(opus["complexity"])),
        (libopus.SET_BITRATE, int(opus["bitrate_bps"])),
        (libopus.SET_MAX_BANDWIDTH, int(opus["bandwidth"])),
        (libopus.SET_INBAND_FEC, int(opus["has_fec"])),
        (libopus.SET_PACKET_LOSS_PERC, EXPECTED_LOSS_PERCENT if opus["has_fec"] else 0),
        (libopus.SET_DTX, int(opus["has_dtx"])),
        (libopus.SET_VBR, 0 if opus["is_cbr"] else 1),
    ):
        libopus.set_encoder(encoder, request, value)
