"""The SIP core without sockets: messages and time in; messages, events and the next deadline out.

It finds the transaction, the session or the refusal that a message belongs to. State is made for an INVITE that
may come and for requests inside its dialog; everything else is answered from the request alone (RFC 3261 8.2.7),
so that strangers and floods leave nothing behind: one message out for one in, and nothing is sent again.
"""

import logging
import secrets
from collections.abc import Callable

from control_plane.errors import BellframeError
from sip_front.admission import Admission, Refusal, fold
from sip_front.callers import Admitted, Callers
from sip_front.capabilities import ALLOW, OTHER_METHODS, SDP, extensions
from sip_front.deadlines import Deadlines
from sip_front.exchange import Answered, MergeKey, OnResponse, Sent, Served, merge_key
from sip_front.figures import FrontFigures
from sip_front.inspection import why_not_understood
from sip_front.invitation import Invitation
from sip_front.message import MAGIC_COOKIE, BadMessage, Headers, Message, Request, Response, is_keepalive, make_response, parse, validate
from sip_front.negotiation import Negotiation
from sip_front.redirection import Redirection
from sip_front.registrar import Registrar
from sip_front.replaces import Found, find_replaced
from sip_front.session import Session, start_incoming
from sip_front.session_state import Event, State
from sip_front.session_timer import MIN_SE_S, SessionTimer
from sip_front.trace import Trace
from sip_front.transaction import Cause, client_key, make_ack, server_key
from sip_front.transport import TRANSPORTS, Address, PlaceTowards, bracketed
from sip_front.uri import Uri, quoted

log = logging.getLogger("sip")
NEVER_CHALLENGED = ("ACK", "CANCEL")  # 22.1: nobody could send them again
IN_DIALOG_ONLY = ("BYE", "INFO", "UPDATE", "PRACK", "NOTIFY", "REFER")
MAX_REPLY_FACTOR = 1.5  # of what a stranger sent: we must not be worth reflecting from
MAX_CHALLENGE_FACTOR = 3  # of a 401, as QUIC has it for addresses that are not proven (RFC 9000 8.1): a phone cannot log in without
MAX_UDP_REQUEST = 1300  # octets; 18.1.1: what is longer goes over a stream, because fragments get lost
NO_TCP_NS = 600_000_000_000  # a far end that took no TCP is asked again after so long
MAX_NO_TCP = 1024
PATIENCE_NS = 4_000_000_000
"""With a server that says nothing at all, where a name has others: four INVITEs went out by then (17.1.1.2). Trunks have their own."""


