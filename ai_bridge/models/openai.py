"""OpenAI Realtime, the generally available protocol: JSON in text messages, audio in base64.

µ-law and A-law pass through as they are on the line. The server finds out when the caller speaks, stops answering then,
and is told how much of its speech was heard (`conversation.item.truncate`), so that it does not believe to have said
what nobody heard. One response at a time: what asks for another while one is made waits until that is done.
"""

import base64
import binascii
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
    Reply,
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

FORMATS: dict[str, dict[str, Any]] = {
    "PCMU": {"type": "audio/pcmu"},
    "PCMA": {"type": "audio/pcma"},
    "L16": {"type": "audio/pcm", "rate": 24_000},
}
HARMLESS = ("response_cancel_not_active", "input_audio_buffer_commit_empty")
"""Errors that are nobody's mistake: the response was just over when we cancelled it, the caller only coughed."""


class Failure(msgspec.Struct):
    message: str = ""
    code: str | None = None


class Details(msgspec.Struct):
    reason: str | None = None
    error: Failure | None = None


class Item(msgspec.Struct):
    type: str = ""
    name: str = ""
    call_id: str = ""
    arguments: str = ""


class Response(msgspec.Struct):
    id: str = ""
    status: str = ""
    status_details: Details | None = None
    output: list[Item] = []


class Event(msgspec.Struct):
    type: str
    item_id: str = ""
    response_id: str = ""
    delta: str = ""
    transcript: str = ""
    response: Response | None = None
    error: Failure | None = None


decode = msgspec.json.Decoder(Event).decode
NO_RESPONSE = Response()


