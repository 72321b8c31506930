"""Asks the webhooks of routes, for the front: which agent takes a call that has just come.

    POST, JSON, signed as every webhook of ours (webhooks.py): {"event": "call.route", "route": "routes[0]", "call": {...}}
    200 with a Decision as JSON decides; 204 leaves it to the route. Anything else, or too late, is no answer.
"""

import asyncio
import logging
import time
from typing import Any

import aiohttp
import msgspec

from control_plane.http.link import Line, Link
from control_plane.http.webhooks import sign
from control_plane.messages import AdviceOffered, AskRoute, Decision, RouteAdvised
from control_plane.route_config import Route

log = logging.getLogger("http")
OFFER_S = 1.0
MAX_UNDER_WAY = 512  # twice what a front asks for at once: another one may have taken its place
MAX_BODY_BYTES = 65_536


class Adviser:
    """`run` until it is cancelled."""

    def __init__(self, link: Link, routes: tuple[Route, ...], secret: str) -> None:
        self.link, self.routes, self.secret = link, routes, secret.encode()
        self.tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        line = self.link.open_line()
        loop = asyncio.get_running_loop()
        connector = aiohttp.TCPConnector(limit=MAX_UNDER_WAY, limit_per_host=0)
        try:
            async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
                again = loop.time()
                while True:
                    if loop.time() >= again:
                        line.send(AdviceOffered())
                        again = loop.time() + OFFER_S
                    for message in await line.receive(max(0.0, again - loop.time())):
                        if isinstance(message, AskRoute) and len(self.tasks) < MAX_UNDER_WAY:
                            task = loop.create_task(self._advise(line, session, message))
                            self.tasks.add(task)
                            task.add_done_callback(self.tasks.discard)
        finally:
            for task in self.tasks:
                task.cancel()
            line.close()

    async def _advise(self, line: Line, session: aiohttp.ClientSession, question: AskRoute) -> None:
        route = self.routes[question.route] if question.route < len(self.routes) else Route()
        decision, why = None, ""
        try:
            decision = await self.ask(session, route, question)
        except TimeoutError:
            why = f"no answer within {route.webhook_seconds:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as failure:
            why = str(failure) or type(failure).__name__
        line.send(RouteAdvised(question.call_id, decision, why))
        line.readable.set()  # sending swallows the edge of what came meanwhile

    async def ask(self, session: aiohttp.ClientSession, route: Route, question: AskRoute) -> Decision:
        """Raises TimeoutError, aiohttp.ClientError, OSError, and ValueError for what is no decision."""
        body, at = msgspec.json.encode(asked(question)), str(int(time.time()))
        headers = {"Content-Type": "application/json", "Bellframe-Signature": f"t={at},v1={sign(self.secret, at, body)}"}
        limit = aiohttp.ClientTimeout(total=route.webhook_seconds)
        async with session.post(route.webhook, data=body, headers=headers, timeout=limit, allow_redirects=False) as response:
            if response.status == 204:
                return Decision()
            if response.status != 200:
                raise ValueError(f"it answers {response.status}")
            return msgspec.json.decode(await read(response), type=Decision)


def asked(question: AskRoute) -> dict[str, Any]:
    call = {name: getattr(question, name) for name in ("call_id", "caller", "callee", "trunk", "tenant", "source", "headers")}
    return {"event": "call.route", "route": f"routes[{question.route}]", "call": call}


async def read(response: aiohttp.ClientResponse) -> bytes:
    """The body. Raises ValueError if it is too long."""
    parts, size = list[bytes](), 0
    async for part in response.content.iter_chunked(16_384):
        parts.append(part)
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise ValueError(f"its answer is longer than {MAX_BODY_BYTES} octets")
    return b"".join(parts)
