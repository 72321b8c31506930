"""Bots that keep to the wire pass; each that does not fails what it breaks, and nothing else."""

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable

import pytest

from ai_bridge.wires import conformance
from ai_bridge.wires.conformance import Asked
from tests.ai_bridge.wires.bots import Bot, Session, serving

READY = {"type": "ready", "version": 1, "rate_hz": 8_000}


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch):
    for name, seconds in (("SPEECH_S", 0.1), ("ANSWER_S", 0.5), ("PAUSE_S", 0.06), ("REACTION_S", 0.2)):
        monkeypatch.setattr(conformance, name, seconds)
    monkeypatch.setattr("ai_bridge.wires.socket.CLOSE_GRACE_S", 0.3)


def says(turn: int, samples: int) -> bytes:
    return struct.pack("<IIQ", turn, 0, 0) + bytes(2 * samples)


Answer = Callable[[Session, object], Awaitable[None]]


def bot_that(answer: Answer, ready: object = READY) -> Bot:
    async def behave(session: Session) -> None:
        async def on_message(session: Session, message: object) -> None:
            if isinstance(message, dict) and message["type"] == "start":
                await session.send(ready)
            await answer(session, message)

        await session.read(on_message)

    return Bot(behave)


async def speak(session: Session, message: object, samples: int = 4_000) -> None:
    """In the right turn, whenever the caller has spoken."""
    if isinstance(message, dict) and message["type"] == "speech_stopped":
        last = [part for part in session.messages if isinstance(part, bytes)][-1]
        await session.send(says(struct.unpack_from("<I", last)[0], samples))
        await session.send({"type": "mark", "turn": struct.unpack_from("<I", last)[0], "name": "end"})


def examined(bot: Bot, secret: str = "") -> dict[Asked, str | None]:
    async def scenario() -> dict[Asked, str | None]:
        async with serving(bot):
            return (await conformance.examine(bot.url, secret, {"shop": "12"})).of

    return asyncio.run(scenario())


def test_a_good_bot_passes():
    bot = bot_that(speak)
    verdicts = examined(bot)
    assert {asked for asked, why in verdicts.items() if why is None} == {Asked.SIGNATURE, Asked.FULL}
    assert not any(verdicts.values())
    assert bot.sessions[0].messages[0]["arguments"] == {"shop": "12"} and bot.sessions[1].messages[0]["resumed"] == "connection"
    assert [message["type"] for message in bot.sessions[0].messages if isinstance(message, dict)].count("mark_cleared") == 2


async def shout(session: Session, message: object) -> None:
    if isinstance(message, bytes):
        await session.send(says(struct.unpack_from("<I", message)[0], 1_600))


async def speak_on(session: Session, message: object) -> None:
    if isinstance(message, bytes):
        await session.send(says(0, 160))


async def go_back(session: Session, message: object) -> None:
    await speak(session, message)
    if isinstance(message, dict) and message["type"] == "speech_stopped":
        await session.send({"type": "turn", "turn": 1})
        await session.send(says(0, 160))


def closing_at(kind: str) -> Answer:
    async def close(session: Session, message: object) -> None:
        if isinstance(message, dict) and message["type"] == kind:
            await session.socket.close(code=1011)

    return close


def sending(message: object) -> Answer:
    async def send(session: Session, _: object) -> None:
        await session.send(message)

    return send


@pytest.mark.parametrize(
    ("bot", "asked", "why"),
    [
        (bot_that(speak, {**READY, "version": 3}), Asked.READY, "version 3"),
        (bot_that(speak, {"type": "turn", "turn": 1}), Asked.READY, "first message is not ready"),
        (bot_that(sending({"type": "sing"})), Asked.MESSAGES, "not a message"),
        (bot_that(sending(says(7, 160))), Asked.FORWARD, "turn 7 after turn 0"),
        (bot_that(go_back), Asked.FORWARD, "turn 0 after turn 1"),
        (bot_that(speak_on), Asked.INTERRUPTED, "still spoke"),
        (bot_that(shout, {**READY, "ahead_ms": 100}), Asked.FULL, "after queue_full"),
        (bot_that(closing_at("a_later_release_may_send_this")), Asked.LATER, "closed"),
        (bot_that(closing_at("key")), Asked.KEYS, "closed"),
        (bot_that(closing_at("hold")), Asked.HOLD, "closed"),
    ],
)
def test_what_is_wrong_is_told_in_plain_words(bot, asked, why):
    verdicts = examined(bot)
    assert {asked: verdicts[asked]} == {asked: words for asked, words in verdicts.items() if words} and why in (verdicts[asked] or "")


def test_a_bot_that_does_not_come_back_or_takes_anybody(capsys):
    async def once(session: Session) -> None:
        await session.send(READY)
        bot.refuse = 1
        await session.read()

    bot = Bot(once)
    assert "cannot be reached" in (examined(bot)[Asked.RETURNS] or "")
    assert examined(bot_that(speak), secret="s")[Asked.SIGNATURE] == "it accepted a connection with no signature"


def test_the_command_says_each_requirement_in_a_line_and_its_exit_code_is_the_answer(capsys):
    assert conformance.main(["ws://127.0.0.1:9/"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(Asked) and any(line.startswith("FAIL") and "cannot be reached" in line for line in lines)


def test_a_bot_that_hangs_up_has_done_nothing_wrong():
    async def hang_up(session: Session, message: object) -> None:
        if isinstance(message, dict) and message["type"] == "key":
            await session.send({"type": "hang_up"})

    assert not any(examined(bot_that(hang_up)).values())


def test_messages_of_the_caller_are_those_of_the_schema():
    bot = bot_that(speak)
    examined(bot)
    from ai_bridge.wires.bellframe_messages import decode_to_bot

    for message in bot.sessions[0].messages:
        if isinstance(message, dict) and message["type"] != "a_later_release_may_send_this":
            decode_to_bot(json.dumps(message))
