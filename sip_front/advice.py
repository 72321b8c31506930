"""Routes whose webhook decides. The process of the HTTP API asks it: this one faces strangers, and speaks no HTTP and no TLS of theirs.

A call waits for its answer no longer than its route says, and goes on as if there were no webhook. One that fails again and again is
left alone for some seconds, so that calls do not wait for it; that it failed, and that it is back, is a line each.
"""

import logging
from typing import TYPE_CHECKING

from control_plane.errors import ConfigurationError
from control_plane.logs import clean
from control_plane.messages import AskRoute, RouteAdvised
from control_plane.route_config import decided
from control_plane.routing import Row
from sip_front.deadlines import Place
from sip_front.session_state import State

if TYPE_CHECKING:
    from sip_front.arrivals import Arrival
    from sip_front.front import Front

log = logging.getLogger("front")
SECOND = 1_000_000_000
MAX_WAITING = 256
"""Calls that wait for webhooks. Those beyond go on without."""
OFFER_LIFE_NS = 3 * SECOND
MAX_FAILURES, REST_NS = 3, 5 * SECOND  # in a row, and for how long it is asked nothing then


class Waiting:
    """A call whose route was asked for."""

    def __init__(self, advice: "Advice", arrival: "Arrival", row: Row, deadline_ns: int) -> None:
        self.advice, self.arrival, self.row = advice, arrival, row
        self.deadline_ns: int | None = deadline_ns
        self.place: Place | None = None

    def expire(self, now_ns: int) -> None:
        self.advice.settle(self, None, f"no answer within {self.row.route.webhook_seconds:g} s", now_ns)


class Webhook:
    """Of one route: how it fares."""

    __slots__ = ("failures", "rest_until_ns")

    def __init__(self) -> None:
        self.failures = self.rest_until_ns = 0


class Advice:
    def __init__(self, front: "Front") -> None:
        self.front = front
        self.waiting: dict[str, Waiting] = {}
        self.webhooks: dict[int, Webhook] = {}
        self.adviser, self.heard_ns = b"", 0

    def offer(self, identity: bytes, now_ns: int) -> None:
        """Somebody asks webhooks for us."""
        self.adviser, self.heard_ns = identity, now_ns

    def ask(self, arrival: "Arrival", row: Row, now_ns: int) -> bool:
        """False: nobody is asked, and the call goes on at once."""
        webhook = self.webhooks.setdefault(row.position, Webhook())
        if now_ns < webhook.rest_until_ns:
            return False
        if not self.adviser or now_ns - self.heard_ns > OFFER_LIFE_NS:
            self._note_failure(row, webhook, "the HTTP process, which asks it, is not there; look at `bellframe status`", now_ns)
            return False
        if len(self.waiting) >= MAX_WAITING:
            self._note_failure(row, webhook, f"{MAX_WAITING} calls wait for webhooks already", now_ns)
            return False
        session, asked = arrival.session, arrival.asked
        question = AskRoute(
            session.call_id, row.position, clean(asked.caller, 80), clean(asked.number, 80), asked.trunk, asked.tenant,
            session.peer.host, arrival.headers,
        )  # fmt: skip
        waiting = Waiting(self, arrival, row, now_ns + round(row.route.webhook_seconds * SECOND))
        self.waiting[session.call_id] = waiting
        self.front.user_agent.deadlines.schedule(waiting)
        self.front.messages.append((self.adviser, question))
        return True

    def receive(self, advised: RouteAdvised, now_ns: int) -> None:
        waiting = self.waiting.get(advised.call_id)
        if waiting is not None:
            self.settle(waiting, advised, advised.why, now_ns)

    def settle(self, waiting: Waiting, advised: RouteAdvised | None, why: str, now_ns: int) -> None:
        """`advised` None, or without a decision: it counts as if it had not been asked."""
        waiting.deadline_ns = None
        arrival, row = waiting.arrival, waiting.row
        del self.waiting[arrival.session.call_id]
        webhook, route = self.webhooks[row.position], None
        try:
            if advised is not None and advised.decision is not None:
                route = decided(row.route, advised.decision, row.name)
                if route.record and not self.front.config.recording.directory:
                    raise ConfigurationError("it wants a recording, and recording.directory is empty")
        except ConfigurationError as failure:
            route, why = None, f"its answer makes no route: {failure}"
        if route is None:
            self._note_failure(row, webhook, why, now_ns)
        else:
            if webhook.failures:
                log.info("%s: its webhook answers again", row.name)
            webhook.failures = 0
        if arrival.session.state is State.INCOMING:  # else the caller has hung up meanwhile
            self.front.arrivals.go_on(arrival, now_ns, row, route)

    def _note_failure(self, row: Row, webhook: Webhook, why: str, now_ns: int) -> None:
        webhook.failures += 1
        if webhook.failures >= MAX_FAILURES:
            webhook.rest_until_ns = now_ns + REST_NS
        if webhook.failures == 1:
            rest = row.route.target or "the next route that fits"
            log.warning("%s: its webhook decides nothing (%s); calls go on without it: %s", row.name, clean(why, 300), rest)
