"""One call: a SIP session, media on a worker and an agent on a bridge, joined by a table.

    caller calls     OPENING -> STARTING, EARLY or RINGING -> ANSWERED -> UP -> CLOSING -> ENDED
    we call          PREPARING -> CALLING -> JOINING -> UP -> CLOSING -> ENDED

A command to a worker or a bridge is sent again until its answer comes: processes are replaced under a call, and what
was said to the old one may be lost. Facts come late and twice: a pair that is not in the table changes nothing.
"""

import enum
import logging
from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from control_plane.errors import BellframeError
from control_plane.logs import clean
from control_plane.messages import (
    CallAnswered,
    CallFacts,
    CloseMedia,
    Direction,
    MediaDescription,
    MediaOpened,
    Message,
    OpenMedia,
    Recording,
    RecordMedia,
    StartAgent,
    StopAgent,
    UpdateMedia,
)
from sip_front.deadlines import Place
from sip_front.outcome import outcome_of
from sip_front.reason import NORMAL_CLEARING, TEMPORARY_FAILURE
from sip_front.seat import Seat
from sip_front.session import Session
from sip_front.turn_latency import TurnLatency

log = logging.getLogger("calls")
MS, SECOND = 1_000_000, 1_000_000_000
RESEND_NS, SLOW_RESEND_NS = 250 * MS, 2 * SECOND
MINUTE_NS = 60 * SECOND
QUICK_NS = 5 * SECOND  # a process that is replaced is back by then; what stays away longer is asked more slowly
PATIENCE_NS = 8 * SECOND  # beyond that limit, where there is no other worker: a keeper that is started again is there in two
WORKER_LIMIT_NS, BRIDGE_LIMIT_NS, RING_LIMIT_NS, CLOSE_LIMIT_NS = 2 * SECOND, 8 * SECOND, 120 * SECOND, 10 * SECOND
MAX_AGENT_DEATHS, AGENT_DEATHS_NS = 3, 60 * SECOND  # each of them interrupts the other calls' agents, too
AGENT_AWAY_LIMIT_NS = 30 * SECOND  # a bridge is back within a second or two; a caller does not wait much longer


class State(enum.Enum):
    OPENING, STARTING, ANSWERED, PREPARING, CALLING, JOINING, UP, CLOSING, ENDED, EARLY, LISTENING, RINGING = range(12)


class Cause(enum.Enum):
    MEDIA_OPENED, MEDIA_REFUSED, MEDIA_CLOSED, AGENT_STARTED, AGENT_LOST = range(5)
    FAR_END_ANSWERED, CONFIRMED, MEDIA_CHANGED, FAR_END_ENDED = range(5, 9)
    HANG_UP, FAILED, STEP_TIMEOUT, EARLY_MEDIA = range(9, 13)
    MEDIA_OPENED_TO_ANSWER, MEDIA_OPENED_EARLY, MEDIA_OPENED_TO_RING, ANSWER, EARLY_MEDIA_TO_HEAR, MEDIA_OPENED_TO_WAIT = range(13, 19)


class Desk(Protocol):
    """What a call needs of the front."""

    @property
    def front_id(self) -> int: ...
    def tell_worker(self, index: int, message: Message) -> None: ...
    def tell_bridge(self, index: int, message: Message) -> None: ...
    def has_another_worker(self, call: "Call", now_ns: int) -> bool: ...
    def another_worker(self, call: "Call", now_ns: int) -> bool: ...
    def dial(self, call: "Call", now_ns: int) -> None: ...
    def ring_others(self, call: "Call", now_ns: int) -> None: ...
    def stop_ringing(self, call: "Call", now_ns: int) -> None: ...
    def changed(self, call: "Call", now_ns: int) -> None: ...


Action = Callable[["Call", int], None]


