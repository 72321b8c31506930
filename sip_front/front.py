"""Everything the front does, without sockets: SIP, messages of our processes and time in; the same out.

It is where calls, workers, bridges and operators meet. process.py owns the sockets and the clock.
"""

import logging
import secrets
import time
from collections import deque

import msgspec

from control_plane.config import Config, Route
from control_plane.formats import FORMATS
from control_plane.logs import clean
from control_plane.messages import (
    Alive,
    CallFacts,
    Message,
    Noted,
    Originate,
    RoomSet,
    SipTraced,
    TakeKey,
)
from sip_front.admission import Admission
from sip_front.arrivals import Arrivals
from sip_front.call import SECOND, Call, Cause, State
from sip_front.callers import Callers
from sip_front.connecting import Connecting
from sip_front.figures import FrontFigures
from sip_front.limit import Limit
from sip_front.moves import Moves
from sip_front.operators import Operators
from sip_front.orders import Orders
from sip_front.originator import Originator
from sip_front.peers import Peer, Peers, Role
from sip_front.phones import ELSEWHERE, Phones
from sip_front.reason import NORMAL_UNSPECIFIED
from sip_front.redirection import Redirection
from sip_front.ringing import Ringing
from sip_front.rooms import Rooms
from sip_front.session import Session
from sip_front.session_state import Event
from sip_front.staff import Staff
from sip_front.succession import Succession
from sip_front.toll_guard import TollGuard
from sip_front.trace import Trace, TraceStore, text_of
from sip_front.transport import Address, PlaceTowards
from sip_front.trunk import explain
from sip_front.trunks import Trunks
from sip_front.user_agent import UserAgent

log = logging.getLogger("front")
TICK_NS = 1_000_000_000
CAUSES = {"answered": Cause.FAR_END_ANSWERED}
FRESH = (State.OPENING, State.STARTING, State.PREPARING, State.CALLING)
MAX_ENDED = 1_000  # calls that are remembered after their end, for people who ask why


