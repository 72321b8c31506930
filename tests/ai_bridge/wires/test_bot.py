import asyncio
import base64
import json
import logging
from collections.abc import Callable

import numpy as np
import pytest

from ai_bridge.call import Call
from ai_bridge.loader import load
from ai_bridge.wires.bot import Bot as BotAgent
from ai_bridge.wires.encoding import PCMU
from control_plane.errors import ConfigurationError
from control_plane.messages import AgentFailed, HangUp
from tests.ai_bridge.line import Line, tone
from tests.ai_bridge.scene import Scene, stage
from tests.ai_bridge.wires.bots import Bot, Session, listen, serving

FAST = {"retries": "0"}


def media(pcm: np.ndarray) -> dict:
    return {"event": "media", "media": {"payload": base64.b64encode(PCMU.encode(pcm)).decode()}}


def coarse(pcm: np.ndarray) -> np.ndarray:
    """What G.711 leaves of it."""
    return PCMU.decode(PCMU.encode(pcm))


class Play:
    """A bot, a bridge, and one call between them."""

    def __init__(self, scene: Scene, bridge, bot: Bot, line: Line) -> None:
        self.scene, self.bridge, self.bot, self.line = scene, bridge, bot, line
        self.call = bridge.calls.get("a")

    @property
    def session(self) -> Session:
        return self.bot.sessions[-1]

    async def until(self, condition: Callable[[], object]) -> None:
        await self.scene.until(condition)

    async def playing(self, condition: Callable[[], object]) -> None:
        """The line plays on until this is so."""

        def after_a_tick() -> object:
            self.line.tick()
            self.scene.ring()
            return condition()

        await self.until(after_a_tick)


def play(tmp_path, act, bot: Bot, rate_hz: int = 8_000, resumed: bool = False, **arguments: str) -> None:
    async def scenario() -> None:
        async with serving(bot), stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"twilio+{bot.url}", rate_hz=rate_hz, caller="+49301", resumed=resumed, arguments={**FAST, **arguments})
            await act(Play(scene, bridge, bot, line))
            if "a" in bridge.calls:
                scene.stop("a")
            await scene.until(lambda: not bridge.calls and not bridge._stopped)

    asyncio.run(scenario())


def test_a_call_from_its_start_to_its_end(tmp_path):
    async def act(p: Play) -> None:
        p.line.caller_says(tone(320))
        p.line.caller_presses("7")
        p.scene.ring()
        await p.until(lambda: p.bot.sessions and p.session.of("dtmf"))
        events = [message["event"] for message in p.session.messages]
        assert events == ["connected", "start", "media", "media", "dtmf"]
        heard = np.concatenate([PCMU.decode(base64.b64decode(m["media"]["payload"])) for m in p.session.of("media")])
        assert np.array_equal(heard, coarse(tone(320)))
        assert [m["media"]["timestamp"] for m in p.session.of("media")] == ["0", "20"]
        parameters = p.session.of("start")[0]["start"]["customParameters"]
        assert parameters == {"from_number": "+49301", "to_number": "", "shop": "12"}
        assert p.session.headers["X-Twilio-Signature"] and p.session.headers["Authorization"] == "Bearer x"
        p.scene.stop("a")
        await p.until(lambda: p.session.close_code is not None)
        assert p.session.messages[-1]["event"] == "stop" and p.session.close_code == 1000
        assert not p.scene.of(HangUp)

    play(tmp_path, act, Bot(listen), shop="12", secret="s", authorization="Bearer x")