class Call:
    """`step` it with what happened, `expire` it at `deadline_ns`."""

    __slots__ = (
        "__weakref__", "agent", "agent_deaths", "answered_ns", "arguments", "bridge", "bridge_command", "call_id", "callee", "caller",
        "cause", "counters", "desk", "direction", "early_media", "end_ns", "ended_by", "ended_ns", "has_agent", "has_lost_far_end",
        "has_tried_another", "headers", "is_port_shared", "max_ns", "media", "must_stay", "opened", "opening", "ordered_ns", "place",
        "q850", "rang_ns", "record_command", "recording", "refusal", "resend_ns", "ring_limit_ns", "seat", "session", "started_at",
        "started_ns", "state", "status", "step_deadline_ns", "tenant", "traceparent", "trunk", "turn_latency", "was_answered",
        "was_at_work", "worker", "worker_command",
    )  # fmt: skip

    def __init__(self, desk: Desk, session: Session, direction: Literal["inbound", "outbound"], now_ns: int, started_at: float) -> None:
        self.desk, self.session, self.direction, self.call_id = desk, session, direction, session.call_id
        self.state = State.OPENING if direction == "inbound" else State.PREPARING
        self.caller = self.callee = self.agent = self.trunk = self.tenant = self.traceparent = ""
        self.is_port_shared = False
        """As its trunk wants it."""
        self.arguments: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.worker = self.bridge = -1
        self.media: MediaDescription
        self.opened: MediaOpened | None = None
        self.has_agent = False
        self.has_lost_far_end = False
        """It hung up after it had sent us elsewhere, where it rings (moves.py)."""
        self.early_media = Cause.EARLY_MEDIA
        """What a far end's early media means, of a call that we make; or EARLY_MEDIA_TO_HEAR."""
        self.opening = Cause.MEDIA_OPENED
        """Or one of the two that answer at once, or let the agent speak early (OPENINGS)."""
        self.ring_limit_ns = RING_LIMIT_NS
        self.must_stay = False
        """It is to be joined with a call on its worker: another one would be of no use."""
        self.seat: Seat | None = None
        self.max_ns = 0
        """How long it may last once it is answered; 0: no limit."""
        self.end_ns: int | None = None
        """When that is over."""
        self.was_at_work = False
        """Its agent's code was running when the bridge ended last, and nobody had killed it."""
        self.agent_deaths: list[int] = []
        """When that was so, lately."""
        self.has_tried_another = False
        self.worker_command: Message | None = None
        self.bridge_command: Message | None = None
        self.record_command: RecordMedia | None = None
        self.recording: Recording = "off"
        """As it was asked for. It begins once the call is answered."""
        self.step_deadline_ns: int | None = None
        self.ordered_ns = self.resend_ns = 0
        self.place: Place | None = None
        self.started_ns, self.started_at, self.ended_ns = now_ns, started_at, 0
        self.rang_ns = self.answered_ns = 0
        self.ended_by: Cause | None = None
        self.counters: dict[str, int] = {}
        self.turn_latency = TurnLatency()
        """Of its media, once that is closed."""
        self.was_answered = False
        self.cause, self.status, self.q850 = "", 480, NORMAL_CLEARING
        self.refusal = ""
        """Why the worker would not, for the log."""

    # ---- what happens ----------------------------------------------------------------------------------------

    def open(self, now_ns: int) -> None:
        """The first step: a port and a row from the worker that was chosen."""
        self.order_worker(OpenMedia(self.call_id, self.bridge, self.media, self.desk.front_id, self.is_port_shared), now_ns)
        self._enter(self.state, now_ns)
        self.desk.changed(self, now_ns)

    def step(self, cause: Cause, now_ns: int) -> None:
        row = TRANSITIONS.get((self.state, cause))
        if row is None:
            return
        before = self.state
        self.state, actions = row
        if self.state is not before:
            self._enter(self.state, now_ns)
        for action in actions:
            action(self, now_ns)
        if self.state is row[0] and self.state is not before:  # else an action took it further, and has said so
            self.desk.changed(self, now_ns)

    def end(self, cause: Cause, text: str, now_ns: int, status: int = 480, q850: int = NORMAL_CLEARING) -> None:
        """FAR_END_ENDED, HANG_UP or FAILED, with the reason in plain words. The first one counts."""
        if self.state not in (State.CLOSING, State.ENDED):
            self.cause, self.status, self.q850, self.ended_ns, self.ended_by = clean(text, 300), status, q850, now_ns, cause
            self.step(cause, now_ns)

    def fail(self, text: str, now_ns: int, status: int = 503) -> None:
        self.end(Cause.FAILED, text, now_ns, status, TEMPORARY_FAILURE)

    @property
    def deadline_ns(self) -> int | None:
        resend_ns = self.resend_ns if self.worker_command or self.bridge_command or self.record_command else None
        return min((at_ns for at_ns in (resend_ns, self.step_deadline_ns, self.end_ns) if at_ns is not None), default=None)

    def expire(self, now_ns: int) -> None:
        if self.step_deadline_ns is not None and now_ns >= self.step_deadline_ns:
            self.step_deadline_ns = None
            self.step(Cause.STEP_TIMEOUT, now_ns)
        if self.end_ns is not None and now_ns >= self.end_ns:
            self.end(Cause.HANG_UP, f"it lasted {self.max_ns // MINUTE_NS} min, max_minutes of its route", now_ns)
        if now_ns >= self.resend_ns:
            self.resend_ns = now_ns + (RESEND_NS if now_ns - self.ordered_ns < QUICK_NS else SLOW_RESEND_NS)
            if self.worker_command:
                self.desk.tell_worker(self.worker, self.worker_command)
            if self.bridge_command:
                self.desk.tell_bridge(self.bridge, self.bridge_command)
            if self.record_command:
                self.desk.tell_worker(self.worker, self.record_command)

    def order_worker(self, message: Message, now_ns: int) -> None:
        self.worker_command, self.ordered_ns, self.resend_ns = message, now_ns, now_ns + RESEND_NS
        self.desk.tell_worker(self.worker, message)

    def record(self, state: Recording, now_ns: int) -> None:
        """On, off, or pause. Before the call is answered it is remembered."""
        has_changed, self.recording = state != self.recording, state
        if self.was_answered and self.state not in (State.CLOSING, State.ENDED):
            self.record_command = RecordMedia(self.call_id, state)
            self.ordered_ns, self.resend_ns = now_ns, now_ns + RESEND_NS
            self.desk.tell_worker(self.worker, self.record_command)
        if has_changed:
            self.desk.changed(self, now_ns)

    def order_bridge(self, message: Message, now_ns: int) -> None:
        self.bridge_command, self.ordered_ns, self.resend_ns = message, now_ns, now_ns + RESEND_NS
        self.desk.tell_bridge(self.bridge, message)

    def _enter(self, state: State, now_ns: int) -> None:
        limit_ns = self.ring_limit_ns if state is State.CALLING else LIMITS_NS.get(state)
        if state is not State.UP or self.bridge_command is None:  # else the agent is awaited, as it was before
            self.step_deadline_ns = None if limit_ns is None else now_ns + limit_ns
        if state in (State.CLOSING, State.ENDED):
            self.end_ns = None
        if state in (State.STARTING, State.EARLY, State.RINGING):
            self.rang_ns = self.rang_ns or now_ns
        elif state in (State.ANSWERED, State.JOINING) or (state is State.UP and not self.answered_ns):
            self.answered_ns = now_ns

    def note_ringing(self, now_ns: int) -> None:
        """The far end rings; it may say so often."""
        if not self.rang_ns:
            self.rang_ns = now_ns
            self.desk.changed(self, now_ns)

    def _at(self, then_ns: int) -> float:
        """Seconds since the epoch, for people; 0: never."""
        return self.started_at + (then_ns - self.started_ns) / SECOND if then_ns else 0.0

    def facts(self, now_ns: int) -> CallFacts:
        ended_by = "" if self.ended_by is None else self.ended_by.name
        outcome, status = outcome_of(self.direction, self.was_answered, bool(self.rang_ns), ended_by, self.status)
        return CallFacts(
            call_id=self.call_id,
            state=self.state.name.lower(),
            direction=self.direction,
            caller=self.caller,
            callee=self.callee,
            agent=self.agent,
            started_at=self.started_at,
            duration_s=((self.ended_ns or now_ns) - self.started_ns) / SECOND,
            format=self.media.format,
            worker=self.worker,
            row=self.opened.row if self.opened else -1,
            bridge=self.bridge,
            sip_call_id=clean(self.session.sip_call_id, 200),
            remote=str(self.session.peer),
            trunk=self.trunk,
            cause=self.cause,
            outcome=outcome,
            status=status,
            rang_at=self._at(self.rang_ns),
            answered_at=self._at(self.answered_ns if self.was_answered else 0),
            ended_at=self._at(self.ended_ns),
            counters=self.counters,
            turn_latency=self.turn_latency.facts(),
            recording=self.recording,
            traceparent=self.traceparent,
            tenant=self.tenant,
            room=self.seat.room if self.seat else "",
            role=self.seat.party.role if self.seat else "",
        )


