"""Workers and bridges, as the front knows them: who takes which call, and what they tell of their calls."""

import logging
from typing import TYPE_CHECKING

from control_plane import table
from control_plane.config import Route
from control_plane.logs import clean
from control_plane.messages import (
    AgentFailed,
    AgentStarted,
    Alive,
    CloseMedia,
    FrontStarted,
    MediaClosed,
    MediaOpened,
    MediaRecorded,
    MediaRefused,
    MediaSilent,
    MediaUpdated,
    Message,
    UpdateMedia,
)
from sip_front.call import Call, Cause, State
from sip_front.peers import Peer, Role
from sip_front.succession import WORKER_AWAY_LIMIT_NS

if TYPE_CHECKING:
    from sip_front.front import Front

log = logging.getLogger("front")
FACTS = MediaOpened | MediaRefused | MediaUpdated | MediaRecorded | MediaClosed | MediaSilent | AgentStarted | AgentFailed
"""Of a call, from its worker or its bridge."""
BRIDGE_AWAY_LIMIT_NS = 30_000_000_000


class Staff:
    def __init__(self, front: "Front") -> None:
        self.front, self.peers = front, front.peers
        self.built_in: tuple[str, ...] = ()
        """Names of agents that bridges bring along; empty: none has reported yet."""

    # ---- who takes a call -------------------------------------------------------------------------------------------

    def assign(self, call: Call, route: Route, now_ns: int, worker: Peer | None = None) -> str:
        """A worker, or the one that is given, and a bridge for the call. Returns why there is none, or nothing."""
        call.agent, call.arguments, call.recording = route.agent, route.arguments, "on" if route.record else "off"
        roles: tuple[Role, ...] = ("worker", "bridge") if route.agent or route.rings else ("worker",)  # an agent may come after phones
        for role in roles:
            peer = worker if worker and role == "worker" else self.peers.choose(role, now_ns)
            if peer is None:
                return self.peers.why_none(role, now_ns)
            if role == "worker":
                call.worker = peer.index
            else:
                call.bridge = peer.index
        return ""

    def why_not_agent(self, agent: str) -> str:
        """Before anybody is rung for it. Whether a MODULE:CLASS can be loaded, its bridge sees."""
        if not agent or ":" in agent or not self.built_in or agent in self.built_in:
            return ""
        return f"there is no agent {clean(agent, 80)!r}: built in are {', '.join(self.built_in)}; your own is named MODULE:CLASS"

    def beside(self, call_id: str, tenant: str, now_ns: int) -> Peer | str:
        """The worker of that call, or why another one cannot be on it."""
        beside = self.front.calls.get(call_id)
        if beside is None or beside.state in (State.CLOSING, State.ENDED) or (tenant and beside.tenant != tenant):
            return f"there is no call {clean(call_id, 80)} to be beside of: `bellframe calls` lists those that are up"
        worker = self.peers.get("worker", beside.worker)
        if worker is None or worker.is_silent(now_ns) or not worker.has_room():
            return f"503: media worker {beside.worker}, which carries call {call_id}, takes no other call now; widen media.rtp_ports"
        return worker

    # ---- what they tell ---------------------------------------------------------------------------------------------

    def hear(self, alive: Alive, identity: bytes, now_ns: int) -> None:
        peer, is_new, is_replaced = self.peers.hear(alive, identity, now_ns)
        self.built_in = alive.agents or self.built_in
        if alive.role == "worker" and (is_new or is_replaced):
            self.front.messages.append((peer.identity, FrontStarted(self.front.front_id)))
        if is_new:
            log.info("%s %d has reported (pid %d)", alive.role, alive.index, alive.pid)
            self._welcome(peer, now_ns)
        elif is_replaced:
            calls = table.count(len(peer.calls), "call")
            log.warning("%s %d was replaced (pid %d), and goes on with %s", alive.role, alive.index, alive.pid, calls)
            if alive.role == "bridge":
                for call_id in list(peer.calls):
                    call = self.front.calls[call_id]
                    call.was_at_work = call.opened is not None and call.opened.row in alive.suspects
                    call.step(Cause.AGENT_LOST, now_ns)
                    self.front.user_agent.deadlines.schedule(call)

    def expire(self, now_ns: int) -> None:
        """Whoever has been away for too long takes its calls along."""
        limits: tuple[tuple[Role, int], ...] = (("worker", WORKER_AWAY_LIMIT_NS), ("bridge", BRIDGE_AWAY_LIMIT_NS))
        for role, limit_ns in limits:
            for peer in self.peers.of(role):
                if now_ns - peer.heard_ns > limit_ns:
                    self._fail_calls(peer, f"{role} {peer.index} has been away for {limit_ns // 10**9} s; look into its log", now_ns)

    def _welcome(self, peer: Peer, now_ns: int) -> None:
        """The first word of a worker or a bridge: it has calls of the front before us, and there are calls that wait for it."""
        role = peer.facts.role
        peer.calls.update(id for id, call in self.front.calls.items() if (call.worker if role == "worker" else call.bridge) == peer.index)
        if role == "worker":
            self.front.succession.ask_worker(peer.index)
        for session in self.front.succession.take_early():
            self.front.arrivals.receive(session, now_ns)

    def handle(self, identity: bytes, message: Message, now_ns: int) -> bool:
        """False: it is not one of theirs."""
        if not isinstance(message, FACTS):
            return False
        call = self.front.calls.get(message.call_id)
        role: Role = "bridge" if isinstance(message, AgentStarted | AgentFailed) else "worker"
        peer = self.peers.get(role, -1 if call is None else call.bridge if role == "bridge" else call.worker)
        if call is None or peer is None or peer.identity != identity:
            if isinstance(message, MediaOpened | MediaSilent):  # a call that is over or has gone elsewhere must not keep a port
                self.front.messages.append((identity, CloseMedia(message.call_id)))
            elif isinstance(message, MediaClosed):
                self.front.succession.close(message.call_id, message.counters, now_ns)
            return True
        match message:
            case MediaOpened():
                self._media_opened(call, message, now_ns)
            case MediaRefused(why=why):
                call.refusal = f"refused: {clean(why, 200)}"
                call.step(Cause.MEDIA_REFUSED, now_ns)
            case MediaUpdated():
                if isinstance(call.worker_command, UpdateMedia):
                    call.worker_command = None
            case MediaRecorded(state=state):
                if call.record_command and call.record_command.state == state:
                    call.record_command = None
            case MediaClosed(counters=counters):
                log.debug("media closed: %s", counters, extra={"call_id": call.call_id})
                call.counters = counters or call.counters  # a repeat has none
                call.step(Cause.MEDIA_CLOSED, now_ns)
            case MediaSilent(silent_ms=silent_ms) if self._may_be_silent(call, silent_ms, now_ns):
                log.debug("silent for %d ms, and just answered or not yet", silent_ms, extra={"call_id": call.call_id})
            case MediaSilent(silent_ms=silent_ms):
                call.fail(f"the far end sent no audio for {silent_ms / 1000:.0f} s; look at its address and at firewalls", now_ns)
            case AgentStarted():
                call.step(Cause.AGENT_STARTED, now_ns)
                if call.seat:  # another process had the call before
                    self.front.rooms.remind(call)
            case AgentFailed(why=why):
                call.fail(f"the agent {call.agent} failed: {why}", now_ns, 500)
        self.front.user_agent.deadlines.schedule(call)
        return True

    def _may_be_silent(self, call: Call, silent_ms: int, now_ns: int) -> bool:
        """Nobody need send anything before the answer; the worker counts from the port's opening, and tells again."""
        limit_ns = min(round(self.front.config.media.silent_seconds_at_start * 1e9), silent_ms * 1_000_000)
        return not call.was_answered or now_ns - call.answered_ns < limit_ns

    def _media_opened(self, call: Call, message: MediaOpened, now_ns: int) -> None:
        if call.opened is None or call.state in (State.OPENING, State.PREPARING):
            call.opened = message
            call.session.negotiation.port = message.rtp_port
            call.step(call.opening, now_ns)

    def _fail_calls(self, peer: Peer, text: str, now_ns: int) -> None:
        for call_id in list(peer.calls):
            call = self.front.calls[call_id]
            call.fail(text, now_ns)
            self.front.user_agent.deadlines.schedule(call)
