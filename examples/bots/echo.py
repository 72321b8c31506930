"""A bot on Bellframe's own wire: says back what the caller said, as soon as the caller is silent, and can be interrupted.

    BOT_SECRET=s3cret python echo.py 8765
    bellframe up --agent bellframe+ws://127.0.0.1:8765/     (in a route: arguments = { secret = "s3cret" })
"""

import hashlib
import hmac
import json
import os
import struct
import sys
import time

from aiohttp import WSMsgType, web

HEADER = struct.Struct("<IIQ")  # turn, flags, position
IS_SPEECH = 1


def is_from_bellframe(request: web.Request) -> bool:
    secret, at = os.environ.get("BOT_SECRET", "").encode(), request.headers.get("Bellframe-Timestamp", "")
    if not secret:
        return True
    signed = f"{at}.{request.headers.get('Bellframe-Call', '')}.{request.path_qs}".encode()
    expected = "v1=" + hmac.new(secret, signed, hashlib.sha256).hexdigest()
    is_recent = at.isdigit() and abs(time.time() - int(at)) < 300
    return is_recent and hmac.compare_digest(expected.encode(), request.headers.get("Bellframe-Signature", "").encode())


async def take_call(request: web.Request) -> web.WebSocketResponse:
    if not is_from_bellframe(request):
        raise web.HTTPUnauthorized
    bot = web.WebSocketResponse(protocols=["bellframe.v1"])
    await bot.prepare(request)
    heard, turn = bytearray(), 0
    async for message in bot:
        if message.type is WSMsgType.BINARY:  # 20 ms of the caller
            turn, flags, _ = HEADER.unpack_from(message.data)
            if flags & IS_SPEECH:
                heard += message.data[HEADER.size :]
            continue
        told = json.loads(message.data)
        match told["type"]:
            case "start":
                turn = told["turn"]
                await bot.send_json({"type": "ready", "version": 1, "rate_hz": 16_000, "interrupt_on_speech": True})
            case "speech_stopped":
                await bot.send_bytes(HEADER.pack(turn, 0, 0) + heard)
                heard.clear()
            case "turn_ended":
                print(f"turn {told['turn']} was ended: {told['heard_ms']} of {told['said_ms']} ms were heard", flush=True)
    return bot


if __name__ == "__main__":
    app = web.Application()
    app.router.add_get("/", take_call)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