# ---- actions -----------------------------------------------------------------------------------------------------


def ring(call: Call, now_ns: int) -> None:
    call.worker_command = None
    call.session.ring(now_ns)


def ring_others(call: Call, now_ns: int) -> None:
    """Phones, or a number: as long as the route says. Of a call that is answered, each of them has a limit of its own."""
    if call.state is RINGING:
        call.step_deadline_ns = now_ns + call.ring_limit_ns
    elif call.state is CLOSING:
        return  # it could not be answered
    call.desk.ring_others(call, now_ns)


def others_timed_out(call: Call, now_ns: int) -> None:
    call.desk.stop_ringing(call, now_ns)


def start_agent(call: Call, now_ns: int) -> None:
    _order_agent(call, now_ns, resumed=False)


def start_agent_meanwhile(call: Call, now_ns: int) -> None:
    """The call goes on already, so the agent has a time of its own."""
    if call.state in (ANSWERED, UP):
        call.step_deadline_ns = now_ns + BRIDGE_LIMIT_NS
    _order_agent(call, now_ns, resumed=False)


def speak_early(call: Call, now_ns: int) -> None:
    """183 with our answer: from here on the caller hears the agent, and pays nothing."""
    call.worker_command = None
    try:
        call.session.speak_early(now_ns)
    except BellframeError as failure:
        call.fail(str(failure), now_ns, failure.sip_status)


