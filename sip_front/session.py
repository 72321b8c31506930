"""One INVITE session: RFC 3261 sections 13 to 15 on top of a dialog, either side of it, without I/O.

It answers what the dialog brings (re-INVITE, BYE, INFO), repeats its own 2xx until the ACK, and says what happened
as events. Who the caller is and whether we want the call is not known here.
"""

import enum
from typing import TYPE_CHECKING, NamedTuple

from control_plane.errors import BellframeError, Misuse
from control_plane.messages import MediaDescription
from sip_front.dialog import Dialog
from sip_front.digest import Client
from sip_front.message import BadMessage, Request, Response, make_response, parse_name_address
from sip_front.negotiation import Negotiation, warning
from sip_front.transaction import T1_NS, T2_NS, TIMEOUT_NS, make_cancel
from sip_front.transport import TRANSPORTS, Address, address_of
from sip_front.uri import quoted

if TYPE_CHECKING:
    from sip_front.user_agent import Sent, Served, UserAgent

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO"
SDP = "application/sdp"
DTMF_TYPES = ("application/dtmf-relay", "application/dtmf")
NORMAL_CLEARING, TEMPORARY_FAILURE, NORMAL_UNSPECIFIED = 16, 41, 31  # Q.850, for the Reason header (RFC 3326)


class State(enum.Enum):
    INCOMING = 0
    """They called, no final response yet."""
    ANSWERED = 1
    """They called, our 2xx waits for its ACK."""
    CALLING = 2
    """We called, nothing came back yet."""
    PROCEEDING = 3
    """We called, they ring."""
    UP = 4
    ENDING = 5
    """Our BYE or CANCEL is under way."""
    ENDED = 6


class Event(NamedTuple):
    """What a session tells the call. `media`: an agreement that is new. `status`: SIP's, where there is one."""

    kind: str
    """invited, ringing, answered, confirmed, renegotiated, noted, ended"""
    session: "Session"
    text: str = ""
    status: int = 0
    media: MediaDescription | None = None


class Unacknowledged:
    """A 2xx to an INVITE, sent again at T1, 2 T1, ... T2 until its ACK (13.3.1.4)."""

    def __init__(self, octets: bytes, now_ns: int) -> None:
        self.octets, self.interval_ns = octets, T1_NS
        self.again_ns, self.give_up_ns = now_ns + T1_NS, now_ns + TIMEOUT_NS


