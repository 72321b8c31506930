"""What holds for every model, whatever its protocol."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from ai_bridge import models
from ai_bridge.loader import load
from ai_bridge.models import MODELS
from control_plane.credentials import Credentials
from control_plane.messages import AgentFailed, HangUp, Noted
from control_plane.secret import Secret
from tests.ai_bridge.line import tone
from tests.ai_bridge.models.realtime import sine
from tests.ai_bridge.models.servers import SERVERS, Server
from tests.ai_bridge.scene import stage
from tests.ai_bridge.wires.bots import Bot, Session, serving

KEY = "sk-not-to-be-seen-by-anybody-0123456789"


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    monkeypatch.setattr(models, "credentials", Credentials(dict.fromkeys(MODELS, Secret(KEY)), {}))


class Model:
    """A model's server in a test, and what it was asked for by HTTP."""

    def __init__(self, name: str) -> None:
        self.name, self.server = name, SERVERS[name]
        self.bot = Bot(self.behave)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.address = ""
        self.is_good = True

    async def behave(self, session: Session) -> None:
        if not self.server.is_first({}) and not self.server.ready:
            await session.read()
            return

        async def answer(session: Session, message: Any) -> None:
            if self.server.is_first(message):
                for told in self.server.ready if self.is_good else (self.server.refuse,):
                    await self.say(told)
            elif len(session.messages) == 1:
                raise AssertionError(f"{message} before the session is configured")

        await session.read(answer)

    async def say(self, *messages: object) -> None:
        for message in messages:
            await self.bot.sessions[-1].send(message)  # type: ignore[arg-type]

    @property
    def messages(self) -> list[Any]:
        return self.bot.sessions[-1].messages if self.bot.sessions else []

    def heard(self) -> np.ndarray:
        return self.server.hears.decode(b"".join(part for m in self.messages if (part := self.server.heard(m))))


@contextlib.asynccontextmanager
async def serve(name: str) -> AsyncIterator[Model]:
    """`address` is what a route has behind the plus."""
    model = Model(name)
    async with serving(model.bot):
        if model.server.address is None:
            model.address = f"{model.bot.url}?agent_id=x"
            yield model
            return

        async def answer(request: web.Request) -> web.Response:
            model.requests.append((request.path_qs, dict(request.headers), await request.read()))
            assert model.server.address is not None
            return web.json_response(model.server.address(model.bot.url))

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        model.address = f"ws://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/api/calls?agent_id=x"  # type: ignore[union-attr]
        try:
            yield model
        finally:
            await runner.cleanup()


def test_every_model_has_its_server_here():
    assert set(SERVERS) == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_every_row_loads(name):
    assert load(f"{name}+wss://model.example/").__name__ == f"{MODELS[name].rpartition(':')[2]}Agent"


