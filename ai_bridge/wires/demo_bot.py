"""The bot that `bellframe demo --wire NAME` phones: a process of its own, which speaks the bot's side of a wire.

    python -m ai_bridge.wires.demo_bot twilio

It says back what it hears, and is silent as soon as the caller speaks over it: it listens for that itself, as bots do on wires that
do not tell. The first line that it prints is its port; each further one is JSON with what it did, for whoever watches.
"""

import argparse
import asyncio
import base64
import json
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from aiohttp import WSMsgType, web

from ai_bridge.agents.spoken import synthesize
from ai_bridge.frame import Pcm
from ai_bridge.resample import resample
from ai_bridge.wires.encoding import L16, L16_BIG_ENDIAN, PCMU, Encoding

GREETING = "Hello. I am a bot behind a WebSocket. Say something, and I say it back."
YOU_SAID, YOU_PRESSED = "You said:", "You pressed {}."
AND = "Interrupt me if you like: I go on until you speak, and then I am silent at once."
HEARING_MS = 20
LOUD_RMS = 500.0
STARTS_MS, STOPS_MS = 60, 500
"""So much in one go that is loud is speech, and so much that is not is its end."""
LONGEST_MS = 10_000

AnyMessage = Mapping[str, Any] | bytes
Answer = Mapping[str, object] | bytes


# ---- the wires ----------------------------------------------------------------------------------------------------


def _media(message: AnyMessage) -> bytes | None:
    return base64.b64decode(message["media"]["payload"]) if not isinstance(message, bytes) and message.get("event") == "media" else None


def _binary(message: AnyMessage) -> bytes | None:
    return message if isinstance(message, bytes) else None


def _media_event(payload: bytes, turn: int) -> Answer:
    return {"event": "media", "media": {"payload": base64.b64encode(payload).decode()}}


def _digit_of_dtmf(message: Mapping[str, Any]) -> str | None:
    return message["dtmf"]["digit"] if message.get("event") == "dtmf" else None


def _digit(message: Mapping[str, Any]) -> str | None:
    return message.get("digit")


class Dialect(NamedTuple):
    """A wire as its bot has it."""

    rate_hz: int
    hears: Encoding
    plays: Encoding
    heard: Callable[[AnyMessage], bytes | None]
    say: Callable[[bytes, int], Answer]
    """A payload, and the turn that it belongs to, where the wire has turns."""
    clear: Callable[[int], Answer]
    """Of everything before this turn."""
    key: Callable[[Mapping[str, Any]], str | None] = _digit_of_dtmf
    first: Answer | None = None
    """What must be said before anything else."""


def _like_twilio(encoding: Encoding) -> Dialect:
    return Dialect(8_000, encoding, encoding, _media, _media_event, lambda turn: {"event": "clear"})


def _like_plivo(hears: Encoding, plays: Encoding, content_type: str) -> Dialect:
    def say(payload: bytes, turn: int) -> Answer:
        media = {"contentType": content_type, "sampleRate": 8_000, "payload": base64.b64encode(payload).decode()}
        return {"event": "playAudio", "media": media}

    return Dialect(8_000, hears, plays, _media, say, lambda turn: {"event": "clearAudio"})


def _binary_both_ways(rate_hz: int, encoding: Encoding, clear: Answer, key: Callable[[Mapping[str, Any]], str | None]) -> Dialect:
    return Dialect(rate_hz, encoding, encoding, _binary, lambda payload, turn: payload, lambda turn: clear, key)


OURS = struct.Struct("<IIQ")  # turn, flags, position
DIALECTS = {
    "bellframe": Dialect(
        8_000,
        L16,
        L16,
        lambda message: message[OURS.size :] if isinstance(message, bytes) else None,
        lambda payload, turn: OURS.pack(turn, 0, 0) + payload,
        lambda turn: {"type": "turn", "turn": turn},
        lambda message: message.get("key"),
        {"type": "ready", "version": 1, "rate_hz": 8_000},
    ),
    "twilio": _like_twilio(PCMU),
    "telnyx": _like_twilio(PCMU),
    "plivo": _like_plivo(PCMU, PCMU, "audio/x-mulaw"),
    "vobiz": _like_plivo(L16_BIG_ENDIAN, L16, "audio/x-l16"),
    "exotel": _like_twilio(L16),
    "vonage": _binary_both_ways(16_000, L16, {"action": "clear"}, _digit),
    "jambonz": _binary_both_ways(8_000, L16, {"type": "killAudio"}, lambda message: message.get("dtmf")),
    "asterisk": _binary_both_ways(8_000, PCMU, {"command": "FLUSH_MEDIA"}, _digit),  # with control_messages = "json"
}


# ---- what the bot does --------------------------------------------------------------------------------------------


class Phrases(NamedTuple):
    """What it says by itself, at the wire's rate."""

    greeting: Pcm
    you_said: Pcm
    more: Pcm