def count_death(call: Call, now_ns: int) -> None:
    """A call that ends its agent's process again and again. The others of that process go on, however often it ends."""
    if not call.was_at_work:
        return
    call.agent_deaths = [then_ns for then_ns in call.agent_deaths if now_ns - then_ns < AGENT_DEATHS_NS] + [now_ns]
    if len(call.agent_deaths) >= MAX_AGENT_DEATHS:
        times = f"{len(call.agent_deaths)} times within {AGENT_DEATHS_NS // SECOND} s"
        call.fail(f"its agent {call.agent} ended its process {times}; look into the log of bridge {call.bridge}", now_ns, 500)


def resume_agent(call: Call, now_ns: int) -> None:
    """Another process under the same index: it knows nothing of this call."""
    if call.state is CLOSING:
        return  # it died too often
    if call.state not in (EARLY, LISTENING):  # there nobody waits for longer than it may ring
        call.step_deadline_ns = now_ns + AGENT_AWAY_LIMIT_NS
    _order_agent(call, now_ns, resumed=True)


def _order_agent(call: Call, now_ns: int, resumed: bool) -> None:
    if call.opened is None or call.state is CLOSING:
        return
    if not call.agent:  # somebody else speaks there: it is joined with another call
        call.step(Cause.AGENT_STARTED, now_ns)
        return
    call.order_bridge(
        StartAgent(
            call_id=call.call_id,
            row=call.opened.row,
            generation=call.opened.generation,
            sample_rate_hz=call.opened.sample_rate_hz,
            agent=call.agent,
            caller=call.caller,
            callee=call.callee,
            direction=call.direction,
            headers=call.headers,
            arguments=call.arguments,
            resumed=resumed,
            trunk=call.trunk,
            format=call.media.format,
            is_early=call.state in (EARLY, LISTENING),
        ),
        now_ns,
    )


def agent_is_there(call: Call, _now_ns: int) -> None:
    call.bridge_command, call.has_agent = None, bool(call.agent)
    if call.state in (State.UP, State.ANSWERED):
        call.step_deadline_ns = None
    elif call.state in (EARLY, LISTENING):
        call.step_deadline_ns = (call.rang_ns or call.started_ns) + call.ring_limit_ns


def answer_at_once(call: Call, now_ns: int) -> None:
    call.worker_command = None
    answer(call, now_ns)


def answer(call: Call, now_ns: int) -> None:
    try:
        call.session.accept(now_ns)
        note_answer(call, now_ns)
    except BellframeError as failure:
        call.fail(str(failure), now_ns, failure.sip_status)


def dial(call: Call, now_ns: int) -> None:
    call.worker_command = None
    call.desk.dial(call, now_ns)


def note_answer(call: Call, now_ns: int) -> None:
    call.was_answered = True
    call.end_ns = now_ns + call.max_ns if call.max_ns else None
    if call.recording != "off":
        call.record(call.recording, now_ns)


def open_early_media(call: Call, now_ns: int) -> None:
    """Before the answer: the way is opened by what we send. What rings is not kept for the agent, which speaks to people."""
    direction: Direction = "sendonly" if call.media.direction in ("sendrecv", "sendonly") else "inactive"
    call.order_worker(UpdateMedia(call.call_id, msgspec.structs.replace(call.media, direction=direction)), now_ns)


