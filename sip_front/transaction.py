"""The four transactions of RFC 3261 section 17, with RFC 6026: tables, and objects without I/O.

Over UDP one side or the other repeats itself until it is heard; which side, when and for how long is what the
tables say. A 2xx to an INVITE is not here: its sender repeats it until the ACK (13.3.1.4, session.py).
"""

import enum
from collections.abc import Callable, Sequence
from typing import ClassVar

from control_plane.errors import Misuse
from sip_front.message import MAGIC_COOKIE, Headers, Request, Response

T1_NS = 500_000_000  # RFC 3261 table 4: estimate of one round trip
T2_NS = 4_000_000_000  # longest wait between two retransmissions
T4_NS = 5_000_000_000  # longest time that a message stays in the network
TIMEOUT_NS = 64 * T1_NS  # timers B, F, H, J, L and M
TIMER_D_NS = 32_000_000_000  # at least 32 s over UDP


class State(enum.Enum):
    CALLING, TRYING, PROCEEDING, COMPLETED, CONFIRMED, ACCEPTED, TERMINATED = range(7)


class Cause(enum.Enum):
    # from the network
    REQUEST, ACK, RESPONSE_1XX, RESPONSE_2XX, RESPONSE_FAILURE = range(5)
    # from the transaction user
    SEND, SEND_1XX, SEND_2XX, SEND_FAILURE = range(5, 9)
    # from the clock
    TIMER_A, TIMER_B, TIMER_D, TIMER_E, TIMER_F, TIMER_G, TIMER_H, TIMER_I, TIMER_J, TIMER_K, TIMER_L, TIMER_M = range(9, 21)
    # from the transport
    TRANSPORT_ERROR = 21


CALLING, TRYING, PROCEEDING, COMPLETED, CONFIRMED, ACCEPTED, TERMINATED = State
Action = Callable[["Transaction", int], None]
Table = dict[tuple[State, Cause], tuple[State, tuple[Action, ...]]]


def send(tx: "Transaction", _now_ns: int) -> None:
    tx.outbox = [*tx.outbox, tx.last_sent]


def send_ack(tx: "Transaction", _now_ns: int) -> None:
    tx.outbox = [*tx.outbox, tx.ack]


def tell(tx: "Transaction", _now_ns: int) -> None:
    tx.told = True


def stop_timers(tx: "Transaction", _now_ns: int) -> None:
    tx.timers.clear()


def wait(timer: Cause, unreliable_ns: int, reliable_ns: int) -> Action:
    """A timer that fires once. `reliable_ns`: over a transport that loses nothing."""

    def start(tx: "Transaction", now_ns: int) -> None:
        tx.timers[timer.name] = now_ns + (reliable_ns if tx.is_reliable else unreliable_ns)

    return start


def repeat(timer: Cause, longest_ns: int) -> tuple[Action, Action]:
    """First and further settings of a timer that starts with T1 and doubles. Reliable transports repeat nothing."""

    def start(tx: "Transaction", now_ns: int) -> None:
        if not tx.is_reliable:
            tx.interval_ns = T1_NS
            tx.timers[timer.name] = now_ns + T1_NS

    def double(tx: "Transaction", now_ns: int) -> None:
        tx.interval_ns = min(2 * tx.interval_ns, longest_ns)
        tx.timers[timer.name] = now_ns + tx.interval_ns

    return start, double


def slow_e(tx: "Transaction", _now_ns: int) -> None:
    tx.interval_ns = T2_NS  # 17.1.2.2: a 1xx came, so the far end is there


start_a, double_a = repeat(Cause.TIMER_A, TIMEOUT_NS)
start_e, double_e = repeat(Cause.TIMER_E, T2_NS)
start_g, double_g = repeat(Cause.TIMER_G, T2_NS)
start_b = wait(Cause.TIMER_B, TIMEOUT_NS, TIMEOUT_NS)
start_d = wait(Cause.TIMER_D, TIMER_D_NS, 0)
start_f = wait(Cause.TIMER_F, TIMEOUT_NS, TIMEOUT_NS)
start_h = wait(Cause.TIMER_H, TIMEOUT_NS, TIMEOUT_NS)
start_i = wait(Cause.TIMER_I, T4_NS, 0)
start_j = wait(Cause.TIMER_J, TIMEOUT_NS, 0)
start_k = wait(Cause.TIMER_K, T4_NS, 0)
start_l = wait(Cause.TIMER_L, TIMEOUT_NS, TIMEOUT_NS)
start_m = wait(Cause.TIMER_M, TIMEOUT_NS, TIMEOUT_NS)

