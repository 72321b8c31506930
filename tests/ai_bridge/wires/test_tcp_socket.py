"""AudioSocket bots: a TCP server that knows nothing of our code, and a call over real rings."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np
import pytest

from control_plane.messages import HangUp
from tests.ai_bridge.line import tone
from tests.ai_bridge.scene import stage

Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Message = tuple[int, bytes]


async def read_message(reader: asyncio.StreamReader) -> Message:
    kind, size = struct.unpack(">BH", await reader.readexactly(3))
    return kind, await reader.readexactly(size)


def message(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BH", kind, len(payload)) + payload


@contextlib.asynccontextmanager
async def serving(behave: Behave) -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await behave(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"audiosocket+tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def test_a_call(tmp_path):
    heard: list[Message] = []

    async def echo_in_pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            kind, payload = await read_message(reader)
            heard.append((kind, payload))
            if kind == 0x10:
                for octet in message(0x10, payload):  # a stream has no borders
                    writer.write(bytes((octet,)))
            if (kind, payload) == (0x03, b"9"):
                writer.write(message(0x03, b"5"))

    async def scenario() -> None:
        async with serving(echo_in_pieces) as address, stage(tmp_path) as (scene, bridge):
            line = await scene.call(address)
            line.caller_says(tone(800))
            scene.ring()
            await scene.until(lambda: bridge.calls["a"].queued_ms == 100)
            line.tick(5)
            assert np.array_equal(line.heard(), tone(800))
            line.caller_presses("9")
            scene.ring()

            def key_was_sent() -> bool:
                line.tick()
                return ord("5") in line.keys

            await scene.until(key_was_sent)
            assert [kind for kind, _ in heard] == [0x01, *5 * [0x10], 0x03] and len(heard[0][1]) == 16
            scene.stop("a")
            await scene.until(lambda: heard[-1] == (0x00, b""))
            await scene.until(lambda: not bridge.calls and not bridge._stopped)

    asyncio.run(scenario())


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_message(reader)
    writer.write(message(0x00))
    await reader.read()


async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_message(reader)
    writer.write(message(0x10, bytes(640)))


async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_message(reader)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no goodbye, but a reset
    writer.transport.abort()


async def send_half_a_sample(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(message(0x10, b"123"))
    await reader.read()


@pytest.mark.parametrize(
    ("behave", "cause"),
    [
        (hang_up, "the bot hung up"),
        (close, "the bot closed the connection"),
        (die, "connection broke"),
        (send_half_a_sample, "3 bytes of 16-bit audio"),
    ],
)
def test_how_it_ends(tmp_path, behave, cause):
    async def scenario() -> None:
        async with serving(behave) as address, stage(tmp_path) as (scene, bridge):
            line = await scene.call(address, arguments={"retries": "0"})

            def is_over() -> list[HangUp]:
                line.tick()
                scene.ring()
                return scene.of(HangUp)

            await scene.until(is_over)
            assert cause in scene.of(HangUp)[0].cause
            assert behave is not close or sum(part.size for part in line.wire) == 320, "what it said last is heard"
            scene.stop("a")
            await scene.until(lambda: not bridge.calls and not bridge._stopped)

    asyncio.run(scenario())


def test_a_bot_that_is_away(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            await scene.call("audiosocket+tcp://127.0.0.1:9", arguments={"retries": "0"})
            await scene.until(lambda: scene.of(HangUp))
            assert "the bot at 127.0.0.1:9 cannot be reached" in scene.of(HangUp)[0].cause
            scene.stop("a")
            await scene.until(lambda: not bridge.calls and not bridge._stopped)

    asyncio.run(scenario())
