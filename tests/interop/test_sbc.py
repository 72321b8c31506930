"""An SBC between us and a telephone: Kamailio in the signalling, rtpengine in the media, baresip behind them."""

import pathlib
import time
from collections.abc import Iterator

import pytest

from control_plane.client import ask
from control_plane.messages import Done, Originate
from shm import handover
from shm.counters import WORKER
from tests.interop.sbc import Sbc
from tests.system.baresip import PITCH_HZ, Baresip
from tests.system.server import HOST, Server, wait_for
from tests.system.sound import loudest_second, pitch_and_level, read_wav

pytestmark = [pytest.mark.system, pytest.mark.peer]


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[Server]:
    server = Server([{"agent": "echo"}], calls=10, media={"srtp": "preferred"})
    try:
        yield server
        server.stop()
    finally:
        server.discard()


def check_heard(phone: Baresip) -> None:
    pcm, rate_hz = read_wav(phone.recording("dec"))
    heard_hz, level = pitch_and_level(loudest_second(pcm, rate_hz), rate_hz)
    assert abs(heard_hz - PITCH_HZ) <= 3 and 7_000 < level < 9_000


def sent_within(server: Server, seconds: float) -> int:
    """Packets of all its calls."""
    workers = handover.ask_for_counters(server.runtime).workers
    before = int(workers[:, WORKER["packets_sent"]].sum())
    time.sleep(seconds)
    return int(workers[:, WORKER["packets_sent"]].sum()) - before


def test_a_telephone_behind_it_hears_itself_and_is_held_and_resumed(server: Server, tmp_path: pathlib.Path) -> None:
    with Baresip(tmp_path) as phone, Sbc(tmp_path, inside=server.sip_port) as sbc:
        phone.dial(f"sip:echo@{HOST}:{sbc.port}")
        (call,) = server.calls()
        assert call.remote == f"{HOST}:{sbc.port}"
        time.sleep(2.5)  # of talk, which is what baresip records
        phone.command("hold")
        wait_for("nothing is sent to who holds", lambda: not sent_within(server, 0.2))
        phone.command("resume")
        wait_for("it hears us again", lambda: sent_within(server, 0.2) > 5)
        phone.hang_up()
    check_heard(phone)
    server.wait_until_quiet()
    server.check_log()


def test_it_adds_srtp_towards_us_which_the_telephone_does_not_speak(server: Server, tmp_path: pathlib.Path) -> None:
    towards_us, towards_it = "replace-origin RTP/SAVP SDES-off-AEAD_AES_256_GCM", "replace-origin RTP/AVP"
    with Baresip(tmp_path) as phone, Sbc(tmp_path, server.sip_port, flags=towards_us, answer_flags=towards_it) as sbc:
        phone.dial(f"sip:echo@{HOST}:{sbc.port}")
        time.sleep(2.5)  # of talk
        phone.hang_up()
    check_heard(phone)
    server.wait_until_quiet()
    server.check_log()


def test_we_call_a_telephone_behind_it(server: Server, tmp_path: pathlib.Path) -> None:
    with Baresip(tmp_path, answers=True) as phone, Sbc(tmp_path, inside=server.sip_port, phone=phone.sip_port) as sbc:
        assert ask(server.runtime, Originate("out", f"sip:probe@{HOST}:{sbc.port}", "echo")) == Done("out")
        wait_for("the telephone has answered", lambda: "Call established" in phone.log())
        time.sleep(2.5)  # of talk
        assert server.command("hangup", "out").returncode == 0
        wait_for("the recordings are complete", lambda: len(list(phone.recordings.glob("*.wav"))) >= 2)
    check_heard(phone)
    server.wait_until_quiet()
    server.check_log()
