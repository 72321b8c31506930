"""Which calls hear each other, as the front knows it: who is in which room, in which part, and what becomes of who is left there alone.

A room is all on one worker, which is told the whole of it each time, until it says so. Where a call is stands in the call itself, so the
journal has it, and the next front makes the rooms from its calls.
"""

import itertools
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from control_plane.logs import clean
from control_plane.messages import (
    MAX_PARTIES,
    After,
    Done,
    EnterRoom,
    Failed,
    JoinCalls,
    LeaveRoom,
    Message,
    Noted,
    Party,
    RoomChanged,
    RoomSet,
    SetRoom,
)
from sip_front.call import Call, Cause, State
from sip_front.seat import Seat

if TYPE_CHECKING:
    from sip_front.front import Front

log = logging.getLogger("calls")
MAX_NAME = 40  # octets that a row in shared memory has for it
WAITING = ("music", "ringback")


class Room:
    def __init__(self, name: str, worker: int) -> None:
        self.name, self.worker = name, worker
        self.calls: dict[str, Call] = {}
        self.number, self.is_set = 0, False
        """Of what the worker was told last, and whether it has said so."""


class Rooms:
    def __init__(self, front: "Front") -> None:
        self.front = front
        self.rooms: dict[str, Room] = {}
        self.numbers = itertools.count(1)

    # ---- orders ----------------------------------------------------------------------------------------------------

    def receive(self, identity: bytes, order: EnterRoom | LeaveRoom | JoinCalls, now_ns: int) -> Message | None:
        """An agent gets no answer but what it is told of its call: RoomChanged, or Failed with its call_id."""
        call_id = order.party.call_id if isinstance(order, EnterRoom) else order.call_id
        is_agent = any(peer.identity == identity for peer in self.front.peers.of("bridge"))
        call = self.front.calls.get(call_id)
        tenant, seat = (call.tenant, call.seat) if is_agent and call else ("", None)
        match order:
            case EnterRoom():
                failed = self._enter(order, order.tenant or tenant, now_ns)
            case JoinCalls():
                failed = self._join(order, order.tenant or tenant, now_ns)
            case LeaveRoom():
                failed = self._leave(call_id, now_ns)
        if is_agent:
            if call and not failed and call.seat == seat:  # nothing has changed, and it waits for a word
                self.remind(call)
            return Failed(failed.why, failed.status, call_id) if failed else None
        return failed or Done(call_id)

    def _enter(self, order: EnterRoom, tenant: str, now_ns: int) -> Failed | None:
        call = self.front.calls.get(order.party.call_id)
        if call is None:
            return no_call(order.party.call_id)
        room = self.rooms.get(order.room)
        others = [other for other in room.calls.values() if other is not call] if room else []
        why_not = why_not_name(order.room) or self._why_not(call, order.party, others, order.after, tenant)
        if why_not:
            return Failed(why_not, 422)
        self.place(order.room, [(call, Seat(order.room, order.party, order.after))], now_ns)
        return None

    def _join(self, order: JoinCalls, tenant: str, now_ns: int) -> Failed | None:
        found = [self.front.calls.get(call_id) for call_id in (order.call_id, order.with_call)]
        for call_id, call in zip((order.call_id, order.with_call), found, strict=True):
            if call is None:
                return no_call(call_id)
        one, other = (call for call in found if call)
        if one is other:
            return Failed(f"call {one.call_id} cannot be joined with itself", 422)
        after: After = "end" if order.after == "return" and not other.agent else order.after
        agent_to = other.call_id if order.agent == "whisper" else ""
        one_party, other_party = Party(one.call_id, agent=order.agent, agent_to=agent_to), Party(other.call_id)
        why_not = self._why_not(one, one_party, [other], order.after, tenant) or self._why_not(other, other_party, [one], after, tenant)
        if why_not:
            return Failed(why_not, 422)
        self.join(one, Seat(one.call_id, one_party, order.after), other, Seat(one.call_id, other_party, after), now_ns)
        return None

    def _leave(self, call_id: str, now_ns: int) -> Failed | None:
        call = self.front.calls.get(call_id)
        if call is None:
            return no_call(call_id)
        if self.front.connecting.cancel(call_id, now_ns):
            return None
        if call.seat is None:
            return Failed(f"call {call_id} is in no room", 422)
        if call.agent:
            self.leave(call, "", now_ns)
        else:
            self._end(call, "taken out of its room, and it has no agent to go back to", now_ns)
        return None

    def _why_not(self, call: Call, party: Party, others: list[Call], after: str, tenant: str) -> str:
        """Why this call cannot be with those, in words for whoever asked."""
        if call.state not in (State.ANSWERED, State.UP) or call.opened is None:
            return f"call {call.call_id} is {call.state.name.lower()}: it can be joined with others once it is answered"
        apart = next((other for other in others if other.worker != call.worker), None)
        if apart:
            remedy = "calls that are to be joined must be on one: call out with beside = CALL_ID, or set media.workers = 1"
            return f"call {call.call_id} is on media worker {call.worker}, and call {apart.call_id} on {apart.worker}; {remedy}"
        wanted = tenant or call.tenant
        strange = next((o for o in (call, *others) if wanted and o.tenant != wanted and (tenant or o.tenant)), None)
        if strange:
            return f"call {strange.call_id} is not of tenant {wanted}"
        if len(others) >= MAX_PARTIES:
            return f"{MAX_PARTIES} calls are in that room, and no more may"
        if not call.agent and (party.agent != "out" or after == "return"):
            return f"call {call.call_id} has no agent"
        names = {other.call_id for other in others}
        for role, to in ((party.role, party.to), (party.agent, party.agent_to)):
            whom, _, what = to.partition("/")
            if role == "whisper" and (whom not in names | {call.call_id} or what not in ("", "agent")):
                return f"whisper to whom? {clean(to, 80)!r} is not in that room; give the id of a call there, or CALL_ID/agent"
        return ""

    # ---- what happens ----------------------------------------------------------------------------------------------

    def place(self, name: str, seats: Iterable[tuple[Call, Seat]], now_ns: int) -> None:
        """Put calls there, in these parts, out of wherever they were."""
        moved = [(call, seat) for call, seat in seats if call.seat != seat]
        for call, _ in moved:
            if call.seat and call.seat.room != name:
                self._take_out(call, now_ns)
        for call, seat in moved:
            room = self.rooms.setdefault(name, Room(name, call.worker))
            if not room.calls and room.worker != call.worker:  # it was another worker's, which has not said yet that it is no more
                self._say(room)
                room = self.rooms[name] = Room(name, call.worker)
            call.seat, room.calls[call.call_id] = seat, call
        if moved:
            self._tell_worker(self.rooms[name])
        for call, seat in moved:
            self._tell(call, RoomChanged(call.call_id, name, seat.party.role, seat.party.agent), now_ns)

    def join(self, one: Call, seat: Seat, other: Call, other_seat: Seat, now_ns: int) -> None:
        """These two and nobody else: whoever was in the room goes back to where it came from."""
        room = self.rooms.get(seat.room)
        for third in [call for call in room.calls.values() if call not in (one, other)] if room else []:
            self.leave(third, "the room is another's now", now_ns)
        self.place(seat.room, [(one, seat), (other, other_seat)], now_ns)

    def leave(self, call: Call, why: str, now_ns: int) -> None:
        """Back to its agent."""
        if call.seat is not None:
            self._take_out(call, now_ns, is_back=True)
            self._tell(call, RoomChanged(call.call_id, why=why), now_ns)

    def forget(self, call: Call, now_ns: int) -> None:
        """It has ended."""
        if call.seat is not None:
            self._take_out(call, now_ns)

    def _take_out(self, call: Call, now_ns: int, is_back: bool = False) -> None:
        assert call.seat is not None
        room, call.seat = self.rooms[call.seat.room], None
        del room.calls[call.call_id]
        self._tell_worker(room)
        why = "the other side went back" if is_back else f"the other side hung up: {call.cause}" if call.cause else "the other side left"
        for left in list(room.calls.values()):
            others = [other for other in room.calls.values() if other is not left]
            if left.seat is None or left.seat.room != room.name or any(o.seat and o.seat.party.role == "talk" for o in others):
                continue
            if left.seat.after == "return":
                self.leave(left, why, now_ns)
            elif left.seat.after == "end":
                self._end(left, why, now_ns)

    def _end(self, call: Call, why: str, now_ns: int) -> None:
        call.end(Cause.HANG_UP, why, now_ns)
        self.front.user_agent.deadlines.schedule(call)

    def _tell(self, call: Call, changed: RoomChanged, now_ns: int) -> None:
        self.front.tell_bridge(call.bridge, changed)
        text = f"in room {changed.room} as {changed.role}, its agent {changed.agent}" if changed.room else "back with its agent"
        self.front.operators.show(Noted(call.call_id, now_ns, "room", f"{text}{': ' if changed.why else ''}{changed.why}"), call.call_id)
        self.front.changed(call, now_ns)

    def remind(self, call: Call) -> None:
        """Tell its agent where it is."""
        party = call.seat.party if call.seat else Party(call.call_id)
        self.front.tell_bridge(call.bridge, RoomChanged(call.call_id, call.seat.room if call.seat else "", party.role, party.agent))

    # ---- the worker ------------------------------------------------------------------------------------------------

    def _tell_worker(self, room: Room) -> None:
        room.number, room.is_set = next(self.numbers), False
        self._say(room)

    def _say(self, room: Room) -> None:
        parties = tuple(call.seat.party for call in room.calls.values() if call.seat)
        self.front.tell_worker(room.worker, SetRoom(room.name, parties, room.number))

    def acknowledge(self, answer: RoomSet) -> None:
        room = self.rooms.get(answer.room_id)
        if room and room.number == answer.number:
            room.is_set = True
            if not room.calls:
                del self.rooms[room.name]

    def say_again(self) -> None:
        """What a worker has not confirmed: it may have been replaced meanwhile. Once a second."""
        for room in list(self.rooms.values()):
            if not room.is_set:
                self._say(room)

    # ---- one front after another ---------------------------------------------------------------------------------------

    def restore(self, now_ns: int) -> None:
        """From where the calls that were taken over say that they are. Who waited for somebody who rang waits no more."""
        for call in self.front.calls.values():
            if call.seat:
                self.rooms.setdefault(call.seat.room, Room(call.seat.room, call.worker)).calls[call.call_id] = call
        for room in list(self.rooms.values()):
            self._tell_worker(room)
            for call in list(room.calls.values()):
                if call.seat and call.seat.party.role in WAITING and call.seat.after == "return" and len(room.calls) == 1:
                    self.leave(call, "the front was restarted, and what rang is lost", now_ns)
                elif call.seat and call.seat.party.role in WAITING and call.seat.after == "end" and len(room.calls) == 1:
                    self._end(call, "the front was restarted, and the phones that rang for it are lost", now_ns)


def why_not_name(name: str) -> str:
    is_good = 0 < len(name) <= MAX_NAME and all("!" <= c <= "~" for c in name)
    return "" if is_good else f"{clean(name, 80)!r} cannot be a room: a name has 1 to {MAX_NAME} printable ASCII characters and no space"


def no_call(call_id: str) -> Failed:
    return Failed(f"there is no call {clean(call_id, 80)}: `bellframe calls` lists those that are up", 404)
