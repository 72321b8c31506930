"""Phones and numbers that are rung for a call that comes in: all of a route at the same time, and the next route where nobody answers.
A call that its route answers at once waits in a room of its own, with ringing or music.

Each that is rung is a call of its own on the worker of the first, which rings meanwhile. The first to answer is joined with it (rooms.py);
the others stop ringing. What becomes of the call that came in, and of those that ring, is told by `look`.
"""

import logging
from typing import TYPE_CHECKING

from control_plane.logs import clean
from control_plane.messages import Originate, Party
from control_plane.route_config import Route
from sip_front.call import Call, Cause, State
from sip_front.seat import Seat

if TYPE_CHECKING:
    from sip_front.arrivals import Arrival
    from sip_front.front import Front

log = logging.getLogger("calls")
MAX_RUNG = 32
"""Phones that are rung for one call at a time."""
BUSY, NOT_THERE = 486, 480


class Hunt:
    """Who is rung for one call now."""

    def __init__(self, arrival: "Arrival", name: str, route: Route) -> None:
        self.arrival, self.name, self.route = arrival, name, route
        self.legs: dict[str, str] = {}
        """Who rings: the id of its call, and who that is, for people."""
        self.why: list[str] = []
        """Of those that do not ring, or not any more."""
        self.statuses: list[int] = []


class Ringing:
    def __init__(self, front: "Front") -> None:
        self.front = front
        self.hunts: dict[str, Hunt] = {}
        """By the call that came in."""
        self.by_leg: dict[str, Hunt] = {}
        self.count = 0

    def begin(self, call: Call, arrival: "Arrival", name: str, route: Route) -> None:
        """`ring` follows, as soon as the call has a port."""
        self.hunts[call.call_id] = Hunt(arrival, name, route)

    def ring(self, call: Call, now_ns: int) -> None:
        hunt = self.hunts.get(call.call_id)
        if hunt is None:
            return
        for name in hunt.route.phones:
            self._ring_phones(call, hunt, name, now_ns)
        if hunt.route.via:
            to = hunt.route.number or call.callee
            order = self._order(call, hunt, to, trunk=hunt.route.via)
            self._note(hunt, order, to, self.front.originator.originate(b"", order, now_ns))
        if hunt.legs:
            log.info("%s rings %s", hunt.name, ", ".join(dict.fromkeys(hunt.legs.values())), extra={"call_id": call.call_id})
            if call.was_answered:
                waits = Seat(call.call_id, Party(call.call_id, hunt.route.meanwhile), "end")
                self.front.rooms.place(call.call_id, [(call, waits)], now_ns)
        else:
            self._next(call, hunt, now_ns)

    def _ring_phones(self, call: Call, hunt: Hunt, name: str, now_ns: int) -> None:
        """All phones of one user."""
        phones = self.front.phones
        bindings = phones.registrar.of(name, now_ns)
        if not bindings:
            hunt.statuses.append(NOT_THERE)
            hunt.why.append(f"{name} is not registered")
        for binding in bindings[: max(0, MAX_RUNG - len(hunt.legs))]:
            order = self._order(call, hunt, f"user:{name}")
            self._note(hunt, order, name, phones.call(order, name, [binding], now_ns))

    def _order(self, call: Call, hunt: Hunt, to: str, trunk: str = "") -> Originate:
        self.count += 1
        grace_s = 0 if call.was_answered else 1  # else the caller's own limit comes first, and says so (time_out)
        return Originate(
            f"{call.call_id[:28]}.{self.count}", to, "", call.caller, trunk=trunk, beside=call.call_id, tenant=call.tenant,
            ring_seconds=hunt.route.ring_seconds + grace_s,
        )  # fmt: skip

    def _note(self, hunt: Hunt, order: Originate, who: str, why_not: str) -> None:
        if why_not:
            hunt.statuses.append(503 if why_not.startswith("503") else NOT_THERE)
            hunt.why.append(f"{clean(who, 80)}: {why_not}")
        else:
            hunt.legs[order.call_id] = clean(who, 80)
            self.by_leg[order.call_id] = hunt

    # ---- what happens ------------------------------------------------------------------------------------------------

    def look(self, call: Call, now_ns: int) -> None:
        """Something has changed about a call: one that is rung, or one that somebody is rung for."""
        hunt = self.by_leg.get(call.call_id)
        if hunt is not None:
            if call.state is State.UP:
                self._connect(hunt, call, now_ns)
            elif call.state in (State.CLOSING, State.ENDED):
                self._lose(hunt, call, now_ns)
        elif call.state in (State.CLOSING, State.ENDED) and call.call_id in self.hunts:
            self._stop(self.hunts.pop(call.call_id), "the caller hung up", now_ns)

    def time_out(self, call: Call, now_ns: int) -> None:
        hunt = self.hunts.get(call.call_id)
        if hunt is not None:
            hunt.why.append(f"nobody answered within {hunt.route.ring_seconds} s")
            hunt.statuses.append(NOT_THERE)
            self._stop(hunt, f"nobody answered within {hunt.route.ring_seconds} s", now_ns)
            self._next(call, hunt, now_ns)

    def _connect(self, hunt: Hunt, leg: Call, now_ns: int) -> None:
        caller = self.front.calls.get(hunt.arrival.session.call_id)
        del self.by_leg[leg.call_id], hunt.legs[leg.call_id]
        self.hunts.pop(hunt.arrival.session.call_id, None)
        self._stop(hunt, "another phone answered first", now_ns)
        if caller is not None:
            caller.step(Cause.ANSWER, now_ns)
            self.front.user_agent.deadlines.schedule(caller)
        if caller is None or caller.state not in (State.ANSWERED, State.UP):
            self._end(leg, "the caller could not be answered", now_ns)
            return
        room = caller.call_id
        self.front.rooms.join(caller, Seat(room, Party(room), "end"), leg, Seat(room, Party(leg.call_id), "end"), now_ns)

    def _lose(self, hunt: Hunt, leg: Call, now_ns: int) -> None:
        """One that was rung will not answer."""
        del self.by_leg[leg.call_id]
        who = hunt.legs.pop(leg.call_id)
        hunt.statuses.append(leg.status)
        hunt.why.append(f"{who}: {leg.cause}")
        caller = self.front.calls.get(hunt.arrival.session.call_id)
        if not hunt.legs and caller is not None and self.hunts.get(caller.call_id) is hunt:
            self._next(caller, hunt, now_ns)

    def _next(self, call: Call, hunt: Hunt, now_ns: int) -> None:
        """Nobody of this route answers: the next one that fits."""
        del self.hunts[call.call_id]
        arrival = hunt.arrival
        arrival.status = BUSY if hunt.statuses and set(hunt.statuses) <= {BUSY, 600} else NOT_THERE
        arrival.why = f"{hunt.name}: {'; '.join(hunt.why)}"
        log.info("%s; the next route", clean(arrival.why, 300), extra={"call_id": call.call_id})
        self.front.arrivals.go_on(arrival, now_ns)
        self.front.user_agent.deadlines.schedule(call)

    def _stop(self, hunt: Hunt, why: str, now_ns: int) -> None:
        """Those that ring still."""
        for leg_id in list(hunt.legs):
            self.by_leg.pop(leg_id, None)
            leg = self.front.calls.get(leg_id)
            if leg is not None:
                self._end(leg, why, now_ns)
        hunt.legs.clear()

    def _end(self, call: Call, why: str, now_ns: int) -> None:
        call.end(Cause.HANG_UP, why, now_ns)
        self.front.user_agent.deadlines.schedule(call)
