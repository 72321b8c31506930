"""A Pipecat bot, as one is written for Twilio and the others: it runs in an environment of its own and knows nothing of us.

    python bot.py PORT

Echoes what it hears. Keys: 1, it speaks for long instead; 2, it is interrupted; 3, it ends the conversation.
"""

import asyncio
import math
import os
import struct
import sys

import uvicorn
from fastapi import FastAPI, WebSocket
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    EndWorkerFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    OutputAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.base_serializer import FrameSerializer
from pipecat.serializers.exotel import ExotelFrameSerializer
from pipecat.serializers.genesys import GenesysAudioHookSerializer
from pipecat.serializers.plivo import PlivoFrameSerializer
from pipecat.serializers.telnyx import TelnyxFrameSerializer
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.serializers.vonage import VonageFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner

PITCH_HZ, AMPLITUDE, RATE_HZ = 1_000, 8_000, 8_000
TALK_S = 20

app = FastAPI()


class Talker(FrameProcessor):
    """What the conversation is: no model, no network."""

    def __init__(self) -> None:
        super().__init__()
        self.is_echo = True

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            if self.is_echo:
                await self.push_frame(OutputAudioRawFrame(audio=frame.audio, sample_rate=frame.sample_rate, num_channels=1))
        elif isinstance(frame, InputDTMFFrame):
            self.is_echo = False
            if frame.button is KeypadEntry.ONE:
                await self.push_frame(OutputAudioRawFrame(audio=tone(), sample_rate=RATE_HZ, num_channels=1))
            elif frame.button is KeypadEntry.TWO:
                await self.broadcast_interruption()
            elif frame.button is KeypadEntry.THREE:
                await self.push_frame(EndWorkerFrame())
        else:
            await self.push_frame(frame, direction)


def tone() -> bytes:
    return b"".join(
        struct.pack("<h", round(AMPLITUDE * math.sin(2 * math.pi * PITCH_HZ * n / RATE_HZ))) for n in range(TALK_S * RATE_HZ)
    )


async def serializer_for(websocket: WebSocket) -> FrameSerializer:
    """Of whoever dialled, as Pipecat itself tells them apart."""
    provider, call = await parse_telephony_websocket(websocket)
    match provider:
        case "twilio":
            base_url = os.environ.get("TWILIO_BASE_URL")
            return TwilioFrameSerializer(
                call["stream_id"],
                call["call_id"],
                os.environ.get("TWILIO_ACCOUNT_SID"),
                os.environ.get("TWILIO_AUTH_TOKEN"),
                base_url=base_url,
                params=TwilioFrameSerializer.InputParams(auto_hang_up=base_url is not None),
            )
        case "telnyx":
            return TelnyxFrameSerializer(
                call["stream_id"], call["outbound_encoding"], "PCMU", params=TelnyxFrameSerializer.InputParams(auto_hang_up=False)
            )
        case "plivo":
            return PlivoFrameSerializer(call["stream_id"], params=PlivoFrameSerializer.InputParams(auto_hang_up=False))
        case "exotel":
            return ExotelFrameSerializer(call["stream_id"])
    raise ValueError(f"nobody that Pipecat knows: {provider}")


async def converse(websocket: WebSocket, serializer: FrameSerializer, rate_hz: int = RATE_HZ) -> None:
    params = FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, add_wav_header=False, serializer=serializer)
    transport = FastAPIWebsocketTransport(websocket=websocket, params=params)
    pipeline = Pipeline([transport.input(), Talker(), transport.output()])
    worker = PipelineWorker(pipeline, params=PipelineParams(audio_in_sample_rate=rate_hz, audio_out_sample_rate=rate_hz))

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(*_: object) -> None:
        await worker.cancel()

    await WorkerRunner(handle_sigint=False).run(worker)


@app.websocket("/ws")
async def telephony(websocket: WebSocket) -> None:
    await websocket.accept()
    await converse(websocket, await serializer_for(websocket))


@app.websocket("/vonage")
async def vonage(websocket: WebSocket) -> None:
    await websocket.accept()
    await converse(websocket, VonageFrameSerializer(VonageFrameSerializer.InputParams(vonage_sample_rate=16_000)), 16_000)


@app.websocket("/genesys")
async def genesys(websocket: WebSocket) -> None:
    await websocket.accept()
    await converse(websocket, GenesysAudioHookSerializer())


if __name__ == "__main__":
    asyncio.run(uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="info")).serve())