@pytest.mark.parametrize("name", MODELS)
def test_a_call(tmp_path, name):
    """The session is configured; what the caller says arrives; what the model says is heard, and is cut off; words; a tool."""
    server: Server = SERVERS[name]

    async def scenario() -> None:
        async with serve(name) as model, stage(tmp_path) as (scene, bridge):
            given = {"retries": "0", "instructions": "Be brief.", "tools": "hang_up", **server.settings}
            line = await scene.call(f"{name}+{model.address}", caller="+4930", format="PCMU", arguments=given)
            call = bridge.calls["a"]

            def notes(kind: str) -> list[str]:
                return [note.text for note in scene.of(Noted) if note.kind == kind]

            def ticked() -> int:
                line.tick()
                scene.ring()
                return line.heard().size

            pcm = sine(440, 1.0, 8_000)
            line.caller_says(pcm)
            scene.ring()
            await scene.until(lambda: model.bot.sessions and model.heard().size == server.rate_hz)
            heard = model.heard().astype(float)
            assert abs(np.abs(np.fft.rfft(heard * np.hanning(heard.size))).argmax() * server.rate_hz / heard.size - 440) < 3
            configured = json.dumps([m for m in model.messages if isinstance(m, dict)]) + str(model.requests)
            assert ("Be brief." in configured and "hang_up" in configured) or name == "elevenlabs"
            assert any(KEY in value for value in [*model.bot.sessions[0].headers.values(), str(model.requests)])

            said = server.speaks.decode(server.speaks.encode(sine(1_000, 3.0, server.speech_rate_hz)))
            for n in range(30):
                size = server.speech_rate_hz // 10
                await model.say(server.say(server.speaks.encode(said[n * size : (n + 1) * size]), 1))
            await scene.until(lambda: call.listener.agent._waiting_s + call.queued_ms / 1000 > 2.9)
            await scene.until(lambda: ticked() >= 8_000)
            cut_at = line.heard().size
            await model.say(server.interrupt(1))
            await scene.until(lambda: call.turn == 1)
            line.tick(5)
            scene.ring()
            assert line.heard().size == cut_at, "silence from the next packet on"
            assert abs(np.abs(np.fft.rfft(line.heard()[:8_000] * np.hanning(8_000))).argmax() - 1_000) < 3
            await scene.until(lambda: notes("interrupted") == [""])

            await model.say(server.say(server.speaks.encode(tone(server.speech_rate_hz // 10)), 2), *server.spoken)
            await scene.until(lambda: ticked() >= cut_at + 800)
            await model.say(*server.words)
            await scene.until(lambda: notes("said") and notes("heard"))
            assert notes("heard") == ["hello"] and notes("said") == ["good day"]
            await model.say(server.say(server.speaks.encode(tone(server.speech_rate_hz // 10)), 3), server.use)
            before = line.heard().size
            await scene.until(lambda: ticked() and scene.of(HangUp))
            assert scene.of(HangUp)[0].cause == "the model hung up: done" and line.heard().size >= before + 640
            scene.stop("a")
            await scene.until(lambda: model.bot.sessions[0].close_code == 1000)
            await scene.until(lambda: not bridge._stopped)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", [name for name, server in SERVERS.items() if server.refuse])
def test_a_session_that_is_refused_ends_the_call_in_the_models_words(tmp_path, name):
    async def scenario() -> None:
        async with serve(name) as model, stage(tmp_path) as (scene, bridge):
            model.is_good = False
            await scene.call(f"{name}+{model.address}", arguments={"retries": "3", **SERVERS[name].settings})
            await scene.until(lambda: scene.of(HangUp))
            assert scene.of(HangUp)[0].cause == "the model refused the session: no such voice" and len(model.bot.sessions) == 1
            scene.stop("a")
            await scene.until(lambda: not bridge._stopped)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", MODELS)
def test_garbage_ends_its_own_call_and_says_why(tmp_path, name):
    async def scenario() -> None:
        async with serve(name) as model, stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"{name}+{model.address}", format="PCMU", arguments={"retries": "0", **SERVERS[name].settings})
            line.caller_says(tone(160))
            scene.ring()
            await scene.until(lambda: model.bot.sessions and model.heard().size)
            await model.say("this is not JSON")
            await scene.until(lambda: scene.of(HangUp))
            assert "the model sent what is not a message of" in scene.of(HangUp)[0].cause
            scene.stop("a")
            await scene.until(lambda: not bridge._stopped)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["deepgram", "elevenlabs", "ultravox"])
def test_turns_that_a_model_cannot_have_are_refused(tmp_path, name):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            await scene.call(f"{name}+ws://127.0.0.1:9/", arguments={"turns": "line"})
            await scene.until(lambda: scene.of(AgentFailed))
            assert 'turns is "line"' in scene.of(AgentFailed)[0].why
            await scene.until(lambda: not bridge._stopped)

    asyncio.run(scenario())


def test_gemini_goes_on_with_its_session_after_a_connection_broke(tmp_path):
    async def scenario() -> None:
        async with serve("gemini") as model, stage(tmp_path) as (scene, bridge):
            await scene.call(f"gemini+{model.address}", arguments={"retries": "1", "model": "m"})
            await scene.until(lambda: bridge.calls["a"].listener.agent._memory)
            model.bot.sessions[0].socket._writer.transport.abort()  # type: ignore[union-attr]
            await scene.until(lambda: len(model.bot.sessions) == 2 and model.messages)
            assert model.messages[0]["setup"]["sessionResumption"] == {"handle": "h1"}
            scene.stop("a")
            await scene.until(lambda: not bridge._stopped)

    asyncio.run(scenario())
