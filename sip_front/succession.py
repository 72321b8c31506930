"""One front after another: what is written down of the calls, and how the next one takes them over.

Calls that are up go on, and so do calls of ours that ring (unanswered.py). A set-up of theirs is begun anew by the far end, whose
INVITE comes again; until the workers and bridges have reported to a front that has just begun, such an INVITE waits.
"""

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from control_plane import table
from control_plane.errors import BellframeError
from control_plane.logs import clean
from control_plane.messages import CallFacts, CloseMedia
from sip_front import journal
from sip_front.call import CLOSE_LIMIT_NS, Call, State
from sip_front.journal import Ended, Entry, Learnt, Left, Over, Saved, SavedPhones
from sip_front.session import Session
from sip_front.session_state import State as SessionState

if TYPE_CHECKING:
    from sip_front.front import Front

log = logging.getLogger("front")
PATIENCE_NS, SUCCESSORS_PATIENCE_NS = 3_000_000_000, 10_000_000_000
"""Workers and bridges report once a second, and at once when they are started. Where there was a front before us, there are some, which may
just be replaced as well."""
WORKER_AWAY_LIMIT_NS = 15_000_000_000
AGAIN_NS = 8_000_000_000
"""For so long an INVITE that the front before had not answered may come again (RFC 3261 17.1.1.2: after 0.5, 1.5, 3.5 and 7.5 s)."""
MAX_EARLY = 256


