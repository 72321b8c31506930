"""Call records in a PostgreSQL that is real, goes away, and comes back."""

import logging
import pathlib
import signal
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from control_plane import records
from control_plane.command import main
from control_plane.config import load
from control_plane.errors import ConfigurationError
from control_plane.http import recorder
from control_plane.http.recorder import Writer
from control_plane.http_config import Records, check_records
from control_plane.postgres import PostgresStore, schema
from control_plane.record_store import SqliteStore, StoreFailed, make_store
from control_plane.secret import Secret
from tests.control_plane.test_records import CALL, calls
from tests.postgres import PASSWORD, Postgres

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    server = Postgres()
    try:
        yield server
    finally:
        server.discard()


@pytest.fixture
def store(server: Postgres) -> Iterator[PostgresStore]:
    if server.process is None:
        server.start()
    store = PostgresStore(server.url)
    store._run(lambda: store.connection.execute("DROP TABLE calls"))
    store.close()
    yield store
    store.close()


def asked(store: PostgresStore, query: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in store._run(lambda: store.connection.fetch(query))]


def until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_row_has_the_columns_and_the_values_that_sqlite_has(store: PostgresStore, tmp_path: pathlib.Path) -> None:
    told = [CALL, msgspec.structs.replace(CALL, call_id="c-2", rang_at=0.0, answered_at=0.0, counters={}, tenant="acme")]
    store.insert(told)
    database = records.open_to_write(tmp_path / "calls.db")
    records.insert(database, told)
    names = ", ".join(records.COLUMNS)
    query = f"SELECT {names} FROM calls ORDER BY call_id"
    assert asked(store, query) == database.execute(query).fetchall()
    found = {str(name) for (name,) in asked(store, "SELECT column_name FROM information_schema.columns WHERE table_name = 'calls'")}
    assert found == set(records.COLUMNS)


def test_the_same_call_twice_is_one_row(store: PostgresStore) -> None:
    store.insert([CALL, CALL])
    store.insert([CALL])
    assert asked(store, "SELECT count(*) FROM calls") == [(1,)] and store.find("c-1") == CALL and store.find("none") is None


def test_what_is_written_is_read_back_by_time_and_tenant(store: PostgresStore) -> None:
    store.insert([msgspec.structs.replace(call, tenant=("acme", "")[i % 2]) for i, call in enumerate(calls(10))])
    assert [call.call_id for call in store.read(1005.0, 3, None)] == ["c-7", "c-8", "c-9"]
    assert [call.call_id for call in store.read(0.0, 100, "acme")] == ["c-0", "c-2", "c-4", "c-6", "c-8"]


def test_old_rows_go(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control_plane.postgres.PRUNED_AT_ONCE", 3)
    now = time.time()
    store.insert([*calls(8), msgspec.structs.replace(CALL, call_id="new", started_at=now)])
    assert store.prune(1) == 8 and [call.call_id for call in store.read(0.0, 10, None)] == ["new"]


def test_what_far_ends_write_does_not_stop_it(store: PostgresStore) -> None:
    store.insert([msgspec.structs.replace(CALL, caller="a\0b", cause="'; DROP TABLE calls; --")])
    assert asked(store, "SELECT caller, cause FROM calls") == [("ab", "'; DROP TABLE calls; --")]


def test_a_table_of_the_release_before_gets_what_is_new(store: PostgresStore) -> None:
    store.insert([CALL])
    asked(store, "ALTER TABLE calls DROP COLUMN tenant")
    store.close()
    store.insert([msgspec.structs.replace(CALL, call_id="c-2", tenant="acme")])
    assert asked(store, "SELECT call_id, tenant FROM calls ORDER BY 1") == [("c-1", None), ("c-2", "acme")]
    assert "tenant TEXT" in schema()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
def test_while_it_is_away_rows_wait_and_all_are_there_once_it_is_back(
    how: signal.Signals, server: Postgres, store: PostgresStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(recorder, "FIRST_REST_S", 0.05)
    monkeypatch.setattr(recorder, "LONGEST_REST_S", 0.2)
    monkeypatch.setattr(recorder, "MAX_WAITING", 700)
    writer = Writer(PostgresStore(server.url), 100_000)
    writer.start()
    told = calls(1200)
    writer.put(tuple(told[:100]))
    until(lambda: writer.written == 100)
    server.stop(how)
    before = time.monotonic()
    writer.put(tuple(told[100:]))
    assert time.monotonic() - before < 0.5, "nobody waits for it"
    until(lambda: writer.has_complained)
    assert (len(writer.waiting), writer.dropped) == (700, 400)
    server.start()
    until(lambda: writer.written == 800)
    writer.close(5)
    assert not writer.is_alive() and asked(store, "SELECT count(*), count(DISTINCT call_id) FROM calls") == [(800, 800)]
    assert caplog.text.count("call records cannot be written to postgresql://127.0.0.1") == 1 and PASSWORD not in caplog.text
    assert "call records are written again; 400 were dropped" in caplog.text


def test_what_it_refuses_is_said_without_the_password(server: Postgres, store: PostgresStore) -> None:
    wrong = PostgresStore(server.url.replace(PASSWORD, "wrong-one"))
    with pytest.raises(StoreFailed, match="password authentication failed") as refused:
        wrong.insert([CALL])
    assert "wrong-one" not in str(refused.value) and "wrong-one" not in wrong.name and wrong.find("c-1") is None
    wrong.close()


def test_the_command_reads_it(server: Postgres, store: PostgresStore, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.insert(calls(2))
    (tmp_path / "url").write_text(f"{server.url}\n")
    (tmp_path / "config.json").write_text(f'{{"records": {{"url_file": "{tmp_path}/url"}}, "runtime_directory": "{tmp_path}"}}')
    assert load(tmp_path / "config.json").needs_http
    assert main(["records", "--runtime-dir", str(tmp_path)]) == 0
    assert "c-0" in (output := capsys.readouterr().out) and "c-1" in output


def test_which_store_a_configuration_means(tmp_path: pathlib.Path) -> None:
    assert make_store(Records()) is None
    assert isinstance(make_store(Records(file=str(tmp_path / "calls.db"))), SqliteStore)
    assert isinstance(make_store(Records(url=Secret("postgresql://a@b/c"))), PostgresStore)
    for wrong, why in (
        (Records(file="/a", url=Secret("postgresql://a@b/c")), "places for the same rows"),
        (Records(url=Secret("mysql://a:hush@b/c")), "does not begin with postgresql://"),
    ):
        with pytest.raises(ConfigurationError, match=why) as refused:
            check_records(wrong)
        assert "hush" not in str(refused.value)
    with pytest.raises(StoreFailed):
        SqliteStore(tmp_path).insert([CALL])
