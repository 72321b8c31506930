"""Bots that dial us: made with aiohttp, which knows nothing of our code, at a door with a real socket (door_server.py too)."""

import asyncio
import base64
import contextlib
import json
import ssl
import struct
from collections.abc import AsyncIterator

import aiohttp
import numpy as np
import pytest

from ai_bridge.loader import load
from ai_bridge.wires import door as doors
from ai_bridge.wires import door_bot
from ai_bridge.wires.bellframe_messages import SUBPROTOCOL
from ai_bridge.wires.door_server import DoorServer, open_door, tls_context
from ai_bridge.wires.encoding import PCMU
from control_plane.config import Bridge as BridgeSettings
from control_plane.errors import ConfigurationError
from control_plane.messages import AgentFailed, HangUp
from control_plane.secret import Secret
from control_plane.tokens import Tokens
from tests.ai_bridge.line import tone
from tests.ai_bridge.scene import Scene, stage
from tests.pki import Authority

TOKEN = "a-token-of-the-tests-1"
READY = {"type": "ready", "version": 1, "rate_hz": 8_000}


class BotThatDials:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.messages: list[object] = []
        self.reading = asyncio.ensure_future(self.read())

    async def read(self) -> None:
        async for message in self.socket:
            self.messages.append(json.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else message.data)

    def of(self, kind: str) -> list[dict]:
        return [message for message in self.messages if isinstance(message, dict) and kind in (message.get("type"), message.get("event"))]

    async def send(self, message: object) -> None:
        await (self.socket.send_bytes(message) if isinstance(message, bytes) else self.socket.send_json(message))


class Play:
    def __init__(self, scene: Scene, bridge, server: DoorServer, http: aiohttp.ClientSession) -> None:
        self.scene, self.bridge, self.door = scene, bridge, doors.door
        self.url, self.http = f"http://127.0.0.1:{server.port}", http

    async def dial(self, target: str = "/desk", protocols: tuple[str, ...] = (SUBPROTOCOL,), token: str = TOKEN) -> BotThatDials:
        headers = {"Authorization": f"Bearer {token}"}
        return BotThatDials(await self.http.ws_connect(self.url + target, headers=headers, protocols=protocols))

    async def waiting(self, count: int) -> None:
        await self.scene.until(lambda: self.door is not None and len(self.door.waiting) == count)


@contextlib.asynccontextmanager
async def at_door(tmp_path) -> AsyncIterator[Play]:
    doors.door = doors.Door()
    server = DoorServer(doors.door, Tokens((TOKEN,)))
    await server.open("127.0.0.1", 0, None)
    try:
        async with stage(tmp_path) as (scene, bridge), aiohttp.ClientSession() as http:
            yield Play(scene, bridge, server, http)
            for call_id in list(bridge.calls):
                scene.stop(call_id)
            await scene.until(lambda: not bridge.calls and not bridge._stopped)
            assert not doors.door.calls and not doors.door.busy and not doors.door.wanted
    finally:
        server.close()
        doors.door = None


def test_a_bot_of_our_wire_waits_and_gets_a_call(tmp_path):
    async def scenario() -> None:
        async with at_door(tmp_path) as p:
            bot = await p.dial()
            await p.waiting(1)
            line = await p.scene.call("door:desk", caller="+491", arguments={"shop": "12"})
            await p.scene.until(lambda: bot.of("start"))
            assert (bot.of("start")[0]["caller"], bot.of("start")[0]["arguments"]) == ("+491", {"shop": "12"})
            line.caller_says(tone(160))
            p.scene.ring()
            await bot.send(READY)
            await bot.send(struct.pack("<IIQ", 0, 0, 0) + tone(160, 500).tobytes())
            await p.scene.until(lambda: any(isinstance(message, bytes) for message in bot.messages))
            await p.scene.until(line.is_waiting)
            line.tick()
            assert np.array_equal(line.heard(), tone(160, 500)) and p.door.busy.total() == 1
            p.scene.stop("a")
            await bot.reading
            assert bot.of("stop") and bot.socket.close_code == 1000

    asyncio.run(scenario())


