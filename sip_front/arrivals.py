"""Calls that come in: whether there is room, which route takes them, and the line that says why not."""

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from control_plane.config import Route
from control_plane.errors import BellframeError
from control_plane.logs import clean
from control_plane.routing import Asked, Routing, Row
from sip_front.advice import Advice
from sip_front.call import MINUTE_NS, OPENINGS, RING_OPENINGS, SECOND, Call, Cause
from sip_front.identity import caller_of
from sip_front.message import Request
from sip_front.negotiation import warning
from sip_front.session import Session
from sip_front.uri import number_of

if TYPE_CHECKING:
    from sip_front.front import Front

log = logging.getLogger("front")
FORWARDED_HEADERS = ("P-Asserted-Identity", "Diversion", "History-Info", "User-To-User", "Referred-By", "Subject")
MAX_FORWARDED_HEADERS, MAX_FORWARDED_CHARACTERS = 32, 512
MAX_TRACEPARENT = 55
RETRY = (("Retry-After", "5"),)
Headers = tuple[tuple[str, str], ...]


class Arrival:
    """A call on its way through the routes that fit."""

    def __init__(self, session: Session, asked: Asked, rows: Iterator[Row]) -> None:
        self.session, self.asked, self.rows = session, asked, rows
        self.headers = forwarded(session.invite)
        self.call: Call | None = None
        """It rings already: phones of a route before were rung, and nobody answered."""
        self.status, self.why = 404, ""
        """If no route is left."""


class Arrivals:
    def __init__(self, front: "Front") -> None:
        self.front = front
        self.routing = Routing(front.config.routes)
        self.advice = Advice(front)
        self.tenant_of_user = {user.name: user.tenant for user in front.config.users}

    def receive(self, session: Session, now_ns: int) -> None:
        self.front.succession.come(session.sip_call_id)
        if self.front.succession.must_wait(session, now_ns):
            return
        self.front.calls_total += 1
        asked = self._asked(session)
        self.go_on(Arrival(session, asked, self.routing.fitting(asked)), now_ns)

    def go_on(self, arrival: Arrival, now_ns: int, row: Row | None = None, route: Route | None = None) -> None:
        """To `row`, whose webhook was asked: as it decided, or without it. Else to the next one that fits."""
        session, trunk = arrival.session, self.front.trunks.get(arrival.session.trunk)
        why_full = trunk.limit.why_full() if trunk else ""
        if why_full and arrival.call is None:
            self._refuse(session, 503, why_full, now_ns, RETRY)
            return
        for fitting in (row,) if row else arrival.rows:
            if row is None and fitting.route.webhook and self.advice.ask(arrival, fitting, now_ns):
                return
            chosen = route or fitting.route
            if chosen.target:
                self._take(arrival, fitting.name, chosen, now_ns)
                return
        if row is not None:
            self.go_on(arrival, now_ns)
            return
        if arrival.call is not None:
            arrival.call.end(Cause.HANG_UP, arrival.why, now_ns, arrival.status)
        else:
            self._refuse(session, 404, self.routing.why_none(arrival.asked), now_ns)

    def _asked(self, session: Session) -> Asked:
        request, trunk = session.invite, self.front.trunks.get(session.trunk)
        number, caller = number_of(request.uri), caller_of(request)
        tenant = (trunk.config.tenant if trunk else "") or self.tenant_of_user.get(session.user, "")
        return Asked(number, caller, session.trunk, tenant, request.headers, time.time())

    def _take(self, arrival: Arrival, name: str, route: Route, now_ns: int) -> None:
        front, session = self.front, arrival.session
        if arrival.call is not None:
            self._hand_on(arrival.call, arrival, name, route, now_ns)
            return
        if route.refuse:
            self._refuse(session, route.refuse, f"{route.refuse}: {name} refuses such calls", now_ns)
            return
        try:
            negotiation = session.negotiation
            negotiation.formats = route.formats or negotiation.formats
            media = negotiation.preview(session.offer) if session.offer else negotiation.without_offer()
        except BellframeError as failure:
            headers = (("Warning", warning(failure, session.local_host)),)
            self._refuse(session, failure.sip_status, f"{failure.sip_status}: {failure}", now_ns, headers)
            return
        call = Call(front, session, "inbound", now_ns, time.time())
        call.media, call.caller, call.callee = media, arrival.asked.caller, arrival.asked.number
        call.traceparent = self._traceparent(session)
        call.headers, call.trunk, call.tenant = arrival.headers, session.trunk, arrival.asked.tenant or route.tenant
        self._settle(call, arrival, name, route)
        why_not = front.why_tenant_full(call.tenant, now_ns) or front.staff.assign(call, route, now_ns)
        if why_not:
            front.ringing.hunts.pop(call.call_id, None)
            self._refuse(session, 503, why_not, now_ns, RETRY)
            return
        front.open(call, now_ns)

    def _traceparent(self, session: Session) -> str:
        """Of the trace that the far end began, if its trunk may say so."""
        trunk = self.front.trunks.get(session.trunk)
        header = trunk.config.traceparent_header if trunk else ""
        return clean(session.invite.headers.get(header) or "", MAX_TRACEPARENT) if header else ""

    def _settle(self, call: Call, arrival: Arrival, name: str, route: Route) -> None:
        """What the route says of how it is answered."""
        call.ring_limit_ns, call.max_ns = route.ring_seconds * SECOND, route.max_minutes * MINUTE_NS
        call.opening = (RING_OPENINGS if route.rings else OPENINGS)[route.answer]
        if route.rings:
            arrival.call = call
            self.front.ringing.begin(call, arrival, name, route)

    def _hand_on(self, call: Call, arrival: Arrival, name: str, route: Route, now_ns: int) -> None:
        """Nobody answered of the route before."""
        if route.refuse:
            call.end(Cause.HANG_UP, f"{name} refuses with {route.refuse}; before it, {arrival.why}", now_ns, route.refuse)
            return
        call.agent, call.arguments, call.recording = route.agent, route.arguments, "on" if route.record else "off"
        call.tenant = call.tenant or route.tenant
        self._settle(call, arrival, name, route)
        if route.agent and call.seat:
            self.front.rooms.leave(call, "nobody answered", now_ns)  # it heard ringing
        call.step(call.opening, now_ns)

    def _refuse(self, session: Session, status: int, why: str, now_ns: int, headers: Headers = ()) -> None:
        front, request = self.front, session.invite
        front.calls_refused += 1
        front.figures.refuse(session.trunk, status)
        session.refuse(status, why, now_ns, headers)
        if front.admission.is_worth_a_line(session.peer.host, str(status), now_ns):
            caller, number = caller_of(request), number_of(request.uri)
            text = "refused the call from %s (%s) to %s with %s"
            log.warning(text, caller, session.peer, number, why, extra={"call_id": session.call_id})


def forwarded(request: Request) -> dict[str, str]:
    """What an agent may want to know: the trunk's own X- headers and who is said to call."""
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        if (name.startswith("X-") or name in FORWARDED_HEADERS) and len(found) < MAX_FORWARDED_HEADERS:
            found.setdefault(name, clean(value, MAX_FORWARDED_CHARACTERS))
    return found
