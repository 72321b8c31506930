"""How the soak's callers speak: each codec as an object a call, 20 ms of 8 kHz PCM in and out."""

import ctypes
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from control_plane import g711, opus_library

RATE_HZ, SAMPLES = 8_000, 160
Pcm = npt.NDArray[np.int16]
OPUS_APPLICATION_AUDIO, MOST_OCTETS, MOST_SAMPLES = 2049, 400, 960


class Speaker(Protocol):
    def encode(self, pcm: Pcm) -> bytes: ...
    def decode(self, payload: bytes) -> Pcm: ...


class G711:
    def __init__(self, law: int) -> None:
        self.law = law

    def encode(self, pcm: Pcm) -> bytes:
        return g711.encode(self.law, pcm)

    def decode(self, payload: bytes) -> Pcm:
        return g711.decode(self.law, payload)


class Opus:
    """libopus by ctypes. Lives as long as its call."""

    library: ctypes.CDLL | None = None

    def __init__(self) -> None:
        if Opus.library is None:
            Opus.library = ctypes.CDLL(opus_library.find() or opus_library.SYSTEM_NAME)
        self.encoder = ctypes.create_string_buffer(Opus.library.opus_encoder_get_size(1))
        self.decoder = ctypes.create_string_buffer(Opus.library.opus_decoder_get_size(1))
        Opus.library.opus_encoder_init(self.encoder, RATE_HZ, 1, OPUS_APPLICATION_AUDIO)
        Opus.library.opus_decoder_init(self.decoder, RATE_HZ, 1)

    def encode(self, pcm: Pcm) -> bytes:
        octets = ctypes.create_string_buffer(MOST_OCTETS)
        assert Opus.library is not None
        data = np.ascontiguousarray(pcm).ctypes.data_as(ctypes.c_void_p)
        size = Opus.library.opus_encode(self.encoder, data, SAMPLES, octets, MOST_OCTETS)
        return octets.raw[: max(0, size)]

    def decode(self, payload: bytes) -> Pcm:
        pcm = np.zeros(MOST_SAMPLES, np.int16)
        assert Opus.library is not None
        data = pcm.ctypes.data_as(ctypes.c_void_p)
        return pcm[: max(0, Opus.library.opus_decode(self.decoder, payload, len(payload), data, MOST_SAMPLES, 0))]


class Codec(NamedTuple):
    name: str
    payload_type: int
    rtpmap: str
    ticks: int
    """RTP clock ticks in 20 ms."""

    def speaker(self) -> Speaker:
        return Opus() if self.name == "OPUS" else G711(0 if self.name == "PCMU" else 1)


CODECS = {
    "PCMU": Codec("PCMU", 0, "PCMU/8000", 160),
    "PCMA": Codec("PCMA", 8, "PCMA/8000", 160),
    "OPUS": Codec("OPUS", 107, "opus/48000/2", 960),  # RFC 7587: its clock is always 48 kHz
}
