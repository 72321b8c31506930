"""An INVITE of ours that opens a session: what rings, who answers (it may be several), CANCEL, and the ACKs.

RFC 3261 9 and 13.2, and RFC 3262 as the one who calls: a reliable 1xx gets its PRACK, and its description may
settle the session before anybody answers. Where the far end makes the offer (13.2.1: our INVITE has none), it is in
the first reliable 1xx or in the 2xx, and our answer goes with the PRACK or the ACK.
"""

from typing import TYPE_CHECKING

from control_plane.errors import BellframeError, NotAcceptable
from control_plane.messages import MediaDescription
from sip_front.capabilities import SDP, is_sdp
from sip_front.dialog import Dialog
from sip_front.message import Request, Response
from sip_front.part import Part
from sip_front.reason import NORMAL_CLEARING, TEMPORARY_FAILURE, read_reason, reason
from sip_front.redirection import contacts
from sip_front.session_state import State
from sip_front.transaction import TIMEOUT_NS, make_cancel
from sip_front.uri import parse_number

if TYPE_CHECKING:
    from sip_front.exchange import Sent
    from sip_front.session import Session

MAX_FORKS = 8  # phones that ring at once and want to be acknowledged
PEER_FAILURES = (408, 500, 502, 503, 504)  # of that server, not of the number: another one may do better
CREDENTIALS = ("Authorization", "Proxy-Authorization")
FOLLOWED = (300, 301, 302)
MAX_TRIES = 4  # of one call: how often a 422 or a 3xx may ask for another INVITE


