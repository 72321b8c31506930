"""A call with a telephone that nobody here wrote; what each side hears is known by its pitch."""

import json
import pathlib
import time
from collections.abc import Callable

import pytest

from control_plane import opus_library
from control_plane.formats import FORMATS
from tests.system.baresip import PITCH_HZ, Baresip
from tests.system.caller import Caller
from tests.system.server import HOST, Server, wait_for
from tests.system.sound import loudest_second, pitch_and_level, read_wav

AMPLITUDE = 8_000
pytestmark = pytest.mark.peer


def check_tone(path: pathlib.Path, pitch_hz: float, amplitude: float = AMPLITUDE) -> None:
    pcm, rate_hz = read_wav(path)
    assert len(pcm) > 1.5 * rate_hz, f"{path.name} is {len(pcm) / rate_hz:.1f} s long"
    heard_hz, level = pitch_and_level(loudest_second(pcm, rate_hz), rate_hz)
    print(f"{path.name}: {heard_hz:.0f} Hz, amplitude {level:.0f}")
    assert abs(heard_hz - pitch_hz) <= 3
    assert 0.9 * amplitude < level < 1.1 * amplitude


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


CODECS = [("g722", "G722"), ("opus/48000/2", "OPUS"), ("l16/8000/1", "L16/8000"), ("l16/16000/1", "L16/16000")]


@pytest.fixture(scope="module")
def any_codec(start_server: Callable[..., Server]) -> Server:
    return start_server(media={"formats": [name for _, name in CODECS if name != "OPUS" or opus_library.find()]})


@pytest.mark.parametrize(("codecs", "name"), CODECS)
def test_they_hear_each_other_in_every_codec(
    any_codec: Server, reports: pathlib.Path, tmp_path: pathlib.Path, codecs: str, name: str
) -> None:
    if name == "OPUS" and not opus_library.find():
        pytest.skip(opus_library.REMEDY)
    user = name.replace("/", "-").lower()
    with Baresip(tmp_path, user=user, codecs=codecs) as phone:
        phone.dial(f"sip:tone@{HOST}:{any_codec.sip_port}")
        time.sleep(2.5)  # of talk
        phone.hang_up()
    check_tone(phone.recording("dec"), 1_000)
    wait_for("the agent's report", (reports / f"{user}.json").exists)
    said, said_hz = read_wav(phone.recording("enc"))  # at 48 kHz baresip's own resampling takes 1.3 dB off
    check_tone(reports / f"{user}.wav", PITCH_HZ, pitch_and_level(loudest_second(said, said_hz), said_hz)[1])
    assert read_wav(reports / f"{user}.wav")[1] == FORMATS[name].sample_rate_hz


def test_keys_reach_the_agent_once_and_in_order(server: Server, reports: pathlib.Path) -> None:
    with Caller(server.sip_port, to="tone") as caller:
        for key in "159#*0":
            caller.wait_for_packets(15)
            caller.press(key)
        caller.wait_for_packets(25)
    report = reports / f"{caller.name}.json"
    wait_for("the agent's report", report.exists)
    assert json.loads(report.read_text())["keys"] == "159#*0"
