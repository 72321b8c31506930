"""A receptionist: key 1 rings a human, and takes the caller back when he hangs up. While they talk, * is a word for us.

    bellframe up --agent receptionist:Receptionist
"""

import numpy as np

from ai_bridge import Agent, Call

DESK = "sip:desk@127.0.0.1:5070"


class Receptionist(Agent):
    def on_start(self, call: Call) -> None:
        call.say(self.beeps(1))

    def on_dtmf(self, key: str) -> None:
        if key == "1" and not self.call.room:
            self.call.spawn(self.ring())
        elif key == "*":
            self.call.spawn(self.call.leave())  # from the human, or from waiting for him, back to us

    async def ring(self) -> None:
        human = await self.call.connect(self.call.arguments.get("desk", DESK), back=True)  # with music meanwhile
        if not human:
            self.call.note("connect", f"{human.status} {human.why}")
            await self.call.say(self.beeps(3, pitch_hz=300))

    def on_room(self, room: str) -> None:
        if not room:  # the caller is ours again
            self.call.say(self.beeps(2))

    def beeps(self, count: int, pitch_hz: float = 800) -> np.ndarray:
        rate_hz = self.call.sample_rate_hz
        beep = 8_000 * np.sin(2 * np.pi * pitch_hz * np.arange(rate_hz // 5) / rate_hz)
        return np.tile(np.concatenate((beep, np.zeros(rate_hz // 10))), count).astype(np.int16)
