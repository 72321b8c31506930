"""Sending the far end elsewhere: a REFER of ours and the subscription that it makes (RFC 3515, RFC 4488), as a table.

The far end tells with NOTIFYs how its new call fares. The call with us goes on meanwhile, also after a refusal; after
success it is ours to end (RFC 5589 6.1).
"""

import enum
from typing import TYPE_CHECKING
from urllib.parse import quote

from sip_front.dialog import Dialog
from sip_front.message import STATUS_LINE, Request, Response, make_response
from sip_front.uri import BadUri, Uri, parse_uri, quoted

if TYPE_CHECKING:
    from sip_front.exchange import Served
    from sip_front.session import Session

SILENT_LIMIT_NS = 180_000_000_000
"""Of the subscription: phones ring for two minutes, and some far ends never say how it ended."""
SIPFRAG = "message/sipfrag"
MAX_TARGET = 1024  # characters


class State(enum.Enum):
    ASKED = 0
    """Our REFER has no answer yet."""
    ACCEPTED = 1
    """The far end is calling the other one, and tells us about it."""
    OVER = 2


class Cause(enum.Enum):
    ACCEPT, ACCEPT_SILENTLY, REFUSE = range(3)
    PROGRESS, SUCCESS, FAILURE, NO_WORD = range(3, 7)
    BYE, TIMEOUT = range(7, 9)


ASKED, ACCEPTED, OVER = State
TRANSITIONS: dict[tuple[State, Cause], tuple[State, bool | None]] = {
    # where it leads, and whether the far end went; None: not known yet
    (ASKED, Cause.ACCEPT): (ACCEPTED, None),
    (ASKED, Cause.ACCEPT_SILENTLY): (OVER, True),  # RFC 4488: no subscription, nothing more will be told
    (ASKED, Cause.REFUSE): (OVER, False),
    (ASKED, Cause.PROGRESS): (ACCEPTED, None),  # a NOTIFY may overtake the 202 (RFC 6665 4.1.2.4)
    (ASKED, Cause.SUCCESS): (OVER, True),
    (ASKED, Cause.FAILURE): (OVER, False),
    (ASKED, Cause.BYE): (OVER, False),
    (ACCEPTED, Cause.ACCEPT): (ACCEPTED, None),
    (ACCEPTED, Cause.PROGRESS): (ACCEPTED, None),
    (ACCEPTED, Cause.SUCCESS): (OVER, True),
    (ACCEPTED, Cause.FAILURE): (OVER, False),
    (ACCEPTED, Cause.NO_WORD): (OVER, False),
    (ACCEPTED, Cause.BYE): (OVER, True),  # carriers hang up once the new call is theirs, and save the last NOTIFY
    (ACCEPTED, Cause.TIMEOUT): (OVER, False),
}


