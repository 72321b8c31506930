"""A recording, heard: the caller on the left, what it got on the right, whoever dies meanwhile."""

import json
import os
import pathlib
import signal
import time
import wave
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.media_workers.recording.test_ogg_file import decode
from tests.system.caller import Caller, tone
from tests.system.conftest import StartServer
from tests.system.server import Server, wait_for
from tests.system.sound import pitch_and_level

CALLER_HZ, AGENT_HZ, RATE_HZ = 440, 1_000, 8_000
TENTH = RATE_HZ // 10


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("recordings")


@pytest.fixture(scope="module", name="recording_server")
def _recording_server(start_server: StartServer, reports: pathlib.Path, folder: pathlib.Path) -> Server:
    route = {"agent": "probes:Tone", "arguments": {"reports": str(reports)}, "record": True}
    return start_server(only=[route], recording={"directory": str(folder)})


@pytest.fixture(name="server")
def _server(recording_server: Server) -> Iterator[Server]:
    yield recording_server
    recording_server.wait_until_quiet()


def call_id_of(server: Server) -> str:
    [call] = json.loads(server.command("calls", "--json").stdout)
    return str(call["call_id"])


def recorder_pid(server: Server) -> int:
    def look() -> int | None:
        for pid in server.pids():
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"media_workers.recording" in words:
                return pid
        return None

    return wait_for("the recorder", look)


def finished(folder: pathlib.Path, call_id: str) -> tuple[np.ndarray, dict[str, Any]]:
    wait_for("the recording is complete", (folder / f"{call_id}.json").exists, 20)
    facts = json.loads((folder / f"{call_id}.json").read_text())
    with wave.open(str(folder / f"{call_id}.wav")) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, RATE_HZ)
        stereo = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert abs(len(stereo) / RATE_HZ - facts["duration_s"]) < 0.001
    return stereo, facts


def share_with(channel: np.ndarray, pitch_hz: float) -> float:
    """The part of its tenths of a second in which this pitch is heard."""
    parts = [channel[at : at + TENTH] for at in range(0, len(channel) - TENTH, TENTH)]
    right = [level > 5_000 and abs(found - pitch_hz) <= 20 for found, level in map(pitch_and_level, parts)]
    return sum(right) / len(right)


