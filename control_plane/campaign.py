"""A list of numbers to call, at a pace: which is next, which are up, which are settled. No clock, no socket, no file.

A number is called once. Before it is dialled that is written down (campaign_file.py), and its call's id follows from the campaign and the
row: the front takes the same id for the same call. So a crash of any process leaves at most a number whose end is not known.
"""

import hashlib
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from control_plane.messages import CallFacts

SLACK_S = 0.1
"""Whoever asks late may make up for so much, and no more: a pause is no burst afterwards."""
REST_S = 1.0
"""After "not now" of the front or of the trunk's limits."""


class Entry(NamedTuple):
    row: int
    number: str
    arguments: dict[str, str]


class Settled(NamedTuple):
    """What became of a number: a row of the outcomes."""

    row: int
    number: str
    outcome: str
    status: int
    cause: str
    call_id: str
    started_at: float
    talked_s: float


class Campaign:
    def __init__(self, name: str, per_second: float, concurrent: int) -> None:
        """`name`: unlike that of any other campaign, also of one of the same list."""
        self.name, self.per_second, self.concurrent = name, per_second, concurrent
        self.waiting: deque[Entry] = deque()
        self.active: dict[str, Entry] = {}
        """By the id of their call: dialled, and not settled."""
        self.numbers: set[str] = set()
        self.settled = self.duplicates = 0
        self.next_at = 0.0
        self.is_stopped = False

    def add(self, entries: Iterable[Entry], dialled: Iterable[int] = (), settled: Iterable[int] = ()) -> None:
        """`dialled`, `settled`: rows of which that was written down before. A number that stands twice is called once."""
        begun, done = set(dialled), set(settled)
        for entry in entries:
            if entry.number in self.numbers:
                self.duplicates += 1
                continue
            self.numbers.add(entry.number)
            if entry.row in done:
                self.settled += 1
            elif entry.row in begun:
                self.active[self.call_id(entry)] = entry
            else:
                self.waiting.append(entry)

    def call_id(self, entry: Entry) -> str:
        return "camp-" + hashlib.sha256(f"{self.name}\0{entry.row}\0{entry.number}".encode()).hexdigest()[:24]

    @property
    def is_over(self) -> bool:
        return not self.active and (self.is_stopped or not self.waiting)

    def take_due(self, now: float) -> Entry | None:
        """The next one, if it may be dialled now: it is active from here on. `now`: seconds of any clock that goes on."""
        if self.is_stopped or not self.waiting or len(self.active) >= self.concurrent or now < self.next_at:
            return None
        self.next_at = max(self.next_at, now - SLACK_S) + 1 / self.per_second
        entry = self.waiting.popleft()
        self.active[self.call_id(entry)] = entry
        return entry

    def put_back(self, entry: Entry, now: float) -> None:
        """It was not dialled: there is no room now."""
        self.active.pop(self.call_id(entry), None)
        self.waiting.appendleft(entry)
        self.next_at = now + REST_S

    def settle(self, facts: CallFacts) -> Settled | None:
        """None: it is not one of ours, or it has not ended."""
        entry = self.active.get(facts.call_id) if facts.state == "ended" else None
        if entry is None:
            return None
        talked_s = max(0.0, facts.ended_at - facts.answered_at) if facts.answered_at else 0.0
        return self._settle(entry, facts.outcome, facts.status, facts.cause, facts.started_at, talked_s)

    def fail(self, entry: Entry, outcome: str, cause: str, at: float) -> Settled:
        """It cannot be dialled ("failed"), or nobody knows what became of it ("unknown"): it is not dialled again either way."""
        return self._settle(entry, outcome, 0, cause, at, 0.0)

    def _settle(self, entry: Entry, outcome: str, status: int, cause: str, at: float, talked_s: float) -> Settled:
        call_id = self.call_id(entry)
        self.active.pop(call_id, None)
        self.settled += 1
        return Settled(entry.row, entry.number, outcome, status, cause, call_id, at, talked_s)
