"""Writes the call records. It asks the front once a second which calls have ended, so a gap in watching loses nothing.

The disk, or the database server, has a thread of its own, which is left behind should it hang. What does not fit the queue while it is
full, slow or away is dropped, counted, and said once.
"""

import asyncio
import logging
import threading
import time
from collections import OrderedDict, deque

from control_plane.http.link import ANSWER_LIMIT_S, FrontAway, Link
from control_plane.messages import CallFacts, EndedCalls, GetEnded
from control_plane.record_store import Store, StoreFailed

log = logging.getLogger("records")
MAX_WAITING, MAX_TAKEN, AT_ONCE = 10_000, 10_000, 500
ASK_S, LAST_LIMIT_S, PRUNE_S = 1.0, 0.3, 3600.0
FIRST_REST_S, LONGEST_REST_S = 1.0, 30.0


class Writer(threading.Thread):
    """`put` never waits."""

    def __init__(self, store: Store, days: int) -> None:
        super().__init__(name="records", daemon=True)
        self.store, self.days = store, days
        self.waiting: deque[CallFacts] = deque()
        self.changed = threading.Condition()
        self.written = self.dropped = 0
        self.is_closing = self.has_complained = False
        self.prune_at = 0.0
        self.rest_s = FIRST_REST_S

    def put(self, calls: tuple[CallFacts, ...]) -> None:
        with self.changed:
            room = MAX_WAITING - len(self.waiting)
            self.waiting.extend(calls[:room])
            self.dropped += max(0, len(calls) - room)
            self.changed.notify()

    def run(self) -> None:
        while True:
            with self.changed:
                if not self.waiting and not self.is_closing:
                    self.changed.wait(PRUNE_S)
                batch = [self.waiting[i] for i in range(min(AT_ONCE, len(self.waiting)))]
                if self.is_closing and not batch:
                    break
            try:
                self.write(batch)
            except StoreFailed as failure:
                self.complain(failure)
                if not self.rest():
                    break
        self.store.close()

    def write(self, batch: list[CallFacts]) -> None:
        """Raises StoreFailed."""
        if batch:
            self.store.insert(batch)
            with self.changed:
                for _ in batch:
                    self.waiting.popleft()
                self.written += len(batch)
        if time.monotonic() >= self.prune_at:
            self.store.prune(self.days)
            self.prune_at = time.monotonic() + PRUNE_S
        if self.has_complained:
            log.info("call records are written again; %d were dropped", self.dropped)
        self.has_complained, self.rest_s = False, FIRST_REST_S

    def complain(self, failure: Exception) -> None:
        if not self.has_complained:
            self.has_complained = True
            text = "call records cannot be written to %s: %s; %d wait, and above %d they are dropped"
            log.error(text, self.store.name, failure, len(self.waiting), MAX_WAITING)

    def rest(self) -> bool:
        """False: there is no later."""
        with self.changed:
            deadline = time.monotonic() + self.rest_s
            while not self.is_closing and time.monotonic() < deadline:
                self.changed.wait(deadline - time.monotonic())
            self.rest_s = min(LONGEST_REST_S, self.rest_s * 2)
            return not self.is_closing

    def close(self, limit_s: float) -> None:
        """Write what waits, but not for longer than this."""
        with self.changed:
            self.is_closing = True
            self.changed.notify()
        if self.is_alive():
            self.join(limit_s)


class Recorder:
    def __init__(self, link: Link, store: Store, days: int) -> None:
        self.link, self.store = link, store
        self.writer = Writer(store, days)
        self.front = self.after = 0
        self.taken: OrderedDict[str, None] = OrderedDict()
        """Calls that came as an event; the front names them once more."""

    def take(self, facts: CallFacts) -> None:
        """At once: when the server ends, the front has gone before it can be asked."""
        if facts.state == "ended" and facts.call_id not in self.taken:
            self.taken[facts.call_id] = None
            if len(self.taken) > MAX_TAKEN:
                self.taken.popitem(last=False)
            self.writer.put((facts,))

    async def run(self) -> None:
        self.writer.start()
        while True:
            await self.ask()
            await asyncio.sleep(ASK_S)

    async def ask(self, limit_s: float = ANSWER_LIMIT_S) -> None:
        """All that has ended since the last time."""
        while True:
            try:
                answer = await self.link.ask(GetEnded(self.after), limit_s)
            except FrontAway:
                return
            if not isinstance(answer, EndedCalls):
                return
            if answer.front != self.front:
                self.front, is_other = answer.front, self.after > 0
                self.after = 0
                if is_other:
                    continue  # it counts from the beginning
            if answer.missed and self.after:
                log.error("%d calls ended and were forgotten before they could be recorded", answer.missed)
                self.writer.dropped += answer.missed
            for call in answer.calls:
                self.take(call)
            self.after = answer.last
            if not answer.calls:
                return

    async def find(self, call_id: str) -> CallFacts | None:
        """A call that ended long ago."""
        return await asyncio.to_thread(self.store.find, call_id)

    async def close(self) -> None:
        """With the calls that ended last."""
        await self.ask(LAST_LIMIT_S)
        await asyncio.to_thread(self.writer.close, 2.0)
