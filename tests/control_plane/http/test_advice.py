"""The process that asks webhooks, with a receiver at a real socket and somebody at the front's who asks as told."""

import asyncio
import json
import pathlib
import time
from collections.abc import Awaitable, Callable

import pytest
import zmq
from aiohttp import web
from aiohttp.test_utils import TestServer

from control_plane.channel import Switchboard
from control_plane.http.advice import MAX_BODY_BYTES, Adviser
from control_plane.http.link import Link
from control_plane.http.webhooks import sign
from control_plane.messages import AdviceOffered, AskRoute, Decision, RouteAdvised
from control_plane.route_config import Route

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def ask(directory: pathlib.Path, handler: Handler, questions: int = 1, seconds: float = 1.0) -> list[RouteAdvised]:
    """The answers, in the order in which they came."""
    app = web.Application()
    app.router.add_post("/route", handler)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    switchboard = Switchboard(context, directory)
    found: list[RouteAdvised] = []
    async with TestServer(app) as server:
        route = Route(webhook=str(server.make_url("/route")), webhook_seconds=seconds)
        link = Link(context, directory)
        task = asyncio.get_running_loop().create_task(Adviser(link, (Route(agent="echo"), route), "secret").run())
        asked = False
        async with asyncio.timeout(10):
            while len(found) < questions:
                for identity, message in switchboard.receive():
                    if isinstance(message, AdviceOffered) and not asked:
                        asked = True
                        for number in range(questions):
                            switchboard.send(identity, AskRoute(f"c-{number}", 1, "+491", "100", "carrier", headers={"X-A": "1"}))
                    elif isinstance(message, RouteAdvised):
                        found.append(message)
                await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait([task])
        link.close()
    switchboard.close()
    context.term()
    return found


def answer(status: int = 200, body: bytes = b"") -> Handler:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body)

    return handler


def test_it_posts_what_is_known_signed_and_brings_the_decision(tmp_path: pathlib.Path) -> None:
    seen: list[tuple[bytes, str]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append((await request.read(), request.headers["Bellframe-Signature"]))
        return web.json_response({"agent": "bots:Desk", "arguments": {"who": "Ada"}, "answer": "at once"})

    (advised,) = asyncio.run(ask(tmp_path, handler))
    assert advised == RouteAdvised("c-0", Decision(agent="bots:Desk", arguments={"who": "Ada"}, answer="at once"))
    ((body, signature),) = seen
    at, _, given = signature.partition(",v1=")
    assert given == sign(b"secret", at.removeprefix("t="), body) and abs(time.time() - int(at.removeprefix("t="))) < 60
    posted = json.loads(body)
    assert (posted["event"], posted["route"]) == ("call.route", "routes[1]")
    known = {"call_id": "c-0", "caller": "+491", "callee": "100", "trunk": "carrier", "tenant": "", "source": ""}
    assert posted["call"] == {**known, "headers": {"X-A": "1"}}


@pytest.mark.parametrize(
    ("handler", "decision", "why"),
    [
        (answer(204), Decision(), ""),
        (answer(200, b"{}"), Decision(), ""),
        (answer(500), None, "it answers 500"),
        (answer(302), None, "it answers 302"),
        (answer(200, b"agent=echo"), None, "JSON is malformed"),
        (answer(200, b'{"agnet": "echo"}'), None, "unknown field `agnet`"),
        (answer(200, b'{"answer": "never"}'), None, "Invalid enum value 'never'"),
        (answer(200, b'"' + b"x" * MAX_BODY_BYTES + b'"'), None, "longer than 65536 octets"),
    ],
    ids=["204", "empty", "500", "redirect", "no JSON", "misspelt", "no choice", "long"],
)
def test_what_counts_as_a_decision(handler: Handler, decision: Decision | None, why: str, tmp_path: pathlib.Path) -> None:
    (advised,) = asyncio.run(ask(tmp_path, handler))
    assert advised.decision == decision and why in advised.why and bool(advised.why) == bool(why)


def test_a_hundred_that_hang_are_given_up_together(tmp_path: pathlib.Path) -> None:
    async def handler(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    began = time.monotonic()
    found = asyncio.run(ask(tmp_path, handler, questions=100, seconds=0.3))
    assert {(advised.decision, advised.why) for advised in found} == {(None, "no answer within 0.3 s")}
    assert time.monotonic() - began < 6


def test_nobody_there_is_told_as_such(tmp_path: pathlib.Path) -> None:
    async def run() -> list[RouteAdvised]:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        switchboard = Switchboard(context, tmp_path)
        link = Link(context, tmp_path)
        adviser = Adviser(link, (Route(webhook="http://127.0.0.1:9/"),), "secret")
        task = asyncio.get_running_loop().create_task(adviser.run())
        found: list[RouteAdvised] = []
        async with asyncio.timeout(10):
            while not found:
                for identity, message in switchboard.receive():
                    if isinstance(message, AdviceOffered):
                        switchboard.send(identity, AskRoute("c", 0, "", ""))
                    elif isinstance(message, RouteAdvised):
                        found.append(message)
                await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait([task])
        link.close()
        switchboard.close()
        context.term()
        return found

    (advised, *_) = asyncio.run(run())
    assert advised.decision is None and "127.0.0.1:9" in advised.why
