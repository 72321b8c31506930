"""Agents that tests ask what they were told."""



from ai_bridge import Agent, Call, Frame, Utterance
from tests.ai_bridge.line import tone


class Diary(Agent):
    """Writes down what happens. `of` finds the agent of a call."""

    of: dict[str, "Diary"] = {}

    def on_start(self, call: Call) -> None:
        self.events: list[object] = ["start"]
        self.frames: list[Frame] = []
        Diary.of[call.call_id] = self

    def on_answered(self) -> None:
        self.events.append("answered")

    async def on_audio(self, frame: Frame) -> None:
        self.events.append("audio")
        self.frames.append(frame)

    async def on_dtmf(self, key: str) -> None:
        self.events.append(key)

    def on_speech_started(self) -> None:
        self.events.append("speech")

    def on_speech_stopped(self) -> None:
        self.events.append("silence")

    def on_interrupted(self, utterance: Utterance) -> None:
        self.events.append(("interrupted", utterance.heard_ms))

    def on_mark(self, name: str) -> None:
        self.events.append(("mark", name))

    def on_drained(self) -> None:
        self.events.append("drained")

    def on_hold(self, is_held: bool) -> None:
        self.events.append(("hold", is_held, self.call.is_held))

    def on_room(self, room: str) -> None:
        self.events.append(("room", room))

    def on_end(self, cause: str) -> None:
        self.events.append(("end", cause))


class Host(Agent):
    def on_start(self, call: Call) -> None:
        self.log: list[object] = []
        hosts[call.call_id] = self

    async def on_dtmf(self, key: str) -> None:
        self.log.append(await self.call.say(tone(800)))

    def on_mark(self, name: str) -> None:
        self.log.append(name)

    def on_drained(self) -> None:
        self.log.append("drained")

    def on_interrupted(self, utterance: Utterance) -> None:
        self.log.append(utterance)


hosts: dict[str, Host] = {}