# 17.1.1.2 and RFC 6026 figure 3. A pair that is absent is illegal.
INVITE_CLIENT: Table = {
    (CALLING, Cause.SEND): (CALLING, (send, start_a, start_b)),
    (CALLING, Cause.TIMER_A): (CALLING, (send, double_a)),
    (CALLING, Cause.TIMER_B): (TERMINATED, (tell,)),
    (CALLING, Cause.RESPONSE_1XX): (PROCEEDING, (stop_timers, tell)),
    (CALLING, Cause.RESPONSE_2XX): (ACCEPTED, (stop_timers, tell, start_m)),
    (CALLING, Cause.RESPONSE_FAILURE): (COMPLETED, (stop_timers, tell, send_ack, start_d)),
    (CALLING, Cause.TRANSPORT_ERROR): (TERMINATED, (tell,)),
    (PROCEEDING, Cause.RESPONSE_1XX): (PROCEEDING, (tell,)),
    (PROCEEDING, Cause.RESPONSE_2XX): (ACCEPTED, (tell, start_m)),
    (PROCEEDING, Cause.RESPONSE_FAILURE): (COMPLETED, (tell, send_ack, start_d)),
    (PROCEEDING, Cause.TRANSPORT_ERROR): (TERMINATED, (tell,)),
    (COMPLETED, Cause.RESPONSE_1XX): (COMPLETED, ()),
    (COMPLETED, Cause.RESPONSE_2XX): (COMPLETED, ()),
    (COMPLETED, Cause.RESPONSE_FAILURE): (COMPLETED, (send_ack,)),  # our ACK was lost
    (COMPLETED, Cause.TIMER_D): (TERMINATED, ()),
    (COMPLETED, Cause.TRANSPORT_ERROR): (TERMINATED, (tell,)),
    (ACCEPTED, Cause.RESPONSE_1XX): (ACCEPTED, ()),
    (ACCEPTED, Cause.RESPONSE_2XX): (ACCEPTED, (tell,)),  # a repeat, or another branch of a fork
    (ACCEPTED, Cause.RESPONSE_FAILURE): (ACCEPTED, ()),
    (ACCEPTED, Cause.TRANSPORT_ERROR): (ACCEPTED, ()),
    (ACCEPTED, Cause.TIMER_M): (TERMINATED, ()),
}
# 17.1.2.2
NON_INVITE_CLIENT: Table = {
    (TRYING, Cause.SEND): (TRYING, (send, start_e, start_f)),
    (TRYING, Cause.TIMER_E): (TRYING, (send, double_e)),
    (TRYING, Cause.TIMER_F): (TERMINATED, (tell,)),
    (TRYING, Cause.RESPONSE_1XX): (PROCEEDING, (tell, slow_e)),
    (TRYING, Cause.RESPONSE_2XX): (COMPLETED, (stop_timers, tell, start_k)),
    (TRYING, Cause.RESPONSE_FAILURE): (COMPLETED, (stop_timers, tell, start_k)),
    (TRYING, Cause.TRANSPORT_ERROR): (TERMINATED, (tell,)),
    (PROCEEDING, Cause.TIMER_E): (PROCEEDING, (send, double_e)),
    (PROCEEDING, Cause.TIMER_F): (TERMINATED, (tell,)),
    (PROCEEDING, Cause.RESPONSE_1XX): (PROCEEDING, (tell,)),
    (PROCEEDING, Cause.RESPONSE_2XX): (COMPLETED, (stop_timers, tell, start_k)),
    (PROCEEDING, Cause.RESPONSE_FAILURE): (COMPLETED, (stop_timers, tell, start_k)),
    (PROCEEDING, Cause.TRANSPORT_ERROR): (TERMINATED, (tell,)),
    (COMPLETED, Cause.RESPONSE_1XX): (COMPLETED, ()),
    (COMPLETED, Cause.RESPONSE_2XX): (COMPLETED, ()),
    (COMPLETED, Cause.RESPONSE_FAILURE): (COMPLETED, ()),
    (COMPLETED, Cause.TRANSPORT_ERROR): (COMPLETED, ()),
    (COMPLETED, Cause.TIMER_K): (TERMINATED, ()),
}
# 17.2.1 and RFC 6026 figure 5
INVITE_SERVER: Table = {
    (PROCEEDING, Cause.REQUEST): (PROCEEDING, (send,)),
    (PROCEEDING, Cause.ACK): (PROCEEDING, ()),  # nothing to acknowledge yet
    (PROCEEDING, Cause.SEND_1XX): (PROCEEDING, (send,)),
    (PROCEEDING, Cause.SEND_2XX): (ACCEPTED, (send, start_l)),
    (PROCEEDING, Cause.SEND_FAILURE): (COMPLETED, (send, start_g, start_h)),
    (PROCEEDING, Cause.TRANSPORT_ERROR): (PROCEEDING, (tell,)),
    (COMPLETED, Cause.REQUEST): (COMPLETED, (send,)),
    (COMPLETED, Cause.ACK): (CONFIRMED, (stop_timers, start_i)),
    (COMPLETED, Cause.TIMER_G): (COMPLETED, (send, double_g)),
    (COMPLETED, Cause.TIMER_H): (TERMINATED, (tell,)),
    (COMPLETED, Cause.TRANSPORT_ERROR): (COMPLETED, (tell,)),
    (CONFIRMED, Cause.REQUEST): (CONFIRMED, ()),
    (CONFIRMED, Cause.ACK): (CONFIRMED, ()),
    (CONFIRMED, Cause.TIMER_I): (TERMINATED, ()),
    (CONFIRMED, Cause.TRANSPORT_ERROR): (CONFIRMED, ()),
    (ACCEPTED, Cause.REQUEST): (ACCEPTED, ()),  # the session repeats the 2xx at its own pace
    (ACCEPTED, Cause.ACK): (ACCEPTED, (tell,)),
    (ACCEPTED, Cause.SEND_2XX): (ACCEPTED, (send,)),
    (ACCEPTED, Cause.TRANSPORT_ERROR): (ACCEPTED, (tell,)),
    (ACCEPTED, Cause.TIMER_L): (TERMINATED, ()),
}
# 17.2.2
NON_INVITE_SERVER: Table = {
    (TRYING, Cause.REQUEST): (TRYING, ()),  # a repeat: nothing to repeat yet
    (TRYING, Cause.SEND_1XX): (PROCEEDING, (send,)),
    (TRYING, Cause.SEND_2XX): (COMPLETED, (send, start_j)),
    (TRYING, Cause.SEND_FAILURE): (COMPLETED, (send, start_j)),
    (TRYING, Cause.TRANSPORT_ERROR): (TERMINATED, (tell,)),
    (PROCEEDING, Cause.REQUEST): (PROCEEDING, (send,)),
    (PROCEEDING, Cause.SEND_1XX): (PROCEEDING, (send,)),
    (PROCEEDING, Cause.SEND_2XX): (COMPLETED, (send, start_j)),
    (PROCEEDING, Cause.SEND_FAILURE): (COMPLETED, (send, start_j)),
    (PROCEEDING, Cause.TRANSPORT_ERROR): (TERMINATED, (tell,)),
    (COMPLETED, Cause.REQUEST): (COMPLETED, (send,)),
    (COMPLETED, Cause.TRANSPORT_ERROR): (TERMINATED, (tell,)),
    (COMPLETED, Cause.TIMER_J): (TERMINATED, ()),
}


