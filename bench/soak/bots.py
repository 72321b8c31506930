"""Bots of the wires for the soak, in a process of their own: each says back what it hears.

    python -m bench.soak.bots

It prints its port; /NAME is the bot of that wire. It ends when its input does.
"""

import asyncio
import json
import sys

from aiohttp import WSMsgType, web

from ai_bridge.wires.demo_bot import DIALECTS


async def echo(request: web.Request) -> web.WebSocketResponse:
    dialect = DIALECTS[request.match_info["wire"]]
    wanted = request.headers.get("Sec-WebSocket-Protocol")
    socket = web.WebSocketResponse(protocols=(wanted,) if wanted else ())
    await socket.prepare(request)
    if dialect.first is not None:
        await socket.send_str(json.dumps(dialect.first))
    async for message in socket:
        payload = dialect.heard(message.data if message.type is WSMsgType.BINARY else json.loads(message.data))
        if payload is not None:
            said = dialect.say(payload, 0)
            await (socket.send_bytes(said) if isinstance(said, bytes) else socket.send_str(json.dumps(said)))
    return socket


async def serve() -> None:
    app, loop, ended = web.Application(), asyncio.get_running_loop(), asyncio.Event()
    app.router.add_get("/{wire}", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    print(runner.addresses[0][1], flush=True)
    await ended.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve())
