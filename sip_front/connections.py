"""The table of connections: who has one, which leads where, how many there may be and for how long. No I/O and no sockets.

Everything is bounded: in all and per source, in time until the first message, in time in the middle of one, in silence,
and in what waits to be sent while a connection is being made.
"""

from typing import NamedTuple

from sip_front.deadlines import Deadlines, Place
from sip_front.framing import Framer
from sip_front.transport import Address

SECOND = 1_000_000_000
PING_NS = 95 * SECOND  # RFC 5626 4.4.1: 95 to 120 s over a stream
RESERVE = 4  # one in so many of the places is kept for those who may call without a password
STRANGERS_RATE, STRANGERS_BURST = 500.0, 1000.0  # connections a second of all others together; more are closed unread
MAX_BACKLOG = 256 * 1024  # octets that a far end has not taken: a hundred messages; it has stopped reading


class Limits(NamedTuple):
    start_ns: int
    """Until the handshake is over and a first message is whole; later, for any message that has begun."""
    idle_ns: int
    """Of silence, while no call uses it."""
    most: int
    per_source: int


class Connection:
    """`remote.flow` is its number."""

    __slots__ = (
        "begun_ns", "framer", "heard_ns", "is_closed", "is_ours", "is_ready", "is_stranger",
        "limits", "pinged_ns", "place", "remote", "waiting",
    )  # fmt: skip

    def __init__(self, remote: Address, is_ours: bool, limits: Limits, now_ns: int, is_stranger: bool = False) -> None:
        """`is_stranger`: of nobody whom we know by address; a password may still make a user of it."""
        self.remote, self.is_ours, self.limits, self.is_stranger = remote, is_ours, limits, is_stranger
        self.framer = Framer()
        self.is_ready = self.is_closed = False
        self.heard_ns = self.pinged_ns = now_ns
        self.begun_ns: int | None = now_ns
        """Since when a handshake or a message is incomplete."""
        self.waiting: list[bytes] = []
        """What goes out as soon as it is ready."""
        self.place: Place | None = None

    @property
    def deadline_ns(self) -> int | None:
        if self.is_closed:
            return None
        return self.heard_ns + self.limits.idle_ns if self.begun_ns is None else self.begun_ns + self.limits.start_ns

    def expire(self, now_ns: int) -> None:
        """Nothing: `Connections.take_expired` says which have ended."""

    @property
    def why_expired(self) -> str:
        if self.begun_ns is None:
            return f"silent for {self.limits.idle_ns / SECOND:g} s"
        return f"no whole message within {self.limits.start_ns / SECOND:g} s" if self.is_ready else "no handshake in time"

    def receive(self, octets: bytes, now_ns: int) -> list[bytes]:
        """Frames, as Framer gives them."""
        frames = self.framer.receive(octets)
        self.heard_ns = now_ns
        if frames and not self.framer.is_within:
            self.begun_ns = None
        elif self.framer.is_within and (self.begun_ns is None or frames):
            self.begun_ns = now_ns
        return frames

    def receive_message(self, now_ns: int) -> None:
        """A whole one, that nobody had to cut out."""
        self.heard_ns, self.begun_ns = now_ns, None

    @property
    def waiting_bytes(self) -> int:
        return sum(map(len, self.waiting))


