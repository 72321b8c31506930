"""G.729 through the library that the operator names, against that library used by itself."""

import ctypes

import numpy as np
import numpy.typing as npt
import pytest

from control_plane import config, g729_library
from control_plane.config import Config, Media
from control_plane.errors import ConfigurationError, NotAcceptable
from control_plane.messages import MediaDescription
from media_workers import libbcg729
from media_workers.rows import Rows
from tests.media_workers.call_under_test import START, CallUnderTest

NAME = "libbcg729.so.0"
PITCH_HZ = 440
needs_library = pytest.mark.skipif(not libbcg729.use(NAME), reason=g729_library.REMEDY)


class FarEnd:
    """The library itself, through ctypes: what it makes and reads has not been through our kernels."""

    def __init__(self, has_vad: bool = False) -> None:
        self.library = ctypes.CDLL(NAME)
        for one in ("initBcg729EncoderChannel", "initBcg729DecoderChannel"):
            getattr(self.library, one).restype = ctypes.c_void_p
        self.encoder = ctypes.c_void_p(self.library.initBcg729EncoderChannel(ctypes.c_uint8(has_vad)))
        self.decoder = ctypes.c_void_p(self.library.initBcg729DecoderChannel())

    def encode(self, pcm: npt.NDArray[np.int16]) -> bytes:
        found, frame, size = b"", ctypes.create_string_buffer(10), ctypes.c_uint8(0)
        for first in range(0, pcm.size, 80):
            part = np.ascontiguousarray(pcm[first : first + 80])
            self.library.bcg729Encoder(self.encoder, ctypes.c_void_p(part.ctypes.data), frame, ctypes.byref(size))
            found += frame.raw[: size.value]
        return found

    def decode(self, payload: bytes) -> npt.NDArray[np.int16]:
        pcm = np.zeros(8 * len(payload), np.int16)
        for n in range(len(payload) // 10):
            where = ctypes.c_void_p(pcm.ctypes.data + 160 * n)
            self.library.bcg729Decoder(self.decoder, payload[10 * n : 10 * n + 10], *map(ctypes.c_uint8, (10, 0, 0, 0)), where)
        return pcm


def tone(samples: int) -> npt.NDArray[np.int16]:
    return (8_000 * np.sin(2 * np.pi * PITCH_HZ * np.arange(samples) / 8_000)).astype(np.int16)


def pitch(pcm: npt.NDArray[np.int16]) -> float:
    settled = pcm[pcm.size // 3 :].astype(float)
    return float(np.abs(np.fft.rfft(settled * np.hanning(settled.size))).argmax() * 8_000 / settled.size)


@needs_library
def test_the_agent_hears_what_the_library_says_to_the_sample() -> None:
    call, sender, same = CallUnderTest(format="G729"), FarEnd(), FarEnd()
    payloads = [sender.encode(part) for part in tone(8_000).reshape(-1, 160)]
    for n, payload in enumerate(payloads):
        call.receive(n, 160 * n, payload)
    heard = np.concatenate([frame.pcm for frame in call.frames()])
    assert (heard == np.concatenate([same.decode(payload) for payload in payloads])).all()
    assert abs(pitch(heard) - PITCH_HZ) < 3


@needs_library
@pytest.mark.parametrize("ptime_ms", [10, 20, 60])
def test_the_library_hears_what_the_agent_says_to_the_octet(ptime_ms: int) -> None:
    call, listener, same = CallUnderTest(ptime_ms, "G729"), FarEnd(), FarEnd()
    said = tone(9_600)
    sent = []
    for first in range(0, said.size, 960):
        call.say(said[first : first + 960])
        sent += [call.next_packet() for _ in range(120 // ptime_ms)]
    assert {packet.payload_type for packet in sent} == {18} and {len(packet.payload) for packet in sent} == {ptime_ms}
    octets = b"".join(packet.payload for packet in sent)
    assert octets == same.encode(said)
    assert abs(pitch(listener.decode(octets)) - PITCH_HZ) < 3


@needs_library
def test_silence_that_the_far_end_describes_is_heard_as_such() -> None:
    """Annex B: speech, a description of silence behind it, and nothing."""
    call, sender = CallUnderTest(format="G729"), FarEnd(has_vad=True)
    noise = np.random.default_rng(1).integers(-20, 20, 16_000).astype(np.int16)
    payloads = [sender.encode(part) for part in np.concatenate([tone(8_000), noise]).reshape(-1, 160)]
    assert {len(payload) for payload in payloads} >= {0, 20} and any(len(payload) % 10 == 2 for payload in payloads)
    seq = 0
    for n, payload in enumerate(payloads):
        if payload:
            call.receive(seq, 160 * n, payload)
            seq += 1
    heard = np.concatenate([frame.pcm for frame in call.frames()])
    assert np.abs(heard[-1_600:]).max() < 300 and np.abs(heard[4_000:7_000]).max() > 6_000
    assert call.counter("lost") == 0 and call.counter("concealed_frames") == 0


@needs_library
@pytest.mark.parametrize("payload", [b"", b"\xff", bytes(9), bytes(11), bytes(25), b"\xff" * 1_400])
def test_octets_that_are_no_g729_harm_nothing(payload: bytes) -> None:
    call, sender = CallUnderTest(format="G729"), FarEnd()
    for n in range(10):
        call.receive(n, 160 * n, payload if n == 5 else sender.encode(tone(160)))
    assert len(call.frames()) >= 9


@needs_library
def test_a_successor_makes_its_own_coders_and_a_call_that_ends_frees_them() -> None:
    call, sender = CallUnderTest(format="G729"), FarEnd()
    payloads = [sender.encode(part) for part in tone(16_000).reshape(-1, 160)]
    before = int(call.call["g729"]["decoder"])
    for n, payload in enumerate(payloads):
        if n == 50:
            call.rows = Rows(call.worker, 0, 2, 0)
        call.receive(n, 160 * n, payload)
    assert 0 != int(call.call["g729"]["decoder"]) != before
    heard = np.concatenate([frame.pcm for frame in call.frames()[:]])
    assert abs(pitch(heard[-4_000:]) - PITCH_HZ) < 5
    call.rows.update("call", MediaDescription("PCMU", 0, "127.0.0.1", 4_000), START)
    assert not call.call["g729"]["decoder"] and not call.call["g729"]["encoder"]
    call.rows.close("call", START)


def test_without_it_the_call_and_the_configuration_are_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbcg729, "_library", None)
    with pytest.raises(NotAcceptable, match="libbcg729-0"):
        CallUnderTest(format="G729")
    assert not libbcg729.use("") and not libbcg729.use("libnothing.so.9")
    for media, why in (
        (Media(formats=("PCMU", "G729"), workers=1), "media.formats: G729 needs media.g729_library"),
        (Media(g729_library="libnothing.so.9", workers=1), "media.g729_library: libnothing.so.9 cannot be loaded"),
        (Media(g729_library="libc.so.6", workers=1), "it is not bcg729"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            config.check(Config(media=media))
