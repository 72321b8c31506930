"""One INVITE session: RFC 3261 sections 13 to 15 on top of a dialog, either side of it, without I/O.

It answers what the dialog brings, repeats its own 2xx until the ACK, and says what happened as events. Who the caller
is and whether we want the call is not known here. What has states of its own has a file of its own: our INVITE
(invitation.py), our re-INVITEs (renegotiation.py), reliable ringing (provisional.py), transfers and session timers.
"""

import functools
from typing import TYPE_CHECKING

from control_plane.errors import BellframeError, Misuse
from control_plane.messages import MediaDescription
from sip_front.capabilities import ALLOW, SDP
from sip_front.deadlines import Place
from sip_front.dialog import Dialog
from sip_front.digest import Client
from sip_front.info import DTMF_TYPES, read_key
from sip_front.invitation import PEER_FAILURES
from sip_front.message import BadMessage, Message, Request, Response, make_response, parse_name_address
from sip_front.negotiation import Negotiation, warning
from sip_front.provisional import Provisional
from sip_front.reason import NORMAL_CLEARING, TEMPORARY_FAILURE, read_reason, reason
from sip_front.referral import Referral
from sip_front.renegotiation import Renegotiation
from sip_front.session_state import Event, State
from sip_front.session_timer import DEAD, MIN_SE_S, REFRESHING, SessionTimer
from sip_front.transfer import Transfer
from sip_front.transport import TRANSPORTS, Address, address_of
from sip_front.unacknowledged import Unacknowledged
from sip_front.uri import quoted

if TYPE_CHECKING:
    from sip_front.exchange import OnResponse, Sent, Served
    from sip_front.invitation import Invitation
    from sip_front.user_agent import UserAgent

TIMER_EXPIRED = 102  # Q.850: recovery on timer expiry
MAX_WANTED = 4  # holds and resumes that wait for their turn


