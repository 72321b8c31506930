"""A menu with keys: 1 and 2 choose, # hangs up. A key cuts off what is being said.

    bellframe up --agent keys:Keys
"""

import numpy as np

from ai_bridge import Agent, Call


class Keys(Agent):
    interrupt_on_key = True

    def on_start(self, call: Call) -> None:
        call.say(self.beeps(3))

    async def on_dtmf(self, key: str) -> None:
        self.call.note("key", key)
        if key in "12":
            self.call.say(self.beeps(int(key)))
        elif key == "#":
            await self.call.say(self.beeps(1, pitch_hz=300))  # returns when the caller has heard it
            self.call.hang_up("the caller chose to end")

    def beeps(self, count: int, pitch_hz: float = 800) -> np.ndarray:
        rate_hz = self.call.sample_rate_hz
        beep = 8_000 * np.sin(2 * np.pi * pitch_hz * np.arange(rate_hz // 5) / rate_hz)
        return np.tile(np.concatenate((beep, np.zeros(rate_hz // 10))), count).astype(np.int16)
