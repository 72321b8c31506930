"""Deepgram's voice agent: audio in binary messages, JSON in text messages; µ-law and A-law pass through.

It hears, thinks and speaks with three models, which the session's settings name. It stops speaking itself when the
caller does, and keeps no account of what was heard.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ai_bridge.frame import Pcm
from ai_bridge.models.model import (
    ENCODINGS,
    About,
    CallerSpeaks,
    CallerStopped,
    Deed,
    Model,
    Ready,
    Speak,
    Spoken,
    Told,
    Trouble,
    Use,
    arguments_of,
    merged,
    read,
)
from ai_bridge.models.settings import session_of
from ai_bridge.wires.wire import BotViolation, Messages

ENCODING_NAMES = {"PCMU": "mulaw", "PCMA": "alaw", "L16": "linear16"}


class Function(msgspec.Struct):
    id: str
    name: str
    arguments: str = ""
    client_side: bool = True


class Event(msgspec.Struct):
    type: str
    role: str = ""
    content: str = ""
    description: str = ""
    functions: list[Function] = []


decode = msgspec.json.Decoder(Event).decode


class Deepgram(Model):
    title = "Deepgram's voice agent"
    key_name = "deepgram"
    turn_kinds = ("model",)
    has_binary_audio = True

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self.encoding, self.sample_rate_hz = ENCODINGS[about.line]
        self._is_ready = self._is_dropping = False
        self._item = 0
        self._names: dict[str, str] = {}

    def headers(self) -> dict[str, str]:
        key, header = self.session.key.reveal(), self.session.settings.key_header
        return {header: key} if header else {"Authorization": f"Token {key}"}

    # ---- to the model -----------------------------------------------------------------------------------------

    def start(self) -> Messages:
        about, settings = self.session, self.session.settings
        audio = {"encoding": ENCODING_NAMES[about.line], "sample_rate": self.sample_rate_hz}
        think: dict[str, Any] = {"provider": {"type": "open_ai", "model": settings.model or "gpt-4o-mini"}, "prompt": about.instructions}
        if about.tools:
            think["functions"] = list(about.tools)
        agent: dict[str, Any] = {
            "listen": {"provider": {"type": "deepgram", "model": settings.transcription or "nova-3"}},
            "think": think,
            "speak": {"provider": {"type": "deepgram", "model": settings.voice or "aura-2-thalia-en"}},
        }
        if settings.greeting and not about.memory:
            agent["greeting"] = settings.greeting
        given = {"type": "Settings", "audio": {"input": audio, "output": {**audio, "container": "none"}}, "agent": agent}
        return (msgspec.json.encode(merged(given, session_of(settings))),)

    def audio(self, pcm: Pcm, position_ms: int) -> bytes:
        return self.encoding.encode(pcm)

    def keep_alive(self) -> Messages:
        return (b'{"type":"KeepAlive"}',)

    def recall(self, history: Sequence[Told]) -> Messages:
        said = "; ".join(f"{'caller' if words.kind == 'heard' else 'you'}: {words.text}" for words in history)
        return (msgspec.json.encode({"type": "UpdatePrompt", "prompt": f"This call was cut off. Go on with it. So far: {said}"}),)

    def cancel(self) -> Messages:
        self._is_dropping = True  # it has no such message: the caller's voice stops it
        return ()

    def pressed(self, keys: str) -> Messages:
        content = f"(The caller pressed these keys of the telephone: {keys})"
        return (msgspec.json.encode({"type": "InjectUserMessage", "content": content}),)

    def used(self, results: Mapping[str, str]) -> Messages:
        return [
            msgspec.json.encode({"type": "FunctionCallResponse", "id": n, "name": self._names.pop(n, ""), "content": text})
            for n, text in results.items()
        ]

    # ---- from the model ---------------------------------------------------------------------------------------

    def receive_audio(self, message: bytes) -> Sequence[Deed]:
        if self._is_dropping:
            return ()
        return (Speak(str(self._item), self.encoding.decode(message), self.sample_rate_hz),)

    def receive(self, message: bytes) -> Sequence[Deed]:
        event = read(decode, message, self.title)
        match event.type:
            case "SettingsApplied" if not self._is_ready:
                self._is_ready = True
                self.session.memory["has_greeted"] = "true"
                return (Ready(),)
            case "UserStartedSpeaking":
                self._next()
                return (CallerSpeaks(),)
            case "AgentStartedSpeaking":
                self._is_dropping = False
            case "AgentAudioDone":
                done = Spoken(str(self._item))
                self._next()
                return (done,)
            case "ConversationText":
                words = Told("heard" if event.role == "user" else "said", event.content)
                return (CallerStopped(), words) if event.role == "user" else (words,)
            case "FunctionCallRequest":
                self._names.update({call.id: call.name for call in event.functions})
                return [Use(call.id, call.name, arguments_of(call.arguments)) for call in event.functions if call.client_side]
            case "Error" if not self._is_ready:
                raise BotViolation(f"the model refused the session: {event.description}")
            case "Error" | "Warning":
                return (Trouble(event.description),)
        return ()

    def _next(self) -> None:
        self._item += 1
        self._is_dropping = False
