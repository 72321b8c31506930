"""Genesys AudioHook, as its Audio Connector speaks it: control as JSON in text messages, µ-law at 8 kHz in binary ones, both ways.

Every message is numbered, and says which of the other side's came last. The bot hears once it has sent `opened`. What it
says is played as it comes; the event `barge_in` drops what was not heard yet, and playback_started and
playback_completed tell when the line speaks and when it is silent again. The upgrade request carries X-API-KEY, and is
signed (HTTP message signatures, hmac-sha256) if the route has a secret, which is in base64 as Genesys hands it out.
"""

import base64
import binascii
import hashlib
import hmac
import re
import urllib.parse
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from ai_bridge.frame import Pcm
from ai_bridge.wires.encoding import PCMU
from ai_bridge.wires.wire import (
    About,
    Action,
    Begin,
    BotViolation,
    Clear,
    Finish,
    Ignored,
    Messages,
    Note,
    Reply,
    Say,
    Wire,
    random_uuid,
    read,
)
from control_plane.errors import ConfigurationError

RATE_HZ = 8_000
FRAME_MS = 20
SIGNED_FOR_S = 30
"""How long a signature is good, as Genesys has it."""
OFFERED: dict[str, tuple[tuple[str, ...], ...]] = {
    "": (("external",),),
    "external": (("external",),),
    "both": (("external", "internal"), ("external",), ("internal",)),
}
DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?")
TOLD = {"transcript": "transcript", "agentassist": "agent assist", "bot_turn_response": "bot turn"}
"""Entities of events that are for whoever watches the call."""


class FromBot(msgspec.Struct):
    version: str
    type: str
    seq: int
    clientseq: int
    id: str = ""
    parameters: dict[str, Any] = {}


class Before(NamedTuple):
    """A session that broke, which this one goes on with."""

    id: str
    serverseq: int
    clientseq: int


decode = msgspec.json.Decoder(FromBot).decode


