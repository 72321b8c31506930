"""The file that the journal is kept in: beside the sockets of our processes, in memory, for its owner only.

What is written has left the process when `append` returns: it outlives SIGKILL, and no disk is waited for.
"""

import logging
import os
import pathlib
from collections.abc import Callable, Iterable

from sip_front import journal
from sip_front.journal import Entry, Left

log = logging.getLogger("front")
BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id")
SHORTEN_AT_BYTES = 4 << 20
"""And when it is four times as long as what it says: a thousand calls are two megabytes."""
TIMES = 4


class JournalFile:
    """`everything`: the entries of a journal as short as it can be."""

    def __init__(self, path: pathlib.Path, everything: Callable[[str], Iterable[Entry]]) -> None:
        self.path, self.everything = path, everything
        self.boot_id = boot_id()
        self.fd = -1
        self.size = self.shortest = 0
        self.has_failed = False

    def read(self) -> tuple[int, list[Left]]:
        """What the front before left: its number and its calls. (0, []) if it left nothing."""
        try:
            octets = self.path.read_bytes()
        except FileNotFoundError:
            return 0, []
        except OSError as failure:
            log.error("the calls of the front before are lost: %s cannot be read: %s", self.path, failure.strerror)
            return 0, []
        return journal.last_of_each(journal.read(octets), self.boot_id)

    def begin(self) -> None:
        """A file anew, in place of the one that is there."""
        octets = b"".join(map(journal.write, self.everything(self.boot_id)))
        fresh = self.path.with_name(self.path.name + ".new")
        self.close()
        try:
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as failure:
            self._fail(failure)
            return
        self.fd, self.size = fd, 0
        self._write(octets)
        if self.fd >= 0:
            os.replace(fresh, self.path)
            self.shortest, self.has_failed = self.size, False

    def append(self, entries: list[Entry]) -> None:
        """Before what they tell of is sent."""
        if self.fd < 0:
            self.begin()  # there was no room: is there now? It says everything, these entries too
            return
        self._write(b"".join(map(journal.write, entries)))
        if self.size > max(SHORTEN_AT_BYTES, TIMES * self.shortest):
            self.begin()

    def remove(self) -> None:
        """All calls have ended well: there is nothing to go on with."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _write(self, octets: bytes) -> None:
        try:
            written = os.write(self.fd, octets) if octets else 0
            if written < len(octets):
                raise OSError(None, "no space left", str(self.path))
            self.size += written
        except OSError as failure:
            self._fail(failure)

    def _fail(self, failure: OSError) -> None:
        """Calls go on; they would end with this process. Said once, until it works again."""
        self.close()
        if not self.has_failed:
            self.has_failed = True
            log.error("the journal %s cannot be written (%s): calls would not outlive the front", self.path, failure.strerror)


def boot_id() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
