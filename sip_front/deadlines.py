"""Who must be woken when: a heap in which a deadline that moved is not searched for, but found stale when it comes up."""

import heapq
from collections.abc import Iterator
from typing import Protocol


class Sleeper(Protocol):
    """`deadline_ns` is its own; `scheduled_ns` is for the heap alone: the earliest place it has there."""

    scheduled_ns: int | None

    @property
    def deadline_ns(self) -> int | None: ...

    def expire(self, now_ns: int) -> None: ...


class Deadlines:
    def __init__(self) -> None:
        self.heap: list[tuple[int, int, Sleeper]] = []
        self.count = 0

    def schedule(self, sleeper: Sleeper) -> None:
        """After anything that may have moved its deadline. A later one costs nothing now."""
        deadline_ns = sleeper.deadline_ns
        if deadline_ns is None or (sleeper.scheduled_ns is not None and sleeper.scheduled_ns <= deadline_ns):
            return
        self.count += 1
        sleeper.scheduled_ns = deadline_ns
        heapq.heappush(self.heap, (deadline_ns, self.count, sleeper))

    @property
    def next_ns(self) -> int | None:
        return self.heap[0][0] if self.heap else None

    def take_due(self, now_ns: int) -> Iterator[Sleeper]:
        """Each one that is really due. The caller expires it and schedules it again."""
        while self.heap and self.heap[0][0] <= now_ns:
            at_ns, _, sleeper = heapq.heappop(self.heap)
            if sleeper.scheduled_ns != at_ns:
                continue  # it has an earlier place, or had one
            sleeper.scheduled_ns = None
            if sleeper.deadline_ns is not None and sleeper.deadline_ns <= now_ns:
                yield sleeper
            else:
                self.schedule(sleeper)
