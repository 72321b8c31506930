"""Which agent answers which call: the configuration's routes, the first that fits."""

import fnmatch
import re
from typing import NamedTuple

from control_plane.config import Route
from control_plane.logs import clean


class Chosen(NamedTuple):
    agent: str
    arguments: dict[str, str]
    is_recorded: bool = False


class Row(NamedTuple):
    to: re.Pattern[str]
    caller: re.Pattern[str]
    trunk: re.Pattern[str]
    chosen: Chosen


def pattern(text: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(text))


class Routing:
    def __init__(self, routes: tuple[Route, ...]) -> None:
        self.rows = [
            Row(pattern(route.to), pattern(route.caller), pattern(route.trunk), Chosen(route.agent, route.arguments, route.record))
            for route in routes
        ]

    def choose(self, number: str, caller: str = "", trunk: str = "") -> Chosen | None:
        """`number` and `caller`: the user parts; `trunk`: where it comes from. None: nobody is there, 404."""
        for row in self.rows:
            if row.to.fullmatch(number) and row.caller.fullmatch(caller) and row.trunk.fullmatch(trunk):
                return row.chosen
        return None

    def why_not(self, number: str, caller: str = "", trunk: str = "") -> str:
        called = number or "a call without a number"
        if not self.rows:
            return f"404: {called} has no agent: the configuration has no [[routes]]"
        origin = f"from {clean(caller, 80) or 'nobody'} over {f'trunk {trunk}' if trunk else 'no trunk'}"
        if any(row.to.fullmatch(number) for row in self.rows):
            return f"404: {called} has routes, but none for a call {origin}; look at their caller and trunk, or add one with to alone"
        return f'404: {called} fits none of the {len(self.rows)} routes ({origin}); add one, or one with to = "*"'
