"""Telnyx media streaming in its mode rtp: JSON in text messages, G.711 at 8 kHz in base64, names in snake_case.

A mark comes back once everything before it was played, at once if nothing is, and when it is cleared. The token that
Telnyx calls x-telnyx-streaming-auth-token is the route's secret.
"""

import base64
from collections.abc import Mapping, Sequence

import msgspec

from ai_bridge.frame import Pcm
from ai_bridge.wires.encoding import PCMA, PCMU, choose
from ai_bridge.wires.twilio import decode
from ai_bridge.wires.wire import About, Action, Clear, Ignored, Mark, Messages, Say, Wire, random_uuid, read

OFFERED = (("PCMU", 8_000), ("PCMA", 8_000))
ENCODINGS = {"PCMU": PCMU, "PCMA": PCMA}
TOKEN = "x-telnyx-streaming-auth-token"


class Telnyx(Wire):
    def __init__(self, about: About) -> None:
        super().__init__(about)
        self.encoding_name, self.sample_rate_hz = choose(about.options, OFFERED)
        self.encoding = ENCODINGS[self.encoding_name]
        self.stream_id, self.session_id = random_uuid(), random_uuid()
        self.call_control_id = f"v3:{about.call_id}"
        self._sequence = 0
        self._chunk = 0
        self._stream = self.stream_id.encode()

    def headers(self) -> dict[str, str]:
        secret = self.about.options.signing_secret()
        return {TOKEN: secret.decode("latin-1")} if secret else {}

    def start(self) -> Messages:
        about = self.about
        details = {
            "user_id": about.options.account,
            "call_control_id": self.call_control_id,
            "call_session_id": self.session_id,
            "from": about.caller,
            "to": about.callee,
            "tags": [],
            "client_state": "",
            "custom_parameters": dict(about.parameters),
            "media_format": {"encoding": self.encoding_name, "sample_rate": self.sample_rate_hz, "channels": 1},
        }
        connected = msgspec.json.encode({"event": "connected", "version": "1.0.0", **self.headers()})
        return (connected, self._message("start", details))

    def audio(self, pcm: Pcm, position_ms: int) -> bytes:
        self._sequence += 1
        self._chunk += 1
        return (
            b'{"event":"media","sequence_number":"%d","media":{"track":"inbound","chunk":"%d","timestamp":"%d","payload":"%b"},"stream_id":"%b"}'
            % (self._sequence, self._chunk, position_ms, base64.b64encode(self.encoding.encode(pcm)), self._stream)
        )

    def key(self, key: str) -> Messages:
        occurred_at = self.about.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return (self._message("dtmf", {"digit": key}, occurred_at=occurred_at),)

    def played(self, name: str) -> Messages:
        return (self._message("mark", {"name": name}),)

    def cleared(self, names: Sequence[str]) -> Messages:
        return [self._message("mark", {"name": name}) for name in names]

    def stop(self, cause: str) -> Messages:
        return (self._message("stop", {"user_id": self.about.options.account, "call_control_id": self.call_control_id}),)

    def receive_text(self, message: bytes) -> Sequence[Action]:
        told = read(decode, message, "Telnyx media streaming")
        if told.event == "media" and told.media is not None:
            return (Say(self.encoding.decode(told.media.payload), self.sample_rate_hz),)
        if told.event == "mark" and told.mark is not None:
            return (Mark(told.mark.name),)
        if told.event == "clear":
            return (Clear(),)
        return (Ignored(f'the event "{told.event[:40]}": Telnyx media streaming takes media with a payload, mark with a name, and clear'),)

    def _message(self, event: str, details: Mapping[str, object], **more: str) -> bytes:
        self._sequence += 1
        return msgspec.json.encode(
            {"event": event, "sequence_number": str(self._sequence), event: details, "stream_id": self.stream_id, **more}
        )
