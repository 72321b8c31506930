"""Run by test_livekit.py where LiveKit Agents are: a session in a bridge, on real rings, in one call."""

import asyncio
import os
import pathlib
import sys
import time
import traceback
from typing import Any

import numpy as np
from livekit.agents import Agent, AgentSession

from control_plane.messages import HangUp
from tests.ai_bridge.scene import Scene, module_with, stage

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent.parent / "examples" / "frameworks"))
from livekit_agent import RATE_HZ, WORD, Bot

started: list[Any] = []
finished: list[Any] = []
sessions: list[AgentSession] = []
heard: list[np.ndarray] = []


class Watched(Bot):
    def session(self) -> tuple[AgentSession, Agent]:
        session, agent = super().session()
        sessions.append(session)
        return session, agent

    async def on_start(self, call: Any) -> None:
        await super().on_start(call)
        self._output.on("playback_started", started.append)
        self._output.on("playback_finished", finished.append)

    def on_audio(self, frame: Any) -> Any:
        heard.append(frame.pcm)
        return super().on_audio(frame)


def words() -> list[str]:
    return [item.text_content for item in sessions[0].history.items if item.type == "message"]


async def playing(scene: Scene, line: Any, condition: Any) -> None:
    """As a worker does, but as fast as it goes."""

    def after_a_tick() -> object:
        line.now_ns = time.monotonic_ns()
        if line.is_waiting():
            line.tick()
        scene.ring()
        return condition()

    await scene.until(after_a_tick)


async def converse(folder: pathlib.Path) -> None:
    async with stage(folder) as (scene, bridge):
        line = await scene.call(f"{module_with(Watched=Watched)}:Watched", rate_hz=RATE_HZ)
        await scene.until(lambda: sessions)
        line.caller_says(np.full(1_600, 10_000, np.int16))
        line.caller_says(np.zeros(1_600, np.int16))
        scene.ring()
        await playing(scene, line, lambda: len(line.wire) >= 40)
        frames = len(line.wire)
        sessions[0].interrupt(force=True)
        await scene.until(lambda: bridge.calls["a"].turn >= 1)
        line.tick()
        scene.ring()
        await scene.until(lambda: finished)
        assert np.concatenate(heard)[:1_600].min() > 9_000, "the caller's voice, as it was"
        expected = np.tile(WORD, 3)[: frames * 320]
        assert len(line.wire) == frames and np.array_equal(line.heard(), expected), "the answer, as far as it was not cut off"
        assert (finished[0].playback_position, finished[0].interrupted) == (frames * 0.02, True), finished

        sessions[0].say("goodbye now")
        await playing(scene, line, lambda: len(finished) == 2)
        assert (finished[1].playback_position, finished[1].interrupted) == (1.0, False), finished
        assert np.array_equal(line.heard()[frames * 320 :], np.tile(WORD, 2)), "not a sample of the old turn"
        await scene.until(lambda: words()[-1] == "goodbye now")
        assert words()[0] == "hello", words()
        assert [event.created_at for event in started] == sorted(event.created_at for event in started) and len(started) == 2
        await sessions[0].aclose()
        await scene.until(lambda: scene.of(HangUp))
        assert scene.of(HangUp)[0].cause == "the session has ended"
        scene.stop("a")
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
