"""The audio formats. A new codec is a row here and a file of kernels.

The row names its kernels as text, so that the SIP process reads this table without loading numba.
"""

import msgspec


class AudioFormat(msgspec.Struct, frozen=True):
    name: str
    static_payload_type: int | None
    """RFC 3551 table 4; None: a dynamic number is agreed in the SDP."""
    rtp_clock_hz: int
    sample_rate_hz: int
    codec_id: int
    """What the compiled duty cycle switches on."""
    kernels: str


FORMATS = {
    f.name: f
    for f in (
        #           name    static  rtp_clock_hz  sample_rate_hz  codec_id  kernels
        AudioFormat("PCMU", 0, 8_000, 8_000, 0, "media_workers.codecs.g711"),
        AudioFormat("PCMA", 8, 8_000, 8_000, 1, "media_workers.codecs.g711"),
    )
}
"""By encoding name, upper case, in order of preference."""

PTIMES_MS = (10, 20, 30, 40, 60)
DEFAULT_PTIME_MS = 20
TELEPHONE_EVENT = "TELEPHONE-EVENT"
COMFORT_NOISE = "CN"
COMFORT_NOISE_PAYLOAD_TYPE = 13  # RFC 3389
