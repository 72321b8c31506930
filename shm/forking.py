"""What a process does before it forks others, and what they do first. Linux only, and in one place."""

import ctypes
import gc
import os
import signal

PR_SET_PDEATHSIG, PR_SET_TIMERSLACK = 1, 29  # linux/prctl.h
MADV_DONTNEED = 4  # asm-generic/mman-common.h
LARGE_BYTES = 1 << 20
_libc = ctypes.CDLL(None)


def settle() -> None:
    """Before forking: give back what start-up left over, and keep the collector off what children inherit.

    A collector that walks inherited objects writes to their headers, and every page it touches is copied.
    """
    gc.collect()
    _libc.malloc_trim(0)
    forget_code()
    gc.freeze()


def forget_code() -> None:
    """Unmap the pages of large libraries' code that were read to start: the compiler's, mostly, which nobody calls again.

    They stay in the page cache, from where a call would fetch them. Code only: such pages are never written to.
    """
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, permissions, _, _, inode = line.split()[:5]
            first, last = (int(part, 16) for part in span.split("-"))
            if permissions == "r-xp" and inode != "0" and last - first >= LARGE_BYTES:
                _libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), MADV_DONTNEED)


def live_with(parent: int) -> None:
    """In a fresh fork: be killed when the parent dies, even if it died before this line."""
    _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def wake_on_time() -> None:
    """Timers of this process fire when they are due, not up to 50 µs later."""
    _libc.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
