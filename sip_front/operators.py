"""What people and programs ask of the front, and what they are shown while they watch."""

import logging
from itertools import islice
from typing import TYPE_CHECKING

from control_plane.dtmf import why_not_keys
from control_plane.listen_config import media_host, places
from control_plane.messages import (
    AdviceOffered,
    AnswerCall,
    CallChanged,
    CallFacts,
    Calls,
    CaptureCall,
    CaptureMedia,
    Capturing,
    ConnectCall,
    Done,
    Drain,
    EndedCalls,
    EnterRoom,
    Failed,
    GetCall,
    GetCalls,
    GetEnded,
    GetFigures,
    GetPhones,
    GetStatus,
    GetTrace,
    HangUp,
    HoldCall,
    InstructCall,
    JoinCalls,
    LeaveRoom,
    Message,
    Noted,
    Originate,
    Phones,
    PressKeys,
    RecordCall,
    RouteAdvised,
    SipTraced,
    Status,
    Traced,
    Transfer,
    Watch,
)
from control_plane.version import version
from sip_front.call import Cause, State

if TYPE_CHECKING:
    from sip_front.front import Front

log = logging.getLogger("calls")
MAX_WATCHERS = 64
SHOWN = {"all": (CallChanged, Noted, SipTraced), "calls": (CallChanged,), "notes": (CallChanged, Noted)}
"""By what is watched (Watch.what)."""
NO_DIRECTORY = "recording.directory is empty, so nothing is recorded: name a folder in the configuration, and restart"
MAX_ENDED_AT_ONCE = 200