class Transaction:
    """No socket, no task, no clock. After each call, send `outbox`, look at `told`, and return by `deadline_ns`."""

    __slots__ = ("ack", "deadline_ns", "interval_ns", "is_reliable", "last_sent", "outbox", "state", "table", "timers", "told")

    def __init__(self, table: Table, state: State, is_reliable: bool) -> None:
        self.table, self.state, self.is_reliable = table, state, is_reliable
        self.last_sent = self.ack = b""
        self.outbox: Sequence[bytes] = ()
        self.told = False
        """The last step is for the transaction user: it clears this."""
        self.timers: dict[str, int] = {}
        """By name. Of 20,000 transactions that are over but for their last timer, the collector has neither this to walk nor the outbox."""
        self.deadline_ns: int | None = None
        self.interval_ns = T1_NS

    def step(self, cause: Cause, now_ns: int) -> None:
        """Raises Misuse for a cause that is illegal in this state. A transaction that is over ignores the network."""
        row = self.table.get((self.state, cause))
        if row is None:
            if self.state is TERMINATED and cause.value <= Cause.RESPONSE_FAILURE.value:
                return
            raise Misuse(f"{cause.name} while {self.state.name}")
        self.state, actions = row
        for action in actions:
            action(self, now_ns)
        if self.state is TERMINATED:
            self.timers.clear()
        self.deadline_ns = min(self.timers.values()) if self.timers else None

    def expire(self, now_ns: int) -> Cause | None:
        """Fire the timers that are due, the first first. Returns the last one that fired."""
        fired = None
        while self.deadline_ns is not None and self.deadline_ns <= now_ns:
            name = min(self.timers, key=self.timers.__getitem__)
            fired, due_ns = Cause[name], self.timers.pop(name)
            self.step(fired, due_ns if now_ns - due_ns < T1_NS else now_ns)  # no burst after a long sleep
        return fired

    def take_outbox(self) -> Sequence[bytes]:
        octets, self.outbox = self.outbox, ()
        return octets

    @property
    def is_over(self) -> bool:
        return self.state is TERMINATED

    @property
    def is_unheard(self) -> bool:
        """Of a request that we sent: nothing has come back."""
        return self.state in (CALLING, TRYING)


