"""An application that answers with TwiML: made with aiohttp, which knows nothing of our code."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from aiohttp import web

from ai_bridge.bridge import Bridge
from control_plane.messages import HangUp
from tests.ai_bridge.line import Line
from tests.ai_bridge.scene import Scene, stage


class Request(NamedTuple):
    method: str
    path: str
    form: dict[str, str]
    headers: dict[str, str]


class Webhook:
    def __init__(self, **answers: str | bytes | Callable[[dict[str, str]], str]) -> None:
        """`answers`: by path; what stands within <Response>, or a file."""
        self.answers, self.requests = answers, list[Request]()
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post() if request.method == "POST" else request.query).items()}
        self.requests.append(Request(request.method, request.path_qs, form, dict(request.headers)))
        answer = self.answers.get(request.path.strip("/") or "root")
        if answer is None:
            return web.Response(status=404)
        if isinstance(answer, bytes):
            return web.Response(body=answer, content_type="audio/wav")
        text = answer(form) if callable(answer) else answer
        return web.Response(text=f'<?xml version="1.0"?><Response>{text}</Response>', content_type="text/xml")

    def of(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path.partition("?")[0] == f"/{path}"]


@contextlib.asynccontextmanager
async def serving(webhook: Webhook) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", webhook.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert isinstance(site._server, asyncio.Server)
    webhook.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    try:
        yield
    finally:
        await runner.cleanup()


class Play:
    """A webhook, a bridge, and one call between them."""

    def __init__(self, scene: Scene, bridge: Bridge, webhook: Webhook, line: Line) -> None:
        self.scene, self.bridge, self.webhook, self.line = scene, bridge, webhook, line
        self.call = bridge.calls.get("a")

    async def until(self, condition: Callable[[], object]) -> None:
        await self.scene.until(condition)

    async def playing(self, condition: Callable[[], object]) -> None:
        """The line plays on until this is so."""

        def after_a_tick() -> object:
            self.line.tick()
            self.scene.ring()
            return condition()

        await self.until(after_a_tick)

    async def ended(self) -> str:
        await self.playing(lambda: self.scene.of(HangUp))
        return self.scene.of(HangUp)[0].cause

    async def press(self, keys: str) -> None:
        for key in keys:
            self.line.caller_presses(key)
        self.scene.ring()


def play(tmp_path: Any, webhook: Webhook, act: Callable[[Play], Any], path: str = "answer", rate_hz: int = 8_000, **values: Any) -> None:
    arguments = values.pop("arguments", {})

    async def scenario() -> None:
        async with serving(webhook), stage(tmp_path) as (scene, bridge):
            agent = f"twiml+{webhook.url}/{path}"
            line = await scene.call(agent, rate_hz=rate_hz, caller="+49301", callee="100", arguments=arguments, **values)
            await act(Play(scene, bridge, webhook, line))
            if "a" in bridge.calls:
                scene.stop("a")
            await scene.until(lambda: not bridge.calls and not bridge._stopped)

    asyncio.run(scenario())
