"""A bot that dials Bellframe and waits for calls, from wherever it runs: nothing has to reach it. Says back what the caller says.

    DOOR_TOKEN=... python at_the_door.py ws://127.0.0.1:8443/desk
    bellframe up --config FILE, with [bridge] door = "127.0.0.1:8443", door_tokens = ["..."] and a route to "door:desk"
"""

import asyncio
import json
import os
import struct
import sys

from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, WSMsgType

HEADER = struct.Struct("<IIQ")  # turn, flags, position
CALLS = 2
"""That it would carry at a time: so many connections wait."""


async def converse(connection: ClientWebSocketResponse) -> None:
    """One call, from its start to its end."""
    async for message in connection:
        if message.type is WSMsgType.BINARY:  # 20 ms of the caller
            turn, _, _ = HEADER.unpack_from(message.data)
            await connection.send_bytes(HEADER.pack(turn, 0, 0) + message.data[HEADER.size :])
        elif json.loads(message.data)["type"] == "start":
            await connection.send_json({"type": "ready", "version": 1, "rate_hz": 16_000})


async def serve(http: ClientSession, url: str) -> None:
    """One call after the other. A door that is closed is knocked at again."""
    while True:
        try:
            async with http.ws_connect(url, protocols=["bellframe.v1"]) as connection:
                print("waiting for a call", flush=True)
                await converse(connection)
        except ClientError as failure:
            print(failure, flush=True)
        await asyncio.sleep(0.2)


async def main(url: str) -> None:
    async with ClientSession(headers={"Authorization": f"Bearer {os.environ['DOOR_TOKEN']}"}) as http:
        await asyncio.gather(*(serve(http, f"{url}?bot={os.getpid()}") for _ in range(CALLS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
