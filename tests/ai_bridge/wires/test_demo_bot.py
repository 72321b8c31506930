"""The demo's bot, with time as an argument; on the telephone it is in tests/system/test_demo.py."""

import asyncio
import json

import numpy as np
import pytest

from ai_bridge.wires.demo_bot import DIALECTS, Parrot, Phrases, converse
from tests.ai_bridge.line import tone
from tests.ai_bridge.scene import stage
from tests.ai_bridge.wires.bots import Bot, Session, serving

pytest.importorskip("espeakng_loader", reason="pip install 'bellframe[agent]'")
MS = 1_000_000


def phrases(rate_hz: int, greeting_ms: int = 500) -> Phrases:
    return Phrases(np.resize(tone(160), rate_hz * greeting_ms // 1000), tone(rate_hz // 10), tone(rate_hz))


def make(name: str = "twilio") -> Parrot:
    dialect = DIALECTS[name]
    return Parrot(dialect, phrases(dialect.rate_hz))


def kinds(parrot: Parrot) -> list[str]:
    return [kind for kind, _ in parrot.told]


def test_it_says_back_what_it_hears_once_the_caller_is_silent() -> None:
    parrot, said = make(), tone(1_600, 8_000)
    parrot.hear(np.zeros(4_000, np.int16), 0)
    for at in range(0, 1_600, 100):  # pieces that fill no 20 ms
        parrot.hear(said[at : at + 100], at // 8 * MS)
    assert kinds(parrot) == ["speech"] and not parrot.outbox
    parrot.hear(np.zeros(3_840, np.int16), 680 * MS)
    assert not parrot.outbox, "it might be a pause for breath"
    parrot.hear(np.zeros(160, np.int16), 700 * MS)
    (answer,) = parrot.outbox
    payload = parrot.dialect.heard(answer)
    assert payload is not None and parrot.dialect.plays.decode(payload).size == 800 + 1_600 + 4_000 + 8_000


def test_a_click_is_not_speech() -> None:
    parrot = make()
    parrot.hear(np.concatenate((tone(320, 8_000), np.zeros(160, np.int16))), 0)
    assert parrot.told == []


def test_it_is_silent_when_the_caller_speaks_over_it_and_clears_nothing_else() -> None:
    parrot = make("bellframe")
    parrot.greet(0)
    parrot.outbox.clear()
    parrot.hear(tone(480, 8_000), 499 * MS)
    assert parrot.outbox == [{"type": "turn", "turn": 1}]
    parrot = make("bellframe")
    parrot.greet(0)
    parrot.outbox.clear()
    parrot.hear(tone(480, 8_000), 500 * MS)
    assert not parrot.outbox, "everything was played"


@pytest.mark.parametrize("name", DIALECTS)
def test_it_is_understood_on_every_wire(tmp_path, capsys, name):
    """The bridge dials it: it greets, says back what it heard, and answers a key."""
    dialect = DIALECTS[name]
    arguments = {"retries": "0", **({"control_messages": "json"} if name == "asterisk" else {})}

    async def behave(session: Session) -> None:
        await converse(session.socket, Parrot(dialect, phrases(dialect.rate_hz, 30_000)))  # the bot's clock is the real one

    async def scenario() -> None:
        async with serving(Bot(behave)) as bot, stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"{name}+{bot.url}", rate_hz=dialect.rate_hz, arguments=arguments)
            call = bridge.calls["a"]
            await scene.until(lambda: call.queued_ms == 30_000)
            line.tick(5)
            line.caller_says(np.resize(tone(160, 9_000), dialect.rate_hz // 5))
            scene.ring()
            await scene.until(lambda: call.queued_ms == 0)
            line.caller_says(np.zeros(dialect.rate_hz * 3 // 5, np.int16))
            scene.ring()
            await scene.until(lambda: 1_000 < call.queued_ms < 3_000)
            turn = call.turn
            line.caller_presses("2")
            scene.ring()
            await scene.until(lambda: call.turn > turn and call.queued_ms > 1_000)
            scene.stop("a")
            await scene.until(lambda: not bridge._stopped)

    asyncio.run(scenario())
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["kind"] for one in told] == ["said", "speech", "said", "key", "said"] and told[3]["text"] == "2"
