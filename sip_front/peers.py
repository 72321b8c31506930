"""Workers and bridges as the front knows them: from what they say once a second, and from their silence."""

from typing import Literal, NamedTuple

from control_plane.messages import Alive, PeerFacts

Role = Literal["worker", "bridge"]
SILENT_NS = 3_000_000_000  # three Alives missed: no new calls for this one, while there are others
AWAY_NS = 10_000_000_000  # but by then a process that is started again is back: where all are silent, calls wait for it
CALL_PERCENT = 0.05  # what a call costs a core until the worker says so itself: two thousand of PCMU fill one
LOAD_STEP_PERCENT = 5.0  # a difference below this is noise: then the number of calls decides
FORGOTTEN_NS = 600_000_000_000  # a worker taken out of the configuration leaves the table in the end


class Peer:
    def __init__(self, alive: Alive, identity: bytes, now_ns: int) -> None:
        self.identity, self.facts, self.heard_ns = identity, alive, now_ns
        self.calls: set[str] = set()
        """What the front has given it: known at once, where its own count is a second old."""

    @property
    def index(self) -> int:
        return self.facts.index

    def is_silent(self, now_ns: int) -> bool:
        return now_ns - self.heard_ns > SILENT_NS

    def has_room(self) -> bool:
        return self.facts.role == "bridge" or len(self.calls) < self.facts.capacity

    @property
    def load_percent(self) -> float:
        """As it said a second ago, and with what it has been given since."""
        return self.facts.busy_percent + CALL_PERCENT * max(0, len(self.calls) - self.facts.calls)


class Heard(NamedTuple):
    peer: Peer
    is_new: bool
    is_replaced: bool
    """Another process under the same index: a bridge has lost its agents; a worker has lost nothing."""


class Peers:
    def __init__(self, max_busy_percent: float = 100.0, max_late_percent: float = 100.0) -> None:
        """100 never counts a worker as overloaded."""
        self.max_busy_percent, self.max_late_percent = max_busy_percent, max_late_percent
        self.peers: dict[tuple[Role, int], Peer] = {}

    def hear(self, alive: Alive, identity: bytes, now_ns: int) -> Heard:
        peer = self.peers.get((alive.role, alive.index))
        if peer is None:
            peer = self.peers[alive.role, alive.index] = Peer(alive, identity, now_ns)
            return Heard(peer, True, False)
        is_replaced = peer.facts.pid != alive.pid
        peer.identity, peer.facts, peer.heard_ns = identity, alive, now_ns
        return Heard(peer, False, is_replaced)

    def get(self, role: Role, index: int) -> Peer | None:
        return self.peers.get((role, index))

    def of(self, role: Role) -> list[Peer]:
        return [peer for (kind, _), peer in self.peers.items() if kind == role]

    def choose(self, role: Role, now_ns: int, *, but: int = -1) -> Peer | None:
        """The least loaded of those that are heard and have room, of equals the one with the fewest calls.

        If nobody is heard, one that is being started again: what it is told is repeated until it answers.

        `but`: an index that did not answer.
        """
        able = [p for p in self.of(role) if p.index != but and p.has_room() and not self.is_overloaded(p)]
        usable = [p for p in able if not p.is_silent(now_ns)]
        if not usable and but < 0:
            usable = [p for p in able if p.is_silent(now_ns) and now_ns - p.heard_ns < AWAY_NS]
        return min(usable, key=lambda p: (p.load_percent // LOAD_STEP_PERCENT, len(p.calls), p.index), default=None)

    def is_overloaded(self, peer: Peer) -> bool:
        return self._is_above(peer.load_percent, self.max_busy_percent) or self._is_above(peer.facts.late_percent, self.max_late_percent)

    def _is_above(self, value: float, limit: float) -> bool:
        return limit < 100 and value > limit

    def why_none(self, role: Role, now_ns: int) -> str:
        """For the log: why `choose` found nobody, and what helps."""
        known = self.of(role)
        if not known:
            return f"503: no {role} has ever reported; look whether {'media_workers' if role == 'worker' else 'ai_bridge'} runs"
        silent = sum(peer.is_silent(now_ns) for peer in known)
        if silent == len(known):
            return f"503: none of {len(known)} {role}s has been heard for {SILENT_NS // 10**9} s; look into their logs"
        worst = max((p for p in known if self.is_overloaded(p) and not p.is_silent(now_ns)), key=lambda p: p.load_percent, default=None)
        if worst:
            how = f"{role} {worst.index} is busy for {worst.load_percent:.0f} % of the time and sends {worst.facts.late_percent:g} % late"
            return f"503: overloaded: {how}; give media.workers more cores, or raise media.max_busy_percent and max_late_percent"
        capacity = sum(peer.facts.capacity for peer in known if not peer.is_silent(now_ns))
        return f"503: all {capacity} calls that the {role}s can carry are taken; widen media.rtp_ports or media.workers"

    def prune(self, now_ns: int) -> None:
        for key in [key for key, peer in self.peers.items() if now_ns - peer.heard_ns > FORGOTTEN_NS and not peer.calls]:
            del self.peers[key]

    def facts(self, now_ns: int) -> tuple[PeerFacts, ...]:
        return tuple(
            PeerFacts(
                role=role,
                index=index,
                pid=peer.facts.pid,
                generation=peer.facts.generation,
                calls=len(peer.calls),
                capacity=peer.facts.capacity,
                silent_ms=max(0, (now_ns - peer.heard_ns) // 1_000_000),
                busy_percent=peer.facts.busy_percent,
                late_percent=peer.facts.late_percent,
            )
            for (role, index), peer in sorted(self.peers.items())
        )
