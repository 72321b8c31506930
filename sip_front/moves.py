"""Calls that go on with another far end, agent and media as they were: REFER that we follow, INVITE with Replaces.

The new session has the call's own id and port. While it rings, the old one holds the call, or has hung up already:
many phones do so as soon as we accepted their REFER.
"""

import logging
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

import msgspec

from control_plane.errors import BellframeError
from control_plane.logs import clean
from control_plane.messages import Noted, UpdateMedia
from sip_front.call import RING_LIMIT_NS, Call, Cause
from sip_front.call import State as CallState
from sip_front.negotiation import warning
from sip_front.redirection import plain
from sip_front.referral import Referral
from sip_front.session import Session
from sip_front.session_state import Event
from sip_front.uri import BadUri, parse_uri

if TYPE_CHECKING:
    from sip_front.front import Front

log = logging.getLogger("calls")


class Move(NamedTuple):
    """A REFER that is followed."""

    session: Session
    referral: Referral
    give_up_ns: int


class Moves:
    def __init__(self, front: "Front") -> None:
        self.front = front
        self.moves: dict[str, Move] = {}
        """By call: one at a time each."""

    # ---- REFER -------------------------------------------------------------------------------------------------------

    def follow(self, call: Call, referral: Referral, now_ns: int) -> None:
        """Call the target, or refuse with a plain line."""
        front, old = self.front, call.session
        if call.state is not CallState.UP or call.opened is None or call.call_id in self.moves:
            referral.refuse(603, "REFER for a call that is not up, or that follows another one", now_ns)
            return
        try:
            uri = parse_uri(referral.target)
        except BadUri as failure:
            referral.refuse(400, f"REFER: {failure}", now_ns)
            return
        way = front.redirection.way(old, plain(uri))
        if isinstance(way, str):
            referral.refuse(603, f"REFER: {way}", now_ns)
            return
        caller = parse_uri(old.dialog.local.uri).number if old.dialog else ""
        session = front.user_agent.call(call.call_id, plain(uri), [way], caller)
        session.trunk, session.credentials = old.trunk, old.credentials
        session.negotiation = front.user_agent.new_negotiation(session.local_host, way.host, old.trunk)
        session.negotiation.port = call.opened.rtp_port
        headers = session.invite.headers
        replaces, referred_by = uri.headers.get("replaces"), referral.request.headers.get("Referred-By")
        if replaces:
            headers.add("Replaces", unquote(replaces))
        if referred_by:
            headers.add("Referred-By", referred_by)
        self.moves[call.call_id] = Move(session, referral, now_ns + RING_LIMIT_NS)
        referral.accept(now_ns)
        front.user_agent.start(session, now_ns)
        self._note(call, f"the far end sends us to {uri.user}@{uri.host}", now_ns)

    def handle(self, call: Call, event: Event, now_ns: int) -> None:
        """An event of a session that is not the call's own: the one that it moves to, or one that it has left."""
        move = self.moves.get(call.call_id)
        if move is None or event.session is not move.session:
            return
        if event.kind == "ringing":
            move.referral.tell(event.status, now_ns)
        elif event.kind == "answered":
            del self.moves[call.call_id]
            move.referral.tell(200, now_ns)
            self._swap(call, event.session, "it sent us elsewhere, and is not needed any more", now_ns)
            if event.media:
                call.media = event.media
                call.step(Cause.MEDIA_CHANGED, now_ns)
        elif event.kind == "ended":
            del self.moves[call.call_id]
            move.referral.tell(event.status if event.status >= 300 else 487, now_ns)
            self._note(call, f"the transfer failed: {event.text}", now_ns)
            if call.has_lost_far_end:
                call.end(Cause.FAR_END_ENDED, f"the far end hung up after a transfer that failed: {event.text}", now_ns, event.status)

    def outlives(self, call: Call, now_ns: int) -> bool:
        """The call's own session has ended. True: it goes on with the one that rings."""
        if call.call_id not in self.moves or call.state is not CallState.UP:
            return False
        call.has_lost_far_end = True
        call.order_worker(UpdateMedia(call.call_id, msgspec.structs.replace(call.media, direction="inactive")), now_ns)
        return True

    def expire(self, now_ns: int) -> None:
        for move in list(self.moves.values()):
            if now_ns >= move.give_up_ns:
                move.session.hang_up(f"nobody answered within {RING_LIMIT_NS // 10**9} s", now_ns)

    def forget(self, call: Call, now_ns: int) -> None:
        """The call ends: nobody needs to answer any more."""
        move = self.moves.pop(call.call_id, None)
        if move:
            move.session.hang_up(call.cause, now_ns)

    # ---- INVITE with Replaces ----------------------------------------------------------------------------------------

    def replace(self, session: Session, now_ns: int) -> None:
        """Answered at once: the call is up."""
        call = self.front.calls.get(session.call_id)
        if call is None or call.state is not CallState.UP or call.opened is None:
            session.refuse(481, "a Replaces of a call that is not up", now_ns)
            return
        session.negotiation.port = call.opened.rtp_port
        try:
            session.accept(now_ns)
        except BellframeError as failure:
            session.refuse(failure.sip_status, str(failure), now_ns, (("Warning", warning(failure, session.local_host)),))
            return
        self.forget(call, now_ns)
        self._swap(call, session, "another call took its place (Replaces)", now_ns)
        if session.negotiation.agreed:
            call.media = session.negotiation.agreed
            call.step(Cause.MEDIA_CHANGED, now_ns)

    def _swap(self, call: Call, session: Session, why: str, now_ns: int) -> None:
        old, call.session, call.has_lost_far_end = call.session, session, False
        old.hang_up(why, now_ns)
        self._note(call, f"goes on with {session.peer}", now_ns)
        self.front.operators.show_call(call.facts(now_ns))

    def _note(self, call: Call, text: str, now_ns: int) -> None:
        log.info("%s", clean(text, 200), extra={"call_id": call.call_id})
        self.front.operators.show(Noted(call.call_id, now_ns, "transfer", clean(text, 200)), call.call_id)
