import asyncio
import base64
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from ai_bridge.wires import audiohook_bot, audiohook_probe
from ai_bridge.wires.audiohook import sign
from ai_bridge.wires.encoding import PCMU
from control_plane.messages import HangUp, Noted
from tests.ai_bridge.line import Line, tone
from tests.ai_bridge.scene import Scene, stage
from tests.ai_bridge.wires.bots import Bot, Session, serving

MONO = {"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}


class Server:
    """A bot on AudioHook as Genesys describes one: opened for open, pong for ping, closed for close."""

    def __init__(self, media: object = MONO, answers: tuple[str, ...] = ("open", "ping", "close")) -> None:
        self.media, self.answers = media, answers
        self.seq = 0

    async def __call__(self, session: Session) -> None:
        self.seq = 0
        await session.read(self.answer)

    async def answer(self, session: Session, message: object) -> None:
        if not isinstance(message, dict) or message["type"] not in self.answers:
            return
        if message["type"] == "open":
            await self.say(session, "opened", message["seq"], media=[self.media] if message["parameters"]["media"] else [])
        elif message["type"] == "ping":
            await self.say(session, "pong", message["seq"])
        elif message["type"] == "close":
            await self.say(session, "closed", message["seq"])

    async def say(self, session: Session, kind: str, clientseq: int, **parameters: object) -> None:
        self.seq += 1
        told = {"version": "2", "type": kind, "seq": self.seq, "clientseq": clientseq, "parameters": parameters}
        await session.send({**told, "id": session.headers["Audiohook-Session-Id"]})


def types(session: Session) -> list[str]:
    return [message["type"] for message in session.messages if isinstance(message, dict)]


def of(session: Session, kind: str) -> list[dict]:
    return [message for message in session.messages if isinstance(message, dict) and message["type"] == kind]


def heard(session: Session) -> bytes:
    return b"".join(message for message in session.messages if isinstance(message, bytes))


Act = Callable[[Scene, Line, Bot], Awaitable[None]]


def play(tmp_path, server: Server, act: Act, **arguments: str) -> None:
    async def scenario() -> None:
        async with serving(Bot(server)) as bot, stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"audiohook+{bot.url}", arguments={"retries": "0", **arguments})
            await scene.until(lambda: bot.sessions)
            await act(scene, line, bot)
            if "a" in bridge.calls:
                scene.stop("a")
            await scene.until(lambda: not bridge.calls and not bridge._stopped)

    asyncio.run(scenario())


def test_a_call_from_open_to_closed(tmp_path):
    async def act(scene: Scene, line: Line, bot: Bot) -> None:
        session = bot.sessions[0]
        line.caller_says(tone(320))
        scene.ring()
        await scene.until(lambda: len(heard(session)) == 320)
        await server.answer(session, {"type": "none"})
        scene.stop("a")
        await scene.until(lambda: session.close_code is not None)
        assert session.close_code == 1000 and types(session) == ["open", "close"]
        assert of(session, "close")[0]["parameters"] == {"reason": "end"}
        key = base64.b64decode("c2VjcmV0")
        signed = session.headers["Signature-Input"]
        names = ("Audiohook-Organization-Id", "Audiohook-Session-Id", "Audiohook-Correlation-Id", "X-API-KEY")
        components = {
            "@request-target": "/media",
            "@authority": session.headers["Host"],
            **{name.lower(): session.headers[name] for name in names},
        }
        nonce = signed.partition('nonce="')[2].partition('"')[0]
        created, expires = (int(signed.partition(f"{name}=")[2].partition(";")[0]) for name in ("created", "expires"))
        assert sign(key, "k", components, nonce, created, expires)["Signature"] == session.headers["Signature"]

    server = Server()
    play(tmp_path, server, act, api_key="k", secret="c2VjcmV0")


def test_nothing_is_sent_before_the_bot_is_ready_and_nothing_is_lost(tmp_path):
    async def act(scene: Scene, line: Line, bot: Bot) -> None:
        session = bot.sessions[0]
        line.caller_says(tone(800))
        scene.ring()
        line.caller_presses("5")
        await scene.until(lambda: types(session) == ["open"])
        await asyncio.sleep(0)
        assert heard(session) == b""
        await server.say(session, "opened", 1, media=[MONO])
        await scene.until(lambda: of(session, "dtmf"))
        assert np.array_equal(PCMU.decode(heard(session)), PCMU.decode(PCMU.encode(tone(800))))

    server = Server(answers=("close",))
    play(tmp_path, server, act)


def test_pings_are_sent_with_the_round_trip_and_one_without_an_answer_breaks_the_session(tmp_path, monkeypatch):
    monkeypatch.setattr(audiohook_bot, "FIRST_PING_S", 0.01)
    monkeypatch.setattr(audiohook_bot, "PING_S", 0.05)

    async def act(scene: Scene, line: Line, bot: Bot) -> None:
        session = bot.sessions[0]
        await scene.until(lambda: len(of(session, "ping")) >= 3)
        assert "rtt" in of(session, "ping")[1]["parameters"]
        server.answers = ("close",)
        await scene.until(lambda: scene.of(HangUp))
        assert "did not answer a ping within" in scene.of(HangUp)[0].cause
        await scene.until(lambda: types(session)[-2:] == ["error", "close"])
        assert of(session, "error")[0]["parameters"]["code"] == 408

    server = Server()
    play(tmp_path, server, act)


