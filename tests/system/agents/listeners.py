"""Agents that tell what they took for the caller's voice."""

import numpy as np

from ai_bridge import Agent, Call, Interruption, Utterance
from ai_bridge.agents.wav import read_wav


class Discerning(Agent):
    """Knows voices from noise, and says nothing."""

    voice_activity = "silero"

    def on_speech_started(self) -> None:
        self.call.note("voice", "", at=self.call.speech_started_at)


class Energetic(Discerning):
    """Takes whatever is loud for a voice."""

    voice_activity = "energy"


class Speaker(Agent):
    """Says a file five times over, and tells when it is cut off."""

    interruption = Interruption(mode="flush")

    def on_start(self, call: Call) -> None:
        pcm, rate_hz = read_wav(call.arguments["say"])
        call.say(np.tile(pcm, 5), rate_hz)

    def on_interrupted(self, utterance: Utterance) -> None:
        self.call.note("cut off", "")
