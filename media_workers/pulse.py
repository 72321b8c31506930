"""Whether a worker still goes round: its heartbeat, and once that has stopped, what the kernel says of the process.

A heartbeat alone cannot tell a worker that hangs from one that a busy machine does not let run: the one is to be replaced at once,
the other would be no better off replaced.
"""

import contextlib
import pathlib
from collections.abc import Callable
from typing import NamedTuple

MS = 1_000_000
SUSPECT_NS = 60 * MS
"""An idle worker goes round every 50 ms."""
LONG_CYCLE_NS = 100 * MS
"""Of CPU, since it was suspected. A worker that catches up for thousands of calls takes half of it."""
START_NS = 2_000 * MS
"""A worker that has not finished its first cycle may take this much longer."""
STOPPED = "T"


class Seen(NamedTuple):
    """What the kernel says of a process."""

    state: str
    """A letter: R runs or waits for a core, S sleeps, D waits for the disk, T was stopped by a signal."""
    cpu_ns: int


def look(pid: int) -> Seen:
    with contextlib.suppress(OSError, ValueError, IndexError):
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return Seen(state, int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]))
    return Seen("", 0)


class Pulse:
    """Of one worker, from its fork on."""

    def __init__(self, pid: int, spawned_ns: int, timeout_ns: int) -> None:
        self.pid, self.spawned_ns, self.timeout_ns = pid, spawned_ns, timeout_ns
        self.suspected_at_ns = 0
        """The heartbeat after which there was none, and the CPU time then."""
        self.cpu_ns = 0

    def why_hung(self, heartbeat_ns: int, now_ns: int, look: Callable[[int], Seen] = look) -> str:
        """In words for the log; empty: it goes round, or may not be able to."""
        silent_ns = now_ns - heartbeat_ns
        if silent_ns < SUSPECT_NS:
            return ""
        has_begun = heartbeat_ns != self.spawned_ns
        text = f"has not finished a cycle for {silent_ns / MS:.0f} ms"
        if silent_ns > self.timeout_ns + (0 if has_begun else START_NS):
            return text
        seen = look(self.pid)
        if heartbeat_ns != self.suspected_at_ns:
            self.suspected_at_ns, self.cpu_ns = heartbeat_ns, seen.cpu_ns
        if seen.state == STOPPED:
            return f"{text}: somebody has stopped it"
        if has_begun and seen.cpu_ns - self.cpu_ns > LONG_CYCLE_NS:
            return f"{text}, though it had a core for {(seen.cpu_ns - self.cpu_ns) / MS:.0f} ms of them"
        return ""
