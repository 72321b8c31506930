"""Our own re-INVITEs and UPDATEs in a session that is up: hold, resume and session refresh, one at a time.

Both ends may ask at once (glare): then each waits for a time of its own and asks again (RFC 3261 14.1).
"""

import enum
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from control_plane.errors import BellframeError
from control_plane.messages import Direction, MediaDescription
from sip_front.capabilities import ALLOW, SDP
from sip_front.message import Response
from sip_front.part import Part
from sip_front.reason import TEMPORARY_FAILURE
from sip_front.session_timer import Cause as TimerCause
from sip_front.uri import parse_number

if TYPE_CHECKING:
    from sip_front.session import Session

Kind = Literal["hold", "resume", "refresh"]
MS = 1_000_000
OWNER_WAIT_MS, OTHER_WAIT_MS = (2_100, 4_000), (0, 2_000)  # 14.1, in steps of 10 ms; the owner chose the Call-ID
LONGEST_RETRY_AFTER_S = 10  # 14.2 gives at most that much
MAX_TRIES = 6
GONE = (408, 481)
"""12.2.1.2: the far end has no such dialog, or is not there."""
UNKNOWN_METHOD = (405, 501)


class State(enum.Enum):
    IDLE = 0
    WAITING = 1
    """Something is wanted, and it is not the time for it."""
    ASKED = 2
    """Our request is under way."""


class Cause(enum.Enum):
    WANT, MAY_GO, GLARE, AGREED, REFUSED, DONE = range(6)


IDLE, WAITING, ASKED = State
Action = Callable[["Renegotiation", int], None]


def ask(one: "Renegotiation", now_ns: int) -> None:
    one.again_ns = None
    one.tries += 1
    one.send(now_ns)


def wait_at_random(one: "Renegotiation", now_ns: int) -> None:
    low, high = OWNER_WAIT_MS if one.session.invitation else OTHER_WAIT_MS
    one.again_ns = now_ns + random.randrange(low, high + 1, 10) * MS


def next_one(one: "Renegotiation", _now_ns: int) -> None:
    one.wanted.pop(0)
    one.tries, one.again_ns = 0, None


TRANSITIONS: dict[tuple[State, Cause], tuple[State, tuple[Action, ...]]] = {
    (IDLE, Cause.WANT): (WAITING, ()),
    (WAITING, Cause.WANT): (WAITING, ()),
    (ASKED, Cause.WANT): (ASKED, ()),
    (WAITING, Cause.MAY_GO): (ASKED, (ask,)),
    (WAITING, Cause.DONE): (IDLE, ()),
    (ASKED, Cause.GLARE): (WAITING, (wait_at_random,)),
    (ASKED, Cause.AGREED): (WAITING, (next_one,)),
    (ASKED, Cause.REFUSED): (WAITING, (next_one,)),
}


