"""Bots on our own wire: a real WebSocket to a bridge with real rings, and a line that ticks when the test says so."""

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from ai_bridge.wires import bellframe_messages as wire
from control_plane.messages import HangUp, HoldCall, HoldEnded, Noted, Transfer, TransferEnded
from shm import layout
from tests.ai_bridge.line import tone
from tests.ai_bridge.scene import stage
from tests.ai_bridge.wires.bots import Bot, Session, serving
from tests.ai_bridge.wires.test_bot import Play

Act = Callable[[Play], Awaitable[None]]


def says(turn: int, pcm: np.ndarray) -> bytes:
    return struct.pack("<IIQ", turn, 0, 0) + pcm.astype("<i2").tobytes()


def ready(**values: object) -> dict[str, object]:
    return {"type": "ready", "version": 1, "rate_hz": 8_000, **values}


def of(session: Session, kind: str) -> list[dict[str, Any]]:
    return [message for message in session.messages if isinstance(message, dict) and message["type"] == kind]


def audio(session: Session) -> list[tuple[int, int, int, np.ndarray]]:
    parts = [message for message in session.messages if isinstance(message, bytes)]
    return [(*struct.unpack_from("<IIQ", part), np.frombuffer(part[16:], "<i2")) for part in parts]


def bot_that(**values: object) -> Bot:
    """Says ready, and listens: the test says the rest with `session.send`."""

    async def behave(session: Session) -> None:
        await session.send(ready(**values))
        await session.read()

    return Bot(behave)


def play(tmp_path, act: Act, bot: Bot, rate_hz: int = 8_000, resumed: bool = False, at: str = "bellframe", **arguments: str) -> None:
    async def scenario() -> None:
        async with serving(bot), stage(tmp_path) as (scene, bridge):
            given = {"retries": "0", **arguments}
            line = await scene.call(f"{at}+{bot.url}", rate_hz=rate_hz, caller="+49301", callee="100", resumed=resumed, arguments=given)
            p = Play(scene, bridge, bot, line)
            await p.until(lambda: bot.sessions and bot.sessions[0].messages)
            await act(p)
            if "a" in bridge.calls:
                scene.stop("a")
            await scene.until(lambda: not bridge.calls and not bridge._stopped)

    asyncio.run(scenario())


def hears(p: Play, pcm: np.ndarray, flags: int = 0) -> None:
    p.line.caller_says(pcm, flags)
    p.scene.ring()


def test_a_call_from_its_start_to_its_end(tmp_path):
    async def act(p: Play) -> None:
        hears(p, tone(320))
        p.line.caller_presses("7")
        p.scene.ring()
        await p.until(lambda: of(p.session, "key"))
        (start,) = of(p.session, "start")
        assert (start["version"], start["call_id"], start["caller"], start["callee"]) == (1, "a", "+49301", "100")
        assert (start["arguments"], start["line_rate_hz"], start["turn"], start["resumed"]) == ({"shop": "12"}, 8_000, 0, "")
        assert [position for _, _, position, _ in audio(p.session)] == [0, 160]
        assert np.array_equal(np.concatenate([pcm for *_, pcm in audio(p.session)]), tone(320))
        assert of(p.session, "key") == [{"type": "key", "key": "7"}]
        await p.session.send(says(0, tone(800)))
        await p.session.send({"type": "mark", "turn": 0, "name": "end"})
        await p.playing(lambda: of(p.session, "mark_played"))
        assert np.array_equal(p.line.heard(), tone(800))
        p.scene.stop("a", "BYE")
        await p.until(lambda: p.session.close_code is not None)
        assert p.session.messages[-1] == {"type": "stop", "cause": "BYE", "turn": 0, "heard_ms": 100.0} and p.session.close_code == 1000
        assert not p.scene.of(HangUp)

    play(tmp_path, act, bot_that(), shop="12")


