"""Server-sent events: what comes, for whom, and that who does not read is left."""

import asyncio
import json
import pathlib
from collections.abc import Iterator

import pytest

from control_plane.http import events
from control_plane.http.events import as_events
from control_plane.messages import CallChanged, Calls, Done, Failed, GetCall, GetCalls, Message, Noted, SipTraced, Watch
from shm.counters import CALL_COLUMN, counters_bytes, counters_format
from tests.control_plane.http.front import CALL, Front, running
from tests.control_plane.test_client import Exchange


class WatchedFront(Front):
    """Shows something to whoever watches."""

    def __init__(self) -> None:
        super().__init__()
        self.watches: list[Watch] = []

    def __call__(self, message: Message) -> list[Message]:
        if isinstance(message, Watch):
            self.watches.append(message)
            return [Done(), SipTraced("c-1", 1, False, "INVITE", "192.0.2.1:5060"), Noted("c-1", 2, "heard", "yes"), CallChanged(CALL)]
        return super().__call__(message)


@pytest.fixture
def watched(tmp_path: pathlib.Path) -> Iterator[WatchedFront]:
    replies = WatchedFront()
    exchange = Exchange(tmp_path, replies)
    yield replies
    exchange.close()


def test_a_stream_begins_with_what_is_up_and_goes_on_with_what_happens(tmp_path: pathlib.Path, watched: WatchedFront) -> None:
    async def run() -> list[tuple[str, str]]:
        async with running(tmp_path) as (client, services):
            response = await client.get("/v1/events?call_id=c-1")
            assert response.headers["Content-Type"] == "text/event-stream" and services.streams == 1
            found = []
            while len(found) < 4:
                kind = (await response.content.readuntil(b"\n")).decode().strip().removeprefix("event: ")
                data = json.loads((await response.content.readuntil(b"\n\n")).decode().removeprefix("data: "))
                found.append((kind, data["call_id"]))
            response.close()
            while services.streams:
                await asyncio.sleep(0.01)
            return found

    assert asyncio.run(run()) == [("sip", "c-1"), ("note", "c-1"), ("call", "c-1"), ("call", "c-1")]
    assert watched.watches[0] == Watch("c-1", "all")


def test_streams_are_bounded_and_say_what_they_take(tmp_path: pathlib.Path, front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_STREAMS", 1)

    async def run() -> list[int]:
        async with running(tmp_path) as (client, _):
            first = await client.get("/v1/events?what=calls")
            await first.content.readuntil(b"\n\n")
            second = await client.get("/v1/events")
            wrong = await client.get("/v1/events?what=everything")
            first.close()
            return [first.status, second.status, wrong.status]

    assert asyncio.run(run()) == [200, 503, 400]


def test_the_loudness_of_one_call_comes_with_its_events(tmp_path: pathlib.Path, front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LEVELS_S", 0.01)

    async def run() -> list[float]:
        async with running(tmp_path) as (client, services):
            views = counters_format(bytearray(counters_bytes(1, 2)), 1, 2)
            views.calls[1]["call_id"], views.calls[1]["counters"][CALL_COLUMN["level_rx_dbov"]] = b"c-1", -17
            services.media.adopt(views)
            found: list[float] = []
            response = await client.get("/v1/events?call_id=c-1&levels=true")
            while len(found) < 2:
                event = (await response.content.readuntil(b"\n\n")).decode()
                if event.startswith("event: levels"):
                    found.append(json.loads(event.partition("data: ")[2])["rx_dbov"])
            response.close()
            return found

    assert asyncio.run(run()) == [-17, -17]


def test_what_is_an_event() -> None:
    assert as_events(Calls((CALL, CALL)))[0].startswith(b'event: call\ndata: {"')
    assert as_events(Failed("64 watch already")) == [b'event: error\ndata: {"why":"64 watch already"}\n\n']
    assert as_events(Done()) == as_events(GetCalls()) == as_events(GetCall("x")) == []
    assert b"\n" not in as_events(Noted("c", 1, "heard", "two\nlines"))[0].removesuffix(b"\n\n").partition(b"data: ")[2]
