"""Which agent answers which number: the configuration's routes, the first that fits."""

import fnmatch
import re
from typing import NamedTuple

from control_plane.config import Route


class Chosen(NamedTuple):
    agent: str
    arguments: dict[str, str]


class Routing:
    def __init__(self, routes: tuple[Route, ...]) -> None:
        self.routes = [(re.compile(fnmatch.translate(route.to)), Chosen(route.agent, route.arguments)) for route in routes]

    def choose(self, number: str) -> Chosen | None:
        """`number`: the user part of what was called. None: nobody is there, 404."""
        return next((chosen for pattern, chosen in self.routes if pattern.fullmatch(number)), None)

    def why_not(self, number: str) -> str:
        if not self.routes:
            return f"404: {number or 'a call without a number'} has no agent: the configuration has no [[routes]]"
        return f"404: {number or 'a call without a number'} fits none of the {len(self.routes)} routes; add one, or one with to = \"*\""