def test_audio_has_the_rate_that_the_bot_asks_for_and_waits_for_ready(tmp_path):
    may_begin = asyncio.Event()

    async def behave(session: Session) -> None:
        session.messages.append(json.loads((await session.socket.receive()).data))
        await may_begin.wait()
        await session.send(ready(rate_hz=24_000, say_rate_hz=16_000))
        await session.read()

    async def act(p: Play) -> None:
        hears(p, (8_000 * np.sin(2 * np.pi * 440 * np.arange(1_600) / 8_000)).astype(np.int16))
        await asyncio.sleep(0.05)
        assert not audio(p.session)
        may_begin.set()
        await p.until(lambda: len(audio(p.session)) == 10)
        assert [(position, pcm.size) for _, _, position, pcm in audio(p.session)] == [(480 * n, 480) for n in range(10)]
        heard = np.concatenate([pcm for *_, pcm in audio(p.session)])
        expected = 8_000 * np.sin(2 * np.pi * 440 * (np.arange(4_800) / 24_000 - 0.0025))
        assert np.abs(heard[1_000:] - expected[1_000:]).max() < 40
        await p.session.send(says(0, np.zeros(1_600, np.int16)))
        await p.until(lambda: p.call.queued_ms >= 80)
        assert p.call.queued_ms <= 100

    play(tmp_path, act, Bot(behave))


def test_flags_of_audio_are_those_of_the_rings():
    assert (wire.SPEECH, wire.CONCEALED) == (layout.SPEECH_FLAG, layout.CONCEALED_FLAG)
    assert (wire.COMFORT_NOISE, wire.DISCONTINUITY) == (layout.COMFORT_NOISE_FLAG, layout.DISCONTINUITY_FLAG)


def test_speech_is_told_with_the_position_of_the_frame_that_it_was_found_in(tmp_path):
    async def act(p: Play) -> None:
        hears(p, tone(320))
        hears(p, tone(320), layout.SPEECH_FLAG)
        hears(p, tone(160))
        await p.until(lambda: len(audio(p.session)) == 5)
        kinds = [message["type"] if isinstance(message, dict) else message[4] for message in p.session.messages[1:]]
        assert kinds == [0, 0, "speech_started", 1, 1, "speech_stopped", 0]
        assert (of(p.session, "speech_started")[0]["position"], of(p.session, "speech_stopped")[0]["position"]) == (320, 640)

    play(tmp_path, act, bot_that())


def test_the_next_turn_is_silence_at_the_next_frame_and_what_was_heard_is_told_to_the_sample(tmp_path):
    async def act(p: Play) -> None:
        await p.session.send(says(0, tone(8_000)))
        await p.session.send({"type": "mark", "turn": 0, "name": "never"})
        await p.until(lambda: p.call.queued_ms == 1_000)
        p.line.tick(7)
        await p.session.send(says(1, tone(320, 20_000)))
        await p.session.send(says(0, tone(320, 9_000)))  # was on its way: it is dropped
        await p.session.send({"type": "mark", "turn": 0, "name": "late"})
        await p.session.send({"type": "mark", "turn": 1, "name": "end"})
        await p.until(lambda: of(p.session, "mark_cleared"))
        await p.playing(lambda: of(p.session, "mark_played"))
        await p.until(lambda: of(p.session, "turn_ended"))
        assert np.array_equal(p.line.heard(), np.concatenate((tone(7 * 160), tone(320, 20_000))))
        assert of(p.session, "turn_ended") == [{"type": "turn_ended", "turn": 0, "cause": "bot", "said_ms": 1_000.0, "heard_ms": 140.0}]
        assert {mark["name"] for mark in of(p.session, "mark_cleared")} == {"never", "late"}
        assert [mark["name"] for mark in of(p.session, "mark_played")] == ["end"]

    play(tmp_path, act, bot_that())


def test_the_engine_ends_the_turn_when_the_caller_speaks_if_the_bot_asked_for_it(tmp_path):
    async def act(p: Play) -> None:
        await p.session.send(says(0, tone(8_000)))
        await p.session.send({"type": "mark", "turn": 0, "name": "never"})
        await p.until(lambda: p.call.queued_ms == 1_000)
        p.line.tick(5)
        hears(p, tone(160), layout.SPEECH_FLAG)
        await p.until(lambda: p.call.turn == 1)
        await p.session.send(says(0, tone(320, 9_000)))  # the bot does not know yet
        await p.session.send({"type": "mark", "turn": 0, "name": "late"})
        await p.playing(lambda: of(p.session, "turn_ended") and len(of(p.session, "mark_cleared")) == 2)
        assert of(p.session, "turn_ended") == [{"type": "turn_ended", "turn": 0, "cause": "caller", "said_ms": 1_000.0, "heard_ms": 100.0}]
        assert audio(p.session)[0][0] == 1 and p.call.queued_ms == 0
        await p.session.send(says(1, tone(320, 9_000)))
        await p.until(lambda: p.call.queued_ms == 40)

    play(tmp_path, act, bot_that(interrupt_on_speech=True))


