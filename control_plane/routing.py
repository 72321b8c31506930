"""Who takes which call: the configuration's routes, the first that fits. No clock: the time is part of what is asked."""

import fnmatch
import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from control_plane.hours import Hours
from control_plane.logs import clean
from control_plane.route_config import Route


class HeaderLines(Protocol):
    """Of an INVITE: names in any case."""

    def get(self, name: str, /) -> str | None: ...


class NoHeaders:
    def get(self, _name: str, /) -> str | None:
        return None


class Asked(NamedTuple):
    """What routes look at."""

    number: str
    """The user part of what is called."""
    caller: str = ""
    trunk: str = ""
    """Where it comes from; empty: no trunk in particular."""
    tenant: str = ""
    """The trunk's."""
    headers: HeaderLines = NoHeaders()
    at: float = 0.0
    """Seconds since the epoch."""


def pattern(text: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(text))


class Row:
    """A route, ready to be looked at."""

    def __init__(self, position: int, route: Route) -> None:
        self.position, self.route = position, route
        self.to, self.caller, self.trunk = pattern(route.to), pattern(route.caller), pattern(route.trunk)
        self.headers = [(name, text, pattern(text)) for name, text in route.headers.items()]
        self.hours = Hours(route.hours, route.time_zone, self.name) if route.hours else None

    @property
    def name(self) -> str:
        return f"routes[{self.position}]"

    def why_not(self, asked: Asked) -> str:
        """The first condition that the call does not meet; empty: it fits."""
        route = self.route
        if not self.to.fullmatch(asked.number):
            return f'to is "{route.to}"'
        if not self.caller.fullmatch(asked.caller):
            return f'caller is "{route.caller}"'
        if not self.trunk.fullmatch(asked.trunk):
            return f'trunk is "{route.trunk}"'
        if route.tenant and asked.tenant not in ("", route.tenant):
            return f'tenant is "{route.tenant}", and the trunk belongs to "{asked.tenant}"'
        for name, text, wanted in self.headers:
            value = asked.headers.get(name)
            if value is None or not wanted.fullmatch(value.strip()):
                return f'the header {name} should be "{text}", and is {"absent" if value is None else f"{clean(value, 80)!r}"}'
        if self.hours and not self.hours.hold(asked.at):
            return f"hours are {', '.join(route.hours)}, and it is {self.hours.local(asked.at)} ({route.time_zone})"
        return ""


class Routing:
    def __init__(self, routes: tuple[Route, ...]) -> None:
        """Raises ConfigurationError."""
        self.rows = [Row(position, route) for position, route in enumerate(routes)]

    def fitting(self, asked: Asked) -> Iterator[Row]:
        """In their order: the next one is for when nobody takes the call at the one before."""
        return (row for row in self.rows if not row.why_not(asked))

    def choose(self, asked: Asked) -> Row | None:
        """None: nobody is there, 404."""
        return next(self.fitting(asked), None)

    def why_none(self, asked: Asked) -> str:
        called = clean(asked.number, 80) or "a call without a number"
        if not self.rows:
            return f"404: {called} has no agent: the configuration has no [[routes]]"
        origin = f"from {clean(asked.caller, 80) or 'nobody'} over {f'trunk {asked.trunk}' if asked.trunk else 'no trunk'}"
        row = next(self.fitting(asked), None)
        if row is not None:
            return f"404: {called} is left to the webhook of {row.name}, which decides nothing; name an agent there, or a route after it"
        row = next((row for row in self.rows if row.to.fullmatch(asked.number)), None)
        if row is not None:
            why = f"{row.name} does not fit: {row.why_not(asked)}"
            return f"404: {called} has routes, but none for a call {origin}; {why}; change it, or add one with to alone"
        return f'404: {called} fits none of the {len(self.rows)} routes ({origin}); add one, or one with to = "*"'
