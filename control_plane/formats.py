"""The audio formats. A new codec is a row here and a file of kernels.

The row names its kernels as text, so that the SIP process reads this table without loading numba.
"""

from collections.abc import Iterable

import msgspec

from control_plane import opus_library
from control_plane.errors import ConfigurationError

PTIMES_MS = (10, 20, 30, 40, 60)
DEFAULT_PTIME_MS = 20


class AudioFormat(msgspec.Struct, frozen=True):
    name: str
    """Its encoding name in upper case; where one encoding has several rates, with the rate."""
    static_payload_type: int | None
    """RFC 3551 table 4; None: a dynamic number is agreed in the SDP."""
    rtp_clock_hz: int
    sample_rate_hz: int
    codec_id: int
    """What the compiled duty cycle switches on."""
    kernels: str
    channels: int = 1
    """What a=rtpmap says."""
    ptimes_ms: tuple[int, ...] = PTIMES_MS
    """What we send: that a packet of ours can hold."""
    fmtp: str = ""
    """What we say in a=fmtp."""

    @property
    def encoding(self) -> str:
        return self.name.partition("/")[0]


FORMATS = {
    f.name: f
    for f in (
        #           name      static  rtp_clock_hz  sample_rate_hz  codec_id  kernels
        AudioFormat("PCMU",      0,    8_000,  8_000, 0, "media_workers.codecs.g711"),
        AudioFormat("PCMA",      8,    8_000,  8_000, 1, "media_workers.codecs.g711"),
        AudioFormat("G722",      9,    8_000, 16_000, 2, "media_workers.codecs.g722"),  # RFC 3551 4.5.2: a clock that was a mistake
        AudioFormat("L16/8000",  None, 8_000,  8_000, 3, "media_workers.codecs.l16"),
        AudioFormat("L16/16000", None, 16_000, 16_000, 4, "media_workers.codecs.l16", ptimes_ms=(10, 20, 30, 40)),  # 60 ms are 1,920 octets
        AudioFormat(
            "OPUS", None, 48_000, 16_000, 5, "media_workers.codecs.opus", channels=2, ptimes_ms=(10, 20, 40, 60),  # RFC 7587 4.1, 4.2
            fmtp="maxplaybackrate=16000;sprop-maxcapturerate=16000;useinbandfec=1",
        ),
        AudioFormat("G729", 18, 8_000, 8_000, 6, "media_workers.codecs.g729", fmtp="annexb=no"),  # RFC 4856 2.1.9
    )
}
"""By name, in order of preference."""

TELEPHONE_EVENT = "TELEPHONE-EVENT"
COMFORT_NOISE = "CN"


def check_names(names: Iterable[str], setting: str) -> None:
    """Of formats in a configuration. Raises ConfigurationError for one that there is not, here or at all."""
    for name in names:
        if name not in FORMATS:
            raise ConfigurationError(f'{setting}: "{name}" is not known; there are {", ".join(FORMATS)}')
        if name == "OPUS" and not opus_library.find():
            raise ConfigurationError(f"{setting}: {opus_library.REMEDY}")
