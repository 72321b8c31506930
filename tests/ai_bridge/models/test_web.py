import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from ai_bridge.models.model import Request
from ai_bridge.models.tools import ToolFailed
from ai_bridge.models.web import Asker, fetch
from ai_bridge.wires.socket import Unreachable
from control_plane.http.webhooks import sign


class Call:
    call_id, caller, callee = "a1", "+4930", "100"


def served(handle: Any, ask: Any) -> Any:
    async def scenario() -> Any:
        app = web.Application()
        app.router.add_post("/tools", handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            return await ask(f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/tools")  # type: ignore[union-attr]
        finally:
            await runner.cleanup()

    return asyncio.run(scenario())


def test_a_tool_is_asked_for_with_the_call_and_signed():
    seen: list[Any] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append((request.headers["Bellframe-Signature"], await request.read()))
        return web.Response(text="sunny")

    async def ask(url: str) -> str:
        return await Asker(url, b"secret", "")(Call(), "weather", {"at": "here"})  # type: ignore[arg-type]

    assert served(handle, ask) == "sunny"
    signature, body = seen[0]
    at = signature[2:].partition(",")[0]
    assert signature == f"t={at},v1={sign(b'secret', at, body)}"
    assert json.loads(body) == {"call_id": "a1", "caller": "+4930", "callee": "100", "tool": "weather", "arguments": {"at": "here"}}


def test_an_answer_that_comes_in_parts_is_read_to_its_end():
    body = b'{"a": "' + b"x" * 5_000 + b'"}'

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(body[:100])
        await asyncio.sleep(0)
        await response.write(body[100:])
        await response.write_eof()
        return response

    async def ask(url: str) -> tuple[bytes, str]:
        return await fetch(Request(url, {}, b""), ""), await Asker(url, b"", "")(Call(), "weather", {})  # type: ignore[arg-type]

    assert served(handle, ask) == (body, body.decode())


def test_an_answer_that_is_none_fails_the_tool_or_the_session():
    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=401, text="no such key")

    async def ask(url: str) -> None:
        with pytest.raises(ToolFailed, match="tools_url answers 401"):
            await Asker(url, b"", "")(Call(), "weather", {})  # type: ignore[arg-type]
        with pytest.raises(Unreachable, match="answers 401: no such key"):
            await fetch(Request(url, {}, b""), "")
        with pytest.raises(Unreachable, match="cannot be reached"):
            await fetch(Request("http://127.0.0.1:9/", {}, b""), "")

    served(handle, ask)
