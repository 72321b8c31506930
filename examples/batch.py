"""One agent for all calls of a process: loudness of everyone at once, without a Python loop over calls.

    bellframe up --agent batch:Loudness

This is the shape for voice activity, recognition, or any other model that likes batches.
"""

import numpy as np
import numpy.typing as npt

from ai_bridge import BatchAgent, Call


class Loudness(BatchAgent):
    def __init__(self) -> None:
        self.rms = np.zeros(4096)
        self.was_loud = np.zeros(4096, np.bool_)

    def on_start(self, call: Call) -> None:
        self.rms[call.index], self.was_loud[call.index] = 0, False  # the place may have been another call's

    def on_batch(self, indexes: npt.NDArray[np.int64], frames: npt.NDArray[np.void], samples: npt.NDArray[np.int16]) -> None:
        energy = np.einsum("ij,ij->i", samples, samples, dtype=np.float64) / samples.shape[1]
        self.rms[indexes] = 0.8 * self.rms[indexes] + 0.2 * np.sqrt(energy)
        is_loud = self.rms[indexes] > 1_000
        for index in indexes[is_loud & ~self.was_loud[indexes]]:  # only the calls where something changed
            call = self.calls[index]
            if call is not None:
                call.note("loud", f"{self.rms[index]:.0f}")
        self.was_loud[indexes] = is_loud
        self.say_batch(indexes, samples // 2)  # everyone hears themselves, quieter
