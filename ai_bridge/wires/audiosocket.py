"""Asterisk's AudioSocket: messages over TCP, a kind, a length of 16 bits (big-endian), and what is in it.

There is no clear and no mark: such bots keep the pace themselves. Audio is little-endian PCM; its kind tells the rate.
"""

import struct
import uuid
from collections.abc import Sequence

from ai_bridge.frame import Pcm
from ai_bridge.wires.encoding import L16, choose
from ai_bridge.wires.wire import About, Action, BotViolation, Finish, Ignored, Messages, Press, Say, Wire

HEADER = struct.Struct(">BH")
HANG_UP, ID, KEY, FIRST_AUDIO, ERROR = 0x00, 0x01, 0x03, 0x10, 0xFF
RATES_HZ = (8_000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000)
"""Of the kinds from FIRST_AUDIO on."""
OFFERED = tuple(("L16", rate_hz) for rate_hz in RATES_HZ[:7])


class AudioSocket(Wire):
    has_binary_audio = True

    def __init__(self, about: About) -> None:
        super().__init__(about)
        _, self.sample_rate_hz = choose(about.options, OFFERED)
        self._kind = FIRST_AUDIO + RATES_HZ.index(self.sample_rate_hz)

    def start(self) -> Messages:
        """The call's id if it is a UUID, else one that is made of it and the same each time."""
        try:
            call = uuid.UUID(self.about.call_id)
        except ValueError:
            call = uuid.uuid5(uuid.NAMESPACE_OID, self.about.call_id)
        return (_message(ID, call.bytes),)

    def audio(self, pcm: Pcm, position_ms: int) -> bytes:
        return _message(self._kind, L16.encode(pcm))

    def key(self, key: str) -> Messages:
        return (_message(KEY, key.encode()),)

    def stop(self, cause: str) -> Messages:
        return (_message(HANG_UP, b""),)

    def receive_binary(self, message: bytes) -> Sequence[Action]:
        kind, payload = message[0], message[HEADER.size :]
        if FIRST_AUDIO <= kind < FIRST_AUDIO + len(RATES_HZ):
            return (Say(L16.decode(payload), RATES_HZ[kind - FIRST_AUDIO]),)
        if kind == HANG_UP:
            return (Finish("the bot hung up", at_once=True),)
        if kind == KEY:
            try:
                return (Press(payload.decode()),)
            except UnicodeDecodeError:
                raise BotViolation("the bot sent a key that is no character") from None
        if kind == ERROR:
            return (Finish(f"the bot reported an error{': ' + payload.hex() if payload else ''}", at_once=True),)
        return (Ignored(f"a message of kind {kind:#04x}: AudioSocket takes 0x00, 0x03, 0x10 to 0x18 and 0xff"),)


def _message(kind: int, payload: bytes) -> bytes:
    return HEADER.pack(kind, len(payload)) + payload
