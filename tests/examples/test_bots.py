"""The example bots run as processes of their own, and answer a call."""

import asyncio
import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

from ai_bridge.wires import conformance
from ai_bridge.wires import door as doors
from ai_bridge.wires.conformance import Asked
from ai_bridge.wires.door_server import DoorServer
from control_plane.messages import HangUp
from control_plane.tokens import Tokens
from shm.layout import SPEECH_FLAG
from tests.ai_bridge.line import tone
from tests.ai_bridge.scene import stage

EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "examples"
BOTS = EXAMPLES / "bots"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(name: str, **environment: str) -> Iterator[str]:
    """The address of a program in examples/bots, or beside it, once it listens."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, BOTS / name, str(port)], env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            until = time.monotonic() + 20
            while True:
                with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                    break
                assert process.poll() is None and time.monotonic() < until, "it does not listen"
                time.sleep(0.02)
            yield f"ws://127.0.0.1:{port}/"
        finally:
            process.terminate()


def test_it_says_back_what_the_caller_said_and_can_be_interrupted(tmp_path):
    said = np.resize(tone(20), 8_000)

    async def scenario(url: str) -> None:
        async with stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"bellframe+{url}", rate_hz=16_000, arguments={"secret": "s3cret"})
            line.caller_says(said, SPEECH_FLAG)
            line.caller_says(said[:320])
            scene.ring()
            await scene.until(lambda: bridge.calls["a"].queued_ms == 500)
            line.tick(5)
            assert np.array_equal(line.heard(), said[:1_600])
            line.caller_says(said[:320], SPEECH_FLAG)
            scene.ring()
            await scene.until(lambda: bridge.calls["a"].turn == 1)
            line.caller_says(said[:320])
            scene.ring()
            await scene.until(lambda: bridge.calls["a"].queued_ms == 20)
            scene.stop("a")
            await scene.until(lambda: not bridge.calls and not bridge._stopped)
            line = await scene.call(f"bellframe+{url}", "b", row=1, arguments={"secret": "another", "retries": "0"})
            await scene.until(lambda: scene.of(HangUp))
            assert "401" in scene.of(HangUp)[0].cause

    with running("echo.py", BOT_SECRET="s3cret") as url:
        asyncio.run(scenario(url))


def test_it_passes_the_test_that_is_there_for_all_bots(capsys):
    with running("echo.py", BOT_SECRET="s3cret") as url:
        assert conformance.main([url, "--secret", "s3cret"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("pass")] == [f"not seen  {Asked.FULL.value}"]


@contextlib.contextmanager
def dialling(url: str, token: str) -> Iterator[None]:
    command, environment = [sys.executable, BOTS / "at_the_door.py", url], {**os.environ, "DOOR_TOKEN": token}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as bot:
        try:
            yield
        finally:
            bot.terminate()


def test_a_bot_waits_at_the_door_and_takes_one_call_after_the_other(tmp_path, monkeypatch):
    token = "a-token-of-the-tests-1"

    async def scenario() -> None:
        door = doors.Door()
        monkeypatch.setattr(doors, "door", door)
        server = DoorServer(door, Tokens((token,)))
        await server.open("127.0.0.1", 0, None)
        async with stage(tmp_path) as (scene, bridge):
            with dialling(f"ws://127.0.0.1:{server.port}/desk", token):
                await scene.until(lambda: len(door.waiting) == 2)
                for call_id in "ab":
                    line = await scene.call("door:desk", call_id, rate_hz=16_000)
                    await scene.until(lambda: len(door.waiting) == 1)
                    line.caller_says(tone(320))
                    scene.ring()
                    await scene.until(line.is_waiting)
                    line.tick()
                    assert np.array_equal(line.heard(), tone(320))
                    scene.stop(call_id)
                    await scene.until(lambda: len(door.waiting) == 2 and not bridge._stopped)
            server.close()

    asyncio.run(scenario())
