"""In which order servers that offer the same are tried: RFC 2782, "Priority" and "Weight"."""

import random
from collections.abc import Iterable
from typing import Protocol, TypeVar


class Ranked(Protocol):
    @property
    def priority(self) -> int: ...
    @property
    def weight(self) -> int: ...


Server = TypeVar("Server", bound=Ranked)


def in_order(servers: Iterable[Server], chance: random.Random) -> list[Server]:
    """The lowest priority first; within one, drawn by weight: who has twice the weight is the first one twice as often."""
    left, found = list(servers), list[Server]()
    while left:
        lowest = min(server.priority for server in left)
        group = sorted((server for server in left if server.priority == lowest), key=lambda server: server.weight)
        drawn = chance.uniform(0, sum(server.weight for server in group))
        for server in group:
            drawn -= server.weight
            if drawn <= 0:
                break
        found.append(server)
        left.remove(server)
    return found
