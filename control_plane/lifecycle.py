"""The life of one supervised process, as a table: when it is started, killed, stopped, and started again.

No process is touched here. After each step, carry out `orders` and come back by `deadline_ns` with Cause.DEADLINE.
"""

import enum
from collections.abc import Callable

from control_plane.errors import Misuse

SECOND_NS = 1_000_000_000
FIRST_REST_NS = 10_000_000
"""Before the first restart. Calls wait for the process, but one that cannot start must not burn a core."""
LONGEST_REST_NS = 5 * SECOND_NS
STEADY_NS = 2 * SECOND_NS
"""Ready for this long, a process has proved itself: its next death is the first again, and calls wait for it 10 ms."""


class State(enum.Enum):
    IDLE, STARTING, READY, RESTING, STOPPING, ENDED = range(6)


class Cause(enum.Enum):
    START, SAID_READY, FED_WATCHDOG, DIED, DEADLINE, STOP = range(6)


class Order(enum.Enum):
    SPAWN, TERMINATE, KILL = range(3)


class Lifecycle:
    """`watchdog_ns` 0: it is not watched."""

    def __init__(self, start_limit_ns: int, stop_limit_ns: int, watchdog_ns: int) -> None:
        self.start_limit_ns, self.stop_limit_ns, self.watchdog_ns = start_limit_ns, stop_limit_ns, watchdog_ns
        self.state = State.IDLE
        self.deadline_ns: int | None = None
        self.orders: list[Order] = []
        self.ready_at_ns = 0
        self.failures = 0

    def step(self, cause: Cause, now_ns: int) -> None:
        """Raises Misuse for a cause that cannot occur in this state."""
        if (self.state, cause) not in TRANSITIONS:
            raise Misuse(f"{cause.name} while {self.state.name}")
        previous = self.state
        self.state, actions = TRANSITIONS[self.state, cause]
        for action in actions:
            action(self, now_ns)
        if self.state is State.READY and previous is not State.READY:
            self.ready_at_ns = now_ns


def spawn(life: Lifecycle, now_ns: int) -> None:
    life.orders.append(Order.SPAWN)
    life.deadline_ns = now_ns + life.start_limit_ns


def terminate(life: Lifecycle, now_ns: int) -> None:
    life.orders.append(Order.TERMINATE)
    life.deadline_ns = now_ns + life.stop_limit_ns


def kill(life: Lifecycle, now_ns: int) -> None:
    life.orders.append(Order.KILL)
    life.deadline_ns = None  # its death is the next thing that is heard of it


def watch(life: Lifecycle, now_ns: int) -> None:
    life.deadline_ns = now_ns + life.watchdog_ns if life.watchdog_ns else None


def forgive(life: Lifecycle, now_ns: int) -> None:
    if now_ns - life.ready_at_ns >= STEADY_NS:
        life.failures = 0


def rest(life: Lifecycle, now_ns: int) -> None:
    life.deadline_ns = now_ns + min(LONGEST_REST_NS, FIRST_REST_NS << min(life.failures, 10))
    life.failures += 1


def forget(life: Lifecycle, now_ns: int) -> None:
    life.deadline_ns = None


Action = Callable[[Lifecycle, int], None]
IDLE, STARTING, READY, RESTING, STOPPING, ENDED = State
TRANSITIONS: dict[tuple[State, Cause], tuple[State, tuple[Action, ...]]] = {  # a pair that is absent is illegal
    (IDLE, Cause.START): (STARTING, (spawn,)),
    (IDLE, Cause.STOP): (ENDED, ()),
    (STARTING, Cause.SAID_READY): (READY, (watch,)),
    (STARTING, Cause.FED_WATCHDOG): (STARTING, ()),  # watched from READY on
    (STARTING, Cause.DEADLINE): (STARTING, (kill,)),
    (STARTING, Cause.DIED): (RESTING, (rest,)),
    (STARTING, Cause.STOP): (STOPPING, (terminate,)),
    (READY, Cause.SAID_READY): (READY, ()),
    (READY, Cause.FED_WATCHDOG): (READY, (watch,)),
    (READY, Cause.DEADLINE): (READY, (kill,)),
    (READY, Cause.DIED): (RESTING, (forgive, rest)),
    (READY, Cause.STOP): (STOPPING, (terminate,)),
    (RESTING, Cause.DEADLINE): (STARTING, (spawn,)),
    (RESTING, Cause.STOP): (ENDED, (forget,)),
    (STOPPING, Cause.SAID_READY): (STOPPING, ()),
    (STOPPING, Cause.FED_WATCHDOG): (STOPPING, ()),
    (STOPPING, Cause.DEADLINE): (STOPPING, (kill,)),
    (STOPPING, Cause.DIED): (ENDED, (forget,)),
    (STOPPING, Cause.STOP): (STOPPING, ()),
    (ENDED, Cause.STOP): (ENDED, ()),
}
