"""Says what it hears, at once. Once a call each, and once for all calls together."""

import numpy as np
import numpy.typing as npt

from ai_bridge.agent import Agent, BatchAgent
from ai_bridge.call import Call
from ai_bridge.frame import Frame, Pcm
from ai_bridge.speech import SpeechStream


class Echo(Agent):
    speech: SpeechStream

    def on_start(self, call: Call) -> None:
        self.speech = call.stream()

    def on_audio(self, frame: Frame) -> None:
        self.speech.write_nowait(frame.pcm)  # says nothing once the stream is cut

    def on_hold(self, is_held: bool) -> None:
        """What would wait until we are taken back is stale by then."""
        if is_held:
            self.call.clear()
        else:
            self.speech = self.call.stream()


class EchoBatch(BatchAgent):
    gather_ms = 0.0

    def __init__(self) -> None:
        self.held: set[int] = set()

    def on_start(self, call: Call) -> None:
        self.held.discard(call.index)  # the place may have been another call's

    def on_hold(self, call: Call, is_held: bool) -> None:
        if is_held:
            call.clear()
            self.held.add(call.index)
        else:
            self.held.discard(call.index)

    def on_batch(self, indexes: npt.NDArray[np.int64], frames: npt.NDArray[np.void], samples: Pcm) -> None:
        if self.held:
            is_heard = np.isin(indexes, list(self.held), invert=True)
            indexes, samples = indexes[is_heard], samples[is_heard]
        self.say_batch(indexes, samples)