@pytest.mark.parametrize("size", [1, 37, 160, 333, 16_000])
def test_what_the_bot_says_in_messages_of_any_size_is_heard_without_a_gap(tmp_path, size):
    said = coarse(tone(16_000 if size > 1 else 400))

    async def speak(session: Session) -> None:
        for start in range(0, said.size, size):
            await session.send(media(said[start : start + size]))
        await session.send({"event": "mark", "mark": {"name": "end"}})
        await session.read()

    async def act(p: Play) -> None:
        await p.until(lambda: p.call.queued_ms >= said.size // 160 * 20 and len(p.bot.sessions) == 1)
        await p.playing(lambda: p.session.of("mark"))
        heard = p.line.heard()
        assert np.array_equal(heard[: said.size], said) and not heard[said.size :].any()
        assert p.session.of("mark")[0]["mark"] == {"name": "end"}

    play(tmp_path, act, Bot(speak))


def test_a_mark_comes_back_when_it_was_played_and_not_before(tmp_path):
    async def speak(session: Session) -> None:
        await session.send({"event": "mark", "mark": {"name": "at once"}})
        await session.send(media(tone(1_600)))
        await session.send({"event": "mark", "mark": {"name": "played"}})
        await session.read()

    async def act(p: Play) -> None:
        await p.until(lambda: p.bot.sessions and p.session.of("mark"))
        await p.until(lambda: p.call.queued_ms == 200)
        for _ in range(9):
            p.line.tick()
            p.scene.ring()
            await asyncio.sleep(0.03)  # the bridge has looked meanwhile
        assert [m["mark"]["name"] for m in p.session.of("mark")] == ["at once"]
        await p.playing(lambda: len(p.session.of("mark")) == 2)
        assert p.session.of("mark")[1]["mark"]["name"] == "played" and len(p.line.heard()) == 1_600

    play(tmp_path, act, Bot(speak))


def test_clear_is_silence_at_the_next_frame_and_gives_the_marks_back(tmp_path):
    async def speak(session: Session) -> None:
        await session.send(media(tone(40_000)))
        await session.send({"event": "mark", "mark": {"name": "never played"}})

        async def clear(session: Session, message: dict) -> None:
            if message["event"] == "dtmf":
                await session.send({"event": "clear"})
                await session.send(media(tone(320, 9_000)))

        await session.read(clear)

    async def act(p: Play) -> None:
        await p.until(lambda: p.call.queued_ms == 5_000)
        p.line.tick(10)
        p.line.caller_presses("1")
        p.scene.ring()
        await p.until(lambda: p.session.of("mark") and p.call.queued_ms == 40)
        p.line.tick(4)
        heard = p.line.heard()
        assert np.array_equal(heard, coarse(np.concatenate((tone(1_600), tone(320, 9_000)))))
        assert p.session.of("mark")[0]["mark"]["name"] == "never played"

    play(tmp_path, act, Bot(speak))


def test_a_line_of_another_rate_is_converted_both_ways(tmp_path):
    times = np.arange(16_000) / 16_000
    caller = (8_000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)

    async def echo(session: Session) -> None:
        async def back(session: Session, message: dict) -> None:
            if message["event"] == "media":
                await session.send({"event": "media", "media": {"payload": message["media"]["payload"]}})

        await session.read(back)

    async def act(p: Play) -> None:
        for start in range(0, caller.size, 3_200):
            p.line.caller_says(caller[start : start + 3_200])
            p.scene.ring()
            await p.until(lambda start=start: p.call.queued_ms >= start / 16)
        await p.playing(lambda: len(p.line.heard()) > 12_000)
        heard = p.line.heard()[2_000:10_000].astype(float)
        peak = np.abs(np.fft.rfft(heard * np.hanning(heard.size))).argmax() * 16_000 / heard.size
        assert abs(peak - 440) < 3 and 7_500 < np.abs(heard).max() < 8_500

    play(tmp_path, act, Bot(echo), rate_hz=16_000)


def test_the_bot_closes_and_the_call_ends_when_its_last_words_were_heard(tmp_path):
    async def speak(session: Session) -> None:
        await session.send(media(tone(800)))

    async def act(p: Play) -> None:
        await p.until(lambda: p.call.queued_ms == 100)
        await asyncio.sleep(0.05)
        assert not p.scene.of(HangUp)
        await p.playing(lambda: p.scene.of(HangUp))
        assert p.scene.of(HangUp)[0].cause == "the bot closed the connection" and len(p.line.heard()) == 800

    play(tmp_path, act, Bot(speak))


async def send_text(session: Session) -> None:
    await session.send("this is not JSON")
    await session.read()


async def send_binary(session: Session) -> None:
    await session.send(bytes(320))
    await session.read()


async def send_too_much(session: Session) -> None:
    await session.send("x" * 100_000_000)
    await session.read()


async def die(session: Session) -> None:
    await session.socket.receive()
    session.socket._writer.transport.abort()  # type: ignore[union-attr]


async def fail(session: Session) -> None:
    await session.socket.close(code=1011, message=b"no model")


async def close_oddly(session: Session) -> None:
    await session.socket.close(code=4321, message=b"full")


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (send_text, "the bot sent what is not a message of Twilio Media Streams"),
        (send_binary, "the bot sent a binary message, and this wire has none"),
        (send_too_much, "100000000 > 2097152"),
        (die, "broke without a goodbye"),
        (fail, "closed the connection with code 1011: no model"),
        (close_oddly, "closed the connection with code 4321: full"),
    ],
)
def test_a_bot_that_breaks_its_wire_ends_its_own_call_and_says_why(tmp_path, caplog, behave, reason):
    async def scenario() -> None:
        async with serving(Bot(behave)) as bad, serving(Bot(listen)) as good, stage(tmp_path) as (scene, bridge):
            other = await scene.call(f"twilio+{good.url}", "good", 1)
            await scene.call(f"twilio+{bad.url}", "bad", arguments=FAST)
            await scene.until(lambda: scene.of(HangUp))
            assert [(m.call_id, reason in m.cause) for m in scene.of(HangUp)] == [("bad", True)], scene.of(HangUp)
            other.caller_says(tone(160))
            scene.ring()
            await scene.until(lambda: good.sessions[0].of("media"))
            scene.stop("good")
            scene.stop("bad")
            await scene.until(lambda: not bridge.calls and not bridge._stopped)

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert len([r for r in caplog.records if r.name.startswith("ai_bridge.wires")]) == 1, caplog.text
    assert reason in caplog.text and "fallback" in caplog.text


