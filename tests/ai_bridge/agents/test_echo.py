import asyncio

import numpy as np
import pytest

from tests.ai_bridge.line import tone
from tests.ai_bridge.scene import stage


@pytest.mark.parametrize("agent", ["echo", "echo_batch"])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
def test_what_is_heard_is_said(tmp_path, agent, rate_hz):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call(agent, rate_hz=rate_hz)
            said = tone(rate_hz // 5)
            line.caller_says(said)
            scene.ring()
            call = bridge.calls["a"]
            await scene.until(lambda: call.queued_ms == 200)
            line.tick(11)
            assert np.array_equal(line.heard(), said)

    asyncio.run(scenario())


@pytest.mark.parametrize("agent", ["echo", "echo_batch"])
def test_nothing_stale_is_said_after_a_hold(tmp_path, agent):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line, other = await scene.call(agent), await scene.call(agent, "b", 1)
            call = bridge.calls["a"]
            line.caller_says(tone(800))
            scene.ring()
            await scene.until(lambda: call.queued_ms == 100)
            line.hold(True)
            line.caller_says(tone(1_600))
            other.caller_says(tone(1_600))
            scene.ring()
            await scene.until(lambda: bridge.calls["b"].queued_ms == 200)
            await scene.until(lambda: call.turn == 1 and call.queued_ms == 0)
            line.hold(False)
            line.caller_says(tone(320, 9_000))
            scene.ring()
            await scene.until(lambda: call.queued_ms == 40)
            line.tick(4)
            assert np.array_equal(line.heard(), tone(320, 9_000))

    asyncio.run(scenario())
