"""Somebody is rung for a call that is up: the caller of an agent is connected to a human, without a re-INVITE.

The call that is made stands beside ours, on its worker. While it rings the caller hears music, or ringing, or its agent still; once it
is answered the two are joined (rooms.py). Whatever becomes of it, whoever asked is told.
"""

import logging
from typing import TYPE_CHECKING

from control_plane.logs import clean
from control_plane.messages import CallFacts, ConnectCall, ConnectEnded, Done, Failed, Message, Originate, Party
from sip_front.call import Call, Cause, State
from sip_front.seat import Seat

if TYPE_CHECKING:
    from sip_front.front import Front

log = logging.getLogger("calls")


class Attempt:
    def __init__(self, order: ConnectCall, asker: bytes) -> None:
        self.order, self.asker = order, asker


class Connecting:
    def __init__(self, front: "Front") -> None:
        self.front = front
        self.attempts: dict[str, Attempt] = {}
        """By the id of the call that rings."""

    def receive(self, identity: bytes, order: ConnectCall, now_ns: int) -> Message | None:
        """The answer at once. An agent gets none but the outcome."""
        is_agent = any(peer.identity == identity for peer in self.front.peers.of("bridge"))
        if order.leg_id in self.attempts or order.leg_id in self.front.calls:
            return None if is_agent else Done(order.leg_id)
        failed = self._ring(identity, order, now_ns)
        if failed is None:
            return None if is_agent else Done(order.leg_id)
        if is_agent:
            self.front.messages.append((identity, ConnectEnded(order.call_id, order.leg_id, False, failed.status, failed.why)))
            return None
        return failed

    def _ring(self, identity: bytes, order: ConnectCall, now_ns: int) -> Failed | None:
        front = self.front
        call = front.calls.get(order.call_id)
        if call is None:
            return Failed(f"there is no call {clean(order.call_id, 80)}: `bellframe calls` lists those that are up", 404)
        if call.state not in (State.ANSWERED, State.UP):
            return Failed(f"call {order.call_id} is {call.state.name.lower()}: it can be connected once it is answered", 422)
        if any(attempt.order.call_id == order.call_id for attempt in self.attempts.values()):
            return Failed(f"somebody is being rung for call {order.call_id} already; `bellframe unjoin {order.call_id}` ends that", 422)
        if not call.agent and (order.agent != "out" or order.after == "return"):
            return Failed(f"call {order.call_id} has no agent", 422)
        self.attempts[order.leg_id] = Attempt(order, identity)
        leg = Originate(
            order.leg_id, order.to, "", order.caller or call.caller, trunk=order.trunk, headers=order.headers, beside=order.call_id,
            ring_seconds=order.ring_seconds, tenant=call.tenant,
        )  # fmt: skip
        why_not = front.originator.originate(identity, leg, now_ns)
        if why_not:
            del self.attempts[order.leg_id]
            return Failed(why_not, 503 if front.admission.is_draining or why_not.startswith("503") else 422)
        if order.meanwhile != "agent":
            waits = Party(order.call_id, order.meanwhile, "listen" if call.agent else "out")
            front.rooms.place(order.leg_id, [(call, Seat(order.leg_id, waits, "return" if call.agent else "stay"))], now_ns)
        return None

    def look(self, call: Call, now_ns: int) -> None:
        """Something has changed about a call: one that rings, or one that somebody is rung for."""
        attempt = self.attempts.get(call.call_id)
        if attempt and call.state is State.UP:
            self._join(attempt, call, now_ns)
        elif call.state in (State.CLOSING, State.ENDED):
            if attempt:
                self._give_up(attempt, call.status, call.cause, now_ns)
            self.cancel(call.call_id, now_ns, "the caller hung up")

    def fail(self, facts: CallFacts, now_ns: int) -> None:
        """A call that never came to be: its name could not be resolved."""
        attempt = self.attempts.get(facts.call_id)
        if attempt:
            self._give_up(attempt, facts.status or 480, facts.cause, now_ns)

    def cancel(self, call_id: str, now_ns: int, why: str = "it was not waited for any longer") -> bool:
        """Nobody is to be rung for this call any more. False: nobody was."""
        leg_id = next((leg_id for leg_id, attempt in self.attempts.items() if attempt.order.call_id == call_id), "")
        if not leg_id:
            return False
        attempt, leg = self.attempts[leg_id], self.front.calls.get(leg_id)
        self._give_up(attempt, 487, why, now_ns)
        if leg:
            leg.end(Cause.HANG_UP, why, now_ns)
            self.front.user_agent.deadlines.schedule(leg)
        return True

    def _join(self, attempt: Attempt, leg: Call, now_ns: int) -> None:
        order = attempt.order
        del self.attempts[leg.call_id]
        call = self.front.calls[order.call_id]
        whom = leg.call_id if order.agent == "whisper" else ""
        seat = Seat(leg.call_id, Party(call.call_id, agent=order.agent, agent_to=whom), order.after)
        self.front.rooms.join(call, seat, leg, Seat(leg.call_id, Party(leg.call_id), "end"), now_ns)
        self._tell(attempt, True, 200, "")

    def _give_up(self, attempt: Attempt, status: int, why: str, now_ns: int) -> None:
        order = attempt.order
        del self.attempts[order.leg_id]
        call = self.front.calls.get(order.call_id)
        if call and call.state not in (State.CLOSING, State.ENDED):
            log.info("not connected to %s: %s", clean(order.to, 80), why, extra={"call_id": order.call_id})
            if call.seat and call.seat.room == order.leg_id:
                self.front.rooms.leave(call, f"not connected: {why}", now_ns)
        self._tell(attempt, False, status, why)

    def _tell(self, attempt: Attempt, was_accepted: bool, status: int, why: str) -> None:
        order = attempt.order
        outcome = ConnectEnded(order.call_id, order.leg_id, was_accepted, status, clean(why, 200))
        call = self.front.calls.get(order.call_id)
        bridge = self.front.peers.get("bridge", call.bridge) if call else None
        told = {attempt.asker} | ({bridge.identity} if bridge else set())
        self.front.messages += [(identity, outcome) for identity in told]
