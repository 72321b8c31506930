"""A REFER that we got, and what we tell of it: RFC 3515 and RFC 4488 as the one who is referred, as a table."""

import enum
from typing import TYPE_CHECKING

from sip_front.message import REASONS, Request, Response, make_response
from sip_front.session_state import State as SessionState
from sip_front.transfer import SIPFRAG

if TYPE_CHECKING:
    from sip_front.exchange import Served
    from sip_front.session import Session

LIFE_S = 180


class State(enum.Enum):
    ASKED = 0
    """The REFER has no answer yet."""
    TELLING = 1
    """Its sender hears how our new call fares."""
    OVER = 2


class Cause(enum.Enum):
    ACCEPT, ACCEPT_SILENTLY, REFUSE, PROGRESS, OUTCOME, UNHEARD = range(6)


ASKED, TELLING, OVER = State
TRANSITIONS: dict[tuple[State, Cause], State] = {
    (ASKED, Cause.ACCEPT): TELLING,
    (ASKED, Cause.ACCEPT_SILENTLY): OVER,  # RFC 4488: it wants to hear nothing
    (ASKED, Cause.REFUSE): OVER,
    (TELLING, Cause.PROGRESS): TELLING,
    (TELLING, Cause.OUTCOME): OVER,
    (TELLING, Cause.UNHEARD): OVER,  # it answers our NOTIFY with 481
}


class Referral:
    def __init__(self, session: "Session", served: "Served", target: str) -> None:
        self.session, self.served, self.target, self.state = session, served, target, ASKED

    @property
    def request(self) -> Request:
        return self.served.request

    def refuse(self, status: int, why: str, now_ns: int) -> None:
        self.state = TRANSITIONS[self.state, Cause.REFUSE]
        self.session.agent.refuse(self.served, status, why, now_ns)

    def accept(self, now_ns: int) -> None:
        """202, and the first NOTIFY at once (RFC 3515 2.4.4)."""
        is_silent = (self.request.headers.get("Refer-Sub") or "").strip().lower() == "false"
        self.state = TRANSITIONS[self.state, Cause.ACCEPT_SILENTLY if is_silent else Cause.ACCEPT]
        headers = (("Contact", self.session.contact()), *((("Refer-Sub", "false"),) if is_silent else ()))
        self.session.agent.respond(self.served, make_response(self.request, 202, headers=headers), now_ns)
        self.tell(100, now_ns)

    def tell(self, status: int, now_ns: int) -> None:
        """The latest response to our new INVITE."""
        session, dialog = self.session, self.session.dialog
        row = self.state, Cause.OUTCOME if status >= 200 else Cause.PROGRESS
        if row not in TRANSITIONS:
            return
        self.state = TRANSITIONS[row]
        if dialog is None or session.state is not SessionState.UP:
            return  # it hung up meanwhile, and its subscription went with the dialog
        request = session.make_request("NOTIFY")
        is_over = self.state is OVER
        for name, value in (
            ("Event", f"refer;id={self.request.cseq[0]}"),
            ("Subscription-State", "terminated;reason=noresource" if is_over else f"active;expires={LIFE_S}"),
            ("Content-Type", f"{SIPFRAG};version=2.0"),
        ):
            request.headers.add(name, value)
        request.body = f"SIP/2.0 {status} {REASONS.get(status, 'Unknown')}\r\n".encode()
        session.send(request, dialog, self._receive, now_ns)

    def _receive(self, response: Response | None, _now_ns: int) -> None:
        if (response is None or response.status == 481) and self.state is TELLING:
            self.state = TRANSITIONS[self.state, Cause.UNHEARD]
