"""What holds on every wire, whatever its dialect."""

import asyncio

import numpy as np
import pytest

from ai_bridge.loader import load
from ai_bridge.wires import OVER_TCP, WIRES
from tests.ai_bridge.line import tone
from tests.ai_bridge.scene import stage
from tests.ai_bridge.wires.bots import Bot, Session, serving
from tests.ai_bridge.wires.dialects import DIALECTS


def test_every_wire_has_its_dialect_here():
    assert set(DIALECTS) == set(WIRES) - set(OVER_TCP)


@pytest.mark.parametrize("name", WIRES)
def test_every_row_loads(name):
    transport = "tcp" if name in OVER_TCP else "wss"
    assert load(f"{name}+{transport}://bot.example:9092").__name__ == f"{WIRES[name].rpartition(':')[2]}Bot"


@pytest.mark.parametrize("name", DIALECTS)
def test_a_call(tmp_path, name):
    """What the caller says and presses arrives; what the bot says is heard; clear is silence; marks tell what was played."""
    dialect = DIALECTS[name]
    frame = dialect.rate_hz // 50

    async def behave(session: Session) -> None:
        async def answer(session: Session, message: object) -> None:
            match isinstance(message, dict) and dialect.key(message):
                case "1":
                    await session.send(dialect.say(tone(5 * frame)))
                    await session.send(dialect.mark("first"))
                case "2":
                    await session.send(dialect.say(tone(50 * frame)))
                    await session.send(dialect.mark("second"))
                case "3":
                    await session.send(dialect.clear)
                    await session.send(dialect.say(tone(2 * frame, 9_000)))
                    await session.send(dialect.mark("third"))

        if dialect.first is not None:
            await session.send(dialect.first)
        await session.read(answer)

    async def scenario() -> None:
        async with serving(Bot(behave)) as bot, stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"{name}+{bot.url}", rate_hz=dialect.rate_hz, arguments={"retries": "0", **dialect.arguments})
            call = bridge.calls["a"]

            def heard() -> np.ndarray:
                audio = [dialect.heard(message) for message in bot.sessions[0].messages]
                return dialect.hears.decode(b"".join(part for part in audio if part is not None))

            def marks() -> list[str]:
                found = [mark for message in bot.sessions[0].messages if (mark := dialect.marked(message)) is not None]
                return found if dialect.names_marks else ["first", "second", "third"][: len(found)]

            async def press(key: str, queued_ms: int) -> None:
                line.caller_presses(key)
                scene.ring()
                await scene.until(lambda: call.queued_ms == queued_ms)

            def ticked() -> list[str]:
                line.tick()
                scene.ring()
                return marks()

            line.caller_says(tone(4 * frame))
            scene.ring()
            await scene.until(lambda: bot.sessions and heard().size == 4 * frame)
            assert np.array_equal(heard(), coarse(tone(4 * frame)))
            await press("1", 100)
            line.tick(4)
            assert not marks()
            await scene.until(lambda: ticked() == ["first"])
            before = sum(part.size for part in line.wire)
            await press("2", 1_000)
            line.tick(10)
            await press("3", 40)
            await scene.until(lambda: ticked()[-1:] == ["third"])
            said = np.concatenate((tone(10 * frame), tone(2 * frame, 9_000)))
            assert np.array_equal(line.heard()[before:], coarse(said))
            assert marks() == ["first", *(["second"] if dialect.gives_marks_back else []), "third"]
            scene.stop("a")
            await scene.until(lambda: bot.sessions[0].close_code == 1000)
            await scene.until(lambda: not bridge._stopped)

    def coarse(pcm: np.ndarray) -> np.ndarray:
        return dialect.hears.decode(dialect.hears.encode(pcm))

    asyncio.run(scenario())
