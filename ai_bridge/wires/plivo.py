"""Plivo audio streaming: JSON in text messages, µ-law or little-endian PCM in base64, names in camelCase.

There is no first message before `start`, and no `stop`: the end is that the socket closes. A checkpoint comes back as
playedStream only if the audio before it was really played, never after a clear.
"""

import base64
import hashlib
import hmac
import urllib.parse
from collections.abc import Mapping, Sequence

import msgspec

from ai_bridge.frame import Pcm
from ai_bridge.wires.encoding import L16, PCMU, Encoding, choose
from ai_bridge.wires.wire import (
    About,
    Action,
    BotViolation,
    Clear,
    Ignored,
    Mark,
    Messages,
    Press,
    Say,
    Wire,
    random_digits,
    random_uuid,
    read,
)

NONCE_DIGITS = 20
CONTENT_TYPES = {"PCMU": "audio/x-mulaw", "L16": "audio/x-l16"}


class PlayMedia(msgspec.Struct):
    payload: bytes
    contentType: str = "audio/x-mulaw"
    sampleRate: int | str = 8_000


class FromBot(msgspec.Struct):
    event: str
    media: PlayMedia | None = None
    name: str = ""
    dtmf: str = ""


decode = msgspec.json.Decoder(FromBot).decode


class Plivo(Wire):
    provider = "Plivo"
    offered: Sequence[tuple[str, int]] = (("PCMU", 8_000), ("L16", 8_000), ("L16", 16_000))
    encodings: Mapping[str, Encoding] = {"PCMU": PCMU, "L16": L16}
    """Of what the bot gets."""
    playable: Sequence[tuple[str, int]] = offered

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self.encoding_name, self.sample_rate_hz = choose(about.options, self.offered)
        self.encoding = self.encodings[self.encoding_name]
        self.stream_id, self.call_uuid = random_uuid(), about.call_id
        self._sequence = 0
        self._chunk = 0
        self._stream = self.stream_id.encode()

    def headers(self) -> dict[str, str]:
        """HMAC-SHA256 over the URL, its query sorted, and a nonce."""
        secret = self.about.options.signing_secret()
        if not secret:
            return {}
        parts, nonce = urllib.parse.urlsplit(self.about.url), random_digits(NONCE_DIGITS)
        query = "&".join(sorted(parts.query.split("&"))) if parts.query else ""
        base = urllib.parse.urlunsplit(parts._replace(query=query))
        return {"X-Plivo-Signature-V3": signature(secret, f"{base}.{nonce}"), "X-Plivo-Signature-V3-Nonce": nonce}

    def start(self) -> Messages:
        about = self.about
        passed = {"from": about.caller, "to": about.callee, **about.parameters}
        details = {
            "callId": self.call_uuid,
            "streamId": self.stream_id,
            "accountId": about.options.account,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": CONTENT_TYPES[self.encoding_name], "sampleRate": self.sample_rate_hz},
        }
        self._sequence += 1
        extra = ";".join(f"{name}={value}" for name, value in passed.items() if ";" not in f"{name}{value}" and "=" not in name)
        return (msgspec.json.encode({"event": "start", "sequenceNumber": self._sequence, "start": details, "extra_headers": extra}),)

    def audio(self, pcm: Pcm, position_ms: int) -> bytes:
        self._sequence += 1
        self._chunk += 1
        return (
            b'{"event":"media","sequenceNumber":%d,"streamId":"%b","media":{"track":"inbound","timestamp":"%d","chunk":%d,"payload":"%b"}}'
            % (self._sequence, self._stream, position_ms, self._chunk, base64.b64encode(self.encoding.encode(pcm)))
        )

    def key(self, key: str) -> Messages:
        timestamp = str(int(self.about.now().timestamp() * 1000))
        return (self._message("dtmf", dtmf={"track": "inbound", "digit": key, "timestamp": timestamp}),)

    def played(self, name: str) -> Messages:
        return (self._message("playedStream", name=name),)

    def cleared(self, names: Sequence[str]) -> Messages:
        return (self._message("clearedAudio"),)

    def receive_text(self, message: bytes) -> Sequence[Action]:
        told = read(decode, message, f"{self.provider} audio streams")
        if told.event == "playAudio" and told.media is not None:
            return (self._play(told.media),)
        if told.event == "checkpoint":
            return (Mark(told.name),)
        if told.event == "clearAudio":
            return (Clear(),)
        if told.event == "sendDTMF":
            return (Press(told.dtmf),)
        takes = "playAudio with media, checkpoint, clearAudio, and sendDTMF"
        return (Ignored(f'the event "{told.event[:40]}": {self.provider} audio streams take {takes}'),)

    def _play(self, media: PlayMedia) -> Say:
        """What is played is little-endian, whatever the order of what the bot gets."""
        content_type, _, rate = media.contentType.partition(";rate=")
        wanted = str(media.sampleRate or rate)
        for name, rate_hz in self.playable:
            if (CONTENT_TYPES[name], str(rate_hz)) == (content_type, wanted):
                return Say((PCMU if name == "PCMU" else L16).decode(media.payload), rate_hz)
        there = ", ".join(f"{CONTENT_TYPES[name]} at {rate_hz}" for name, rate_hz in self.playable)
        raise BotViolation(f'the bot plays "{content_type[:40]}" at {wanted[:10]}: {self.provider} audio streams take {there}')

    def _message(self, event: str, **more: object) -> bytes:
        self._sequence += 1
        return msgspec.json.encode({"event": event, "sequenceNumber": self._sequence, "streamId": self.stream_id, **more})


def signature(secret: bytes, text: str) -> str:
    return base64.b64encode(hmac.new(secret, text.encode(), hashlib.sha256).digest()).decode()