class Renegotiation(Part):
    __slots__ = ("ack", "ack_cseq", "again_ns", "is_by_update", "state", "tries", "wanted")

    def __init__(self, session: "Session") -> None:
        super().__init__(session)
        self.state = IDLE
        self.wanted: list[Kind] = []
        """In order; the first is the one that is under way."""
        self.tries = 0
        self.again_ns: int | None = None
        self.is_by_update = False
        self.ack = b""
        """Of our last re-INVITE: a 2xx that comes again gets the same."""
        self.ack_cseq = 0

    def step(self, cause: Cause, now_ns: int) -> None:
        self.state, actions = TRANSITIONS[self.state, cause]
        for action in actions:
            action(self, now_ns)

    @property
    def is_open(self) -> bool:
        """A re-INVITE of ours has no final response yet."""
        return self.state is ASKED and not self.is_by_update

    def want(self, kind: Kind, now_ns: int) -> None:
        if kind == "refresh" and self.wanted:
            return  # what is under way refreshes as well
        if self.wanted[-1:] != [kind]:
            self.wanted.append(kind)
            self.step(Cause.WANT, now_ns)
        self.go_on(now_ns)

    def go_on(self, now_ns: int) -> None:
        """Send what waits, if it may go now. Neither side may have an INVITE open (14.1)."""
        session = self.session
        if self.state is WAITING and not self.wanted:
            self.step(Cause.DONE, now_ns)
        is_free = not session.unacknowledged and not session.negotiation.is_open
        if self.state is WAITING and is_free and session.dialog and (self.again_ns is None or now_ns >= self.again_ns):
            self.step(Cause.MAY_GO, now_ns)
        session.set_deadline()

    @property
    def deadline_ns(self) -> int | None:
        return self.again_ns

    def expire(self, now_ns: int) -> None:
        if self.again_ns is not None and now_ns >= self.again_ns:
            self.again_ns = None
            self.go_on(now_ns)

    # ---- the request and its responses -----------------------------------------------------------------------------

    def send(self, now_ns: int) -> None:
        session, kind = self.session, self.wanted[0]
        dialog = session.dialog
        assert dialog is not None
        self.is_by_update = kind == "refresh" and "UPDATE" in session.allowed
        request = session.make_request("UPDATE" if self.is_by_update else "INVITE")
        for name, value in (("Allow", ALLOW), *session.supported(), *session.timer.request_headers()):
            request.headers.add(name, value)
        if not self.is_by_update:
            request.headers.add("Content-Type", SDP)
            request.body = session.negotiation.repeat(self._direction(kind))
        session.send(request, dialog, self.receive, now_ns)

    def _direction(self, kind: Kind) -> Direction | None:
        """None: as it is. Who is held already and holds as well lets nothing flow (RFC 3264 8.4)."""
        if kind == "refresh":
            return None
        return "sendrecv" if kind == "resume" else self.session.negotiation.hold_direction

    def receive(self, response: Response | None, now_ns: int) -> None:
        """None: there was none for 64 T1."""
        session = self.session
        status = 408 if response is None else response.status
        if status < 200:
            return
        if response is not None and status < 300 and not self.is_by_update and self.ack_cseq == response.cseq[0]:
            if session.dialog:
                session.send_ack(self.ack, session.dialog)  # our ACK was lost
            return
        if self.state is not ASKED:
            return
        if response is not None and status < 300:
            self._receive_2xx(response, now_ns)
        else:
            self._receive_failure(status, response, now_ns)
        self.go_on(now_ns)

    def _receive_2xx(self, response: Response, now_ns: int) -> None:
        session, kind = self.session, self.wanted[0]
        dialog = session.dialog
        assert dialog is not None
        session.note_peer(response)
        dialog.refresh_target(response.contact)
        session.timer.receive_2xx(response, now_ns)
        if self.is_by_update:
            self.step(Cause.AGREED, now_ns)
            return
        self.ack, self.ack_cseq = session.make_request("ACK", cseq=response.cseq[0]).encode(), response.cseq[0]
        session.send_ack(self.ack, dialog)
        before = session.negotiation.agreed
        try:
            media = session.negotiation.accept(response.body)
        except BellframeError as failure:
            session.send_bye(f"the answer to our re-INVITE cannot be used: {failure}", TEMPORARY_FAILURE, now_ns)
            return
        self.step(Cause.AGREED, now_ns)
        self._tell(kind, 200, "", media if media != before else None)

    def _receive_failure(self, status: int, response: Response | None, now_ns: int) -> None:
        session, kind = self.session, self.wanted[0]
        session.negotiation.withdraw()
        if status in GONE:
            why = "is not answered" if response is None else f"gets {status}"
            session.send_bye(f"our {'session refresh' if kind == 'refresh' else 're-INVITE'} {why}: the far end is gone", 102, now_ns)
        elif status == 491 and self.tries < MAX_TRIES:
            self.step(Cause.GLARE, now_ns)
        elif status == 500 and response is not None and "Retry-After" in response.headers and self.tries < MAX_TRIES:
            self.step(Cause.GLARE, now_ns)
            wait_s = parse_number((response.headers.get("Retry-After") or "").split(" ")[0], LONGEST_RETRY_AFTER_S)
            self.again_ns = now_ns + (LONGEST_RETRY_AFTER_S if wait_s is None else wait_s) * 1_000 * MS
        elif status in UNKNOWN_METHOD and self.is_by_update:
            session.allowed -= {"UPDATE"}
            self.step(Cause.GLARE, now_ns)
            self.again_ns = None
        elif status == 422 and response is not None and session.timer.raise_minimum(response):
            self.step(Cause.GLARE, now_ns)
            self.again_ns = None
        else:
            self._give_up(kind, status, response, now_ns)

    def _give_up(self, kind: Kind, status: int, response: Response | None, now_ns: int) -> None:
        self.step(Cause.REFUSED, now_ns)
        self.session.timer.step(TimerCause.REFUSED, now_ns)
        self._tell(kind, status, f"{status} {response.reason if response else ''}".strip(), None)

    def _tell(self, kind: Kind, status: int, text: str, media: MediaDescription | None) -> None:
        if kind != "refresh":
            self.session.tell("held" if kind == "hold" else "resumed", text, status, media)
        elif status >= 300:
            self.session.tell("noted", f"the far end refuses our session refresh with {text}; it is asked again in time", status)
        elif media:
            self.session.tell("renegotiated", media=media)
