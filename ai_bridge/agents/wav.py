"""Plays a WAV file, records what it hears into another, and hangs up when it has played everything.

Arguments: `play` and `record`, paths, both optional; `linger_ms`, how long to go on listening after the last sample
was played, 500 unless given. Without `play` it records until the far end hangs up.
"""

import asyncio
import wave

import numpy as np

from ai_bridge.agent import Agent
from ai_bridge.call import Call
from ai_bridge.frame import Frame, Pcm
from control_plane.errors import ConfigurationError

LONGEST_GAP_S = 60
"""A larger jump of the caller's sample count is not time that passed, but a stream that began anew."""


def read_wav(path: str) -> tuple[Pcm, int]:
    """The samples in one channel, and their rate. Raises ConfigurationError for what is not 16-bit PCM."""
    try:
        with wave.open(path, "rb") as file:
            channels, width, rate_hz = file.getnchannels(), file.getsampwidth(), file.getframerate()
            content = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as failure:
        raise ConfigurationError(f"{path}: cannot be played: {failure}. Give a WAV file with 16-bit PCM") from failure
    if width != 2:
        raise ConfigurationError(f"{path}: has {8 * width}-bit samples. Give a WAV file with 16-bit PCM")
    pcm = np.frombuffer(content, "<i2")
    return (pcm.reshape(-1, channels).mean(axis=1).astype(np.int16) if channels > 1 else pcm), rate_hz


class Wav(Agent):
    def __init__(self) -> None:
        self._record: wave.Wave_write | None = None
        self._next: int | None = None

    def on_start(self, call: Call) -> None:
        if path := call.arguments.get("record", ""):
            try:
                self._record = wave.open(path, "wb")  # noqa: SIM115  (closed in on_end)
            except OSError as failure:
                raise ConfigurationError(
                    f"{path}: cannot be written: {failure}. Name a file in a folder that this user may write"
                ) from failure
            self._record.setparams((1, 2, call.sample_rate_hz, 0, "NONE", ""))
        if path := call.arguments.get("play", ""):
            pcm, rate_hz = read_wav(path)
            if not call.resumed:
                call.say(pcm, rate_hz)
            call.spawn(self._hang_up_when_played(float(call.arguments.get("linger_ms", 500))))

    async def _hang_up_when_played(self, linger_ms: float) -> None:
        await self.call.drained()
        await asyncio.sleep(linger_ms / 1000)
        self.call.hang_up("everything was played")

    def on_audio(self, frame: Frame) -> None:
        if self._record is None:
            return
        missing = frame.position - self._next if self._next is not None else 0
        if 0 < missing <= LONGEST_GAP_S * self.call.sample_rate_hz:
            self._record.writeframesraw(bytes(2 * missing))
        self._record.writeframesraw(frame.pcm.astype("<i2").tobytes())
        self._next = frame.position + frame.pcm.size

    def on_end(self, cause: str) -> None:
        if self._record is not None:
            self._record.close()
