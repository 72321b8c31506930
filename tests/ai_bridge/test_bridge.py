"""Calls come to the bridge, go, and go on when it is replaced."""

import asyncio
import time

import numpy as np

from ai_bridge import Agent
from control_plane.messages import (
    AgentFailed,
    AgentStarted,
    Alive,
)
from shm.layout import SPEECH_FLAG
from tests.ai_bridge.diary import Diary
from tests.ai_bridge.line import tone
from tests.ai_bridge.scene import module_with, stage


def test_events_come_in_the_order_of_the_line(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            agent = f"{module_with(Diary=Diary)}:Diary"
            line = await scene.call(agent, caller="100", callee="200", headers={"X-A": "b"}, arguments={"c": "d"})
            diary = Diary.of["a"]
            line.caller_says(tone(160))
            line.caller_presses("5")
            line.caller_says(tone(320, 1_000), flags=SPEECH_FLAG)
            line.caller_says(tone(160, 2_000))
            line.hold(True)
            line.hold(False)
            scene.ring()
            await scene.until(lambda: len(diary.events) == 10)
            assert diary.events[:8] == ["start", "audio", "5", "speech", "audio", "audio", "silence", "audio"]
            assert [event[:2] for event in diary.events[8:]] == [("hold", True), ("hold", False)]
            assert [f.position for f in diary.frames] == [0, 160, 320, 480]
            assert [f.is_speech for f in diary.frames] == [False, True, True, False]
            assert np.array_equal(diary.frames[2].pcm, tone(160, 1_160)) and diary.frames[0].level_dbov == -30
            call = diary.call
            assert (call.caller, call.callee, call.headers, call.arguments) == ("100", "200", {"X-A": "b"}, {"c": "d"})
            assert (call.sample_rate_hz, call.frame_samples, call.resumed, call.turn) == (8_000, 160, False, 0)
            scene.stop("a", "the caller hung up")
            await scene.until(lambda: diary.events[-1] == ("end", "the caller hung up"))
            assert call.has_ended and not bridge.calls

    asyncio.run(scenario())


def test_a_call_whose_route_is_wrong_fails_with_the_reason(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            await scene.call(f"{module_with(A=Diary)}:A", arguments={"interruption": "gently"})
            (failed,) = scene.of(AgentFailed)
            assert "interruption is 'gently': give one of off, flush, duck, pause" in failed.why

    asyncio.run(scenario())


def test_an_agent_that_cannot_be_had_is_refused_with_the_reason(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            await scene.call("no_such_module_here:Agent", "a")
            assert 'there is no module "no_such_module_here"' in scene.of(AgentFailed)[0].why
            scene.lines["a"].generation = 99
            scene.start("echo", "a")
            await scene.until(lambda: len(scene.of(AgentFailed)) == 2)
            assert "does not carry generation 99" in scene.of(AgentFailed)[1].why
            assert not bridge.calls

    asyncio.run(scenario())


def test_starting_and_stopping_again_changes_nothing(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            agent = f"{module_with(Diary=Diary)}:Diary"
            await scene.call(agent)
            call = bridge.calls["a"]
            scene.start(agent, "a")
            await scene.until(lambda: len(scene.of(AgentStarted)) == 2)
            assert bridge.calls["a"] is call and Diary.of["a"].events == ["start"]
            scene.stop("a")
            scene.stop("a")
            scene.stop("never heard of")
            await scene.until(lambda: len(Diary.of["a"].events) == 2)

    asyncio.run(scenario())


def test_the_media_closing_ends_a_call_whose_stop_was_lost(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"{module_with(Diary=Diary)}:Diary")
            line.close()
            scene.ring()
            await scene.until(lambda: Diary.of["a"].events[-1] == ("end", "the media was closed"))

    asyncio.run(scenario())


def test_a_bell_unheard_is_mended_by_the_timer(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"{module_with(Diary=Diary)}:Diary")
            line.caller_says(tone(160))
            await scene.until(lambda: len(Diary.of["a"].frames) == 1)

    asyncio.run(scenario())


def test_a_successor_hears_what_was_said_meanwhile_and_speaks_on(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            agent = f"{module_with(Diary=Diary)}:Diary"
            line = await scene.call(agent)
            first = Diary.of["a"]
            first.call.new_turn()
            first.call.say(tone(1_600))
            line.caller_says(tone(320))
            line.tick(3)
            scene.ring()
            await scene.until(lambda: len(first.frames) == 2)
            first.call.pause()
            await bridge.stop()
            bridge.channel.close()
            line.caller_says(tone(480, 9_000))
            line.tick(2)
            assert line.heard().size == 480, "nobody is left to resume"
            before = len(scene.of(Alive))
            successor = scene.new_bridge()
            successor.start()
            await scene.until(lambda: len(scene.of(Alive)) > before)
            scene.start(agent, "a", resumed=True)
            await scene.until(lambda: Diary.of["a"] is not first and len(Diary.of["a"].frames) == 3)
            second = Diary.of["a"]
            assert second.call.resumed and second.call.turn == 1 and second.call.played_ms == 60 and second.call.queued_ms == 140
            assert np.array_equal(np.concatenate([f.pcm for f in second.frames]), tone(480, 9_000))
            said = second.call.say(tone(160, 5_000))
            line.tick(8)
            scene.ring()
            assert await said == 20.0 and np.array_equal(line.heard(), np.concatenate((tone(1_600), tone(160, 5_000))))
            await successor.stop()
            successor.channel.close()

    asyncio.run(scenario())


class Blocking(Agent):
    def on_dtmf(self, key: str) -> None:
        time.sleep(0.4)  # what an agent must not do


def test_a_blocked_loop_is_told_and_nothing_is_lost(tmp_path, caplog):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            module = module_with(Blocking=Blocking, Diary=Diary)
            line = await scene.call(f"{module}:Blocking", "blocks", 0)
            other = await scene.call(f"{module}:Diary", "other", 1)
            line.caller_presses("1")
            other.caller_says(tone(1_600))
            scene.ring()
            await scene.until(lambda: len(Diary.of["other"].frames) == 10 and "blocked this process" in caplog.text)
            assert not any(f.lost for f in Diary.of["other"].frames)

    asyncio.run(scenario())
