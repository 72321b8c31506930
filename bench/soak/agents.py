"""The soak's agent: says back what it hears, and presses back the keys that it gets."""

from ai_bridge.agents.echo import Echo


class Mirror(Echo):
    def on_dtmf(self, key: str) -> None:
        self.call.press(key)