class OpenAI(Model):
    title = "OpenAI Realtime"
    key_name = "openai"

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self.encoding, self.sample_rate_hz = ENCODINGS[about.line]
        self._is_ready = False
        self._answering = ""  # the response that is being made
        self._dropped = ""  # the one whose rest nobody wants
        self._is_asked = False  # for another, once this one is done

    # ---- to the model -----------------------------------------------------------------------------------------

    def headers(self) -> dict[str, str]:
        key, header = self.session.key.reveal(), self.session.settings.key_header
        return {header: key} if header else {"Authorization": f"Bearer {key}"}

    def start(self) -> Messages:
        settings, about = self.session.settings, self.session
        hearing: dict[str, Any] = {"format": FORMATS[about.line], "turn_detection": self._turn_detection()}
        if settings.transcription:
            language = {"language": settings.language} if settings.language else {}
            hearing["transcription"] = {"model": settings.transcription, **language}
        speaking: dict[str, Any] = {"format": FORMATS[about.line], **({"voice": settings.voice} if settings.voice else {})}
        session: dict[str, Any] = {
            "type": "realtime",
            "output_modalities": ["audio"],
            "audio": {"input": hearing, "output": speaking},
            "tools": [{"type": "function", **tool} for tool in about.tools],
        }
        if about.instructions:
            session["instructions"] = about.instructions
        return (encode("session.update", session=merged(session, session_of(settings))),)

    def _turn_detection(self) -> dict[str, Any] | None:
        settings = self.session.settings
        interrupts = settings.barge_in != "off"
        if settings.turns == "line":
            return None
        if settings.turns == "semantic":
            return {"type": "semantic_vad", "interrupt_response": interrupts}
        return {"type": "server_vad", "silence_duration_ms": settings.silence_ms, "interrupt_response": interrupts}

    def audio(self, pcm: Pcm, position_ms: int) -> bytes:
        return b'{"type":"input_audio_buffer.append","audio":"%b"}' % base64.b64encode(self.encoding.encode(pcm))

    def greet(self) -> Messages:
        return self._respond(instructions=self.session.settings.greeting)

    def recall(self, history: Sequence[Told]) -> Messages:
        items = [
            said("user", "input_text", words.text) if words.kind == "heard" else said("assistant", "output_text", words.text)
            for words in history
        ]
        return (*items, *self._respond())

    def cut(self, item: str, heard_ms: int) -> Messages:
        return (encode("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=heard_ms),)

    def cancel(self) -> Messages:
        if not self._answering:
            return ()
        self._dropped = self._answering
        return (encode("response.cancel", response_id=self._answering),)

    def end_of_speech(self) -> Messages:
        return (encode("input_audio_buffer.commit"), *self._respond())

    def pressed(self, keys: str) -> Messages:
        return (said("user", "input_text", f"(The caller pressed these keys of the telephone: {keys})"), *self._respond())

    def used(self, results: Mapping[str, str]) -> Messages:
        outputs = [
            encode("conversation.item.create", item={"type": "function_call_output", "call_id": use_id, "output": output})
            for use_id, output in results.items()
        ]
        return (*outputs, *self._respond())

    def probe(self) -> Messages:
        return (encode("session.update", session={"type": "realtime"}),)

    def _respond(self, **values: object) -> Messages:
        if self._answering:
            self._is_asked = True
            return ()
        return (encode("response.create", **({"response": values} if values else {})),)

    # ---- from the model ---------------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:  # type: ignore[override]
        return bool(self._answering)

    def receive(self, message: bytes) -> Sequence[Deed]:
        event = read(decode, message, self.title)
        match event.type:
            case "response.output_audio.delta" | "response.audio.delta":
                return self._speak(event)
            case "response.output_audio.done" | "response.audio.done":
                return (Spoken(event.item_id),)
            case "response.created":
                self._answering = (event.response or NO_RESPONSE).id
            case "response.done":
                return self._done(event.response or NO_RESPONSE)
            case "input_audio_buffer.speech_started":
                if self.session.settings.barge_in != "off":
                    self._dropped = self._answering
                return (CallerSpeaks(),)
            case "input_audio_buffer.speech_stopped":
                return (CallerStopped(),)
            case "conversation.item.input_audio_transcription.completed":
                return (Told("heard", event.transcript),)
            case "response.output_audio_transcript.done" | "response.audio_transcript.done":
                return (Told("said", event.transcript),)
            case "session.updated" if not self._is_ready:
                self._is_ready = True
                return (Ready(),)
            case "error":
                return self._fail(event.error or Failure())
        return ()

    def _speak(self, event: Event) -> Sequence[Deed]:
        if event.response_id and event.response_id == self._dropped:
            return ()
        try:
            payload = base64.b64decode(event.delta, validate=True)
        except (binascii.Error, ValueError):
            raise BotViolation(f"the model sent audio that is not base64 in {event.type}") from None
        return (Speak(event.item_id, self.encoding.decode(payload), self.sample_rate_hz),)

    def _done(self, response: Response) -> Sequence[Deed]:
        deeds: list[Deed] = []
        if response.id == self._answering:
            self._answering = ""
        if response.status == "completed":
            deeds += [Use(i.call_id, i.name, arguments_of(i.arguments)) for i in response.output if i.type == "function_call"]
        elif response.status == "failed":
            details = response.status_details or Details()
            deeds.append(Trouble(f"a response failed: {(details.error or Failure()).message or details.reason or 'it does not say why'}"))
        if self._is_asked and not self._answering:
            self._is_asked = False
            deeds.append(Reply(self._respond()))
        return deeds

    def _fail(self, error: Failure) -> Sequence[Deed]:
        if not self._is_ready:
            raise BotViolation(f"the model refused the session: {error.message or error.code}")
        return () if error.code in HARMLESS else (Trouble(error.message or error.code or "an error without a text"),)


def encode(kind: str, **values: object) -> bytes:
    return msgspec.json.encode({"type": kind, **values})


def said(role: str, kind: str, text: str) -> bytes:
    return encode("conversation.item.create", item={"type": "message", "role": role, "content": [{"type": kind, "text": text}]})
