"""Calls that hear each other, through the whole server: who is heard is known by the pitch, across codecs and the death of the worker."""

import contextlib
import json
import os
import pathlib
import signal
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.system.baresip import PITCH_HZ, Baresip
from tests.system.caller import EVENT_TYPE, Caller, tone
from tests.system.conftest import StartServer
from tests.system.server import HOST, Server, free_tcp_port, wait_for
from tests.system.sound import Pcm, loudest_second, pitch_and_level, read_wav

PITCHES_HZ = (500, 800, 1_100)
HTTP_PORT = free_tcp_port()


@pytest.fixture(scope="module", name="server")
def _server(start_server: StartServer) -> Server:
    return start_server(agent="echo", http={"listen": f"{HOST}:{HTTP_PORT}"}, media={"formats": ["PCMU", "G722"]})


def pitches(pcm: Pcm, rate_hz: int = 8_000) -> set[int]:
    """Those of our callers that are in it."""
    spectrum = np.abs(np.fft.rfft(pcm.astype(np.float64) * np.hanning(pcm.size)))
    return {hz for hz in PITCHES_HZ if spectrum[round(hz * pcm.size / rate_hz) - 2 :][:5].max() > 300 * pcm.size}


def lately(caller: Caller, packets: int = 30) -> Pcm:
    return caller.audio(len(caller.received) - packets)


def level(pcm: Pcm) -> float:
    return float(np.sqrt((pcm.astype(np.float64) ** 2).mean()))


def hears(caller: Caller, wanted: set[int]) -> None:
    wait_for(f"{caller.name} hears {sorted(wanted)}", lambda: pitches(lately(caller)) == wanted)


def ids(server: Server, callers: list[Caller]) -> list[str]:
    by_caller = {call.caller: call.call_id for call in server.calls()}
    return [by_caller[caller.name] for caller in callers]


def api(method: str, path: str, body: dict[str, Any] | None = None) -> int:
    request = urllib.request.Request(
        f"http://{HOST}:{HTTP_PORT}/v1/calls/{path}", json.dumps(body).encode() if body else None, {"Content-Type": "application/json"},
        method=method,
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=10) as response:
        return int(response.status)


def kill_worker(server: Server) -> None:
    first = server.pid_of("worker")
    os.kill(first, signal.SIGKILL)
    wait_for("another worker", lambda: server.pid_of("worker") != first)


def test_two_callers_are_joined_by_the_command_and_parted_by_the_api(server: Server) -> None:
    with Caller(server.sip_port, payload=tone(500)) as one, Caller(server.sip_port, payload=tone(800)) as other:
        for caller in (one, other):
            caller.wait_for_packets(25)
        first, second = ids(server, [one, other])
        joined = server.command("join", first, second, "--after", "return")
        assert joined.returncode == 0 and f"{first} and {second} are joined" in joined.stdout
        hears(one, {800})
        hears(other, {500})
        began = len(one.received)
        kill_worker(server)
        one.wait_for_packets(100)
        print(f"longest gap in sent RTP around the worker's death: {one.longest_gap_ms():.0f} ms")
        hears(one, {800})
        hears(other, {500})
        one.check_stream()
        assert len(one.received) > began + 100
        one.press("7")
        wait_for("the key has crossed", lambda: [p for p in other.received if p.payload_type == EVENT_TYPE and p.payload[0] == 7])
        assert api("DELETE", f"{first}/room") == 204
        hears(one, {500})  # its own echo
        hears(other, {800})
        assert [call.room for call in server.calls()] == ["", ""]
    server.wait_until_quiet()
    server.check_log()


def test_in_a_conference_of_three_everybody_hears_all_but_himself(server: Server) -> None:
    with contextlib.ExitStack() as up:
        callers = [up.enter_context(Caller(server.sip_port, payload=tone(pitch_hz, 5_000))) for pitch_hz in PITCHES_HZ]
        for caller in callers:
            caller.wait_for_packets(25)
        one, two, three = ids(server, callers)
        assert server.command("conference", "weekly", one, two, three).returncode == 0
        for caller, pitch_hz in zip(callers, PITCHES_HZ, strict=True):
            hears(caller, {*PITCHES_HZ} - {pitch_hz})
        kill_worker(server)
        for caller, pitch_hz in zip(callers, PITCHES_HZ, strict=True):
            hears(caller, {*PITCHES_HZ} - {pitch_hz})
        assert server.command("conference", "weekly", f"{three}:whisper:{two}").returncode == 0
        for caller, wanted in zip(callers, ({800}, {500, 1_100}, {500, 800}), strict=True):
            hears(caller, wanted)
        assert api("POST", f"{three}/room", {"room": "weekly", "role": "music"}) == 202
        for caller, wanted in zip(callers, ({800}, {500}), strict=False):
            hears(caller, wanted)
        wait_for("music alone", lambda: 500 < level(lately(callers[2])) < 5_000 and not pitches(lately(callers[2])) & {500, 800})
    server.wait_until_quiet()
    server.check_log()


@pytest.mark.peer
def test_an_agent_connects_its_caller_to_a_human_with_another_codec_and_gets_him_back(
    start_server: Callable[..., Server], reports: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    with Baresip(tmp_path, "human", answers=True, codecs="g722") as human:
        arguments = {"reports": str(reports), "to": f"sip:human@{HOST}:{human.sip_port}"}
        server = start_server(only=[{"agent": "receptionist:Receptionist", "arguments": arguments}], media={"formats": ["G722", "PCMU"]})
        with Caller(server.sip_port, payload=tone(800)) as caller:
            report = reports / f"{caller.name}.json"

            def seen() -> list[Any]:
                return json.loads(report.read_text()) if report.exists() else []

            wait_for("they are connected", lambda: "connected" in seen())
            assert seen()[:2] == [[True, "music", "listen"], [True, "talk", "out"]]
            assert sorted(call.format for call in server.calls()) == ["G722", "PCMU"]
            wait_for("the human's voice", lambda: abs(pitch_and_level(lately(caller))[0] - PITCH_HZ) < 20)
            kill_worker(server)
            caller.wait_for_packets(75)
            wait_for("the human's voice", lambda: abs(pitch_and_level(lately(caller))[0] - PITCH_HZ) < 20)
            assert 6_000 < pitch_and_level(lately(caller))[1] < 9_000
            time.sleep(1.5)  # of talk, for the human's recording
            human.hang_up()
            wait_for("the caller is back with its agent", lambda: abs(pitch_and_level(lately(caller))[0] - 1_000) < 20)
            assert seen()[-1] == [False, "talk", "talk"]
    pcm, rate_hz = read_wav(human.recording("dec"))
    pitch_hz, level = pitch_and_level(loudest_second(pcm, rate_hz), rate_hz)
    assert abs(pitch_hz - 800) < 5 and 6_500 < level < 9_000
    server.wait_until_quiet()
    server.stop()
