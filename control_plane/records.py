"""Call records: a row for each call that has ended, in SQLite. Here is the table; who writes it is http/recorder.py."""

import os
import pathlib
import re
import sqlite3
import time

import msgspec

from control_plane.errors import ConfigurationError
from control_plane.messages import CallFacts

VERSION = 2
BUSY_LIMIT_S = 2.0
PRUNED_AT_ONCE = 5_000
DAY_S = 86_400
SCHEMA = """
CREATE TABLE calls (
    call_id TEXT NOT NULL, started_at REAL NOT NULL, rang_at REAL, answered_at REAL, ended_at REAL,
    post_dial_s REAL, setup_s REAL, talk_s REAL,
    direction TEXT, trunk TEXT, caller TEXT, callee TEXT, agent TEXT,
    outcome TEXT, status INTEGER, cause TEXT,
    format TEXT, worker INTEGER, remote TEXT, sip_call_id TEXT,
    packets_received INTEGER, packets_sent INTEGER, lost INTEGER, late INTEGER, concealed_frames INTEGER, jitter_ms REAL, mos REAL,
    facts TEXT NOT NULL, tenant TEXT,
    PRIMARY KEY (call_id, started_at)
) WITHOUT ROWID;
CREATE INDEX calls_by_time ON calls (started_at);
"""
COLUMNS = (
    "call_id", "started_at", "rang_at", "answered_at", "ended_at", "post_dial_s", "setup_s", "talk_s",
    "direction", "trunk", "caller", "callee", "agent", "outcome",
    "status", "cause", "format", "worker", "remote", "sip_call_id",
    "packets_received", "packets_sent", "lost", "late", "concealed_frames", "jitter_ms", "mos", "facts", "tenant",
)  # fmt: skip
KEY = ("call_id", "started_at")
INSERT = f"INSERT OR IGNORE INTO calls ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"


def open_to_write(path: pathlib.Path) -> sqlite3.Connection:
    """Made if it is not there, readable by us alone. Raises sqlite3.Error and OSError."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(path, timeout=BUSY_LIMIT_S, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last rows, never the file
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == 0:
        database.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    elif version == 1:
        database.executescript(f"BEGIN; ALTER TABLE calls ADD COLUMN tenant TEXT; PRAGMA user_version = {VERSION}; COMMIT;")
    elif version != VERSION:
        raise sqlite3.DatabaseError(f"it has version {version} and this release writes {VERSION}: name another records.file")
    return database


def open_to_read(path: pathlib.Path) -> sqlite3.Connection:
    """Raises ConfigurationError if there is none."""
    if not path.is_file():
        raise ConfigurationError(f"records.file: there is no {path} yet; it begins with the first call that ends")
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_LIMIT_S)


def insert(database: sqlite3.Connection, calls: list[CallFacts]) -> None:
    """All or none; those that are there already stay as they are. Raises sqlite3.Error."""
    database.execute("BEGIN")
    try:
        database.executemany(INSERT, [row_of(call) for call in calls])
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def row_of(call: CallFacts) -> tuple[object, ...]:
    """As COLUMNS. What it did not come to is NULL."""
    counted, began = call.counters, call.started_at
    return (
        call.call_id, began, call.rang_at or None, call.answered_at or None, call.ended_at,
        call.rang_at - began if call.rang_at else None,
        call.answered_at - began if call.answered_at else None,
        call.ended_at - call.answered_at if call.answered_at else None,
        call.direction, call.trunk, call.caller, call.callee, call.agent, call.outcome,
        call.status, call.cause, call.format, call.worker, call.remote, call.sip_call_id,
        *(counted.get(name) for name in ("packets_received", "packets_sent", "lost", "late", "concealed_frames")),
        counted["jitter_us"] / 1000 if "jitter_us" in counted else None,
        counted["mos_mean_x100"] / 100 if counted.get("mos_mean_x100") else None,
        msgspec.json.encode(call).decode(), call.tenant,
    )  # fmt: skip


def read(database: sqlite3.Connection, since: float = 0.0, limit: int = 1_000, tenant: str | None = None) -> list[CallFacts]:
    """The last `limit` since then, oldest first. `tenant` None: of all."""
    whose = "" if tenant is None else "AND tenant = ?"
    values = (since, limit) if tenant is None else (since, tenant, limit)
    rows = database.execute(f"SELECT facts FROM calls WHERE started_at >= ? {whose} ORDER BY started_at DESC LIMIT ?", values)
    return [msgspec.json.decode(text, type=CallFacts) for (text,) in rows][::-1]


def find(database: sqlite3.Connection, call_id: str) -> CallFacts | None:
    row = database.execute("SELECT facts FROM calls WHERE call_id = ? ORDER BY started_at DESC LIMIT 1", (call_id,)).fetchone()
    return msgspec.json.decode(row[0], type=CallFacts) if row else None


def column_types() -> dict[str, str]:
    """TEXT, REAL or INTEGER, by name, in the order of COLUMNS."""
    words = re.findall(r"(\w+) (TEXT|REAL|INTEGER)\b", SCHEMA)
    return {name: dict(words)[name] for name in COLUMNS}


def oldest(days: int, now: float | None = None) -> float:
    """What began before is deleted."""
    return (time.time() if now is None else now) - days * DAY_S


def prune(database: sqlite3.Connection, days: int, now: float | None = None) -> int:
    """Delete what is older, in parts, so that nobody waits for long. How many."""
    before, deleted = oldest(days, now), 0
    while True:
        (edge,) = database.execute(
            "SELECT max(started_at) FROM (SELECT started_at FROM calls WHERE started_at < ? ORDER BY started_at LIMIT ?)",
            (before, PRUNED_AT_ONCE),
        ).fetchone()
        if edge is None:
            return deleted
        deleted += database.execute("DELETE FROM calls WHERE started_at <= ?", (edge,)).rowcount
