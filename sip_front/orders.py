"""What agents and operators ask of a call that is up, and who is told what became of it: hold, resume, transfer."""

import logging
from typing import TYPE_CHECKING

from control_plane.logs import clean
from control_plane.messages import Done, Failed, HoldCall, HoldEnded, Message, Noted, Party, Transfer, TransferEnded
from sip_front.call import Call, Cause
from sip_front.call import State as CallState
from sip_front.seat import Seat
from sip_front.session_state import Event
from sip_front.transfer import replacing, target_uri
from sip_front.uri import BadUri

if TYPE_CHECKING:
    from sip_front.front import Front

log = logging.getLogger("calls")
MAX_ASKERS = 16
"""Of one call that wait for the same outcome."""
NOT_UP = "the call is not up; it can be held or transferred once it is answered"


class Orders:
    KINDS = ("held", "resumed", "progress", "transferred")
    """Events of a session that settle an order, or tell how it fares."""

    def __init__(self, front: "Front") -> None:
        self.front = front
        self.askers: dict[tuple[str, str], list[bytes]] = {}
        """By call and kind of the event that settles it. The call's own agent is always told."""

    def receive(self, identity: bytes, order: HoldCall | Transfer, now_ns: int) -> Message | None:
        """The answer at once: taken, or why not. An agent gets none but the outcome."""
        call = self.front.calls.get(order.call_id)
        is_agent = any(peer.identity == identity for peer in self.front.peers.of("bridge"))
        if call is None:
            return None if is_agent else Failed(f"there is no call {clean(order.call_id, 80)}", 404)
        if isinstance(order, HoldCall):
            kind, why_not = "held" if order.is_held else "resumed", self._hold(call, order, now_ns)
        else:
            kind, why_not = "transferred", self._transfer(call, order, now_ns)
        self.front.user_agent.deadlines.schedule(call)
        if why_not:
            if is_agent:
                self._tell_agent(call, _outcome(order, why_not))
                return None
            return Failed(why_not, 422)
        if not is_agent:
            askers = self.askers.setdefault((call.call_id, kind), [])
            if identity not in askers and len(askers) < MAX_ASKERS:
                askers.append(identity)
        return None if is_agent else Done(call.call_id)

    def _hold(self, call: Call, order: HoldCall, now_ns: int) -> str:
        return call.session.hold(order.is_held, now_ns) if call.state is CallState.UP else NOT_UP

    def _transfer(self, call: Call, order: Transfer, now_ns: int) -> str:
        dialog = call.session.dialog
        if call.state is not CallState.UP or dialog is None:
            return NOT_UP
        try:
            if not order.with_call:
                return call.session.send_elsewhere(target_uri(order.to, dialog), now_ns)
        except BadUri as failure:
            return f"cannot transfer to {clean(order.to, 80)}: {failure}"
        other = self.front.calls.get(order.with_call)
        if other is None or other is call or other.state is not CallState.UP or other.session.dialog is None:
            return f"cannot join it with {clean(order.with_call, 80)}: that is no other call that is up"
        target = other.session.dialog
        return call.session.send_elsewhere(replacing(target.remote_target, target), now_ns)

    def settle(self, call: Call, event: Event, now_ns: int) -> None:
        """The far end has said what becomes of it."""
        text = clean(event.text, 200)
        if event.kind == "progress":
            self.front.operators.show(Noted(call.call_id, now_ns, "transfer", text), call.call_id)
            return
        was_accepted = event.status < 300
        if event.kind != "transferred":
            if was_accepted:
                self._play(call, event.kind, now_ns)
            self._tell_all(call, event.kind, HoldEnded(call.call_id, event.kind == "held", was_accepted, event.status, text))
            text = f"{'on hold' if event.kind == 'held' else 'resumed'}" if was_accepted else f"refused: {text}"
            self.front.operators.show(Noted(call.call_id, now_ns, "hold", text), call.call_id)
            return
        self._tell_all(call, event.kind, TransferEnded(call.call_id, was_accepted, event.status, text))
        where = clean(call.session.transfer.refer_to, 200) if call.session.transfer else ""
        if was_accepted:
            call.end(Cause.HANG_UP, f"transferred to {where}" + (f" ({text})" if text else ""), now_ns)
        else:
            log.warning("not transferred to %s: %s; the call goes on", where, text, extra={"call_id": call.call_id})
            self.front.operators.show(Noted(call.call_id, now_ns, "transfer", f"refused: {text}"), call.call_id)

    def _play(self, call: Call, kind: str, now_ns: int) -> None:
        """Music while it is on hold, if an operator asked. An agent that asks speaks itself, and so does who is joined with it."""
        rooms = self.front.rooms
        if kind == "held" and self.front.config.media.music_on_hold and call.seat is None and (call.call_id, kind) in self.askers:
            party = Party(call.call_id, "music", "listen" if call.agent else "out")
            rooms.place(call.call_id, [(call, Seat(call.call_id, party, "stay"))], now_ns)
        elif kind == "resumed" and call.seat and call.seat.party.role == "music" and call.seat.room == call.call_id:
            rooms.leave(call, "resumed", now_ns)

    def forget(self, call_id: str) -> None:
        """The call has ended: who still waits sees that."""
        for key in [key for key in self.askers if key[0] == call_id]:
            del self.askers[key]

    def _tell_all(self, call: Call, kind: str, outcome: Message) -> None:
        self._tell_agent(call, outcome)
        self.front.messages += [(identity, outcome) for identity in self.askers.pop((call.call_id, kind), [])]

    def _tell_agent(self, call: Call, outcome: Message) -> None:
        self.front.tell_bridge(call.bridge, outcome)


def _outcome(order: HoldCall | Transfer, why_not: str) -> HoldEnded | TransferEnded:
    if isinstance(order, HoldCall):
        return HoldEnded(order.call_id, order.is_held, False, 422, why_not)
    return TransferEnded(order.call_id, False, 422, why_not)
