"""Ten calls at once through one RTP port: each hears its own tone, also when the worker and then the keeper are killed under them."""

import contextlib
import os
import pathlib
import signal

import pytest

from tests.system.baresip import PITCH_HZ, Baresip
from tests.system.caller import Caller, tone
from tests.system.conftest import StartServer
from tests.system.server import HOST, Server, wait_for
from tests.system.sound import loudest_second, pitch_and_level, read_wav

CALLS = 10
TRUNKS = [{"name": "carrier", "allow": [HOST], "shared_rtp_port": True}]


@pytest.fixture(scope="module", name="server")
def _server(start_server: StartServer) -> Server:
    return start_server(agent="echo", calls=20, trunks=TRUNKS, media={"shared_port_calls": 50, "srtp": "preferred"})


def pitch_of(number: int) -> float:
    return 300.0 + 100 * number


def check_pitches(callers: list[Caller]) -> None:
    for caller in callers:
        caller.wait_for_packets(75, 20.0)
    for number, caller in enumerate(callers):
        pitch_hz, level = pitch_and_level(caller.audio(len(caller.received) - 50))
        assert abs(pitch_hz - pitch_of(number)) < 15 and 7_000 < level < 9_000, f"call {number} hears its own tone"


def parent_of(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_ten_calls_on_one_port_hear_their_own_whoever_is_killed(server: Server) -> None:
    with contextlib.ExitStack() as calls:
        callers = [calls.enter_context(Caller(server.sip_port, payload=tone(pitch_of(number)))) for number in range(CALLS)]
        assert {caller.media for caller in callers} == {(HOST, server.rtp_ports.start)}
        check_pitches(callers)
        for who in ("worker", "keeper"):
            worker = server.pid_of("worker")
            os.kill(worker if who == "worker" else parent_of(worker), signal.SIGKILL)
            wait_for("another worker", lambda before=worker: server.pid_of("worker") != before, 30.0)  # type: ignore[misc]
            check_pitches(callers)
        assert all(len({packet.ssrc for packet in caller.received}) == 1 for caller in callers)
    server.wait_until_quiet()
    server.checked = len(server.log())  # the keeper's death is an error there, and meant


@pytest.mark.peer
@pytest.mark.parametrize("srtp", ["", "srtp-mand"])
def test_a_telephone_that_nobody_here_wrote(server: Server, tmp_path: pathlib.Path, srtp: str) -> None:
    """In the clear and protected, beside a call that it must not be mistaken for."""
    with Caller(server.sip_port, payload=tone(1_500)) as other, Baresip(tmp_path, srtp=srtp) as phone:
        phone.dial(f"sip:echo@{HOST}:{server.sip_port}")
        other.wait_for_packets(125)
        phone.hang_up()
        pitch_hz, _ = pitch_and_level(other.audio(len(other.received) - 50))
        assert abs(pitch_hz - 1_500) < 15
    heard, rate_hz = read_wav(phone.recording("dec"))
    assert abs(pitch_and_level(loudest_second(heard, rate_hz), rate_hz)[0] - PITCH_HZ) <= 3
    server.wait_until_quiet()
    server.check_log()
