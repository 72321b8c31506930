"""OpenAI's Realtime server, as far as one can tell from outside: its messages, its rules, its errors. It knows nothing of our code.

It hears by energy, 20 ms at a time; answers what `answer` gives it, far faster than it is spoken; stops when it is
interrupted, and checks every truncation against what it has made. Shapes are those of the `openai` package's types.
"""

import asyncio
import base64
import contextlib
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from control_plane.g711 import ALAW_TO_PCM, PCM_TO_ALAW, PCM_TO_ULAW, ULAW_TO_PCM
from tests.ai_bridge.wires.bots import Bot, Session, serving

LOUD = 1_000
"""A frame with a peak above this is speech."""


class Tone(NamedTuple):
    """Something to say. `gap_s`: after each 100 ms that are sent."""

    pitch_hz: float
    seconds: float
    words: str = "la la"
    gap_s: float = 0.0


class Call(NamedTuple):
    """A function that the model calls."""

    name: str
    arguments: str


Answer = list[Tone | Call]
RATES = {"audio/pcmu": 8_000, "audio/pcma": 8_000, "audio/pcm": 24_000}


def decode(kind: str, payload: bytes) -> np.ndarray:
    if kind == "audio/pcm":
        return np.frombuffer(payload, "<i2")
    return (ULAW_TO_PCM if kind == "audio/pcmu" else ALAW_TO_PCM)[np.frombuffer(payload, np.uint8)]


def encode(kind: str, pcm: np.ndarray) -> bytes:
    if kind == "audio/pcm":
        return pcm.astype("<i2").tobytes()
    return (PCM_TO_ULAW if kind == "audio/pcmu" else PCM_TO_ALAW)[pcm.astype(np.int16).view(np.uint16)].tobytes()