class Parrot:
    """One call's bot, without I/O: what is to be sent is in `outbox`, what it did in `told` (a kind and a text)."""

    def __init__(self, dialect: Dialect, phrases: Phrases) -> None:
        self.dialect, self._phrases = dialect, phrases
        self.outbox: list[Answer] = [dialect.first] if dialect.first is not None else []
        self.told: list[tuple[str, str]] = []
        self._turn = 0
        self._speaking_until_ns = 0
        self._piece = dialect.rate_hz * HEARING_MS // 1000
        self._waiting = np.empty(0, np.int16)
        self._heard: list[Pcm] = []
        self._loud_ms = self._quiet_ms = 0
        self._hears_speech = False

    def greet(self, now_ns: int) -> None:
        self._say(self._phrases.greeting, GREETING, now_ns)

    def hear(self, pcm: Pcm, now_ns: int) -> None:
        """So much of the caller, in pieces of any size."""
        self._waiting = np.concatenate((self._waiting, pcm))
        while self._waiting.size >= self._piece:
            piece, self._waiting = self._waiting[: self._piece], self._waiting[self._piece :]
            self._listen(piece, now_ns)

    def press(self, key: str, words: Pcm, now_ns: int) -> None:
        self.told.append(("key", key))
        self._stop(now_ns)
        self._say(np.concatenate((words, self._phrases.more)), f"{YOU_PRESSED.format(key)} {AND}", now_ns)

    def _listen(self, piece: Pcm, now_ns: int) -> None:
        is_loud = float(np.sqrt(np.mean(piece.astype(np.float64) ** 2))) > LOUD_RMS
        self._loud_ms, self._quiet_ms = (self._loud_ms + HEARING_MS, 0) if is_loud else (0, self._quiet_ms + HEARING_MS)
        if is_loud or self._hears_speech:
            self._heard.append(piece)
        else:
            self._heard.clear()
        if not self._hears_speech and self._loud_ms >= STARTS_MS:
            self._hears_speech = True
            self.told.append(("speech", ""))
            self._stop(now_ns)
        elif self._hears_speech and (self._quiet_ms >= STOPS_MS or len(self._heard) * HEARING_MS >= LONGEST_MS):
            self._hears_speech = False
            said = np.concatenate(self._heard)
            self._heard.clear()
            self._say(np.concatenate((self._phrases.you_said, said, self._phrases.more)), f"{YOU_SAID} (the caller's words) {AND}", now_ns)

    def _say(self, pcm: Pcm, text: str, now_ns: int) -> None:
        self.outbox.append(self.dialect.say(self.dialect.plays.encode(pcm), self._turn))
        self._speaking_until_ns = max(now_ns, self._speaking_until_ns) + pcm.size * 1_000_000_000 // self.dialect.rate_hz
        self.told.append(("said", text))

    def _stop(self, now_ns: int) -> None:
        if now_ns < self._speaking_until_ns:
            self._turn += 1
            self._speaking_until_ns = now_ns
            self.outbox.append(self.dialect.clear(self._turn))


# ---- the process --------------------------------------------------------------------------------------------------


async def spoken(text: str, rate_hz: int) -> Pcm:
    pcm, its_rate_hz = await synthesize(text)
    return resample(pcm, its_rate_hz, rate_hz)


def tell(told: Sequence[tuple[str, str]]) -> None:
    for kind, text in told:
        print(json.dumps({"kind": kind, "text": text, "at_ns": time.monotonic_ns()}), flush=True)


async def converse(socket: web.WebSocketResponse, parrot: Parrot) -> None:
    parrot.greet(time.monotonic_ns())
    while True:
        for answer in parrot.outbox:
            await (socket.send_bytes(answer) if isinstance(answer, bytes) else socket.send_json(answer))
        tell(parrot.told)
        parrot.outbox.clear()
        parrot.told.clear()
        message = await socket.receive()
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            return
        content: AnyMessage = message.data if message.type is WSMsgType.BINARY else json.loads(message.data)
        payload = parrot.dialect.heard(content)
        if payload is not None:
            parrot.hear(parrot.dialect.hears.decode(payload), time.monotonic_ns())
        elif not isinstance(content, bytes) and (key := parrot.dialect.key(content)):
            parrot.press(key, await spoken(YOU_PRESSED.format(key), parrot.dialect.rate_hz), time.monotonic_ns())


async def serve(dialect: Dialect) -> None:
    phrases = Phrases(*[await spoken(text, dialect.rate_hz) for text in (GREETING, YOU_SAID, AND)])

    async def take_call(request: web.Request) -> web.WebSocketResponse:
        wanted = request.headers.get("Sec-WebSocket-Protocol", "")
        socket = web.WebSocketResponse(protocols=(wanted,) if wanted else ())
        await socket.prepare(request)
        await converse(socket, Parrot(dialect, phrases))
        return socket

    app = web.Application()
    app.router.add_get("/", take_call)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("wire", choices=DIALECTS)
    asyncio.run(serve(DIALECTS[parser.parse_args().wire]))
