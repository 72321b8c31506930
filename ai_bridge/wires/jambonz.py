"""jambonz listen, with its streaming bidirectional audio: little-endian PCM in binary messages, JSON in text messages.

The first text message holds what jambonz tells of a call. A bot may send audio as it comes, as binary messages at the
rate that it gets, or whole as `playAudio`, which is answered with `playDone`. A mark comes back with "playout" once
everything before it was played, with "cleared" if it never will be.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from ai_bridge.frame import Pcm
from ai_bridge.wires.encoding import L16, choose
from ai_bridge.wires.wire import About, Action, BotViolation, Clear, Finish, Ignored, Mark, Messages, Say, Wire, read

OFFERED = (("L16", 8_000), ("L16", 16_000), ("L16", 24_000), ("L16", 48_000))
PLAYABLE = ("8000", "16000", "24000", "48000", "64000")
DONE = "playDone "
"""Before the id of a playAudio, in names of marks of our own: no mark of the bot's begins so, they come behind MARK."""
MARK = "mark "


class Data(msgspec.Struct):
    name: str = ""
    id: str = ""
    audioContent: bytes = b""
    audioContentType: str = "raw"
    sampleRate: int | str = 8_000


class FromBot(msgspec.Struct):
    type: str
    data: Data = msgspec.field(default_factory=Data)


decode = msgspec.json.Decoder(FromBot).decode


class Jambonz(Wire):
    has_binary_audio = True
    subprotocol = "audio.jambonz.org"

    def __init__(self, about: About) -> None:
        super().__init__(about)
        _, self.sample_rate_hz = choose(about.options, OFFERED)

    def start(self) -> Messages:
        about = self.about
        told: dict[str, Any] = {
            "callSid": about.call_id,
            "callId": about.call_id,
            "accountSid": about.options.account,
            "direction": about.direction,
            "from": about.caller,
            "to": about.callee,
            "sampleRate": self.sample_rate_hz,
            "mixType": "mono",
            "metadata": dict(about.parameters),
        }
        return (msgspec.json.encode(told),)

    def audio(self, pcm: Pcm, position_ms: int) -> bytes:
        return L16.encode(pcm)

    def key(self, key: str) -> Messages:
        return (msgspec.json.encode({"event": "dtmf", "dtmf": key, "duration": "0"}),)

    def played(self, name: str) -> Messages:
        if name.startswith(DONE):
            return (msgspec.json.encode({"type": "playDone", "data": {"id": name.removeprefix(DONE)}}),)
        return (self._mark(name, "playout"),)

    def cleared(self, names: Sequence[str]) -> Messages:
        return [self._mark(name, "cleared") for name in names if name.startswith(MARK)]

    def receive_binary(self, message: bytes) -> Sequence[Action]:
        return (Say(L16.decode(message), self.sample_rate_hz),)

    def receive_text(self, message: bytes) -> Sequence[Action]:
        told = read(decode, message, "jambonz listen")
        match told.type:
            case "playAudio":
                return (self._play(told.data), Mark(DONE + told.data.id))
            case "killAudio":
                return (Clear(),)
            case "mark":
                return (Mark(MARK + told.data.name),)
            case "disconnect":
                return (Finish("the bot has disconnected", at_once=True),)
        takes = "playAudio, killAudio, mark and disconnect"
        return (Ignored(f'the type "{told.type[:40]}": jambonz listen takes {takes}'),)

    def _play(self, data: Data) -> Say:
        rate = str(data.sampleRate)
        if data.audioContentType != "raw" or rate not in PLAYABLE:
            what = f'"{data.audioContentType[:20]}" at {rate[:10]}'
            raise BotViolation(f"the bot plays {what}: jambonz listen takes raw PCM here, at {', '.join(PLAYABLE)}")
        return Say(L16.decode(data.audioContent), int(rate))

    def _mark(self, name: str, event: str) -> bytes:
        return msgspec.json.encode({"type": "mark", "data": {"name": name.removeprefix(MARK), "event": event}})
