"""Who is not let in: strangers, and everybody while the server drains."""

import pathlib

import pytest

from tests.system import sipp
from tests.system.conftest import StartServer
from tests.system.server import STOP_LIMIT_S


@pytest.mark.peer
def test_a_call_ends_in_peace_while_the_server_drains(start_server: StartServer, tmp_path: pathlib.Path) -> None:
    server = start_server(agent="echo")
    lasting = sipp.Sipp("call", server.sip_port, tmp_path, "-d", "3000")
    try:
        lasting.wait_for_message("ACK sip:")
        server.terminate()
        refused = sipp.run("draining", server.sip_port, tmp_path)
        lasting.finish()
    finally:
        lasting.kill()
    assert "Retry-After: " in refused
    assert server.process.wait(STOP_LIMIT_S) == 0, server.log()
    log = server.log()
    assert "SIGTERM: no new calls" in log and "the far end hung up" in log, log


@pytest.mark.peer
def test_a_stranger_is_refused_with_one_line_that_says_the_remedy(start_server: StartServer, tmp_path: pathlib.Path) -> None:
    server = start_server(agent="echo", sip={"allow": ["127.0.0.2/32"]})
    sipp.run("stranger", server.sip_port, tmp_path, calls=5, rate=50)
    lines = [line for line in server.log().splitlines() if "with 403" in line]
    assert len(lines) == 1 and "127.0.0.1 is not in sip.allow; add its network there if it is your trunk" in lines[0], lines
    sipp.run("call", server.sip_port, tmp_path, "-d", "100", "-i", "127.0.0.2", "-mi", "127.0.0.2")
    assert server.status().calls_total == 1
