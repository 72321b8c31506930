"""Where call records are kept: a file (SQLite) or a server (PostgreSQL), behind the same few words. They wait, so they have a thread."""

import pathlib
import sqlite3
from typing import Protocol

from control_plane import records
from control_plane.errors import BellframeError
from control_plane.http_config import Records
from control_plane.messages import CallFacts


class StoreFailed(BellframeError):
    """It is away, full or refuses: the same may work later."""


class Store(Protocol):
    """Used by one thread at a time. Every method may raise StoreFailed, and then begins anew the next time."""

    @property
    def name(self) -> str:
        """For people, without a password."""

    def insert(self, calls: list[CallFacts]) -> None:
        """All or none; those that are there already stay as they are."""

    def prune(self, days: int) -> int: ...
    def read(self, since: float, limit: int, tenant: str | None) -> list[CallFacts]: ...
    def find(self, call_id: str) -> CallFacts | None: ...
    def close(self) -> None: ...


def make_store(config: Records) -> Store | None:
    """None: no records are kept. Raises ConfigurationError."""
    if config.file:
        return SqliteStore(pathlib.Path(config.file))
    if config.has_url:
        from control_plane.postgres import PostgresStore  # asyncpg is there only where it is asked for

        return PostgresStore(config.read_url())
    return None


class SqliteStore:
    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.database: sqlite3.Connection | None = None

    @property
    def name(self) -> str:
        return str(self.path)

    def insert(self, calls: list[CallFacts]) -> None:
        try:
            records.insert(self._open(), calls)
        except (sqlite3.Error, OSError) as failure:
            self.close()
            raise StoreFailed(str(failure)) from failure

    def prune(self, days: int) -> int:
        try:
            return records.prune(self._open(), days)
        except (sqlite3.Error, OSError) as failure:
            self.close()
            raise StoreFailed(str(failure)) from failure

    def _open(self) -> sqlite3.Connection:
        self.database = self.database or records.open_to_write(self.path)
        return self.database

    def read(self, since: float, limit: int, tenant: str | None) -> list[CallFacts]:
        """Of a file that another process may be writing. Raises ConfigurationError if there is none."""
        database = records.open_to_read(self.path)
        try:
            return records.read(database, since, limit, tenant)
        except sqlite3.Error as failure:
            raise StoreFailed(f"{self.path} cannot be read: {failure}") from failure
        finally:
            database.close()

    def find(self, call_id: str) -> CallFacts | None:
        if not self.path.is_file():
            return None
        database = records.open_to_read(self.path)
        try:
            return records.find(database, call_id)
        except sqlite3.Error:
            return None
        finally:
            database.close()

    def close(self) -> None:
        if self.database is not None:
            self.database.close()
            self.database = None
