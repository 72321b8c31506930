"""What the processes tell each other. Commands are orders and idempotent; events are facts.

The front binds one ROUTER; workers, bridges and the command line connect to it as DEALERs. A message is one
frame of msgpack, tagged with its name. Audio, keys and marks do not come this way: they go through the rings,
in order, whether the front is there or not.
"""

from typing import Literal

import msgspec

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
Recording = Literal["on", "off", "pause"]
"""Of a call. What happens during a pause is nowhere."""


class Message(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    pass


class Alive(Message):
    """Event from a worker or a bridge: once a second, and at once on start. The first one introduces it."""

    role: Literal["worker", "bridge"]
    index: int
    pid: int
    generation: int = 0
    calls: int = 0
    capacity: int = 0
    """Worker: how many calls it may carry. Bridge: 0, no limit of its own."""
    busy_percent: float = 0.0
    """Worker: of the last seconds, the part in which it was not waiting."""
    late_percent: float = 0.0
    """Worker: packets of the last seconds that went out 16 ms or more after their time."""
    agents: tuple[str, ...] = ()
    suspects: tuple[int, ...] = ()
    """Bridge: rows of the calls at whose agents' work the process before it ended, unless somebody else ended it."""


# ---- front -> worker ------------------------------------------------------------------------------------


class SrtpKeys(msgspec.Struct, frozen=True):
    """Of one call, agreed by SDES (RFC 4568). Never shown: a log or a trace that has them lets anybody listen."""

    suite: str
    """The name in a=crypto, such as AES_CM_128_HMAC_SHA1_80."""
    rx: bytes
    """Master key and salt of what we receive."""
    tx: bytes

    def __repr__(self) -> str:
        return f"SrtpKeys({self.suite!r}, hidden)"


class MediaDescription(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an offer and its answer agreed for one call."""

    format: str
    payload_type: int
    remote_host: str = ""
    """Address in the far end's SDP; empty: not known yet, nothing is sent."""
    remote_port: int = 0
    ptime_ms: int = 20
    """Of what we send. What we receive may have any."""
    dtmf_payload_type: int = -1
    comfort_noise_payload_type: int = -1
    direction: Direction = "sendrecv"
    """Ours: sendonly means that we only send."""
    fmtp: str = ""
    """The far end's parameters of the format (a=fmtp), for those that have any."""
    srtp: SrtpKeys | None = None
    """None: in the clear."""
    has_rtcp_mux: bool = False
    """RTCP comes and goes on the RTP port (RFC 5761)."""
    remote_rtcp_port: int = 0
    """0: the one after remote_port (RFC 3605 can say another)."""
    remote_ssrc: int = -1
    """Of the far end's stream, as its SDP says (a=ssrc, RFC 5576); -1: it does not."""


class FrontStarted(Message):
    """Command: calls opened by another front are closed: nobody could end them. Sent to each worker process that is new to the front."""

    front: int
    """A random number, another one for each start of the front."""


class OpenMedia(Message):
    """Command: take a row and a port for this call. Sent again, it answers with the same row."""

    call_id: str
    bridge: int
    media: MediaDescription
    front: int = 0
    """Which front asks, as in its FrontStarted."""
    is_port_shared: bool = False
    """On the port that many calls share, where the call can be told from the others there; else on one of its own."""


class UpdateMedia(Message):
    """Command: a new offer/answer. The far end's address may have changed, so its source is learnt anew."""

    call_id: str
    media: MediaDescription


class CloseMedia(Message):
    """Command: the call is over. The row is free again once its port has been quiet."""

    call_id: str


class TakeKey(Message):
    """Command: a key that came by SIP INFO. The worker puts it where it stands in what the caller says, once, however else it comes."""

    call_id: str
    key: str


class RecordMedia(Message):
    """Command: put the call on its tape, for the recorder. Said again, it changes nothing."""

    call_id: str
    state: Recording


class CaptureMedia(Message):
    """Command: keep the call's packets in memory for who captures it, ten seconds from now. Said again, ten seconds from then."""

    call_id: str
    is_encrypted: bool
    """As on the wire; else without SRTP."""


Role = Literal["talk", "listen", "whisper", "music", "ringback"]
"""Of a call's far end in a room. music, ringback: it waits, hears that, and nobody hears it but its own agent."""
AgentRole = Literal["out", "talk", "listen", "whisper"]
"""Of its agent there. out: it hears nothing, and what it says waits; keys come to it all the same."""
MAX_PARTIES = 32
"""Calls in one room."""


class Party(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call's place in a room: its far end's, and its agent's."""

    call_id: str
    role: Role = "talk"
    agent: AgentRole = "out"
    to: str = ""
    """Whom the far end whispers to: "CALL_ID", or "CALL_ID/agent"."""
    agent_to: str = ""
    """Whom the agent whispers to."""


class SetRoom(Message):
    """Command: who is in this room from now on, all of them; nobody: the room is no more. Calls that are over are passed over."""

    room_id: str
    parties: tuple[Party, ...]
    number: int = 0
    """Told back with RoomSet."""


# ---- worker -> front ------------------------------------------------------------------------------------


class MediaOpened(Message):
    call_id: str
    worker: int
    row: int
    generation: int
    rtp_port: int
    sample_rate_hz: int


class MediaRefused(Message):
    call_id: str
    why: str


class MediaUpdated(Message):
    call_id: str


class MediaRecorded(Message):
    call_id: str
    state: Recording


class RoomSet(Message):
    room_id: str
    number: int


class MediaClosed(Message):
    call_id: str
    counters: dict[str, int] = {}
    """shm/counters.py CALL_COUNTERS, by name."""


class MediaSilent(Message):
    """Event: no packet from the far end for longer than allowed. The front ends the call."""

    call_id: str
    silent_ms: int


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a webhook decides of a call: what a route says, where it says something else. Settings of a Route, by their names."""

    agent: str | None = None
    refuse: int | None = None
    phones: tuple[str, ...] | None = None
    number: str | None = None
    via: str | None = None
    arguments: dict[str, str] | None = None
    answer: Literal["ready", "at once", "early"] | None = None
    ring_seconds: int | None = None
    max_minutes: int | None = None
    record: bool | None = None


# ---- front -> bridge ------------------------------------------------------------------------------------


class StartAgent(Message):
    """Command: an agent for this call. `resumed`: the call had one whose bridge died."""

    call_id: str
    row: int
    generation: int
    sample_rate_hz: int
    agent: str
    caller: str = ""
    callee: str = ""
    direction: Literal["inbound", "outbound"] = "inbound"
    headers: dict[str, str] = {}
    arguments: dict[str, str] = {}
    resumed: bool = False
    trunk: str = ""
    """Which trunk the call came or goes through; empty: none."""
    format: str = ""
    """The line's codec, a name of control_plane/formats.py; empty: not agreed yet."""
    is_early: bool = False
    """The call is not answered: what is said is early media, until AnswerCall; of a call that we make, until CallAnswered."""


class CallAnswered(Message):
    """Event: the far end has answered a call whose agent hears it since before."""

    call_id: str


class StopAgent(Message):
    """Command: the call is over, or another agent takes it."""

    call_id: str
    cause: str


class TransferEnded(Message):
    """Event: `was_accepted`: the far end has gone where it was sent, and the call ends. Otherwise the call goes on."""

    call_id: str
    was_accepted: bool
    status: int
    why: str = ""


class HoldEnded(Message):
    """Event: what became of a HoldCall. `is_held`: what was asked. Not accepted: the call is as it was before."""

    call_id: str
    is_held: bool
    was_accepted: bool
    status: int
    why: str = ""


class ConnectEnded(Message):
    """Event: what became of a ConnectCall. Not accepted: the call is as it was before."""

    call_id: str
    leg_id: str
    was_accepted: bool
    status: int
    why: str = ""


class RoomChanged(Message):
    """Event: the call's place is this from now on. `room` empty: it is back with its agent."""

    call_id: str
    room: str = ""
    role: Role = "talk"
    agent: AgentRole = "out"
    why: str = ""


# ---- bridge -> front ------------------------------------------------------------------------------------


class AgentStarted(Message):
    call_id: str


class AgentFailed(Message):
    """Event: the agent's own code raised, or could not be loaded. The front ends the call and logs why."""

    call_id: str
    why: str


class Noted(Message):
    """Event: something worth showing: what was heard, what is said, how long the silence took."""

    call_id: str
    at_ns: int
    kind: str
    text: str
    values: dict[str, float] = {}


# ---- asked of the front by a command line or a bridge ----------------------------------------------------


class GetStatus(Message):
    pass


class GetCalls(Message):
    pass


class GetTrace(Message):
    """The SIP messages of a call, up or ended lately. Kept while sip.trace is on or somebody watches."""

    call_id: str


class GetFigures(Message):
    pass


class GetPhones(Message):
    pass


class GetEnded(Message):
    """The calls that have ended, oldest first, a few at a time. The answer says with which number to go on."""

    after: int = 0
    """How many have been seen already."""


class GetCall(Message):
    call_id: str


class HangUp(Message):
    call_id: str
    cause: str = "hung up by the operator"


class Transfer(Message):
    """Command: send the far end elsewhere (REFER). What becomes of it is told with TransferEnded; the call goes on until then."""

    call_id: str
    to: str = ""
    """A SIP URI, or a number that the call's trunk completes."""
    with_call: str = ""
    """Attended: another call of ours, whose far end it is joined with (REFER with Replaces). Then `to` is left empty."""


class HoldCall(Message):
    """Command: put the far end on hold, or take it back, by a re-INVITE of ours. What becomes of it is told with HoldEnded."""

    call_id: str
    is_held: bool


class RecordCall(Message):
    """Command: begin to record, pause, or end. Before the call is answered, it is remembered until then."""

    call_id: str
    state: Recording


class AdviceOffered(Message):
    """Event from the process of the HTTP API, once a second: it asks the webhooks of routes. The last one that says so is asked."""


class RouteAdvised(Message):
    """Event: what a route's webhook says; None: nothing that counts, and `why`."""

    call_id: str
    decision: Decision | None = None
    why: str = ""


class AnswerCall(Message):
    """Command: answer a call that its agent has spoken to as early media. Again, it stays answered."""

    call_id: str


class CaptureCall(Message):
    """Command: let me read the call's packets; again every few seconds, as long as I do. The answer is Capturing."""

    call_id: str
    is_encrypted: bool = False
    """As on the wire, and the keys in the answer; else without SRTP."""


class PressKeys(Message):
    """Command: send these DTMF keys, behind what is being said. The front passes it on to the call's bridge."""

    call_id: str
    keys: str


class InstructCall(Message):
    """Command: what the call's agent does ends, and this TwiML, or what is at this address, is done instead. The front passes it on."""

    call_id: str
    document: str = ""
    url: str = ""
    method: Literal["GET", "POST"] = "POST"


After = Literal["end", "return", "stay"]
"""What becomes of a call when nobody else is left in its room: it ends, it goes back to its agent, or it waits there."""
Meanwhile = Literal["music", "ringback", "agent"]
"""What a caller hears while somebody is rung for it. agent: its agent, as before."""


class EnterRoom(Message):
    """Command: put a call into a room, or change its part there. The first one makes the room; all its calls are on one worker."""

    room: str
    party: Party
    after: After = "stay"
    tenant: str = ""
    """For whom: then all calls there are this tenant's. Empty: an operator asks."""


class LeaveRoom(Message):
    """Command: back to its agent; where it has none, it ends. If somebody is being rung for it, that ends as well."""

    call_id: str


class JoinCalls(Message):
    """Command: two calls hear each other, and nobody else. Whatever rooms they were in they leave. Both are on one worker."""

    call_id: str
    with_call: str
    agent: AgentRole = "out"
    """Of the first one's agent, from now on. The other's is out."""
    after: After = "end"
    """Of the first one. The other goes back to its agent if that is what this says, and it has one; else it ends."""
    tenant: str = ""
    """As of EnterRoom."""


class ConnectCall(Message):
    """Command: ring somebody for this call, and join the two when that is answered. The front tells with ConnectEnded what became of it."""

    call_id: str
    to: str
    """A SIP URI, user:NAME of a phone, or a number that a trunk completes."""
    leg_id: str
    """The id of the call that is made. The same order again is the same call."""
    caller: str = ""
    """Who calls, for the display; empty: our call's own caller."""
    trunk: str = ""
    headers: dict[str, str] = {}
    """X- headers of its INVITE."""
    meanwhile: Meanwhile = "music"
    ring_seconds: int = 60
    agent: AgentRole = "out"
    """Of our call's agent, once they are joined."""
    after: After = "end"
    """Of our call, when the other has hung up."""


class Originate(Message):
    """Command: call out. The answer is Originated at once; what becomes of it is watched or asked for."""

    call_id: str
    to: str
    """A SIP URI, or a number that a trunk completes."""
    agent: str
    caller: str = ""
    arguments: dict[str, str] = {}
    trunk: str = ""
    """Which trunk of the configuration it goes through; empty: the one that routing chooses, or straight to the URI."""
    headers: dict[str, str] = {}
    """X- headers that the INVITE carries."""
    tenant: str = ""
    """For whom: then only this tenant's trunks and users are called, and those that are nobody's. Empty: an operator asks."""
    hears_early: bool = False
    """The agent starts with the far end's early media (ringing tones, announcements), not with its answer."""
    formats: tuple[str, ...] = ()
    """What is offered, the first preferred; empty: as the trunk or media.formats has it."""
    beside: str = ""
    """A call that this one may be joined with: it is placed on the same worker. It may do without an agent, then."""
    ring_seconds: int = 0
    """How long it may ring; 0: two minutes."""


class AskRoute(Message):
    """Command to the process of the HTTP API: ask the webhook of this route. Answered with RouteAdvised, or too late."""

    call_id: str
    route: int
    """Its position in the configuration."""
    caller: str
    callee: str
    trunk: str = ""
    tenant: str = ""
    source: str = ""
    headers: dict[str, str] = {}


class Drain(Message):
    """Command: no new calls from now on."""


class Watch(Message):
    """Command: send me SipTraced, Noted and CallChanged as they happen. `call_id` empty: of all calls. Said again, the last one counts."""

    call_id: str = ""
    what: Literal["all", "calls", "notes"] = "all"
    """calls: CallChanged only, which costs the front next to nothing. notes: Noted, too."""


# ---- the front's answers and what a watcher sees ---------------------------------------------------------


Outcome = Literal["queued", "ringing", "answered", "busy", "no answer", "rejected", "cancelled", "failed"]


class CallFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    call_id: str
    state: str
    direction: str
    caller: str
    callee: str
    agent: str
    started_at: float
    """Seconds since the epoch, for people; durations are counted on the monotonic clock."""
    duration_s: float
    format: str = ""
    worker: int = -1
    row: int = -1
    bridge: int = -1
    sip_call_id: str = ""
    remote: str = ""
    trunk: str = ""
    """Which it came or goes through; empty: none."""
    cause: str = ""
    """Why it ended, in plain words."""
    outcome: Outcome = "queued"
    """How far it came. A call that was answered stays so, also when it has ended."""
    status: int = 0
    """SIP's, of the final response to its INVITE; 200: answered; 0: there is none yet."""
    rang_at: float = 0.0
    """Seconds since the epoch, as the two below; 0: it did not come to that."""
    answered_at: float = 0.0
    ended_at: float = 0.0
    counters: dict[str, int] = {}
    """Of its media, once it has ended: shm/counters.py CALL_COUNTERS, by name."""
    turn_latency: dict[str, float] = {}
    """Of the caller's turns that were `answered`: means of their detected_ms, model_ms, wire_ms and total_ms, and the longest_ms."""
    recording: Recording = "off"
    tenant: str = ""
    """Whose call it is; empty: nobody's in particular."""
    traceparent: str = ""
    """Of the trace that the far end began, where its trunk may name one (traceparent_header)."""
    room: str = ""
    """Empty: it is in none."""
    role: str = ""
    """There: its far end's."""


class PeerFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    role: str
    index: int
    pid: int
    generation: int
    calls: int
    capacity: int
    silent_ms: int
    """Since its last Alive."""
    busy_percent: float = 0.0
    late_percent: float = 0.0


class TrunkFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    calls: int
    max_calls: int = 0
    """0: no limit of its own."""
    registration: str = ""
    """registered, trying, waiting, gone; empty: it does not register."""
    registered_s: int = 0
    """How much longer the registrar knows us."""
    why: str = ""
    """What is wrong with its registration, with the remedy."""
    gateways: dict[str, str] = {}
    """By name: up, or why it is down."""
    spent_today: float = 0.0
    """By its prices, since 00:00 UTC; counted where there is a cap."""
    max_spend_per_day: float = 0.0


class PhoneFacts(msgspec.Struct, frozen=True):
    """A phone that has registered."""

    user: str
    contact: str
    address: str
    """Where it is called: where its registration came from."""
    transport: str
    expires_s: int
    user_agent: str


class Phones(Message):
    phones: tuple[PhoneFacts, ...]


class Status(Message):
    version: str
    sip: str
    uptime_s: float
    draining: bool
    calls: int
    calls_total: int
    calls_refused: int
    peers: tuple[PeerFacts, ...]
    trunks: tuple[TrunkFacts, ...] = ()
    transactions: int = 0
    """Not over yet, as servers and as clients: half a minute after a call's last one there is none left of it."""
    dialogs: int = 0


class Calls(Message):
    calls: tuple[CallFacts, ...]


class EndedCalls(Message):
    """`front` is another number when the front was replaced, and then counting began anew."""

    front: int
    calls: tuple[CallFacts, ...]
    last: int
    """The number of the last of them; ask for those after it."""
    missed: int = 0
    """Ended since then too, and forgotten meanwhile."""


class Counted(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many calls of one direction and trunk have something in common."""

    direction: str
    trunk: str
    what: str
    """Their state, their outcome, or the SIP status of their set-up."""
    count: int


class Distribution(msgspec.Struct, frozen=True):
    """Of the calls of one direction and trunk that have ended: how many lay at or below each of the bounds, and above the last."""

    direction: str
    trunk: str
    name: str
    counts: tuple[int, ...]
    sum: float


class TenantFigures(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    live: int
    outcomes: dict[str, int]
    """How many calls have ended, by outcome."""


class Figures(Message):
    """What the front counts, since it started."""

    live: tuple[Counted, ...]
    setups: tuple[Counted, ...]
    outcomes: tuple[Counted, ...]
    distributions: tuple[Distribution, ...]
    tenants: tuple[TenantFigures, ...] = ()


BOUNDS: dict[str, tuple[float, ...]] = {
    "post_dial_seconds": (0.25, 0.5, 1, 2, 3, 5, 8, 12, 20, 30),
    "setup_seconds": (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60),
    "duration_seconds": (1, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200),
    "loss_ratio": (0.0, 0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2),
    "mos": (1.5, 2.0, 2.5, 3.0, 3.3, 3.6, 3.9, 4.0, 4.1, 4.2, 4.3, 4.4),
    "jitter_seconds": (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2),
    **{f"turn_{part}seconds": (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10) for part in ("", "detected_", "model_", "wire_")},
}
"""Of the distributions, by name."""


class Done(Message):
    text: str = ""


class Failed(Message):
    why: str
    status: int = 400
    """As HTTP's: 404 there is no such call, 422 it cannot be done as it was asked, 503 not now."""
    call_id: str = ""
    """Not empty: this is no answer; the order for that call has failed later."""


class Capturing(Message):
    """Where a call's packets are in shared memory."""

    call_id: str
    row: int
    generation: int
    local_host: str
    """Where its ports are bound; may be all addresses of the machine."""
    srtp: SrtpKeys | None = None
    """Those that are in use now, if they were asked for."""


class CallChanged(Message):
    call: CallFacts


class SipTraced(Message):
    """A SIP message as it crossed the wire."""

    call_id: str
    at_ns: int
    is_sent: bool
    summary: str
    """'INVITE' or '200 OK (INVITE)'."""
    remote: str
    """HOST:PORT, with tcp: or tls: before it if it was not UDP."""
    local: str = ""
    at: float = 0.0
    """Seconds since the epoch."""
    text: str = ""
    """The message itself, with what is secret covered by stars; for who watches this call alone, and for who asks for its trace."""


class Traced(Message):
    call_id: str
    messages: tuple[SipTraced, ...]
    left_out: int = 0
    """In the middle: a trace is bounded."""


Anything = (
    Alive
    | FrontStarted
    | OpenMedia
    | UpdateMedia
    | CloseMedia
    | TakeKey
    | MediaOpened
    | MediaRefused
    | MediaUpdated
    | RecordMedia
    | CaptureMedia
    | MediaRecorded
    | EnterRoom
    | LeaveRoom
    | JoinCalls
    | ConnectCall
    | ConnectEnded
    | RoomChanged
    | SetRoom
    | RoomSet
    | MediaClosed
    | MediaSilent
    | StartAgent
    | StopAgent
    | CallAnswered
    | AgentStarted
    | AgentFailed
    | Noted
    | GetStatus
    | GetCalls
    | GetCall
    | GetFigures
    | GetPhones
    | Phones
    | GetTrace
    | Traced
    | GetEnded
    | HangUp
    | Transfer
    | HoldCall
    | AnswerCall
    | AdviceOffered
    | RouteAdvised
    | AskRoute
    | PressKeys
    | InstructCall
    | RecordCall
    | CaptureCall
    | TransferEnded
    | HoldEnded
    | Originate
    | Drain
    | Watch
    | Status
    | Calls
    | Figures
    | EndedCalls
    | Done
    | Failed
    | Capturing
    | CallChanged
    | SipTraced
)
encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Anything).decode
