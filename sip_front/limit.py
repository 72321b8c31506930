"""How many calls at a time and a second somebody may have: a trunk, or a tenant."""

SECOND = 1_000_000_000


class Limit:
    """`name`: "trunk carrier", for people. `max_calls` and `per_second`: 0 is no limit. A token bucket that holds one second's worth."""

    def __init__(self, name: str, max_calls: int, per_second: float) -> None:
        self.name, self.max_calls, self.per_second = name, max_calls, per_second
        self.calls: set[str] = set()
        """Those that are up or being set up."""
        self.tokens, self.filled_ns = max(1.0, per_second), 0

    def why_full(self) -> str:
        """Why no call more, with the remedy; empty: there is room."""
        if self.max_calls and len(self.calls) >= self.max_calls:
            return f"503: {self.name} has {self.max_calls} calls up, its max_calls; raise it if more are meant"
        return ""

    def why_too_fast(self, now_ns: int) -> str:
        """Empty: it may come, and has taken its token."""
        if not self.per_second:
            return ""
        self.tokens = min(max(1.0, self.per_second), self.tokens + (now_ns - self.filled_ns) * self.per_second / SECOND)
        self.filled_ns = now_ns
        if self.tokens < 1.0:
            return f"503: {self.name} makes {self.per_second:g} calls a second, its max_calls_per_second; try again later, or raise it"
        self.tokens -= 1.0
        return ""