class Session:
    __slots__ = (
        "__weakref__", "agent", "allowed", "alternatives", "call_id", "credentials", "deadline_ns", "dialog", "early_answer",
        "invitation", "invite", "is_behind_nat", "is_offer_delayed", "is_secure", "local_host", "local_tag", "moves_on", "negotiation",
        "patience_ns", "peer", "pending", "place", "provisional", "referral", "renegotiation", "reply_to", "sip_call_id", "state",
        "timer", "transfer", "transport_failure", "trunk", "unacknowledged", "uris", "user", "wanted_end", "why_unauthorized",
    )  # fmt: skip

    def __init__(self, agent: "UserAgent", call_id: str, state: State, local_host: str, peer: Address) -> None:
        self.agent, self.call_id, self.state = agent, call_id, state
        self.local_host, self.peer = local_host, peer
        self.alternatives: list[Address] = []
        """Where our INVITE goes if this peer cannot be reached or is overloaded (RFC 3263 4.3)."""
        self.uris: dict[Address, str] = {}
        """What it asks for there, where that is not the same for all: the gateways of a trunk have names of their own."""
        self.patience_ns = 0
        """How long a peer may say nothing at all before the next one is tried; 0: as long as the transaction lasts."""
        self.moves_on: tuple[int, ...] = PEER_FAILURES
        """Statuses of a peer after which the next one is tried."""
        self.is_secure = False
        self.is_offer_delayed = False
        """Our INVITE leaves the offer to the far end."""
        """Of sips: URIs: TLS all the way."""
        self.local_tag = ""
        self.sip_call_id = ""
        self.trunk = ""
        """Whose call it is; empty: of no trunk."""
        self.user = ""
        """Who has called with a password."""
        self.credentials: Client | None = None
        """What answers 401 and 407 there."""
        self.why_unauthorized = ""
        """What the credentials could not answer, in plain words."""
        self.transport_failure = ""
        """Why our INVITE could not be sent at all."""
        self.dialog: Dialog | None = None
        self.invite: Request
        self.negotiation: Negotiation
        self.is_behind_nat = False
        self.allowed: frozenset[str] = frozenset()
        """Methods that the far end says it takes."""
        self.pending: Served | None = None
        """Their INVITE that we have not answered."""
        self.invitation: Invitation | None = None
        """Ours: we called."""
        self.provisional = Provisional(self)
        self.early_answer = b""
        """Ours to their offer, if a 183 has brought it."""
        self.renegotiation = Renegotiation(self)
        self.timer = SessionTimer(agent.session_expires_s)
        self.transfer: Transfer | None = None
        self.referral: Referral | None = None
        """The last REFER of theirs."""
        self.unacknowledged: dict[int, Unacknowledged] = {}
        """By CSeq of their INVITE."""
        self.reply_to = peer
        self.wanted_end: tuple[str, int] | None = None
        """We want to hang up, and must wait for an ACK (15) or a provisional response (9.1) first."""
        self.deadline_ns: int | None = None
        self.place: Place | None = None

    # ---- commands of the call ---------------------------------------------------------------------------------

    @property
    def offer(self) -> bytes:
        """The caller's; empty: it wants ours."""
        return self.invite.body

    def ring(self, now_ns: int) -> None:
        if self.state is not State.INCOMING or self.pending is None:
            return
        if self.provisional.is_wanted:
            self.provisional.send(self.pending, 180, now_ns)
        else:
            self.provisional.note(self.agent.respond(self.pending, self.response(180), now_ns), self.pending, now_ns)

    def speak_early(self, now_ns: int) -> None:
        """183 with our answer, which the 200 will say again (13.3.1.1): early media. Raises BellframeError.

        Without an offer of theirs it only rings.
        """
        if self.state is not State.INCOMING or self.pending is None:
            return
        if not self.offer:
            self.ring(now_ns)
            return
        self.early_answer = self.negotiation.answer(self.offer)
        if self.provisional.is_wanted:
            self.provisional.send(self.pending, 183, now_ns, self.early_answer)
        else:
            self.provisional.note(self.agent.respond(self.pending, self.response(183, self.early_answer), now_ns), self.pending, now_ns)

    def accept(self, now_ns: int) -> None:
        """200 with our answer, or with our offer where the INVITE had none. Raises BellframeError if the offer is no good."""
        if self.state is not State.INCOMING or self.pending is None:
            raise Misuse(f"accept while {self.state.name}")
        if self.provisional.must_come_first:  # RFC 3262 3: the 1xx that brought our offer waits for its PRACK
            self.provisional.wants_accept = True
            return
        body = b""
        if self.offer:
            body = self.early_answer or self.negotiation.answer(self.offer)
        elif not self.provisional.has_settled:
            body = self.negotiation.offer()
        self.provisional.stop()
        self.state = State.ANSWERED
        served, self.pending = self.pending, None
        self._send_2xx(served, self.response(200, body, self.timer.answer(self.invite, now_ns)), now_ns)

    def refuse(self, status: int, text: str, now_ns: int, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """A final failure for their INVITE, and the end of the session."""
        if self.state is State.INCOMING and self.pending:
            self.agent.respond(self.pending, make_response(self.invite, status, to_tag=self.local_tag, headers=headers), now_ns)
            self.pending = None
            self.end(text, status)

    def hang_up(self, text: str, now_ns: int, *, status: int = 480, q850: int = NORMAL_CLEARING) -> None:
        """End it in whatever way its state allows: failure, BYE or CANCEL. `status` is for an INVITE not answered yet."""
        if self.state is State.INCOMING:
            self.refuse(status, text, now_ns, (("Retry-After", "5"),) if status == 503 else ())
        elif self.state is State.ANSWERED:
            self.wanted_end = text, q850  # 15: not before the ACK, or until nobody expects it any more
        elif self.state is State.UP:
            self.send_bye(text, q850, now_ns)
        elif self.invitation and self.state in (State.CALLING, State.PROCEEDING):
            self.wanted_end = text, q850
            if self.state is State.PROCEEDING:
                self.invitation.cancel(now_ns)

    def hold(self, is_held: bool, now_ns: int) -> str:
        """Ask for it; the event `held` or `resumed` says what became of it. Returns why not, or nothing."""
        if self.state is not State.UP:
            return "only a call that is up can be held"
        wanted = self.renegotiation.wanted
        if len(wanted) >= MAX_WANTED:
            return f"{len(wanted)} changes of this call wait for its far end already"
        if not wanted and is_held == self.negotiation.is_holding:
            self.tell("held" if is_held else "resumed", status=200)
        else:
            self.renegotiation.want("hold" if is_held else "resume", now_ns)
        return ""

    def send_elsewhere(self, refer_to: str, now_ns: int) -> str:
        """REFER (RFC 3515); the event `transferred` says what became of it. Returns why not, or nothing."""
        if self.state is not State.UP or self.dialog is None:
            return "only a call that is up can be transferred"
        if self.transfer and not self.transfer.is_over:
            return f"its transfer to {self.transfer.refer_to} is under way"
        self.transfer = Transfer(self, refer_to)
        self.transfer.send(now_ns)
        return ""

    # ---- requests of the far end -------------------------------------------------------------------------------

    def receive_request(self, served: "Served", now_ns: int) -> None:
        """One within the dialog, other than ACK and CANCEL. Always answered."""
        request = served.request
        dialog = self.dialog
        if dialog is None or not dialog.belongs(request) or (self.state is State.ENDED):
            self.agent.refuse(served, 481, f"{request.method} for a call that we do not have", now_ns)
            return
        self._follow(served.destination)
        if not dialog.accept_cseq(request.cseq[0]):
            why = f"{request.method} with a CSeq that is older than the last one; its sender or a proxy mixes up their order"
            self.agent.refuse(served, 500, why, now_ns, (("Retry-After", "1"),))
        elif request.method == "BYE":
            self._receive_bye(served, now_ns)
        elif self.state is State.ENDING:
            self.agent.refuse(served, 481, f"{request.method} for a call that we have just ended", now_ns)
        elif request.method in HANDLERS:
            HANDLERS[request.method](self, served, now_ns)
        else:
            self.agent.refuse(served, 405, f"{request.method} is not for us", now_ns, (("Allow", ALLOW),))
        self.set_deadline()

    def _follow(self, source: Address) -> None:
        """The peer has opened another connection: it is there that it hears us from now on."""
        if source.is_reliable and (source.transport, source.host) == (self.peer.transport, self.peer.host):
            self.peer = source._replace(name=self.peer.name)

    def receive_ack(self, request: Request, now_ns: int) -> None:
        if self.unacknowledged.pop(request.cseq[0], None) is None:
            return  # it comes again for each 2xx that we repeated
        media = None
        if self.negotiation.is_open:
            try:
                media = self.negotiation.accept(request.body)
            except BellframeError as failure:
                self._receive_bad_ack(failure, now_ns)
                return
        if self.state is State.ANSWERED:
            self.state = State.UP
            if self.wanted_end:
                self.send_bye(*self.wanted_end, now_ns)
                return
            self.tell("confirmed", media=media)
        elif media:
            self.tell("renegotiated", media=media)
        self.renegotiation.go_on(now_ns)
        self.set_deadline()

    def _receive_bad_ack(self, failure: BellframeError, now_ns: int) -> None:
        text = f"the answer in the ACK cannot be used: {failure}"
        if self.state is State.UP:
            self.tell("noted", f"{text}; the call goes on as it was")
        else:
            self.state = State.UP
            self.send_bye(text, TEMPORARY_FAILURE, now_ns)
        self.set_deadline()

    def receive_cancel(self, request: Request, now_ns: int) -> None:
        """9.2: of an INVITE without final response; after one it has no effect."""
        if self.state is State.INCOMING:
            said = read_reason(request)
            self.refuse(487, "the caller hung up before we answered" + (f" ({said})" if said else ""), now_ns)

    def _receive_bye(self, served: "Served", now_ns: int) -> None:
        self.agent.respond(served, make_response(served.request, 200), now_ns)
        if self.state is State.ENDING:
            return  # both hung up at once
        if self.pending:  # 15.1.2: what is open gets 487
            self.agent.respond(self.pending, make_response(self.invite, 487, to_tag=self.local_tag), now_ns)
            self.pending = None
        if self.transfer:
            self.transfer.receive_bye(now_ns)
        said = read_reason(served.request)
        self.end("the far end hung up" + (f" ({said})" if said else ""), 0)

    def _receive_offer(self, served: "Served", now_ns: int) -> None:
        """A re-INVITE or an UPDATE (14.2, RFC 3311 5.2, RFC 3264): answered at once, because a worker takes any new address."""
        request = served.request
        if request.method == "INVITE" and self.state is State.INCOMING:
            self.agent.refuse(served, 500, "an INVITE while its first is not answered yet", now_ns, (("Retry-After", "1"),))
        elif request.body and self.state is State.INCOMING:
            self.agent.refuse(served, 500, "an offer while the first is not answered yet", now_ns, (("Retry-After", "1"),))
        elif self._is_glare(request):
            self.agent.refuse(served, 491, f"an {request.method} while our own offer is open (glare); it may come again", now_ns)
        elif self.timer.refuses(request):
            why = f"{request.method} with a session interval below {MIN_SE_S} s"
            self.agent.refuse(served, 422, why, now_ns, (("Min-SE", str(MIN_SE_S)),))
        else:
            self._answer_offer(served, now_ns)

    def _is_glare(self, request: Request) -> bool:
        if request.method == "INVITE":
            return self.state in (State.CALLING, State.PROCEEDING) or self.negotiation.is_open or self.renegotiation.is_open
        return bool(request.body) and self.negotiation.is_open

    def _answer_offer(self, served: "Served", now_ns: int) -> None:
        request, agreed = served.request, self.negotiation.agreed
        is_invite = request.method == "INVITE"
        body = b""
        try:
            if request.body:
                body = self.negotiation.answer(request.body)
            elif is_invite:
                body = self.negotiation.offer()
        except BellframeError as failure:
            why = (("Warning", warning(failure, self.local_host)),)
            self.agent.respond(served, make_response(request, failure.sip_status, headers=why), now_ns)
            name = "re-INVITE" if is_invite else request.method
            text = f"{name} refused with {failure.sip_status}: {failure}; the call goes on as it was"
            self.tell("noted", text, failure.sip_status)
            return
        if self.dialog:
            self.dialog.refresh_target(request.contact)
        headers = (*self._own_headers(), *self.timer.answer(request, now_ns))
        response = make_response(request, 200, headers=headers, body=body, content_type=SDP if body else None)
        if is_invite:
            self._send_2xx(served, response, now_ns)
        else:
            self.agent.respond(served, response, now_ns)
        if request.body and self.negotiation.agreed != agreed:
            self.tell("renegotiated", media=self.negotiation.agreed)

    def _receive_prack(self, served: "Served", now_ns: int) -> None:
        self.provisional.receive_prack(served, now_ns)

    def _receive_info(self, served: "Served", now_ns: int) -> None:
        kind = (served.request.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        if kind in DTMF_TYPES:
            self.agent.respond(served, make_response(served.request, 200), now_ns)
            key = read_key(served.request.body)
            if key:
                self.tell("key", key)
            else:
                self.tell("noted", f"a SIP INFO names no key: {quoted(served.request.body.decode('latin-1'), 40)}", 200)
        elif kind or served.request.body:
            why = f"an INFO with a body of {quoted(kind or 'no type')}; we read {' and '.join(DTMF_TYPES)} only"
            self.agent.refuse(served, 415, why, now_ns, (("Accept", ", ".join(DTMF_TYPES)),))
        else:
            self.agent.respond(served, make_response(served.request, 200), now_ns)  # a keep-alive (RFC 2976 2.2)

    def _receive_notify(self, served: "Served", now_ns: int) -> None:
        if self.transfer is None or not self.transfer.receive_notify(served, now_ns):
            self.agent.refuse(served, 481, "NOTIFY for a subscription that we do not have", now_ns)

    def _receive_refer(self, served: "Served", now_ns: int) -> None:
        """Whoever hears the event answers it at once."""
        targets = served.request.headers.get_all("Refer-To")
        try:
            target = parse_name_address(targets[0]).uri if len(targets) == 1 else ""
        except BadMessage:
            target = ""
        if not target:
            self.agent.refuse(served, 400, "REFER without one Refer-To that can be read", now_ns)
        elif self.state is not State.UP:
            self.agent.refuse(served, 603, "REFER in a call that is not up", now_ns)
        else:
            self.referral = Referral(self, served, target)
            self.tell("referred", target)

    def _receive_options(self, served: "Served", now_ns: int) -> None:
        self.agent.respond(served, make_response(served.request, 200, headers=self.agent.capabilities()), now_ns)

    def receive_bye_response(self, _response: Response | None, _now_ns: int) -> None:
        """Whatever it is: the session is over (15.1.1)."""
        self.state = State.ENDED
        self.agent.forget(self)

    # ---- time ------------------------------------------------------------------------------------------------------

    def expire(self, now_ns: int) -> None:
        if self.invitation:
            self.invitation.expire(now_ns)
        self.provisional.expire(now_ns)
        for cseq, waiting in list(self.unacknowledged.items()):
            if now_ns >= waiting.give_up_ns:
                del self.unacknowledged[cseq]
                self.negotiation.withdraw()
                self.state = State.UP if self.state is State.ANSWERED else self.state
                text = self.wanted_end[0] if self.wanted_end else "the far end never acknowledged our 200"
                self.send_bye(text, TEMPORARY_FAILURE, now_ns)
            elif waiting.repeat(now_ns):
                self.agent.send_response(waiting.octets, self)
        if self.state is State.UP:
            self._expire_while_up(now_ns)
        self.set_deadline()

    def _expire_while_up(self, now_ns: int) -> None:
        self.timer.expire(now_ns)
        if self.timer.state is DEAD:
            text = f"the session was not refreshed within {self.timer.interval_s} s (RFC 4028): the far end or the way to it is gone"
            self.send_bye(text, TIMER_EXPIRED, now_ns)
            return
        if self.timer.state is REFRESHING:
            self.renegotiation.want("refresh", now_ns)
        self.renegotiation.expire(now_ns)
        if self.transfer:
            self.transfer.expire(now_ns)

    def set_deadline(self) -> None:
        """After anything that may have moved it."""
        parts: list[int | None] = [waiting.deadline_ns for waiting in self.unacknowledged.values()]
        parts += [self.provisional.deadline_ns, self.invitation.deadline_ns if self.invitation else None]
        if self.state is State.UP:
            parts += [self.timer.deadline_ns, self.renegotiation.deadline_ns, self.transfer.deadline_ns if self.transfer else None]
        self.deadline_ns = min((part for part in parts if part is not None), default=None)
        self.agent.deadlines.schedule(self)

    # ---- what is sent ------------------------------------------------------------------------------------------------

    def contact(self) -> str:
        return self.agent.contact(self.peer, is_secure=self.is_secure)

    def _own_headers(self) -> tuple[tuple[str, str], ...]:
        return (("Contact", self.contact()), ("Allow", ALLOW), *self.supported())

    def supported(self) -> tuple[tuple[str, str], ...]:
        return (("Supported", ", ".join(self.agent.extensions)),) if self.agent.extensions else ()

    def response(self, status: int, body: bytes = b"", headers: tuple[tuple[str, str], ...] = ()) -> Response:
        """To their INVITE that opened the session."""
        content_type = SDP if body else None
        own = (*self._own_headers(), *headers)
        return make_response(self.invite, status, to_tag=self.local_tag, headers=own, body=body, content_type=content_type)

    def _send_2xx(self, served: "Served", response: Response, now_ns: int) -> None:
        octets = self.agent.respond(served, response, now_ns)
        self.reply_to = served.destination
        self.unacknowledged[served.request.cseq[0]] = Unacknowledged(octets, now_ns)
        self.set_deadline()

    def send_bye(self, text: str, q850: int, now_ns: int) -> None:
        """Ends the session for the call at once; its answer is waited for here."""
        if self.dialog is None or self.state is not State.UP:
            return
        self.state = State.ENDING
        self.unacknowledged.clear()
        self.set_deadline()
        self.tell("ended", text)
        self.bye(self.dialog, text, q850, self.receive_bye_response, now_ns)

    def bye(self, dialog: Dialog, text: str, q850: int, on_response: "OnResponse", now_ns: int) -> None:
        request = self.make_request("BYE", dialog)
        request.headers.remove("Contact")  # table 3: not in a BYE
        request.headers.add("Reason", reason(text, q850))
        self.send(request, dialog, on_response, now_ns)

    def make_request(self, method: str, dialog: Dialog | None = None, *, cseq: int | None = None) -> Request:
        """The next one in the dialog; `cseq`: of the INVITE that an ACK belongs to. Raises Misuse where there is no dialog."""
        used = dialog or self.dialog
        if used is None:
            raise Misuse(f"a {method} without a dialog")
        return used.make_request(method, via=self.agent.new_via(self.destination(used)), contact=self.contact(), cseq=cseq)

    def send(self, request: Request, dialog: Dialog, on_response: "OnResponse", now_ns: int) -> "Sent":
        return self.agent.request(request, self.destination(dialog), self, on_response, now_ns)

    def send_ack(self, octets: bytes, dialog: Dialog) -> None:
        self.agent.send(octets, self.destination(dialog), self.call_id)

    def destination(self, dialog: Dialog) -> Address:
        """The next hop if it is an address; else, and behind a NAT, where its messages come from. On the peer's own connection, if that
        is the same machine: it may have no other way (RFC 5923), and many leave ";transport=tcp" out of their Contact."""
        peer, hop = self.peer, dialog.next_hop()
        if hop is None or (self.is_behind_nat and not dialog.routes):
            return peer
        address = address_of(hop)
        if address is None:
            return peer  # a name is not looked up here
        if address.host == peer.host and hop.scheme == "sip" and "transport" not in hop.params:
            port = hop.port or TRANSPORTS[peer.transport].default_port
            address = address._replace(transport=peer.transport, port=port)
        if address.transport != peer.transport or (peer.is_reliable and address.host != peer.host):
            return address
        return address._replace(flow=peer.flow, name=peer.name)

    def tell(self, kind: str, text: str = "", status: int = 0, media: MediaDescription | None = None) -> None:
        self.agent.tell(Event(kind, self, text, status, media))

    def note_peer(self, message: Message) -> None:
        """What an INVITE or its 2xx says of what the far end takes."""
        methods = tuple(message.headers.get_all("Allow"))
        if methods:
            self.allowed = _set_of(methods)

    def end(self, text: str, status: int) -> None:
        """Without a word to the far end: it knows."""
        self.state = State.ENDED
        self.unacknowledged.clear()
        self.provisional.stop()
        self.set_deadline()
        self.agent.forget(self)
        self.tell("ended", text, status)


@functools.lru_cache(256)
def _set_of(methods: tuple[str, ...]) -> frozenset[str]:
    """Thousands of calls are with the same few kinds of far ends."""
    return frozenset(method.upper() for method in methods)


HANDLERS = {
    "INVITE": Session._receive_offer,
    "UPDATE": Session._receive_offer,
    "PRACK": Session._receive_prack,
    "INFO": Session._receive_info,
    "NOTIFY": Session._receive_notify,
    "OPTIONS": Session._receive_options,
    "REFER": Session._receive_refer,
}


def start_incoming(session: Session, served: "Served", local_tag: str) -> None:
    """Raises BadMessage where From, To or Contact cannot be read."""
    request = served.request
    contact = request.contact or (request.from_ if request.from_.tag is None else None)  # RFC 2543: the caller is where its From says
    if contact is None:
        raise BadMessage("an INVITE needs a Contact: where should our requests go?", 400, request)
    session.invite, session.pending = request, served
    session.local_tag, session.sip_call_id = local_tag, request.call_id
    session.dialog = Dialog.from_request(request, local_tag)
    session.note_peer(request)
    routes = request.headers.get_all("Record-Route")
    last_hop = parse_name_address(routes[0]).uri if routes else contact.uri
    session.is_secure = any(uri[:5].lower() == "sips:" for uri in (request.uri, last_hop))  # 12.1.1
    via, hop = request.top_via, session.dialog.next_hop()
    session.is_behind_nat = hop is not None and via.host == hop.host and via.host.strip("[]") != session.peer.host
