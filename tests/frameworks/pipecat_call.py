"""Run by test_pipecat.py where Pipecat is: a pipeline in a bridge, on real rings, in one call."""

import asyncio
import os
import pathlib
import sys
import traceback
from typing import Any

import numpy as np
from pipecat.pipeline.pipeline import Pipeline

from ai_bridge.frameworks.pipecat import CallTransport
from control_plane.messages import HangUp
from shm.layout import SPEECH_FLAG
from tests.ai_bridge.line import tone
from tests.ai_bridge.scene import Scene, module_with, stage

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent.parent / "examples" / "frameworks"))
from pipecat_bot import BEEP, HUM, RATE_HZ, Bot

interruptions: list[tuple[float, float]] = []
connected: list[str] = []


class Watched(Bot):
    def pipeline(self, transport: CallTransport) -> Pipeline:
        @transport.event_handler("on_interrupted")  # type: ignore[untyped-decorator]
        async def on_interrupted(_: object, heard_ms: float, said_ms: float) -> None:
            interruptions.append((heard_ms, said_ms))

        for event in ("on_client_connected", "on_client_disconnected"):

            @transport.event_handler(event)  # type: ignore[untyped-decorator]
            async def told(_: object, call: Any, event: str = event) -> None:
                connected.append(event)

        return super().pipeline(transport)


class Interruptible(Watched):
    interrupt_on_speech = True


async def playing(scene: Scene, line: Any, condition: Any) -> None:
    """As a worker does, but as fast as it goes."""

    def after_a_tick() -> object:
        if line.is_waiting():
            line.tick()
        scene.ring()
        return condition()

    await scene.until(after_a_tick)


async def converse(folder: pathlib.Path) -> None:
    agents = module_with(Watched=Watched, Interruptible=Interruptible)
    async with stage(folder) as (scene, bridge):
        line = await scene.call(f"{agents}:Watched", rate_hz=RATE_HZ)
        await scene.until(lambda: connected == ["on_client_connected"])
        line.caller_says(tone(1_600))
        scene.ring()
        await playing(scene, line, lambda: len(line.wire) == 5)
        assert np.array_equal(line.heard(), tone(1_600)), "the echo, sample by sample"
        line.caller_presses("1")
        scene.ring()
        await playing(scene, line, lambda: len(line.wire) >= 40)
        frames = len(line.wire)
        assert np.array_equal(line.heard()[1_600:], HUM[: frames * 320 - 1_600])
        line.caller_presses("2")
        scene.ring()
        await scene.until(lambda: bridge.calls["a"].turn > 0 and line.is_waiting())
        await playing(scene, line, lambda: len(line.wire) >= frames + 10)
        assert np.array_equal(line.heard()[frames * 320 :], BEEP), "not a sample of the old turn"
        assert interruptions and interruptions[0][0] == frames * 20.0, (interruptions, frames)
        line.caller_presses("3")
        scene.ring()
        await playing(scene, line, lambda: scene.of(HangUp))
        assert ord("5") in line.keys and scene.of(HangUp)[0].cause == "the pipeline has ended"
        scene.stop("a")
        await scene.until(lambda: not bridge.calls and not bridge._stopped)
        assert connected == ["on_client_connected", "on_client_disconnected"]

        line = await scene.call(f"{agents}:Interruptible", "b", row=1, rate_hz=RATE_HZ)
        await scene.until(lambda: len(connected) == 3)
        line.caller_presses("1")
        scene.ring()
        await playing(scene, line, lambda: len(line.wire) >= 20)
        frames = len(line.wire)
        await scene.until(line.is_waiting)  # else there is nothing to interrupt
        line.caller_says(tone(320), SPEECH_FLAG)
        scene.ring()
        await scene.until(lambda: bridge.calls["b"].turn >= 1)
        line.tick()
        scene.ring()
        await scene.until(lambda: len(interruptions) == 2)
        assert interruptions[1][0] == frames * 20.0 and len(line.wire) == frames, "the engine was first"
        scene.stop("b")
        await scene.until(lambda: not bridge.calls and not bridge._stopped)


async def main() -> None:
    try:
        await converse(pathlib.Path(sys.argv[1]))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # a framework that is left in the midst of something may take for ever to clean up


if __name__ == "__main__":
    asyncio.run(main())