def as_uuid(text: str) -> str:
    """The text if it is a UUID, else one that is made of it and the same each time."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, text))


def duration(milliseconds: int) -> str:
    return f"PT{milliseconds // 1000}.{milliseconds % 1000:03}S"


def milliseconds_of(text: str) -> int:
    """Raises BotViolation."""
    parts = DURATION.fullmatch(text)
    if parts is None:
        raise BotViolation(f'the bot sent "{text[:40]}" as a duration: it is one like PT1.5S')
    return round(1000 * (3600 * int(parts[1] or 0) + 60 * int(parts[2] or 0) + float(parts[3] or 0)))


def sign(key: bytes, key_id: str, components: Mapping[str, str], nonce: str, created: int, expires: int) -> dict[str, str]:
    """The headers Signature-Input and Signature (draft-ietf-httpbis-message-signatures, as AudioHook has it)."""
    names = " ".join(f'"{name}"' for name in components)
    parameters = f'({names});keyid="{key_id}";nonce="{nonce}";alg="hmac-sha256";created={created};expires={expires}'
    lines = [f'"{name}": {value}' for name, value in components.items()]
    lines.append(f'"@signature-params": {parameters}')
    digest = hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).digest()
    return {"Signature-Input": f"sig1={parameters}", "Signature": f"sig1=:{base64.b64encode(digest).decode()}:"}


class AudioHook(Wire):
    has_binary_audio = True
    sample_rate_hz = RATE_HZ
    bot_class = "ai_bridge.wires.audiohook_bot:AudioHookBot"

    def __init__(self, about: About, before: Before | None = None) -> None:
        super().__init__(about)
        self.id = random_uuid()
        self.is_open = self.is_closed = False
        self.is_probe = False
        """Asks whether the bot is there, and has no call: Genesys sends one when an integration is switched on."""
        self.channels: tuple[str, ...] = ("external",)
        self.seq = self.serverseq = 0
        self.position_ms = 0
        """Of what was sent, and of what was left out: the stream's clock."""
        self.ping_seq = 0
        """Of the ping that was not answered yet; 0: there is none."""
        self._before = before
        self._organization = as_uuid(about.options.account or "bellframe")
        self._paused_by: set[str] = set()
        self._paused_at_ms = self._discard_to_ms = 0
        self._is_playing = False
        if about.options.channels not in OFFERED:
            raise ConfigurationError(f'the route\'s arguments: channels is "{about.options.channels}": external or both will do')
        self._offered = [
            {"type": "audio", "format": "PCMU", "channels": list(channels), "rate": RATE_HZ} for channels in OFFERED[about.options.channels]
        ]

    # ---- the upgrade request ----------------------------------------------------------------------------------

    def headers(self) -> dict[str, str]:
        about, parts = self.about, urllib.parse.urlsplit(self.about.url)
        key_id = about.options.key().decode("latin-1")
        sent = {
            "Audiohook-Organization-Id": self._organization,
            "Audiohook-Session-Id": self.id,
            "Audiohook-Correlation-Id": as_uuid(about.call_id),
            "X-API-KEY": key_id,
        }
        key = about.options.signing_secret()
        if not key:
            return sent
        try:
            key = base64.b64decode(key, validate=True)
        except binascii.Error:
            raise ConfigurationError("the route's arguments: the secret of audiohook is in base64, as Genesys hands it out") from None
        is_usual = parts.port in (None, 443 if parts.scheme == "wss" else 80)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        authority = (parts.hostname or "") if is_usual else f"{parts.hostname}:{parts.port}"
        components = {"@request-target": target, "@authority": authority, **{name.lower(): value for name, value in sent.items()}}
        created = int(about.now().timestamp())
        nonce = base64.b64encode(uuid.uuid4().bytes).decode()
        return {**sent, **sign(key, key_id, components, nonce, created, created + SIGNED_FOR_S)}

    # ---- to the bot -------------------------------------------------------------------------------------------

    def start(self) -> Messages:
        about = self.about
        conversation = str(uuid.UUID(int=0)) if self.is_probe else as_uuid(about.call_id)
        told: dict[str, Any] = {
            "organizationId": self._organization,
            "conversationId": conversation,
            "participant": {
                "id": str(uuid.UUID(int=0)) if self.is_probe else as_uuid(f"{about.call_id} {about.caller}"),
                "ani": about.caller,
                "aniName": "",
                "dnis": about.callee,
            },
            "media": [] if self.is_probe else self._offered,
            "inputVariables": dict(about.parameters),
        }
        if language := about.parameters.get("language"):
            told["language"] = language
        if self._before is not None:
            told["continuedSessions"] = [self._before._asdict()]
        return (self._message("open", told),)

    def is_paused(self) -> bool:
        return bool(self._paused_by)

    def skip(self, position_ms: int) -> Messages:
        """The next frame is that at this position: what was not sent of what is before was lost on the way to here."""
        lost_ms, start_ms = position_ms - self.position_ms, self.position_ms
        if lost_ms <= 0 or self.is_paused():
            return ()
        self.position_ms = position_ms
        return (self._message("discarded", {"start": duration(start_ms), "discarded": duration(lost_ms)}),)

    def audio(self, pcm: Pcm, position_ms: int) -> bytes:
        """Empty while the stream is paused, or the bot does not want what is so old."""
        self.position_ms = position_ms + FRAME_MS
        if self.is_paused() or self.position_ms <= self._discard_to_ms:
            return b""
        return PCMU.encode(pcm)

    def both(self, caller: bytes, said: Pcm) -> bytes:
        """The frame in the channels that the bot chose: `said` is what the caller heard meanwhile."""
        internal = np.frombuffer(PCMU.encode(said), np.uint8)
        if self.channels == ("internal",):
            return internal.tobytes()
        return np.stack((np.frombuffer(caller, np.uint8), internal), axis=1).tobytes()

    def hold(self, is_held: bool) -> Messages:
        return self._pause("line", is_held)

    def _pause(self, by: str, is_paused: bool) -> Messages:
        """Both sides may pause; it goes on when neither does."""
        was_paused = self.is_paused()
        (self._paused_by.add if is_paused else self._paused_by.discard)(by)
        if not self.is_open:
            return ()
        if self.is_paused():
            if not was_paused:
                self._paused_at_ms = self.position_ms
            return (self._message("paused", {}),)
        left_out = {"start": duration(self._paused_at_ms), "discarded": duration(self.position_ms - self._paused_at_ms)}
        return (self._message("resumed", left_out),) if was_paused else ()

    def key(self, key: str) -> Messages:
        return (self._message("dtmf", {"digit": key}),)

    def cleared(self, names: Sequence[str]) -> Messages:
        return self.drained()

    def drained(self) -> Messages:
        if not self._is_playing:
            return ()
        self._is_playing = False
        return (self._message("playback_completed", {}),)

    def ping(self, round_trip_ms: int) -> Messages:
        message = self._message("ping", {"rtt": duration(round_trip_ms)} if round_trip_ms else {})
        self.ping_seq = self.seq
        return (message,)

    def complain(self, code: int, why: str) -> Messages:
        """Before the session is closed for what the bot did."""
        return (self._message("error", {"code": code, "message": why}), self.close("error"))

    def close(self, reason: str) -> bytes:
        self.is_open = False
        return self._message("close", {"reason": reason})

    def before(self) -> Before:
        return Before(self.id, self.serverseq, self.seq)

    # ---- from the bot -----------------------------------------------------------------------------------------

    def receive_binary(self, message: bytes) -> Sequence[Action]:
        if not self.is_open:
            raise BotViolation("the bot sent audio before opened")
        began = not self._is_playing
        self._is_playing = True
        said = Say(PCMU.decode(message), RATE_HZ)
        return (said, Reply((self._message("playback_started", {}),))) if began else (said,)

    def receive_text(self, message: bytes) -> Sequence[Action]:
        told = read(decode, message, "AudioHook")
        if told.version != "2":
            raise BotViolation(f'the bot speaks version "{told.version[:20]}" of AudioHook: this is version 2')
        if told.seq != self.serverseq + 1:
            raise BotViolation(f"the bot's message has seq {told.seq} after {self.serverseq}: each has the next number")
        if not 0 <= told.clientseq <= self.seq:
            raise BotViolation(f"the bot's message has clientseq {told.clientseq}, and only {self.seq} were sent")
        self.serverseq = told.seq
        if told.type == "opened":
            return self._opened(told.parameters)
        if told.type == "closed":
            self.is_closed = True
            return ()
        if told.type == "disconnect":
            return self._disconnect(told.parameters)
        if not self.is_open:
            return ()  # a straggler: it was sent before the bot knew that the session is being closed
        match told.type:
            case "pong":
                if told.clientseq != self.ping_seq:
                    raise BotViolation(f"the bot's pong has clientseq {told.clientseq}: the ping has seq {self.ping_seq}")
                self.ping_seq = 0
                return ()
            case "event":
                return [action for entity in self._entities(told.parameters) for action in entity]
            case "pause" | "resume":
                return (Reply(self._pause("bot", told.type == "pause")),)
            case "updated":
                return ()
        return (Ignored(f'the message "{told.type[:40]}": AudioHook takes opened, pong, event, pause, resume, disconnect and closed here'),)

    def _opened(self, parameters: dict[str, Any]) -> Sequence[Action]:
        if self.is_open:
            raise BotViolation("the bot sent opened twice")
        media = parameters.get("media", [])
        if not isinstance(media, list) or len(media) > 1:
            raise BotViolation("the bot's opened has more than one media: it chooses one")
        if self.is_probe:
            self.is_open = True
            return ()
        if not media:
            raise BotViolation("the bot's opened has no media: it hears nothing so")
        if media[0] not in self._offered:
            raise BotViolation("the bot's opened has media that was not offered: it repeats one that was")
        self.channels = tuple(media[0]["channels"])
        self._discard_to_ms = milliseconds_of(str(parameters.get("discardTo", "PT0S")))
        self.is_open = True
        if parameters.get("startPaused"):
            self._paused_by.add("bot")
        return (Begin(), *((Reply((self._message("paused", {}),)),) if self.is_paused() else ()))

    def _disconnect(self, parameters: dict[str, Any]) -> Sequence[Action]:
        reason, info = str(parameters.get("reason")), str(parameters.get("info", ""))[:200]
        told = f"{reason[:40]}{': ' + info if info else ''}"
        if reason != "completed":
            raise BotViolation(f"the bot ended the session: {told}")
        variables = parameters.get("outputVariables")
        noted = (Note("output variables", msgspec.json.encode(variables).decode()),) if variables else ()
        return (*noted, Finish(f"the bot ended the session: {told}"))

    def _entities(self, parameters: dict[str, Any]) -> list[tuple[Action, ...]]:
        entities = parameters.get("entities", [])
        if not isinstance(entities, list):
            raise BotViolation("the bot's event has no list of entities")
        done: list[tuple[Action, ...]] = []
        for entity in entities:
            kind = str(entity.get("type")) if isinstance(entity, dict) else ""
            if kind == "barge_in":
                done.append((Clear(),))
            elif kind in TOLD:
                done.append((Note(TOLD[kind], msgspec.json.encode(entity.get("data", {})).decode()),))
            else:
                done.append((Ignored(f'the event "{kind[:40]}": AudioHook has barge_in, {", ".join(TOLD)} here'),))
        return done

    def _message(self, kind: str, parameters: Mapping[str, Any]) -> bytes:
        self.seq += 1
        return msgspec.json.encode(
            {
                "version": "2",
                "type": kind,
                "seq": self.seq,
                "serverseq": self.serverseq,
                "id": self.id,
                "position": duration(self.position_ms),
                "parameters": parameters,
            }
        )
