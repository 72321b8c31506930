"""Ultravox: a call is created over HTTPS, which tells where to join it; PCM in binary messages, JSON in text messages.

We keep up to half a minute of its speech, and clear it when it says so (`playback_clear_buffer`). It hangs up by
closing the connection. The address is that of its API: ultravox+wss://api.ultravox.ai/api/calls, or .../agents/ID/calls.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ai_bridge.frame import Pcm
from ai_bridge.models.model import (
    About,
    CallerSpeaks,
    CallerStopped,
    Deed,
    Model,
    Request,
    Speak,
    Spoken,
    Told,
    Use,
    arguments_of,
    merged,
    read,
)
from ai_bridge.models.settings import session_of
from ai_bridge.wires.encoding import L16
from ai_bridge.wires.wire import BotViolation, Messages

CLIENT_BUFFER_MS = 30_000


class Joined(msgspec.Struct, rename="camel"):
    join_url: str


class Event(msgspec.Struct, rename="camel"):
    type: str
    state: str = ""
    role: str = ""
    text: str | None = None
    delta: str | None = None
    final: bool = False
    tool_name: str = ""
    invocation_id: str = ""
    parameters: dict[str, Any] = {}


decode_joined = msgspec.json.Decoder(Joined).decode
decode = msgspec.json.Decoder(Event).decode


class Ultravox(Model):
    title = "Ultravox"
    key_name = "ultravox"
    turn_kinds = ("model",)
    has_binary_audio = True
    is_ready_at_start = True
    goodbye_ends_call = True
    tells_end = False

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self.sample_rate_hz = 8_000 if about.line in ("PCMU", "PCMA") else 24_000
        self._item = 0
        self._is_dropping = False
        self._words = {"user": "", "agent": ""}

    # ---- to the model -----------------------------------------------------------------------------------------

    def address(self, url: str) -> Request:
        about, settings = self.session, self.session.settings
        rate_hz = self.sample_rate_hz
        socket = {"inputSampleRate": rate_hz, "outputSampleRate": rate_hz, "clientBufferSizeMs": CLIENT_BUFFER_MS}
        speaks_first: dict[str, Any] = {"agent": {"prompt": settings.greeting}} if settings.greeting and not about.memory else {"user": {}}
        call: dict[str, Any] = {"medium": {"serverWebSocket": socket}, "firstSpeakerSettings": speaks_first}
        names = {"systemPrompt": about.instructions, "model": settings.model, "voice": settings.voice, "languageHint": settings.language}
        call |= {name: value for name, value in names.items() if value}
        if about.tools:
            call["selectedTools"] = [{"temporaryTool": as_temporary(tool)} for tool in about.tools]
        header = settings.key_header or "X-API-Key"
        headers = {header: about.key.reveal(), "Content-Type": "application/json"}
        return Request(url.replace("ws", "http", 1), headers, msgspec.json.encode(merged(call, session_of(settings))))

    def joined(self, answer: bytes) -> str:
        self.session.memory["has_greeted"] = "true"
        return read(decode_joined, answer, self.title).join_url

    def start(self) -> Messages:
        return ()

    def audio(self, pcm: Pcm, position_ms: int) -> bytes:
        return L16.encode(pcm)

    def recall(self, history: Sequence[Told]) -> Messages:
        said = "; ".join(f"{'caller' if words.kind == 'heard' else 'you'}: {words.text}" for words in history)
        return text(f"(The call was cut off. Go on with it. So far: {said})")

    def cancel(self) -> Messages:
        self._is_dropping = True  # it has no such message: the caller's voice stops it
        return ()

    def pressed(self, keys: str) -> Messages:
        return text(f"(The caller pressed these keys of the telephone: {keys})")

    def probe(self) -> Messages:
        return (b'{"type":"ping","timestamp":0}',)

    def used(self, results: Mapping[str, str]) -> Messages:
        return [
            msgspec.json.encode({"type": "client_tool_result", "invocationId": n, "result": result, "responseType": "tool-response"})
            for n, result in results.items()
        ]

    # ---- from the model ---------------------------------------------------------------------------------------

    def receive_audio(self, message: bytes) -> Sequence[Deed]:
        return () if self._is_dropping else (Speak(str(self._item), L16.decode(message), self.sample_rate_hz),)

    def receive(self, message: bytes) -> Sequence[Deed]:
        event = read(decode, message, self.title)
        match event.type:
            case "playback_clear_buffer":
                self._next()
                return (CallerSpeaks(),)
            case "state" if event.state == "thinking":
                return (CallerStopped(),)
            case "state" if event.state in ("listening", "idle"):
                done = Spoken(str(self._item))
                self._next()
                return (done,)
            case "transcript" if event.role in self._words:
                return self._transcript(event)
            case "client_tool_invocation":
                return (Use(event.invocation_id, event.tool_name, arguments_of(event.parameters)),)
        return ()

    def _transcript(self, event: Event) -> Sequence[Deed]:
        words = event.text or self._words[event.role] + (event.delta or "")
        self._words[event.role] = "" if event.final else words
        return (Told("heard" if event.role == "user" else "said", words),) if event.final else ()

    def _next(self) -> None:
        self._item += 1
        self._is_dropping = False


def text(words: str) -> Messages:
    return (msgspec.json.encode({"type": "user_text_message", "text": words}),)


def as_temporary(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool as Ultravox describes one that the client does: a schema for each parameter."""
    parameters = tool["parameters"]
    if "$defs" in parameters:
        raise BotViolation(f"the tool {tool['name']}: Ultravox takes parameters of plain types only")
    required = parameters.get("required", ())
    described = [
        {"name": name, "location": "PARAMETER_LOCATION_BODY", "schema": schema, "required": name in required}
        for name, schema in parameters.get("properties", {}).items()
    ]
    return {"modelToolName": tool["name"], "description": tool["description"], "dynamicParameters": described, "client": {}}
