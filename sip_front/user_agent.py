"""The SIP core without sockets: messages and time in; messages, events and the next deadline out.

Here is what there is of sessions and transactions, and how they send; what comes is in reception.py.
"""

import secrets
from collections.abc import Callable

from sip_front.admission import Admission, fold
from sip_front.callers import Callers
from sip_front.capabilities import ALLOW, SDP, extensions
from sip_front.deadlines import Deadlines
from sip_front.exchange import NEVER_CHALLENGED, Answered, MergeKey, OnResponse, Sent, Served
from sip_front.figures import FrontFigures
from sip_front.invitation import Invitation
from sip_front.message import MAGIC_COOKIE, Headers, Request, Response, make_response, parse
from sip_front.negotiation import Negotiation
from sip_front.reception import Reception
from sip_front.redirection import Redirection
from sip_front.registrar import Registrar
from sip_front.session import Session
from sip_front.session_state import Event, State
from sip_front.trace import Trace
from sip_front.transaction import Cause, client_key
from sip_front.transport import TRANSPORTS, Address, PlaceTowards, bracketed
from sip_front.uri import Uri

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
        self.reception = Reception(self)
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
        self.reception.log_refusal(f"{status}: {why}", served.session.peer, now_ns, is_call=False)
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


def summarize(octets: bytes) -> str:
    """'INVITE' or '200 OK (INVITE)', for people who watch. Of messages that we wrote."""
    first, _, rest = octets.partition(b"\r\n")
    if not first.startswith(b"SIP/2.0 "):
        return first.partition(b" ")[0].decode("ascii", "replace")
    method = rest.partition(b"CSeq: ")[2].partition(b"\r\n")[0].rpartition(b" ")[2]
    return f"{first[8:].decode('utf-8', 'replace')} ({method.decode('ascii', 'replace')})"
