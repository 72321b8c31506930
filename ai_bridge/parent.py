"""The parent of an agent process: it has the kernels loaded, and forks whoever runs the agents.

Importing a compiler takes seconds, a fork takes milliseconds: when an agent's code takes its process down, the
next one is with the calls before their callers have said a word. What is shared costs its memory once.
The parent runs no agent and opens no connection; it is what the service manager watches,
and watches its child itself: were the manager to do that, it would kill both, and the kernels were loaded anew.
"""

import contextlib
import logging
import os
import pathlib
import select
import signal
import time
from collections.abc import Callable

from control_plane import notify
from shm import forking

log = logging.getLogger("ai_bridge")

Life = Callable[[Callable[[], None], bool], int]
"""A child's whole life: it calls what it is given as a sign of life, and returns its exit status.

True: the child before it ended by what it did itself. False: it is the first, or somebody else ended the one before.
"""

SIGN_S = 1.0
"""How often a child gives a sign of life."""
HUNG_S = 10.0
"""Longer without one, and the child is replaced: an agent blocks its whole process."""
OOM_SCORE_ADJUST = 500
"""Half of all memory: more than any other process of ours has."""
START_LIMIT_S = 300.0
"""What a child may take until its first sign: it imports the agents, and a model takes minutes to load."""
END_S = 5.0
LOOK_S = 0.5
"""How often we look at the child, and feed the watchdog if that is not wanted more often."""
QUICK_DEATHS, QUICK_S = 5, 10.0
"""More deaths than this in the time: wait a second between forks, or a bug in an agent would burn the core."""


class Parent:
    """Forks the child, and forks it again until SIGTERM."""

    def __init__(self, name: str, live: Life) -> None:
        self.name, self.live = name, live
        self.is_stopping = False
        self.deaths: list[float] = []
        self.child = 0
        self.signs = -1
        self.is_after_failure = self.was_hung = False
        self.killed_for_memory = 0

    def run(self) -> int:
        """Until SIGTERM or SIGINT; the exit status."""
        forking.settle()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        look_s = min(LOOK_S, notify.watchdog_interval_s() or LOOK_S)
        is_ready = False
        while not self.is_stopping:
            pidfd = self._fork()
            last_sign, limit_s = time.monotonic(), START_LIMIT_S
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.register(self.signs, select.POLLIN)
            while not self.is_stopping:
                ready = {fd for fd, _ in poll.poll(look_s * 1000)}
                if pidfd in ready:
                    break
                if self.signs in ready and os.read(self.signs, 64):
                    last_sign, limit_s = time.monotonic(), HUNG_S
                    if not is_ready:
                        notify.notify("READY=1")
                    is_ready = True
                elif time.monotonic() - last_sign > limit_s:
                    what = "its agents have blocked it" if limit_s == HUNG_S else "its agents have been loading"
                    log.error("%s: %s for %.0f s: it is replaced, its calls go on", self.name, what, limit_s)
                    last_sign, self.was_hung = time.monotonic(), True
                    self._signal(signal.SIGKILL)
                if is_ready:
                    notify.notify("WATCHDOG=1")  # we live: whether the child does is ours to judge, not the manager's
            status = self._bury(pidfd)
            self.is_after_failure = self._was_own_doing(status)
            if self.is_stopping:
                break
            if not is_ready:
                return status  # it never came up: what it said is the reason, and trying again would not help
            reason = f"signal {-status}" if status < 0 else f"status {status}"
            log.warning("%s ended (%s): its calls are taken over at once", self.name, reason)
            self._slow_down()
        notify.notify("STOPPING=1")
        return 0

    def _fork(self) -> int:
        self.signs, theirs = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        self.was_hung, self.killed_for_memory = False, killed_for_memory()
        self.child = os.fork()
        if self.child == 0:
            self._become_child(theirs, parent)
        os.close(theirs)
        return os.pidfd_open(self.child)

    def _become_child(self, signs: int, parent: int) -> None:
        """Never returns into the parent's code."""
        status = 1
        try:
            forking.live_with(parent)
            _go_first_without_memory()
            os.environ.pop("NOTIFY_SOCKET", None)
            status = self.live(lambda: _write(signs), self.is_after_failure)
        except BaseException:
            log.exception("%s failed", self.name)
        finally:
            logging.shutdown()
            os._exit(status)  # agents' threads, should one be stuck, do not hold up the process that takes the calls over

    def _bury(self, pidfd: int) -> int:
        if self.is_stopping:
            self._signal(signal.SIGTERM)
            ending = select.poll()
            ending.register(pidfd, select.POLLIN)
            if not ending.poll(END_S * 1000):
                self._signal(signal.SIGKILL)
        _, result = os.waitpid(self.child, 0)
        os.close(pidfd)
        os.close(self.signs)
        return os.waitstatus_to_exitcode(result)

    def _was_own_doing(self, status: int) -> bool:
        """Not where an operator, or whoever else may, has killed it."""
        is_from_outside = status in (-signal.SIGKILL, -signal.SIGTERM)
        return self.was_hung or not is_from_outside or killed_for_memory() > self.killed_for_memory

    def _slow_down(self) -> None:
        now = time.monotonic()
        self.deaths = [death for death in self.deaths if now - death < QUICK_S] + [now]
        if len(self.deaths) > QUICK_DEATHS:
            log.error("%s ended %d times in %.0f s; the next try is in a second", self.name, len(self.deaths), QUICK_S)
            time.sleep(1)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child, number)

    def _stop(self, *_: object) -> None:
        self.is_stopping = True


def _go_first_without_memory() -> None:
    """Where the machine runs out of it, the kernel ends agents and not media: another process has their calls in a moment (proc(5))."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE_ADJUST))


def _write(signs: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(signs, b".")


def killed_for_memory() -> int:
    """How many processes the kernel has ended since it started, for want of memory: it does so with SIGKILL, like anybody."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
