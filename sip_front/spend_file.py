"""The file that the toll guard's sums are kept in, whatever ends the front."""

import logging
import os
import pathlib

import msgspec

from sip_front.toll_guard import Spent

log = logging.getLogger("toll")


class SpendFile:
    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.has_failed = False

    def read(self) -> Spent:
        """One that cannot be read counts as nothing spent, and is said."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Spent)
        except FileNotFoundError:
            return Spent()
        except (OSError, msgspec.DecodeError) as failure:
            log.error("%s cannot be read (%s): what was spent today counts from 0", self.path, failure)
            return Spent()

    def write(self, spent: Spent) -> None:
        """In place of the one before, whole or not at all. A disk that refuses ends no call; it is said once, until it works again."""
        fresh = self.path.with_name(self.path.name + ".new")
        try:
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(msgspec.json.encode(spent))
            os.replace(fresh, self.path)
            self.has_failed = False
        except OSError as failure:
            if not self.has_failed:
                self.has_failed = True
                log.error("%s cannot be written (%s): after a restart the day's spending would count from before", self.path, failure)