def test_a_bot_that_does_not_open_or_says_what_is_not_of_the_wire(tmp_path, monkeypatch):
    monkeypatch.setattr(audiohook_bot, "OPEN_S", 0.05)

    async def late(scene: Scene, line: Line, bot: Bot) -> None:
        await scene.until(lambda: scene.of(HangUp))
        assert "did not answer open with opened" in scene.of(HangUp)[0].cause
        await scene.until(lambda: types(bot.sessions[0]) == ["open", "error", "close"])

    play(tmp_path, Server(answers=()), late)

    async def wrong(scene: Scene, line: Line, bot: Bot) -> None:
        server.seq = 7
        await server.say(bot.sessions[0], "pong", 1)
        await scene.until(lambda: scene.of(HangUp))
        assert "seq 8 after" in scene.of(HangUp)[0].cause
        await scene.until(lambda: of(bot.sessions[0], "error"))

    server = Server()
    (tmp_path / "2").mkdir()
    play(tmp_path / "2", server, wrong)


def test_a_session_that_breaks_is_continued(tmp_path):
    async def act(scene: Scene, line: Line, bot: Bot) -> None:
        line.caller_says(tone(160))
        scene.ring()
        await scene.until(lambda: heard(bot.sessions[0]))
        transport = bot.sessions[0].socket._req.transport
        transport.abort()
        await scene.until(lambda: len(bot.sessions) == 2 and types(bot.sessions[1]))
        (before,) = of(bot.sessions[1], "open")[0]["parameters"]["continuedSessions"]
        assert before == {"id": bot.sessions[0].headers["Audiohook-Session-Id"], "serverseq": 1, "clientseq": 1}

    play(tmp_path, Server(), act, retries="1")


def test_the_bot_ends_the_call_when_everything_was_heard(tmp_path):
    async def act(scene: Scene, line: Line, bot: Bot) -> None:
        session = bot.sessions[0]
        await scene.until(lambda: server.seq)
        await session.send(PCMU.encode(tone(800)))
        await server.say(session, "disconnect", 1, reason="completed", outputVariables={"action": "transfer"})
        await scene.until(lambda: scene.of(Noted))
        assert (scene.of(Noted)[0].kind, scene.of(Noted)[0].text) == ("output variables", '{"action":"transfer"}')
        assert not scene.of(HangUp)

        def played() -> object:
            line.tick()
            scene.ring()
            return scene.of(HangUp)

        await scene.until(played)
        assert np.array_equal(line.heard(), PCMU.decode(PCMU.encode(tone(800))))
        scene.stop("a")
        await scene.until(lambda: of(session, "close"))
        assert of(session, "close")[0]["parameters"] == {"reason": "disconnect"}

    server = Server()
    play(tmp_path, server, act)


def test_the_second_channel_is_what_the_caller_hears_of_the_bot(tmp_path):
    async def act(scene: Scene, line: Line, bot: Bot) -> None:
        session = bot.sessions[0]
        await scene.until(lambda: server.seq)
        await session.send(PCMU.encode(tone(480, 5_000)))
        for _ in range(5):  # a frame each way at a time, as on the wire
            await scene.until(lambda: line.is_waiting() or len(line.wire) == 3)
            line.tick()
            line.caller_says(tone(160))
            scene.ring()
            size = len(heard(session))
            await scene.until(lambda size=size: len(heard(session)) == size + 320)
        both = np.frombuffer(heard(session), np.uint8)
        assert np.array_equal(PCMU.decode(both[::2].tobytes()), PCMU.decode(PCMU.encode(np.tile(tone(160), 5))))
        internal = PCMU.decode(both[1::2].tobytes())
        assert np.array_equal(internal[:480], PCMU.decode(PCMU.encode(tone(480, 5_000)))) and not internal[480:].any()

    server = Server({**MONO, "channels": ["external", "internal"]})
    play(tmp_path, server, act, channels="both")


@pytest.mark.parametrize(
    ("server", "code", "says"),
    [
        (Server(), 0, "the bot opens sessions"),
        (Server(answers=()), 1, "did not answer open with opened"),
        (Server(answers=("open",)), 1, "did not answer close with closed"),
    ],
)
def test_a_probe(server, code, says, monkeypatch, capsys):
    monkeypatch.setattr(audiohook_probe, "ANSWER_S", 0.2)

    async def scenario() -> None:
        async with serving(Bot(server)) as bot:
            assert await asyncio.to_thread(audiohook_probe.main, [bot.url, "--api-key", "k"]) == code
            assert of(bot.sessions[0], "open")[0]["parameters"]["media"] == []

    asyncio.run(scenario())
    assert says in capsys.readouterr().out
