"""Calls that come in: whether there is room, which route takes them, and the line that says why not."""

import logging
import time
from typing import TYPE_CHECKING

from control_plane.config import Route
from control_plane.errors import BellframeError
from control_plane.logs import clean
from control_plane.routing import Asked, Routing
from sip_front.call import MINUTE_NS, OPENINGS, SECOND, Call
from sip_front.message import Request
from sip_front.negotiation import warning
from sip_front.session import Session
from sip_front.uri import number_of

if TYPE_CHECKING:
    from sip_front.front import Front

log = logging.getLogger("front")
FORWARDED_HEADERS = ("P-Asserted-Identity", "Diversion", "History-Info", "User-To-User", "Referred-By", "Subject")
MAX_FORWARDED_HEADERS, MAX_FORWARDED_CHARACTERS = 32, 512
RETRY = (("Retry-After", "5"),)
Headers = tuple[tuple[str, str], ...]


class Arrivals:
    def __init__(self, front: "Front") -> None:
        self.front = front
        self.routing = Routing(front.config.routes)

    def receive(self, session: Session, now_ns: int) -> None:
        front = self.front
        if front.succession.must_wait(session, now_ns):
            return
        front.calls_total += 1
        trunk = front.trunks.get(session.trunk)
        why_full = trunk.why_full() if trunk else ""
        if why_full:
            self._refuse(session, 503, why_full, now_ns, RETRY)
            return
        asked = self._asked(session)
        row = self.routing.choose(asked)
        if row is None:
            self._refuse(session, 404, self.routing.why_none(asked), now_ns)
        elif row.route.refuse:
            self._refuse(session, row.route.refuse, f"{row.route.refuse}: {row.name} refuses such calls", now_ns)
        else:
            self._take(session, row.route, now_ns)

    def _asked(self, session: Session) -> Asked:
        request, trunk = session.invite, self.front.trunks.get(session.trunk)
        number, caller = number_of(request.uri), number_of(request.from_.uri)
        return Asked(number, caller, session.trunk, trunk.config.tenant if trunk else "", request.headers, time.time())

    def _take(self, session: Session, route: Route, now_ns: int) -> None:
        front, request = self.front, session.invite
        try:
            negotiation = session.negotiation
            media = negotiation.preview(session.offer) if session.offer else negotiation.without_offer()
        except BellframeError as failure:
            headers = (("Warning", warning(failure, session.local_host)),)
            self._refuse(session, failure.sip_status, f"{failure.sip_status}: {failure}", now_ns, headers)
            return
        call = Call(front, session, "inbound", now_ns, time.time())
        call.media, call.caller, call.callee = media, number_of(request.from_.uri), number_of(request.uri)
        call.headers, call.trunk = forwarded(request), session.trunk
        call.opening, call.ring_limit_ns, call.max_ns = OPENINGS[route.answer], route.ring_seconds * SECOND, route.max_minutes * MINUTE_NS
        why_not = front.staff(call, route, now_ns)
        if why_not:
            self._refuse(session, 503, why_not, now_ns, RETRY)
            return
        front.open(call, now_ns)

    def _refuse(self, session: Session, status: int, why: str, now_ns: int, headers: Headers = ()) -> None:
        front, request = self.front, session.invite
        front.calls_refused += 1
        front.figures.refuse(session.trunk, status)
        session.refuse(status, why, now_ns, headers)
        if front.admission.is_worth_a_line(session.peer.host, str(status), now_ns):
            caller, number = number_of(request.from_.uri), number_of(request.uri)
            text = "refused the call from %s (%s) to %s with %s"
            log.warning(text, caller, session.peer, number, why, extra={"call_id": session.call_id})


def forwarded(request: Request) -> dict[str, str]:
    """What an agent may want to know: the trunk's own X- headers and who is said to call."""
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        if (name.startswith("X-") or name in FORWARDED_HEADERS) and len(found) < MAX_FORWARDED_HEADERS:
            found.setdefault(name, clean(value, MAX_FORWARDED_CHARACTERS))
    return found
