"""What an agent and whoever watches are told of turns: their parts, the text that was heard, and silence."""

import asyncio
import time

import numpy as np
import pytest

from ai_bridge import Agent, Call
from ai_bridge.awaited import whole_words
from control_plane.messages import Noted
from shm.layout import SPEECH_FLAG, SPEECH_HANGOVER_MS, TO_AI_READ, TO_AI_WRITE, VOICED_FLAG
from tests.ai_bridge.line import tone
from tests.ai_bridge.scene import module_with, stage

agents: list["Listener"] = []


class Listener(Agent):
    dead_air_ms = 1_000

    def __init__(self) -> None:
        agents.append(self)
        self.dead = 0

    def on_speech_stopped(self) -> None:
        self.call.say(tone(800))

    def on_dead_air(self) -> None:
        self.dead += 1


def test_each_answer_s_parts_are_noted_from_the_callers_last_sound_to_the_wire(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"{module_with(A=Listener)}:A")
            agents[-1].call.say(tone(160))  # a greeting answers nobody
            line.tick(3)
            for _ in range(2):
                line.now_ns = time.monotonic_ns()
                line.caller_says(tone(320), SPEECH_FLAG | VOICED_FLAG)
                line.now_ns = time.monotonic_ns()
                line.caller_says(tone(160))
                scene.ring()
                await scene.until(lambda: agents[-1].call.is_speaking)
                line.now_ns = time.monotonic_ns()
                line.tick(8)
                scene.ring()
                await scene.until(lambda: not agents[-1].call.is_speaking)
            await scene.until(lambda: len([note for note in scene.of(Noted) if note.kind == "turn"]) == 2)
            for note in scene.of(Noted):
                assert note.text == f"answered {note.values['total_ms']:.0f} ms after the caller's last sound"
                assert set(note.values) == {"detected_ms", "model_ms", "wire_ms", "total_ms"}
                assert note.values["total_ms"] == pytest.approx(sum(note.values.values()) / 2, abs=0.2), "the parts are the whole"
                assert SPEECH_HANGOVER_MS <= note.values["detected_ms"] < SPEECH_HANGOVER_MS + 2_000 and note.values["model_ms"] >= 0

    asyncio.run(scenario())


def test_dead_air_is_told_again_and_again_and_not_while_anybody_speaks(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"{module_with(A=Listener)}:A")
            agent = agents[-1]

            async def passes(seconds: float, flags: int, dead: int) -> None:
                for _ in range(int(seconds * 10)):
                    line.now_ns += 100_000_000
                    line.caller_says(tone(160), flags)
                scene.ring()
                words = scene.rings.words
                await scene.until(lambda: words[0, TO_AI_READ] == words[0, TO_AI_WRITE] and not bridge._runners[0]._queue)
                assert agent.dead == dead

            await passes(1.2, 0, 1)
            await passes(1.0, 0, 2)
            await passes(3.0, SPEECH_FLAG | VOICED_FLAG, 2)
            await passes(0.5, 0, 2)  # and the agent answers
            await scene.until(lambda: agent.call.is_speaking)
            await passes(3.0, 0, 2)
            line.tick(10)
            await passes(1.2, 0, 3)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("length", "words"), [(0, ""), (3, ""), (5, "Hello"), (6, "Hello"), (10, "Hello"), (11, "Hello there"), (40, "Hello there")]
)
def test_words_that_were_not_heard_whole_do_not_count(length: int, words: str) -> None:
    assert whole_words("Hello there", length) == words


class Speaker(Agent):
    def on_start(self, call: Call) -> None:
        agents.append(self)  # type: ignore[arg-type]


def test_an_interrupted_utterance_knows_its_text_as_far_as_the_caller_heard_it(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"{module_with(A=Speaker)}:A")
            call = bridge.calls["a"]

            async def cut(utterance, ticks: int) -> str:
                line.tick(ticks)
                call.new_turn()
                line.tick()
                scene.ring()
                await utterance
                return utterance.heard_text

            text = "One two three four"
            assert await cut(call.say(tone(1_600), text=text), 5) == "One two"
            assert await cut(call.say(tone(1_600), text=text, word_ends_ms=[(20, 3), (160, 7), (180, 13)]), 5) == "One"
            assert await cut(call.say(tone(1_600), text=text, word_ends_ms=[(20, 3), (80, 7), (100, 13)]), 5) == "One two three"
            assert await cut(call.say(tone(320), text=text), 3) == text
            stream = call.stream(rate_hz=16_000)
            stream.write_nowait(np.zeros(1_600, np.int16), text="Hello ")
            stream.write_nowait(np.zeros(3_200, np.int16), text="out there.")
            assert await cut(stream, 5) == "Hello" + " " and stream.text == "Hello out there."

    asyncio.run(scenario())
