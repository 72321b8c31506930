"""Waking a bridge: an eventfd, rung at most once per cycle of a worker and only if the bridge sleeps.

A wake-up costs more than everything else in a hop, so a bridge says in shared memory when it is about to
sleep. Both sides store, then fence, then load (Dekker): either the worker sees that the bridge sleeps, or
the bridge sees the frame that the worker has just published. Neither can miss both.
"""

import contextlib
import os

from shm.atomics import fence, load_acquire, store_release
from shm.jit import njit

ASLEEP = 0  # column of `Rings.bells`


def make() -> int:
    """A new eventfd. It is inherited by fork and passed over a Unix socket; the caller closes it."""
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


@njit
def fall_asleep(bells, bridge):
    """Bridge: say so, then look at the rings once more before waiting on the eventfd."""
    store_release(bells, bridge, ASLEEP, 1)
    fence()


@njit
def wake_up(bells, bridge):
    """Bridge: awake, no bell needed."""
    store_release(bells, bridge, ASLEEP, 0)


@njit
def must_ring(bells, bridge):
    """Worker, after publishing: is the bell needed? Clears the word, so that one sleeper is rung once."""
    fence()
    if load_acquire(bells, bridge, ASLEEP) == 0:
        return False
    store_release(bells, bridge, ASLEEP, 0)
    return True


def answer(bell_fd: int) -> None:
    """Bridge: take what was rung, so that the descriptor sleeps again. Nothing rung is fine."""
    with contextlib.suppress(BlockingIOError):
        os.eventfd_read(bell_fd)