class Transfer:
    def __init__(self, session: "Session", refer_to: str) -> None:
        self.session, self.refer_to, self.state = session, refer_to, ASKED
        self.status = 0
        """The last one that the far end told of its new call."""
        self.deadline_ns: int | None = None

    @property
    def is_over(self) -> bool:
        return self.state is OVER

    def send(self, now_ns: int) -> None:
        session = self.session
        dialog = session.dialog
        assert dialog is not None
        request = session.make_request("REFER")
        request.headers.add("Refer-To", f"<{self.refer_to}>")
        request.headers.add("Referred-By", f"<{dialog.local.uri}>")
        request.headers.add("Allow-Events", "refer")
        session.send(request, dialog, self.receive, now_ns)

    def receive(self, response: Response | None, now_ns: int) -> None:
        """To the REFER. None: there was none for 64 T1."""
        if response is None:
            self._step(Cause.REFUSE, 408, "no answer to our REFER", now_ns)
        elif response.status >= 300:
            self._step(Cause.REFUSE, response.status, f"{response.status} {response.reason}", now_ns)
        elif response.status >= 200:
            is_silent = (response.headers.get("Refer-Sub") or "").strip().lower() == "false"
            text = "accepted without word of what becomes of it (Refer-Sub: false)" if is_silent else ""
            self._step(Cause.ACCEPT_SILENTLY if is_silent else Cause.ACCEPT, response.status, text, now_ns)

    def receive_notify(self, served: "Served", now_ns: int) -> bool:
        """False: it belongs to no subscription of ours (481)."""
        request = served.request
        event = (request.headers.get("Event") or "").partition(";")[0].strip().lower()
        if self.is_over or event != "refer":
            return False
        self.session.agent.respond(served, make_response(request, 200), now_ns)
        is_last = (request.headers.get("Subscription-State") or "").strip().lower().startswith("terminated")
        status, line = read_sipfrag(request)
        if 200 <= status < 300:
            self._step(Cause.SUCCESS, status, line, now_ns)
        elif status >= 300:
            self._step(Cause.FAILURE, status, line, now_ns)
        elif is_last and self.state is ACCEPTED:
            text = f"the far end ended its report without saying how its call went (last: {line or 'nothing'})"
            self._step(Cause.NO_WORD, status or self.status, text, now_ns)
        else:
            self._step(Cause.PROGRESS, status, line, now_ns)
        return True

    def receive_bye(self, now_ns: int) -> None:
        if not self.is_over:
            text = "the far end hung up while it was transferred" if self.state is ACCEPTED else "the far end hung up instead"
            self._step(Cause.BYE, 200 if self.state is ACCEPTED else 487, text, now_ns)

    def expire(self, now_ns: int) -> None:
        if self.deadline_ns is not None and now_ns >= self.deadline_ns:
            text = f"the far end has not said for {SILENT_LIMIT_NS // 10**9} s how its call went"
            self._step(Cause.TIMEOUT, 408, text, now_ns)

    def _step(self, cause: Cause, status: int, text: str, now_ns: int) -> None:
        row = TRANSITIONS.get((self.state, cause))
        if row is None:
            return
        self.state, has_gone = row
        self.status = status or self.status
        self.deadline_ns = now_ns + SILENT_LIMIT_NS if self.state is ACCEPTED else None
        if has_gone is None:
            if cause is Cause.PROGRESS and text:
                self.session.tell("progress", f"transfer to {self.refer_to}: {text}", status)
        elif has_gone:
            self.session.tell("transferred", text, min(max(self.status, 200), 299))
        else:
            self.session.tell("transferred", text, max(self.status, 300))
        self.session.set_deadline()


def read_sipfrag(request: Request) -> tuple[int, str]:
    """The status and the status line of the far end's new call (RFC 3420); 0 where the body holds none."""
    kind = (request.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    if kind != SIPFRAG:
        return 0, ""
    line = request.body.partition(b"\n")[0].decode("utf-8", "replace").strip()
    found = STATUS_LINE.fullmatch(line)
    return (int(found[1]), f"{found[1]} {found[2] or ''}".strip()) if found else (0, "")


def target_uri(to: str, dialog: Dialog) -> str:
    """What Refer-To names: a URI as it is; a bare number at the far end's own domain. Raises BadUri."""
    text = to.strip()
    if len(text) > MAX_TARGET:
        raise BadUri(f"a target of {len(text)} characters")
    if ":" not in text:
        if not text or not all(c.isalnum() or c in "+*#-_.~" for c in text):
            raise BadUri(f"{quoted(text)} is neither a SIP URI nor a number")
        return Uri("sip", quote(text, safe="+*-_.~"), None, parse_uri(dialog.remote.uri).host, None).encode()
    parse_uri(text)
    if "<" in text or ">" in text:
        raise BadUri(f"{quoted(text)} holds an angle bracket")
    return text


def replacing(target: str, other: Dialog) -> str:
    """A target that takes the place of us in `other`, a dialog of ours with it (RFC 3891 3, RFC 5589 7.3)."""
    tags = f"{other.call_id};to-tag={other.remote_tag};from-tag={other.local_tag}"
    return f"{target}{'&' if '?' in target else '?'}Replaces={quote(tags, safe='')}"