def sine(pitch_hz: float, seconds: float, rate_hz: int) -> np.ndarray:
    return (8_000 * np.sin(2 * np.pi * pitch_hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.int16)


class Realtime:
    """One session. `Bot(lambda session: Realtime(session, answer).serve())` is the server."""

    def __init__(self, session: Session, answer: Callable[["Realtime"], Answer] = lambda _: [Tone(1_000, 1.0)]) -> None:
        self.session, self.answer = session, answer
        self.config: dict[str, Any] = {}
        self.heard = np.zeros(0, np.int16)
        self.kind = "audio/pcm"
        self.numbers = itertools.count(1)
        self.made_ms: dict[str, float] = {}
        self.truncated: dict[str, int] = {}
        self.errors: list[str] = []
        self.turns: list[tuple[int, int]] = []
        self.is_speech = False
        self.quiet = self.at = 0
        self.began_ms = 0
        self.response: asyncio.Task[None] | None = None
        self.response_id = ""
        self.is_deaf = False

    async def tell(self, kind: str, **values: object) -> None:
        await self.session.send({"type": kind, "event_id": f"event_{next(self.numbers)}", **values})

    async def fail(self, code: str, message: str) -> None:
        self.errors.append(code)
        await self.tell("error", error={"type": "invalid_request_error", "code": code, "message": message, "param": None})

    async def serve(self) -> None:
        await self.tell("session.created", session={"type": "realtime", "object": "realtime.session", "id": "sess_1"})
        try:
            await self.session.read(self.receive)
        finally:
            if self.response is not None:
                self.response.cancel()

    async def receive(self, session: Session, message: Any) -> None:
        if self.is_deaf:
            return
        name = "on_" + message["type"].replace(".", "_")
        with contextlib.suppress(ConnectionError):
            await getattr(self, name)(message)

    async def on_session_update(self, message: Any) -> None:
        given = message["session"]
        assert given["type"] == "realtime"
        if given.get("audio", {}).get("output", {}).get("voice") == "nobody":
            return await self.fail("invalid_value", "Invalid value: 'nobody'. Supported values are: 'alloy'")
        self.config = {**self.config, **given}
        hearing = self.config["audio"]["input"]
        self.kind = hearing["format"]["type"]
        detection = hearing["turn_detection"]
        self.silence = detection["silence_duration_ms"] // 20 if detection else 0
        self.interrupts = bool(detection and detection["interrupt_response"])
        await self.tell("session.updated", session=self.config)
        return None

    async def on_input_audio_buffer_append(self, message: Any) -> None:
        assert self.config, "audio before the session is configured"
        self.heard = np.concatenate((self.heard, decode(self.kind, base64.b64decode(message["audio"], validate=True))))
        if not self.silence:
            return
        frame = RATES[self.kind] // 50
        while self.heard.size - self.at >= frame:
            part = self.heard[self.at : self.at + frame]
            self.at += frame
            await self.hear(int(np.abs(part.astype(int)).max()) > LOUD)

    async def hear(self, is_loud: bool) -> None:
        now_ms = self.at * 1000 // RATES[self.kind]
        self.quiet = 0 if is_loud else self.quiet + 1
        if is_loud and not self.is_speech:
            self.is_speech, self.began_ms = True, now_ms - 20
            await self.tell("input_audio_buffer.speech_started", audio_start_ms=now_ms - 20, item_id=f"item_{next(self.numbers)}")
            if self.interrupts:
                await self.stop("turn_detected")
        elif self.is_speech and self.quiet >= self.silence:
            self.is_speech = False
            self.turns.append((self.began_ms, now_ms - 20 * self.quiet))
            item = f"item_{next(self.numbers)}"
            await self.tell("input_audio_buffer.speech_stopped", audio_end_ms=now_ms, item_id=item)
            await self.on_input_audio_buffer_commit({})
            await self.on_response_create({})

    async def on_input_audio_buffer_commit(self, message: Any) -> None:
        item = f"item_{next(self.numbers)}"
        await self.tell("input_audio_buffer.committed", item_id=item, previous_item_id=None)
        if self.config["audio"]["input"].get("transcription"):
            kind = "conversation.item.input_audio_transcription.completed"
            await self.tell(kind, item_id=item, content_index=0, transcript="hello there", usage={"type": "duration", "seconds": 1.0})

    async def on_response_create(self, message: Any) -> None:
        if self.response is not None and not self.response.done():
            return await self.fail("conversation_already_has_active_response", "Conversation already has an active response")
        self.response_id = f"resp_{next(self.numbers)}"
        self.response = asyncio.create_task(self.respond(self.response_id, self.answer(self)))
        return None

    async def respond(self, response: str, answer: Answer) -> None:
        await self.tell("response.created", response={"id": response, "object": "realtime.response", "status": "in_progress", "output": []})
        output: list[Any] = []
        for number, part in enumerate(answer):
            at = {"response_id": response, "item_id": f"item_{next(self.numbers)}", "output_index": number}
            if isinstance(part, Call):
                call = {"name": part.name, "call_id": f"call_{number}", "arguments": part.arguments}
                output.append({"id": at["item_id"], "type": "function_call", "status": "completed", **call})
                await self.tell("response.function_call_arguments.done", **at, **call)
            else:
                await self.say(part, {**at, "content_index": 0})
                output.append({"id": at["item_id"], "type": "message", "role": "assistant", "status": "completed", "content": []})
        await self.tell("response.done", response=self.done(response, "completed", output, None))

    async def say(self, tone: Tone, at: dict[str, Any]) -> None:
        rate_hz = RATES[self.kind]
        pcm = sine(tone.pitch_hz, tone.seconds, rate_hz)
        for start in range(0, pcm.size, rate_hz // 10):
            part = pcm[start : start + rate_hz // 10]
            self.made_ms[at["item_id"]] = self.made_ms.get(at["item_id"], 0) + part.size * 1000 / rate_hz
            await self.tell("response.output_audio.delta", **at, delta=base64.b64encode(encode(self.kind, part)).decode())
            await asyncio.sleep(tone.gap_s)
        await self.tell("response.output_audio.done", **at)
        await self.tell("response.output_audio_transcript.done", **at, transcript=tone.words)

    def done(self, response: str, status: str, output: list[Any], reason: str | None) -> dict[str, Any]:
        details = {"type": status, "reason": reason} if reason else None
        return {"id": response, "object": "realtime.response", "status": status, "status_details": details, "output": output}

    async def stop(self, reason: str) -> bool:
        if self.response is None or self.response.done():
            return False
        self.response.cancel()
        await self.tell("response.done", response=self.done(self.response_id, "cancelled", [], reason))
        return True

    async def on_response_cancel(self, message: Any) -> None:
        if not await self.stop("client_cancelled"):
            await self.fail("response_cancel_not_active", "Cancellation failed: no active response found")

    async def on_conversation_item_truncate(self, message: Any) -> None:
        item, end_ms = message["item_id"], message["audio_end_ms"]
        assert message["content_index"] == 0 and isinstance(end_ms, int)
        if item not in self.made_ms:
            return await self.fail("item_truncate_invalid_item_id", f"no item {item}")
        if end_ms > self.made_ms[item]:
            return await self.fail("invalid_value", f"Audio content of {self.made_ms[item]}ms is already shorter than {end_ms}ms")
        self.truncated[item] = end_ms
        await self.tell("conversation.item.truncated", item_id=item, content_index=0, audio_end_ms=end_ms)
        return None

    async def on_conversation_item_create(self, message: Any) -> None:
        await self.tell("conversation.item.added", item={"id": f"item_{next(self.numbers)}", **message["item"]}, previous_item_id=None)

    def said(self, kind: str) -> list[Any]:
        """What came of this type."""
        return [message for message in list(self.session.messages) if message["type"] == kind]


async def main() -> None:
    """A server in a process of its own, for tests that kill it. Its address is printed."""
    async with serving(Bot(lambda session: Realtime(session, lambda _: [Tone(1_000, 20.0)]).serve())) as bot:
        print(bot.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