def test_a_bot_that_is_away_is_dialled_anew_and_then_gets_what_was_said_meanwhile(tmp_path):
    async def act(p: Play) -> None:
        p.line.caller_says(tone(320))
        p.scene.ring()
        await p.until(lambda: p.bot.sessions and len(p.session.of("media")) == 2)
        assert not p.scene.of(HangUp)

    play(tmp_path, act, Bot(listen, refuse=2), retries="2")


def test_a_bot_that_dies_once_is_dialled_anew_and_what_it_said_is_dropped(tmp_path):
    async def once(session: Session) -> None:
        if len(bot.sessions) == 1:
            await session.send(media(tone(8_000)))
            await session.send({"event": "mark", "mark": {"name": "old"}})
            await session.socket.receive()
            await asyncio.sleep(0.05)
            await die(session)
        await session.read()

    bot = Bot(once)

    async def act(p: Play) -> None:
        await p.until(lambda: len(p.bot.sessions) == 2 and p.session.of("start"))
        first, second = (session.of("start") for session in p.bot.sessions)
        assert not first or first[0]["streamSid"] != second[0]["streamSid"]
        assert p.call.queued_ms == 0
        p.line.caller_says(tone(160))
        p.scene.ring()
        await p.until(lambda: p.session.of("media"))
        assert not p.session.of("mark")

    play(tmp_path, act, bot, retries="1")


def test_another_agent_takes_the_call_of_a_bot_that_is_away(tmp_path):
    async def act(p: Play) -> None:
        await p.until(lambda: p.bridge.calls["a"].resumed)
        taken = p.bridge.calls["a"]
        p.line.caller_says(tone(160))
        p.scene.ring()
        await p.until(lambda: taken.queued_ms >= 20)
        p.line.tick(2)
        assert np.array_equal(p.line.heard()[-160:], tone(160)) and not p.scene.of(HangUp)

    play(tmp_path, act, Bot(listen, refuse=9), fallback="echo")


def test_a_fallback_that_cannot_be_had_fails_the_call(tmp_path):
    async def act(p: Play) -> None:
        await p.until(lambda: p.scene.of(AgentFailed))
        assert 'there is no such built-in agent' in p.scene.of(AgentFailed)[0].why

    play(tmp_path, act, Bot(listen, refuse=9), fallback="nobody")


def test_nobody_there(tmp_path):
    async def act(p: Play) -> None:
        await p.until(lambda: p.scene.of(HangUp))
        assert "cannot be reached" in p.scene.of(HangUp)[0].cause and "http" not in p.scene.of(HangUp)[0].cause

    class Gone(Bot):
        url = property(lambda self: "ws://127.0.0.1:9/media", lambda self, value: None)  # type: ignore[assignment]

    play(tmp_path, act, Gone(listen))


def test_after_a_restart_of_the_bridge_the_bot_is_told(tmp_path):
    async def act(p: Play) -> None:
        await p.until(lambda: p.bot.sessions and p.session.of("start"))
        assert p.session.of("start")[0]["start"]["customParameters"]["resumed"] == "true"

    play(tmp_path, act, Bot(listen), resumed=True)


def test_a_bot_that_does_not_read_holds_up_nobody_and_gets_all_of_it_when_it_reads_again(tmp_path):
    async def stall(session: Session) -> None:
        session.socket._reader._protocol.pause_reading()  # type: ignore[attr-defined]
        await stalled.wait()
        session.socket._reader._protocol.resume_reading()  # type: ignore[attr-defined]
        await session.read()

    stalled = asyncio.Event()
    frames = 5_000

    async def act(p: Play) -> None:
        await p.until(lambda: p.bot.sessions)
        runner = p.call.listener
        sent = 0
        while not runner._audio_waiting and sent < frames:
            p.line.caller_says(tone(160 * 16))
            sent += 16
            p.scene.ring()
            await asyncio.sleep(0.001)
        assert runner._audio_waiting, "the socket takes no end of it"
        stalled.set()
        await p.until(lambda: len(p.session.of("media")) == sent)
        assert [int(m["media"]["chunk"]) for m in p.session.of("media")] == list(range(1, sent + 1))

    play(tmp_path, act, Bot(stall))