class Operators:
    def __init__(self, front: "Front") -> None:
        self.front = front
        self.watchers: dict[bytes, Watch] = {}
        self.wants_traces = False

    def receive(self, identity: bytes, message: Message, now_ns: int) -> None:
        """Answers at once. A message that nobody asks of a front is left alone: it is of another release."""
        answer = self._answer(identity, message, now_ns)
        if answer is not None:
            self.front.messages.append((identity, answer))

    def _answer(self, identity: bytes, message: Message, now_ns: int) -> Message | None:
        front = self.front
        match message:
            case GetStatus():
                return self._status(now_ns)
            case GetCalls():
                return Calls(tuple(call.facts(now_ns) for call in front.calls.values()))
            case GetEnded(after=after):
                return self._ended_since(after)
            case GetTrace(call_id=call_id):
                store = front.traces
                if call_id in store.calls:
                    return Traced(call_id, tuple(store.calls[call_id]), store.left_out.get(call_id, 0))
                return self._no_trace(call_id)
            case GetFigures():
                live = ((call.direction, call.trunk, call.state.name.lower()) for call in front.calls.values())
                return front.figures.show(live, {name: len(limit.calls) for name, limit in front.tenants.items()})
            case GetPhones():
                return Phones(front.phones.facts(now_ns))
            case GetCall(call_id=call_id):
                up = front.calls.get(call_id)
                facts = up.facts(now_ns) if up else front.ended.get(call_id) or front.originator.resolving.get(call_id)
                return Calls((facts,)) if facts else no_call(call_id)
            case HangUp():
                answer = self._hang_up(message, now_ns)
                return None if any(peer.identity == identity for peer in front.peers.of("bridge")) else answer
            case AdviceOffered():
                front.arrivals.advice.offer(identity, now_ns)
            case RouteAdvised():
                front.arrivals.advice.receive(message, now_ns)
            case AnswerCall():
                answer = self._answer_call(message, now_ns)
                return None if any(peer.identity == identity for peer in front.peers.of("bridge")) else answer
            case PressKeys():
                return self._press(message)
            case InstructCall():
                return self._instruct(message)
            case RecordCall():
                answer = self._record(message, now_ns)
                return None if any(peer.identity == identity for peer in front.peers.of("bridge")) else answer
            case CaptureCall():
                return self._capture(message)
            case HoldCall() | Transfer():
                return front.orders.receive(identity, message, now_ns)
            case EnterRoom() | LeaveRoom() | JoinCalls():
                return front.rooms.receive(identity, message, now_ns)
            case ConnectCall():
                return front.connecting.receive(identity, message, now_ns)
            case Originate(call_id=call_id):
                why_not = front.originator.originate(identity, message, now_ns)
                is_for_now = front.admission.is_draining or why_not.startswith("503")
                return Failed(why_not, 503 if is_for_now else 422) if why_not else Done(call_id)
            case Drain():
                front.drain(now_ns)
                return Done(f"no new calls from now on; {front.live_calls} are up")
            case Watch():
                if identity not in self.watchers and len(self.watchers) >= MAX_WATCHERS:
                    return Failed(f"{MAX_WATCHERS} watch already, and no more may; end one of them", 503)
                self.watchers[identity] = message
                self._count_watchers()
                return Done()
        return None

    def _ended_since(self, after: int) -> EndedCalls:
        front = self.front
        forgotten = front.ended_total - len(front.ended_order)
        first = max(after, forgotten)
        wanted = islice(front.ended_order, first - forgotten, first - forgotten + MAX_ENDED_AT_ONCE)
        found = tuple(front.ended[call_id] for call_id in wanted)
        return EndedCalls(front.started_ns, found, first + len(found), max(0, first - after))

    def _status(self, now_ns: int) -> Status:
        front = self.front
        return Status(
            version=version(),
            sip=", ".join(places(front.config.sip)),
            uptime_s=(now_ns - front.started_ns) / 1e9,
            draining=front.admission.is_draining,
            calls=front.live_calls,
            calls_total=front.calls_total,
            calls_refused=front.calls_refused + front.user_agent.refused_calls,
            peers=front.peers.facts(now_ns),
            trunks=front.trunks.facts(now_ns, front.toll_guard.spent.by),
            transactions=len(front.user_agent.served) + len(front.user_agent.sent),
            dialogs=len(front.user_agent.sessions),
        )

    def _hang_up(self, order: HangUp, now_ns: int) -> Message:
        call = self.front.calls.get(order.call_id)
        if call is None:
            return Done() if order.call_id in self.front.ended else no_call(order.call_id)
        call.end(Cause.HANG_UP, order.cause, now_ns, status=603)
        self.front.user_agent.deadlines.schedule(call)
        return Done()

    def _answer_call(self, order: AnswerCall, now_ns: int) -> Message:
        call = self.front.calls.get(order.call_id)
        if call is None:
            return no_call(order.call_id)
        call.step(Cause.ANSWER, now_ns)
        self.front.user_agent.deadlines.schedule(call)
        if call.was_answered:
            return Done()
        return Failed(f"call {order.call_id} is {call.state.name.lower()}: one that came in early media can be answered so", 422)

    def _press(self, order: PressKeys) -> Message:
        call = self.front.calls.get(order.call_id)
        if call is None:
            return no_call(order.call_id)
        if call.state not in (State.ANSWERED, State.UP):
            return Failed(f"call {order.call_id} is {call.state.name.lower()}: keys can be pressed once it is answered", 503)
        if not call.agent:
            return Failed(f"call {order.call_id} has no agent that could press keys", 422)
        why_not = why_not_keys(order.keys)
        if why_not:
            return Failed(why_not, 422)
        self.front.tell_bridge(call.bridge, order)
        return Done()

    def _instruct(self, order: InstructCall) -> Message:
        call = self.front.calls.get(order.call_id)
        if call is None:
            return no_call(order.call_id)
        if call.state not in (State.ANSWERED, State.UP):
            return Failed(f"call {order.call_id} is {call.state.name.lower()}: it can be told what to do once it is answered", 503)
        self.front.tell_bridge(call.bridge, order)
        return Done()

    def _record(self, order: RecordCall, now_ns: int) -> Message:
        call = self.front.calls.get(order.call_id)
        if call is None:
            return no_call(order.call_id)
        if not self.front.config.recording.directory:
            log.warning("not recorded: %s", NO_DIRECTORY, extra={"call_id": call.call_id})
            return Failed(NO_DIRECTORY, 422)
        call.record(order.state, now_ns)
        self.front.user_agent.deadlines.schedule(call)
        return Done()

    def _capture(self, order: CaptureCall) -> Message:
        front = self.front
        call = front.calls.get(order.call_id)
        if call is None:
            return no_call(order.call_id)
        if call.opened is None:
            return Failed(f"call {order.call_id} is {call.state.name.lower()}: it has no media yet that could be captured", 503)
        front.tell_worker(call.worker, CaptureMedia(call.call_id, order.is_encrypted))
        keys = call.media.srtp if order.is_encrypted else None
        return Capturing(call.call_id, call.opened.row, call.opened.generation, media_host(front.config.sip), keys)

    def show(self, message: Message, call_id: str) -> None:
        for identity, watch in self.watchers.items():
            if watch.call_id in ("", call_id) and isinstance(message, SHOWN[watch.what]):
                self.front.messages.append((identity, message))

    def show_trace(self, brief: SipTraced, whole: SipTraced) -> None:
        """The messages themselves only for who watches this call alone: all of all calls would be too much for anybody."""
        for identity, watch in self.watchers.items():
            if watch.what == "all" and watch.call_id in ("", brief.call_id):
                self.front.messages.append((identity, whole if watch.call_id else brief))

    def _no_trace(self, call_id: str) -> Failed:
        front = self.front
        if call_id not in front.calls and call_id not in front.ended:
            return no_call(call_id)
        remedy = "set sip.trace = true, or watch while it happens with `bellframe trace --follow`"
        return Failed(f"the messages of call {call_id[:80]} were not kept: {remedy}", 404)

    def show_call(self, facts: CallFacts) -> None:
        if self.watchers:
            self.show(CallChanged(facts), facts.call_id)

    def unreachable(self, identity: bytes) -> None:
        """It has gone, or does not read: it is shown nothing more."""
        if self.watchers.pop(identity, None) is not None:
            self._count_watchers()

    def _count_watchers(self) -> None:
        self.wants_traces = any(watch.what == "all" for watch in self.watchers.values())
        self.front.user_agent.is_traced = self.wants_traces or self.front.config.sip.trace


def no_call(call_id: str) -> Failed:
    return Failed(f"there is no call {call_id[:80]}: `bellframe calls` lists those that are up", 404)
