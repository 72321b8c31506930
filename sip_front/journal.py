"""Calls that outlive the front: each as it stands between two requests, so that the next front goes on with it. No file, only octets.

The journal is a run of entries: length, CRC-32, msgpack. The last entry of a call counts, and Over ends it; an entry that was cut by a
crash ends the reading. It is written before what it tells of is sent. It holds keys of SRTP: for the owner's eyes only.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from control_plane.messages import CallFacts, MediaDescription, MediaOpened, Recording
from sip_front import unanswered
from sip_front.call import Call, State
from sip_front.call import resume_agent as order_agent
from sip_front.call import update_media as order_media
from sip_front.message import BadMessage, Request, parse
from sip_front.registrar import Binding
from sip_front.sdp import parse_sdp
from sip_front.seat import Seat
from sip_front.session import Session
from sip_front.session_state import State as SessionState
from sip_front.session_timer import State as TimerState
from sip_front.transport import Address
from sip_front.unacknowledged import Unacknowledged
from sip_front.unanswered import SavedDialog, Unanswered
from sip_front.user_agent import UserAgent

ENTRY = struct.Struct("<II")
MAX_ENTRY_BYTES = 1 << 20
KEPT = {State.ANSWERED: SessionState.ANSWERED, State.JOINING: SessionState.UP, State.UP: SessionState.UP}
"""States of a call that another front can go on from. A set-up is begun anew by the far end's next INVITE."""


class Begin(msgspec.Struct, frozen=True, tag=True):
    """The first entry: whose calls these are, and since which start of the machine its clock counts."""

    front_id: int
    boot_id: str


class Over(msgspec.Struct, frozen=True, tag=True):
    call_id: str


class Ended(msgspec.Struct, frozen=True, tag=True):
    """What there is to record of a call. While it is closing, its worker has not yet said what its media counted."""

    facts: CallFacts


class SavedTimer(msgspec.Struct, frozen=True):
    state: str
    interval_s: int
    minimum_s: int
    refresh_ns: int
    end_ns: int


class SavedMedia(msgspec.Struct, frozen=True):
    """Of the negotiation: what was said last, and what holds."""

    port: int
    session_id: int
    said: bytes
    agreed: MediaDescription
    wish: Literal["sendrecv", "sendonly", "recvonly", "inactive"]
    srtp: str
    formats: tuple[str, ...] = ()
    """Of the call's route, or its trunk's."""


class Saved(msgspec.Struct, frozen=True, tag=True):
    """One call."""

    call_id: str
    state: str
    direction: Literal["inbound", "outbound"]
    caller: str
    callee: str
    agent: str
    trunk: str
    arguments: dict[str, str]
    headers: dict[str, str]
    worker: int
    bridge: int
    opened: MediaOpened
    started_ns: int
    started_at: float
    rang_ns: int
    answered_ns: int
    dialog: SavedDialog | None
    timer: SavedTimer
    media: SavedMedia
    invite: bytes
    unacknowledged: dict[int, bytes]
    local_host: str
    peer: Address
    reply_to: Address
    is_secure: bool
    is_behind_nat: bool
    allowed: tuple[str, ...]
    recording: Recording = "off"
    traceparent: str = ""
    end_ns: int | None = None
    max_ns: int = 0
    tenant: str = ""
    seat: Seat | None = None
    unanswered: Unanswered | None = None
    """It is ours, and rings; then it has no dialog, and what is agreed is what its port was opened for."""


class SavedPhones(msgspec.Struct, frozen=True, tag=True):
    """All phones of one user; none: they have gone."""

    user: str
    bindings: list[Binding]


class Learnt(msgspec.Struct, frozen=True, tag=True):
    """Our public address, as a STUN server saw it last: who comes after us need not wait for its answer."""

    server: str
    address: str


