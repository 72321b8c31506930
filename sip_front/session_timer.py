"""Session timers, RFC 4028: a table, and an object without I/O that says when to refresh and when a session is dead.

A proxy or a far end that was lost without a BYE would keep a call up for ever. So one side, the refresher, sends a
re-INVITE or an UPDATE halfway through the session's interval, and either side ends a session that nobody refreshed.
"""

import enum
from collections.abc import Callable
from typing import Literal, NamedTuple

from sip_front.message import Message, Request, Response
from sip_front.uri import parse_number

SECOND_NS = 1_000_000_000
MIN_SE_S = 90  # RFC 4028 5: the least that anybody may ask for
LEAST_S = 20  # of what a far end says against that rule: it ends the call by its own count, so we follow
LONGEST_S = 86_400  # above it a far end that was lost keeps its call for a day: no timer at all
END_EARLY_S = 32  # section 10: a BYE must reach the far end before the session expires there, too
SHORTEST_RETRY_NS = 2 * SECOND_NS

Refresher = Literal["uac", "uas"]
"""Of the one transaction in which it is said: who sent its request, or who answered it."""


class State(enum.Enum):
    OFF = 0
    WATCHING = 1
    """They refresh."""
    RESTING = 2
    """We refresh, and it is not time yet."""
    REFRESHING = 3
    """Our refresh is wanted, or under way."""
    DEAD = 4
    """Nobody refreshed: BYE."""


class Cause(enum.Enum):
    WE_REFRESH, THEY_REFRESH, NOBODY_REFRESHES = range(3)
    HALF_TIME, REFUSED, EXPIRED = range(3, 6)


OFF, WATCHING, RESTING, REFRESHING, DEAD = State
Action = Callable[["SessionTimer", int], None]


def start(timer: "SessionTimer", now_ns: int) -> None:
    """The interval begins anew, with the 2xx that agreed it."""
    early_s = min(END_EARLY_S, timer.interval_s / 3)
    timer.end_ns = now_ns + round((timer.interval_s - early_s) * SECOND_NS)


def rest(timer: "SessionTimer", now_ns: int) -> None:
    timer.refresh_ns = now_ns + timer.interval_s * SECOND_NS // 2


