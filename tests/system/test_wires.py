"""Bots of other providers on the phone: a real caller, the whole server, and a bot that knows nothing of us."""

import asyncio
import base64
import itertools
import os
import signal
import struct
import time
from typing import Any

import numpy as np
import pytest

from tests.ai_bridge.wires.bots import Bot, Session, serving_beside
from tests.examples.test_bots import dialling
from tests.system.caller import Caller, decode_ulaw, encode_ulaw
from tests.system.conftest import StartServer
from tests.system.server import free_tcp_port, wait_for
from tests.system.sound import pitch_and_level

SILENT_MS = 120
"""From a bot's clear to silence on the wire. The benchmark measures it; here it is bounded only, on a machine that does other things."""


def speech(pitch_hz: float, seconds: float) -> str:
    times = np.arange(round(8_000 * seconds)) / 8_000
    return base64.b64encode(encode_ulaw(8_000 * np.sin(2 * np.pi * pitch_hz * times))).decode()


class TwilioBot:
    """Echoes until 1 is pressed. Then it speaks, with a mark, until 2 is pressed, and clears; 3 hangs up."""

    def __init__(self) -> None:
        self.cleared_ns = 0
        self.is_echo = True

    async def __call__(self, session: Session) -> None:
        await session.read(self.answer)

    async def answer(self, session: Session, message: Any) -> None:
        sid = {"streamSid": message.get("streamSid")}
        if message["event"] == "media" and self.is_echo:
            await session.send({"event": "media", "media": {"payload": message["media"]["payload"]}, **sid})
        elif message["event"] == "dtmf":
            self.is_echo = False
            match message["dtmf"]["digit"]:
                case "1":
                    await session.send({"event": "media", "media": {"payload": speech(1_000, 0.6)}, **sid})
                    await session.send({"event": "mark", "mark": {"name": "short"}, **sid})
                    await session.send({"event": "media", "media": {"payload": speech(1_500, 20)}, **sid})
                    await session.send({"event": "mark", "mark": {"name": "long"}, **sid})
                case "2":
                    self.cleared_ns = time.time_ns()
                    await session.send({"event": "clear", **sid})
                case "3":
                    await session.socket.close()


def test_a_twilio_bot_hears_speaks_clears_and_hangs_up(start_server: StartServer) -> None:
    behave = TwilioBot()
    with serving_beside(Bot(behave)) as bot:
        server = start_server(agent=f"twilio+{bot.url}")
        with Caller(server.sip_port) as caller:
            wait_for("the bot's echo", lambda: len(caller.received) > 75 and pitch_and_level(caller.audio(-50))[1] > 7_000)
            pitch_hz, level = pitch_and_level(caller.audio(len(caller.received) - 50))
            assert abs(pitch_hz - 440) < 10 and 7_000 < level < 9_000
            session = bot.sessions[0]
            start = session.of("start")[0]["start"]
            assert start["customParameters"]["from_number"] == caller.name
            heard = decode_ulaw(b"".join(base64.b64decode(m["media"]["payload"]) for m in list(session.of("media"))))
            assert abs(pitch_and_level(heard[-4_000:])[0] - 440) < 10, "what the caller says reaches the bot as it was"

            caller.press("1")
            wait_for("the mark", lambda: session.of("mark"))
            assert [mark["mark"]["name"] for mark in session.of("mark")] == ["short"]
            wait_for("what follows", lambda: abs(pitch_and_level(caller.audio(len(caller.received) - 10))[0] - 1_500) < 50)
            caller.press("2")
            wait_for("the mark of what was cleared", lambda: len(session.of("mark")) == 2)
            caller.wait_for_packets(25)
            loud = [packet for packet in caller.received if np.abs(decode_ulaw(packet.payload)).max() > 1_000]
            silent_ms = (loud[-1].at_ns - behave.cleared_ns) / 1e6
            print(f"the last loud packet was received {silent_ms:.1f} ms after the bot's clear")
            assert silent_ms < SILENT_MS
            caller.check_stream()
            caller.press("3")
            wait_for("the end of the call", lambda: not server.calls())
        assert [session.messages[-1]["event"] for session in bot.sessions] in (["stop"], ["dtmf"])
        server.wait_until_quiet()
        server.check_log()


