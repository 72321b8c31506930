"""Agents that see what happens to them, and write it where a test looks: `reports`/CALLER.json, .wav and .frames."""

import json
import os
import pathlib
import struct
import time
import wave

import numpy as np

from ai_bridge import Agent, Call, Frame

PITCH_HZ, AMPLITUDE = 1_000, 8_000


class Slow(Agent):
    """So long in the making that a caller may hang up while it rings."""

    def __init__(self) -> None:
        time.sleep(0.8)


class Tone(Agent):
    """Says 1,000 Hz for as long as the call lasts, and records what it hears."""

    def on_start(self, call: Call) -> None:
        folder = pathlib.Path(call.arguments["reports"])
        self.report = folder / f"{call.caller}.json"
        self.keys = ""
        self.recording = wave.open(str(folder / f"{call.caller}.wav"), "wb")  # noqa: SIM115  (closed in on_end)
        self.recording.setparams((1, 2, call.sample_rate_hz, 0, "NONE", ""))
        seconds = np.arange(60 * call.sample_rate_hz) / call.sample_rate_hz
        call.say((AMPLITUDE * np.sin(2 * np.pi * PITCH_HZ * seconds)).astype(np.int16))

    def on_audio(self, frame: Frame) -> None:
        self.recording.writeframesraw(frame.pcm.tobytes())

    def on_dtmf(self, key: str) -> None:
        self.keys += key

    def on_end(self, cause: str) -> None:
        self.recording.close()
        fresh = self.report.with_suffix(".new")
        fresh.write_text(json.dumps({"keys": self.keys, "cause": cause}))
        fresh.rename(self.report)


class Facts(Agent):
    """Writes down what it is told of its call."""

    def on_start(self, call: Call) -> None:
        self.report = pathlib.Path(call.arguments["reports"]) / f"{call.headers.get('X-Report', call.caller)}.json"
        self.keys = ""

    def on_dtmf(self, key: str) -> None:
        self.keys += key

    def on_end(self, cause: str) -> None:
        call = self.call
        headers = {name: call.headers.get(name) for name in call.arguments["wanted"].split()}
        facts = {"caller": call.caller, "callee": call.callee, "headers": headers, "keys": self.keys}
        fresh = self.report.with_suffix(".new")
        fresh.write_text(json.dumps(facts))
        fresh.rename(self.report)


class Hungry(Agent):
    """Echoes; once 1 is pressed it takes more and more memory. It is gentle when its calls come back."""

    def on_start(self, call: Call) -> None:
        self.speech, self.eaten, self.is_hungry = call.stream(), list[bytes](), False

    def on_audio(self, frame: Frame) -> None:
        self.speech.write_nowait(frame.pcm)
        if self.is_hungry:
            self.eaten.append(os.urandom(16 << 20))

    def on_dtmf(self, key: str) -> None:
        self.is_hungry = True


RECORD = struct.Struct("<?qqqi")  # resumed, position, captured_ns, when it was seen, lost


class Witness(Agent):
    """Echoes, and writes each frame down at once: this process may be killed at any moment."""

    def on_start(self, call: Call) -> None:
        self.speech = call.stream()
        self.frames = (pathlib.Path(call.arguments["reports"]) / f"{call.caller}.frames").open("ab", buffering=0)

    def on_audio(self, frame: Frame) -> None:
        self.frames.write(RECORD.pack(self.call.resumed, frame.position, frame.captured_ns, time.monotonic_ns(), frame.lost))
        self.speech.write_nowait(frame.pcm)

    def on_end(self, cause: str) -> None:
        self.frames.close()


class Blocker(Agent):
    """Holds up its process for a second when a key is pressed."""

    def on_dtmf(self, key: str) -> None:
        self.call.note("blocking", key)
        time.sleep(1.0)


class Early(Agent):
    """Says 1,000 Hz before the call is answered, and answers when it has heard half a second of the caller."""

    def on_start(self, call: Call) -> None:
        assert call.is_early
        self.heard = 0
        seconds = np.arange(10 * call.sample_rate_hz) / call.sample_rate_hz
        call.say((AMPLITUDE * np.sin(2 * np.pi * PITCH_HZ * seconds)).astype(np.int16))

    def on_audio(self, frame: Frame) -> None:
        self.heard += 1
        if self.heard == 25:
            self.call.answer()


class Crash(Agent):
    """Takes its process down the first time that it hears something, as native code may."""

    def on_audio(self, frame: Frame) -> None:
        os.abort()


class Mirror(Agent):
    """Echoes what is said and what is pressed."""

    def on_start(self, call: Call) -> None:
        self.speech = call.stream()

    def on_audio(self, frame: Frame) -> None:
        self.speech.write_nowait(frame.pcm)

    def on_dtmf(self, key: str) -> None:
        self.call.press(key)
        self.speech = self.call.stream()


class SlowMirror(Mirror):
    """Rings for a while first."""

    def __init__(self) -> None:
        time.sleep(1.5)