def tell_answered(call: Call, now_ns: int) -> None:
    """To the agent, which hears the call since before. One that is still being started is told so by its start."""
    if call.has_agent:
        call.step_deadline_ns = None
        call.desk.tell_bridge(call.bridge, CallAnswered(call.call_id))
    else:
        call.step_deadline_ns = now_ns + BRIDGE_LIMIT_NS
        _order_agent(call, now_ns, resumed=False)


def listening_timed_out(call: Call, now_ns: int) -> None:
    if call.has_agent:
        ring_timed_out(call, now_ns)
    else:
        bridge_timed_out(call, now_ns)


def forgo_early_media(call: Call, _now_ns: int) -> None:
    log.warning("no early media: the worker %s", call.refusal, extra={"call_id": call.call_id})
    call.refusal, call.worker_command = "", None


def update_media(call: Call, now_ns: int) -> None:
    call.order_worker(UpdateMedia(call.call_id, call.media), now_ns)


def try_another_worker(call: Call, now_ns: int) -> None:
    """Once; what the first one may open late is closed when it says so. Where there is no other, one that is silent is waited for."""
    first, why = call.worker, call.refusal or f"was silent for {(now_ns - call.ordered_ns) // SECOND} s"
    may_wait = not call.refusal and now_ns - call.started_ns < PATIENCE_NS
    if may_wait and not call.has_tried_another and not call.desk.has_another_worker(call, now_ns):
        call.step_deadline_ns = now_ns + WORKER_LIMIT_NS
        return
    call.refusal, call.worker_command = "", None
    if call.has_tried_another:
        call.fail(f"503: worker {first} {why}, and so another before it; look into the log of the media workers", now_ns)
        return
    call.has_tried_another = True
    call.desk.tell_worker(first, CloseMedia(call.call_id))
    if not call.desk.another_worker(call, now_ns):
        call.fail(f"503: worker {first} {why}, and there is no other with room; look into the log of the media workers", now_ns)
        return
    log.warning("worker %d %s; trying worker %d", first, why, call.worker, extra={"call_id": call.call_id})
    call.order_worker(OpenMedia(call.call_id, call.bridge, call.media, call.desk.front_id, call.is_port_shared), now_ns)
    call.step_deadline_ns = now_ns + WORKER_LIMIT_NS


def bridge_timed_out(call: Call, now_ns: int) -> None:
    call.fail(f"503: bridge {call.bridge} did not start the agent {call.agent} within {BRIDGE_LIMIT_NS // SECOND} s; see its log", now_ns)


def ring_timed_out(call: Call, now_ns: int) -> None:
    call.end(Cause.HANG_UP, f"nobody answered within {call.ring_limit_ns // SECOND} s", now_ns, status=408)


def early_timed_out(call: Call, now_ns: int) -> None:
    if call.has_agent:
        text = f"the agent {call.agent} did not answer within {call.ring_limit_ns // SECOND} s, ring_seconds of its route"
        call.end(Cause.HANG_UP, text, now_ns)
    else:
        bridge_timed_out(call, now_ns)


def agent_stays_away(call: Call, now_ns: int) -> None:
    if not call.has_agent:
        bridge_timed_out(call, now_ns)
        return
    call.fail(f"bridge {call.bridge} was replaced, but gave no agent back for {AGENT_AWAY_LIMIT_NS // SECOND} s; see its log", now_ns)


def end_session(call: Call, now_ns: int) -> None:
    call.session.hang_up(call.cause, now_ns, status=call.status, q850=call.q850)


def stop_agent(call: Call, now_ns: int) -> None:
    if call.has_agent or call.bridge_command:
        call.bridge_command = None
        call.desk.tell_bridge(call.bridge, StopAgent(call.call_id, call.cause))


def close_media(call: Call, now_ns: int) -> None:
    duration_s = (now_ns - call.started_ns) / SECOND
    verb = "ended" if call.was_answered else "not answered"
    level = logging.INFO if call.was_answered or call.q850 == NORMAL_CLEARING else logging.WARNING
    log.log(
        level, "%s call from %s to %s %s after %.1f s: %s", call.direction, call.caller, call.callee, verb, duration_s, call.cause,
        extra={"call_id": call.call_id},
    )  # fmt: skip
    call.record_command = None
    call.order_worker(CloseMedia(call.call_id), now_ns)


