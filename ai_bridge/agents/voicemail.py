"""Takes a message: a greeting, a beep, and what the caller says goes into a WAV file with a JSON file beside it.

A route's arguments: `directory` (needed), `greeting` (a text, or the path of a WAV file), `silence_seconds`, `longest_seconds`,
`shortest_seconds`. A key during the greeting leads to the beep at once; "#", silence, or hanging up ends the message. `bellframe voicemail
DIRECTORY` lists the messages; whoever watches the call, a webhook too, is told by a note of the kind "message".
"""

import asyncio
import contextlib
import json
import os
import pathlib
import time
import wave

import msgspec
import numpy as np

from ai_bridge.agent import Agent
from ai_bridge.agents.spoken import synthesize
from ai_bridge.agents.wav import read_wav
from ai_bridge.arguments import Arguments, read
from ai_bridge.call import Call
from ai_bridge.frame import Frame, Pcm
from ai_bridge.offline_speech import SpeechFailed
from control_plane.errors import ConfigurationError
from control_plane.voicemail import Message

GREETING = "Please leave a message after the tone. Press hash when you are done."
AGAIN = "Sorry, I was away for a moment. Please go on after the tone."
THANKS, NOTHING = "Thank you. Goodbye.", "I did not hear anything. Goodbye."
BEEP_HZ, BEEP_MS, BEEP_PEAK = 1_000, 400, 8_000
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
CANNOT_SPEAK = "the voice cannot speak: install the extra `agent`, or give a WAV file as greeting"


class Settings(Arguments, frozen=True):
    LIMITS = (("silence_seconds", 1, 60), ("longest_seconds", 5, 3600), ("shortest_seconds", 0, 60))

    directory: str = ""
    """Where messages go: of this agent only, for others' voices are in it."""
    greeting: str = GREETING
    silence_seconds: float = 5.0
    """So long a silence ends the message. Who says nothing at all gets twice as long."""
    longest_seconds: float = 180.0
    shortest_seconds: float = 1.0
    """A message with less speech than this is not kept: somebody hung up."""


def beep(rate_hz: int) -> Pcm:
    seconds = np.arange(rate_hz * BEEP_MS // 1000) / rate_hz
    return np.asarray(BEEP_PEAK * np.sin(2 * np.pi * BEEP_HZ * seconds), np.int16)


class Recording:
    """A message under way. What is in the file is a good WAV file at any time: a process that dies leaves what was said."""

    def __init__(self, path: pathlib.Path, rate_hz: int) -> None:
        self.path, self.rate_hz = path, rate_hz
        self.samples = self.spoken_samples = self.speech_ends = 0
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE_FILE)
        self._file = os.fdopen(descriptor, "wb")
        self._wave = wave.open(self._file, "wb")  # noqa: SIM115  (closed in close)
        self._wave.setparams((1, 2, rate_hz, 0, "NONE", ""))

    def add(self, frame: Frame) -> None:
        self._wave.writeframes(frame.pcm.astype("<i2").tobytes())
        self.samples += frame.pcm.size
        if frame.is_speech and not frame.is_echo:
            self.spoken_samples += frame.pcm.size
            self.speech_ends = self.samples

    @property
    def silent_s(self) -> float:
        return (self.samples - self.speech_ends) / self.rate_hz

    def close(self) -> None:
        self._wave.close()
        self._file.close()


class Voicemail(Agent):
    def __init__(self) -> None:
        self._settings = Settings()
        self._recording: Recording | None = None
        self._greeting: asyncio.Task[object] | None = None
        self._is_over = False

    def on_start(self, call: Call) -> None:
        self._settings, _ = read(Settings, call.arguments)
        folder = pathlib.Path(self._settings.directory)
        if not self._settings.directory:
            raise ConfigurationError('voicemail: the route\'s arguments have no directory: arguments = { directory = "/var/lib/..." }')
        try:
            folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        except OSError as failure:
            raise ConfigurationError(f"voicemail: {folder}: {failure.strerror}. Name a folder that this user may write to") from failure
        self._greeting = call.spawn(self._greet())

    async def _greet(self) -> None:
        text = AGAIN if self.call.resumed else self._settings.greeting
        if text.endswith(".wav"):
            pcm, rate_hz = read_wav(text)
        else:
            pcm, rate_hz = await self._speech(text)
        await self.call.say(pcm, rate_hz)
        await self._beep()

    async def _beep(self) -> None:
        self._greeting = None
        await self.call.say(beep(self.call.line_rate_hz), self.call.line_rate_hz)
        if self._is_over:
            return
        began = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        path = pathlib.Path(self._settings.directory) / f"{began}-{self.call.call_id}.wav"
        try:
            self._recording = Recording(path, self.call.sample_rate_hz)
        except OSError as failure:
            raise ConfigurationError(f"voicemail: {path}: {failure.strerror}. Name a folder that this user may write to") from failure

    def on_dtmf(self, key: str) -> None:
        if self._greeting is not None:
            self._greeting.cancel()
            self.call.new_turn()
            self.call.spawn(self._beep())
        elif key == "#":
            self._finish("the caller pressed #")

    def on_audio(self, frame: Frame) -> None:
        recording, settings = self._recording, self._settings
        if recording is None:
            return
        recording.add(frame)
        patience_s = settings.silence_seconds * (1 if recording.spoken_samples else 2)
        if recording.silent_s >= patience_s:
            self._finish("silence")
        elif recording.samples >= settings.longest_seconds * recording.rate_hz:
            self._finish("it became too long")

    def _finish(self, why: str) -> None:
        if not self._is_over:
            kept = self._keep(why)
            self.call.spawn(self._say_goodbye(THANKS if kept else NOTHING))

    async def _say_goodbye(self, text: str) -> None:
        with contextlib.suppress(ConfigurationError):  # the message is safe: a voice that is missing does not fail the call
            await self.call.say(*await self._speech(text))
        self.call.hang_up("the message was taken")

    async def _speech(self, text: str) -> tuple[Pcm, int]:
        try:
            return await synthesize(text)
        except SpeechFailed as failure:
            raise ConfigurationError(f"voicemail: {CANNOT_SPEAK} ({failure})") from failure

    def _keep(self, why: str) -> bool:
        """Close what was recorded; False: it was too short, and is gone."""
        self._is_over = True
        recording, self._recording = self._recording, None
        if recording is None:
            return False
        recording.close()
        if recording.spoken_samples < self._settings.shortest_seconds * recording.rate_hz:
            recording.path.unlink(missing_ok=True)
            return False
        call, seconds = self.call, recording.samples / recording.rate_hz
        message = Message(recording.path.name, call.call_id, call.caller, call.callee, int(time.time()), round(seconds, 2), why)
        beside = recording.path.with_suffix(".json")
        descriptor = os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, PRIVATE_FILE)
        with os.fdopen(descriptor, "w") as file:
            json.dump(msgspec.to_builtins(message), file)
        call.note("message", str(recording.path), seconds=seconds)
        return True

    def on_end(self, cause: str) -> None:
        if not self._is_over:
            self._keep(cause)