class Session:
    def __init__(self, agent: "UserAgent", call_id: str, state: State, local_host: str, peer: Address) -> None:
        self.agent, self.call_id, self.state = agent, call_id, state
        self.local_host, self.peer = local_host, peer
        self.alternatives: list[Address] = []
        """Where our INVITE goes if this peer cannot be reached or is overloaded (RFC 3263 4.3)."""
        self.is_secure = False
        """Of sips: URIs: TLS all the way."""
        self.local_tag = ""
        self.sip_call_id = ""
        self.trunk = ""
        """Whose call it is; empty: of no trunk."""
        self.credentials: Client | None = None
        """What answers 401 and 407 there."""
        self.why_unauthorized = ""
        """What the credentials could not answer, in plain words."""
        self.dialog: Dialog | None = None
        self.invite: Request
        self.negotiation: Negotiation
        self.is_behind_nat = False
        self.pending: Served | None = None
        """Their INVITE that we have not answered."""
        self.sent_invite: Sent | None = None
        self.unacknowledged: dict[int, Unacknowledged] = {}
        self.acks: dict[str, bytes] = {}
        """Ours, by the tag of who answered: a 2xx that comes again gets the same."""
        self.early_answer = b""
        self.transport_failure = ""
        """Why our INVITE could not be sent at all."""
        self.reply_to = peer
        self.wanted_end: tuple[str, int] | None = None
        """We want to hang up, and must wait for an ACK (15) or a provisional response (9.1) first."""
        self.give_up_ns: int | None = None
        """Our CANCEL is out: when to wait no longer for the final response of the INVITE (9.1)."""
        self.deadline_ns: int | None = None
        self.scheduled_ns: int | None = None

    # ---- commands of the call ---------------------------------------------------------------------------------

    @property
    def offer(self) -> bytes:
        """The caller's; empty: it wants ours."""
        return self.invite.body

    def ring(self, now_ns: int) -> None:
        if self.state is State.INCOMING and self.pending:
            self.agent.respond(self.pending, self._response(180), now_ns)

    def accept(self, now_ns: int) -> None:
        """200 with our answer, or with our offer where the INVITE had none. Raises BellframeError if the offer is no good."""
        if self.state is not State.INCOMING or self.pending is None:
            raise Misuse(f"accept while {self.state.name}")
        body = self.negotiation.answer(self.offer) if self.offer else self.negotiation.offer()
        self.state = State.ANSWERED
        served, self.pending = self.pending, None
        self._send_2xx(served, self._response(200, body), now_ns)

    def refuse(self, status: int, text: str, now_ns: int, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """A final failure for their INVITE, and the end of the session."""
        if self.state is State.INCOMING and self.pending:
            self.agent.respond(self.pending, make_response(self.invite, status, to_tag=self.local_tag, headers=headers), now_ns)
            self.pending = None
            self._end(text, status)

    def hang_up(self, text: str, now_ns: int, *, status: int = 480, q850: int = NORMAL_CLEARING) -> None:
        """End it in whatever way its state allows: failure, BYE or CANCEL. `status` is for an INVITE not answered yet."""
        if self.state is State.INCOMING:
            self.refuse(status, text, now_ns, (("Retry-After", "5"),) if status == 503 else ())
        elif self.state is State.ANSWERED:
            self.wanted_end = text, q850  # 15: not before the ACK, or until nobody expects it any more
        elif self.state is State.UP:
            self._send_bye(text, q850, now_ns)
        elif self.state in (State.CALLING, State.PROCEEDING):
            self.wanted_end = text, q850
            if self.state is State.PROCEEDING:
                self._send_cancel(now_ns)

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
        elif request.method == "INVITE":
            self._receive_reinvite(served, now_ns)
        elif request.method == "INFO":
            self._receive_info(served, now_ns)
        elif request.method == "OPTIONS":
            self.agent.respond(served, make_response(request, 200, headers=self.agent.capabilities()), now_ns)
        else:
            self.agent.refuse(served, 405, f"{request.method} is not for us", now_ns, (("Allow", ALLOW),))

    def _follow(self, source: Address) -> None:
        """The peer has opened another connection: it is there that it hears us from now on."""
        if source.is_reliable and (source.transport, source.host) == (self.peer.transport, self.peer.host):
            self.peer = source._replace(name=self.peer.name)

    def receive_ack(self, request: Request, now_ns: int) -> None:
        if self.unacknowledged.pop(request.cseq[0], None) is None:
            return  # it comes again for each 2xx that we repeated
        self._set_deadline()
        media = None
        if self.negotiation.is_open:
            try:
                media = self.negotiation.accept(request.body)
            except BellframeError as failure:
                if self.state is State.UP:
                    self.agent.tell(Event("noted", self, f"the answer in the ACK cannot be used: {failure}; the call goes on as it was"))
                    return
                self.state = State.UP
                self._send_bye(f"the answer in the ACK cannot be used: {failure}", TEMPORARY_FAILURE, now_ns)
                return
        if self.state is State.ANSWERED:
            self.state = State.UP
            if self.wanted_end:
                self._send_bye(*self.wanted_end, now_ns)
                return
            self.agent.tell(Event("confirmed", self, media=media))
        elif media:
            self.agent.tell(Event("renegotiated", self, media=media))

    def receive_cancel(self, now_ns: int) -> None:
        """9.2: of an INVITE without final response; after one it has no effect."""
        if self.state is State.INCOMING:
            self.refuse(487, "the caller hung up before we answered", now_ns)

    def _receive_bye(self, served: "Served", now_ns: int) -> None:
        self.agent.respond(served, make_response(served.request, 200), now_ns)
        if self.state is State.ENDING:
            return  # both hung up at once
        if self.pending:  # 15.1.2: what is open gets 487
            self.agent.respond(self.pending, make_response(self.invite, 487, to_tag=self.local_tag), now_ns)
            self.pending = None
        reason = served.request.headers.get("Reason")
        self._end("the far end hung up" + (f" ({reason[:120]})" if reason else ""), 0)

    def _receive_reinvite(self, served: "Served", now_ns: int) -> None:
        """14.2 and RFC 3264: answered at once, because a worker takes any new address."""
        request = served.request
        if self.state is State.INCOMING:
            self.agent.refuse(served, 500, "an INVITE while its first is not answered yet", now_ns, (("Retry-After", "1"),))
        elif self.state in (State.CALLING, State.PROCEEDING) or self.negotiation.is_open:
            self.agent.refuse(served, 491, "an INVITE while our own offer is open (glare); it may come again", now_ns)
        else:
            agreed = self.negotiation.agreed
            try:
                body = self.negotiation.answer(request.body) if request.body else self.negotiation.offer()
            except BellframeError as failure:
                headers = (("Warning", warning(failure, self.local_host)),)
                self.agent.respond(served, make_response(request, failure.sip_status, headers=headers), now_ns)
                self.agent.tell(Event("noted", self, f"re-INVITE refused with {failure.sip_status}: {failure}; the call goes on as it was"))
                return
            if self.dialog:
                self.dialog.refresh_target(request.contact)
            response = make_response(request, 200, headers=self._own_headers(), body=body, content_type=SDP)
            self._send_2xx(served, response, now_ns)
            if request.body and self.negotiation.agreed != agreed:
                self.agent.tell(Event("renegotiated", self, media=self.negotiation.agreed))

    def _receive_info(self, served: "Served", now_ns: int) -> None:
        kind = (served.request.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        if kind in DTMF_TYPES:
            self.agent.respond(served, make_response(served.request, 200), now_ns)
            self.agent.tell(Event("noted", self, "a key came by SIP INFO and is not handed on: let the trunk send keys as RFC 4733 events"))
        elif kind or served.request.body:
            why = f"an INFO with a body of {quoted(kind or 'no type')}; we read {' and '.join(DTMF_TYPES)} only"
            self.agent.refuse(served, 415, why, now_ns, (("Accept", ", ".join(DTMF_TYPES)),))
        else:
            self.agent.respond(served, make_response(served.request, 200), now_ns)  # a keep-alive (RFC 2976 2.2)

    # ---- responses of the far end ------------------------------------------------------------------------------

    def receive_invite_response(self, response: Response | None, now_ns: int) -> None:
        """To our INVITE. None: there was none for 64 T1."""
        if (response is None or response.status == 503) and self._try_next(response, now_ns):
            return
        if response is None:
            self._end(self._why_unheard(), 503 if self.transport_failure else 408)  # 8.1.3.1
        elif response.status < 200:
            self._receive_provisional(response, now_ns)
        elif response.status < 300:
            self._receive_2xx(response, now_ns)
        elif self.state is not State.ENDED:
            text = self.wanted_end[0] if self.wanted_end else f"{response.status} {response.reason}"
            self._end(text, response.status)

    def _why_unheard(self) -> str:
        return self.transport_failure or f"no response from {self.peer} for {TIMEOUT_NS // 10**9} s"

    def _try_next(self, response: Response | None, now_ns: int) -> bool:
        """RFC 3263 4.3: the same request as another transaction, to the next server of that name."""
        if self.state not in (State.CALLING, State.PROCEEDING) or self.wanted_end or not self.alternatives:
            return False
        why = f"{self.peer} answered 503" if response else self._why_unheard()
        self.peer, self.transport_failure, self.state = self.alternatives.pop(0), "", State.CALLING
        self.dialog, self.early_answer = None, b""
        self.agent.tell(Event("noted", self, f"{why}; trying {self.peer}"))
        # a copy: the old transaction may have to acknowledge its 503 again
        self.invite = Request("INVITE", self.invite.uri, self.invite.headers.copy(), self.invite.body)
        self.invite.headers.replace_first("Via", self.agent.new_via(self.peer))
        self.invite.headers.set("Contact", self._contact())
        self.sent_invite = self.agent.request(self.invite, self.peer, self, self.receive_invite_response, now_ns)
        return True

    def _receive_provisional(self, response: Response, now_ns: int) -> None:
        if self.state is State.CALLING:
            self.state = State.PROCEEDING
            if self.wanted_end:
                self._send_cancel(now_ns)
                return
        if response.status > 100 and response.to.tag and self.dialog is None:
            self.dialog = Dialog.from_response(self.invite, response)
        if response.body and _is_sdp(response):
            self.early_answer = response.body
        if response.status in (180, 183) and self.state is State.PROCEEDING:
            self.agent.tell(Event("ringing", self, status=response.status))

    def _receive_2xx(self, response: Response, now_ns: int) -> None:
        tag = response.to.tag or ""
        if tag in self.acks:
            self._send_in_dialog(self.acks[tag])  # our ACK was lost
            return
        dialog = Dialog.from_response(self.invite, response)
        self.give_up_ns = None
        self._set_deadline()
        is_first = not self.acks
        if is_first:
            if self.dialog and self.dialog.remote_tag == tag:
                dialog.remote_cseq = self.dialog.remote_cseq
            self.dialog = dialog
        via = self.agent.new_via(self._destination(dialog))
        ack = dialog.make_request("ACK", via=via, contact=self._contact(), cseq=self.invite.cseq[0])
        self.acks[tag] = ack.encode()
        self._send_in_dialog(self.acks[tag], dialog)
        if not is_first:
            self._send_request(dialog, "BYE", "another phone of the same number answered first", NORMAL_CLEARING, now_ns)
            return
        if self.state in (State.ENDING, State.ENDED) or self.wanted_end:
            self.state = State.UP  # it answered while our CANCEL was on its way
            self._send_bye(*(self.wanted_end or ("hung up", NORMAL_CLEARING)), now_ns)
            return
        self.state = State.UP
        try:
            media = self.negotiation.accept(response.body if response.body else self.early_answer)
        except BellframeError as failure:
            self._send_bye(f"the answer cannot be used: {failure}", TEMPORARY_FAILURE, now_ns)
            return
        self.agent.tell(Event("answered", self, media=media))

    def receive_bye_response(self, _response: Response | None, _now_ns: int) -> None:
        """Whatever it is: the session is over (15.1.1)."""
        self.state = State.ENDED
        self.agent.forget(self)

    def receive_cancel_response(self, response: Response | None, _now_ns: int) -> None:
        """The INVITE's own response ends the session, whatever this one is; without any it is given up."""
        if response is None:
            self._give_up_invite()

    def _give_up_invite(self) -> None:
        if self.give_up_ns is not None and self.sent_invite:
            self.agent.abandon(self.sent_invite)
            self._end(self.wanted_end[0] if self.wanted_end else "cancelled", 487)

    # ---- time ------------------------------------------------------------------------------------------------------

    def expire(self, now_ns: int) -> None:
        if self.give_up_ns is not None and now_ns >= self.give_up_ns:
            self._give_up_invite()
        for cseq, waiting in list(self.unacknowledged.items()):
            if now_ns >= waiting.give_up_ns:
                del self.unacknowledged[cseq]
                self.negotiation.withdraw()
                self.state = State.UP if self.state is State.ANSWERED else self.state
                text = self.wanted_end[0] if self.wanted_end else "the far end never acknowledged our 200"
                self._send_bye(text, TEMPORARY_FAILURE, now_ns)
            elif now_ns >= waiting.again_ns:
                self.agent.send_response(waiting.octets, self)
                waiting.interval_ns = min(2 * waiting.interval_ns, T2_NS)
                waiting.again_ns = now_ns + waiting.interval_ns
        self._set_deadline()

    def _set_deadline(self) -> None:
        deadlines = [min(u.again_ns, u.give_up_ns) for u in self.unacknowledged.values()]
        self.deadline_ns = min(deadlines if self.give_up_ns is None else [*deadlines, self.give_up_ns], default=None)
        self.agent.deadlines.schedule(self)

    # ---- what is sent ------------------------------------------------------------------------------------------------

    def _contact(self) -> str:
        return self.agent.contact(self.peer, is_secure=self.is_secure)

    def _own_headers(self) -> tuple[tuple[str, str], ...]:
        return (("Contact", self._contact()), ("Allow", ALLOW))

    def _response(self, status: int, body: bytes = b"") -> Response:
        content_type = SDP if body else None
        return make_response(self.invite, status, to_tag=self.local_tag, headers=self._own_headers(), body=body, content_type=content_type)

    def _send_2xx(self, served: "Served", response: Response, now_ns: int) -> None:
        octets = self.agent.respond(served, response, now_ns)
        self.reply_to = served.destination
        self.unacknowledged[served.request.cseq[0]] = Unacknowledged(octets, now_ns)
        self._set_deadline()

    def _send_cancel(self, now_ns: int) -> None:
        if self.sent_invite and self.wanted_end:
            self.state = State.ENDING
            cancel = make_cancel(self.invite)
            cancel.headers.add("Reason", reason(*self.wanted_end))
            self.give_up_ns = now_ns + TIMEOUT_NS
            self._set_deadline()
            self.agent.request(cancel, self.sent_invite.destination, self, self.receive_cancel_response, now_ns)

    def _send_bye(self, text: str, q850: int, now_ns: int) -> None:
        """Ends the session for the call at once; its answer is waited for here."""
        if self.dialog is None or self.state is not State.UP:
            return
        self.state = State.ENDING
        self.unacknowledged.clear()
        self.agent.tell(Event("ended", self, text))
        self._send_request(self.dialog, "BYE", text, q850, now_ns)

    def _send_request(self, dialog: Dialog, method: str, text: str, q850: int, now_ns: int) -> None:
        destination = self._destination(dialog)
        request = dialog.make_request(method, via=self.agent.new_via(destination), contact=self._contact())
        request.headers.remove("Contact")  # table 3: not in a BYE
        request.headers.add("Reason", reason(text, q850))
        on_response = self.receive_bye_response if dialog is self.dialog else _ignore
        self.agent.request(request, destination, self, on_response, now_ns)

    def _send_in_dialog(self, octets: bytes, dialog: Dialog | None = None) -> None:
        used = dialog or self.dialog
        if used:
            self.agent.send(octets, self._destination(used), self)

    def _destination(self, dialog: Dialog) -> Address:
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

    def _end(self, text: str, status: int) -> None:
        self.state = State.ENDED
        self.unacknowledged.clear()
        self.deadline_ns = self.give_up_ns = None
        self.agent.forget(self)
        self.agent.tell(Event("ended", self, text, status))


def reason(text: str, q850: int) -> str:
    """RFC 3326."""
    plain = text.encode("ascii", "replace").decode().replace("\\", "").replace('"', "'")
    return f'Q.850;cause={q850};text="{"".join(c for c in plain if c >= " ")[:120]}"'


def _is_sdp(message: Request | Response) -> bool:
    return (message.headers.get("Content-Type") or "").partition(";")[0].strip().lower() == SDP


def _ignore(_response: Response | None, _now_ns: int) -> None:
    pass


def start_incoming(session: Session, served: "Served", local_tag: str) -> None:
    """Raises BadMessage where From, To or Contact cannot be read."""
    request = served.request
    if request.contact is None:
        raise BadMessage("an INVITE needs a Contact: where should our requests go?", 400, request)
    session.invite, session.pending = request, served
    session.local_tag, session.sip_call_id = local_tag, request.call_id
    session.dialog = Dialog.from_request(request, local_tag)
    routes = request.headers.get_all("Record-Route")
    last_hop = parse_name_address(routes[0]).uri if routes else request.contact.uri
    session.is_secure = any(uri[:5].lower() == "sips:" for uri in (request.uri, last_hop))  # 12.1.1
    via, hop = request.top_via, session.dialog.next_hop()
    session.is_behind_nat = hop is not None and via.host == hop.host and via.host.strip("[]") != session.peer.host
