"""The door where bots dial us: which bot gets which call. Connections wait for calls, and calls for connections.

A bot that would carry three calls keeps three connections open, and opens another one when a call has taken one. Each
says under which name it waits, and may say which calls it takes. Of the connections that fit, that of the bot with
the fewest calls is taken, and of those the one that waits longest. No socket here, and no clock.
"""

import asyncio
import dataclasses
import fnmatch
import re
import urllib.parse
from collections import Counter, deque
from collections.abc import Mapping
from typing import Protocol

from ai_bridge.wires.bellframe_messages import SUBPROTOCOL

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
MOST_WAITING = 1000
"""Connections, of all names: each takes a descriptor."""
LONGEST = 200
"""Characters of what a bot says of itself."""
KNOWN = ("bot", "to", "from", "call")


class Connected(Protocol):
    """A bot's connection, as far as this file is concerned."""

    def drop(self) -> None: ...

    def close(self) -> None: ...


class Refused(Exception):
    """A bot does not get in. The text is for whoever wrote it."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclasses.dataclass(eq=False)
class Offer:
    """A connection, and which calls it is for."""

    wire: str
    name: str
    bot: str
    """Whose it is: connections of one bot count together."""
    to: str = "*"
    caller: str = "*"
    call_id: str = ""
    """It is for this call alone, which it had before."""
    connection: Connected | None = None

    def takes(self, wanted: "Wanted") -> bool:
        if (self.wire, self.name) != (wanted.wire, wanted.name):
            return False
        if self.call_id or wanted.is_return:
            return self.call_id == wanted.call_id
        return fnmatch.fnmatchcase(wanted.callee, self.to) and fnmatch.fnmatchcase(wanted.caller, self.caller)


@dataclasses.dataclass(eq=False)
class Wanted:
    """A call that is for a bot."""

    wire: str
    name: str
    call_id: str
    caller: str
    callee: str
    is_return: bool = False
    """It is only for the bot that had it before."""
    given: "asyncio.Future[Offer] | None" = None


class Door:
    def __init__(self) -> None:
        self.waiting: list[Offer] = []
        self.wanted: deque[Wanted] = deque()
        self.calls: dict[str, tuple[str, str]] = {}
        """Wire and name, by call id: of all calls that are with a bot, or shall be."""
        self.busy: Counter[str] = Counter()
        """Calls, by bot."""
        self._active: dict[str, Offer] = {}

    # ---- bots -------------------------------------------------------------------------------------------------

    def examine(self, target: str, subprotocol: str, address: str) -> Offer:
        """What the upgrade request of a bot says. `address`: where it comes from. Raises Refused."""
        parts = urllib.parse.urlsplit(target)
        name = parts.path.strip("/")
        wire = "bellframe" if SUBPROTOCOL in (part.strip() for part in subprotocol.split(",")) else "twilio"
        if not NAME.fullmatch(name):
            raise Refused(404, "the path is the name under which the bot waits for calls, /NAME, of letters, digits, ., _ and -")
        said = {key: values[-1] for key, values in urllib.parse.parse_qs(parts.query, max_num_fields=16).items()}
        if unknown := [key for key in said if key not in KNOWN]:
            raise Refused(400, f"the query has {unknown[0][:40]}: there are {', '.join(KNOWN)}")
        if any(len(value) > LONGEST for value in said.values()):
            raise Refused(400, f"a value of the query is longer than {LONGEST} characters")
        return self._admitted(wire, name, address, said)

    def _admitted(self, wire: str, name: str, address: str, said: Mapping[str, str]) -> Offer:
        call_id = said.get("call", "")
        if call_id and self.calls.get(call_id) != (wire, name):
            raise Refused(404, "there is no such call, or it is not for a bot of this name and wire")
        if not call_id and len(self.waiting) >= MOST_WAITING:
            raise Refused(503, f"{MOST_WAITING} bots wait already")
        return Offer(wire, name, said.get("bot", address), said.get("to", "*"), said.get("from", "*"), call_id)

    def arrived(self, offer: Offer) -> None:
        """Its connection is up."""
        for wanted in self.wanted:
            if offer.takes(wanted):
                self._give(offer, wanted)
                return
        self.waiting.append(offer)
        if (before := self._active.get(offer.call_id)) and before.connection is not None:
            before.connection.drop()  # it broke, and only its other end has noticed

    def left(self, offer: Offer) -> None:
        """Its connection is gone, before or after it had a call."""
        if offer in self.waiting:
            self.waiting.remove(offer)
        for call_id, active in list(self._active.items()):
            if active is offer:
                self._release(call_id)

    # ---- calls ------------------------------------------------------------------------------------------------

    async def take(self, wanted: Wanted, seconds: float) -> Offer:
        """A connection for this call. Raises TimeoutError."""
        fitting = [offer for offer in self.waiting if offer.takes(wanted)]
        if fitting:
            best = min(fitting, key=lambda offer: (not offer.call_id, self.busy[offer.bot]))
            self.waiting.remove(best)
            self._hold(best, wanted.call_id)
            return best
        wanted.given = asyncio.get_running_loop().create_future()
        self.wanted.append(wanted)
        try:
            async with asyncio.timeout(seconds):
                return await wanted.given
        except BaseException:
            if wanted.given.done() and not wanted.given.cancelled() and (taken := wanted.given.result().connection) is not None:
                taken.close()  # it came when nobody waited any more
            raise
        finally:
            if wanted in self.wanted:
                self.wanted.remove(wanted)

    def ended(self, call_id: str) -> None:
        """The call is over, or with somebody else."""
        self.calls.pop(call_id, None)
        self._release(call_id)
        for offer in [offer for offer in self.waiting if offer.call_id == call_id]:
            self.waiting.remove(offer)
            if offer.connection is not None:
                offer.connection.close()

    def _give(self, offer: Offer, wanted: Wanted) -> None:
        assert wanted.given is not None
        self.wanted.remove(wanted)
        self._hold(offer, wanted.call_id)
        wanted.given.set_result(offer)

    def _hold(self, offer: Offer, call_id: str) -> None:
        self._release(call_id)
        self._active[call_id] = offer
        self.busy[offer.bot] += 1

    def _release(self, call_id: str) -> None:
        offer = self._active.pop(call_id, None)
        if offer is not None:
            self.busy[offer.bot] -= 1
            if not self.busy[offer.bot]:
                del self.busy[offer.bot]


door: Door | None = None
"""That of this process. Set when it starts, if its configuration has one."""
