"""Twilio Media Streams, as Twilio speaks it under <Connect><Stream>: JSON in text messages, µ-law at 8 kHz in base64.

Numbers are strings in this wire. A mark comes back once everything before it was played, and at once when it is
cleared. The upgrade request is signed with X-Twilio-Signature (HMAC-SHA1 over the URL) if the route has a secret.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

import msgspec

from ai_bridge.frame import Pcm
from ai_bridge.wires.encoding import PCMU
from ai_bridge.wires.wire import About, Action, Clear, Ignored, Mark, Messages, Say, Wire, random_hex, read
from control_plane.call_sid import call_sid

RATE_HZ = 8_000
NO_ACCOUNT = "AC" + 32 * "0"


class Media(msgspec.Struct):
    payload: bytes


class Named(msgspec.Struct):
    name: str


class FromBot(msgspec.Struct):
    event: str
    media: Media | None = None
    mark: Named | None = None


decode = msgspec.json.Decoder(FromBot).decode


class Twilio(Wire):
    sample_rate_hz = RATE_HZ

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self.stream_sid = "MZ" + random_hex(32)
        self.call_sid = call_sid(about.call_id)
        self.account_sid = about.options.account or NO_ACCOUNT
        self._sequence = 0
        self._chunk = 0
        self._stream = self.stream_sid.encode()

    def headers(self) -> dict[str, str]:
        secret = self.about.options.signing_secret()
        if not secret:
            return {}
        digest = hmac.new(secret, self.about.url.encode(), hashlib.sha1).digest()
        return {"X-Twilio-Signature": base64.b64encode(digest).decode()}

    def start(self) -> Messages:
        about = self.about
        details = {
            "streamSid": self.stream_sid,
            "accountSid": self.account_sid,
            "callSid": self.call_sid,
            "tracks": ["inbound"],
            # Pipecat looks for these two; Twilio itself has no place for them.
            "customParameters": {"from_number": about.caller, "to_number": about.callee, **about.parameters},
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": RATE_HZ, "channels": 1},
        }
        connected = msgspec.json.encode({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        return (connected, self._message("start", details))

    def audio(self, pcm: Pcm, position_ms: int) -> bytes:
        self._sequence += 1
        self._chunk += 1
        # Put together by hand: every value is digits, hex or base64.
        return (
            b'{"event":"media","sequenceNumber":"%d","media":{"track":"inbound","chunk":"%d","timestamp":"%d","payload":"%b"},"streamSid":"%b"}'
            % (self._sequence, self._chunk, position_ms, base64.b64encode(PCMU.encode(pcm)), self._stream)
        )

    def key(self, key: str) -> Messages:
        return (self._message("dtmf", {"track": "inbound_track", "digit": key}),)

    def played(self, name: str) -> Messages:
        return (self._message("mark", {"name": name}),)

    def cleared(self, names: Sequence[str]) -> Messages:
        return [self._message("mark", {"name": name}) for name in names]

    def stop(self, cause: str) -> Messages:
        return (self._message("stop", {"accountSid": self.account_sid, "callSid": self.call_sid}),)

    def receive_text(self, message: bytes) -> Sequence[Action]:
        told = read(decode, message, "Twilio Media Streams")
        if told.event == "media" and told.media is not None:
            return (Say(PCMU.decode(told.media.payload), RATE_HZ),)
        if told.event == "mark" and told.mark is not None:
            return (Mark(told.mark.name),)
        if told.event == "clear":
            return (Clear(),)
        return (Ignored(f'the event "{told.event[:40]}": Twilio Media Streams take media with a payload, mark with a name, and clear'),)

    def _message(self, event: str, details: Mapping[str, object]) -> bytes:
        self._sequence += 1
        numbered = {"event": event, "sequenceNumber": str(self._sequence), event: details, "streamSid": self.stream_sid}
        return msgspec.json.encode(numbered)