class UserAgent:
    """`place_towards` finds where a far end reaches us: what our Via and Contact name."""

    def __init__(
        self,
        admission: Admission,
        callers: Callers,
        formats: tuple[str, ...],
        place_towards: PlaceTowards,
        new_call_id: Callable[[], str] = lambda: secrets.token_hex(6),
    ) -> None:
        self.admission, self.callers, self.formats = admission, callers, formats
        self.place_towards, self.new_call_id = place_towards, new_call_id
        self.session_expires_s = 1800
        """0: no session timers."""
        self.redirection: Redirection | None = None
        """Where a 3xx may send us; None: nowhere."""
        self.registrar: Registrar | None = None
        """Of phones; None: there are no users who could log in."""
        self.deadlines = Deadlines()
        self.served: dict[tuple[str, ...], Served | Answered] = {}
        self.sent: dict[tuple[str, str], Sent] = {}
        self.sessions: dict[tuple[str, str], Session] = {}
        """By Call-ID and our tag."""
        self.invites: set[MergeKey] = set()
        """What a merged request has in common with the first (8.2.2.2)."""
        self.outbox: list[tuple[bytes, Address]] = []
        self.taken_over: dict[str, Session] = {}
        """By Call-ID: of the front before us."""
        self.known_hosts: frozenset[str] = frozenset()
        """Of those whom calls are with, as of a second ago: they are read in any flood."""
        self.touched: set[str] = set()
        """Calls of ours for which something was sent: what the journal should know first."""
        self.events: list[Event] = []
        self.traces: list[Trace] = []
        self.received = b""
        """The message that is being looked at."""
        self.is_traced = False
        self.refused_calls = 0
        self.figures = FrontFigures()
        self.trunk_formats: dict[str, tuple[str, ...]] = {}
        self.srtp: str = "off"
        self.trunk_srtp: dict[str, str] = {}
        """Of those trunks that have their own."""
        self.no_tcp: dict[tuple[str, int], int] = {}
        """Who took no TCP, and until when that is believed."""

    # ---- from the process ------------------------------------------------------------------------------------

    def receive(self, octets: bytes, source: Address, now_ns: int) -> bool:
        """One message. Never raises for what a far end wrote. False: it was not even read."""
        if is_keepalive(octets):
            return False
        if source.host not in self.known_hosts and not self.callers.is_worth_reading(source.host, octets, now_ns):
            self.admission.unlogged += 1
            return False
        self.received = octets
        self._read(octets, source, now_ns)
        return True

    def _read(self, octets: bytes, source: Address, now_ns: int) -> None:
        message: Message | None = None
        admitted: Admitted | None = None
        try:
            message = parse(octets)
            if TRANSPORTS[source.transport].is_stream and "Content-Length" not in message.headers:
                request = message if isinstance(message, Request) else None
                raise BadMessage("no Content-Length, which a stream needs to end the message (18.3)", 400, request)
            if isinstance(message, Response):
                self._receive_response(message, source, now_ns)
            else:
                under_way = self._is_under_way(message, source)
                admitted = Admitted("", None) if under_way else self.callers.admit(message, source.host, now_ns)
                if admitted.refusal:
                    self._refuse_stranger(message, admitted.refusal, octets, source, now_ns)
                    return
                validate(message)
                self._receive_request(message, source, admitted, now_ns)
        except BadMessage as failure:
            if failure.request is None and isinstance(message, Request):
                failure.request = message
            self._receive_bad(failure, admitted, octets, source, now_ns)

    def fail_to_send(self, octets: bytes, why: str, now_ns: int) -> None:
        """No way leads there. A request of ours fails at once (17.1.4); over UDP only an INVITE, because others are repeated."""
        sent = None if octets.startswith(b"SIP/2.0 ") else self.sent.get(client_key(parse(octets)))
        if sent is not None and sent.transaction.is_unheard and (sent.destination.is_reliable or sent.request.method == "INVITE"):
            self._fail(sent, why, now_ns)

    def lose_connection(self, lost: Address, why: str, now_ns: int) -> None:
        """What was sent on it and had no answer goes out once more, on another one: often it was the far end's idle limit that ended it."""
        for sent in list(self.sent.values()):
            to = sent.destination
            if sent.transaction.is_unheard and to.transport == lost.transport and (to.flow == lost.flow or to.key == lost.key):
                if sent.has_moved:
                    self._fail(sent, why, now_ns)
                else:
                    sent.has_moved, sent.destination = True, sent.destination._replace(flow=0)
                    self.send(sent.transaction.last_sent, sent.destination, sent.call_id)

    def _fail(self, sent: Sent, why: str, now_ns: int) -> None:
        if sent.fallback:
            if len(self.no_tcp) >= MAX_NO_TCP:
                self.no_tcp.clear()
            self.no_tcp[sent.fallback.host, sent.fallback.port] = now_ns + NO_TCP_NS
            self.abandon(sent)
            sent.request.headers.replace_first("Via", self.new_via(sent.fallback))
            sent.start(sent.fallback, now_ns)
            sent.fallback = None
            self.sent[sent.key] = sent
            self.flush(sent)
            return
        sent.session.transport_failure = why
        sent.transaction.step(Cause.TRANSPORT_ERROR, now_ns)
        self.flush(sent)
        sent.transaction.told = False
        sent.on_response(None, now_ns)

    @property
    def next_deadline_ns(self) -> int | None:
        return self.deadlines.next_ns

    def expire(self, now_ns: int) -> None:
        for sleeper in self.deadlines.take_due(now_ns):
            sleeper.expire(now_ns)
            self.deadlines.schedule(sleeper)

    def take_outbox(self) -> list[tuple[bytes, Address]]:
        outbox, self.outbox = self.outbox, []
        return outbox

    def take_events(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    def take_traces(self) -> list[Trace]:
        traces, self.traces = self.traces, []
        return traces

    # ---- from the call ---------------------------------------------------------------------------------------

    def call(self, call_id: str, to: Uri, destinations: list[Address], caller: str) -> Session:
        """A session of ours; `start` sends its INVITE once its media have a port. `destinations`: the first, and where to try next."""
        destination = destinations[0]
        host = self.place_towards(destination).host
        session = Session(self, call_id, State.CALLING, host, destination)
        session.is_secure, session.patience_ns = to.scheme == "sips", PATIENCE_NS
        # those only that see the same address of ours: the offer names it
        session.alternatives = [other for other in destinations[1:] if self.place_towards(other).host == host]
        session.negotiation = self.new_negotiation(host, destination.host)
        session.local_tag, session.sip_call_id = secrets.token_hex(6), f"{secrets.token_hex(12)}@{bracketed(host)}"
        user = "".join(c for c in caller if c.isalnum() or c in "+-_.") or "bellframe"
        session.invite = Request("INVITE", to._replace(headers={}).encode(), Headers())
        session.invite.headers.lines += [
            ("Via", self.new_via(destination)),
            ("Max-Forwards", "70"),
            ("From", f"<sip:{user}@{bracketed(host)}>;tag={session.local_tag}"),
            ("To", f"<{session.invite.uri}>"),
            ("Call-ID", session.sip_call_id),
            ("CSeq", "1 INVITE"),
            ("Contact", self.contact(destination, is_secure=session.is_secure)),
            ("Allow", ALLOW),
            *session.supported(),
            *session.timer.request_headers(is_first=True),
            ("Content-Type", SDP),
        ]
        session.invitation = Invitation(session)
        return session

    def start(self, session: Session, now_ns: int) -> None:
        self.sessions[session.sip_call_id, session.local_tag] = session
        if session.invitation:
            session.invitation.send(now_ns)

    # ---- from sessions ---------------------------------------------------------------------------------------

    def tell(self, event: Event) -> None:
        self.events.append(event)

    def forget(self, session: Session) -> None:
        self.sessions.pop((session.sip_call_id, session.local_tag), None)
        if self.taken_over.get(session.sip_call_id) is session:
            del self.taken_over[session.sip_call_id]

    def respond(self, served: Served, response: Response, now_ns: int) -> bytes:
        octets = response.encode()
        served.transaction.respond(response.status, octets, now_ns)
        if served.transaction.is_answered:
            left = self.served[served.key] = Answered(served)
            self.flush(left)
        else:
            self.flush(served)
        return octets

    def refuse(self, served: Served, status: int, why: str, now_ns: int, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """A request inside a call, which goes on."""
        self._log_refusal(f"{status}: {why}", served.session.peer, now_ns, is_call=False)
        self.respond(served, make_response(served.request, status, headers=headers), now_ns)

    def request(self, request: Request, destination: Address, session: Session, on_response: OnResponse, now_ns: int) -> Sent:
        if session.credentials and request.method not in NEVER_CHALLENGED:
            session.credentials.apply(request)
        stream = self._stream_instead(request, destination, now_ns)
        if stream:
            request.headers.replace_first("Via", self.new_via(stream))
        sent = Sent(self, request, stream or destination, session, on_response, now_ns)
        sent.fallback = destination if stream else None
        self.sent[sent.key] = sent
        self.flush(sent)
        return sent

    def abandon(self, sent: Sent) -> None:
        """No response is awaited any more; one that comes is ignored."""
        self.sent.pop(sent.key, None)
        sent.transaction.timers.clear()
        sent.transaction.deadline_ns = None

    def send_response(self, octets: bytes, session: Session) -> None:
        self.send(octets, session.reply_to, session.call_id)

    def send(self, octets: bytes, destination: Address, call_id: str) -> None:
        self.outbox.append((octets, destination))
        self.touched.add(call_id)
        if self.is_traced:
            local = self.place_towards(destination).encode()
            self.traces.append(Trace(call_id, True, summarize(octets), str(destination), local, octets))

    def flush(self, owner: Served | Answered | Sent) -> None:
        """Send what a transaction wants sent, forget it when it is over, wake it when it is due."""
        transaction = owner.transaction
        if transaction.outbox:
            for octets in transaction.take_outbox():
                self.send(octets, owner.destination, owner.call_id)
        if transaction.is_over:
            if isinstance(owner, Sent):
                self.sent.pop(owner.key, None)
            else:
                self.served.pop(owner.key, None)
                if owner.merge_key:
                    self.invites.discard(owner.merge_key)
        else:
            self.deadlines.schedule(owner)

    def new_via(self, destination: Address) -> str:
        place = self.place_towards(destination).encode()
        return f"SIP/2.0/{TRANSPORTS[destination.transport].via} {place};branch={MAGIC_COOKIE}{secrets.token_hex(8)};rport"

    def contact(self, destination: Address, user: str = "bellframe", *, is_secure: bool = False) -> str:
        """Where that far end's requests reach us. `is_secure`: the call is one of sips: URIs, and stays one (12.1.1)."""
        place = self.place_towards(destination).encode()
        if is_secure:
            return f"<sips:{user}@{place}>"
        transport = TRANSPORTS[destination.transport]
        parameter = "" if transport.name == "udp" else f";transport={transport.in_uri or transport.name}"
        return f"<sip:{user}@{place}{parameter}>"

    def capabilities(self) -> tuple[tuple[str, str], ...]:
        return (("Allow", ALLOW), ("Accept", SDP), ("Supported", ", ".join(self.extensions)))

    @property
    def extensions(self) -> tuple[str, ...]:
        return extensions(self.session_expires_s)

    @property
    def awaited(self) -> int:
        """Requests of ours that have no final answer yet."""
        return sum(1 for sent in self.sent.values() if sent.session.state is State.ENDING)

    # ---- what came ----------------------------------------------------------------------------------------------

    def _receive_response(self, response: Response, source: Address, now_ns: int) -> None:
        sent = self.sent.get(client_key(response))
        if sent is None:
            self._receive_stray(response)
            return
        validate(response)
        self._trace_received(sent.call_id, f"{response.status} {response.reason} ({sent.request.method})", source)
        is_failed_invite = sent.request.method == "INVITE" and response.status >= 300
        sent.transaction.receive(response.status, now_ns, make_ack(sent.request, response).encode() if is_failed_invite else b"")
        self.flush(sent)
        if sent.transaction.told:
            sent.transaction.told = False
            if response.status not in (401, 407) or not self._answer_challenge(sent, response, now_ns):
                sent.on_response(response, now_ns)

    def _receive_stray(self, response: Response) -> None:
        """A repeat for a transaction that is over, or made up. The 2xx of a re-INVITE by the front before us wants its ACK."""
        number, method = response.cseq
        session = self.sessions.get((response.call_id, response.from_.tag or ""))
        is_ours = session is not None and session.dialog is not None and session.dialog.remote_tag == response.to.tag
        if session and session.dialog and is_ours and method == "INVITE" and 200 <= response.status < 300:
            session.send_ack(session.make_request("ACK", cseq=number).encode(), session.dialog)

    def _answer_challenge(self, sent: Sent, response: Response, now_ns: int) -> bool:
        """Send it once more, with credentials (22.2, 22.3). False: there is nothing to answer with, and the response is final.

        Whoever sent it keeps its `Sent`, which goes on as a transaction of its own.
        """
        session = sent.session
        dialog, method = session.dialog, sent.request.method
        is_unwanted = method in NEVER_CHALLENGED or (method == "INVITE" and session.wanted_end is not None)
        if session.credentials is None or is_unwanted:
            return False
        cseq = 1 + max(sent.request.cseq[0], dialog.local_cseq if dialog else 0)
        request = Request(method, sent.request.uri, sent.request.headers.copy(), sent.request.body)
        request.headers.replace_first("Via", self.new_via(sent.destination))
        request.headers.set("CSeq", f"{cseq} {method}")
        session.why_unauthorized = session.credentials.answer(request, response, sent.attempt)
        if session.why_unauthorized:
            return False
        if dialog:
            dialog.local_cseq = cseq
        if sent.request is session.invite:
            session.invite = request
        spent = sent.spent()
        self.sent[spent.key] = spent
        self.flush(spent)
        sent.request = request
        sent.start(sent.destination, now_ns)
        self.sent[sent.key] = sent
        self.flush(sent)
        return True

    def _receive_request(self, request: Request, source: Address, admitted: Admitted, now_ns: int) -> None:
        key = server_key(request)  # of what came: rport is not there yet
        served = self.served.get(key)
        destination = mark_received(request, source)
        if served is not None and request.method != "CANCEL":
            self._trace_received(served.call_id, request.method, source)
            served.transaction.receive(request.method, now_ns)
            self.flush(served)
            if served.transaction.told:  # the ACK of a 2xx, with the branch of its INVITE
                served.transaction.told = False
                session = self.sessions.get((request.call_id, served.local_tag))
                if session:
                    session.receive_ack(request, now_ns)
            return
        tag = request.to.tag
        if request.method == "CANCEL":
            self._receive_cancel(request, key, destination, now_ns)
        elif tag:
            self._receive_in_dialog(request, key, tag, source, destination, now_ns)
        elif request.method != "ACK":
            self._receive_new(request, key, source, destination, admitted, now_ns)

    def _receive_cancel(self, request: Request, key: tuple[str, ...], destination: Address, now_ns: int) -> None:
        served = self.served.get((*key[:2], "INVITE", *key[3:]))
        if served is None:
            self._log_refusal("481: CANCEL for a call that we do not have", destination, now_ns, is_call=False)
            self._reply(request, 481, destination)
            return
        self._trace_received(served.call_id, "CANCEL", destination)
        self._reply(request, 200, destination, to_tag=served.local_tag)
        if isinstance(served, Served):  # 9.2: after the final answer it has no effect
            served.session.receive_cancel(request, now_ns)

    def _receive_in_dialog(
        self, request: Request, key: tuple[str, ...], tag: str, source: Address, destination: Address, now_ns: int
    ) -> None:
        session = self.sessions.get((request.call_id, tag))
        if session is None:
            if request.method != "ACK":
                self._log_refusal(f"481: {request.method} for a call that we do not have", source, now_ns, is_call=False)
                self._reply(request, 481, destination)
            return
        self._trace_received(session.call_id, request.method, source)
        if request.method == "ACK":
            session.receive_ack(request, now_ns)
            return
        refusal = why_not_understood(request, self.extensions)
        if refusal:
            self._log_refusal(refusal[2], source, now_ns, is_call=False)
            self._reply(request, refusal[0], destination, refusal[1])
            return
        served = self.served[key] = Served(self, key, request, destination, session)
        session.receive_request(served, now_ns)

    def _receive_new(
        self, request: Request, key: tuple[str, ...], source: Address, destination: Address, admitted: Admitted, now_ns: int
    ) -> None:
        """Outside of a dialog, in the order of 8.2. Max-Forwards 0 has arrived like any other (RFC 4475 3.3.11: 483 is for proxies)."""
        if request.method == "OPTIONS":
            self._receive_options(request, source, destination, now_ns)
        elif request.method == "REGISTER" and self.registrar and admitted.user:
            answer = why_not_understood(request, self.extensions) or self.registrar.receive(request, admitted.user, source, now_ns)
            if answer[2]:
                self._log_refusal(answer[2], source, now_ns, is_call=False)
            self._reply(request, answer[0], destination, answer[1])
        elif request.method in IN_DIALOG_ONLY:
            self._log_refusal(f"481: {request.method} for a call that we do not have", source, now_ns, is_call=False)
            self._reply(request, 481, destination)
        elif request.method != "INVITE":
            status = 405 if request.method in OTHER_METHODS else 501
            self._log_refusal(f"{status}: {quoted(request.method)} is not for us", source, now_ns, is_call=False)
            self._reply(request, status, destination, (("Allow", ALLOW),))
        elif self._repeat_answer(request):
            return
        elif merge_key(request) in self.invites:
            self._log_refusal("482: the same INVITE came twice on different ways; a proxy before us forks it to us", source, now_ns)
            self._reply(request, 482, destination)
        else:
            self._receive_invite(request, key, source, destination, admitted, now_ns)

    def _receive_options(self, request: Request, source: Address, destination: Address, now_ns: int) -> None:
        """11.2: what an INVITE would get, and what we can do."""
        misunderstood = why_not_understood(request, self.extensions)
        if misunderstood:
            self._log_refusal(misunderstood[2], source, now_ns, is_call=False)
            self._reply(request, misunderstood[0], destination, misunderstood[1])
        elif self.admission.is_draining:
            self._reply(request, 503, destination, (("Retry-After", str(self.admission.drain_seconds)),))
        else:
            self._reply(request, 200, destination, self.capabilities())

    def _repeat_answer(self, request: Request) -> bool:
        """An INVITE that the front before us has answered comes again: so does its answer."""
        session = self.taken_over.get(request.call_id)
        waiting = session.unacknowledged.get(request.cseq[0]) if session else None
        if session is None or waiting is None or session.dialog is None or session.dialog.remote_tag != request.from_.tag:
            return False
        self.send_response(waiting.octets, session)
        return True

    def _receive_invite(
        self, request: Request, key: tuple[str, ...], source: Address, destination: Address, admitted: Admitted, now_ns: int
    ) -> None:
        misunderstood = why_not_understood(request, self.extensions)
        if misunderstood:
            self._log_refusal(misunderstood[2], source, now_ns)
            self._reply(request, misunderstood[0], destination, misunderstood[1])
            return
        replaced = Found(None)
        if "Replaces" in request.headers:
            replaced = find_replaced(request, admitted.trunk, self.sessions)
            if replaced.session is None:
                self._log_refusal(f"{replaced.status}: {replaced.why}", source, now_ns)
                self._reply(request, replaced.status, destination)
                return
        refusal = None if replaced.session else self.admission.refuse_call(now_ns)
        if refusal:
            self._log_refusal(refusal.text, source, now_ns)
            self._reply(request, refusal.status, destination, refusal.headers)
            return
        if SessionTimer(self.session_expires_s).refuses(request):
            self._log_refusal(f"422: a session interval below {MIN_SE_S} s; it should come again with a longer one", source, now_ns, False)
            self._reply(request, 422, destination, (("Min-SE", str(MIN_SE_S)),))
            return
        host = self.place_towards(source).host
        # over a stream the port that it came from is nobody's: the one of the Via is where a new connection would go
        call_id = replaced.session.call_id if replaced.session else self.new_call_id()
        session = Session(self, call_id, State.INCOMING, host, destination if source.is_reliable else source)
        session.trunk, session.user = admitted.trunk, admitted.user
        served = Served(self, key, request, destination, session)
        start_incoming(session, served, secrets.token_hex(6))
        session.negotiation = self.new_negotiation(host, source.host, admitted.trunk)
        self.served[key] = served
        self.invites.add(merge_key(request))
        self.sessions[request.call_id, session.local_tag] = session
        self._trace_received(call_id, "INVITE", source)
        self.respond(served, make_response(request, 100), now_ns)
        self.tell(Event("replacing" if replaced.session else "invited", session))

    # ---- what is refused -------------------------------------------------------------------------------------

    def _is_under_way(self, request: Request, source: Address) -> bool:
        """A repeat, ACK or CANCEL of what this address sent before, or a request inside of a call with it.

        Whoever was let in once, or was called by us, may go on, whatever lists and passwords say of new calls.
        """
        session = self.sessions.get((request.call_id, request.to.tag or ""))
        if session is not None and session.peer.host == source.host:
            return True
        key = server_key(request)
        served = self.served.get((*key[:2], "INVITE", *key[3:]) if request.method == "CANCEL" else key)
        return served is not None and served.destination.host == source.host

    def _refuse_stranger(self, request: Request, refusal: Refusal, octets: bytes, source: Address, now_ns: int) -> None:
        if request.method == "ACK":
            return  # of a challenge or a refusal of ours, which had its line
        if not refusal.is_expected:
            self._log_refusal(refusal.text, source, now_ns, is_call=request.method == "INVITE")
        if refusal.status:
            mark_received(request, source)
            factor = MAX_CHALLENGE_FACTOR if refusal.is_expected else MAX_REPLY_FACTOR
            for first in range(len(refusal.headers) or 1):  # of a choice of challenges, as many as fit: what most phones know comes last
                response = make_response(request, refusal.status, headers=refusal.headers[first:]).encode()
                if source.is_reliable or len(response) <= factor * len(octets):  # over a stream the address is not forged
                    self.outbox.append((response, source))
                    return

    def _receive_bad(self, failure: BadMessage, admitted: Admitted | None, octets: bytes, source: Address, now_ns: int) -> None:
        """`admitted`: if that was asked already; a password counts once."""
        request = failure.request
        refusal = None
        if request is not None:
            refusal = (admitted or self.callers.admit(request, source.host, now_ns)).refusal
        try:
            if request is not None and refusal:
                self._refuse_stranger(request, refusal, octets, source, now_ns)
                return
            self.callers.may_answer(source.host, now_ns)  # if it is a stranger's, it costs a token, too
            self._log_refusal(f"{failure.status}: a message that is not valid SIP: {failure}", source, now_ns, is_call=False)
            if request is not None and request.method != "ACK" and "Via" in request.headers:
                self._reply(request, failure.status, self._way_back(request, source))
        except BellframeError:
            return

    @staticmethod
    def _way_back(request: Request, source: Address) -> Address:
        """Of a message that is broken: if its Via cannot be read either, where it came from."""
        try:
            return mark_received(request, source)
        except BadMessage:
            return source

    def _reply(
        self, request: Request, status: int, destination: Address, headers: tuple[tuple[str, str], ...] = (), to_tag: str | None = None
    ) -> None:
        """From the request alone, so that a repeat gets the same (8.2.7)."""
        self.outbox.append((make_response(request, status, headers=headers, to_tag=to_tag).encode(), destination))

    def _log_refusal(self, text: str, source: Address, now_ns: int, is_call: bool = True) -> None:
        self.refused_calls += is_call
        if is_call:
            self.figures.refuse("", int(text[:3]) if text[:3].isdecimal() else 0)
        if self.admission.is_worth_a_line(source.host, text[:3], now_ns):
            log.warning("refused %s with %s", source, text)

    def _trace_received(self, call_id: str, summary: str, source: Address) -> None:
        if self.is_traced:
            local = self.place_towards(source).encode()
            self.traces.append(Trace(call_id, False, summary, str(source), local, self.received))

    def _stream_instead(self, request: Request, destination: Address, now_ns: int) -> Address | None:
        """TCP for a request that is too long for one datagram (18.1.1), if we listen there for the requests that come back."""
        if destination.is_reliable or len(request.encode()) <= MAX_UDP_REQUEST:
            return None
        if self.no_tcp.get((destination.host, destination.port), 0) > now_ns:
            return None
        stream = Address(destination.host, destination.port, "tcp")
        return None if self.place_towards(stream).port is None else stream

    def new_negotiation(self, address: str, remote_host: str, trunk: str = "") -> Negotiation:
        remote = fold(remote_host)
        formats, srtp = self.trunk_formats.get(trunk, self.formats), self.trunk_srtp.get(trunk, self.srtp)
        return Negotiation(formats, address, allow_loopback=remote is not None and remote.is_loopback, srtp=srtp)


def mark_received(request: Request, source: Address) -> Address:
    """Write into the top Via where the request came from, and say where its response goes (18.2.1, 18.2.2, RFC 3581).

    Raises BadMessage if the Via cannot be read.
    """
    via = request.top_via
    if "rport" in via.params:
        request.headers.replace_first("Via", via.with_param("received", source.host).with_param("rport", str(source.port)).encode())
        if not source.is_reliable:
            return source
    elif via.host.strip("[]") != source.host:
        request.headers.replace_first("Via", via.with_param("received", source.host).encode())
    # over a stream: on the connection that it came on; if that has gone by then, a new one to this port
    return source._replace(port=via.port or TRANSPORTS[source.transport].default_port)


def summarize(octets: bytes) -> str:
    """'INVITE' or '200 OK (INVITE)', for people who watch. Of messages that we wrote."""
    first, _, rest = octets.partition(b"\r\n")
    if not first.startswith(b"SIP/2.0 "):
        return first.partition(b" ")[0].decode("ascii", "replace")
    method = rest.partition(b"CSeq: ")[2].partition(b"\r\n")[0].rpartition(b" ")[2]
    return f"{first[8:].decode('utf-8', 'replace')} ({method.decode('ascii', 'replace')})"