def rest_less(timer: "SessionTimer", now_ns: int) -> None:
    """The far end would not be refreshed now: once more while there is time."""
    timer.refresh_ns = now_ns + max(SHORTEST_RETRY_NS, (timer.end_ns - now_ns) // 4)


def stop(timer: "SessionTimer", _now_ns: int) -> None:
    timer.refresh_ns = timer.end_ns = 0


TRANSITIONS: dict[tuple[State, Cause], tuple[State, tuple[Action, ...]]] = {
    (RESTING, Cause.HALF_TIME): (REFRESHING, ()),
    (REFRESHING, Cause.REFUSED): (RESTING, (rest_less,)),
    (RESTING, Cause.EXPIRED): (DEAD, (stop,)),
    (REFRESHING, Cause.EXPIRED): (DEAD, (stop,)),
    (WATCHING, Cause.EXPIRED): (DEAD, (stop,)),
}
for _state in (OFF, WATCHING, RESTING, REFRESHING):  # a 2xx to either side's re-INVITE or UPDATE settles it anew
    TRANSITIONS[_state, Cause.WE_REFRESH] = (RESTING, (start, rest))
    TRANSITIONS[_state, Cause.THEY_REFRESH] = (WATCHING, (stop, start))
    TRANSITIONS[_state, Cause.NOBODY_REFRESHES] = (OFF, (stop,))


class Asked(NamedTuple):
    """What a message says of session timers."""

    interval_s: int | None
    refresher: Refresher | None
    minimum_s: int
    is_supported: bool


class SessionTimer:
    """`wanted_s`: the interval that we ask for; 0: we want no timers, and do not say that we know them."""

    __slots__ = ("end_ns", "interval_s", "minimum_s", "refresh_ns", "state", "wanted_s")

    def __init__(self, wanted_s: int) -> None:
        self.wanted_s, self.minimum_s = wanted_s, MIN_SE_S
        self.state = OFF
        self.interval_s = 0
        self.refresh_ns = self.end_ns = 0

    def step(self, cause: Cause, now_ns: int) -> None:
        row = TRANSITIONS.get((self.state, cause))
        if row is not None:
            self.state, actions = row
            for action in actions:
                action(self, now_ns)

    @property
    def deadline_ns(self) -> int | None:
        if self.state is RESTING:
            return min(self.refresh_ns, self.end_ns)
        return self.end_ns if self.state in (WATCHING, REFRESHING) else None

    def expire(self, now_ns: int) -> None:
        """Then look whether it is REFRESHING or DEAD."""
        if self.state in (WATCHING, RESTING, REFRESHING) and now_ns >= self.end_ns:
            self.step(Cause.EXPIRED, now_ns)
        elif self.state is RESTING and now_ns >= self.refresh_ns:
            self.step(Cause.HALF_TIME, now_ns)

    # ---- requests of ours ------------------------------------------------------------------------------------------

    def request_headers(self, *, is_first: bool = False) -> tuple[tuple[str, str], ...]:
        """Of an INVITE or UPDATE that we send. `is_first`: nothing is agreed yet, and the far end may choose who refreshes."""
        if not self.wanted_s or (self.state is OFF and not is_first):
            return ()
        minimum = (("Min-SE", str(self.minimum_s)),) if self.minimum_s > MIN_SE_S else ()
        refresher = "" if is_first else ";refresher=uas" if self.state is WATCHING else ";refresher=uac"
        interval_s = max(self.wanted_s if is_first else self.interval_s, self.minimum_s)
        return (("Session-Expires", f"{interval_s}{refresher}"), *minimum)

    def receive_2xx(self, response: Response, now_ns: int) -> None:
        """To an INVITE or UPDATE of ours: what it says holds (section 7.2)."""
        asked = read(response)
        if not self.wanted_s or asked.interval_s is None:
            self.step(Cause.NOBODY_REFRESHES, now_ns)
            return
        self.interval_s = max(asked.interval_s, LEAST_S)
        self.step(Cause.THEY_REFRESH if asked.refresher == "uas" else Cause.WE_REFRESH, now_ns)

    def raise_minimum(self, response: Response) -> bool:
        """422: they want a longer interval. False: it makes no sense, or it is what they got."""
        minimum_s = read(response).minimum_s
        if not self.minimum_s < minimum_s <= LONGEST_S:
            return False
        self.minimum_s = minimum_s
        self.interval_s = max(self.interval_s, minimum_s)
        return True

    # ---- requests of theirs ------------------------------------------------------------------------------------------

    def refuses(self, request: Request) -> bool:
        """422 with `Min-SE: MIN_SE_S`: a shorter interval would be a flood. Only for those who know what that means (section 9)."""
        asked = read(request)
        return bool(self.wanted_s) and asked.is_supported and asked.interval_s is not None and asked.interval_s < MIN_SE_S

    def answer(self, request: Request, now_ns: int) -> tuple[tuple[str, str], ...]:
        """To their INVITE or UPDATE: headers of the 2xx that is sent now (section 9 and its table 2)."""
        asked = read(request)
        if not self.wanted_s or (asked.interval_s is None and not asked.is_supported):
            self.step(Cause.NOBODY_REFRESHES, now_ns)
            return ()
        longest_s = max(self.wanted_s, self.minimum_s, asked.minimum_s)
        self.interval_s = longest_s if asked.interval_s is None else max(LEAST_S, min(asked.interval_s, longest_s))
        refresher: Refresher = "uas"
        if asked.is_supported:
            refresher = asked.refresher or self._whose_turn(asked)
        self.step(Cause.THEY_REFRESH if refresher == "uac" else Cause.WE_REFRESH, now_ns)
        required = (("Require", "timer"),) if asked.is_supported else ()
        return (("Session-Expires", f"{self.interval_s};refresher={refresher}"), *required)

    def _whose_turn(self, asked: Asked) -> Refresher:
        """They leave it to us: as it was (section 7.4), and at first those who asked for a timer."""
        if self.state is WATCHING:
            return "uac"
        return "uas" if self.state in (RESTING, REFRESHING) or asked.interval_s is None else "uac"


def read(message: Message) -> Asked:
    """A value that is no number counts as none."""
    text = message.headers.get("Session-Expires") or ""
    first, *parameters = (part.strip(" \t") for part in text.split(";"))
    named = dict(item.lower().replace(" ", "").partition("=")[::2] for item in parameters)
    refresher = named.get("refresher")
    minimum_s = parse_number((message.headers.get("Min-SE") or "").partition(";")[0].strip(" \t"), 2**32 - 1) or 0
    supported = [name.lower() for name in (*message.headers.get_all("Supported"), *message.headers.get_all("Require"))]
    return Asked(
        parse_number(first, 2**32 - 1),
        "uac" if refresher == "uac" else "uas" if refresher == "uas" else None,
        minimum_s,
        "timer" in supported,
    )
