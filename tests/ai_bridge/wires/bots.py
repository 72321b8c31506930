"""Bots for tests: a WebSocket server made with aiohttp, which knows nothing of our code, and what bots do on it."""

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from aiohttp import WSMsgType, web


class Session:
    """One connection that was dialled to the bot. `messages` is all that came, JSON parsed, binary as bytes."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self.headers, self.path, self.socket = request.headers, request.path_qs, socket
        self.messages: list[Any] = []
        self.close_code: int | None = None

    async def send(self, message: object) -> None:
        if isinstance(message, bytes):
            await self.socket.send_bytes(message)
        elif message is not None:
            await self.socket.send_str(message if isinstance(message, str) else json.dumps(message))

    def of(self, event: str) -> list[Any]:
        return [message for message in self.messages if isinstance(message, dict) and message.get("event") == event]

    async def read(self, on_message: Callable[["Session", Any], Awaitable[None]] | None = None) -> None:
        async for message in self.socket:
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                value = json.loads(message.data) if message.type is WSMsgType.TEXT else message.data
                self.messages.append(value)
                if on_message is not None:
                    await on_message(self, value)
        self.close_code = self.socket.close_code


class Bot:
    def __init__(self, behave: Callable[[Session], Awaitable[None]], refuse: int = 0) -> None:
        """`refuse`: so many connections are answered with 503 first."""
        self.behave, self.refuse = behave, refuse
        self.sessions: list[Session] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.refuse:
            self.refuse -= 1
            return web.Response(status=503)
        wanted = request.headers.get("Sec-WebSocket-Protocol", "")
        socket = web.WebSocketResponse(protocols=(wanted,) if wanted else (), max_msg_size=0)
        await socket.prepare(request)
        session = Session(request, socket)
        self.sessions.append(session)
        with contextlib.suppress(ConnectionError):
            await self.behave(session)
        return socket


async def listen(session: Session) -> None:
    await session.read()


@contextlib.asynccontextmanager
async def serving(bot: Bot, tls: ssl.SSLContext | None = None) -> AsyncIterator[Bot]:
    """`bot.url` is where it is: ws://127.0.0.1:PORT/media, or wss:// with `tls`."""
    app = web.Application()
    app.router.add_get("/media", bot.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    server = site._server
    assert isinstance(server, asyncio.Server)
    bot.url = f"{'wss' if tls else 'ws'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/media"
    try:
        yield bot
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def beside(server: contextlib.AbstractAsyncContextManager[object]) -> Iterator[None]:
    """A server in a thread of its own, for tests that have no loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)  # type: ignore[arg-type]
        yield
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(10)  # type: ignore[arg-type]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@contextlib.contextmanager
def serving_beside(bot: Bot) -> Iterator[Bot]:
    with beside(serving(bot)):
        yield bot
