"""The servers of models, as far as one can tell from outside: what tests that walk over all models need of one.

Shapes are those of the makers' own Python packages and pages. A server says what a test tells it to, and keeps what came.
"""

import base64
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ai_bridge.wires.encoding import L16, PCMU, Encoding

Pcm = npt.NDArray[np.int16]


def b64(payload: bytes) -> str:
    return base64.b64encode(payload).decode()


class Server(NamedTuple):
    rate_hz: int
    """Of what it hears."""
    hears: Encoding
    speech_rate_hz: int
    speaks: Encoding
    is_first: Callable[[Any], bool]
    """The message that it waits for before it is ready; audio before that is wrong."""
    ready: tuple[object, ...]
    heard: Callable[[Any], bytes | None]
    """The audio in a message that came, or None."""
    say: Callable[[bytes, int], object]
    """A message of speech; the second is a number that grows."""
    spoken: tuple[object, ...]
    """The end of what it says."""
    interrupt: Callable[[int], object]
    words: tuple[object, ...]
    """The caller said "hello", the model says "good day"."""
    use: object
    """hang_up, with the reason "done"; its id is "t1"."""
    refuse: object
    """The session cannot be had; None: it closes the connection."""
    settings: dict[str, str] = {}
    address: Callable[[str], dict[str, Any]] | None = None
    """What its API answers, when it is asked for the address: the WebSocket's is given."""


def gemini(content: dict[str, Any]) -> bytes:
    return json.dumps({"serverContent": content}).encode()  # in binary messages


def text_of(message: Any) -> dict[str, Any]:
    return message if isinstance(message, dict) else {}


def realtime_audio(message: Any) -> bytes | None:
    audio = text_of(message).get("realtimeInput", {}).get("audio")
    assert audio is None or audio["mimeType"] == "audio/pcm;rate=16000"
    return base64.b64decode(audio["data"]) if audio else None


def binary(message: Any) -> bytes | None:
    return message if isinstance(message, bytes) else None


def user_audio_chunk(message: Any) -> bytes | None:
    chunk = text_of(message).get("user_audio_chunk")
    return base64.b64decode(chunk) if chunk else None


AT = {"response_id": "r", "output_index": 0, "content_index": 0}
SERVERS = {
    "openai": Server(
        8_000, PCMU, 8_000, PCMU,
        lambda m: text_of(m).get("type") == "session.update",
        ({"type": "session.created", "session": {"type": "realtime"}}, {"type": "session.updated", "session": {"type": "realtime"}}),
        lambda m: base64.b64decode(m["audio"]) if text_of(m).get("type") == "input_audio_buffer.append" else None,
        lambda payload, n: {"type": "response.output_audio.delta", **AT, "item_id": f"i{n}", "delta": b64(payload)},
        (),
        lambda n: {"type": "input_audio_buffer.speech_started", "audio_start_ms": 0, "item_id": "u"},
        (
            {
                "type": "conversation.item.input_audio_transcription.completed", "item_id": "u", "content_index": 0, "transcript": "hello",
                "usage": {"type": "duration", "seconds": 1.0},
            },
            {"type": "response.output_audio_transcript.done", **AT, "item_id": "i", "transcript": "good day"},
        ),
        {
            "type": "response.done",
            "response": {
                "id": "r", "status": "completed",
                "output": [{"type": "function_call", "call_id": "t1", "name": "hang_up", "arguments": '{"reason": "done"}'}],
            },
        },
        {"type": "error", "error": {"type": "invalid_request_error", "message": "no such voice"}},
    ),
    "gemini": Server(
        16_000, L16, 24_000, L16,
        lambda m: "setup" in text_of(m),
        (b'{"setupComplete": {}}', b'{"sessionResumptionUpdate": {"newHandle": "h1", "resumable": true}}'),
        realtime_audio,
        lambda payload, n: gemini({"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": b64(payload)}}]}}),
        (gemini({"generationComplete": True}), gemini({"turnComplete": True})),
        lambda n: gemini({"interrupted": True}),
        (
            gemini({"inputTranscription": {"text": "hel"}}), gemini({"inputTranscription": {"text": "lo"}}),
            gemini({"outputTranscription": {"text": "good day"}}), gemini({"turnComplete": True}),
        ),
        b'{"toolCall": {"functionCalls": [{"id": "t1", "name": "hang_up", "args": {"reason": "done"}}]}}',
        None,
        {"model": "gemini-live"},
    ),
    "ultravox": Server(
        8_000, L16, 8_000, L16,
        lambda m: False,
        (),
        binary,
        lambda payload, n: payload,
        ({"type": "state", "state": "listening"},),
        lambda n: {"type": "playback_clear_buffer"},
        (
            {"type": "state", "state": "thinking"},
            {"type": "transcript", "role": "user", "medium": "voice", "text": "hello", "final": True, "ordinal": 0},
            {"type": "transcript", "role": "agent", "medium": "voice", "delta": "good", "final": False, "ordinal": 1},
            {"type": "transcript", "role": "agent", "medium": "voice", "delta": " day", "final": True, "ordinal": 1},
        ),
        {"type": "client_tool_invocation", "toolName": "hang_up", "invocationId": "t1", "parameters": {"reason": "done"}},
        None,
        {},
        lambda url: {"callId": "c", "joinUrl": url},
    ),
    "elevenlabs": Server(
        8_000, PCMU, 16_000, L16,
        lambda m: text_of(m).get("type") == "conversation_initiation_client_data",
        (
            {
                "type": "conversation_initiation_metadata",
                "conversation_initiation_metadata_event": {
                    "conversation_id": "c", "agent_output_audio_format": "pcm_16000", "user_input_audio_format": "ulaw_8000",
                },
            },
        ),
        user_audio_chunk,
        lambda payload, n: {"type": "audio", "audio_event": {"audio_base_64": b64(payload), "event_id": n}},
        (),
        lambda n: {"type": "interruption", "interruption_event": {"event_id": n}},
        (
            {"type": "ping", "ping_event": {"event_id": 9, "ping_ms": 50}},
            {"type": "user_transcript", "user_transcription_event": {"user_transcript": "hello"}},
            {"type": "agent_response", "agent_response_event": {"agent_response": "good day"}},
        ),
        {"type": "client_tool_call", "client_tool_call": {"tool_name": "hang_up", "tool_call_id": "t1", "parameters": {"reason": "done"}}},
        None,
        {},
        lambda url: {"signed_url": url},
    ),
    "deepgram": Server(
        8_000, PCMU, 8_000, PCMU,
        lambda m: text_of(m).get("type") == "Settings",
        ({"type": "Welcome", "request_id": "r"}, {"type": "SettingsApplied"}),
        binary,
        lambda payload, n: payload,
        ({"type": "AgentAudioDone"},),
        lambda n: {"type": "UserStartedSpeaking"},
        (
            {"type": "ConversationText", "role": "user", "content": "hello"},
            {"type": "ConversationText", "role": "assistant", "content": "good day"},
        ),
        {
            "type": "FunctionCallRequest",
            "functions": [{"id": "t1", "name": "hang_up", "arguments": '{"reason": "done"}', "client_side": True}],
        },
        {"type": "Error", "description": "no such voice", "code": "INVALID_SETTINGS"},
    ),
}
