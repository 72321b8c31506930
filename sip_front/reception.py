"""What comes: the transaction, the session or the refusal that a message belongs to.

State is made for an INVITE that may come and for requests inside its dialog; everything else is answered from the request alone
(RFC 3261 8.2.7), so that strangers and floods leave nothing behind: one message out for one in, and nothing is sent again.
"""

import logging
import secrets
from typing import TYPE_CHECKING

from control_plane.errors import BellframeError
from sip_front.admission import Refusal
from sip_front.callers import Admitted
from sip_front.capabilities import ALLOW, OTHER_METHODS
from sip_front.exchange import NEVER_CHALLENGED, Sent, Served, merge_key
from sip_front.inspection import why_not_understood
from sip_front.message import BadMessage, Message, Request, Response, is_keepalive, make_response, parse, validate
from sip_front.replaces import Found, find_replaced
from sip_front.session import Session, start_incoming
from sip_front.session_state import Event, State
from sip_front.session_timer import MIN_SE_S, SessionTimer
from sip_front.trace import Trace
from sip_front.transaction import client_key, make_ack, server_key
from sip_front.transport import TRANSPORTS, Address
from sip_front.uri import quoted

if TYPE_CHECKING:
    from sip_front.user_agent import UserAgent

log = logging.getLogger("sip")
IN_DIALOG_ONLY = ("BYE", "INFO", "UPDATE", "PRACK", "NOTIFY", "REFER")
MAX_REPLY_FACTOR = 1.5  # of what a stranger sent: we must not be worth reflecting from
MAX_CHALLENGE_FACTOR = 3  # of a 401, as QUIC has it for addresses that are not proven (RFC 9000 8.1): a phone cannot log in without