class Invitation(Part):
    def __init__(self, session: "Session") -> None:
        super().__init__(session)
        self.sent: Sent | None = None
        self.tries = 0
        self.acks: dict[str, bytes] = {}
        """Ours, by the tag of who answered: a 2xx that comes again gets the same."""
        self.early: dict[str, Dialog] = {}
        """By tag: who rings."""
        self.rseqs: dict[str, int] = {}
        """By tag: the last reliable 1xx that was acknowledged."""
        self.asked: set[str] = set()
        """Request-URIs that were redirected."""
        self.early_answer = b""
        self.settled_tag: str | None = None
        """Whose reliable 1xx brought the answer to our offer already."""
        self.why_refused = ""
        """The far end's offer, which our INVITE left to it."""
        self.give_up_ns: int | None = None
        """Our CANCEL is out: when to wait no longer for the final response of the INVITE (9.1)."""
        self.move_on_ns: int | None = None
        """When to try the next peer, because this one says nothing at all."""

    def send(self, now_ns: int) -> None:
        session = self.session
        if session.is_offer_delayed:
            session.invite.headers.remove("Content-Type")
        elif not session.invite.body:
            session.invite.body = session.negotiation.offer()
        self.sent = session.agent.request(session.invite, session.peer, session, self.receive, now_ns)
        self.move_on_ns = now_ns + session.patience_ns if session.patience_ns and session.alternatives else None
        session.set_deadline()

    def cancel(self, now_ns: int) -> None:
        session = self.session
        if self.sent and session.wanted_end:
            session.state = State.ENDING
            cancel = make_cancel(self.sent.request)
            cancel.headers.add("Reason", reason(*session.wanted_end))
            self.give_up_ns = now_ns + TIMEOUT_NS
            session.set_deadline()
            session.agent.request(cancel, self.sent.destination, session, self._receive_cancel_response, now_ns)

    # ---- responses ---------------------------------------------------------------------------------------------------

    def receive(self, response: Response | None, now_ns: int) -> None:
        """None: there was none for 64 T1."""
        session = self.session
        self.move_on_ns = None
        if (response is None or response.status in self.session.moves_on) and self._try_next(response, now_ns):
            return
        if response is None:
            session.end(self._why_unheard(), 503 if session.transport_failure else 408)  # 8.1.3.1
        elif response.status < 200:
            self._receive_provisional(response, now_ns)
        elif response.status < 300:
            self._receive_2xx(response, now_ns)
        elif session.state is not State.ENDED:
            self._receive_failure(response, now_ns)

    def _why_unheard(self) -> str:
        remedy = "look at its address and port, at firewalls, and whether it takes calls from this host"
        return self.session.transport_failure or f"no response from {self.session.peer} for {TIMEOUT_NS // 10**9} s; {remedy}"

    def _try_next(self, response: Response | None, now_ns: int) -> bool:
        """RFC 3263 4.3: the same request as another transaction, to the next server of that name."""
        session = self.session
        if session.state not in (State.CALLING, State.PROCEEDING) or session.wanted_end or not session.alternatives:
            return False
        why = f"{session.peer} answered {response.status}" if response else self._why_unheard()
        session.peer, session.transport_failure = session.alternatives.pop(0), ""
        session.tell("noted", f"{why}; trying {session.peer}")
        self._start_anew(session.invite.cseq[0], now_ns)
        return True

    def _start_anew(self, cseq: int, now_ns: int) -> None:
        """A copy: the transaction before may have to acknowledge its failure again."""
        session = self.session
        session.state, session.dialog = State.CALLING, None
        uri = session.uris.get(session.peer, session.invite.uri)
        invite = session.invite = Request("INVITE", uri, session.invite.headers.copy(), session.invite.body)
        for name in CREDENTIALS:
            invite.headers.remove(name)  # they were for another URI, or another server
        invite.headers.replace_first("Via", session.agent.new_via(session.peer))
        invite.headers.set("Contact", session.contact())
        invite.headers.set("CSeq", f"{cseq} INVITE")
        self.early.clear()
        self.rseqs.clear()
        if self.settled_tag is not None and not session.is_offer_delayed:
            session.negotiation.reopen()
        self.early_answer, self.settled_tag, self.why_refused = b"", None, ""
        self.send(now_ns)

    def _receive_provisional(self, response: Response, now_ns: int) -> None:
        session = self.session
        session.agent.touched.add(session.call_id)
        if session.state is State.CALLING:
            session.state = State.PROCEEDING
            if session.wanted_end:
                self.cancel(now_ns)
                return
        tag = response.to.tag
        if response.status == 100 or not tag:
            if response.status > 100:
                self._tell_ringing(response)
            return
        dialog = self.early.get(tag)
        if dialog is None and len(self.early) < MAX_FORKS:
            dialog = self.early[tag] = Dialog.from_response(session.invite, response)
        session.dialog = session.dialog or dialog
        session.note_peer(response)
        is_reliable = "100rel" in [name.lower() for name in response.headers.get_all("Require")]
        if is_reliable and dialog is not None:
            if not self._acknowledge(response, dialog, now_ns):
                return
            is_reliable = tag in self.rseqs
        if has_sdp(response) and not session.is_offer_delayed:
            self._receive_early(response, tag if is_reliable else None)
        self._tell_ringing(response)

    def _tell_ringing(self, response: Response) -> None:
        if self.session.state is State.PROCEEDING:
            self.session.tell("ringing", f"{response.status} {response.reason}", response.status)

    def _acknowledge(self, response: Response, dialog: Dialog, now_ns: int) -> bool:
        """PRACK (RFC 3262 4). False: a repeat, or one whose predecessor is missing."""
        rseq = parse_number((response.headers.get("RSeq") or "").strip(), 2**32 - 1)
        last = self.rseqs.get(dialog.remote_tag)
        if rseq is None or (last is not None and rseq != last + 1):
            return False
        self.rseqs[dialog.remote_tag] = rseq
        prack = self.session.make_request("PRACK", dialog)
        prack.headers.add("RAck", f"{rseq} {response.cseq[0]} INVITE")
        is_offered = self.session.is_offer_delayed and self.settled_tag is None and has_sdp(response)
        media = self._answer_in(prack, response.body) if is_offered else None
        self.session.send(prack, dialog, _ignore, now_ns)
        if media:
            self.settled_tag = dialog.remote_tag
            self.session.tell("early", "", response.status, media)
        elif self.why_refused:
            self.session.hang_up(self.why_refused, now_ns)
        return True

    def _answer_in(self, request: Request, offer: bytes) -> MediaDescription | None:
        """Our answer to the far end's offer, in our PRACK or ACK. None: it cannot be used, and each of its lines is refused (13.2.2.4)."""
        negotiation = self.session.negotiation
        try:
            request.body = negotiation.answer(offer)
        except BellframeError as failure:
            self.why_refused, request.body = f"the offer cannot be used: {failure}", negotiation.refusal(offer)
        if request.body:
            request.headers.set("Content-Type", SDP)
        return None if self.why_refused else negotiation.agreed

    def _receive_early(self, response: Response, reliable_tag: str | None) -> None:
        """Early media: the worker is told where to. A description that cannot be used changes nothing before the 2xx."""
        session = self.session
        self.early_answer = response.body
        try:
            if reliable_tag is not None and session.negotiation.is_open:
                media = session.negotiation.accept(response.body)
                self.settled_tag = reliable_tag
            elif session.negotiation.is_open:
                media = session.negotiation.preview_answer(response.body)
            else:
                return
        except BellframeError as failure:
            session.tell("noted", f"early media cannot be used: {failure}", response.status)
            return
        session.tell("early", "", response.status, media)

    def _receive_2xx(self, response: Response, now_ns: int) -> None:
        session = self.session
        tag = response.to.tag or ""
        dialog = Dialog.from_response(session.invite, response)
        if tag in self.acks:
            session.send_ack(self.acks[tag], dialog)  # our ACK was lost
            return
        self.give_up_ns = None
        is_first = not self.acks
        if tag in self.early:
            dialog.local_cseq = max(dialog.local_cseq, self.early[tag].local_cseq)
            dialog.remote_cseq = self.early[tag].remote_cseq
        if is_first:
            if session.dialog and session.dialog.remote_tag == tag:
                dialog.remote_cseq = session.dialog.remote_cseq
            session.dialog = dialog
        is_wanted = is_first and session.state in (State.CALLING, State.PROCEEDING) and not session.wanted_end
        self.acks[tag] = self._ack(dialog, session.invite, response, is_wanted)
        session.send_ack(self.acks[tag], dialog)
        if not is_first:
            session.bye(dialog, "another phone of the same number answered first", NORMAL_CLEARING, _ignore, now_ns)
        elif session.state in (State.ENDING, State.ENDED) or session.wanted_end:
            session.state = State.UP  # it answered while our CANCEL was on its way
            session.send_bye(*(session.wanted_end or ("hung up", NORMAL_CLEARING)), now_ns)
        else:
            session.state = State.UP
            self._settle(response, tag, now_ns)
        session.set_deadline()

    def _ack(self, dialog: Dialog, invite: Request, response: Response, is_wanted: bool) -> bytes:
        ack = self.session.make_request("ACK", dialog, cseq=response.cseq[0])
        for name in CREDENTIALS:  # 13.2.2.4: those of the INVITE, because nobody can challenge an ACK
            for value in invite.headers.get_all(name):
                ack.headers.add(name, value)
        if self.session.is_offer_delayed and self.settled_tag != dialog.remote_tag and has_sdp(response):
            if is_wanted:
                self._answer_in(ack, response.body)
            else:
                ack.body = self.session.negotiation.refusal(response.body)
                ack.headers.set("Content-Type", SDP)
        return ack.encode()

    def _settle(self, response: Response, tag: str, now_ns: int) -> None:
        session = self.session
        session.note_peer(response)
        session.timer.receive_2xx(response, now_ns)
        try:
            media = self._agreed(response, tag)
        except BellframeError as failure:
            what = "" if session.is_offer_delayed else "the answer cannot be used: "
            session.send_bye(f"{what}{failure}", TEMPORARY_FAILURE, now_ns)
            return
        session.tell("answered", "", response.status, media)

    def _agreed(self, response: Response, tag: str) -> MediaDescription:
        """RFC 3262 5: a reliable 1xx of the same phone has settled it; another phone's did not."""
        negotiation = self.session.negotiation
        if self.session.is_offer_delayed:
            if self.why_refused or negotiation.agreed is None:
                raise NotAcceptable(self.why_refused or "our INVITE left the offer to the far end (delayed_offer), and it made none")
            return negotiation.agreed
        if self.settled_tag == tag and negotiation.agreed:
            return negotiation.agreed
        if self.settled_tag is not None:
            negotiation.reopen()
        return negotiation.accept(response.body or self.early_answer)

    def _receive_failure(self, response: Response, now_ns: int) -> None:
        session = self.session
        is_free = session.wanted_end is None and self.tries < MAX_TRIES
        if is_free and response.status == 422 and session.timer.raise_minimum(response):
            self.tries += 1
            session.invite.headers.remove("Session-Expires")
            session.invite.headers.remove("Min-SE")
            for name, value in session.timer.request_headers(is_first=True):
                session.invite.headers.add(name, value)
            self._start_anew(session.invite.cseq[0] + 1, now_ns)  # 8.1.3.5
            return
        if is_free and response.status in FOLLOWED and self._follow(response, now_ns):
            return
        said = read_reason(response)
        text = f"{response.status} {response.reason}" + (f" ({said})" if said else "")
        session.end(session.wanted_end[0] if session.wanted_end else text, response.status)

    def _follow(self, response: Response, now_ns: int) -> bool:
        """A 3xx: the best of its targets that policy allows and that was not asked yet. Each is a request of the same call (8.1.3.4)."""
        session, redirection = self.session, self.session.agent.redirection
        self.asked.add(session.invite.uri)
        for uri in contacts(response) if redirection else ():
            way = redirection.way(session, uri) if redirection else ""
            if isinstance(way, str):
                session.tell("noted", f"{response.status} {response.reason} is not followed: {way}", response.status)
            elif uri.encode() not in self.asked:
                session.tell("ringing", f"{response.status} {response.reason}: trying {uri.encode()}", 181)
                self.tries += 1
                session.peer, session.alternatives, session.uris = way, [], {way: uri.encode()}
                self._start_anew(session.invite.cseq[0] + 1, now_ns)
                return True
        return False

    def _receive_cancel_response(self, response: Response | None, _now_ns: int) -> None:
        """The INVITE's own response ends the session, whatever this one is; without any it is given up."""
        if response is None:
            self._give_up()

    # ---- time --------------------------------------------------------------------------------------------------------

    @property
    def deadline_ns(self) -> int | None:
        return min((at_ns for at_ns in (self.give_up_ns, self.move_on_ns) if at_ns is not None), default=None)

    def expire(self, now_ns: int) -> None:
        if self.move_on_ns is not None and now_ns >= self.move_on_ns:
            self.move_on_ns = None
            self._move_on(now_ns)
        if self.give_up_ns is not None and now_ns >= self.give_up_ns:
            self._give_up()

    def _move_on(self, now_ns: int) -> None:
        """The peer may only be slow: whatever it says later is ended at once, and it is asked no more."""
        session, late = self.session, self.sent
        if late is None or session.state is not State.CALLING or session.wanted_end or not session.alternatives:
            return
        late.transaction.stop_repeating()
        late.on_response = lambda response, at_ns: self._receive_late(late, response, at_ns)
        session.transport_failure = f"no response from {session.peer} for {session.patience_ns / 1e9:g} s"
        self._try_next(None, now_ns)

    def _receive_late(self, late: "Sent", response: Response | None, now_ns: int) -> None:
        session = self.session
        if response is None or response.status >= 300:
            return
        if response.status < 200:
            session.agent.request(make_cancel(late.request), late.destination, session, _ignore, now_ns)
            return
        dialog = Dialog.from_response(late.request, response)
        session.send_ack(self._ack(dialog, late.request, response, is_wanted=False), dialog)
        session.bye(dialog, "another gateway was asked meanwhile", NORMAL_CLEARING, _ignore, now_ns)

    def _give_up(self) -> None:
        session = self.session
        if self.give_up_ns is not None and self.sent:
            self.give_up_ns = None
            session.agent.abandon(self.sent)
            session.end(session.wanted_end[0] if session.wanted_end else "cancelled", 487)


def has_sdp(message: Response) -> bool:
    return bool(message.body) and is_sdp(message.headers.get("Content-Type"))


def _ignore(_response: Response | None, _now_ns: int) -> None:
    pass
