"""A LiveKit session in Bellframe's own process: on the rings, without a room and a server. No network.

    pip install 'bellframe[livekit]'
    bellframe up --agent livekit_agent:Bot

Where yours has speech recognition, a model and a voice of somebody's, this one takes whatever is loud for "hello", answers with what
it was told, ten times, and hums for half a second where a word is.
"""

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import numpy as np
from livekit import rtc
from livekit.agents import Agent, AgentSession, llm, stt, tts

from ai_bridge.frameworks.livekit import LiveKitAgent

RATE_HZ = 16_000
WORD = np.asarray(8_000 * np.sin(2 * np.pi * 200 * np.arange(RATE_HZ // 2) / RATE_HZ), np.int16)


class Parrot(llm.LLM):  # type: ignore[misc]
    """A model without a network: answers with what it was told, ten times."""

    def chat(self, *, chat_ctx: llm.ChatContext, tools: Any = None, conn_options: Any = None, **_: Any) -> llm.LLMStream:
        return Answer(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class Answer(llm.LLMStream):  # type: ignore[misc]
    async def _run(self) -> None:
        words = " ".join([str(self._chat_ctx.items[-1].text_content)] * 10)
        self._event_ch.send_nowait(llm.ChatChunk(id="1", delta=llm.ChoiceDelta(role="assistant", content=words)))


class Ear(stt.STT):  # type: ignore[misc]
    """There has to be one; what it does is the agent's stt_node."""

    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))

    async def _recognize_impl(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


class Mouth(tts.TTS):  # type: ignore[misc]
    """The same for tts_node."""

    def __init__(self) -> None:
        super().__init__(capabilities=tts.TTSCapabilities(streaming=True), sample_rate=RATE_HZ, num_channels=1)

    def synthesize(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


class Assistant(Agent):  # type: ignore[misc]
    """Recognises a word in what is loud, and speaks half a second for each word."""

    def __init__(self) -> None:
        super().__init__(instructions="")

    async def stt_node(self, audio: AsyncIterable[rtc.AudioFrame], model_settings: Any) -> AsyncIterator[stt.SpeechEvent]:
        is_speech = False
        async for frame in audio:
            pcm = np.frombuffer(frame.data, np.int16)
            is_loud = bool(np.abs(pcm).max() > 5_000)
            if is_loud and not is_speech:
                is_speech = True
                yield stt.SpeechEvent(type=stt.SpeechEventType.START_OF_SPEECH)
            elif is_speech and not is_loud:
                is_speech = False
                said = [stt.SpeechData(language="en", text="hello", confidence=1.0)]
                yield stt.SpeechEvent(type=stt.SpeechEventType.FINAL_TRANSCRIPT, alternatives=said)
                yield stt.SpeechEvent(type=stt.SpeechEventType.END_OF_SPEECH)

    async def tts_node(self, text: AsyncIterable[str], model_settings: Any) -> AsyncIterator[rtc.AudioFrame]:
        async for part in text:
            for _ in part.split():
                yield rtc.AudioFrame(data=WORD.tobytes(), sample_rate=RATE_HZ, num_channels=1, samples_per_channel=WORD.size)


class Bot(LiveKitAgent):
    sample_rate_hz = RATE_HZ

    def session(self) -> tuple[AgentSession, Agent]:
        turns: Any = {"turn_detection": "stt", "endpointing": {"min_delay": 0.0}, "preemptive_generation": {"enabled": False}}
        return AgentSession(stt=Ear(), llm=Parrot(), tts=Mouth(), turn_handling=turns), Assistant()
