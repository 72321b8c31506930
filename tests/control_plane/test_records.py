"""The table of call records."""

import os
import pathlib
import sqlite3
import stat

import msgspec
import pytest

from control_plane import records
from control_plane.errors import ConfigurationError
from control_plane.messages import CallFacts

CALL = CallFacts(
    "c-1", "ended", "outbound", "+491", "+492", "menu", 1000.0, 12.0, format="PCMU", worker=1, trunk="carrier", cause="the far end hung up",
    outcome="answered", status=200, rang_at=1001.0, answered_at=1003.0, ended_at=1012.0,
    counters={"packets_received": 450, "lost": 2, "jitter_us": 1_500, "mos_mean_x100": 420},
)  # fmt: skip


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "calls.db"


@pytest.fixture
def database(path: pathlib.Path) -> sqlite3.Connection:
    return records.open_to_write(path)


def calls(count: int) -> list[CallFacts]:
    return [msgspec.structs.replace(CALL, call_id=f"c-{i}", started_at=1000.0 + i) for i in range(count)]


def test_a_call_is_a_row_that_sql_can_ask(database: sqlite3.Connection, path: pathlib.Path) -> None:
    records.insert(database, [CALL])
    columns = "outcome, status, post_dial_s, setup_s, talk_s, trunk, lost, jitter_ms, mos, late, cause"
    (row,) = database.execute(f"SELECT {columns} FROM calls")
    assert row == ("answered", 200, 1.0, 3.0, 9.0, "carrier", 2, 1.5, 4.2, None, "the far end hung up")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "who called whom is for us alone"


def test_what_a_call_did_not_come_to_is_null(database: sqlite3.Connection) -> None:
    records.insert(database, [msgspec.structs.replace(CALL, rang_at=0.0, answered_at=0.0, counters={}, outcome="busy", status=486)])
    assert database.execute("SELECT rang_at, post_dial_s, setup_s, talk_s, lost FROM calls").fetchone() == (None,) * 5


def test_the_same_call_twice_is_one_row_and_what_is_written_is_read_back(database: sqlite3.Connection, path: pathlib.Path) -> None:
    records.insert(database, [CALL, CALL])
    records.insert(database, [CALL])
    reader = records.open_to_read(path)
    assert records.read(reader) == [CALL] and records.find(reader, "c-1") == CALL and records.find(reader, "none") is None
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM calls")


def test_the_last_since_a_time_are_read_oldest_first(database: sqlite3.Connection) -> None:
    records.insert(database, calls(10))
    assert [call.call_id for call in records.read(database, since=1005.0, limit=3)] == ["c-7", "c-8", "c-9"]


def test_old_rows_go_in_parts(database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "PRUNED_AT_ONCE", 3)
    records.insert(database, calls(10))
    assert records.prune(database, 1, now=1008.0 + records.DAY_S) == 8
    assert [call.call_id for call in records.read(database)] == ["c-8", "c-9"]


def test_all_of_a_batch_or_nothing(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA max_page_count = 12")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        records.insert(database, calls(1000))
    assert records.read(database) == [] and not database.in_transaction


def test_a_table_of_another_release_is_left_alone(database: sqlite3.Connection, path: pathlib.Path) -> None:
    database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(sqlite3.DatabaseError, match=r"name another records\.file"):
        records.open_to_write(path)
    assert os.path.getsize(path) > 0


def test_where_there_is_none_it_says_so(path: pathlib.Path) -> None:
    with pytest.raises(ConfigurationError, match="begins with the first call"):
        records.open_to_read(path)


def test_the_rows_of_one_tenant(database: sqlite3.Connection) -> None:
    records.insert(database, [msgspec.structs.replace(call, tenant=("acme", "")[i % 2]) for i, call in enumerate(calls(4))])
    assert [call.call_id for call in records.read(database, tenant="acme")] == ["c-0", "c-2"]
    assert database.execute("SELECT count(*) FROM calls WHERE tenant = 'acme'").fetchone() == (2,)


def test_a_file_of_the_release_before_gets_what_is_new(path: pathlib.Path) -> None:
    database = records.open_to_write(path)
    records.insert(database, [CALL])
    database.executescript("ALTER TABLE calls DROP COLUMN tenant; PRAGMA user_version = 1;")
    database.close()
    again = records.open_to_write(path)
    records.insert(again, [msgspec.structs.replace(CALL, call_id="c-2", tenant="acme")])
    assert again.execute("SELECT call_id, tenant FROM calls ORDER BY call_id").fetchall() == [("c-1", None), ("c-2", "acme")]
    assert records.read(again, tenant="acme")[0].call_id == "c-2"