def test_silence_that_fills_up_a_frame_is_not_counted_as_heard(tmp_path):
    async def act(p: Play) -> None:
        await p.session.send(says(0, tone(200)))
        await p.playing(lambda: len(p.line.heard()) == 320)  # 120 samples of silence behind what came
        await p.session.send(says(0, tone(200)))
        await p.playing(lambda: len(p.line.heard()) == 640)
        await p.session.send({"type": "turn", "turn": 1})
        await p.playing(lambda: of(p.session, "turn_ended"))
        assert (of(p.session, "turn_ended")[0]["said_ms"], of(p.session, "turn_ended")[0]["heard_ms"]) == (50.0, 50.0)

    play(tmp_path, act, bot_that())


def test_back_pressure_and_reports(tmp_path):
    async def act(p: Play) -> None:
        await p.session.send(says(0, tone(4_800)))
        await p.until(lambda: of(p.session, "queue_full"))
        await p.playing(lambda: of(p.session, "queue_low"))
        assert of(p.session, "queue_full")[0]["queued_ms"] == 600 and of(p.session, "queue_low")[0]["queued_ms"] <= 200
        await p.playing(lambda: of(p.session, "drained"))
        assert of(p.session, "drained") == [{"type": "drained", "turn": 0, "heard_ms": 600.0}]
        await p.until(lambda: of(p.session, "played")[-1]["heard_ms"] == 600)
        heard = [message["heard_ms"] for message in of(p.session, "played")]
        assert heard == sorted(set(heard)), "only what changes is told"

    play(tmp_path, act, bot_that(ahead_ms=400, report_ms=20))


def test_pausing_and_going_on(tmp_path):
    async def act(p: Play) -> None:
        await p.session.send({"type": "pause"})
        await p.until(lambda: p.scene.rings.words[0, layout.PAUSED] == 1)
        await p.session.send({"type": "resume"})
        await p.until(lambda: p.scene.rings.words[0, layout.PAUSED] == 0)

    play(tmp_path, act, bot_that())


def test_on_hold_what_the_bot_says_is_dropped_and_the_turn_is_over(tmp_path):
    async def act(p: Play) -> None:
        await p.session.send(says(0, tone(1_600)))
        await p.until(lambda: p.call.queued_ms == 200)
        p.line.hold(True)
        p.scene.ring()
        await p.playing(lambda: of(p.session, "turn_ended"))
        assert of(p.session, "hold") == [{"type": "hold", "is_held": True}] and of(p.session, "turn_ended")[0]["cause"] == "hold"
        await p.session.send(says(1, tone(1_600)))
        await p.session.send({"type": "mark", "turn": 1, "name": "dropped"})
        await p.until(lambda: of(p.session, "mark_played"))
        p.line.hold(False)
        p.scene.ring()
        await p.until(lambda: len(of(p.session, "hold")) == 2)
        await p.session.send(says(1, tone(320)))
        await p.until(lambda: p.call.queued_ms == 40)

    play(tmp_path, act, bot_that())