class Reception:
    def __init__(self, agent: "UserAgent") -> None:
        self.agent = agent

    def receive(self, octets: bytes, source: Address, now_ns: int) -> bool:
        """One message. Never raises for what a far end wrote. False: it was not even read."""
        if is_keepalive(octets):
            return False
        if source.host not in self.agent.known_hosts and not self.agent.callers.is_worth_reading(source.host, octets, now_ns):
            self.agent.admission.unlogged += 1
            return False
        self.agent.received = octets
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
                admitted = Admitted("", None) if under_way else self.agent.callers.admit(message, source.host, now_ns)
                if admitted.refusal:
                    self._refuse_stranger(message, admitted.refusal, octets, source, now_ns)
                    return
                validate(message)
                self._receive_request(message, source, admitted, now_ns)
        except BadMessage as failure:
            if failure.request is None and isinstance(message, Request):
                failure.request = message
            self._receive_bad(failure, admitted, octets, source, now_ns)

    # ---- what came ----------------------------------------------------------------------------------------------

    def _receive_response(self, response: Response, source: Address, now_ns: int) -> None:
        sent = self.agent.sent.get(client_key(response))
        if sent is None:
            self._receive_stray(response)
            return
        validate(response)
        self._trace_received(sent.call_id, f"{response.status} {response.reason} ({sent.request.method})", source)
        is_failed_invite = sent.request.method == "INVITE" and response.status >= 300
        sent.transaction.receive(response.status, now_ns, make_ack(sent.request, response).encode() if is_failed_invite else b"")
        self.agent.flush(sent)
        if sent.transaction.told:
            sent.transaction.told = False
            if response.status not in (401, 407) or not self._answer_challenge(sent, response, now_ns):
                sent.on_response(response, now_ns)

    def _receive_stray(self, response: Response) -> None:
        """A repeat for a transaction that is over, or made up. The 2xx of a re-INVITE by the front before us wants its ACK."""
        number, method = response.cseq
        session = self.agent.sessions.get((response.call_id, response.from_.tag or ""))
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
        request.headers.replace_first("Via", self.agent.new_via(sent.destination))
        request.headers.set("CSeq", f"{cseq} {method}")
        session.why_unauthorized = session.credentials.answer(request, response, sent.attempt)
        if session.why_unauthorized:
            return False
        if dialog:
            dialog.local_cseq = cseq
        if sent.request is session.invite:
            session.invite = request
        spent = sent.spent()
        self.agent.sent[spent.key] = spent
        self.agent.flush(spent)
        sent.request = request
        sent.start(sent.destination, now_ns)
        self.agent.sent[sent.key] = sent
        self.agent.flush(sent)
        return True

    def _receive_request(self, request: Request, source: Address, admitted: Admitted, now_ns: int) -> None:
        key = server_key(request)  # of what came: rport is not there yet
        served = self.agent.served.get(key)
        destination = mark_received(request, source)
        if served is not None and request.method != "CANCEL":
            self._trace_received(served.call_id, request.method, source)
            served.transaction.receive(request.method, now_ns)
            self.agent.flush(served)
            if served.transaction.told:  # the ACK of a 2xx, with the branch of its INVITE
                served.transaction.told = False
                session = self.agent.sessions.get((request.call_id, served.local_tag))
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
        served = self.agent.served.get((*key[:2], "INVITE", *key[3:]))
        if served is None:
            self.log_refusal("481: CANCEL for a call that we do not have", destination, now_ns, is_call=False)
            self._reply(request, 481, destination)
            return
        self._trace_received(served.call_id, "CANCEL", destination)
        self._reply(request, 200, destination, to_tag=served.local_tag)
        if isinstance(served, Served):  # 9.2: after the final answer it has no effect
            served.session.receive_cancel(request, now_ns)

    def _receive_in_dialog(
        self, request: Request, key: tuple[str, ...], tag: str, source: Address, destination: Address, now_ns: int
    ) -> None:
        session = self.agent.sessions.get((request.call_id, tag))
        if session is None:
            if request.method != "ACK":
                self.log_refusal(f"481: {request.method} for a call that we do not have", source, now_ns, is_call=False)
                self._reply(request, 481, destination)
            return
        self._trace_received(session.call_id, request.method, source)
        if request.method == "ACK":
            session.receive_ack(request, now_ns)
            return
        refusal = why_not_understood(request, self.agent.extensions)
        if refusal:
            self.log_refusal(refusal[2], source, now_ns, is_call=False)
            self._reply(request, refusal[0], destination, refusal[1])
            return
        served = self.agent.served[key] = Served(self.agent, key, request, destination, session)
        session.receive_request(served, now_ns)

    def _receive_new(
        self, request: Request, key: tuple[str, ...], source: Address, destination: Address, admitted: Admitted, now_ns: int
    ) -> None:
        """Outside of a dialog, in the order of 8.2. Max-Forwards 0 has arrived like any other (RFC 4475 3.3.11: 483 is for proxies)."""
        if request.method == "OPTIONS":
            self._receive_options(request, source, destination, now_ns)
        elif request.method == "REGISTER" and self.agent.registrar and admitted.user:
            why_not = why_not_understood(request, self.agent.extensions)
            answer = why_not or self.agent.registrar.receive(request, admitted.user, source, now_ns)
            if answer[2]:
                self.log_refusal(answer[2], source, now_ns, is_call=False)
            self._reply(request, answer[0], destination, answer[1])
        elif request.method in IN_DIALOG_ONLY:
            self.log_refusal(f"481: {request.method} for a call that we do not have", source, now_ns, is_call=False)
            self._reply(request, 481, destination)
        elif request.method != "INVITE":
            status = 405 if request.method in OTHER_METHODS else 501
            self.log_refusal(f"{status}: {quoted(request.method)} is not for us", source, now_ns, is_call=False)
            self._reply(request, status, destination, (("Allow", ALLOW),))
        elif self._repeat_answer(request):
            return
        elif merge_key(request) in self.agent.invites:
            self.log_refusal("482: the same INVITE came twice on different ways; a proxy before us forks it to us", source, now_ns)
            self._reply(request, 482, destination)
        else:
            self._receive_invite(request, key, source, destination, admitted, now_ns)

    def _receive_options(self, request: Request, source: Address, destination: Address, now_ns: int) -> None:
        """11.2: what an INVITE would get, and what we can do."""
        misunderstood = why_not_understood(request, self.agent.extensions)
        if misunderstood:
            self.log_refusal(misunderstood[2], source, now_ns, is_call=False)
            self._reply(request, misunderstood[0], destination, misunderstood[1])
        elif self.agent.admission.is_draining:
            self._reply(request, 503, destination, (("Retry-After", str(self.agent.admission.drain_seconds)),))
        else:
            self._reply(request, 200, destination, self.agent.capabilities())

    def _repeat_answer(self, request: Request) -> bool:
        """An INVITE that the front before us has answered comes again: so does its answer."""
        session = self.agent.taken_over.get(request.call_id)
        waiting = session.unacknowledged.get(request.cseq[0]) if session else None
        if session is None or waiting is None or session.dialog is None or session.dialog.remote_tag != request.from_.tag:
            return False
        self.agent.send_response(waiting.octets, session)
        return True

    def _receive_invite(
        self, request: Request, key: tuple[str, ...], source: Address, destination: Address, admitted: Admitted, now_ns: int
    ) -> None:
        misunderstood = why_not_understood(request, self.agent.extensions)
        if misunderstood:
            self.log_refusal(misunderstood[2], source, now_ns)
            self._reply(request, misunderstood[0], destination, misunderstood[1])
            return
        replaced = Found(None)
        if "Replaces" in request.headers:
            replaced = find_replaced(request, admitted.trunk, self.agent.sessions)
            if replaced.session is None:
                self.log_refusal(f"{replaced.status}: {replaced.why}", source, now_ns)
                self._reply(request, replaced.status, destination)
                return
        refusal = None if replaced.session else self.agent.admission.refuse_call(now_ns)
        if refusal:
            self.log_refusal(refusal.text, source, now_ns)
            self._reply(request, refusal.status, destination, refusal.headers)
            return
        if SessionTimer(self.agent.session_expires_s).refuses(request):
            self.log_refusal(f"422: a session interval below {MIN_SE_S} s; it should come again with a longer one", source, now_ns, False)
            self._reply(request, 422, destination, (("Min-SE", str(MIN_SE_S)),))
            return
        host = self.agent.place_towards(source).host
        # over a stream the port that it came from is nobody's: the one of the Via is where a new connection would go
        call_id = replaced.session.call_id if replaced.session else self.agent.new_call_id()
        session = Session(self.agent, call_id, State.INCOMING, host, destination if source.is_reliable else source)
        session.trunk, session.user = admitted.trunk, admitted.user
        served = Served(self.agent, key, request, destination, session)
        start_incoming(session, served, secrets.token_hex(6))
        session.negotiation = self.agent.new_negotiation(host, source.host, admitted.trunk)
        self.agent.served[key] = served
        self.agent.invites.add(merge_key(request))
        self.agent.sessions[request.call_id, session.local_tag] = session
        self._trace_received(call_id, "INVITE", source)
        self.agent.respond(served, make_response(request, 100), now_ns)
        self.agent.tell(Event("replacing" if replaced.session else "invited", session))

    # ---- what is refused -------------------------------------------------------------------------------------

    def _is_under_way(self, request: Request, source: Address) -> bool:
        """A repeat, ACK or CANCEL of what this address sent before, or a request inside of a call with it.

        Whoever was let in once, or was called by us, may go on, whatever lists and passwords say of new calls.
        """
        session = self.agent.sessions.get((request.call_id, request.to.tag or ""))
        if session is not None and session.peer.host == source.host:
            return True
        key = server_key(request)
        served = self.agent.served.get((*key[:2], "INVITE", *key[3:]) if request.method == "CANCEL" else key)
        return served is not None and served.destination.host == source.host

    def _refuse_stranger(self, request: Request, refusal: Refusal, octets: bytes, source: Address, now_ns: int) -> None:
        if request.method == "ACK":
            return  # of a challenge or a refusal of ours, which had its line
        if not refusal.is_expected:
            self.log_refusal(refusal.text, source, now_ns, is_call=request.method == "INVITE")
        if refusal.status:
            mark_received(request, source)
            factor = MAX_CHALLENGE_FACTOR if refusal.is_expected else MAX_REPLY_FACTOR
            for first in range(len(refusal.headers) or 1):  # of a choice of challenges, as many as fit: what most phones know comes last
                response = make_response(request, refusal.status, headers=refusal.headers[first:]).encode()
                if source.is_reliable or len(response) <= factor * len(octets):  # over a stream the address is not forged
                    self.agent.outbox.append((response, source))
                    return

    def _receive_bad(self, failure: BadMessage, admitted: Admitted | None, octets: bytes, source: Address, now_ns: int) -> None:
        """`admitted`: if that was asked already; a password counts once."""
        request = failure.request
        refusal = None
        if request is not None:
            refusal = (admitted or self.agent.callers.admit(request, source.host, now_ns)).refusal
        try:
            if request is not None and refusal:
                self._refuse_stranger(request, refusal, octets, source, now_ns)
                return
            self.agent.callers.may_answer(source.host, now_ns)  # if it is a stranger's, it costs a token, too
            self.log_refusal(f"{failure.status}: a message that is not valid SIP: {failure}", source, now_ns, is_call=False)
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
        self.agent.outbox.append((make_response(request, status, headers=headers, to_tag=to_tag).encode(), destination))

    def log_refusal(self, text: str, source: Address, now_ns: int, is_call: bool = True) -> None:
        self.agent.refused_calls += is_call
        if is_call:
            self.agent.figures.refuse("", int(text[:3]) if text[:3].isdecimal() else 0)
        if self.agent.admission.is_worth_a_line(source.host, text[:3], now_ns):
            log.warning("refused %s with %s", source, text)

    def _trace_received(self, call_id: str, summary: str, source: Address) -> None:
        if self.agent.is_traced:
            local = self.agent.place_towards(source).encode()
            self.agent.traces.append(Trace(call_id, False, summary, str(source), local, self.agent.received))


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