class ServerTransaction(Transaction):
    """Our side of a request that came in."""

    __slots__ = ("is_invite",)
    INVITE: ClassVar = (INVITE_SERVER, PROCEEDING)
    OTHER: ClassVar = (NON_INVITE_SERVER, TRYING)

    def __init__(self, method: str, *, is_reliable: bool = False) -> None:
        self.is_invite = method == "INVITE"
        super().__init__(*(self.INVITE if self.is_invite else self.OTHER), is_reliable)

    def receive(self, method: str, now_ns: int) -> None:
        """The request once more, or the ACK of an INVITE."""
        if method == "ACK" or self.last_sent or not self.is_invite:  # before the 100 an INVITE has no answer to repeat
            self.step(Cause.ACK if method == "ACK" else Cause.REQUEST, now_ns)

    def respond(self, status: int, octets: bytes, now_ns: int) -> None:
        self.last_sent = octets
        self.step(Cause.SEND_1XX if status < 200 else Cause.SEND_2XX if status < 300 else Cause.SEND_FAILURE, now_ns)

    @property
    def is_answered(self) -> bool:
        """A final response was given."""
        return self.state not in (TRYING, PROCEEDING)


class ClientTransaction(Transaction):
    """Our side of a request that we send: at once, when it is made."""

    __slots__ = ()

    def __init__(self, method: str, octets: bytes, now_ns: int, *, is_reliable: bool = False) -> None:
        is_invite = method == "INVITE"
        super().__init__(INVITE_CLIENT if is_invite else NON_INVITE_CLIENT, CALLING if is_invite else TRYING, is_reliable)
        self.last_sent = octets
        self.step(Cause.SEND, now_ns)

    def receive(self, status: int, now_ns: int, ack: bytes = b"") -> None:
        """A response. `ack`: what acknowledges it, when it is an INVITE's failure."""
        self.ack = ack or self.ack
        self.step(Cause.RESPONSE_1XX if status < 200 else Cause.RESPONSE_2XX if status < 300 else Cause.RESPONSE_FAILURE, now_ns)

    def stop_repeating(self) -> None:
        """Whoever it is for may still answer, until timer B or F; it is not asked again."""
        for timer in (Cause.TIMER_A, Cause.TIMER_E):
            self.timers.pop(timer.name, None)
        self.deadline_ns = min(self.timers.values(), default=None)


def server_key(request: Request) -> tuple[str, ...]:
    """What makes a request a repeat of one that is known (17.2.3). An ACK has the key of its INVITE."""
    via = request.top_via
    method = "INVITE" if request.method == "ACK" else request.method
    if via.branch.startswith(MAGIC_COOKIE):
        return via.branch, f"{via.host}:{via.port}".lower(), method
    # RFC 2543 names no transaction: what a repeat has in common with the first
    return via.branch, f"{via.host}:{via.port}".lower(), method, request.call_id, str(request.cseq[0]), request.from_.tag or ""


def client_key(message: Request | Response) -> tuple[str, str]:
    """17.1.3: the branch that we gave, and the method, because a CANCEL has the branch of its INVITE."""
    return message.top_via.branch, message.cseq[1]


def make_ack(invite: Request, response: Response) -> Request:
    """The ACK of a failure, which is the transaction's own (17.1.1.3). A 2xx is acknowledged by the dialog."""
    ack = _same_hop(invite, "ACK")
    ack.headers.set("To", response.headers.get("To") or "")
    return ack


def make_cancel(invite: Request) -> Request:
    """9.1: everything that finds the INVITE again, and nothing else."""
    return _same_hop(invite, "CANCEL")


def _same_hop(invite: Request, method: str) -> Request:
    request = Request(method, invite.uri, Headers())
    for name in ("Via", "Route"):
        for value in invite.headers.get_all(name):
            request.headers.add(name, value)
    request.headers.lines += [
        ("Max-Forwards", "70"),
        ("From", invite.headers.get("From") or ""),
        ("To", invite.headers.get("To") or ""),
        ("Call-ID", invite.call_id),
        ("CSeq", f"{invite.cseq[0]} {method}"),
    ]
    return request