def test_a_bot_that_dies_takes_one_call_with_it_and_the_log_says_why(start_server: StartServer) -> None:
    async def die(session: Session) -> None:
        await session.socket.receive()
        await asyncio.sleep(0.5)
        session.socket._writer.transport.abort()  # type: ignore[union-attr]

    with serving_beside(Bot(die)) as dead, serving_beside(Bot(TwilioBot())) as alive:
        routes = [{"to": "dead", "agent": f"twilio+{dead.url}", "arguments": {"retries": "0"}}, {"agent": f"twilio+{alive.url}"}]
        server = start_server(only=routes)
        with Caller(server.sip_port) as other, Caller(server.sip_port, to="dead"):
            wait_for("the end of one call", lambda: len(server.calls()) == 1)
            other.wait_for_packets(50)
            assert pitch_and_level(other.audio(len(other.received) - 25))[1] > 7_000
        server.wait_until_quiet()
        assert "the bot's connection broke without a goodbye" in server.log()
        server.check_log()


def test_a_bot_goes_on_with_its_call_when_the_agents_process_is_killed(start_server: StartServer) -> None:
    """On our own wire it is told where its turn is; what the caller said meanwhile is complete, and RTP goes on."""

    async def speak(session: Session) -> None:
        await session.send({"type": "ready", "version": 1, "rate_hz": 8_000})
        if len(bot.sessions) == 1:
            pcm = (8_000 * np.sin(2 * np.pi * 1_000 * np.arange(8_000) / 8_000)).astype("<i2")
            await session.send(struct.pack("<IIQ", 1, 0, 0) + pcm.tobytes())
        await session.read()

    bot = Bot(speak)

    def positions(session: Session) -> list[int]:
        return [int(struct.unpack_from("<Q", message, 8)[0]) for message in list(session.messages) if isinstance(message, bytes)]

    with serving_beside(bot):
        server = start_server(agent=f"bellframe+{bot.url}")
        with Caller(server.sip_port) as caller:
            wait_for("what the bot says", lambda: len(caller.received) > 20 and pitch_and_level(caller.audio(-5))[1] > 6_000)
            os.kill(server.pid_of("bridge"), signal.SIGKILL)
            wait_for("the bot dialled anew", lambda: len(bot.sessions) == 2 and len(positions(bot.sessions[1])) > 50, 30.0)
            caller.check_stream()
            first, second = bot.sessions
            start = second.messages[0]
            assert (start["call_id"], start["resumed"], start["turn"]) == (first.messages[0]["call_id"], "process", 1)
            assert 0 < start["heard_ms"] <= start["said_ms"] <= 1_000 and start["away_ms"] >= 0
            told = positions(first) + positions(second)
            gaps = sum(position - before != 160 for before, position in itertools.pairwise(told))
            assert gaps <= 1 and told == sorted(told), "what was in hand may be missing, or what the ring could not keep"
        server.wait_until_quiet()
        server.checked = len(server.log())


@pytest.mark.parametrize("fallback", ["echo"])
def test_another_agent_takes_the_calls_of_a_bot_that_is_away(start_server: StartServer, fallback: str) -> None:
    server = start_server(only=[{"agent": "twilio+ws://127.0.0.1:9/media", "arguments": {"fallback": fallback, "retries": "0"}}])
    with Caller(server.sip_port) as caller:
        wait_for("the echo", lambda: len(caller.received) > 75 and pitch_and_level(caller.audio(-50))[1] > 7_000)
    server.wait_until_quiet()
    assert "cannot be reached" in server.log() and "echo takes the call" in server.log()
    server.check_log()


def test_a_bot_that_dials_us_answers_the_phone_and_again_when_the_agents_process_is_killed(start_server: StartServer) -> None:
    token, port = "a-token-of-the-tests-1", free_tcp_port()
    door = {"door": f"127.0.0.1:{port}", "door_tokens": [token]}
    server = start_server(agent="door:desk", bridge=door)
    with dialling(f"ws://127.0.0.1:{port}/desk", token), Caller(server.sip_port) as caller:
        wait_for("the echo", lambda: len(caller.received) > 75 and pitch_and_level(caller.audio(-50))[1] > 7_000)
        os.kill(server.pid_of("bridge"), signal.SIGKILL)
        wait_for("the new process's door", lambda: server.log().count("bots may dial us") == 2, 30.0)
        before = len(caller.received)
        wait_for("the echo", lambda: len(caller.received) > before + 75 and pitch_and_level(caller.audio(-50))[1] > 7_000, 20.0)
        caller.check_stream()
    server.wait_until_quiet()
    server.checked = len(server.log())
