"""Agents' handlers: in order, interrupted in time, and failing alone; one a call, and one for all."""

import asyncio
import logging

import numpy as np
import pytest

from ai_bridge import Agent, BatchAgent, Call, Frame, Interruption, Quality, Utterance
from control_plane.messages import (
    AgentFailed,
)
from shm import ring
from shm.layout import DUCK_DB, ECHO_GUARD, FROM_AI_SLOTS, PAUSED, SPEECH_FLAG, VOICED_FLAG
from tests.ai_bridge.diary import Diary, Host, hosts
from tests.ai_bridge.line import tone
from tests.ai_bridge.scene import module_with, stage


class Listener(Host):
    def on_quality(self, quality: Quality) -> None:
        self.log.append(quality)


def test_an_agent_is_told_how_good_the_line_is(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"{module_with(A=Listener)}:A")
            line.report(mos=3.41, lost_percent=2.5, jitter_ms=1.5, rtt_ms=80)
            scene.ring()
            await scene.until(lambda: hosts["a"].log)
            assert hosts["a"].log == [Quality(mos=3.41, lost_percent=2.5, jitter_ms=1.5, rtt_ms=80.0)]

    asyncio.run(scenario())


class Interruptible(Host):
    interrupt_on_speech = True
    interrupt_on_key = True

    async def on_start(self, call: Call) -> None:
        Host.on_start(self, call)
        self.log.append(await call.say(tone(8_000)))


def test_barge_in_does_not_wait_for_a_busy_handler(tmp_path):
    async def scenario(barge_in: str) -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"{module_with(A=Interruptible)}:A")
            host = hosts["a"]
            await scene.until(lambda: host.call.is_speaking)
            line.tick(5)
            line.caller_says(tone(160), flags=SPEECH_FLAG) if barge_in == "speech" else line.caller_presses("#")
            scene.ring()
            await scene.until(lambda: host.call.turn == 1)
            def interrupted() -> list[Utterance]:
                line.tick()
                scene.ring()
                return [item for item in host.log if isinstance(item, Utterance)]

            await scene.until(interrupted)
            (utterance,) = interrupted()
            assert host.log[0] == 100.0 and utterance.heard_samples == 800 and utterance.was_interrupted
            assert line.turns == [0] * 5 + [1] * (0 if barge_in == "speech" else 5)

    asyncio.run(scenario("speech"))
    asyncio.run(scenario("key"))


deciders: list["Decider | BatchDecider"] = []


class Decider(Agent):
    """Is asked what is to become of its speech, and says so."""

    interruption = Interruption("pause", decide_ms=400)

    def __init__(self) -> None:
        self.asked = 0
        deciders.append(self)

    def on_start(self, call: Call) -> None:
        self.said = call.say(tone(3_200))

    def on_barge_in(self) -> None:
        self.asked += 1
        if self.call.arguments.get("answer") == "resume":
            self.call.resume()
        elif self.call.arguments.get("answer") == "flush":
            self.call.new_turn()


class BatchDecider(BatchAgent):
    """The same, of an agent for many calls: one of them is looked at."""

    gather_ms = 0.0
    interruption = Decider.interruption

    def __init__(self) -> None:
        self.asked = 0
        self.interrupted: list[float] = []
        deciders.append(self)

    def on_start(self, call: Call) -> None:
        self.call, self.said = call, call.say(tone(3_200))

    def on_barge_in(self, call: Call) -> None:
        assert call is self.call
        Decider.on_barge_in(self)

    def on_interrupted(self, call: Call, utterance: Utterance) -> None:
        self.interrupted.append(utterance.heard_ms)


BOTH = pytest.mark.parametrize("kind", [Decider, BatchDecider])


