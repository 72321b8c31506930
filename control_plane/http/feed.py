"""Everything that becomes of calls, for those of this process who want to know: webhooks and records."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from control_plane.http.link import Link
from control_plane.messages import CallChanged, CallFacts, Message, Noted, Watch

log = logging.getLogger("http")
WATCH_S = 1.0
"""How often the front is told that we watch: another front does not know it, and one that we were too slow for has forgotten."""
Take = Callable[[CallFacts], None]
TakeNote = Callable[[Noted], None]


class Feed:
    """`run` until it is cancelled. A taker must return at once, and not raise."""

    def __init__(self, link: Link, takers: Sequence[Take], take_note: TakeNote | None = None) -> None:
        self.link, self.takers, self.take_note = link, takers, take_note

    async def run(self) -> None:
        line = self.link.open_line()
        loop = asyncio.get_running_loop()
        try:
            again = loop.time()
            while True:
                if loop.time() >= again:
                    line.send(Watch(what="notes" if self.take_note else "calls"))
                    again = loop.time() + WATCH_S
                for message in await line.receive(max(0.0, again - loop.time())):
                    self.take(message)
        finally:
            line.close()

    def take(self, message: Message) -> None:
        if isinstance(message, Noted) and self.take_note:
            self.take_note(message)
        if isinstance(message, CallChanged):
            for take in self.takers:
                try:
                    take(message.call)
                except Exception:
                    log.exception("a bug: what became of a call was lost; please report it", extra={"call_id": message.call.call_id})
