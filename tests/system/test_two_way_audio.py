"""A call with a telephone that nobody here wrote; what each side hears is known by its pitch."""

import json
import pathlib
import time

import pytest

from tests.system.baresip import PITCH_HZ, Baresip
from tests.system.caller import Caller
from tests.system.server import HOST, Server, wait_for
from tests.system.sound import loudest_second, pitch_and_level, read_wav

AMPLITUDE = 8_000
pytestmark = pytest.mark.peer


def check_tone(path: pathlib.Path, pitch_hz: float) -> None:
    pcm, rate_hz = read_wav(path)
    assert len(pcm) > 1.5 * rate_hz, f"{path.name} is {len(pcm) / rate_hz:.1f} s long"
    heard_hz, level = pitch_and_level(loudest_second(pcm, rate_hz), rate_hz)
    print(f"{path.name}: {heard_hz:.0f} Hz, amplitude {level:.0f}")
    assert abs(heard_hz - pitch_hz) <= 3
    assert 0.9 * AMPLITUDE < level < 1.1 * AMPLITUDE


def test_baresip_hears_itself_through_the_echo(server: Server, tmp_path: pathlib.Path) -> None:
    with Baresip(tmp_path) as phone:
        phone.dial(f"sip:echo@{HOST}:{server.sip_port}")
        time.sleep(2.5)  # of talk
        phone.hang_up()
    check_tone(phone.recording("enc"), PITCH_HZ)
    check_tone(phone.recording("dec"), PITCH_HZ)


def test_baresip_and_an_agent_hear_each_other(server: Server, reports: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with Baresip(tmp_path, user="speaker") as phone:
        phone.dial(f"sip:tone@{HOST}:{server.sip_port}")
        time.sleep(2.5)  # of talk
        phone.hang_up()
    check_tone(phone.recording("dec"), 1_000)
    wait_for("the agent's report", (reports / "speaker.json").exists)
    check_tone(reports / "speaker.wav", PITCH_HZ)
    assert json.loads((reports / "speaker.json").read_text())["cause"] == "the far end hung up"


def test_keys_reach_the_agent_once_and_in_order(server: Server, reports: pathlib.Path) -> None:
    with Caller(server.sip_port, to="tone") as caller:
        for key in "159#*0":
            caller.wait_for_packets(15)
            caller.press(key)
        caller.wait_for_packets(25)
    report = reports / f"{caller.name}.json"
    wait_for("the agent's report", report.exists)
    assert json.loads(report.read_text())["keys"] == "159#*0"
