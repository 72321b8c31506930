"""Call records in PostgreSQL: the table of records.py, in a database of yours, by asyncpg (`pip install 'bellframe[postgres]'`)."""

import asyncio
import contextlib
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from control_plane import records
from control_plane.errors import ConfigurationError
from control_plane.messages import CallFacts
from control_plane.record_store import StoreFailed

try:
    import asyncpg
except ImportError as missing:
    raise ConfigurationError("records.url: PostgreSQL needs asyncpg: pip install 'bellframe[postgres]'") from missing

CONNECT_LIMIT_S, COMMAND_LIMIT_S = 5.0, 15.0
PRUNED_AT_ONCE = 5_000
TYPES = {"TEXT": "TEXT", "REAL": "DOUBLE PRECISION", "INTEGER": "BIGINT"}
MARKS = ", ".join(f"${number}" for number in range(1, len(records.COLUMNS) + 1))
INSERT = f"INSERT INTO calls ({', '.join(records.COLUMNS)}) VALUES ({MARKS}) ON CONFLICT DO NOTHING"
Result = TypeVar("Result")


def schema() -> str:
    """The same columns as SQLite's, in PostgreSQL's words; one that an older release did not have is added."""
    columns = records.column_types()
    lines = [f"{name} {TYPES[kind]}{' NOT NULL' if name in records.KEY or name == 'facts' else ''}" for name, kind in columns.items()]
    table = f"CREATE TABLE IF NOT EXISTS calls ({', '.join(lines)}, PRIMARY KEY ({', '.join(records.KEY)}))"
    added = "ALTER TABLE calls ADD COLUMN IF NOT EXISTS tenant TEXT"
    index = "CREATE INDEX IF NOT EXISTS calls_by_time ON calls (started_at)"
    return f"{table}; {added}; {index}"


class PostgresStore:
    """Has an event loop of its own: it is used by threads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.runner: asyncio.Runner | None = None
        self.connection: Any = None

    @property
    def name(self) -> str:
        parts = urlsplit(self.url)
        return f"postgresql://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"

    def insert(self, calls: list[CallFacts]) -> None:
        rows = [tuple(_plain(value) for value in records.row_of(call)) for call in calls]
        self._run(lambda: self._insert(rows))

    async def _insert(self, rows: list[tuple[object, ...]]) -> None:
        async with self.connection.transaction():
            await self.connection.executemany(INSERT, rows)

    def prune(self, days: int) -> int:
        return int(self._run(lambda: self._prune(records.oldest(days))))

    async def _prune(self, before: float) -> int:
        deleted, count = 0, PRUNED_AT_ONCE
        while count == PRUNED_AT_ONCE:
            inner = "SELECT ctid FROM calls WHERE started_at < $1 LIMIT $2"
            status = await self.connection.execute(f"DELETE FROM calls WHERE ctid IN ({inner})", before, PRUNED_AT_ONCE)
            count = int(status.split()[-1])
            deleted += count
        return deleted

    def read(self, since: float, limit: int, tenant: str | None) -> list[CallFacts]:
        whose = "" if tenant is None else "AND tenant = $3"
        query = f"SELECT facts FROM calls WHERE started_at >= $1 {whose} ORDER BY started_at DESC LIMIT $2"
        values = (since, limit) if tenant is None else (since, limit, tenant)
        rows = self._run(lambda: self.connection.fetch(query, *values))
        return [msgspec.json.decode(row[0], type=CallFacts) for row in rows][::-1]

    def find(self, call_id: str) -> CallFacts | None:
        query = "SELECT facts FROM calls WHERE call_id = $1 ORDER BY started_at DESC LIMIT 1"
        other = PostgresStore(self.url)  # the writer's own connection is another thread's
        try:
            row = other._run(lambda: other.connection.fetchrow(query, call_id))
        except StoreFailed:
            return None
        finally:
            other.close()
        return msgspec.json.decode(row[0], type=CallFacts) if row else None

    def _run(self, work: Any) -> Any:
        """`work` makes what is awaited, on an open connection. Raises StoreFailed."""
        self.runner = self.runner or asyncio.Runner()
        try:
            return self.runner.run(self._with_connection(work))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as failure:
            self.close()
            raise StoreFailed(str(failure) or type(failure).__name__) from failure

    async def _with_connection(self, work: Any) -> Any:
        if self.connection is None or self.connection.is_closed():
            self.connection = await asyncpg.connect(self.url, timeout=CONNECT_LIMIT_S, command_timeout=COMMAND_LIMIT_S)
            await self.connection.execute(schema())
        return await work()

    def close(self) -> None:
        connection, self.connection = self.connection, None
        if self.runner is not None:
            if connection is not None:
                with contextlib.suppress(Exception):  # it may be gone already
                    self.runner.run(_close(connection))
            self.runner.close()
            self.runner = None


async def _close(connection: Any) -> None:
    await connection.close(timeout=1.0)


def _plain(value: object) -> object:
    """PostgreSQL takes no NUL in text, and nothing that is not UTF-8: far ends write what they like."""
    return value.encode("utf-8", "replace").decode().replace("\0", "") if isinstance(value, str) else value
