"""An agent that can be interrupted, and knows to the millisecond what the caller heard.

    bellframe up --agent barge_in:Storyteller
"""

import numpy as np

from ai_bridge import Agent, Call, Utterance


def tones(rate_hz: int, *pitches_hz: float) -> np.ndarray:
    """A second each; put your speech synthesis here."""
    seconds = np.arange(rate_hz) / rate_hz
    return np.concatenate([(6_000 * np.sin(2 * np.pi * hz * seconds)).astype(np.int16) for hz in pitches_hz])


class Storyteller(Agent):
    interrupt_on_speech = True  # as soon as the caller speaks, the rest is dropped: at the next packet, by the engine

    async def on_start(self, call: Call) -> None:
        story = call.say(tones(24_000, 262, 330, 392, 523), rate_hz=24_000)
        heard_ms = await story
        call.note("story", "interrupted" if story.was_interrupted else "told", heard_ms=heard_ms)

    async def on_interrupted(self, utterance: Utterance) -> None:
        # This belongs to the new turn: it can neither be cut with the story nor mixed with it.
        await self.call.say(tones(24_000, 440), rate_hz=24_000)
        self.call.hang_up("the story was interrupted")
