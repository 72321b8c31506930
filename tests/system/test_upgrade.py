"""`bellframe upgrade` under calls and set-ups: everything is replaced, nothing is cut, nobody is refused."""

import os
import sys
from collections.abc import Iterator

import pytest

from bench.call_setups import Load
from bench.front_takeover import in_child
from tests.system.caller import Caller
from tests.system.conftest import StartServer
from tests.system.manager import Managed, why_not
from tests.system.server import HOST, Reachable, Server, wait_for
from tests.system.sound import pitch_and_level

PER_SECOND, SECONDS = 5.0, 16.0


@pytest.fixture(scope="module")
def managed() -> Iterator[Managed]:
    reason = why_not()
    if reason:
        if os.environ.get("BELLFRAME_REQUIRE_PEERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    server = Managed(calls=2 * round(PER_SECOND * SECONDS))  # a port rests before it is given to the next
    try:
        server.ctl("start", "bellframe-keeper.service")  # compiles the kernels on a fresh machine
        server.ctl("start", "bellframe.target")
        wait_for("worker and bridge report", lambda: len(server.status().peers) == 2, 60.0)
        yield server
    finally:
        server.discard()


class Target:
    """What the load needs of a server."""

    def __init__(self, server: Reachable) -> None:
        self.host, self.sip_port = HOST, server.sip_port


def set_up(server: Reachable) -> list[str]:
    """How each of many new calls came out; "over" is well."""
    load = Load(Target(server), PER_SECOND, SECONDS)  # type: ignore[arg-type]
    load.run()
    return load.state


def check(server: Server | Managed, *command: str) -> None:
    with Caller(server.sip_port) as caller:
        caller.wait_for_packets(25)
        before = {(peer.role, peer.index): peer.pid for peer in server.status().peers}
        setups = in_child(lambda: set_up(server))
        done = server.inside_run(*command) if isinstance(server, Managed) else server.command("upgrade", limit_s=120)
        assert done.returncode == 0 and "every process was replaced" in done.stdout, done.stdout + done.stderr
        after = {(peer.role, peer.index): peer.pid for peer in server.status().peers}
        assert after.keys() == before.keys() and not set(after.values()) & set(before.values())
        assert server.status().uptime_s < 60
        caller.wait_for_packets(100)
        wait_for("the echo", lambda: pitch_and_level(caller.audio(len(caller.received) - 50))[1] > 7_000)
        states = setups()
    assert states == ["over"] * round(PER_SECOND * SECONDS), server.log()


def test_nothing_is_cut_or_refused_under_bellframe_up(start_server: StartServer) -> None:
    server: Server = start_server(agent="echo", bridges=1)
    check(server)
    server.wait_until_quiet()
    log = server.log()
    assert "every process has been replaced" in log and "ended with exit code 0 to make room for its successor" in log
    assert "ERROR" not in log


def test_nothing_is_cut_or_refused_under_systemd(managed: Managed) -> None:
    check(managed, sys.executable, "-m", "control_plane.command", "upgrade", "--user", "--runtime-dir", str(managed.runtime))
    assert managed.show("bellframe-front.service", "NRestarts") == ["0"], "asked for, and no failure"