class Succession:
    def __init__(self, front: "Front") -> None:
        self.front = front
        self.patience_ns = PATIENCE_NS
        self.written: set[str] = set()
        """Calls that the journal has."""
        self.closing: dict[str, CallFacts] = {}
        """Calls that ended with the front before us: their workers are asked what their media has counted."""
        self.waiting: dict[str, CallFacts] = {}
        """By Call-ID, records of set-ups that ended with the front before us. One whose INVITE comes again is no call that failed."""
        self.again: set[str] = set()
        """Call-IDs of INVITEs that came while there may have been such."""
        self.addresses: dict[str, Learnt] = {}
        """Of ours, by the STUN server that has seen them."""
        self.new_addresses: list[Learnt] = []
        self.early: list[Session] = []
        """Calls that came before there was a worker and a bridge."""

    # ---- writing -----------------------------------------------------------------------------------------------

    @staticmethod
    def can_go_on(call: Call) -> bool:
        """The next front can, with what the journal says of it."""
        return journal.save(call) is not None

    def note_address(self, server: str, address: str) -> None:
        learnt = self.addresses[server] = Learnt(server, address)
        self.new_addresses.append(learnt)

    def take_entries(self) -> list[Entry]:
        """What is to be written before anything of it is sent: the calls that something has happened to."""
        agent, entries = self.front.user_agent, list[Entry]()
        touched, agent.touched = agent.touched, set()
        for call_id in touched:
            call = self.front.calls.get(call_id)
            saved = journal.save(call) if call else None
            if saved:
                self.written.add(call_id)
                entries.append(saved)
            elif call_id in self.front.ended:
                self.written.discard(call_id)
                entries.append(Ended(self.front.ended[call_id]))
            elif call and call.state is State.CLOSING:
                entries.append(Ended(call.facts(call.ended_ns)))
            elif call and call_id not in self.written:
                self.written.add(call_id)
                entries.append(Ended(testament(call)))
            elif call is None and call_id in self.written:
                self.written.discard(call_id)
                entries.append(Over(call_id))
        registrar = self.front.phones.registrar
        changed, registrar.changed = registrar.changed, set()
        learnt, self.new_addresses = self.new_addresses, []
        return [*entries, *learnt, *(SavedPhones(user, registrar.bindings.get(user, [])) for user in changed)]

    def all_entries(self, boot_id: str) -> list[Entry]:
        """A journal that says the same in the fewest words."""
        self.front.user_agent.touched.clear()
        self.front.phones.registrar.changed.clear()
        self.new_addresses.clear()
        calls = self.front.calls.values()
        saved = {call.call_id: entry for call in calls if (entry := journal.save(call))}
        self.written = {call.call_id for call in calls}
        ended = [Ended(facts) for facts in (*self.front.ended.values(), *self.closing.values(), *self.waiting.values())]
        ended += [Ended(call.facts(call.ended_ns)) for call in calls if call.state is State.CLOSING]
        ended += [Ended(testament(call)) for call in calls if call.state is not State.CLOSING and call.call_id not in saved]
        phones = self.front.phones.registrar.bindings
        begin, of_phones = journal.Begin(self.front.front_id, boot_id), [SavedPhones(*pair) for pair in phones.items()]
        return [begin, *ended, *saved.values(), *self.addresses.values(), *of_phones]

    # ---- taking over ---------------------------------------------------------------------------------------------

    def take_over(self, front_id: int, entries: list[Left], now_ns: int) -> None:
        """Before the first datagram is read."""
        front = self.front
        self.patience_ns = SUCCESSORS_PATIENCE_NS if front_id else PATIENCE_NS
        for entry in entries:
            if isinstance(entry, SavedPhones):
                front.phones.registrar.restore(entry.user, entry.bindings, now_ns)
            elif isinstance(entry, Ended) and entry.facts.state == "ended":
                front.keep_ended(entry.facts)
            elif isinstance(entry, Ended):
                self.closing[entry.facts.call_id] = entry.facts
        calls = [entry for entry in entries if isinstance(entry, Saved)]
        if calls or self.closing:
            front.front_id = front_id  # the workers keep what this one opened
        if not calls:
            return
        for saved in calls:
            try:
                self._take_over(saved, now_ns)
            except BellframeError as failure:
                log.error("a call of the front before is lost: %s", failure, extra={"call_id": saved.call_id})
                front.calls.pop(saved.call_id, None)
                why = clean(f"the front died, and the next one could not go on with it: {failure}", 300)
                self.closing[saved.call_id] = msgspec.structs.replace(journal.facts_of(saved), cause=why)
        front.rooms.restore(now_ns)
        log.warning("took %s over from the front before", table.count(len(front.calls), "call"))

    def _take_over(self, saved: Saved, now_ns: int) -> None:
        front = self.front
        agent = front.user_agent
        session = journal.restore_session(saved, agent, now_ns)
        trunk = front.trunks.get(saved.trunk)
        if trunk:
            session.credentials = trunk.client
        call = Call(front, session, saved.direction, now_ns, saved.started_at)
        front.calls[saved.call_id] = call
        agent.sessions[session.sip_call_id, session.local_tag] = session
        agent.taken_over[session.sip_call_id] = session
        journal.restore_call(saved, call, now_ns)
        for limit in front.limits_of(call):
            limit.calls.add(call.call_id)
        front.toll_guard.take_over(call, trunk)
        agent.deadlines.schedule(call)

    # ---- calls that ended with the front before -----------------------------------------------------------------------

    def ask_worker(self, index: int) -> None:
        """It has reported for the first time."""
        for facts in self.closing.values():
            if facts.worker == index:
                self.front.tell_worker(index, CloseMedia(facts.call_id))

    def close(self, call_id: str, counters: Mapping[str, int], now_ns: int) -> None:
        """The worker has said what the call's media counted; nothing, if it has forgotten or does not answer."""
        facts = self.closing.pop(call_id, None)
        if facts:
            at = facts.ended_at or time.time()
            duration_s = facts.duration_s if facts.ended_at else max(0.0, at - facts.started_at)
            ended = msgspec.structs.replace(facts, state="ended", counters=dict(counters), ended_at=at, duration_s=duration_s)
            is_set_up = facts.direction == "inbound" and not facts.ended_at
            if is_set_up and facts.sip_call_id in self.again:
                self._forget(ended)
            elif is_set_up and now_ns - self.front.started_ns <= AGAIN_NS:
                self.waiting[facts.sip_call_id] = ended
            else:
                self._record(ended)

    def come(self, sip_call_id: str) -> None:
        """An INVITE. If the front before us had it and had not answered, it is the same call."""
        if self.closing or self.waiting:
            self.again.add(sip_call_id)
            if ended := self.waiting.pop(sip_call_id, None):
                self._forget(ended)

    def _record(self, ended: CallFacts) -> None:
        self.front.operators.show_call(ended)
        self.front.remember(ended)

    def _forget(self, ended: CallFacts) -> None:
        """Also in the journal."""
        self.written.add(ended.call_id)
        self.front.user_agent.touched.add(ended.call_id)

    def expire(self, now_ns: int) -> None:
        if self.waiting and now_ns - self.front.started_ns > AGAIN_NS:
            waiting, self.waiting = self.waiting, {}
            for ended in waiting.values():
                self._record(ended)
        if self.closing and now_ns - self.front.started_ns > CLOSE_LIMIT_NS:
            for call_id in list(self.closing):
                self.close(call_id, {}, now_ns)
        if now_ns - self.front.started_ns > WORKER_AWAY_LIMIT_NS:
            self._fail_forsaken(now_ns)

    def _fail_forsaken(self, now_ns: int) -> None:
        """Calls of the front before us whose worker has never reported to us."""
        front = self.front
        for call in list(front.calls.values()):
            if front.peers.get("worker", call.worker) is None and call.state not in (State.CLOSING, State.ENDED):
                call.fail(f"worker {call.worker} has not reported since the front was started; look into its log", now_ns)
                front.user_agent.deadlines.schedule(call)

    # ---- calls that come too early -----------------------------------------------------------------------------------

    def must_wait(self, session: Session, now_ns: int) -> bool:
        """Nobody has reported yet, and that is because we have just begun."""
        front = self.front
        if now_ns - front.started_ns > self.patience_ns or len(self.early) >= MAX_EARLY:
            return False
        if front.peers.of("worker") and front.peers.of("bridge"):
            return False
        self.early.append(session)
        return True

    def take_early(self) -> list[Session]:
        """Those that still wait. Each may have to wait once more."""
        early, self.early = self.early, []
        return [session for session in early if session.state is SessionState.INCOMING]


def testament(call: Call) -> CallFacts:
    """What the record of a call that is being set up says, should this front die now: nobody could go on with it."""
    facts = call.facts(call.started_ns)
    return msgspec.structs.replace(facts, state="closing", outcome="failed", cause="the front died while this call was set up")
