import asyncio
import json
import pathlib
import stat
import wave

import numpy as np
import pytest

from ai_bridge.agents.spoken import voice
from ai_bridge.agents.voicemail import THANKS, beep
from control_plane.commands import voicemail as command
from control_plane.messages import AgentFailed, HangUp, Noted
from control_plane.voicemail import messages
from shm.layout import SPEECH_FLAG
from tests.ai_bridge.line import Line, tone
from tests.ai_bridge.scene import Scene, stage

pytest.importorskip("espeakng_loader", reason="pip install 'bellframe[agent]'")
SPEECH = tone(8_000 * 2, 100)


class Caller:
    def __init__(self, scene: Scene, line: Line, folder: pathlib.Path) -> None:
        self.scene, self.line, self.folder = scene, line, folder

    async def until(self, condition) -> None:
        """Let the line go on, much faster than in life."""

        def goes_on() -> object:
            self.line.tick()
            self.scene.ring()
            return condition()

        await self.scene.until(goes_on)

    async def hears_the_beep(self) -> None:
        """To its end, as the agent knows it."""
        await self.until(lambda: self.line.heard().size and np.array_equal(self.line.heard()[-beep(8_000).size :], beep(8_000)))
        await self.until(lambda: list(self.folder.glob("*.wav")))

    async def says(self, pcm: np.ndarray, flags: int = SPEECH_FLAG) -> None:
        for start in range(0, pcm.size, 8_000):  # the ring holds 2.5 s
            self.line.caller_says(pcm[start : start + 8_000], flags)
            self.scene.ring()
            for _ in range(5):
                await asyncio.sleep(0.002)


def play(folder: pathlib.Path, part, **arguments: str) -> None:
    async def scene_of_a_call() -> None:
        (folder / "run").mkdir()
        async with stage(folder / "run") as (scene, bridge):
            mail = {"directory": str(folder / "mail"), **arguments}
            line = await scene.call("voicemail", caller="sip:ada@example.com", callee="100", arguments=mail)
            await part(Caller(scene, line, folder / "mail"))
            scene.stop("a")
            await scene.until(lambda: not bridge.calls and not bridge._stopped)
            assert not scene.of(AgentFailed)
        await voice().close()

    asyncio.run(scene_of_a_call())


def samples(path: pathlib.Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8_000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


@pytest.mark.parametrize("ends_by", ["#", "silence", "hang-up"])
def test_a_message_is_kept_as_it_was_said_with_who_left_it(tmp_path: pathlib.Path, ends_by: str, capsys) -> None:
    async def part(caller: Caller) -> None:
        caller.line.caller_presses("1")  # the greeting is known
        await caller.hears_the_beep()
        await caller.says(SPEECH)
        if ends_by == "#":
            caller.line.caller_presses("#")
        elif ends_by == "silence":
            await caller.says(np.zeros(8_000 * 2, np.int16), 0)
        else:
            caller.scene.stop("a", "the caller hung up")
        await caller.until(lambda: list(caller.folder.glob("*.json")))
        if ends_by != "hang-up":
            await caller.until(lambda: caller.scene.of(HangUp))
        await caller.until(lambda: [note for note in caller.scene.of(Noted) if note.kind == "message"])

    play(tmp_path, part, silence_seconds="1.5", greeting="Hello.")
    folder = tmp_path / "mail"
    (message,) = messages(folder)
    assert (message.caller, message.callee, message.call_id) == ("sip:ada@example.com", "100", "a")
    kept = samples(folder / message.file)
    assert np.array_equal(kept[: SPEECH.size], SPEECH) and message.seconds == pytest.approx(kept.size / 8_000, abs=0.01)
    assert {"#": "#", "silence": "silence", "hang-up": "hung up"}[ends_by] in message.why
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder / message.file, folder)] == [0o600, 0o700]
    assert command.as_text([message]).splitlines()[1].split()[2] == "sip:ada@example.com"


def test_who_says_nothing_leaves_nothing(tmp_path: pathlib.Path) -> None:
    async def part(caller: Caller) -> None:
        caller.line.caller_presses("1")
        await caller.hears_the_beep()
        await caller.says(np.zeros(8_000 * 5 // 2, np.int16), 0)
        await caller.until(lambda: caller.scene.of(HangUp))

    play(tmp_path, part, silence_seconds="1", greeting="Hello.")
    assert list((tmp_path / "mail").iterdir()) == []


def test_a_greeting_may_be_a_file_and_is_heard_to_its_end(tmp_path: pathlib.Path) -> None:
    with wave.open(str(tmp_path / "hello.wav"), "wb") as file:
        file.setparams((1, 2, 8_000, 0, "NONE", ""))
        file.writeframes(tone(1_600, 5_000).tobytes())

    async def part(caller: Caller) -> None:
        await caller.hears_the_beep()
        assert np.array_equal(caller.line.heard(), np.concatenate((tone(1_600, 5_000), beep(8_000))))

    play(tmp_path, part, greeting=str(tmp_path / "hello.wav"))


@pytest.mark.parametrize(("arguments", "why"), [({}, "have no directory"), ({"directory": "/proc/none"}, "that this user may write to")])
def test_a_route_that_is_wrong_fails_with_the_remedy(tmp_path: pathlib.Path, arguments: dict[str, str], why: str) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, _):
            await scene.call("voicemail", arguments=arguments)
            await scene.until(lambda: scene.of(AgentFailed))
            assert why in scene.of(AgentFailed)[0].why

    asyncio.run(scenario())


def test_a_file_that_is_no_message_is_passed_over(tmp_path: pathlib.Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps({"a": 1}))
    assert messages(tmp_path) == [] and command.as_text([]) == "there are no messages" and THANKS