@BOTH
@pytest.mark.parametrize("answer", ["resume", "flush", "none"])
def test_an_agent_decides_about_speech_that_was_paused_and_else_the_bridge_does(tmp_path, answer, kind):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"{module_with(A=kind)}:A", arguments={"answer": answer})
            agent = deciders[-1]
            await scene.until(lambda: hasattr(agent, "said"))
            line.tick(5)
            line.caller_says(tone(160), flags=SPEECH_FLAG | VOICED_FLAG)
            scene.ring()
            await scene.until(lambda: agent.asked)
            if answer == "none":
                line.tick(5)
                assert line.heard().size == 800 and agent.call.is_paused, "it waits"
                line.now_ns += 400_000_000
                line.caller_says(tone(160))
                scene.ring()
                await scene.until(lambda: agent.call.turn == 1)
            line.tick(30)
            scene.ring()
            await agent.said
            assert not agent.call.is_paused and ring.load_word(scene.rings.words, 0, PAUSED) == 0
            assert agent.said.heard_samples == (3_200 if answer == "resume" else 800)

    asyncio.run(scenario())


@BOTH
def test_a_route_chooses_how_the_caller_interrupts_and_the_call_may_change_it(tmp_path, kind):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            route = {"interruption": "duck", "interruption_duck_db": "20", "interruption_decide_ms": "60000"}
            line = await scene.call(f"{module_with(A=kind)}:A", arguments=route)
            agent = deciders[-1]
            await scene.until(lambda: hasattr(agent, "said"))

            async def hear(flags: int, lowered_db: int) -> None:
                line.caller_says(tone(160), flags=flags)
                scene.ring()
                await scene.until(lambda: ring.load_word(scene.rings.words, 0, DUCK_DB) == lowered_db)

            await hear(SPEECH_FLAG | VOICED_FLAG, 20)
            await hear(0, 0)
            await hear(SPEECH_FLAG | VOICED_FLAG, 20)
            agent.call.resume()
            await hear(SPEECH_FLAG | VOICED_FLAG, 0)
            await hear(0, 0)
            agent.call.interruption = Interruption("flush", min_speech_ms=40)
            await hear(SPEECH_FLAG | VOICED_FLAG, 0)
            assert agent.call.turn == 0
            await hear(SPEECH_FLAG | VOICED_FLAG, 0)
            await scene.until(lambda: agent.call.turn == 1)
            line.tick()
            scene.ring()
            await agent.said
            await scene.until(lambda: getattr(agent, "interrupted", [0.0]) == [0.0])

    asyncio.run(scenario())


class Guarded(Agent):
    echo_guard = True


@pytest.mark.parametrize(("name", "arguments", "is_on"), [("G", {}, 1), ("D", {"echo_guard": "on"}, 1), ("D", {}, 0)])
def test_an_agent_or_a_route_asks_the_worker_to_guard_against_echo(tmp_path, name, arguments, is_on):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            await scene.call(f"{module_with(G=Guarded, D=Diary)}:{name}", arguments=arguments)
            assert ring.load_word(scene.rings.words, 0, ECHO_GUARD) == is_on
            bridge.calls["a"].guard_echo(not is_on)
            assert ring.load_word(scene.rings.words, 0, ECHO_GUARD) == 1 - is_on

    asyncio.run(scenario())


class Fragile(Agent):
    ends: list[str] = []

    def on_dtmf(self, key: str) -> None:
        raise KeyError("no such menu")

    async def on_hold(self, is_held: bool) -> None:
        self.call.spawn(self.work())

    async def work(self) -> None:
        raise ZeroDivisionError("in a task")

    def on_end(self, cause: str) -> None:
        Fragile.ends.append(cause)


def test_an_agent_that_raises_fails_alone_and_says_where(tmp_path, caplog):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            module = module_with(Fragile=Fragile, Diary=Diary)
            line = await scene.call(f"{module}:Fragile", "bad", 0)
            other = await scene.call(f"{module}:Diary", "good", 1)
            line.caller_presses("1")
            other.caller_says(tone(160))
            scene.ring()
            await scene.until(lambda: scene.of(AgentFailed) and "audio" in Diary.of["good"].events)
            (failed,) = scene.of(AgentFailed)
            assert failed.call_id == "bad" and "Fragile.on_dtmf raised KeyError: 'no such menu', test_runner.py line" in failed.why
            assert list(bridge.calls) == ["good"]
            line = await scene.call(f"{module}:Fragile", "task", 2)
            line.hold(True)
            scene.ring()
            await scene.until(lambda: len(scene.of(AgentFailed)) == 2)
            assert "a spawned task raised ZeroDivisionError: in a task" in scene.of(AgentFailed)[1].why
            await scene.until(lambda: len(Fragile.ends) == 2)
            assert all("raised" in cause for cause in Fragile.ends)

    with caplog.at_level(logging.ERROR):
        asyncio.run(scenario())
    trace = caplog.records[0].exc_info[2]
    assert trace is not None and trace.tb_frame.f_code.co_name == "on_dtmf", "the traceback begins with the agent's own code"


