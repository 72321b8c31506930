"""Who wants to know what becomes of calls is told, whatever another one does with it."""

import asyncio
import pathlib

import pytest
import zmq

from control_plane.http import feed
from control_plane.http.feed import Feed
from control_plane.http.link import Link
from control_plane.messages import CallChanged, CallFacts, Done, Message, Watch
from tests.control_plane.http.front import CALL
from tests.control_plane.test_client import Exchange


def test_the_front_is_told_again_and_again_that_we_watch_and_a_bad_taker_harms_no_other(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(feed, "WATCH_S", 0.01)
    exchange = Exchange(tmp_path, answer)
    taken: list[CallFacts] = []

    def fail(_facts: CallFacts) -> None:
        raise KeyError("a bug")

    async def run() -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        link = Link(context, tmp_path)
        task = asyncio.create_task(Feed(link, [fail, taken.append]).run())
        while len(taken) < 3:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        context.term()  # returns only if the line was closed

    try:
        asyncio.run(run())
    finally:
        exchange.close()
    assert taken[:3] == [CALL] * 3 and "what became of a call was lost" in caplog.text
    assert exchange.asked.count(Watch(what="calls")) >= 3


def answer(_message: Message) -> list[Message]:
    return [Done(), CallChanged(CALL)]