class Front:
    def __init__(self, config: Config, place_towards: PlaceTowards, now_ns: int) -> None:
        self.config, self.started_ns = config, now_ns
        self.front_id = 1 + secrets.randbelow(2**63 - 1)
        """Workers tell by it what we opened from what a front before us left open. Never 0."""
        self.admission = Admission(config.sip.max_calls_per_second)
        self.admission.drain_seconds = max(1, round(config.sip.drain_seconds))
        self.callers = Callers(config.sip, config.trunks, config.users)
        self.user_agent = UserAgent(self.admission, self.callers, config.media.formats, place_towards)
        self.user_agent.session_expires_s = config.sip.session_expires_seconds
        self.trunks = Trunks(config.trunks, self.user_agent, now_ns)
        self.tenants = {one.name: Limit(f"tenant {one.name}", one.max_calls, one.max_calls_per_second) for one in config.tenants}
        self.toll_guard = TollGuard(list(self.trunks.by_name.values()), config.tenants)
        self.phones = Phones(self)
        self.redirection = self.user_agent.redirection = Redirection(config.sip.follow, self.trunks)
        self.user_agent.trunk_formats = {trunk.name: trunk.formats for trunk in config.trunks if trunk.formats}
        self.user_agent.srtp = config.media.srtp
        self.user_agent.trunk_srtp = {trunk.name: trunk.srtp for trunk in config.trunks if trunk.srtp}
        self.peers = Peers(config.media.max_busy_percent, config.media.max_late_percent)
        self.calls: dict[str, Call] = {}
        self.ended: dict[str, CallFacts] = {}
        self.ended_order: deque[str] = deque()
        self.ended_total = 0
        self.traces = TraceStore()
        self.calls_total = self.calls_refused = 0
        self.figures = FrontFigures()
        self.user_agent.figures = self.figures
        self.staff = Staff(self)
        self.operators, self.orders, self.moves = Operators(self), Orders(self), Moves(self)
        self.arrivals = Arrivals(self)
        self.rooms, self.connecting, self.ringing = Rooms(self), Connecting(self), Ringing(self)
        self.succession = Succession(self)
        self.originator = Originator(self)
        self.messages: list[tuple[bytes, Message]] = []
        self.tick_ns = now_ns + TICK_NS

    # ---- from the process ------------------------------------------------------------------------------------

    def receive_sip(self, octets: bytes, source: Address, now_ns: int) -> bool:
        """Whether it was read: not a keepalive, nor of a flood of strangers."""
        was_read = self.user_agent.reception.receive(octets, source, now_ns)
        self._handle_events(now_ns)
        return was_read

    def receive_message(self, identity: bytes, message: Message, now_ns: int) -> None:
        """From a worker, a bridge or an operator."""
        if isinstance(message, Alive):
            self.staff.hear(message, identity, now_ns)
        elif isinstance(message, Noted):
            call = self.calls.get(message.call_id)
            if message.kind == "turn" and call is not None:
                self.figures.take_turn(call.direction, call.trunk, message.values)
                call.turn_latency.take(message.values)
            self.operators.show(message, message.call_id)
        elif isinstance(message, RoomSet):
            self.rooms.acknowledge(message)
        elif not self.staff.handle(identity, message, now_ns):
            self.operators.receive(identity, message, now_ns)
        self._handle_events(now_ns)

    @property
    def next_deadline_ns(self) -> int:
        deadline_ns = self.user_agent.next_deadline_ns
        return self.tick_ns if deadline_ns is None else min(deadline_ns, self.tick_ns)

    def expire(self, now_ns: int) -> None:
        self.user_agent.expire(now_ns)
        self._handle_events(now_ns)
        if now_ns >= self.tick_ns:
            has_slept = now_ns - self.tick_ns > TICK_NS
            self.tick_ns = now_ns + TICK_NS
            self._tick(now_ns, has_slept)

    def fail_to_send(self, octets: bytes, why: str, now_ns: int) -> None:
        self.user_agent.fail_to_send(octets, why, now_ns)
        self._handle_events(now_ns)

    def lose_connection(self, lost: Address, why: str, now_ns: int) -> None:
        self.phones.registrar.lose(lost)
        self.user_agent.lose_connection(lost, why, now_ns)
        self._handle_events(now_ns)

    def addresses_in_use(self) -> frozenset[object]:
        """Flows and keys of what calls, trunks and phones need, and hosts of those whom calls are with and where phones are."""
        peers = [session.peer for session in self.user_agent.sessions.values()]
        gateways = [address for addresses in self.trunks.addresses.values() for address in addresses]
        phones = self.phones.registrar.sources()
        streams = [address for address in (*peers, *gateways, *phones) if address.is_reliable]
        return frozenset((*(a.flow for a in streams), *(a.key for a in streams), *(a.host for a in (*peers, *phones)))) - {0}

    def take_sip(self) -> list[tuple[bytes, Address]]:
        return self.user_agent.take_outbox()

    def take_messages(self) -> list[tuple[bytes, Message]]:
        messages, self.messages = self.messages, []
        return messages

    def learn_address(self, stun: str, address: str, now_ns: int) -> None:
        """Registrars must hear of it at once: they would send calls to the old one."""
        self.succession.note_address(stun, address)
        self.phones.learn_address(stun, address)
        self.trunks.renew(now_ns)

    def take_names(self, now_ns: int) -> list[str]:
        """Host names in allow lists whose addresses the process should look up, and tell `callers.resolved`."""
        return self.callers.take_names(now_ns)

    # ---- stopping ----------------------------------------------------------------------------------------------

    def drain(self, now_ns: int) -> None:
        if not self.admission.is_draining:
            self.admission.is_draining = True
            log.info("draining: no new calls, %d to finish", self.live_calls)
            self.trunks.leave(now_ns)

    def hang_up_all(self, text: str, now_ns: int) -> None:
        for call in list(self.calls.values()):
            call.end(Cause.HANG_UP, text, now_ns, status=503, q850=NORMAL_UNSPECIFIED)
            self.user_agent.deadlines.schedule(call)
        self._handle_events(now_ns)

    @property
    def live_calls(self) -> int:
        return sum(call.state not in (State.CLOSING, State.ENDED) for call in self.calls.values())

    @property
    def is_setting_up(self) -> bool:
        """A front after us could not go on with all that is under way: calls in that are not answered yet, and what waits for its name."""
        under_way = [call for call in self.calls.values() if call.state in (*FRESH, State.CLOSING)]
        return bool(self.originator.resolving) or not all(map(self.succession.can_go_on, under_way))

    @property
    def is_quiet(self) -> bool:
        """Nothing is waited for: neither a call, nor the answer to a BYE, nor a worker's confirmation."""
        return not self.calls and not self.user_agent.awaited

    # ---- what a call needs (call.Desk) -------------------------------------------------------------------------

    def tell_worker(self, index: int, message: Message) -> None:
        self._tell(self.peers.get("worker", index), message)

    def tell_bridge(self, index: int, message: Message) -> None:
        self._tell(self.peers.get("bridge", index), message)

    def has_another_worker(self, call: Call, now_ns: int) -> bool:
        return self.peers.choose("worker", now_ns, but=call.worker) is not None

    def another_worker(self, call: Call, now_ns: int) -> bool:
        other = None if call.must_stay else self.peers.choose("worker", now_ns, but=call.worker)
        if other is None:
            return False
        self._release(call, "worker")
        call.worker = other.index
        other.calls.add(call.call_id)
        return True

    def dial(self, call: Call, now_ns: int) -> None:
        if call.opened:
            call.session.negotiation.port = call.opened.rtp_port
            self.user_agent.start(call.session, now_ns)

    def ring_others(self, call: Call, now_ns: int) -> None:
        self.ringing.ring(call, now_ns)

    def stop_ringing(self, call: Call, now_ns: int) -> None:
        self.ringing.time_out(call, now_ns)

    def changed(self, call: Call, now_ns: int) -> None:
        if call.state in (State.CLOSING, State.ENDED):
            self._release(call, "bridge")
            self.moves.forget(call, now_ns)
            self.toll_guard.end(call)
            for limit in self.limits_of(call):
                limit.calls.discard(call.call_id)
            self.rooms.forget(call, now_ns)
        self.user_agent.touched.add(call.call_id)
        if self.operators.watchers:
            self.operators.show_call(call.facts(now_ns))
        self.connecting.look(call, now_ns)
        self.ringing.look(call, now_ns)
        if call.state is State.ENDED:
            self._release(call, "worker")
            self.orders.forget(call.call_id)
            del self.calls[call.call_id]
            self.remember(call.facts(now_ns))

    def remember(self, facts: CallFacts) -> None:
        """For people who ask what became of a call."""
        self.figures.take(facts)
        self.user_agent.touched.add(facts.call_id)
        self.keep_ended(facts)

    def keep_ended(self, facts: CallFacts) -> None:
        self.ended[facts.call_id] = facts
        self.ended_order.append(facts.call_id)
        self.ended_total += 1
        if len(self.ended_order) > MAX_ENDED:
            self.ended.pop(self.ended_order.popleft(), None)

    def limits_of(self, call: Call) -> list[Limit]:
        """Those that it counts in."""
        trunk, tenant = self.trunks.get(call.trunk), self.tenants.get(call.tenant)
        return [limit for limit in (trunk.limit if trunk else None, tenant) if limit]

    def why_tenant_full(self, tenant: str, now_ns: int) -> str:
        """Empty: there is room, and a token of its rate is taken."""
        limit = self.tenants.get(tenant)
        return (limit.why_full() or limit.why_too_fast(now_ns)) if limit else ""

    def _release(self, call: Call, role: Role) -> None:
        peer = self.peers.get(role, call.worker if role == "worker" else call.bridge)
        if peer:
            peer.calls.discard(call.call_id)

    def _tell(self, peer: Peer | None, message: Message) -> None:
        if peer:
            self.messages.append((peer.identity, message))

    # ---- SIP ------------------------------------------------------------------------------------------------------

    def _handle_events(self, now_ns: int) -> None:
        agent = self.user_agent
        while agent.events:
            for event in agent.take_events():
                if event.kind == "invited":
                    self.arrivals.receive(event.session, now_ns)
                elif event.kind == "replacing":
                    self.moves.replace(event.session, now_ns)
                else:
                    self._handle_event(event, now_ns)
        if agent.traces:
            for trace in agent.take_traces():
                self._keep_trace(trace, now_ns)
        agent.is_traced = self.operators.wants_traces or self.config.sip.trace

    def _keep_trace(self, trace: Trace, now_ns: int) -> None:
        summary = clean(trace.summary, 120)
        brief = SipTraced(trace.call_id, now_ns, trace.is_sent, summary, trace.remote, trace.local, time.time())
        whole = msgspec.structs.replace(brief, text=text_of(trace.octets))
        self.traces.add(whole)
        self.operators.show_trace(brief, whole)

    def _handle_event(self, event: Event, now_ns: int) -> None:
        call = self.calls.get(event.session.call_id)
        if call is None:
            return
        if event.session is not call.session:
            self.moves.handle(call, event, now_ns)
            self.user_agent.deadlines.schedule(call)
            return
        if event.kind == "ended" and self.moves.outlives(call, now_ns):
            log.info("%s; the call goes on where it sent us", event.text, extra={"call_id": call.call_id})
        elif event.kind == "ended":
            text = event.text
            if call.direction == "outbound" and event.status >= 400 and not call.was_answered:
                text = why_not_answered("" if event.session.moves_on == ELSEWHERE else call.trunk, event)
            call.end(Cause.FAR_END_ENDED, text, now_ns, event.status)
        elif event.kind == "noted":
            if self.admission.is_worth_a_line(event.session.peer.host, f"noted {event.status}", now_ns):
                log.warning("%s", event.text, extra={"call_id": call.call_id})
        elif event.kind == "ringing":
            self.operators.show(Noted(call.call_id, now_ns, "ringing", clean(event.text, 80)), call.call_id)
            call.note_ringing(now_ns)
        elif event.kind == "key":
            self.tell_worker(call.worker, TakeKey(call.call_id, event.text))
        elif event.kind in self.orders.KINDS:
            self.orders.settle(call, event, now_ns)
        elif event.kind == "referred" and event.session.referral:
            self.moves.follow(call, event.session.referral, now_ns)
        elif event.kind == "confirmed":
            call.step(Cause.CONFIRMED, now_ns)
        if event.media:
            call.media = event.media
            call.step(call.early_media if event.kind == "early" else CAUSES.get(event.kind, Cause.MEDIA_CHANGED), now_ns)
        self.user_agent.deadlines.schedule(call)

    def open(self, call: Call, now_ns: int) -> None:
        self.calls[call.call_id] = call
        for limit in self.limits_of(call):
            limit.calls.add(call.call_id)
        trunk = self.trunks.get(call.trunk)
        call.is_port_shared = trunk is not None and trunk.config.shared_rtp_port
        for role, index in (("worker", call.worker), ("bridge", call.bridge)):
            peer = self.peers.get("worker" if role == "worker" else "bridge", index)
            if peer:
                peer.calls.add(call.call_id)
        call.open(now_ns)
        self.user_agent.deadlines.schedule(call)

    # ---- calls that we make (originator.py) ----------------------------------------------------------------------

    def call_out(self, order: Originate, session: Session, callee: str, trunk: str, tenant: str, now_ns: int) -> str:
        """Returns why not, or nothing."""
        unknown = [name for name in order.formats if name not in FORMATS]
        if unknown:
            return f"there is no audio format {clean(unknown[0], 20)}; there are {', '.join(FORMATS)}"
        session.negotiation.formats = order.formats or session.negotiation.formats
        call = Call(self, session, "outbound", now_ns, time.time())
        call.media, call.caller, call.callee = session.negotiation.without_offer(), clean(order.caller, 80), clean(callee, 80)
        call.trunk, call.tenant = trunk, tenant
        call.early_media = Cause.EARLY_MEDIA_TO_HEAR if order.hears_early else Cause.EARLY_MEDIA
        worker = self.staff.beside(order.beside, order.tenant, now_ns) if order.beside else None
        if isinstance(worker, str):
            return worker
        call.must_stay, call.ring_limit_ns = worker is not None, order.ring_seconds * SECOND or call.ring_limit_ns
        route = Route(agent=order.agent, arguments=order.arguments)
        why_not = self.why_tenant_full(tenant, now_ns) or self.staff.assign(call, route, now_ns, worker)
        if not why_not:
            self.calls_total += 1
            self.open(call, now_ns)
        return why_not

    # ---- time -------------------------------------------------------------------------------------------------------

    def _tick(self, now_ns: int, has_slept: bool) -> None:
        """`has_slept`: it was us who heard nothing; what the others said meanwhile is read before they are missed."""
        if not has_slept:
            self.staff.expire(now_ns)
        if now_ns - self.started_ns > self.succession.patience_ns:
            for session in self.succession.take_early():
                self.arrivals.receive(session, now_ns)
        self.succession.expire(now_ns)
        self.user_agent.known_hosts = frozenset(session.peer.host for session in self.user_agent.sessions.values())
        self._handle_events(now_ns)
        self.peers.prune(now_ns)
        self.moves.expire(now_ns)
        self.rooms.say_again()
        self.trunks.tick(now_ns)
        self.toll_guard.tick(self, now_ns, time.time())
        self.phones.registrar.expire(now_ns)
        for host, number in self.callers.challenged.take_silent(now_ns):
            if self.admission.is_worth_a_line(host, "401", now_ns):
                text = "refused the call from %s to %s with 401: it was asked for a password and gave none; if it is your trunk, %s"
                log.warning(text, host, number, "add its network to allow of its [[trunks]], or to sip.allow")
        self.admission.log_the_rest(now_ns)


def why_not_answered(trunk: str, event: Event) -> str:
    """Of a call that we made: what the far end said, and what to do about it."""
    reason = event.text.removeprefix(f"{event.status} ")
    if reason == event.text:  # our own words, not the far end's
        return f"trunk {trunk}: {event.text}" if trunk else event.text
    if trunk:
        return explain(trunk, event.status, reason, event.session.why_unauthorized)
    hint = "; it wants a user name and a password: call through one of [[trunks]] that has them" if event.status in (401, 407) else ""
    return event.text + hint