class Cancelling(Agent):
    """Does on each key what takes a task down, none of which is for us to obey."""

    async def on_dtmf(self, key: str) -> None:
        if key == "1":
            speaking = asyncio.get_running_loop().create_task(asyncio.sleep(60))
            await asyncio.sleep(0)
            speaking.cancel()
            await speaking
        elif key == "2":
            raise SystemExit(2)
        elif key == "3":
            raise KeyboardInterrupt
        elif key == "4":
            self.call.spawn(self.leave())
        elif key == "5":
            await self.call.spawn(asyncio.sleep(60))

    async def leave(self) -> None:
        raise SystemExit("from a task")

    def on_end(self, cause: str) -> None:
        Fragile.ends.append(cause)


def test_what_would_take_a_task_down_is_a_failure_of_its_call_alone(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path, calls=8) as (scene, bridge):
            Fragile.ends.clear()
            module = module_with(Cancelling=Cancelling, Diary=Diary)
            other = await scene.call(f"{module}:Diary", "good", 0)
            expected = ("on_dtmf raised CancelledError", "SystemExit: 2", "KeyboardInterrupt", "RuntimeError: SystemExit: to end the call")
            for n, what in enumerate(expected, 1):
                line = await scene.call(f"{module}:Cancelling", f"bad{n}", n)
                line.caller_presses(str(n))
                scene.ring()
                await scene.until(lambda n=n: len(scene.of(AgentFailed)) == n and len(Fragile.ends) == n)
                assert what in scene.of(AgentFailed)[-1].why and what in Fragile.ends[-1]
            line = await scene.call(f"{module}:Cancelling", "ends", 5)
            line.caller_presses("5")
            scene.ring()
            await asyncio.sleep(0.05)
            scene.stop("ends", "BYE")
            await scene.until(lambda: Fragile.ends[-1] == "BYE")
            assert len(scene.of(AgentFailed)) == 4, "a task that ended with its call is no failure"
            other.caller_says(tone(160))
            scene.ring()
            await scene.until(lambda: Diary.of["good"].frames)

    asyncio.run(scenario())


class Slow(Agent):
    backlog_ms = 200
    frames: list[Frame] = []
    keys: list[str] = []
    gate: asyncio.Event

    async def on_start(self, call: Call) -> None:
        Slow.gate = asyncio.Event()
        await Slow.gate.wait()

    def on_audio(self, frame: Frame) -> None:
        Slow.frames.append(frame)

    def on_dtmf(self, key: str) -> None:
        Slow.keys.append(key)


