"""An agent that lowers its voice when the caller makes a sound, stops if he goes on, and knows which words he heard.

    bellframe up --agent patient:Patient
"""

import numpy as np

from ai_bridge import Agent, Call, Interruption, Utterance

WORDS = "Our office is open from nine to five on weekdays."


def tones(seconds: float, pitch_hz: float) -> np.ndarray:
    """Put your speech synthesis here."""
    at = np.arange(int(seconds * 16_000)) / 16_000
    return (6_000 * np.sin(2 * np.pi * pitch_hz * at)).astype(np.int16)


class Patient(Agent):
    interruption = Interruption("duck", duck_db=15, decide_ms=600)  # "mhm" is over by then, a question is not
    echo_guard = True  # a speakerphone does not make it interrupt itself
    dead_air_ms = 8_000

    def on_start(self, call: Call) -> None:
        call.say(tones(3.0, 330), rate_hz=16_000, text=WORDS)

    def on_interrupted(self, utterance: Utterance) -> None:
        self.call.note("heard", utterance.heard_text, of_ms=utterance.duration_ms)  # what your model should believe it has said

    def on_speech_stopped(self) -> None:
        if not self.call.is_speaking:  # the caller has asked something: answer it here
            self.call.say(tones(0.5, 440), rate_hz=16_000)

    def on_dead_air(self) -> None:
        self.call.hang_up("nobody has said anything for eight seconds")
