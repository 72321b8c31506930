"""What `bellframe certify` calls with: beeps, and tells whoever watches the call how loud the far end is and which keys it presses."""

import numpy as np

from ai_bridge.agent import Agent
from ai_bridge.call import Call
from ai_bridge.frame import Frame

PITCH_HZ, AMPLITUDE, BEEP_MS, PAUSE_MS, BEEPS = 1_000, 6_000, 400, 600, 7_200
TELL_FRAMES = 25
SILENCE_DBOV = -127


class Probe(Agent):
    def on_start(self, call: Call) -> None:
        self.loudest_dbov, self.frames = SILENCE_DBOV, 0
        call.spawn(self._beep())

    async def _beep(self) -> None:
        rate_hz = self.call.sample_rate_hz
        times = np.arange(rate_hz * BEEP_MS // 1000) / rate_hz
        beep = np.zeros(rate_hz * (BEEP_MS + PAUSE_MS) // 1000, np.int16)
        beep[: times.size] = AMPLITUDE * np.sin(2 * np.pi * PITCH_HZ * times)
        for _ in range(BEEPS):
            await self.call.say(beep)

    def on_audio(self, frame: Frame) -> None:
        self.loudest_dbov, self.frames = max(self.loudest_dbov, frame.level_dbov), self.frames + 1
        if self.frames % TELL_FRAMES == 0:
            self.call.note("heard", f"{self.loudest_dbov} dBov", level_dbov=self.loudest_dbov)
            self.loudest_dbov = SILENCE_DBOV

    def on_dtmf(self, key: str) -> None:
        self.call.note("key", key)
