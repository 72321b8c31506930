"""A Pipecat pipeline in Bellframe's own process: on the rings, without a socket between. No model, no network.

    pip install 'bellframe[pipecat]'
    bellframe up --agent pipecat_bot:Bot

Echoes what it hears. Keys: 1, it hums for 20 s instead; 2, it interrupts itself with another tone; 3, it presses 5 and ends the call.
"""

import numpy as np
import numpy.typing as npt
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import EndWorkerFrame, Frame, InputAudioRawFrame, InputDTMFFrame, OutputAudioRawFrame, OutputDTMFFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from ai_bridge.frameworks.pipecat import CallTransport, PipecatAgent

RATE_HZ = 16_000


def tone(pitch_hz: float, seconds: float) -> npt.NDArray[np.int16]:
    return np.asarray(8_000 * np.sin(2 * np.pi * pitch_hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ), np.int16)


HUM, BEEP = tone(200, 20), tone(1_000, 0.2)


class Talker(FrameProcessor):  # type: ignore[misc]
    """What stands here for recognition, model and voice."""

    def __init__(self) -> None:
        super().__init__()
        self.is_echo = True

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            if self.is_echo:
                await self.say(frame.audio)
        elif isinstance(frame, InputDTMFFrame):
            self.is_echo = False
            if frame.button is KeypadEntry.ONE:
                await self.say(HUM.tobytes())
            elif frame.button is KeypadEntry.TWO:
                await self.broadcast_interruption()
                await self.say(BEEP.tobytes())
            elif frame.button is KeypadEntry.THREE:
                await self.push_frame(OutputDTMFFrame(button=KeypadEntry.FIVE))
                await self.push_frame(EndWorkerFrame())
        else:
            await self.push_frame(frame, direction)

    async def say(self, audio: bytes) -> None:
        await self.push_frame(OutputAudioRawFrame(audio=audio, sample_rate=RATE_HZ, num_channels=1))


class Bot(PipecatAgent):
    sample_rate_hz = RATE_HZ

    def pipeline(self, transport: CallTransport) -> Pipeline:
        @transport.event_handler("on_interrupted")  # type: ignore[untyped-decorator]
        async def on_interrupted(_: object, heard_ms: float, said_ms: float) -> None:
            self.call.note("interrupted", "", heard_ms=heard_ms, said_ms=said_ms)

        return Pipeline([transport.input(), Talker(), transport.output()])
