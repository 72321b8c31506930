"""ElevenLabs agents: JSON in text messages, audio in base64, in the format that the agent is configured for there.

The address holds the agent: elevenlabs+wss://api.elevenlabs.io/v1/convai/conversation?agent_id=ID. The key buys a
signed address for each call. What the route says beyond that overrides the agent's settings, where these allow it.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ai_bridge.frame import Pcm
from ai_bridge.models.model import (
    CallerSpeaks,
    CallerStopped,
    Deed,
    Model,
    Ready,
    Reply,
    Request,
    Speak,
    Told,
    Use,
    arguments_of,
    merged,
    read,
)
from ai_bridge.models.settings import session_of
from ai_bridge.wires.encoding import L16, PCMU, Encoding
from ai_bridge.wires.wire import BotViolation, Messages

RATES_HZ = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)


class Signed(msgspec.Struct):
    signed_url: str


class Metadata(msgspec.Struct):
    agent_output_audio_format: str = "pcm_16000"
    user_input_audio_format: str = "pcm_16000"


class Audio(msgspec.Struct):
    event_id: int = 0
    audio_base_64: str = ""


class Numbered(msgspec.Struct):
    event_id: int = 0


class HeardWords(msgspec.Struct):
    user_transcript: str = ""


class SaidWords(msgspec.Struct):
    agent_response: str = ""


class ToolCall(msgspec.Struct):
    tool_name: str
    tool_call_id: str
    parameters: dict[str, Any] = {}


class Event(msgspec.Struct):
    type: str
    conversation_initiation_metadata_event: Metadata | None = None
    audio_event: Audio | None = None
    interruption_event: Numbered | None = None
    ping_event: Numbered | None = None
    user_transcription_event: HeardWords | None = None
    agent_response_event: SaidWords | None = None
    client_tool_call: ToolCall | None = None


decode_signed = msgspec.json.Decoder(Signed).decode
decode = msgspec.json.Decoder(Event).decode


class ElevenLabs(Model):
    title = "ElevenLabs agents"
    key_name = "elevenlabs"
    turn_kinds = ("model",)
    goodbye_ends_call = True
    tells_end = False
    hears: Encoding = L16
    speaks: Encoding = L16
    speech_rate_hz = 16_000
    sample_rate_hz = 16_000
    _interruptions = 0
    _cut_at = 0
    _last_id = 0

    # ---- to the model -----------------------------------------------------------------------------------------

    def address(self, url: str) -> Request:
        place, _, query = url.replace("ws", "http", 1).partition("?")
        header = self.session.settings.key_header or "xi-api-key"
        return Request(f"{place}/get-signed-url?{query}", {header: self.session.key.reveal()}, b"", "GET")

    def joined(self, answer: bytes) -> str:
        return read(decode_signed, answer, self.title).signed_url

    def start(self) -> Messages:
        about, settings = self.session, self.session.settings
        agent: dict[str, Any] = {"prompt": {"prompt": about.instructions}} if about.instructions else {}
        if settings.greeting:
            agent["first_message"] = settings.greeting
        if settings.language:
            agent["language"] = settings.language
        override = {"agent": agent} if agent else {}
        if settings.voice:
            override["tts"] = {"voice_id": settings.voice}
        values = {**about.call.parameters, "caller": about.call.caller, "callee": about.call.callee}
        begin = {
            "type": "conversation_initiation_client_data",
            "conversation_config_override": override,
            "dynamic_variables": values,
        }
        return (msgspec.json.encode(merged(begin, session_of(settings))),)

    def audio(self, pcm: Pcm, position_ms: int) -> bytes:
        return b'{"user_audio_chunk":"%b"}' % base64.b64encode(self.hears.encode(pcm))

    def recall(self, history: Sequence[Told]) -> Messages:
        said = "; ".join(f"{'caller' if words.kind == 'heard' else 'you'}: {words.text}" for words in history)
        return (msgspec.json.encode({"type": "contextual_update", "text": f"The call was cut off. Go on with it. So far: {said}"}),)

    def cancel(self) -> Messages:
        self._cut_at = self._last_id  # it has no such message: the caller's voice stops it
        return ()

    def pressed(self, keys: str) -> Messages:
        return (msgspec.json.encode({"type": "user_message", "text": f"(The caller pressed these keys of the telephone: {keys})"}),)

    def used(self, results: Mapping[str, str]) -> Messages:
        return [
            msgspec.json.encode({"type": "client_tool_result", "tool_call_id": n, "result": text, "is_error": False})
            for n, text in results.items()
        ]

    # ---- from the model ---------------------------------------------------------------------------------------

    def receive(self, message: bytes) -> Sequence[Deed]:
        event = read(decode, message, self.title)
        if event.audio_event is not None:
            return self._speak(event.audio_event)
        if event.interruption_event is not None:
            self._cut_at = event.interruption_event.event_id
            self._interruptions += 1
            return (CallerSpeaks(),)
        if event.ping_event is not None:
            return (Reply((msgspec.json.encode({"type": "pong", "event_id": event.ping_event.event_id}),)),)
        if event.conversation_initiation_metadata_event is not None:
            told = event.conversation_initiation_metadata_event
            self.hears, self.sample_rate_hz = format_of(told.user_input_audio_format)
            self.speaks, self.speech_rate_hz = format_of(told.agent_output_audio_format)
            return (Ready(),)
        if event.user_transcription_event is not None:
            return (CallerStopped(), Told("heard", event.user_transcription_event.user_transcript))
        if event.agent_response_event is not None:
            return (Told("said", event.agent_response_event.agent_response),)
        if event.client_tool_call is not None:
            call = event.client_tool_call
            return (Use(call.tool_call_id, call.tool_name, arguments_of(call.parameters)),)
        return ()

    def _speak(self, audio: Audio) -> Sequence[Deed]:
        self._last_id = max(self._last_id, audio.event_id)
        if audio.event_id <= self._cut_at:
            return ()
        try:
            payload = base64.b64decode(audio.audio_base_64, validate=True)
        except (binascii.Error, ValueError):
            raise BotViolation("the model sent audio that is not base64") from None
        return (Speak(str(self._interruptions), self.speaks.decode(payload), self.speech_rate_hz),)


def format_of(name: str) -> tuple[Encoding, int]:
    """Of "pcm_16000" or "ulaw_8000". Raises BotViolation."""
    kind, _, rate = name.partition("_")
    if kind in ("pcm", "ulaw") and rate.isdecimal() and int(rate) in RATES_HZ:
        return (L16 if kind == "pcm" else PCMU), int(rate)
    raise BotViolation(f'the agent\'s audio is "{name[:40]}": set it to pcm_16000 or ulaw_8000 where it is configured')
