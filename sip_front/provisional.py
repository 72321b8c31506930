"""Ringing, as the one who is called: said again each minute, or reliably (RFC 3262), until its PRACK comes.

Reliably only for callers that require it. Where their INVITE had no offer, ours must go with the first reliable response,
and the PRACK brings the answer (section 5).
"""

import secrets
from typing import TYPE_CHECKING

from control_plane.errors import BellframeError
from sip_front.message import make_response
from sip_front.negotiation import warning
from sip_front.part import Part
from sip_front.transaction import TIMEOUT_NS
from sip_front.unacknowledged import Unacknowledged
from sip_front.uri import parse_number

if TYPE_CHECKING:
    from sip_front.exchange import Served
    from sip_front.session import Session

REPEAT_NS = 60_000_000_000


class Provisional(Part):
    __slots__ = ("has_description", "has_offer", "has_settled", "progress", "repeat_ns", "rseq", "unacknowledged", "wants_accept")

    def __init__(self, session: "Session") -> None:
        super().__init__(session)
        self.rseq = 0
        self.unacknowledged: Unacknowledged | None = None
        self.progress, self.repeat_ns = b"", 0
        """Unreliable: what was said last, and when it is said again."""
        self.has_offer = self.has_description = self.has_settled = self.wants_accept = False
        """It carries our offer; that or our answer; the PRACK brought the answer to our offer; the 200 waits for that PRACK."""

    @property
    def is_wanted(self) -> bool:
        required = self.session.invite.headers.get_all("Require")
        return not self.rseq and any(name.lower() == "100rel" for name in required)

    @property
    def must_come_first(self) -> bool:
        """A 200 must not overtake the 1xx that brought a description (section 3)."""
        return self.has_description and self.unacknowledged is not None

    def send(self, served: "Served", status: int, now_ns: int, answer: bytes = b"") -> None:
        """`answer`: ours, for early media."""
        session = self.session
        self.has_offer = not session.offer
        body = session.negotiation.offer() if self.has_offer else answer
        self.has_description = bool(body)
        self.rseq = 1 + secrets.randbelow(2**31 - 1)
        headers = (("Require", "100rel"), ("RSeq", str(self.rseq)))
        octets = session.agent.respond(served, session.response(status, body, headers), now_ns)
        self.unacknowledged = Unacknowledged(octets, now_ns, TIMEOUT_NS)
        session.reply_to = served.destination
        session.set_deadline()

    def note(self, octets: bytes, served: "Served", now_ns: int) -> None:
        """Sent without asking for a PRACK. Proxies give up after three minutes unless they hear it again (13.3.1.1, 16.8)."""
        self.progress, self.repeat_ns = octets, now_ns + REPEAT_NS
        self.session.reply_to = served.destination
        self.session.set_deadline()

    def receive_prack(self, served: "Served", now_ns: int) -> None:
        """One that is late, because our 200 overtook it, is answered all the same."""
        session, request = self.session, served.request
        numbers = [parse_number(text, 2**32 - 1) for text in (request.headers.get("RAck") or "").split()[:2]]
        if not self.rseq or numbers != [self.rseq, session.invite.cseq[0]]:
            session.agent.refuse(served, 481, "PRACK for a response that we have not sent", now_ns)
            return
        is_first, self.unacknowledged = self.unacknowledged is not None, None
        if is_first and self.has_offer and not self._settle(served, now_ns):
            return
        session.agent.respond(served, make_response(request, 200), now_ns)
        if self.wants_accept:
            self.wants_accept = False
            session.accept(now_ns)

    def _settle(self, served: "Served", now_ns: int) -> bool:
        session = self.session
        try:
            media = session.negotiation.accept(served.request.body)
        except BellframeError as failure:
            headers = (("Warning", warning(failure, session.local_host)),)
            session.agent.respond(served, make_response(served.request, 488, headers=headers), now_ns)
            session.refuse(488, f"the answer in the PRACK cannot be used: {failure}", now_ns)
            return False
        self.has_settled = True
        session.tell("renegotiated", media=media)
        return True

    # ---- time ------------------------------------------------------------------------------------------------------

    @property
    def deadline_ns(self) -> int | None:
        if self.progress:
            return self.repeat_ns
        return self.unacknowledged.deadline_ns if self.unacknowledged else None

    def expire(self, now_ns: int) -> None:
        if self.progress and now_ns >= self.repeat_ns:
            self.repeat_ns = now_ns + REPEAT_NS
            self.session.agent.send_response(self.progress, self.session)
        waiting = self.unacknowledged
        if waiting is None:
            return
        if now_ns >= waiting.give_up_ns:
            self.stop()
            self.session.refuse(504, "the caller wants reliable ringing (100rel), and never acknowledged ours", now_ns)
        elif waiting.repeat(now_ns):
            self.session.agent.send_response(waiting.octets, self.session)

    def stop(self) -> None:
        self.unacknowledged, self.progress = None, b""
