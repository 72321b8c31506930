"""How long one call's answers took: what its agent noted turn by turn, kept as means for the call record."""

from collections.abc import Mapping

from sip_front.figures import LONGEST_TURN_MS

PARTS = ("detected_ms", "model_ms", "wire_ms", "total_ms")


class TurnLatency:
    __slots__ = ("_counts", "_sums", "answered", "longest_ms")

    def __init__(self) -> None:
        self.answered = 0
        self.longest_ms = 0.0
        self._sums = dict.fromkeys(PARTS, 0.0)
        self._counts = dict.fromkeys(PARTS, 0)

    def take(self, parts: Mapping[str, float]) -> None:
        """The `values` of a note "turn". Agents write notes as they like: what is no turn is passed over."""
        total_ms = parts.get("total_ms", -1.0)
        if not 0 <= total_ms < LONGEST_TURN_MS:
            return
        self.answered += 1
        self.longest_ms = max(self.longest_ms, total_ms)
        for name in PARTS:
            if 0 <= parts.get(name, -1.0) < LONGEST_TURN_MS:
                self._sums[name] += parts[name]
                self._counts[name] += 1

    def facts(self) -> dict[str, float]:
        """Empty: nothing was answered."""
        if not self.answered:
            return {}
        means = {name: round(self._sums[name] / count, 1) for name, count in self._counts.items() if count}
        return {"answered": self.answered, **means, "longest_ms": round(self.longest_ms, 1)}
