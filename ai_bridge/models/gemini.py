"""Gemini Live: JSON, which the server sends in binary messages; PCM at 16 kHz in, at 24 kHz out, in base64.

It ends what it says itself when the caller interrupts, and keeps no account of what was heard: there is no message for
it. Its connections last ten minutes or so; a session goes on with a handle that it has given out before.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ai_bridge.frame import Pcm
from ai_bridge.models.model import CallerSpeaks, Deed, Model, Ready, Speak, Spoken, Told, Trouble, Use, merged, read
from ai_bridge.models.settings import session_of
from ai_bridge.wires.encoding import L16
from ai_bridge.wires.wire import BotViolation, Messages

RATE_HZ, SPEECH_RATE_HZ = 16_000, 24_000
HANDLE = "handle"
"""In the call's memory: what a session is resumed with."""


class Blob(msgspec.Struct, rename="camel"):
    mime_type: str = ""
    data: bytes = b""


class Part(msgspec.Struct, rename="camel"):
    inline_data: Blob | None = None


class Turn(msgspec.Struct):
    parts: list[Part] = []


class Words(msgspec.Struct):
    text: str = ""


class Content(msgspec.Struct, rename="camel"):
    model_turn: Turn | None = None
    interrupted: bool = False
    generation_complete: bool = False
    turn_complete: bool = False
    input_transcription: Words | None = None
    output_transcription: Words | None = None


class FunctionCall(msgspec.Struct):
    name: str
    id: str = ""
    args: dict[str, Any] = {}


class ToolCall(msgspec.Struct, rename="camel"):
    function_calls: list[FunctionCall] = []


class Resumption(msgspec.Struct, rename="camel"):
    new_handle: str = ""
    resumable: bool = False


class Event(msgspec.Struct, rename="camel"):
    setup_complete: dict[str, Any] | None = None
    server_content: Content | None = None
    tool_call: ToolCall | None = None
    session_resumption_update: Resumption | None = None
    go_away: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


decode = msgspec.json.Decoder(Event).decode