def give_up_closing(call: Call, _now_ns: int) -> None:
    text = "worker %d has not confirmed for %d s that the call's port is free; it frees it when the port is quiet"
    log.warning(text, call.worker, CLOSE_LIMIT_NS // SECOND, extra={"call_id": call.call_id})


def settle(call: Call, _now_ns: int) -> None:
    """Nothing is open any more."""
    call.worker_command = call.bridge_command = call.record_command = None


def lost_media(call: Call, now_ns: int) -> None:
    call.fail(f"worker {call.worker} {call.refusal}", now_ns)


OPENING, STARTING, ANSWERED, PREPARING, CALLING, JOINING, UP, CLOSING, ENDED, EARLY, LISTENING, RINGING = State
OPENINGS = {"ready": Cause.MEDIA_OPENED, "at once": Cause.MEDIA_OPENED_TO_ANSWER, "early": Cause.MEDIA_OPENED_EARLY}
RING_OPENINGS = {"ready": Cause.MEDIA_OPENED_TO_RING, "at once": Cause.MEDIA_OPENED_TO_WAIT}
"""What a worker's port means, by `answer` of the route: of one with an agent, and of one that rings phones."""
LIMITS_NS = {
    OPENING: WORKER_LIMIT_NS,
    PREPARING: WORKER_LIMIT_NS,
    STARTING: BRIDGE_LIMIT_NS,
    EARLY: BRIDGE_LIMIT_NS,
    LISTENING: BRIDGE_LIMIT_NS,
    JOINING: BRIDGE_LIMIT_NS,
    CLOSING: CLOSE_LIMIT_NS,
}
TRANSITIONS: dict[tuple[State, Cause], tuple[State, tuple[Action, ...]]] = {
    # they call
    (OPENING, Cause.MEDIA_OPENED): (STARTING, (ring, start_agent)),
    (OPENING, Cause.MEDIA_REFUSED): (OPENING, (try_another_worker,)),
    (OPENING, Cause.STEP_TIMEOUT): (OPENING, (try_another_worker,)),
    (OPENING, Cause.MEDIA_OPENED_TO_ANSWER): (ANSWERED, (answer_at_once, start_agent_meanwhile)),
    (OPENING, Cause.MEDIA_OPENED_EARLY): (EARLY, (speak_early, start_agent_meanwhile)),
    (OPENING, Cause.MEDIA_OPENED_TO_RING): (RINGING, (ring, ring_others)),
    (OPENING, Cause.MEDIA_OPENED_TO_WAIT): (ANSWERED, (answer_at_once, ring_others)),
    (RINGING, Cause.ANSWER): (ANSWERED, (answer,)),
    (RINGING, Cause.STEP_TIMEOUT): (RINGING, (others_timed_out,)),
    (RINGING, Cause.MEDIA_CHANGED): (RINGING, (update_media,)),
    (RINGING, Cause.MEDIA_REFUSED): (RINGING, (lost_media,)),
    (RINGING, Cause.MEDIA_OPENED_TO_RING): (RINGING, (ring_others,)),  # nobody answered: the next route, as it says
    (RINGING, Cause.MEDIA_OPENED_TO_WAIT): (ANSWERED, (answer, ring_others)),
    (RINGING, Cause.MEDIA_OPENED): (STARTING, (start_agent,)),
    (RINGING, Cause.MEDIA_OPENED_TO_ANSWER): (ANSWERED, (answer, start_agent_meanwhile)),
    (RINGING, Cause.MEDIA_OPENED_EARLY): (EARLY, (speak_early, start_agent_meanwhile)),
    (EARLY, Cause.AGENT_STARTED): (EARLY, (agent_is_there,)),
    (EARLY, Cause.AGENT_LOST): (EARLY, (count_death, resume_agent)),
    (EARLY, Cause.MEDIA_CHANGED): (EARLY, (update_media,)),
    (EARLY, Cause.MEDIA_REFUSED): (EARLY, (lost_media,)),
    (EARLY, Cause.STEP_TIMEOUT): (EARLY, (early_timed_out,)),
    (EARLY, Cause.ANSWER): (ANSWERED, (answer,)),
    (STARTING, Cause.AGENT_STARTED): (ANSWERED, (agent_is_there, answer)),
    (STARTING, Cause.AGENT_LOST): (STARTING, (count_death, start_agent)),
    (STARTING, Cause.MEDIA_CHANGED): (STARTING, (update_media,)),
    (STARTING, Cause.MEDIA_REFUSED): (STARTING, (lost_media,)),
    (STARTING, Cause.STEP_TIMEOUT): (STARTING, (bridge_timed_out,)),
    (ANSWERED, Cause.CONFIRMED): (UP, ()),
    (ANSWERED, Cause.MEDIA_CHANGED): (ANSWERED, (update_media,)),
    (ANSWERED, Cause.AGENT_STARTED): (ANSWERED, (agent_is_there,)),
    (ANSWERED, Cause.AGENT_LOST): (ANSWERED, (count_death, resume_agent)),
    (ANSWERED, Cause.STEP_TIMEOUT): (ANSWERED, (agent_stays_away,)),
    (ANSWERED, Cause.MEDIA_REFUSED): (ANSWERED, (lost_media,)),
    # we call
    (PREPARING, Cause.MEDIA_OPENED): (CALLING, (dial,)),
    (PREPARING, Cause.MEDIA_REFUSED): (PREPARING, (try_another_worker,)),
    (PREPARING, Cause.STEP_TIMEOUT): (PREPARING, (try_another_worker,)),
    (CALLING, Cause.EARLY_MEDIA): (CALLING, (open_early_media,)),
    (CALLING, Cause.MEDIA_REFUSED): (CALLING, (forgo_early_media,)),
    (CALLING, Cause.FAR_END_ANSWERED): (JOINING, (note_answer, update_media, start_agent)),
    (CALLING, Cause.STEP_TIMEOUT): (CALLING, (ring_timed_out,)),
    (CALLING, Cause.EARLY_MEDIA_TO_HEAR): (LISTENING, (update_media, start_agent_meanwhile)),
    (LISTENING, Cause.EARLY_MEDIA_TO_HEAR): (LISTENING, (update_media,)),
    (LISTENING, Cause.MEDIA_REFUSED): (LISTENING, (forgo_early_media,)),
    (LISTENING, Cause.AGENT_STARTED): (LISTENING, (agent_is_there,)),
    (LISTENING, Cause.AGENT_LOST): (LISTENING, (count_death, resume_agent)),
    (LISTENING, Cause.STEP_TIMEOUT): (LISTENING, (listening_timed_out,)),
    (LISTENING, Cause.FAR_END_ANSWERED): (UP, (note_answer, update_media, tell_answered)),
    (JOINING, Cause.AGENT_STARTED): (UP, (agent_is_there,)),
    (JOINING, Cause.AGENT_LOST): (JOINING, (count_death, start_agent)),
    (JOINING, Cause.STEP_TIMEOUT): (JOINING, (bridge_timed_out,)),
    (JOINING, Cause.MEDIA_CHANGED): (JOINING, (update_media,)),
    (JOINING, Cause.MEDIA_REFUSED): (JOINING, (lost_media,)),
    # both
    (UP, Cause.MEDIA_CHANGED): (UP, (update_media,)),
    (UP, Cause.MEDIA_REFUSED): (UP, (lost_media,)),
    (UP, Cause.AGENT_STARTED): (UP, (agent_is_there,)),
    (UP, Cause.AGENT_LOST): (UP, (count_death, resume_agent)),
    (UP, Cause.STEP_TIMEOUT): (UP, (agent_stays_away,)),
    (CLOSING, Cause.MEDIA_CLOSED): (ENDED, (settle,)),
    (CLOSING, Cause.STEP_TIMEOUT): (ENDED, (give_up_closing, settle)),
}
for _state in (ANSWERED, UP):  # of phones that were rung nobody answered: the next route, as it says
    for _cause in (Cause.MEDIA_OPENED_TO_RING, Cause.MEDIA_OPENED_TO_WAIT):
        TRANSITIONS[_state, _cause] = (_state, (ring_others,))
    for _cause in OPENINGS.values():
        TRANSITIONS[_state, _cause] = (_state, (start_agent_meanwhile,))
for _state in (OPENING, STARTING, EARLY, RINGING, ANSWERED, PREPARING, CALLING, LISTENING, JOINING, UP):
    TRANSITIONS[_state, Cause.FAR_END_ENDED] = (CLOSING, (stop_agent, close_media))
    TRANSITIONS[_state, Cause.HANG_UP] = (CLOSING, (end_session, stop_agent, close_media))
    TRANSITIONS[_state, Cause.FAILED] = (CLOSING, (end_session, stop_agent, close_media))
