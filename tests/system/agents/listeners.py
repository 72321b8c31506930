"""Agents that tell what they took for the caller's voice."""

from ai_bridge import Agent


class Discerning(Agent):
    """Knows voices from noise, and says nothing."""

    voice_activity = "silero"

    def on_speech_started(self) -> None:
        self.call.note("voice", "", at=self.call.speech_started_at)


class Energetic(Discerning):
    """Takes whatever is loud for a voice."""

    voice_activity = "energy"
