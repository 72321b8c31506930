import asyncio
import itertools
import logging
import time

import numpy as np
import pytest

from ai_bridge import Agent, BatchAgent, Call, Frame, Interruption, Quality, Utterance
from control_plane.messages import (
    AgentFailed,
    AgentStarted,
    Alive,
    AnswerCall,
    CallAnswered,
    ConnectCall,
    ConnectEnded,
    EnterRoom,
    Failed,
    HangUp,
    HoldCall,
    HoldEnded,
    JoinCalls,
    LeaveRoom,
    Noted,
    Party,
    RecordCall,
    RoomChanged,
    Transfer,
    TransferEnded,
)
from shm import ring
from shm.layout import DUCK_DB, ECHO_GUARD, FROM_AI_SLOTS, KEY_GAP, PAUSED, SPEECH_FLAG, VOICED_FLAG
from tests.ai_bridge.line import tone
from tests.ai_bridge.scene import module_with, stage


class Diary(Agent):
    """Writes down what happens. `of` finds the agent of a call."""

    of: dict[str, "Diary"] = {}

    def on_start(self, call: Call) -> None:
        self.events: list[object] = ["start"]
        self.frames: list[Frame] = []
        Diary.of[call.call_id] = self

    def on_answered(self) -> None:
        self.events.append("answered")

    async def on_audio(self, frame: Frame) -> None:
        self.events.append("audio")
        self.frames.append(frame)

    async def on_dtmf(self, key: str) -> None:
        self.events.append(key)

    def on_speech_started(self) -> None:
        self.events.append("speech")

    def on_speech_stopped(self) -> None:
        self.events.append("silence")

    def on_interrupted(self, utterance: Utterance) -> None:
        self.events.append(("interrupted", utterance.heard_ms))

    def on_mark(self, name: str) -> None:
        self.events.append(("mark", name))

    def on_drained(self) -> None:
        self.events.append("drained")

    def on_hold(self, is_held: bool) -> None:
        self.events.append(("hold", is_held, self.call.is_held))

    def on_room(self, room: str) -> None:
        self.events.append(("room", room))

    def on_end(self, cause: str) -> None:
        self.events.append(("end", cause))


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


class Host(Agent):
    def on_start(self, call: Call) -> None:
        self.log: list[object] = []
        hosts[call.call_id] = self

    async def on_dtmf(self, key: str) -> None:
        self.log.append(await self.call.say(tone(800)))

    def on_mark(self, name: str) -> None:
        self.log.append(name)

    def on_drained(self) -> None:
        self.log.append("drained")

    def on_interrupted(self, utterance: Utterance) -> None:
        self.log.append(utterance)


hosts: dict[str, Host] = {}


def test_saying_is_awaited_until_it_is_on_the_wire(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"{module_with(Host=Host)}:Host")
            host = hosts["a"]
            line.caller_presses("1")
            scene.ring()
            await scene.until(lambda: host.call.is_speaking)
            mark = host.call.mark("said")
            line.tick(4)
            scene.ring()
            assert host.call.played_ms == 80 and host.call.queued_ms == 20 and not host.log
            line.tick(2)
            scene.ring()
            await scene.until(lambda: len(host.log) == 3)
            assert host.log == [100.0, "said", "drained"] and await mark is True and await host.call.drained() is True
            assert np.array_equal(line.heard(), tone(800))

    asyncio.run(scenario())


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


deciders: list["Decider"] = []


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


@pytest.mark.parametrize("answer", ["resume", "flush", "none"])
def test_an_agent_decides_about_speech_that_was_paused_and_else_the_bridge_does(tmp_path, answer):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"{module_with(A=Decider)}:A", arguments={"answer": answer})
            agent = deciders[-1]
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


