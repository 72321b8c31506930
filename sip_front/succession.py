"""One front after another: what is written down of the calls, and how the next one takes them over.

Calls that are up go on. A set-up that was under way is begun anew by the far end, whose INVITE comes again; until the workers and
bridges have reported to a front that has just begun, such an INVITE waits.
"""

import logging
from typing import TYPE_CHECKING

from control_plane import table
from control_plane.errors import BellframeError
from sip_front import journal
from sip_front.call import Call
from sip_front.journal import Entry, Over, Saved, SavedPhones
from sip_front.session import Session
from sip_front.session_state import State as SessionState

if TYPE_CHECKING:
    from sip_front.front import Front

log = logging.getLogger("front")
PATIENCE_NS = 3_000_000_000
"""Workers and bridges report once a second, and at once when they are started."""
MAX_EARLY = 256


class Succession:
    def __init__(self, front: "Front") -> None:
        self.front = front
        self.written: set[str] = set()
        """Calls that the journal has."""
        self.early: list[Session] = []
        """Calls that came before there was a worker and a bridge."""

    # ---- writing -----------------------------------------------------------------------------------------------

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
            elif call_id in self.written:
                self.written.discard(call_id)
                entries.append(Over(call_id))
        registrar = self.front.phones.registrar
        changed, registrar.changed = registrar.changed, set()
        return [*entries, *(SavedPhones(user, registrar.bindings.get(user, [])) for user in changed)]

    def all_entries(self, boot_id: str) -> list[Entry]:
        """A journal that says the same in the fewest words."""
        self.front.user_agent.touched.clear()
        self.front.phones.registrar.changed.clear()
        saved = [entry for call in self.front.calls.values() if (entry := journal.save(call))]
        self.written = {entry.call_id for entry in saved}
        phones = self.front.phones.registrar.bindings
        return [journal.Begin(self.front.front_id, boot_id), *saved, *(SavedPhones(user, bindings) for user, bindings in phones.items())]

    # ---- taking over ---------------------------------------------------------------------------------------------

    def take_over(self, front_id: int, entries: list[Saved | SavedPhones], now_ns: int) -> None:
        """Before the first datagram is read."""
        front = self.front
        for entry in entries:
            if isinstance(entry, SavedPhones):
                front.phones.registrar.restore(entry.user, entry.bindings, now_ns)
        calls = [entry for entry in entries if isinstance(entry, Saved)]
        if not calls:
            return
        front.front_id = front_id  # the workers keep what this one opened
        for saved in calls:
            try:
                self._take_over(saved, now_ns)
            except BellframeError as failure:
                log.error("a call of the front before is lost: %s", failure, extra={"call_id": saved.call_id})
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
        agent.deadlines.schedule(call)

    # ---- calls that come too early -----------------------------------------------------------------------------------

    def must_wait(self, session: Session, now_ns: int) -> bool:
        """Nobody has reported yet, and that is because we have just begun."""
        front = self.front
        if now_ns - front.started_ns > PATIENCE_NS or len(self.early) >= MAX_EARLY:
            return False
        if front.peers.of("worker") and front.peers.of("bridge"):
            return False
        self.early.append(session)
        return True

    def take_early(self) -> list[Session]:
        """Those that still wait. Each may have to wait once more."""
        early, self.early = self.early, []
        return [session for session in early if session.state is SessionState.INCOMING]
