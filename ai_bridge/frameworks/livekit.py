"""LiveKit Agents as agents here: an AgentSession whose audio is a call, without a room and without a server.

    class MyAgent(LiveKitAgent):
        sample_rate_hz = 24_000

        def session(self):
            return AgentSession(stt=..., llm=..., tts=...), Assistant(instructions="...")

Where a session is told how much of something was played, it is what the media worker has counted on the wire, so what
is kept of an interrupted answer is what the caller heard.
"""

import asyncio
import time

from livekit import rtc
from livekit.agents import Agent as SessionAgent
from livekit.agents import AgentSession
from livekit.agents.voice import io

from ai_bridge.agent import Agent
from ai_bridge.awaited import Utterance
from ai_bridge.call import Answer, Call
from ai_bridge.frame import Frame
from ai_bridge.speech import SpeechStream

AHEAD_MS = 10_000
"""What may be written ahead of the caller's ear: an interruption drops it at the next packet, however much it is."""
MOST_WAITING = 250
"""Frames of 20 ms that the session has not read."""
STOP_S = 4.0


class CallAudioInput(io.AudioInput):  # type: ignore[misc]
    """What the caller says."""

    def __init__(self, call: Call) -> None:
        super().__init__(label="call")
        self._call = call
        self._frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue(MOST_WAITING)
        self._is_attached = True

    def hear(self, frame: Frame) -> None:
        if not self._is_attached:
            return
        if self._frames.full():
            self._frames.get_nowait()
        audio = frame.pcm.tobytes()
        self._frames.put_nowait(
            rtc.AudioFrame(data=audio, sample_rate=self._call.sample_rate_hz, num_channels=1, samples_per_channel=frame.pcm.size)
        )

    async def __anext__(self) -> rtc.AudioFrame:
        return await self._frames.get()

    def on_attached(self) -> None:
        self._is_attached = True

    def on_detached(self) -> None:
        self._is_attached = False


class CallAudioOutput(io.AudioOutput):  # type: ignore[misc]
    """What is said to the caller. A segment, from its first frame to `flush`, is an utterance of the call."""

    def __init__(self, call: Call) -> None:
        super().__init__(label="call", capabilities=io.AudioOutputCapabilities(pause=True), sample_rate=call.sample_rate_hz)
        self._call = call
        self._segment: SpeechStream | None = None
        self.cleared_turn = -1
        """The last one that the session has ended itself."""

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if self._call.has_ended:
            return
        if self._segment is None:
            self._segment = self._call.stream(frame.sample_rate, AHEAD_MS)
            self._call.spawn(self._follow(self._segment))
        await self._segment.write(bytes(frame.data))  # of one that was cut off, nothing more is taken

    async def _follow(self, segment: SpeechStream) -> None:
        began_ns = await segment.begun()
        if began_ns:
            self.on_playback_started(created_at=time.time() - (time.monotonic_ns() - began_ns) / 1e9)
        heard_ms = await segment
        self.on_playback_finished(playback_position=heard_ms / 1000, interrupted=segment.was_interrupted)

    def flush(self) -> None:
        super().flush()
        if self._segment is not None:
            self._segment.end()
            self._segment = None

    def clear_buffer(self) -> None:
        self.cleared_turn = self._call.turn
        self._call.new_turn()

    def pause(self) -> None:
        super().pause()
        self._call.pause()

    def resume(self) -> None:
        super().resume()
        self._call.resume()


class LiveKitAgent(Agent):
    """Subclass it, and give a session and its agent for each call."""

    def session(self) -> tuple[AgentSession, SessionAgent]:
        raise NotImplementedError

    async def on_start(self, call: Call) -> None:
        self.agent_session, agent = self.session()
        self._input, self._output = CallAudioInput(call), CallAudioOutput(call)
        self.agent_session.input.audio = self._input
        self.agent_session.output.audio = self._output
        self.agent_session.on("close", self._closed)
        await self.agent_session.start(agent=agent)

    def _closed(self, event: object) -> None:
        if not self.call.has_ended:
            error = getattr(event, "error", None)
            self.call.hang_up(f"the session has ended{f': {error}' if error else ''}")

    def on_audio(self, frame: Frame) -> Answer:
        self._input.hear(frame)
        return None

    async def on_hold(self, is_held: bool) -> None:
        """On hold nothing is played: what waits would be stale."""
        if is_held:
            await self.agent_session.interrupt(force=True)

    async def on_interrupted(self, utterance: Utterance) -> None:
        """The engine was first: the session has not asked for it."""
        if utterance.turn > self._output.cleared_turn:
            await self.agent_session.interrupt(force=True)

    async def on_end(self, cause: str) -> None:
        await asyncio.wait((asyncio.ensure_future(self.agent_session.aclose()),), timeout=STOP_S)
