"""Exotel's Voicebot applet: Twilio's shape in snake_case, with little-endian PCM in base64."""

import base64
from collections.abc import Mapping, Sequence

import msgspec

from ai_bridge.frame import Pcm
from ai_bridge.wires.encoding import L16, choose
from ai_bridge.wires.twilio import decode
from ai_bridge.wires.wire import About, Action, Clear, Ignored, Mark, Messages, Say, Wire, random_hex, read

OFFERED = (("L16", 8_000), ("L16", 16_000), ("L16", 24_000))


class Exotel(Wire):
    def __init__(self, about: About) -> None:
        super().__init__(about)
        _, self.sample_rate_hz = choose(about.options, OFFERED)
        self.stream_sid = random_hex(32)
        self._sequence = 0
        self._chunk = 0
        self._stream = self.stream_sid.encode()

    def start(self) -> Messages:
        about, rate_hz = self.about, self.sample_rate_hz
        details = {
            "stream_sid": self.stream_sid,
            "call_sid": about.call_id,
            "account_sid": about.options.account or "bellframe",
            "from": about.caller,
            "to": about.callee,
            "custom_parameters": dict(about.parameters),
            "media_format": {"encoding": "raw/slin", "sample_rate": str(rate_hz), "bit_rate": f"{rate_hz * 16 // 1000}kbps"},
        }
        return (b'{"event":"connected"}', self._message("start", details))

    def audio(self, pcm: Pcm, position_ms: int) -> bytes:
        self._sequence += 1
        self._chunk += 1
        return (
            b'{"event":"media","sequence_number":"%d","stream_sid":"%b","media":{"chunk":"%d","timestamp":"%d","payload":"%b"}}'
            % (self._sequence, self._stream, self._chunk, position_ms, base64.b64encode(L16.encode(pcm)))
        )

    def key(self, key: str) -> Messages:
        return (self._message("dtmf", {"digit": key, "duration": "0"}),)

    def played(self, name: str) -> Messages:
        return (self._message("mark", {"name": name}),)

    def cleared(self, names: Sequence[str]) -> Messages:
        return [self._message("mark", {"name": name}) for name in names]

    def stop(self, cause: str) -> Messages:
        ended = {"call_sid": self.about.call_id, "account_sid": self.about.options.account or "bellframe", "reason": "callended"}
        return (self._message("stop", ended),)

    def receive_text(self, message: bytes) -> Sequence[Action]:
        told = read(decode, message, "Exotel's Voicebot applet")
        if told.event == "media" and told.media is not None:
            return (Say(L16.decode(told.media.payload), self.sample_rate_hz),)
        if told.event == "mark" and told.mark is not None:
            return (Mark(told.mark.name),)
        if told.event == "clear":
            return (Clear(),)
        return (Ignored(f'the event "{told.event[:40]}": the Voicebot applet takes media with a payload, mark with a name, and clear'),)

    def _message(self, event: str, details: Mapping[str, object]) -> bytes:
        self._sequence += 1
        return msgspec.json.encode(
            {"event": event, "sequence_number": str(self._sequence), "stream_sid": self.stream_sid, event: details}
        )