def test_on_hold_nothing_is_said_that_would_be_stale_and_marks_come_back(tmp_path):
    async def speak(session: Session) -> None:
        await session.send(media(tone(8_000)))

        async def more(session: Session, message: dict) -> None:
            if message["event"] == "dtmf":
                await session.send(media(tone(160, 5_000)))
                await session.send({"event": "mark", "mark": {"name": message["dtmf"]["digit"]}})

        await session.read(more)

    async def act(p: Play) -> None:
        await p.until(lambda: p.call.queued_ms == 1_000)
        p.line.hold(True)
        p.line.caller_presses("1")
        p.scene.ring()
        await p.until(lambda: p.session.of("mark"))
        assert p.call.queued_ms == 0
        p.line.hold(False)
        p.line.caller_presses("2")
        p.scene.ring()
        await p.playing(lambda: len(p.session.of("mark")) == 2)
        assert np.array_equal(p.line.heard(), coarse(tone(160, 5_000)))

    play(tmp_path, act, Bot(speak))


def test_keys_of_the_bot_go_out_behind_what_it_said_and_wrong_ones_are_its_error(tmp_path):
    async def speak(session: Session) -> None:
        await session.send(media(tone(800)))
        await session.send({"event": "sendDTMF", "dtmf": "1"})
        await session.socket.receive()
        await session.send({"event": "sendDTMF", "dtmf": "x"})
        await session.read()

    async def scenario() -> None:
        async with serving(Bot(speak)) as bot, stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"plivo+{bot.url}", arguments=FAST)
            line.caller_says(tone(160))
            scene.ring()
            await scene.until(lambda: scene.of(HangUp))
            assert "keys that no telephone has" in scene.of(HangUp)[0].cause
            scene.stop("a")
            await scene.until(lambda: not bridge._stopped)

    pressed: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        press = Call.press
        patch.setattr(Call, "press", lambda call, keys: (pressed.append(keys), press(call, keys))[1])
        asyncio.run(scenario())
    assert pressed == ["1", "x"]


def test_marks_without_end_are_refused(tmp_path):
    async def speak(session: Session) -> None:
        await session.send(media(tone(8_000)))
        for n in range(1_001):
            await session.send({"event": "mark", "mark": {"name": str(n)}})
        await session.read()

    async def act(p: Play) -> None:
        await p.until(lambda: p.scene.of(HangUp))
        assert "1000 marks are the most" in p.scene.of(HangUp)[0].cause

    play(tmp_path, act, Bot(speak))


def test_options_that_are_wrong_fail_the_call_and_name_the_argument(tmp_path):
    async def act(p: Play) -> None:
        await p.until(lambda: p.scene.of(AgentFailed))
        assert p.scene.of(AgentFailed)[0].why == "the route's arguments: retries is 50, not from 0 to 10"

    play(tmp_path, act, Bot(listen), retries="50")


def test_an_address_is_an_agent():
    kind = load("twilio+wss://bot.example:8443/media?x=1")
    assert issubclass(kind, BotAgent) and kind.url == "wss://bot.example:8443/media?x=1" and kind.__name__ == "TwilioBot"
    assert load("twilio+wss://bot.example:8443/media?x=1") is kind


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("carrier+wss://bot.example/", 'there is no wire "carrier"; there are bellframe'),
        ("twilio+http://bot.example/", '"http" is not ws or wss'),
        ("twilio://bot.example/", '"" is not ws or wss'),
        ("twilio+wss://", "this is not an address such as twilio"),
        ("twilio+wss://host:port/", "this is not an address"),
        ("twilio+wss://me:pass@bot.example/", "authorization_file"),
    ],
)
def test_an_address_that_is_none_is_refused(reference, reason):
    with pytest.raises(ConfigurationError, match=reason.replace("(", r"\(")) as refused:
        load(reference)
    assert "pass@" not in str(refused.value)


def test_json_reads_what_is_put_together_by_hand():
    assert json.loads(json.dumps(media(tone(160))))["event"] == "media"


def test_what_the_caller_says_to_a_bot_that_is_given_up_holds_nothing_up(tmp_path, caplog):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call("twilio+ws://127.0.0.1:9/media", arguments=FAST)
            line.caller_says(tone(160))
            scene.ring()
            await scene.until(lambda: scene.of(HangUp))
            scene.stop("a")
            async with asyncio.timeout(2):
                await scene.until(lambda: not bridge.calls and not bridge._stopped)

    asyncio.run(scenario())
    assert "still busy" not in caplog.text
