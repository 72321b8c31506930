"""What the front counts of its calls, for the metrics. A few additions for each call that ends, nothing for those that are up."""

import bisect
from collections import Counter
from collections.abc import Iterable, Mapping

from control_plane.messages import BOUNDS, CallFacts, Counted, Distribution, Figures, TenantFigures

LONGEST_TURN_MS = 3_600_000
Key = tuple[str, str, str]
"""Direction, trunk, what."""


class Tally:
    """One distribution."""

    __slots__ = ("counts", "sum")

    def __init__(self, name: str) -> None:
        self.counts = [0] * (len(BOUNDS[name]) + 1)
        self.sum = 0.0


class FrontFigures:
    def __init__(self) -> None:
        self.setups: Counter[Key] = Counter()
        self.outcomes: Counter[Key] = Counter()
        self.tallies: dict[Key, Tally] = {}
        self.of_tenants: dict[str, Counter[str]] = {}
        """Outcomes, by tenant."""

    def refuse(self, trunk: str, status: int) -> None:
        """A call that came and was turned away at the door."""
        self.setups["inbound", trunk, str(status)] += 1

    def take(self, facts: CallFacts) -> None:
        """A call that has ended."""
        direction, trunk = facts.direction, facts.trunk
        self.setups[direction, trunk, str(facts.status)] += 1
        self.outcomes[direction, trunk, facts.outcome] += 1
        if facts.tenant:
            self.of_tenants.setdefault(facts.tenant, Counter())[facts.outcome] += 1
        if facts.rang_at and direction == "outbound":
            self._count(facts, "post_dial_seconds", facts.rang_at - facts.started_at)
        if facts.answered_at:
            self._count(facts, "setup_seconds", facts.answered_at - facts.started_at)
            self._count(facts, "duration_seconds", facts.ended_at - facts.answered_at)
        if facts.counters.get("mos_mean_x100"):
            self._count(facts, "mos", facts.counters["mos_mean_x100"] / 100)
        received, lost = facts.counters.get("packets_received", 0), facts.counters.get("lost", 0)
        if received:
            self._count(facts, "loss_ratio", lost / (received + lost))
            self._count(facts, "jitter_seconds", facts.counters.get("jitter_us", 0) / 1e6)

    def take_turn(self, direction: str, trunk: str, parts: Mapping[str, float]) -> None:
        """A turn that was answered: the `values` of a note "turn", in milliseconds."""
        for name, value_ms in parts.items():
            figure = f"turn_{name.removesuffix('ms').removeprefix('total_')}seconds"
            if figure in BOUNDS and 0 <= value_ms < LONGEST_TURN_MS:  # agents write notes as they like
                self._add(direction, trunk, figure, value_ms / 1000)

    def _count(self, facts: CallFacts, name: str, value: float) -> None:
        self._add(facts.direction, facts.trunk, name, value)

    def _add(self, direction: str, trunk: str, name: str, value: float) -> None:
        key = direction, trunk, name
        tally = self.tallies.get(key)
        if tally is None:
            tally = self.tallies[key] = Tally(name)
        tally.counts[bisect.bisect_left(BOUNDS[name], value)] += 1
        tally.sum += value

    def show(self, live: Iterable[tuple[str, str, str]], live_of_tenants: Mapping[str, int]) -> Figures:
        """`live`: direction, trunk and state of the calls that are up. `live_of_tenants`: how many of each, all tenants named."""
        tenants = tuple(TenantFigures(name, count, dict(self.of_tenants.get(name, {}))) for name, count in live_of_tenants.items())
        distributions = tuple(Distribution(*key, tuple(tally.counts), tally.sum) for key, tally in self.tallies.items())
        return Figures(_counted(Counter(live)), _counted(self.setups), _counted(self.outcomes), distributions, tenants)


def _counted(counter: Counter[Key]) -> tuple[Counted, ...]:
    return tuple(Counted(*key, count) for key, count in counter.items())
