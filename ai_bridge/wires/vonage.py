"""Vonage: audio as binary messages of little-endian PCM, everything else as JSON in text messages.

`notify` is its mark: the payload, any JSON, comes back once everything before it was played.
"""

from collections.abc import Sequence

import msgspec

from ai_bridge.frame import Pcm
from ai_bridge.wires.encoding import L16, choose
from ai_bridge.wires.wire import About, Action, BotViolation, Clear, Ignored, Mark, Messages, Say, Wire, read

OFFERED = (("L16", 16_000), ("L16", 8_000), ("L16", 24_000))


class FromBot(msgspec.Struct):
    action: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"{}")


decode = msgspec.json.Decoder(FromBot).decode


class Vonage(Wire):
    has_binary_audio = True

    def __init__(self, about: About) -> None:
        super().__init__(about)
        _, self.sample_rate_hz = choose(about.options, OFFERED)

    def start(self) -> Messages:
        about = self.about
        told = {
            **about.parameters,
            "event": "websocket:connected",
            "content-type": f"audio/l16;rate={self.sample_rate_hz}",
            "from": about.caller,
            "to": about.callee,
            "uuid": about.call_id,
        }
        return (msgspec.json.encode(told),)

    def audio(self, pcm: Pcm, position_ms: int) -> bytes:
        return L16.encode(pcm)

    def key(self, key: str) -> Messages:
        return (msgspec.json.encode({"event": "websocket:dtmf", "digit": key, "duration": 0}),)

    def played(self, name: str) -> Messages:
        return (msgspec.json.encode({"event": "websocket:notify", "payload": msgspec.Raw(name.encode())}),)

    def cleared(self, names: Sequence[str]) -> Messages:
        return (b'{"event":"websocket:cleared"}',)

    def receive_binary(self, message: bytes) -> Sequence[Action]:
        return (Say(L16.decode(message), self.sample_rate_hz),)

    def receive_text(self, message: bytes) -> Sequence[Action]:
        told = read(decode, message, "Vonage's WebSocket")
        if told.action == "clear":
            return (Clear(),)
        if told.action == "notify":
            try:
                return (Mark(bytes(told.payload).decode()),)
            except UnicodeDecodeError:
                raise BotViolation("the bot's notify has a payload that is not UTF-8") from None
        return (Ignored(f'the action "{told.action[:40]}": Vonage\'s WebSocket takes clear and notify'),)