def test_holding_transferring_and_noting(tmp_path):
    async def act(p: Play) -> None:
        await p.session.send({"type": "hold"})
        await p.until(lambda: p.scene.of(HoldCall))
        p.scene.switchboard.send(b"bridge-0", HoldEnded("a", True, True, 200))
        await p.until(lambda: of(p.session, "hold_ended"))
        assert of(p.session, "hold_ended") == [{"type": "hold_ended", "is_held": True, "was_accepted": True, "status": 200, "why": ""}]
        await p.session.send({"type": "transfer", "to": "200"})
        await p.until(lambda: p.scene.of(Transfer))
        p.scene.switchboard.send(b"bridge-0", TransferEnded("a", False, 603, "declined"))
        await p.until(lambda: of(p.session, "transfer_ended"))
        assert of(p.session, "transfer_ended")[0]["was_accepted"] is False and of(p.session, "transfer_ended")[0]["why"] == "declined"
        await p.session.send({"type": "note", "kind": "heard", "text": "yes", "values": {"ms": 12, "text": 1, "self": 2}})
        await p.until(lambda: p.scene.of(Noted))
        assert p.scene.of(Noted)[-1].values == {"ms": 12, "text": 1, "self": 2}

    play(tmp_path, act, bot_that())


def test_quality_counts_what_the_audio_was_made_of(tmp_path):
    async def act(p: Play) -> None:
        hears(p, tone(320), layout.SPEECH_FLAG)
        hears(p, tone(160), layout.CONCEALED_FLAG)
        await p.until(lambda: of(p.session, "quality"))
        expected = {"position": 320, "frames": 3, "concealed": 1, "lost": 0, "comfort_noise": 0, "level_dbov": -30.0}
        assert of(p.session, "quality") == [{"type": "quality", **expected}]

    play(tmp_path, act, bot_that(quality_ms=1_000))


@pytest.mark.parametrize("at_once", [True, False])
def test_hanging_up(tmp_path, at_once):
    async def act(p: Play) -> None:
        await p.session.send(says(0, tone(800)))
        await p.session.send({"type": "hang_up", "cause": "done", "at_once": at_once})
        await p.playing(lambda: p.scene.of(HangUp))
        assert p.scene.of(HangUp)[0].cause == "done" and (at_once or len(p.line.heard()) == 800)

    play(tmp_path, act, bot_that())


def test_keys_are_pressed_behind_what_was_said(tmp_path):
    async def act(p: Play) -> None:
        await p.session.send(says(0, tone(160)))
        await p.session.send({"type": "press", "keys": "5"})
        await p.playing(lambda: ord("5") in p.line.keys)
        assert p.line.keys[0] == 0

    play(tmp_path, act, bot_that())


def test_a_bot_whose_connection_broke_comes_back_to_the_same_call(tmp_path):
    """What it said goes on, what happened meanwhile is told in order, and it speaks on in the same turn."""

    async def behave(session: Session) -> None:
        await session.send(ready())
        if len(bot.sessions) == 1:
            await session.send(says(0, tone(1_600)))
            await session.send({"type": "mark", "turn": 0, "name": "played meanwhile"})
            while not audio(session):
                message = await session.socket.receive()
                session.messages.append(json.loads(message.data) if isinstance(message.data, str) else message.data)
            session.socket._writer.transport.abort()
        await session.read()

    bot = Bot(behave)

    async def act(p: Play) -> None:
        await p.until(lambda: p.call.queued_ms == 200)
        hears(p, tone(160))
        bot.refuse = 1  # it needs a moment
        await p.until(lambda: bot.refuse == 0)
        p.line.tick(10)
        hears(p, tone(320, 161))
        p.line.caller_presses("3")
        p.scene.ring()
        await p.until(lambda: len(bot.sessions) == 2 and of(p.session, "key") and of(p.session, "mark_played"))
        (start,) = of(p.session, "start")
        assert (start["resumed"], start["turn"], start["said_ms"], start["heard_ms"]) == ("connection", 0, 200.0, 200.0)
        assert start["away_ms"] > 0
        assert [mark["name"] for mark in of(p.session, "mark_played")] == ["played meanwhile"]
        assert [position for _, _, position, _ in audio(p.session)] == [160, 320]
        assert of(p.session, "key") == [{"type": "key", "key": "3"}]
        await p.session.send(says(0, tone(320, 1_601)))
        await p.playing(lambda: len(p.line.heard()) == 1_920)
        assert np.array_equal(p.line.heard(), tone(1_920)) and not p.scene.of(HangUp)

    play(tmp_path, act, bot)