def test_a_bot_of_twilios_wire_does_too(tmp_path):
    async def scenario() -> None:
        async with at_door(tmp_path) as p:
            bot = await p.dial(protocols=())
            await p.waiting(1)
            line = await p.scene.call("door+twilio:desk", caller="+491")
            await p.scene.until(lambda: bot.of("start"))
            await bot.send({"event": "media", "media": {"payload": base64.b64encode(PCMU.encode(tone(160))).decode()}})
            await p.scene.until(line.is_waiting)
            line.tick()
            assert np.array_equal(line.heard(), PCMU.decode(PCMU.encode(tone(160))))
            await bot.socket.close()
            await p.scene.until(lambda: p.scene.of(HangUp))

    asyncio.run(scenario())


def test_a_call_waits_for_a_bot_with_what_the_caller_says(tmp_path):
    async def scenario() -> None:
        async with at_door(tmp_path) as p:
            line = await p.scene.call("door:desk")
            line.caller_says(tone(800))
            line.caller_presses("5")
            p.scene.ring()
            bot = await p.dial("/desk?bot=late")
            await p.scene.until(lambda: bot.of("start"))
            await bot.send(READY)
            await p.scene.until(lambda: bot.of("key"))
            audio = b"".join(message[16:] for message in bot.messages if isinstance(message, bytes))
            assert np.array_equal(np.frombuffer(audio, np.int16), tone(800))

    asyncio.run(scenario())


def test_a_call_that_no_bot_comes_for_goes_elsewhere(tmp_path):
    async def scenario() -> None:
        async with at_door(tmp_path) as p:
            await p.scene.call("door:desk", arguments={"connect_seconds": "0.1"})
            await p.scene.until(lambda: p.scene.of(HangUp))
            assert 'no bot that takes this call waits at the door as "desk"' in p.scene.of(HangUp)[0].cause
            await p.scene.call("door:desk", "b", row=1, arguments={"connect_seconds": "0.1", "fallback": "echo"})
            await p.scene.until(lambda: type(p.bridge.calls["b"].listener.agent).__name__ == "Echo")
            assert "b" not in p.door.calls

    asyncio.run(scenario())


def test_a_bot_that_lost_its_connection_comes_back_to_its_call(tmp_path):
    async def scenario() -> None:
        async with at_door(tmp_path) as p:
            bot = await p.dial()
            await p.waiting(1)
            line = await p.scene.call("door:desk")
            await p.scene.until(lambda: bot.of("start"))
            await bot.send(READY)
            await bot.send(struct.pack("<IIQ", 0, 0, 0) + tone(1_600).tobytes())
            await p.scene.until(line.is_waiting)
            other = await p.dial()
            await p.waiting(1)
            bot.socket._response.connection.transport.abort()
            line.tick(2)
            again = await p.dial("/desk?call=a")
            await p.scene.until(lambda: again.of("start"))
            start = again.of("start")[0]
            assert (start["call_id"], start["resumed"], start["said_ms"], start["turn"]) == ("a", "connection", 200.0, 0)
            assert not other.messages, "it was not asked"
            await again.send(READY)
            line.caller_presses("7")
            p.scene.ring()
            await p.scene.until(lambda: again.of("key"))

    asyncio.run(scenario())


def test_a_call_whose_bot_stays_away_goes_to_another_of_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(door_bot, "RETURN_S", 0.05)

    async def scenario() -> None:
        async with at_door(tmp_path) as p:
            bot = await p.dial("/desk?bot=one")
            await p.waiting(1)
            await p.scene.call("door:desk", arguments={"resume_seconds": "5"})
            await p.scene.until(lambda: bot.of("start"))
            await bot.send(READY)
            other = await p.dial("/desk?bot=two")
            await p.scene.until(lambda: p.bridge.calls["a"].listener.agent._ready)
            bot.socket._response.connection.transport.abort()
            await p.scene.until(lambda: other.of("start"))
            assert other.of("start")[0]["resumed"] == "connection" and p.door.busy == {"two": 1}
            await other.send(READY)

    asyncio.run(scenario())


