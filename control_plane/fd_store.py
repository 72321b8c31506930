"""Descriptors that a process gave into keeping, and gets back when it is started again: systemd's FDSTORE=1."""

import fcntl
import os
import pathlib

MAX_FDS = 65_536
"""As FileDescriptorStoreMax= in the keeper's unit: two for each call and some."""
MAX_NAME_CHARACTERS = 255


class FdStore:
    """Owns what it holds. The same descriptor sent again is kept once, as systemd does it."""

    def __init__(self) -> None:
        self.held: list[tuple[str, int]] = []
        self._known: set[tuple[object, ...]] = set()

    def keep(self, name: str, fd: int) -> bool:
        """Take over `fd`. False: it was there already, or there is no room; it is closed then."""
        identity = (name, *identity_of(fd))
        if identity in self._known or len(self.held) >= MAX_FDS:
            os.close(fd)
            return False
        self._known.add(identity)
        self.held.append((name, fd))
        return True

    def remove(self, name: str) -> None:
        for held_name, fd in self.held:
            if held_name == name:
                os.close(fd)
        self.held = [pair for pair in self.held if pair[0] != name]
        self._known = {identity for identity in self._known if identity[0] != name}

    def clear(self) -> None:
        for _, fd in self.held:
            os.close(fd)
        self.held, self._known = [], set()


def identity_of(fd: int) -> tuple[object, ...]:
    """What tells whether two descriptors mean the same thing. kcmp(2) would say, but containers forbid it."""
    status = os.fstat(fd)
    identity: tuple[object, ...] = (status.st_dev, status.st_ino, fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE)
    if not os.readlink(f"/proc/self/fd/{fd}").startswith("anon_inode:"):
        return identity
    # All eventfds have one inode, so the kernel numbers them elsewhere; of other kinds, each counts as different.
    for line in pathlib.Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        if line.startswith("eventfd-id:"):
            return (*identity, line)
    return (*identity, object())


def clean_name(name: str) -> str:
    """A name that LISTEN_FDNAMES can carry; "stored" stands for one that it cannot, as with systemd."""
    is_good = 0 < len(name) <= MAX_NAME_CHARACTERS and ":" not in name and name.isprintable()
    return name if is_good else "stored"
