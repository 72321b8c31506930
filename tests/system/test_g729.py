"""A call in G.729: coded by the library itself at the far end, echoed by a server that was told where the library is."""

import ctypes
import json

import numpy as np
import pytest

from control_plane import g729_library
from tests.system.caller import FRAME, Caller
from tests.system.conftest import StartServer
from tests.system.sound import pitch_and_level

NAME, PITCH_HZ = "libbcg729.so.0", 440
pytestmark = pytest.mark.skipif(bool(g729_library.why_not(NAME)), reason=g729_library.REMEDY)


class Library:
    def __init__(self) -> None:
        self.library = ctypes.CDLL(NAME)
        for one in ("initBcg729EncoderChannel", "initBcg729DecoderChannel"):
            getattr(self.library, one).restype = ctypes.c_void_p
        self.encoder = ctypes.c_void_p(self.library.initBcg729EncoderChannel(ctypes.c_uint8(0)))
        self.decoder = ctypes.c_void_p(self.library.initBcg729DecoderChannel())

    def tone(self, frame: int) -> bytes:
        pcm = (8_000 * np.sin(2 * np.pi * PITCH_HZ * (np.arange(FRAME) + frame * FRAME) / 8_000)).astype(np.int16)
        octets, size = b"", ctypes.c_uint8(0)
        for first in (0, 80):
            part, room = np.ascontiguousarray(pcm[first : first + 80]), ctypes.create_string_buffer(10)
            self.library.bcg729Encoder(self.encoder, ctypes.c_void_p(part.ctypes.data), room, ctypes.byref(size))
            octets += room.raw[: size.value]
        return octets

    def decode(self, payload: bytes) -> np.ndarray:
        pcm = np.zeros(8 * len(payload), np.int16)
        for n in range(len(payload) // 10):
            where = ctypes.c_void_p(pcm.ctypes.data + 160 * n)
            self.library.bcg729Decoder(self.decoder, payload[10 * n : 10 * n + 10], *map(ctypes.c_uint8, (10, 0, 0, 0)), where)
        return pcm


def test_the_far_end_hears_itself_through_the_echo(start_server: StartServer) -> None:
    server = start_server("echo", calls=8, media={"formats": ["PCMU", "G729"], "g729_library": NAME})
    far_end = Library()
    caller = Caller(server.sip_port, payload=far_end.tone)
    caller.offer = caller.offer.replace("RTP/AVP 0 ", "RTP/AVP 18 ").replace("a=rtpmap:0 PCMU/8000", "a=rtpmap:18 G729/8000")
    caller.payload_type = 18
    with caller:
        [call] = json.loads(server.command("calls", "--json").stdout)
        caller.wait_for_packets(150)
        caller.check_stream()
    assert call["format"] == "G729" and {packet.payload_type for packet in caller.received} == {18}
    pitch, level = pitch_and_level(far_end.decode(b"".join(packet.payload for packet in caller.received))[-8_000:])
    print(f"{pitch:.0f} Hz, amplitude {level:.0f}")
    assert abs(pitch - PITCH_HZ) <= 3 and 6_000 < level < 10_000
    server.check_log()
