"""Bots made with Pipecat, unmodified, on the phone: as many serializers as it has for wires of ours."""

import os
import pathlib
import subprocess
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest

from tests.environments import PIPECAT, ROOT
from tests.system.baresip import PITCH_HZ, Baresip
from tests.system.caller import Caller, decode_ulaw
from tests.system.conftest import StartServer
from tests.system.server import HOST, Server, free_tcp_port, wait_for
from tests.system.sound import loudest_second, pitch_and_level, read_wav

pytestmark = [pytest.mark.pipecat, pytest.mark.timeout(420)]
START_LIMIT_S = 60.0
BOT = ROOT / "tests" / "system" / "pipecat" / "bot.py"
WIRES = {
    # wire     path
    "twilio": "/ws",
    "telnyx": "/ws",
    "plivo": "/ws",
    "exotel": "/ws",
    "vonage": "/vonage",
    "audiohook": "/genesys",
}


TOKEN = "a-token-of-the-tests"


class PipecatBot(NamedTuple):
    port: int
    http_port: int
    """Where it believes Twilio's REST API to be."""
    log: pathlib.Path


@pytest.fixture(scope="module", name="bot")
def _bot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PipecatBot]:
    log, port, http_port = tmp_path_factory.mktemp("pipecat") / "log", free_tcp_port(), free_tcp_port()
    command = [PIPECAT.python(), str(BOT), str(port)]
    twilio = {"TWILIO_BASE_URL": f"http://127.0.0.1:{http_port}", "TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": TOKEN}
    environment = {**os.environ, "PYTHONPATH": "", **twilio}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)
    try:

        def is_up() -> bool:
            assert process.poll() is None, log.read_text()
            return "Uvicorn running" in log.read_text()

        wait_for("the bot", is_up, START_LIMIT_S, every_s=0.2)
        yield PipecatBot(port, http_port, log)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module", name="server")
def _server(start_server: StartServer, bot: PipecatBot) -> Server:
    url, once = f"ws://127.0.0.1:{bot.port}", {"retries": "0"}
    routes = [{"to": name, "agent": f"{name}+{url}{path}", "arguments": once} for name, path in WIRES.items()]
    return start_server(only=routes, http={"listen": f"127.0.0.1:{bot.http_port}", "tokens": [TOKEN]})


@pytest.mark.parametrize("wire", WIRES)
def test_a_pipecat_bot_echoes_speaks_is_interrupted_and_ends_the_call(server: Server, bot: PipecatBot, wire: str) -> None:
    with Caller(server.sip_port, to=wire) as caller:

        def pitch(packets: int) -> tuple[float, float]:
            return pitch_and_level(caller.audio(len(caller.received) - packets)) if len(caller.received) > packets else (0, 0)

        wait_for("the echo", lambda: pitch(50)[1] > 7_000)
        assert abs(pitch(50)[0] - 440) < 10 and pitch(50)[1] < 9_000
        caller.press("1")
        wait_for("the bot's own words", lambda: abs(pitch(25)[0] - 1_000) < 30 and pitch(25)[1] > 7_000)
        pressed_ns = time.time_ns()
        caller.press("2")
        wait_for("silence", lambda: pitch(25)[1] < 100)
        loud = [packet for packet in caller.received if np.abs(decode_ulaw(packet.payload)).max() > 1_000]
        print(f"{wire}: the last loud packet came {(loud[-1].at_ns - pressed_ns) / 1e6:.0f} ms after the key was begun")
        caller.check_stream()
        caller.press("3")
        wait_for("the end of the call", lambda: not server.calls())
    server.wait_until_quiet()
    server.check_log()
    told = bot.log.read_text()
    assert "Traceback" not in told
    if wire == "twilio":
        assert "Successfully terminated Twilio call CA" in told, "it hung up by Twilio's REST API, which is ours"


@pytest.mark.peer
def test_baresip_hears_itself_through_a_pipecat_bot(server: Server, bot: PipecatBot, tmp_path: pathlib.Path) -> None:
    with Baresip(tmp_path) as phone:
        phone.dial(f"sip:twilio@{HOST}:{server.sip_port}")
        time.sleep(3.5)  # of talk
        phone.hang_up()
    pcm, rate_hz = read_wav(phone.recording("dec"))
    heard_hz, level = pitch_and_level(loudest_second(pcm, rate_hz), rate_hz)
    assert abs(heard_hz - PITCH_HZ) <= 3 and 7_000 < level < 9_000
