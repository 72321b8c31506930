"""What an agent may do with its call, and what the front is told of it."""

import asyncio
import itertools

import numpy as np
import pytest

from ai_bridge import Agent, Call
from control_plane.messages import (
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
from shm.layout import KEY_GAP, SPEECH_FLAG
from tests.ai_bridge.diary import Diary, Host, hosts
from tests.ai_bridge.line import tone
from tests.ai_bridge.scene import module_with, stage


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