def test_a_route_chooses_how_the_caller_interrupts_and_the_call_may_change_it(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            route = {"interruption": "duck", "interruption_duck_db": "20", "interruption_decide_ms": "60000"}
            line = await scene.call(f"{module_with(A=Decider)}:A", arguments=route)
            agent = deciders[-1]

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


def test_a_call_whose_route_is_wrong_fails_with_the_reason(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            await scene.call(f"{module_with(A=Decider)}:A", arguments={"interruption": "gently"})
            (failed,) = scene.of(AgentFailed)
            assert "interruption is 'gently': give one of off, flush, duck, pause" in failed.why

    asyncio.run(scenario())


pressers: list["Presser"] = []


class Presser(Agent):
    interrupt_on_speech = True

    async def on_start(self, call: Call) -> None:
        pressers.append(self)
        self.was_pressed = await call.press("12#")


def test_keys_are_not_cut_by_a_voice_and_an_operator_s_come_behind_them(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"{module_with(A=Presser)}:A")
            await scene.until(lambda: bridge.calls["a"].is_speaking)
            line.tick(5)
            line.caller_says(tone(160), flags=SPEECH_FLAG)
            scene.ring()
            scene.press("a", "4")

            def is_pressed() -> bool:
                line.tick()
                scene.ring()
                return line.keys[-1:] == [ord("4")]

            await scene.until(is_pressed)
            assert pressers[0].was_pressed and line.turns == [0] * len(line.turns)
            assert [chr(key) for key, _ in itertools.groupby(k for k in line.keys if k != KEY_GAP)] == ["1", "2", "#", "4"]

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
            assert failed.call_id == "bad" and "Fragile.on_dtmf raised KeyError: 'no such menu', test_bridge.py line" in failed.why
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


def test_what_a_call_tells_the_front(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            await scene.call(f"{module_with(Diary=Diary)}:Diary")
            call = Diary.of["a"].call
            call.note("heard", "yes", confidence=0.5)
            call.hang_up()
            await scene.until(lambda: scene.of(HangUp))
            (noted,) = scene.of(Noted)
            assert (noted.kind, noted.text, noted.values) == ("heard", "yes", {"confidence": 0.5})
            assert scene.of(HangUp) == [HangUp(call_id="a", cause="the agent hung up")]
            await scene.until(lambda: scene.of(Alive)[-1].calls == 1)

    asyncio.run(scenario())


def test_an_agent_that_hears_what_rings_is_told_of_the_answer_once(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            agent = f"{module_with(Diary=Diary)}:Diary"
            await scene.call(agent, "out", is_early=True, direction="outbound")
            call = Diary.of["out"].call
            call.answer()  # that is the far end's to do
            assert call.is_early
            for _ in range(2):
                scene.switchboard.send(b"bridge-0", CallAnswered("out"))
            await scene.until(lambda: not call.is_early)
            call.hang_up()
            await scene.until(lambda: scene.of(HangUp))
            assert Diary.of["out"].events.count("answered") == 1 and not scene.of(AnswerCall)

    asyncio.run(scenario())


def test_an_agent_answers_a_call_that_is_early_once(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            agent = f"{module_with(Diary=Diary)}:Diary"
            await scene.call(agent, "early", is_early=True)
            await scene.call(agent, "late", row=1)
            for name in ("late", "early", "early"):
                Diary.of[name].call.answer()
            Diary.of["late"].call.hang_up()
            await scene.until(lambda: scene.of(HangUp))
            assert scene.of(AnswerCall) == [AnswerCall("early")] and not Diary.of["early"].call.is_early

    asyncio.run(scenario())


def test_an_agent_learns_what_became_of_hold_and_transfer(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            await scene.call(f"{module_with(Diary=Diary)}:Diary")
            call = Diary.of["a"].call
            held = asyncio.ensure_future(call.hold())
            await scene.until(lambda: scene.of(HoldCall))
            assert scene.of(HoldCall) == [HoldCall("a", True)] and not call.is_holding
            scene.switchboard.send(b"bridge-0", HoldEnded("a", True, True, 200))
            assert await held and call.is_holding
            moved = asyncio.ensure_future(call.transfer("sip:desk@x"))
            await scene.until(lambda: scene.of(Transfer))
            assert scene.of(Transfer) == [Transfer("a", "sip:desk@x")]
            scene.switchboard.send(b"bridge-0", TransferEnded("a", False, 486, "486 Busy Here"))
            outcome = await moved
            assert not outcome and (outcome.status, outcome.why) == (486, "486 Busy Here")
            back, moved = asyncio.ensure_future(call.unhold()), asyncio.ensure_future(call.transfer(with_call="b"))
            await scene.until(lambda: len(scene.of(Transfer)) == 2)
            scene.stop("a")
            assert [(await what).status for what in (back, moved)] == [481, 481] and not await call.hold()

    asyncio.run(scenario())


def test_an_agent_connects_its_caller_and_gets_it_back(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            await scene.call(f"{module_with(Diary=Diary)}:Diary")
            diary = Diary.of["a"]
            call = diary.call
            ringing = asyncio.ensure_future(call.connect("sip:desk@x", agent="whisper", back=True, ring_seconds=20))
            await scene.until(lambda: scene.of(ConnectCall))
            (order,) = scene.of(ConnectCall)
            assert order == ConnectCall("a", "sip:desk@x", order.leg_id, ring_seconds=20, agent="whisper", after="return")
            scene.switchboard.send(b"bridge-0", RoomChanged("a", order.leg_id, "music", "listen"))
            await scene.until(lambda: call.room)
            assert (call.role, call.agent_role) == ("music", "listen") and not ringing.done()
            scene.switchboard.send(b"bridge-0", RoomChanged("a", order.leg_id, "talk", "whisper"))
            scene.switchboard.send(b"bridge-0", ConnectEnded("a", order.leg_id, True, 200))
            connection = await ringing
            assert connection and (connection.call_id, connection.status) == (order.leg_id, 200) and call.agent_role == "whisper"
            scene.switchboard.send(b"bridge-0", RoomChanged("a"))
            await scene.until(lambda: [event for event in diary.events if event[0] == "room"][2:])
            assert [event for event in diary.events if event[0] == "room"] == [("room", order.leg_id), ("room", order.leg_id), ("room", "")]
            assert (call.room, call.agent_role) == ("", "talk")
            ringing = asyncio.ensure_future(call.connect("sip:desk@x"))
            await scene.until(lambda: len(scene.of(ConnectCall)) == 2)
            scene.switchboard.send(b"bridge-0", ConnectEnded("a", scene.of(ConnectCall)[1].leg_id, False, 486, "486 Busy Here"))
            assert not (busy := await ringing) and (busy.status, busy.why) == (486, "486 Busy Here")

    asyncio.run(scenario())


def test_an_agent_joins_enters_and_leaves(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            await scene.call(f"{module_with(Diary=Diary)}:Diary")
            call = Diary.of["a"].call
            for asked, order in (
                (call.join("b", agent="listen", back=True), JoinCalls("a", "b", "listen", "return")),
                (call.enter("weekly"), EnterRoom("weekly", Party("a", agent="talk"), "return")),
                (call.enter("weekly", agent="whisper", to="b", back=False), EnterRoom("weekly", Party("a", agent="whisper", agent_to="b"))),
                (call.leave(), LeaveRoom("a")),
            ):
                waiting = asyncio.ensure_future(asked)
                await scene.until(lambda order=order: scene.of(type(order)) and scene.of(type(order))[-1] == order)
                scene.switchboard.send(b"bridge-0", RoomChanged("a", "r"))
                assert await waiting
            waiting = asyncio.ensure_future(call.join("elsewhere"))
            await scene.until(lambda: len(scene.of(JoinCalls)) == 2)
            scene.switchboard.send(b"bridge-0", Failed("call a is on media worker 0, and call elsewhere on 1", 422, "a"))
            assert not (refused := await waiting) and "media worker" in refused.why

    asyncio.run(scenario())


def test_a_pause_holds_speech_back_and_resuming_goes_on(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"{module_with(Diary=Diary)}:Diary")
            call = Diary.of["a"].call
            said = call.say(tone(480))
            line.tick(1)
            call.pause()
            line.tick(3)
            assert line.heard().size == 160
            call.resume()
            line.tick(2)
            scene.ring()
            assert await said == 60.0 and np.array_equal(line.heard(), tone(480))

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


def test_an_agent_records_and_pauses(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            await scene.call(f"{module_with(Host=Host)}:Host")
            call = hosts["a"].call
            call.record()
            call.record("pause")
            with pytest.raises(ValueError, match="on, off, pause"):
                call.record("stop")  # type: ignore[arg-type]
            await scene.until(lambda: len(scene.of(RecordCall)) == 2)
            assert [order.state for order in scene.of(RecordCall)] == ["on", "pause"]

    asyncio.run(scenario())
