"""Every call leaves one record, whatever the front, the network between and the disk do. Waiting is for threads only, and bounded."""

import asyncio
import pathlib
import sqlite3
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest
import zmq

from control_plane import records
from control_plane.http import recorder
from control_plane.http.link import Link
from control_plane.http.recorder import Recorder, Writer
from control_plane.messages import EndedCalls, Failed, GetEnded, Message
from control_plane.record_store import SqliteStore
from tests.control_plane.test_client import Exchange
from tests.control_plane.test_records import CALL, calls


def until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "calls.db"


@pytest.fixture
def writer(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    monkeypatch.setattr(recorder, "FIRST_REST_S", 0.01)
    made = Writer(SqliteStore(path), 100_000)
    yield made
    made.close(5)
    assert not made.is_alive()


def written(path: pathlib.Path) -> list[str]:
    database = records.open_to_read(path)
    try:
        return [call.call_id for call in records.read(database)]
    finally:
        database.close()


def test_what_is_put_is_written_and_the_rest_at_the_end(path: pathlib.Path, writer: Writer) -> None:
    writer.start()
    writer.put(tuple(calls(1200)))
    writer.close(5)
    assert (writer.written, writer.dropped, len(writer.waiting)) == (1200, 0, 0) and len(written(path)) == 1000


class FullDisk:
    """The table's own limit of pages: SQLite says what it says when a disk is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full, self.opened = True, records.open_to_write
        monkeypatch.setattr(records, "open_to_write", self)

    def __call__(self, path: pathlib.Path) -> sqlite3.Connection:
        database = self.opened(path)
        if self.is_full:
            database.execute("PRAGMA max_page_count = 5")
        return database


def test_a_full_disk_is_said_once_holds_nobody_up_and_is_forgotten_when_it_has_room(
    path: pathlib.Path, writer: Writer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(recorder, "MAX_WAITING", 300)
    disk = FullDisk(monkeypatch)
    writer.start()
    before = time.monotonic()
    writer.put(tuple(calls(1000)))
    assert time.monotonic() - before < 0.5 and (len(writer.waiting), writer.dropped) == (300, 700)
    until(lambda: writer.rest_s > 0.05)
    assert caplog.text.count("call records cannot be written") == 1 and "full" in caplog.text
    disk.is_full = False
    until(lambda: not writer.waiting)
    until(lambda: not writer.has_complained)
    assert len(written(path)) == 300 and "call records are written again; 700 were dropped" in caplog.text


def test_a_disk_that_hangs_is_left_behind(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_hanging = True

    def hang(_path: pathlib.Path) -> sqlite3.Connection:
        until(lambda: not is_hanging)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(records, "open_to_write", hang)
    writer = Writer(SqliteStore(path), 1)
    writer.start()
    writer.put((CALL,))
    before = time.monotonic()
    writer.close(0.05)
    assert writer.daemon and writer.is_alive() and time.monotonic() - before < 1
    is_hanging = False
    writer.join(5)


class EndingFront:
    """Remembers the last 20 of the calls that ended, and names 5 at a time."""

    def __init__(self, count: int) -> None:
        self.front, self.ended = 1, calls(count)

    def __call__(self, message: Message) -> list[Message]:
        if not isinstance(message, GetEnded):
            return [Failed("?")]
        first = max(message.after, len(self.ended) - 20)
        found = tuple(self.ended[first : first + 5])
        return [EndedCalls(self.front, found, first + len(found), first - min(message.after, first))]


def record(directory: pathlib.Path, front: EndingFront, steps: list[Callable[[Recorder], None]]) -> Recorder:
    async def run() -> Recorder:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        link = Link(context, directory)
        made = Recorder(link, SqliteStore(directory / "calls.db"), 100_000)
        made.writer.start()
        for step in steps:
            step(made)
            await made.ask()
        await made.close()
        link.close()
        context.term()
        return made

    exchange = Exchange(directory, front)
    try:
        return asyncio.run(run())
    finally:
        exchange.close()


def nothing(_recorder: Recorder) -> None:
    return None


def test_all_that_ended_is_asked_for_page_by_page(tmp_path: pathlib.Path, path: pathlib.Path) -> None:
    made = record(tmp_path, EndingFront(12), [nothing, nothing])
    assert len(written(path)) == 12 and made.after == 12


def test_what_came_as_an_event_is_not_written_again(tmp_path: pathlib.Path, path: pathlib.Path) -> None:
    def event(made: Recorder) -> None:
        made.take(CALL)
        made.take(msgspec.structs.replace(CALL, call_id="up", state="up"))

    front = EndingFront(3)
    front.ended[1] = CALL
    assert record(tmp_path, front, [event]).writer.written == 3 and "up" not in written(path)


def test_another_front_counts_from_the_beginning(tmp_path: pathlib.Path, path: pathlib.Path) -> None:
    front = EndingFront(3)

    def replace(_recorder: Recorder) -> None:
        front.front, front.ended = 2, [msgspec.structs.replace(call, call_id=f"new-{call.call_id}") for call in calls(2)]

    record(tmp_path, front, [nothing, replace])
    assert set(written(path)) == {"c-0", "c-1", "c-2", "new-c-0", "new-c-1"}


def test_what_the_front_forgot_meanwhile_is_counted(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    front = EndingFront(3)

    def many(_recorder: Recorder) -> None:
        front.ended += [msgspec.structs.replace(call, call_id=f"more-{call.call_id}") for call in calls(40)]

    made = record(tmp_path, front, [nothing, many])
    assert made.writer.dropped == 20 and "20 calls ended and were forgotten" in caplog.text


def test_a_record_is_found_again(tmp_path: pathlib.Path, path: pathlib.Path) -> None:
    made = record(tmp_path, EndingFront(3), [nothing])
    assert (found := asyncio.run(made.find("c-2"))) is not None and found.call_id == "c-2"
    assert asyncio.run(made.find("none")) is None

