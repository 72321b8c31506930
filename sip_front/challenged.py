"""Strangers whose call was asked for a password, and who did not come back with one: a trunk that no allow list has looks like that."""

SECOND = 1_000_000_000
PATIENCE_NS = 5 * SECOND  # a phone answers a challenge within a round trip; people who are asked for a password see it in their phone
MAX_CHALLENGED = 256  # hosts that are remembered; of a scan the first ones are enough


class Challenged:
    def __init__(self) -> None:
        self.asked: dict[str, tuple[int, str]] = {}
        """By host: when, and which number it called."""

    def ask(self, host: str, number: str, now_ns: int) -> None:
        if host not in self.asked and len(self.asked) < MAX_CHALLENGED:
            self.asked[host] = now_ns, number

    def hear(self, host: str) -> None:
        """It has given a password, right or wrong."""
        self.asked.pop(host, None)

    def take_silent(self, now_ns: int) -> list[tuple[str, str]]:
        """Hosts and numbers of those who had time enough. Each is told once."""
        silent = [(host, number) for host, (at_ns, number) in self.asked.items() if now_ns - at_ns >= PATIENCE_NS]
        for host, _ in silent:
            del self.asked[host]
        return silent
