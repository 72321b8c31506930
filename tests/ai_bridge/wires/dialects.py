"""How a bot says the same things on each wire: what the tests that walk over all wires need of one."""

import base64
import json
import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ai_bridge.wires.encoding import L16, L16_BIG_ENDIAN, PCMU, Encoding

Pcm = npt.NDArray[np.int16]


def base64_of(payload: bytes) -> str:
    return base64.b64encode(payload).decode()


class Dialect(NamedTuple):
    rate_hz: int
    hears: Encoding
    heard: Callable[[Any], bytes | None]
    """The audio in a message that came, or None."""
    say: Callable[[Pcm], object]
    mark: Callable[[str], object]
    marked: Callable[[Any], str | None]
    clear: object
    gives_marks_back: bool = True
    """When they are cleared."""
    key: Callable[[Any], str | None] = lambda message: message.get("dtmf", {}).get("digit")
    first: object = None
    """What the bot must say before anything else."""
    arguments: Mapping[str, str] = {}
    """Of the route."""
    names_marks: bool = True
    """False: what comes back tells that everything was played, and of no mark."""


def media_payload(message: Any) -> bytes | None:
    return base64.b64decode(message["media"]["payload"]) if isinstance(message, dict) and "media" in message else None


def mark_name(message: Any) -> str | None:
    return message["mark"]["name"] if isinstance(message, dict) and message.get("event") == "mark" else None


def played_name(message: Any) -> str | None:
    return message["name"] if isinstance(message, dict) and message.get("event") == "playedStream" else None


def twilio_like(encoding: Encoding, rate_hz: int = 8_000) -> Dialect:
    return Dialect(
        rate_hz,
        encoding,
        media_payload,
        lambda pcm: {"event": "media", "media": {"payload": base64_of(encoding.encode(pcm))}},
        lambda name: {"event": "mark", "mark": {"name": name}},
        mark_name,
        {"event": "clear"},
    )


def plivo_like(hears: Encoding, plays: Encoding, content_type: str) -> Dialect:
    def say(pcm: Pcm) -> object:
        return {"event": "playAudio", "media": {"contentType": content_type, "sampleRate": 8000, "payload": base64_of(plays.encode(pcm))}}

    return Dialect(
        8_000, hears, media_payload, say, lambda name: {"event": "checkpoint", "name": name}, played_name, {"event": "clearAudio"}, False
    )


def from_audiohook(seq: int, kind: str, **parameters: object) -> object:
    return {"version": "2", "type": kind, "seq": seq, "clientseq": 1, "id": "", "parameters": parameters}


DIALECTS = {
    "bellframe": Dialect(
        8_000,
        L16,
        lambda message: message[16:] if isinstance(message, bytes) else None,
        lambda pcm: struct.pack("<IIQ", 1 if pcm[0] == 9_000 else 0, 0, 0) + L16.encode(pcm),
        lambda name: {"type": "mark", "turn": 1 if name == "third" else 0, "name": name},
        lambda message: message["name"] if isinstance(message, dict) and message["type"].startswith("mark") else None,
        {"type": "turn", "turn": 1},
        key=lambda message: message.get("key"),
        first={"type": "ready", "version": 1, "rate_hz": 8_000},
    ),
    "twilio": twilio_like(PCMU),
    "telnyx": twilio_like(PCMU),
    "plivo": plivo_like(PCMU, PCMU, "audio/x-mulaw"),
    "vobiz": plivo_like(L16_BIG_ENDIAN, L16, "audio/x-l16"),
    "exotel": twilio_like(L16),
    "vonage": Dialect(
        16_000,
        L16,
        lambda message: message if isinstance(message, bytes) else None,
        lambda pcm: L16.encode(pcm),
        lambda name: {"action": "notify", "payload": {"name": name}},
        lambda message: message["payload"]["name"] if isinstance(message, dict) and message["event"] == "websocket:notify" else None,
        {"action": "clear"},
        False,
        lambda message: message.get("digit"),
    ),
    "audiohook": Dialect(
        8_000,
        PCMU,
        lambda message: message if isinstance(message, bytes) else None,
        lambda pcm: PCMU.encode(pcm),
        lambda name: None,
        lambda message: "" if isinstance(message, dict) and message["type"] == "playback_completed" else None,
        from_audiohook(2, "event", entities=[{"type": "barge_in", "data": {}}]),
        True,
        lambda message: message["parameters"].get("digit"),
        from_audiohook(1, "opened", media=[{"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8_000}]),
        names_marks=False,
    ),
    "jambonz": Dialect(
        8_000,
        L16,
        lambda message: message if isinstance(message, bytes) else None,
        lambda pcm: L16.encode(pcm),
        lambda name: {"type": "mark", "data": {"name": name}},
        lambda message: message["data"]["name"] if isinstance(message, dict) and message.get("type") == "mark" else None,
        {"type": "killAudio"},
        True,
        lambda message: message.get("dtmf"),
    ),
    "asterisk": Dialect(
        8_000,
        PCMU,
        lambda message: message if isinstance(message, bytes) else None,
        lambda pcm: PCMU.encode(pcm),
        lambda name: {"command": "MARK_MEDIA", "correlation_id": name},
        lambda message: message["correlation_id"] if isinstance(message, dict) and "correlation_id" in message else None,
        {"command": "FLUSH_MEDIA"},
        False,
        lambda message: message.get("digit"),
        arguments={"control_messages": "json"},
    ),
}
"""Of the wires over WebSockets. AudioSocket has no messages of a kind: test_audiosocket.py."""


def as_text(message: object) -> str | bytes:
    return message if isinstance(message, bytes) else json.dumps(message)