def test_a_bad_bot_hurts_its_own_call_and_nothing_else(tmp_path):
    async def scenario() -> None:
        async with at_door(tmp_path) as p:
            good, bad = await p.dial("/desk?bot=good"), await p.dial("/desk?bot=bad")
            await p.waiting(2)
            await p.scene.call("door:desk")
            line = await p.scene.call("door:desk", "b", row=1)
            await p.scene.until(lambda: good.of("start") and bad.of("start"))
            await good.send(READY)
            await bad.send(b"audio before ready")
            await p.scene.until(lambda: p.scene.of(HangUp))
            assert [hang_up.call_id for hang_up in p.scene.of(HangUp)] == [bad.of("start")[0]["call_id"]]
            line = p.scene.lines[good.of("start")[0]["call_id"]]
            line.caller_presses("1")
            p.scene.ring()
            await p.scene.until(lambda: good.of("key"))

    asyncio.run(scenario())


def test_who_speaks_before_it_has_a_call_or_hangs_up_is_forgotten(tmp_path):
    async def scenario() -> None:
        async with at_door(tmp_path) as p:
            early, gone = await p.dial(), await p.dial()
            await p.waiting(2)
            await early.send({"type": "hello"})
            await early.reading
            assert early.socket.close_code == 1003
            await gone.socket.close()
            await p.waiting(0)

    asyncio.run(scenario())


REFUSED = [("/desk", "another-token-of-tests", 401), ("/", TOKEN, 404), ("/x?y=1", TOKEN, 400)]


@pytest.mark.parametrize(("target", "token", "status"), REFUSED)
def test_who_does_not_get_in_is_told_why(tmp_path, target, token, status):
    async def scenario() -> None:
        async with at_door(tmp_path) as p:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await p.dial(target, token=token)
            assert refused.value.status == status
            async with p.http.get(p.url + target, headers={"Authorization": f"Bearer {token}"}) as answer:
                assert answer.status == status and len(await answer.text()) > 20

    asyncio.run(scenario())


def test_without_a_door_or_with_a_wrong_name(tmp_path):
    with pytest.raises(ConfigurationError, match="letters, digits"):
        load("door:a b")

    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            await scene.call("door:desk")
            await scene.until(lambda: scene.of(AgentFailed))
            assert "set bridge.door" in scene.of(AgentFailed)[0].why
            await scene.until(lambda: not bridge.calls and not bridge._stopped)

    asyncio.run(scenario())


def test_the_door_of_a_configuration(tmp_path):
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("door")

    async def scenario() -> None:
        settings = BridgeSettings(
            door="127.0.0.1:0", door_tokens=(Secret(TOKEN),), door_certificate=str(pair.certificate), door_key=str(pair.key)
        )
        server = await open_door(doors.Door(), settings, 0)
        trusted = ssl.create_default_context(cafile=str(authority.certificate))
        async with aiohttp.ClientSession() as http:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            bot = await http.ws_connect(f"https://127.0.0.1:{server.port}/desk", headers=headers, protocols=(SUBPROTOCOL,), ssl=trusted)
            assert bot.protocol == SUBPROTOCOL
            with pytest.raises(ConfigurationError, match="nothing can listen at port"):
                await open_door(doors.Door(), BridgeSettings(door=f"127.0.0.1:{server.port}", door_tokens=(Secret(TOKEN),)), 0)
            server.close()
            await bot.receive(timeout=5)

    asyncio.run(scenario())
    with pytest.raises(ConfigurationError, match="cannot be used"):
        tls_context(str(tmp_path / "nothing"), "")