def test_a_bot_that_does_not_come_back_in_time_is_given_up(tmp_path):
    async def behave(session: Session) -> None:
        await session.send(ready())
        session.messages.append(await session.socket.receive())
        bot.refuse = 100
        session.socket._writer.transport.abort()

    bot = Bot(behave)

    async def act(p: Play) -> None:
        await p.until(lambda: p.scene.of(HangUp))
        assert "cannot be reached" in p.scene.of(HangUp)[0].cause and 0 < 100 - bot.refuse < 4

    play(tmp_path, act, bot, resume_seconds="0.5")


def test_a_successor_of_the_agent_process_is_told_what_was_said_and_heard(tmp_path):
    """The turn lives in the rings: a bridge that takes the call over goes on in it."""

    async def scenario() -> None:
        async with serving(bot_that()) as bot, stage(tmp_path) as (scene, first):
            line = await scene.call(f"bellframe+{bot.url}")
            await scene.until(lambda: bot.sessions and bot.sessions[0].messages)
            await bot.sessions[0].send(says(1, tone(1_600)))
            await scene.until(lambda: first.calls["a"].queued_ms == 200)
            line.tick(4)
            second = await scene.succeed(first)
            line.caller_says(tone(160))
            scene.start(f"bellframe+{bot.url}", "a", resumed=True)
            await scene.until(lambda: len(bot.sessions) == 2 and audio(bot.sessions[1]))
            (start,) = of(bot.sessions[1], "start")
            assert (start["resumed"], start["turn"], start["said_ms"], start["heard_ms"]) == ("process", 1, 200.0, 80.0)
            await bot.sessions[1].send(says(2, tone(160, 5_000)))
            await scene.until(lambda: second.calls["a"].turn == 2)
            line.tick(2)
            scene.ring()
            await scene.until(lambda: of(bot.sessions[1], "turn_ended"))
            assert of(bot.sessions[1], "turn_ended")[0] == {
                "type": "turn_ended",
                "turn": 1,
                "cause": "bot",
                "said_ms": 200.0,
                "heard_ms": 80.0,
            }
            scene.stop("a")
            await scene.until(lambda: not second.calls and not second._stopped)
            await second.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ([{"type": "mark", "turn": 0, "name": "x"}], "first message is not ready"),
        ([says(0, tone(160))], "audio before ready"),
        ([ready(), ready()], "ready twice"),
        ([ready(version=2)], "version 2"),
        ([ready(rate_hz=8_001)], "rate_hz 8001"),
        ([ready(report_ms=5)], "report_ms 5: 20 to 60000"),
        ([ready(), says(2, tone(160))], "turn 2 after turn 0"),
        ([ready(), b"123"], "3 bytes"),
        ([ready(), says(0, tone(160)) + b"1"], "321 bytes of 16-bit audio"),
        ([ready(), {"type": "sing"}], "not a message of Bellframe's wire"),
        ([ready(), "{"], "not a message of Bellframe's wire"),
        ([ready(), {"type": "press", "keys": "x"}], "keys that no telephone has"),
        ([ready(), {"type": "transfer", "to": "1" * 70_000}], "a text message of 70030 bytes: 65536"),
        ([ready(), *[{"type": "hold"}] * 9], "waits for 8 transfers and holds"),
    ],
)
def test_what_breaks_the_wire_ends_the_call_and_the_bot_is_told_why(tmp_path, sent, why):
    closed = []

    async def behave(session: Session) -> None:
        for message in sent:
            await session.send(message)
        while True:
            message = await session.socket.receive()
            if message.type in (8, 257, 258):  # close
                closed.append((message.data, message.extra))
                return
            session.messages.append(message)

    async def act(p: Play) -> None:
        await p.until(lambda: p.scene.of(HangUp))
        assert why in p.scene.of(HangUp)[0].cause and len(p.bot.sessions) == 1
        await p.until(lambda: closed)
        assert closed[0][0] == 1003 and why in closed[0][1]

    play(tmp_path, act, Bot(behave))


def test_a_bot_that_is_never_ready_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("ai_bridge.wires.bellframe_bot.READY_S", 0.05)

    async def behave(session: Session) -> None:
        await session.read()

    async def act(p: Play) -> None:
        await p.until(lambda: p.scene.of(HangUp))
        assert "did not answer start with ready" in p.scene.of(HangUp)[0].cause

    play(tmp_path, act, Bot(behave))