class Connections:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.by_flow: dict[int, Connection] = {}
        self.by_key: dict[tuple[str, str, int, str], Connection] = {}
        """Those that we opened: for the next request to the same place."""
        self.per_source: dict[str, int] = {}
        self.deadlines = Deadlines()
        self.last_flow = 0
        self.strangers = 0
        self.tokens, self.filled_at_ns = STRANGERS_BURST, 0

    def why_full(self, host: str, is_stranger: bool, now_ns: int) -> str:
        """Why another one from there is not taken, or nothing. Takes a token of all strangers'."""
        if self.per_source.get(host, 0) >= self.limits.per_source:
            return f"it has {self.limits.per_source} connections already; raise sip.max_connections_per_source if it needs more"
        if len(self.by_flow) >= self.limits.most:
            return f"there are {self.limits.most} connections; raise sip.max_connections if the machine can carry more"
        return self._why_full_for_strangers(now_ns) if is_stranger else ""

    def _why_full_for_strangers(self, now_ns: int) -> str:
        most = self.limits.most - self.limits.most // RESERVE
        if self.strangers >= most:
            return f"{most} strangers are connected, and the rest of sip.max_connections is for those in allow: is it one of them?"
        self.tokens = min(STRANGERS_BURST, self.tokens + (now_ns - self.filled_at_ns) * STRANGERS_RATE / SECOND)
        self.filled_at_ns = now_ns
        if self.tokens < 1.0:
            return f"strangers connect more than {STRANGERS_RATE:g} times a second; whoever belongs here will try again"
        self.tokens -= 1.0
        return ""

    def accept(self, host: str, port: int, transport: str, now_ns: int, is_stranger: bool = False) -> Connection:
        return self._add(Address(host, port, transport), False, now_ns, is_stranger)

    def open(self, address: Address, now_ns: int) -> Connection:
        """One to be made. Our own calls need it: it counts, but is not refused."""
        connection = self._add(address, True, now_ns)
        self.by_key[address.key] = connection
        return connection

    def _add(self, address: Address, is_ours: bool, now_ns: int, is_stranger: bool = False) -> Connection:
        self.last_flow += 1
        self.strangers += is_stranger
        connection = Connection(address._replace(flow=self.last_flow), is_ours, self.limits, now_ns, is_stranger)
        self.by_flow[self.last_flow] = connection
        self.per_source[address.host] = self.per_source.get(address.host, 0) + 1
        self.deadlines.schedule(connection)
        return connection

    def made(self, connection: Connection, now_ns: int) -> list[bytes]:
        """The handshake is over. Returns what waited for it."""
        connection.is_ready = True
        if connection.is_ours:  # the far end need not say anything
            connection.begun_ns, connection.heard_ns = None, now_ns
        waiting, connection.waiting = connection.waiting, []
        return waiting

    def find(self, address: Address) -> Connection | None:
        """The one that it names, else one of ours that leads there (RFC 5923)."""
        return self.by_flow.get(address.flow) or self.by_key.get(address.key)

    def drop(self, connection: Connection) -> bool:
        """False: it was gone already."""
        if connection.is_closed:
            return False
        connection.is_closed = True
        self.strangers -= connection.is_stranger
        del self.by_flow[connection.remote.flow]
        if self.by_key.get(connection.remote.key) is connection:
            del self.by_key[connection.remote.key]
        left = self.per_source.pop(connection.remote.host) - 1
        if left:
            self.per_source[connection.remote.host] = left
        return True

    @property
    def next_ns(self) -> int | None:
        return self.deadlines.next_ns

    def take_expired(self, now_ns: int, used: frozenset[object]) -> list[Connection]:
        """Those whose time is over. `used`: flows and keys of addresses that calls and trunks need: their silence is no reason."""
        found = []
        for sleeper in self.deadlines.take_due(now_ns):
            if not isinstance(sleeper, Connection):
                continue
            if sleeper.begun_ns is None and is_used(sleeper, used):
                sleeper.heard_ns = now_ns
                self.deadlines.schedule(sleeper)
            else:
                found.append(sleeper)
        return found

    def take_pings(self, now_ns: int, used: frozenset[object]) -> list[Connection]:
        """Those of ours that calls and trunks need, and whose NAT must be kept open (RFC 5626 4.4.1). Ask once a second."""
        due = [
            connection
            for connection in self.by_key.values()
            if connection.is_ready and now_ns - max(connection.heard_ns, connection.pinged_ns) >= PING_NS and is_used(connection, used)
        ]
        for connection in due:
            connection.pinged_ns = now_ns
        return due


def is_used(connection: Connection, used: frozenset[object]) -> bool:
    return connection.remote.flow in used or connection.remote.key in used
