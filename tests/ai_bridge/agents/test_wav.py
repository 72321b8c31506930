import asyncio
import wave

import numpy as np
import pytest

from ai_bridge.agents.wav import read_wav
from control_plane.errors import ConfigurationError
from control_plane.messages import AgentFailed, HangUp
from tests.ai_bridge.line import tone
from tests.ai_bridge.scene import stage


def write(path, pcm, rate_hz=8_000, channels=1, width=2):
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate_hz, 0, "NONE", ""))
        file.writeframes(pcm.tobytes())


def test_it_plays_records_and_hangs_up(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            write(tmp_path / "in.wav", tone(1_000))
            arguments = {"play": str(tmp_path / "in.wav"), "record": str(tmp_path / "out.wav"), "linger_ms": "30"}
            line = await scene.call("wav", arguments=arguments)
            line.caller_says(tone(320, 7_000))
            line.position += 160  # a frame went missing
            line.caller_says(tone(160, 8_000))
            scene.ring()
            line.tick(6)
            assert not scene.of(HangUp)
            line.tick(2)
            scene.ring()
            await scene.until(lambda: scene.of(HangUp))
            assert np.array_equal(line.heard()[:1_000], tone(1_000))
            scene.stop("a")
            await scene.until(lambda: not bridge.calls and not bridge._stopped)

    asyncio.run(scenario())
    pcm, rate_hz = read_wav(str(tmp_path / "out.wav"))
    assert rate_hz == 8_000 and np.array_equal(pcm, np.concatenate((tone(320, 7_000), np.zeros(160, np.int16), tone(160, 8_000))))


def test_two_channels_are_played_as_one(tmp_path):
    write(tmp_path / "in.wav", np.array([[100, 300], [-50, -150]], np.int16), 44_100, channels=2)
    pcm, rate_hz = read_wav(str(tmp_path / "in.wav"))
    assert pcm.tolist() == [200, -100] and rate_hz == 44_100


def test_a_file_that_cannot_be_played_is_named(tmp_path):
    (tmp_path / "text.wav").write_text("hello")
    write(tmp_path / "byte.wav", np.zeros(10, np.uint8), width=1)
    for name, why in (("none.wav", "No such file"), ("text.wav", "cannot be played"), ("byte.wav", "8-bit")):
        with pytest.raises(ConfigurationError, match=rf"{name}.*{why}"):
            read_wav(str(tmp_path / name))


def test_the_front_is_told_why_the_call_fails(tmp_path):
    async def scenario() -> None:
        async with stage(tmp_path) as (scene, bridge):
            await scene.call("wav", arguments={"play": str(tmp_path / "none.wav")})
            await scene.until(lambda: scene.of(AgentFailed))
            assert "none.wav: cannot be played" in scene.of(AgentFailed)[0].why

    asyncio.run(scenario())