class Gemini(Model):
    title = "Gemini Live"
    key_name = "gemini"
    turn_kinds = ("model", "line")
    sample_rate_hz = RATE_HZ
    _turn = 0
    _is_dropping = False  # we have cut off what it is still saying
    _heard = _said = ""
    _names: dict[str, str]

    def headers(self) -> dict[str, str]:
        return {self.session.settings.key_header or "x-goog-api-key": self.session.key.reveal()}

    # ---- to the model -----------------------------------------------------------------------------------------

    def start(self) -> Messages:
        about, settings = self.session, self.session.settings
        self._names = {}
        speech: dict[str, Any] = {}
        if settings.voice:
            speech["voiceConfig"] = {"prebuiltVoiceConfig": {"voiceName": settings.voice}}
        if settings.language:
            speech["languageCode"] = settings.language
        detection = {"disabled": True} if settings.turns == "line" else {"silenceDurationMs": settings.silence_ms}
        handling = "NO_INTERRUPTION" if settings.barge_in == "off" else "START_OF_ACTIVITY_INTERRUPTS"
        setup: dict[str, Any] = {
            "model": settings.model if "/" in settings.model else f"models/{settings.model}",
            "generationConfig": {"responseModalities": ["AUDIO"], **({"speechConfig": speech} if speech else {})},
            "realtimeInputConfig": {"automaticActivityDetection": detection, "activityHandling": handling},
            "outputAudioTranscription": {},
            "inputAudioTranscription": {},
            "sessionResumption": {"handle": about.memory[HANDLE]} if HANDLE in about.memory else {},
        }
        if about.instructions:
            setup["systemInstruction"] = {"parts": [{"text": about.instructions}]}
        if about.tools:
            declared = [{"name": t["name"], "description": t["description"], "parametersJsonSchema": t["parameters"]} for t in about.tools]
            setup["tools"] = [{"functionDeclarations": declared}]
        return (msgspec.json.encode({"setup": merged(setup, session_of(settings))}),)

    def audio(self, pcm: Pcm, position_ms: int) -> bytes:
        return b'{"realtimeInput":{"audio":{"mimeType":"audio/pcm;rate=16000","data":"%b"}}}' % base64.b64encode(L16.encode(pcm))

    def greet(self) -> Messages:
        return realtime(text=self.session.settings.greeting)

    def recall(self, history: Sequence[Told]) -> Messages:
        if HANDLE in self.session.memory:
            return ()  # it remembers
        turns = [{"role": "user" if words.kind == "heard" else "model", "parts": [{"text": words.text}]} for words in history]
        return (msgspec.json.encode({"clientContent": {"turns": turns, "turnComplete": True}}),)

    def start_of_speech(self) -> Messages:
        return realtime(activityStart={})

    def end_of_speech(self) -> Messages:
        return realtime(activityEnd={})

    def cancel(self) -> Messages:
        self._is_dropping = True  # it has no such message: the caller's voice stops it
        return ()

    def pressed(self, keys: str) -> Messages:
        return realtime(text=f"(The caller pressed these keys of the telephone: {keys})")

    def used(self, results: Mapping[str, str]) -> Messages:
        responses = [{"id": n, "name": self._names.pop(n, ""), "response": {"result": text}} for n, text in results.items()]
        return (msgspec.json.encode({"toolResponse": {"functionResponses": responses}}),)

    # ---- from the model ---------------------------------------------------------------------------------------

    def receive(self, message: bytes) -> Sequence[Deed]:
        event = read(decode, message, self.title)
        deeds: list[Deed] = []
        if event.error is not None:
            raise BotViolation(f"the model refused the session: {event.error.get('message', event.error)}")
        if event.setup_complete is not None:
            deeds.append(Ready())
        if event.session_resumption_update is not None and event.session_resumption_update.resumable:
            self.session.memory[HANDLE] = event.session_resumption_update.new_handle
        if event.go_away is not None:
            left = event.go_away.get("timeLeft", "a moment")
            deeds.append(Trouble(f"it closes this connection in {left}: the session is resumed on another"))
        if event.server_content is not None:
            deeds += self._content(event.server_content)
        for call in event.tool_call.function_calls if event.tool_call is not None else ():
            self._names[call.id] = call.name
            deeds.append(Use(call.id, call.name, call.args))
        return deeds

    receive_audio = receive  # it makes no difference between text and binary messages

    def _content(self, content: Content) -> list[Deed]:
        deeds: list[Deed] = []
        if content.interrupted:
            deeds.append(CallerSpeaks())
            self._next_turn()
        for part in content.model_turn.parts if content.model_turn is not None else ():
            if part.inline_data is not None and part.inline_data.mime_type.startswith("audio/pcm") and not self._is_dropping:
                deeds.append(Speak(str(self._turn), L16.decode(part.inline_data.data), rate_of(part.inline_data.mime_type)))
        self._heard += content.input_transcription.text if content.input_transcription else ""
        self._said += content.output_transcription.text if content.output_transcription else ""
        if content.generation_complete or content.turn_complete:
            deeds.append(Spoken(str(self._turn)))
        if content.turn_complete or content.interrupted:
            deeds += [Told("heard", self._heard), Told("said", self._said)]
            self._heard = self._said = ""
        if content.turn_complete:
            self._next_turn()
        return deeds

    def _next_turn(self) -> None:
        self._turn += 1
        self._is_dropping = False


def realtime(**values: object) -> Messages:
    return (msgspec.json.encode({"realtimeInput": values}),)


def rate_of(mime_type: str) -> int:
    """Of audio/pcm;rate=24000. Raises BotViolation."""
    rate = mime_type.partition("rate=")[2].partition(";")[0] or str(SPEECH_RATE_HZ)
    if not rate.isdecimal() or not 8_000 <= int(rate) <= 48_000:
        raise BotViolation(f"the model sent audio at the rate {rate[:20]}: 8000 to 48000 are rates of speech")
    return int(rate)