def test_a_slow_handler_loses_its_oldest_audio_no_key_and_is_told(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            module = module_with(Slow=Slow, Diary=Diary)
            line = await scene.call(f"{module}:Slow", "slow", 0)
            other = await scene.call(f"{module}:Diary", "other", 1)
            line.caller_presses("1")
            for _ in range(5):
                line.caller_says(tone(160 * 5))
                other.caller_says(tone(160 * 5))
                scene.ring()
                await asyncio.sleep(0)
            line.caller_presses("2")
            scene.ring()
            await scene.until(lambda: len(Diary.of["other"].frames) == 25)
            await asyncio.sleep(0.05)
            Slow.gate.set()
            await scene.until(lambda: len(Slow.keys) == 2)
            assert [f.position // 160 for f in Slow.frames] == list(range(15, 25))
            assert [f.lost for f in Slow.frames] == [15] + [0] * 9 and Slow.frames[0].is_discontinuous

    asyncio.run(scenario())


def test_an_agent_that_was_lapped_in_the_ring_is_told_how_much(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"{module_with(Diary=Diary)}:Diary")
            line.caller_says(tone(160 * 300))
            scene.ring()
            await scene.until(lambda: Diary.of["a"].frames and Diary.of["a"].frames[-1].position == 299 * 160)
            frames = Diary.of["a"].frames
            assert frames[0].lost == frames[0].position // 160 > 0 and sum(f.lost for f in frames) + len(frames) == 300

    asyncio.run(scenario())


class Wideband(Diary):
    sample_rate_hz = 16_000


def test_an_agent_gets_the_rate_that_it_asks_for(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"{module_with(Wideband=Wideband)}:Wideband")
            diary = Diary.of["a"]
            assert diary.call.sample_rate_hz == 16_000 and diary.call.frame_samples == 320 and diary.call.line_rate_hz == 8_000
            pcm = (8_000 * np.sin(np.arange(1_600) * 2 * np.pi * 500 / 8_000)).astype(np.int16)
            line.caller_says(pcm)
            scene.ring()
            await scene.until(lambda: len(diary.frames) == 10)
            heard = np.concatenate([f.pcm for f in diary.frames])
            assert heard.size == 3_200 and [f.position for f in diary.frames] == [320 * n for n in range(10)]
            assert np.abs(heard[40 + 200 : 3_000 : 2].astype(int) - pcm[100:1480].astype(int)).max() < 20
            said = diary.call.say(heard)
            line.tick(11)
            scene.ring()
            assert await said == 200.0 and line.heard().size == 1_600

    asyncio.run(scenario())


class Counting(BatchAgent):
    gather_ms = 0.0

    def __init__(self) -> None:
        global counting
        counting = self
        self.level = np.zeros(64)
        self.ticks: list[list[int]] = []
        self.log: list[tuple[object, ...]] = []

    def on_start(self, call: Call) -> None:
        self.log.append(("start", call.call_id, call.index))

    async def on_batch(self, indexes, frames, samples) -> None:
        self.ticks.append(indexes.tolist())
        assert np.shares_memory(np.from_dlpack(samples), samples), "other libraries take them over without a copy"
        self.level[indexes] = samples.max(axis=1)
        self.say_batch(indexes, samples)

    def on_dtmf(self, call: Call, key: str) -> None:
        self.log.append((key, call.call_id))
        if key == "!":
            raise RuntimeError("for one call")

    def on_end(self, call: Call, cause: str) -> None:
        self.log.append(("end", call.call_id, cause))


counting: Counting


def test_a_batch_agent_hears_and_speaks_on_all_calls_at_once(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path, calls=8) as (scene, bridge):
            agent = f"{module_with(Counting=Counting)}:Counting"
            lines = [await scene.call(agent, f"call{n}", n) for n in range(5)]
            for n, line in enumerate(lines):
                line.caller_says(np.full(160 * 3, 100 + n, np.int16))
            lines[2].caller_presses("7")
            scene.ring()
            await scene.until(lambda: sum(map(len, counting.ticks)) == 15 and ("7", "call2") in counting.log)
            assert counting.ticks == [[0, 1, 2, 3, 4]] * 3, "each call at most once in an array"
            assert counting.level[:5].tolist() == [100, 101, 102, 103, 104]
            for n, line in enumerate(lines):
                line.tick(4)
                assert np.array_equal(line.heard(), np.full(480, 100 + n, np.int16))
            assert counting.calls[3] is bridge.calls["call3"] and bridge.calls["call3"].played_ms == 60
            scene.stop("call3")
            await scene.until(lambda: counting.log[-1] == ("end", "call3", "BYE"))
            await scene.until(lambda: counting.calls[3] is None)
            await scene.call(agent, "again", 6)
            await scene.until(lambda: counting.log[-1] == ("start", "again", 3))

    asyncio.run(scenario())


def test_say_batch_refuses_where_the_ring_is_full(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            agent = f"{module_with(Counting=Counting)}:Counting"
            lines = [await scene.call(agent, f"call{n}", n) for n in range(2)]
            await scene.until(lambda: len(counting.log) == 2)
            slots = FROM_AI_SLOTS
            both, pcm = np.array([0, 1]), np.ones((2, 160), np.int16)
            for _ in range(slots):
                assert counting.say_batch(both, pcm).all()
            lines[1].tick(1)
            assert counting.say_batch(both, pcm).tolist() == [False, True]

    asyncio.run(scenario())


class Talkative(BatchAgent):
    """Says one frame for each that it hears, in the turn in which it began."""

    gather_ms = 0.0
    interrupt_on_speech = True

    def __init__(self) -> None:
        talkative.append(self)
        self.turns, self.taken = np.zeros(64, np.int64), list[list[bool]]()

    def on_batch(self, indexes, frames, samples) -> None:
        self.taken.append(self.say_batch(indexes, samples, self.turns[indexes]).tolist())


talkative: list[Talkative] = []


def test_what_a_batch_agent_says_in_a_turn_that_the_caller_ended_is_not_said(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            agent = f"{module_with(A=Talkative)}:A"
            lines = [await scene.call(agent, f"call{n}", n) for n in range(2)]

            async def hear(flags: int, taken: list[bool]) -> None:
                count = len(talkative[-1].taken)
                for line, of_line in zip(lines, (flags, 0), strict=True):
                    line.caller_says(tone(160), of_line)
                scene.ring()
                await scene.until(lambda: talkative[-1].taken[count:] == [taken])

            await hear(0, [True, True])
            await hear(SPEECH_FLAG | VOICED_FLAG, [False, True])
            await hear(SPEECH_FLAG | VOICED_FLAG, [False, True])
            assert [bridge.calls[f"call{n}"].turn for n in range(2)] == [1, 0]
            for line in lines:
                line.tick(4)
            assert [line.heard().size for line in lines] == [0, 480], "silent at the next packet, and the other call goes on"
            talkative[-1].turns[0] = 1
            await hear(0, [True, True])

    asyncio.run(scenario())


class Cancelled(Counting):
    async def on_batch(self, indexes, frames, samples) -> None:
        task = asyncio.get_running_loop().create_task(asyncio.sleep(60))
        task.cancel()
        await task

    async def on_dtmf(self, call: Call, key: str) -> None:
        if key == "!":
            raise asyncio.CancelledError
        raise SystemExit


def test_a_batch_agent_that_awaits_what_was_cancelled_has_failed_and_says_so(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            agent = f"{module_with(Cancelled=Cancelled)}:Cancelled"
            lines = [await scene.call(agent, f"call{n}", n) for n in range(3)]
            lines[0].caller_presses("!")
            lines[1].caller_presses("?")
            scene.ring()
            await scene.until(lambda: len(scene.of(AgentFailed)) == 2)
            assert list(bridge.calls) == ["call2"]
            lines[2].caller_says(tone(160))
            scene.ring()
            await scene.until(lambda: len(scene.of(AgentFailed)) == 3)
            assert "Cancelled.on_batch raised CancelledError" in scene.of(AgentFailed)[2].why

    asyncio.run(scenario())


class Broken(Counting):
    async def on_batch(self, indexes, frames, samples) -> None:
        raise ValueError("shapes do not match")


def test_a_batch_agent_fails_for_one_call_or_for_all(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            agent = f"{module_with(Broken=Broken)}:Broken"
            lines = [await scene.call(agent, f"call{n}", n) for n in range(3)]
            await scene.until(lambda: len(counting.log) == 3)
            lines[1].caller_presses("!")
            scene.ring()
            await scene.until(lambda: scene.of(AgentFailed))
            assert list(bridge.calls) == ["call0", "call2"]
            lines[0].caller_says(tone(160))
            scene.ring()
            await scene.until(lambda: len(scene.of(AgentFailed)) == 3)
            assert not bridge.calls and "Broken.on_batch raised ValueError: shapes do not match" in scene.of(AgentFailed)[2].why
            broken = counting
            await scene.call(agent, "new", 3)
            await scene.until(lambda: counting is not broken and counting.log == [("start", "new", 0)])

    asyncio.run(scenario())
