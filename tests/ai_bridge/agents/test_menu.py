"""The menu in a real bridge, with a real voice and a real ear; the worker's side of the line is played by hand."""

import asyncio
import pathlib
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from ai_bridge.agents import menu
from ai_bridge.agents.menu import FAREWELL, GREETING, HOURS, MENU, NOT_UNDERSTOOD, PROMPTS, STILL_THERE, Place, recognizer
from ai_bridge.agents.spoken import voice
from ai_bridge.offline_speech import rate
from control_plane.messages import AgentFailed, HangUp, Noted
from shm.layout import SPEECH_FLAG
from tests.ai_bridge.line import Line
from tests.ai_bridge.scene import Scene, stage

pytest.importorskip("espeakng_loader", reason="pip install 'bellframe[agent]'")
pytest.importorskip("pocketsphinx", reason="pip install 'bellframe[agent]'")


class Caller:
    def __init__(self, scene: Scene, line: Line) -> None:
        self.scene, self.line = scene, line

    def notes(self, kind: str) -> list[str]:
        return [note.text for note in self.scene.of(Noted) if note.kind == kind]

    async def hears(self, text: str) -> None:
        """Until the agent begins to say this, and then a little of it on the wire."""
        await self.scene.until(lambda: self.notes("said")[-1:] == [text])
        self.line.tick(10)
        self.scene.ring()

    async def listens_until(self, condition: Callable[[], object]) -> None:
        """Let the line go on, much faster than in life."""

        def goes_on() -> object:
            self.line.tick()
            self.scene.ring()
            return condition()

        await self.scene.until(goes_on)

    async def says(self, text: str) -> None:
        pcm, rate_hz = await voice().speak(text)
        self.line.caller_says(rate.to_pcm16(rate.convert(pcm.astype(float), rate_hz, 8_000)), SPEECH_FLAG)
        self.line.caller_says(np.zeros(1_600, np.int16))
        self.scene.ring()

    def presses(self, key: str) -> None:
        self.line.caller_presses(key)
        self.scene.ring()


def play(folder: pathlib.Path, part: Callable[[Caller], Awaitable[None]], **values: object) -> None:
    """Call the menu, and do this as its caller."""

    async def scene_of_a_call() -> None:
        async with stage(folder) as (scene, _):
            line = await scene.call("menu", **values)
            await part(Caller(scene, line))
            assert not scene.of(AgentFailed)
        await voice().close()
        await recognizer(Place.MAIN).helper.close()

    asyncio.run(scene_of_a_call())


def test_it_understands_words_and_keys_and_stops_when_it_is_interrupted(tmp_path: pathlib.Path) -> None:
    async def part(caller: Caller) -> None:
        await caller.hears(f"{GREETING} {PROMPTS[Place.MAIN]}")
        await caller.says("opening hours")
        await caller.hears(f"{HOURS} {PROMPTS[Place.MAIN]}")
        assert caller.notes("heard") == ["opening hours"]
        await caller.scene.until(lambda: caller.notes("interrupted"))
        (cut,) = [note for note in caller.scene.of(Noted) if note.kind == "interrupted"]
        assert cut.values["heard_ms"] == 200 and cut.values["of_ms"] > 3_000
        caller.presses("0")
        operator = MENU[Place.MAIN][2]
        await caller.hears(f"{operator.reply} {PROMPTS[Place.CALLBACK]}")
        await caller.says("no")
        await caller.hears(f"As you like. {PROMPTS[Place.MAIN]}")
        assert caller.notes("heard") == ["opening hours", "no"] and caller.notes("key") == ["0"]

    play(tmp_path, part)


def test_a_number_is_entered_read_back_and_the_call_ended(tmp_path: pathlib.Path) -> None:
    async def part(caller: Caller) -> None:
        await caller.hears(f"{GREETING} {PROMPTS[Place.MAIN]}")
        for key in "01":
            caller.presses(key)
        await caller.hears(f"Very well. {PROMPTS[Place.NUMBER]}")
        for key in "4711#":
            caller.presses(key)
        await caller.hears(f"You entered 4 7 1 1. {PROMPTS[Place.CONFIRM]}")
        caller.presses("1")
        await caller.hears(menu.PROMISE)
        assert not caller.scene.of(HangUp), "not before it was heard"
        await caller.listens_until(lambda: caller.scene.of(HangUp))

    play(tmp_path, part)


def test_what_it_does_not_understand_it_says_so_and_gives_up_after_three(tmp_path: pathlib.Path) -> None:
    async def part(caller: Caller) -> None:
        await caller.hears(f"{GREETING} {PROMPTS[Place.MAIN]}")
        await caller.says("pizza with cheese please")
        await caller.hears(f"{NOT_UNDERSTOOD} {PROMPTS[Place.MAIN]}")
        caller.presses("7")
        await caller.hears(f"There is nothing on 7. {PROMPTS[Place.MAIN]}")
        caller.presses("#")
        await caller.hears(f"There is nothing on hash. {FAREWELL}")
        assert caller.notes("heard") == [] and len(caller.notes("not understood")) == 1

    play(tmp_path, part)


def test_a_silent_caller_is_asked_again(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(menu, "PATIENCE_S", 0.05)

    async def part(caller: Caller) -> None:
        await caller.hears(f"{GREETING} {PROMPTS[Place.MAIN]}")
        await caller.listens_until(lambda: len(caller.notes("said")) == 4)
        assert caller.notes("said")[1:] == [f"{STILL_THERE} {PROMPTS[Place.MAIN]}"] * 2 + [f"{STILL_THERE} {FAREWELL}"]

    play(tmp_path, part)


def test_a_call_whose_bridge_died_goes_on(tmp_path: pathlib.Path) -> None:
    async def part(caller: Caller) -> None:
        await caller.hears(f"{menu.AGAIN} {PROMPTS[Place.MAIN]}")

    play(tmp_path, part, resumed=True)


def test_every_place_can_be_left_by_words_and_by_keys() -> None:
    for place, choices in MENU.items():
        assert PROMPTS[place]
        phrases = [phrase for choice in choices for phrase in choice.phrases]
        keys = [choice.key for choice in choices if choice.key]
        assert len(set(phrases)) == len(phrases) and len(set(keys)) == len(keys)
        assert any(choice.leads_to is None for choice in choices)
        assert recognizer(place).phrases == tuple(phrases)