def silent_s(channel: np.ndarray) -> float:
    """Whole milliseconds of nothing: a tone of 1,000 Hz is zero in every fourth sample."""
    return float((channel[: len(channel) // 8 * 8].reshape(-1, 8) == 0).all(axis=1).sum()) / 1000


def test_each_side_is_on_its_channel(server: Server, folder: pathlib.Path) -> None:
    began = time.time()
    with Caller(server.sip_port, payload=tone(CALLER_HZ)) as caller:
        call_id = call_id_of(server)
        caller.wait_for_packets(150)
        packets = len(caller.received)
    stereo, facts = finished(folder, call_id)
    left, right = share_with(stereo[TENTH * 2 :, 0], CALLER_HZ), share_with(stereo[TENTH * 2 :, 1], AGENT_HZ)
    print(f"{len(stereo) / RATE_HZ:.2f} s recorded; the caller in {left:.0%} of it, the agent in {right:.0%}")
    assert left > 0.95 and right > 0.95
    assert facts["state"] == "complete" and facts["lost"] == {"caller_ms": 0, "sent_ms": 0, "disk_ms": 0}
    assert abs(len(stereo) - packets * 160) < 160 * 25, "as long as what was sent"
    started = time.mktime(time.strptime(facts["started_at"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    assert -1 < started - began < 5
    assert not list(folder.glob("*.part"))


def test_a_pause_is_not_in_it(server: Server, folder: pathlib.Path) -> None:
    with Caller(server.sip_port, payload=tone(CALLER_HZ)) as caller:
        call_id = call_id_of(server)
        caller.wait_for_packets(50)
        assert server.command("record", call_id, "pause").returncode == 0
        caller.wait_for_packets(100)
        assert json.loads(server.command("calls", "--json").stdout)[0]["recording"] == "pause"
        assert server.command("record", call_id, "on").returncode == 0
        caller.wait_for_packets(50)
        sent = len(caller.received)
    stereo, facts = finished(folder, call_id)
    assert len(facts["reels"]) == 2 and len(stereo) < (sent - 95) * 160
    assert share_with(stereo[TENTH * 2 :, 1], AGENT_HZ) > 0.9


@pytest.mark.parametrize("victim", ["recorder", "worker", "bridge"])
def test_a_recording_outlives_whoever_dies(server: Server, folder: pathlib.Path, victim: str) -> None:
    with Caller(server.sip_port, payload=tone(CALLER_HZ)) as caller:
        call_id = call_id_of(server)
        caller.wait_for_packets(100)
        began = time.monotonic()
        first = recorder_pid(server) if victim == "recorder" else server.pid_of(victim)
        os.kill(first, signal.SIGKILL)
        wait_for("another", lambda: (recorder_pid(server) if victim == "recorder" else server.pid_of(victim)) != first, 20)
        caller.wait_for_packets(150)
        print(f"{time.monotonic() - began:.1f} s since the {victim} was killed; longest gap in RTP {caller.longest_gap_ms():.0f} ms")
        packets = len(caller.received)
    stereo, facts = finished(folder, call_id)
    silent = [silent_s(stereo[TENTH * 2 : -TENTH, channel]) for channel in (0, 1)]
    print(f"silent: {silent[0]:.2f} s of the caller, {silent[1]:.2f} s of what was sent; {facts['lost']}")
    assert facts["state"] == "complete" and abs(len(stereo) - packets * 160) < 160 * 60
    left, right = share_with(stereo[TENTH * 2 :, 0], CALLER_HZ), share_with(stereo[TENTH * 2 :, 1], AGENT_HZ)
    print(f"the caller in {left:.0%} of it, the agent in {right:.0%}")
    lost = (facts["lost"]["sent_ms"] + facts["lost"]["caller_ms"]) * RATE_HZ / 1000 / len(stereo)
    assert left > 0.85 - lost
    assert right > (0.85 - lost if victim != "bridge" else 0.3), "an agent that is gone says nothing"
    server.wait_until_quiet()
    server.checked = len(server.log())


def test_as_ogg_it_sounds_the_same(start_server: StartServer, reports: pathlib.Path, folder: pathlib.Path) -> None:
    route = {"agent": "probes:Tone", "arguments": {"reports": str(reports)}, "record": True}
    server = start_server(only=[route], calls=8, recording={"directory": str(folder), "format": "ogg"})
    with Caller(server.sip_port, payload=tone(CALLER_HZ)) as caller:
        call_id = call_id_of(server)
        caller.wait_for_packets(75)
        os.kill(recorder_pid(server), signal.SIGKILL)
        caller.wait_for_packets(75)
    wait_for("the recording is complete", (folder / f"{call_id}.json").exists, 20)
    facts = json.loads((folder / f"{call_id}.json").read_text())
    stereo = (decode(folder / f"{call_id}.ogg")[::6] * 32_767).astype(np.int16)  # tones below 4 kHz: every sixth sample has them
    assert facts["file"] == f"{call_id}.ogg" and abs(len(stereo) / RATE_HZ - facts["duration_s"]) < 0.001
    left, right = share_with(stereo[TENTH * 2 :, 0], CALLER_HZ), share_with(stereo[TENTH * 2 :, 1], AGENT_HZ)
    print(f"{facts['duration_s']} s; the caller in {left:.0%} of it, the agent in {right:.0%}; {facts['lost']}")
    lost = facts["lost"]["sent_ms"] / 1000 / facts["duration_s"]
    assert left > 0.85 - lost and right > 0.85 - lost
    server.checked = len(server.log())


def test_a_full_disk_touches_no_call(start_server: StartServer, reports: pathlib.Path, folder: pathlib.Path) -> None:
    """256 KiB hold eight seconds of one call: they are full before the second call ends."""
    small = folder / "small"
    small.mkdir()
    route = {"agent": "probes:Tone", "arguments": {"reports": str(reports)}, "record": True}
    mount = ("unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size=256k none {small} && exec "$@"', "sh")
    server = start_server(only=[route], recording={"directory": str(small)}, prefix=mount)
    seen = pathlib.Path(f"/proc/{server.process.pid}/root{small}")
    with Caller(server.sip_port, payload=tone(CALLER_HZ)) as caller:
        call_id = call_id_of(server)
        with Caller(server.sip_port, payload=tone(CALLER_HZ)) as other:
            wait_for("the disk is full", lambda: "No space left" in server.log(), 30)
            other.wait_for_packets(50)
            for one in (caller, other):
                one.check_stream()
                assert one.longest_gap_ms() < 200
        for path in seen.glob("*.wav"):
            if call_id not in path.name:
                path.unlink()
        wait_for("written again", lambda: "recordings are written again" in server.log(), 10)
        caller.wait_for_packets(50)
    stereo, facts = finished(seen, call_id)
    wait_for("the other's facts, too", lambda: len(list(seen.glob("*.json"))) == 2)
    assert facts["lost"]["disk_ms"] > 500 and server.log().count("No space left") == 1
    silent_ms = 1000 * silent_s(stereo[TENTH:, 1])
    assert abs(silent_ms - facts["lost"]["disk_ms"]) < 150, "what is missing is silence of its length"
    server.checked = len(server.log())
