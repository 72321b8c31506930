"""Who must be woken when: a heap in which a deadline that moved is not searched for, but found stale when it comes up.

The heap holds numbers only. Whoever has no deadline any more is let go of at once: the session of a call that is over would be held
until its timer is due, a quarter of an hour later.
"""

import heapq
from collections.abc import Iterator
from typing import Protocol

Place = tuple[int, int]
"""When, and whose."""
MIN_STALE = 64  # places; below it there is nothing to be gained by tidying


class Sleeper(Protocol):
    """`deadline_ns` is its own; `place` is for the heap alone: the one place in which it is waited for."""

    place: Place | None

    @property
    def deadline_ns(self) -> int | None: ...

    def expire(self, now_ns: int) -> None: ...


class Deadlines:
    def __init__(self) -> None:
        self.heap: list[Place] = []
        self.waiting: dict[int, Sleeper] = {}
        self.count = 0

    def schedule(self, sleeper: Sleeper) -> None:
        """After anything that may have moved its deadline. A later one costs nothing now."""
        deadline_ns, place = sleeper.deadline_ns, sleeper.place
        if place is not None:
            if deadline_ns is not None and place[0] <= deadline_ns:
                return
            del self.waiting[place[1]]
            sleeper.place = None
        if deadline_ns is None:
            return
        self.count += 1
        sleeper.place = place = deadline_ns, self.count
        self.waiting[self.count] = sleeper
        if len(self.heap) > MIN_STALE + 2 * len(self.waiting):
            self.heap = [one for one in self.heap if one[1] in self.waiting]
            heapq.heapify(self.heap)
        heapq.heappush(self.heap, place)

    @property
    def next_ns(self) -> int | None:
        return self.heap[0][0] if self.heap else None

    def take_due(self, now_ns: int) -> Iterator[Sleeper]:
        """Each one that is really due. The caller expires it and schedules it again."""
        while self.heap and self.heap[0][0] <= now_ns:
            sleeper = self.waiting.pop(heapq.heappop(self.heap)[1], None)
            if sleeper is None:
                continue
            sleeper.place = None
            if sleeper.deadline_ns is not None and sleeper.deadline_ns <= now_ns:
                yield sleeper
            else:
                self.schedule(sleeper)
