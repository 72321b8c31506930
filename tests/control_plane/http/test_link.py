"""Questions find their own answers."""

import asyncio
import pathlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import zmq

from control_plane.http.link import MAX_LINES, FrontAway, Link
from control_plane.messages import Calls, Done, Failed, GetCall, GetCalls, Message
from tests.control_plane.test_client import Exchange


def linked(directory: pathlib.Path, reply: Callable[[Message], list[Message]], work: Callable[[Link], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        link = Link(context, directory)
        try:
            return await work(link)
        finally:
            link.close()
            context.term()

    exchange = Exchange(directory, reply)
    try:
        return asyncio.run(run())
    finally:
        exchange.close()


def name_back(message: Message) -> list[Message]:
    return [Done(message.call_id)] if isinstance(message, GetCall) else []


def test_many_at_once_each_get_their_own(tmp_path: pathlib.Path) -> None:
    async def work(link: Link) -> list[Message]:
        found = await asyncio.gather(*(link.ask(GetCall(str(i))) for i in range(100)))
        assert len(link.idle) <= MAX_LINES
        return list(found)

    assert linked(tmp_path, name_back, work) == [Done(str(i)) for i in range(100)]


def test_an_answer_that_came_too_late_is_nobody_s(tmp_path: pathlib.Path) -> None:
    """The front keeps one question and answers it together with the next."""
    kept: list[Message] = []

    def late(message: Message) -> list[Message]:
        if isinstance(message, GetCalls):
            kept.append(Calls(()))
            return []
        return [*kept, *name_back(message)]

    async def work(link: Link) -> Message:
        with pytest.raises(FrontAway, match="did not answer GetCalls"):
            await link.ask(GetCalls(), 0.05)
        assert link.idle == []
        return await link.ask(GetCall("x"))

    answer = linked(tmp_path, lambda m: name_back(m) if isinstance(m, GetCall) else late(m), work)
    assert answer == Done("x")


def test_news_of_an_order_before_is_no_answer(tmp_path: pathlib.Path) -> None:
    failed_later = Failed("its name has no address", 422, "out-1")
    assert linked(tmp_path, lambda m: [failed_later, *name_back(m)], lambda link: link.ask(GetCall("x"))) == Done("x")