Entry = Begin | Saved | Ended | Over | SavedPhones | Learnt
Left = Saved | Ended | SavedPhones | Learnt
"""What a front leaves to the next one."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


def write(entry: Entry) -> bytes:
    body = _encode(entry)
    return ENTRY.pack(len(body), zlib.crc32(body)) + body


def read(octets: bytes) -> Iterator[Entry]:
    """The entries up to the first that is not whole, or not ours."""
    at = 0
    while at + ENTRY.size <= len(octets):
        size, checksum = ENTRY.unpack_from(octets, at)
        body = octets[at + ENTRY.size : at + ENTRY.size + size]
        if size > MAX_ENTRY_BYTES or len(body) < size or zlib.crc32(body) != checksum:
            return
        try:
            yield _decode(body)
        except msgspec.DecodeError:
            return  # of another release
        at += ENTRY.size + size


def last_of_each(entries: Iterable[Entry], boot_id: str) -> tuple[int, list[Left]]:
    """The front that wrote them, its calls as it left them, those that ended, and its phones. (0, []) if there is nothing to go on with."""
    front_id, calls = 0, dict[str | tuple[str, ...], Left]()
    for entry in entries:
        match entry:
            case Begin():
                front_id, calls = entry.front_id if entry.boot_id == boot_id else 0, {}
            case Saved():
                calls[entry.call_id] = entry
            case Ended():
                calls[entry.facts.call_id] = entry
            case SavedPhones():
                calls[(entry.user,)] = entry
            case Learnt():
                calls["stun", entry.server] = entry
            case Over():
                calls.pop(entry.call_id, None)
    return front_id, list(calls.values()) if front_id else []


def save(call: Call) -> Saved | None:
    """The call as it stands. None: another front could not go on with it."""
    session, opened = call.session, call.opened
    dialog, agreed = session.dialog, session.negotiation.agreed
    ringing = unanswered.save(call)
    if ringing:
        dialog, agreed = None, call.media
    elif dialog is None or KEPT.get(call.state) is not session.state:
        return None
    if opened is None or agreed is None:
        return None
    timer, negotiation = session.timer, session.negotiation
    return Saved(
        call_id=call.call_id, state=call.state.name, direction=call.direction, caller=call.caller, callee=call.callee,
        agent=call.agent, trunk=call.trunk, arguments=call.arguments, headers=call.headers, worker=call.worker, bridge=call.bridge,
        opened=opened, started_ns=call.started_ns, started_at=call.started_at, rang_ns=call.rang_ns, answered_ns=call.answered_ns,
        dialog=unanswered.save_dialog(dialog) if dialog else None,
        timer=SavedTimer(timer.state.name, timer.interval_s, timer.minimum_s, timer.refresh_ns, timer.end_ns),
        media=SavedMedia(
            negotiation.port, negotiation.session_id, negotiation.local.encode() if negotiation.local else b"", agreed,
            negotiation.wish, negotiation.srtp, negotiation.formats,
        ),
        invite=session.invite.encode(),
        unacknowledged={cseq: waiting.octets for cseq, waiting in session.unacknowledged.items()},
        local_host=session.local_host, peer=session.peer._replace(flow=0), reply_to=session.reply_to._replace(flow=0),
        is_secure=session.is_secure, is_behind_nat=session.is_behind_nat,
        allowed=tuple(method for method in session.allowed if method.isascii()), recording=call.recording,
        traceparent=call.traceparent,
        end_ns=call.end_ns, max_ns=call.max_ns, tenant=call.tenant, seat=call.seat, unanswered=ringing,
    )  # fmt: skip


def facts_of(saved: Saved) -> CallFacts:
    """For the record of a call that cannot be gone on with."""
    began = saved.started_at - saved.started_ns / 1e9
    return CallFacts(
        saved.call_id, "closing", saved.direction, saved.caller, saved.callee, saved.agent, saved.started_at, 0.0,
        saved.media.agreed.format, saved.worker, saved.opened.row, saved.bridge, remote=str(saved.peer), trunk=saved.trunk,
        tenant=saved.tenant, outcome="failed" if saved.unanswered else "answered", status=503 if saved.unanswered else 200,
        rang_at=began + saved.rang_ns / 1e9 if saved.rang_ns else 0.0,
        answered_at=began + saved.answered_ns / 1e9 if saved.answered_ns else 0.0, recording=saved.recording,
    )  # fmt: skip


def restore_session(saved: Saved, agent: UserAgent, now_ns: int) -> Session:
    """Raises BadMessage, or another BellframeError, for what another release wrote otherwise."""
    ringing = saved.unanswered
    session = Session(agent, saved.call_id, SessionState.CALLING if ringing else KEPT[State[saved.state]], saved.local_host, saved.peer)
    invite = parse(saved.invite)
    if not isinstance(invite, Request):
        raise BadMessage("the journal holds no INVITE there")
    session.invite, session.sip_call_id = invite, invite.call_id
    session.dialog = unanswered.restore_dialog(saved.dialog, invite.call_id) if saved.dialog else None
    session.local_tag = (session.dialog.local.tag if session.dialog else invite.from_.tag) or ""
    session.reply_to, session.trunk = saved.reply_to, saved.trunk
    session.is_secure, session.is_behind_nat, session.allowed = saved.is_secure, saved.is_behind_nat, frozenset(saved.allowed)
    timer = session.timer
    timer.state, timer.interval_s, timer.minimum_s = TimerState[saved.timer.state], saved.timer.interval_s, saved.timer.minimum_s
    timer.refresh_ns, timer.end_ns = saved.timer.refresh_ns, saved.timer.end_ns
    if timer.state is TimerState.REFRESHING:  # that request has nobody any more: it is sent again
        timer.state = TimerState.RESTING
    session.negotiation = agent.new_negotiation(saved.local_host, saved.peer.host, saved.trunk)
    negotiation, media = session.negotiation, saved.media
    negotiation.port, negotiation.session_id, negotiation.wish, negotiation.srtp = media.port, media.session_id, media.wish, media.srtp
    negotiation.formats = media.formats or negotiation.formats
    negotiation.local = parse_sdp(media.said) if media.said else None
    negotiation.agreed = None if ringing and ringing.settled_tag is None else media.agreed
    if ringing:
        unanswered.restore_session(ringing, session, media.said, now_ns)
    if negotiation.agreed and media.agreed.srtp:
        negotiation.keys.agree(media.agreed.srtp)
    session.unacknowledged = {cseq: Unacknowledged(octets, now_ns) for cseq, octets in saved.unacknowledged.items()}
    session.set_deadline()
    return session


def restore_call(saved: Saved, call: Call, now_ns: int) -> None:
    """Put the call where it was, and ask worker and bridge whether they have it."""
    call.state, call.was_answered = State[saved.state], saved.unanswered is None
    call.caller, call.callee, call.agent, call.trunk = saved.caller, saved.callee, saved.agent, saved.trunk
    call.arguments, call.headers, call.worker, call.bridge = saved.arguments, saved.headers, saved.worker, saved.bridge
    call.media, call.opened = saved.media.agreed, saved.opened
    call.started_ns, call.rang_ns, call.answered_ns = saved.started_ns, saved.rang_ns, saved.answered_ns
    call.has_agent = call.state not in (State.JOINING, State.CALLING)
    call.end_ns, call.max_ns, call.tenant = saved.end_ns, saved.max_ns, saved.tenant
    call.traceparent = saved.traceparent
    call.seat = saved.seat
    call.record(saved.recording, now_ns)
    if call.state is not State.CALLING:  # there its port waits as it was opened, and nobody listens yet
        order_media(call, now_ns)
        order_agent(call, now_ns)
    if saved.unanswered:
        unanswered.restore_call(saved.unanswered, call)
