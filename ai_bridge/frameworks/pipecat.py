"""Pipecat pipelines as agents: the transport that is a call.

    class MyBot(PipecatAgent):
        sample_rate_hz = 16_000

        def pipeline(self, transport):
            return Pipeline([transport.input(), stt, llm, tts, transport.output()])

An interruption of the pipeline ends the call's turn before anything else is done with it: what the caller has not
heard by then is never heard, not a sample of it. The transport's event `on_interrupted` tells how much was heard.
"""

import asyncio
import contextlib
from typing import Any

from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputDTMFFrame,
    OutputDTMFUrgentFrame,
    StartFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import BaseTransport, TransportParams
from pipecat.utils.utils import obj_id
from pipecat.workers.runner import WorkerRunner

from ai_bridge.agent import Agent
from ai_bridge.awaited import Utterance
from ai_bridge.call import Call
from ai_bridge.frame import Frame as CallFrame
from ai_bridge.speech import SpeechStream

AHEAD_MS = 100
"""What is written ahead of the caller's ear. Pipecat's words and its account of who speaks follow what is written, so little of it."""
CHUNK_10MS = 2
"""Pipecat writes the line's own 20 ms."""
STOP_S = 4.0
"""What a pipeline may take to end when its call is over."""


class CallInput(BaseInputTransport):  # type: ignore[misc]
    """What the caller says and presses."""

    def __init__(self, params: TransportParams) -> None:
        super().__init__(params)
        self.is_started = asyncio.Event()

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)
        self.is_started.set()


class CallOutput(BaseOutputTransport):  # type: ignore[misc]
    """What is said to the caller."""

    def __init__(self, call: Call, params: TransportParams, interrupted: Any) -> None:
        super().__init__(params)
        self._call, self._interrupted = call, interrupted
        self._speech: SpeechStream | None = None
        self._first_id = 0  # of frames: an older one is of a turn that is over
        self._may_cut = True

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, InterruptionFrame):
            self._first_id = obj_id()
            if self._may_cut:
                self._silence()
        await super().process_frame(frame, direction)

    def _silence(self) -> None:
        cut, self._speech = self._speech, None
        self._call.new_turn()
        if cut is not None and not cut.is_done:
            self._call.spawn(self._tell(cut))

    async def _tell(self, cut: Utterance) -> None:
        await cut
        await self._interrupted(cut.heard_ms, cut.duration_ms)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        if frame.id < self._first_id and frame.interruptible:
            return False
        call = self._call
        if call.has_ended or (self._speech is not None and self._speech.is_cut):  # by the engine: the pipeline will know in a moment
            return False
        if call.is_held:  # nothing is played, and what waits would be stale; but time passes
            self._end()
            await asyncio.sleep(len(frame.audio) / 2 / frame.sample_rate)
            return True
        if self._speech is None:
            self._speech = call.stream(frame.sample_rate, AHEAD_MS)
        self._may_cut = frame.interruptible
        return await self._speech.write(frame.audio)

    async def stop(self, frame: EndFrame) -> None:
        """What was said is heard to its end."""
        await super().stop(frame)
        self._end()
        await self._call.drained()

    def _end(self) -> None:
        if self._speech is not None:
            self._speech.end()
            self._speech = None

    def _supports_native_dtmf(self) -> bool:
        return True

    async def _write_dtmf_native(self, frame: OutputDTMFFrame | OutputDTMFUrgentFrame) -> None:
        self._end()
        self._call.press("".join(button.value for button in frame.buttons))


class CallTransport(BaseTransport):  # type: ignore[misc]
    """A call, as Pipecat sees it. Events: `on_client_connected`, `on_client_disconnected`, and `on_interrupted` with the
    milliseconds heard and said of what was cut off."""

    def __init__(self, call: Call, params: TransportParams | None = None) -> None:
        super().__init__()
        self.call = call
        given = params or TransportParams(audio_in_enabled=True, audio_out_enabled=True)
        ours = {
            "audio_in_sample_rate": call.sample_rate_hz,
            "audio_out_10ms_chunks": CHUNK_10MS,
            "audio_out_end_silence_secs": 0,
            "audio_out_auto_silence": False,
        }
        params = given.model_copy(update=ours)
        self._input = CallInput(params)
        self._output = CallOutput(call, params, self.tell_interrupted)
        for event in ("on_client_connected", "on_client_disconnected", "on_interrupted"):
            self._register_event_handler(event)

    def input(self) -> CallInput:
        return self._input

    def output(self) -> CallOutput:
        return self._output

    async def tell(self, event: str) -> None:
        await self._call_event_handler(event, self.call)

    async def tell_interrupted(self, heard_ms: float, said_ms: float) -> None:
        await self._call_event_handler("on_interrupted", heard_ms, said_ms)


class PipecatAgent(Agent):
    """Subclass it, and make a pipeline for each call. With `interrupt_on_speech = True` the engine interrupts, and tells the pipeline."""

    def pipeline(self, transport: CallTransport) -> Pipeline:
        raise NotImplementedError

    def worker(self, pipeline: Pipeline) -> PipelineWorker:
        rate_hz = self.call.sample_rate_hz
        params = PipelineParams(audio_in_sample_rate=rate_hz, audio_out_sample_rate=rate_hz)
        return PipelineWorker(pipeline, params=params, cancel_on_idle_timeout=False)

    async def on_start(self, call: Call) -> None:
        self.transport = CallTransport(call)
        self._worker = self.worker(self.pipeline(self.transport))
        self._running = asyncio.ensure_future(self._run())
        call.spawn(self._watch())
        started = asyncio.ensure_future(self.transport.input().is_started.wait())
        await asyncio.wait((started, self._running), return_when=asyncio.FIRST_COMPLETED)
        if self._running.done():
            started.cancel()
            self._running.result()
        else:
            await self.transport.tell("on_client_connected")

    async def _run(self) -> None:
        await WorkerRunner(handle_sigint=False, handle_sigterm=False).run(self._worker)
        if not self.call.has_ended:
            await self.call.drained()
            self.call.hang_up("the pipeline has ended")

    async def _watch(self) -> None:
        """What it raises is the agent's failure. When the call is over it is told so, and ends by itself."""
        await asyncio.shield(self._running)

    async def on_audio(self, frame: CallFrame) -> None:
        audio = InputAudioRawFrame(audio=frame.pcm.tobytes(), sample_rate=self.call.sample_rate_hz, num_channels=1)
        await self.transport.input().push_audio_frame(audio)

    async def on_dtmf(self, key: str) -> None:
        with contextlib.suppress(ValueError):  # Pipecat has no A to D
            await self.transport.input().push_frame(InputDTMFFrame(button=KeypadEntry(key)))

    async def on_interrupted(self, utterance: Utterance) -> None:
        """The engine was first: the pipeline has not asked for it."""
        output = self.transport.output()
        if output._speech is utterance:
            output._speech = None
            await self.transport.tell_interrupted(utterance.heard_ms, utterance.duration_ms)
            await self.transport.input().broadcast_interruption()

    async def on_end(self, cause: str) -> None:
        await self.transport.tell("on_client_disconnected")
        await self._worker.cancel()
        await asyncio.wait((self._running,), timeout=STOP_S)
