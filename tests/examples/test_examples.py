"""Every example runs, on real rings, as its page says."""

import asyncio
import pathlib

import numpy as np
import pytest

from ai_bridge.loader import load
from control_plane.messages import ConnectCall, ConnectEnded, HangUp, LeaveRoom, Noted, RoomChanged
from shm import ring
from shm.layout import DUCK_DB, SPEECH_FLAG
from tests.ai_bridge.line import tone
from tests.ai_bridge.scene import stage

EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "examples"


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)


def test_every_example_names_an_agent_that_loads():
    for path in EXAMPLES.glob("*.py"):
        reference = path.read_text().partition("--agent ")[2].split()[0]
        assert reference.partition(":")[0] == path.stem and load(reference)


def test_ten_lines(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call("ten_lines:Parrot")
            line.caller_says(tone(1_600))
            scene.ring()
            await scene.until(lambda: bridge.calls["a"].queued_ms == 1_200)
            line.tick(60)
            assert not line.heard()[:8_000].any() and np.array_equal(line.heard()[8_000:], tone(1_600))

    asyncio.run(scenario())


def test_ten_lines_say_nothing_stale_after_a_hold(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call("ten_lines:Parrot")
            call = bridge.calls["a"]
            line.caller_says(tone(1_600))
            line.hold(True)
            line.caller_says(tone(1_600))
            scene.ring()
            await scene.until(lambda: call.turn == 1 and call.queued_ms == 0)
            line.tick()  # the worker drops the old turn
            line.hold(False)
            line.caller_says(tone(320, 9_000))
            scene.ring()
            await scene.until(lambda: call.queued_ms == 1_040)
            line.tick(60)
            assert np.array_equal(line.heard()[8_000:], tone(320, 9_000))

    asyncio.run(scenario())


def test_barge_in(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call("barge_in:Storyteller")
            await scene.until(lambda: bridge.calls["a"].is_speaking)
            line.tick(37)
            line.caller_says(tone(160), flags=SPEECH_FLAG)
            scene.ring()
            await scene.until(lambda: bridge.calls["a"].turn == 1)

            def after(told):
                line.tick()
                scene.ring()
                return scene.of(told)

            await scene.until(lambda: after(Noted))
            assert (scene.of(Noted)[0].text, scene.of(Noted)[0].values) == ("interrupted", {"heard_ms": 740.0})
            await scene.until(lambda: after(HangUp))
            assert line.turns[:37] == [0] * 37 and set(line.turns[37:]) == {1} and line.turns.count(1) == 50

    asyncio.run(scenario())


def test_patient(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call("patient:Patient")
            call = bridge.calls["a"]
            await scene.until(lambda: call.is_speaking)
            line.tick(30)

            async def hears(flags: int, frames: int, condition) -> None:
                for _ in range(frames):
                    line.now_ns += 20_000_000
                    line.caller_says(tone(160), flags)
                scene.ring()
                await scene.until(condition)

            def lowered_db() -> int:
                return ring.load_word(scene.rings.words, 0, DUCK_DB)

            await hears(SPEECH_FLAG, 10, lambda: lowered_db() == 15)
            await hears(0, 1, lambda: lowered_db() == 0)
            assert call.turn == 0, "a sound was no interruption"

            def has_heard_half() -> bool:
                scene.ring()
                if line.heard().size < 75 * 160:
                    line.tick()
                return line.heard().size == 75 * 160

            await scene.until(has_heard_half)
            await hears(SPEECH_FLAG, 40, lambda: call.turn == 1 and lowered_db() == 0)
            line.tick()
            scene.ring()
            await scene.until(lambda: any(note.kind == "heard" for note in scene.of(Noted)))
            assert next(note.text for note in scene.of(Noted) if note.kind == "heard") == "Our office is open from"
            await hears(0, 1, lambda: call.is_speaking)
            for _ in range(26):
                line.tick()
            await scene.until(lambda: not call.is_speaking)
            for _ in range(5):
                await hears(0, 100, lambda: True)
                await asyncio.sleep(0.02)
            await scene.until(lambda: scene.of(HangUp))

    asyncio.run(scenario())


def test_keys(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call("keys:Keys")
            await scene.until(lambda: bridge.calls["a"].queued_ms == 900)
            line.tick(3)
            line.caller_presses("1")
            scene.ring()
            await scene.until(lambda: bridge.calls["a"].turn == 1 and bridge.calls["a"].queued_ms == 300)
            line.caller_presses("#")
            scene.ring()
            await scene.until(lambda: bridge.calls["a"].turn == 2 and bridge.calls["a"].queued_ms == 300)
            assert not scene.of(HangUp)
            for played in range(1, 16):  # the first tick drops what older turns left in the ring; then the bridge goes on filling it
                line.tick(1)
                scene.ring()
                await scene.until(lambda played=played: played == 15 or line.is_waiting())
            await scene.until(lambda: scene.of(HangUp))
            assert line.turns == [0] * 3 + [2] * 15

    asyncio.run(scenario())


def test_batch(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            quiet, loud = await scene.call("batch:Loudness", "quiet", 0), await scene.call("batch:Loudness", "loud", 1)
            for _ in range(20):
                quiet.caller_says(np.full(160, 10, np.int16))
                loud.caller_says(np.full(160, 20_000, np.int16))
            scene.ring()
            await scene.until(lambda: [c.queued_ms for c in bridge.calls.values()] == [400, 400])
            await scene.until(lambda: scene.of(Noted))
            assert [n.call_id for n in scene.of(Noted)] == ["loud"]
            loud.tick(1)
            assert (loud.heard() == 10_000).all()

    asyncio.run(scenario())


def test_receptionist(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call("receptionist:Receptionist", arguments={"desk": "sip:desk@x"})
            line.caller_presses("1")
            scene.ring()
            await scene.until(lambda: scene.of(ConnectCall))
            (order,) = scene.of(ConnectCall)
            assert (order.to, order.meanwhile, order.after) == ("sip:desk@x", "music", "return")
            scene.switchboard.send(b"bridge-0", RoomChanged("a", order.leg_id))
            scene.switchboard.send(b"bridge-0", ConnectEnded("a", order.leg_id, True, 200))
            await scene.until(lambda: bridge.calls["a"].room)
            line.caller_presses("*")
            scene.ring()
            await scene.until(lambda: scene.of(LeaveRoom) == [LeaveRoom("a")])
            before = bridge.calls["a"].queued_ms
            scene.switchboard.send(b"bridge-0", RoomChanged("a"))
            await scene.until(lambda: bridge.calls["a"].queued_ms == before + 600)
            line.caller_presses("1")
            scene.ring()
            await scene.until(lambda: len(scene.of(ConnectCall)) == 2)
            scene.switchboard.send(b"bridge-0", ConnectEnded("a", scene.of(ConnectCall)[1].leg_id, False, 486, "486 Busy Here"))
            await scene.until(lambda: [note.text for note in scene.of(Noted)] == ["486 486 Busy Here"])

    asyncio.run(scenario())
