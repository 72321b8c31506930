"""An agent in ten lines: says back what it hears, one second later.

    bellframe up --agent ten_lines:Parrot
"""

from ai_bridge import Agent, Call, Frame


class Parrot(Agent):
    def on_start(self, call: Call) -> None:
        call.say(bytes(2 * call.sample_rate_hz))  # a second of silence: what follows is that late
        self.speech = call.stream()

    def on_audio(self, frame: Frame) -> None:
        self.speech.write_nowait(frame.pcm)

    def on_hold(self, is_held: bool) -> None:
        self.call.clear() if is_held else self.on_start(self.call)  # on hold nothing is played: what waits would be stale
