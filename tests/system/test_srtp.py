"""SRTP with a telephone that nobody here wrote, both ways and under every policy; and what crosses the wire is not speech."""

import json
import pathlib
import time

import numpy as np
import pytest

from control_plane import g711
from shm.counters import CALL_COLUMN
from tests.system import tshark
from tests.system.baresip import PITCH_HZ, Baresip
from tests.system.conftest import StartServer
from tests.system.server import HOST, Server, wait_for
from tests.system.sound import pitch_and_level, read_wav, write_tone
from tests.system.test_two_way_audio import check_tone

pytestmark = pytest.mark.peer
CALLED_HZ = 1_000
OPENERS = 2
"""baresip opens the way for RTCP with a packet in the clear (APP), which must be refused, once or twice before it has its keys."""


@pytest.fixture(scope="module", name="servers")
def _servers(start_server: StartServer) -> dict[str, Server]:
    return {policy: start_server("echo", calls=8, media={"srtp": policy}) for policy in ("preferred", "required")}


@pytest.mark.parametrize("srtp", ["srtp", "srtp-mand"])
@pytest.mark.parametrize("policy", ["preferred", "required"])
def test_a_protected_call_is_heard_both_ways_and_by_nobody_else(
    servers: dict[str, Server], policy: str, srtp: str, tmp_path: pathlib.Path
) -> None:
    server, capture = servers[policy], tmp_path / "call.pcapng"
    rtp = f"udp portrange {server.rtp_ports.start}-{server.rtp_ports.stop}"
    with tshark.Capture(capture, rtp), Baresip(tmp_path, srtp=srtp) as phone:
        phone.dial(f"sip:echo@{HOST}:{server.sip_port}")
        time.sleep(2.5)  # of talk
        call_id = server.calls()[0].call_id
        phone.hang_up()
    for side in ("enc", "dec"):
        check_tone(phone.recording(side), PITCH_HZ)
    server.wait_until_quiet()
    counters = json.loads(server.command("call", "show", call_id, "--json").stdout)["counters"]
    assert counters["packets_received"] > 100 and counters["srtp_replayed"] == 0
    assert counters["srtp_auth_failed"] <= OPENERS
    assert set(counters) == set(CALL_COLUMN)
    rows = tshark.fields(capture, server.sip_port, "udp.length > 100", "udp.payload")
    sent = [packet for row in rows if not 192 <= (packet := bytes.fromhex(row[0]))[1] <= 223]  # not RTCP (RFC 5761 4)
    assert len(sent) > 200
    for direction in {packet[8:12] for packet in sent}:
        pcm = np.concatenate([g711.decode(0, packet[12:172]) for packet in sent if packet[8:12] == direction][20:80])
        _, level = pitch_and_level(pcm)
        assert level > 12_000, "what is on the wire is noise: every code as often as any other"
    server.check_log()


@pytest.mark.parametrize(("policy", "srtp"), [("preferred", "srtp"), ("preferred", ""), ("required", "srtp-mand")])
def test_we_call_out_under_each_policy(servers: dict[str, Server], policy: str, srtp: str, tmp_path: pathlib.Path) -> None:
    server, played, recorded = servers[policy], tmp_path / "played.wav", tmp_path / "recorded.wav"
    write_tone(played, CALLED_HZ, seconds=2.5)
    with Baresip(tmp_path, answers=True, srtp=srtp) as phone:
        uri = f"sip:{phone.user}@{HOST}:{phone.sip_port}"
        done = server.command("call", uri, "--play", str(played), "--record", str(recorded), "--json")
        wait_for("the recordings are complete", lambda: len(list(phone.recordings.glob("*.wav"))) >= 2)
    assert json.loads(done.stdout)["was_answered"], done.stdout + done.stderr
    check_tone(phone.recording("dec"), CALLED_HZ)
    pcm, rate_hz = read_wav(recorded)
    assert abs(pitch_and_level(pcm[rate_hz : 2 * rate_hz], rate_hz)[0] - PITCH_HZ) <= 3


def test_who_must_be_protected_is_not_answered_in_the_clear(servers: dict[str, Server], tmp_path: pathlib.Path) -> None:
    server = servers["required"]
    with Baresip(tmp_path) as phone:
        phone.command("dial", f"sip:echo@{HOST}:{server.sip_port}")
        wait_for("the refusal", lambda: "488" in phone.log())
    assert "must be protected by SRTP, and no key offered can be used: there is no a=crypto line" in server.log()


def test_no_key_is_in_any_log(servers: dict[str, Server], tmp_path: pathlib.Path) -> None:
    for server in servers.values():
        assert "inline:" not in server.log()
