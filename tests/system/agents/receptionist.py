"""An agent that connects its caller to a human, says what happens, and takes the caller back."""

import json
import pathlib

import numpy as np

from ai_bridge import Agent, Call

PITCH_HZ, AMPLITUDE = 1_000, 8_000


class Receptionist(Agent):
    """Connects to the argument `to` at once; once the caller is back, says 1,000 Hz."""

    def on_start(self, call: Call) -> None:
        self.report = pathlib.Path(call.arguments["reports"]) / f"{call.caller}.json"
        self.seen: list[object] = []
        call.spawn(self.connect(call))

    async def connect(self, call: Call) -> None:
        connection = await call.connect(call.arguments["to"], back=True)
        self.note("connected" if connection else f"not connected: {connection.status}")

    def on_room(self, room: str) -> None:
        self.note([bool(room), self.call.role, self.call.agent_role])
        if not room:
            seconds = np.arange(20 * self.call.sample_rate_hz) / self.call.sample_rate_hz
            self.call.say((AMPLITUDE * np.sin(2 * np.pi * PITCH_HZ * seconds)).astype(np.int16))

    def on_dtmf(self, key: str) -> None:
        self.note(key)

    def note(self, what: object) -> None:
        self.seen.append(what)
        fresh = self.report.with_suffix(".new")
        fresh.write_text(json.dumps(self.seen))
        fresh.rename(self.report)
