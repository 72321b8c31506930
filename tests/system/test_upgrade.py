"""`bellframe upgrade` under calls and set-ups: everything is replaced, nothing is cut, nobody is refused."""

from bench.call_setups import Load
from bench.front_takeover import in_child
from tests.system.caller import Caller
from tests.system.conftest import StartServer
from tests.system.server import HOST, Reachable, Server, wait_for
from tests.system.sound import pitch_and_level

PER_SECOND, SECONDS = 5.0, 16.0


class Target:
    """What the load needs of a server."""

    def __init__(self, server: Reachable) -> None:
        self.host, self.sip_port = HOST, server.sip_port


def set_up(server: Reachable) -> list[str]:
    """How each of many new calls came out; "over" is well."""
    load = Load(Target(server), PER_SECOND, SECONDS)  # type: ignore[arg-type]
    load.run()
    return load.state


def check(server: Reachable) -> None:
    with Caller(server.sip_port) as caller:
        caller.wait_for_packets(25)
        before = {(peer.role, peer.index): peer.pid for peer in server.status().peers}
        setups = in_child(lambda: set_up(server))
        done = server.command("upgrade", limit_s=120)
        assert done.returncode == 0 and "every process was replaced" in done.stdout, done.stdout + done.stderr
        after = {(peer.role, peer.index): peer.pid for peer in server.status().peers}
        assert after.keys() == before.keys() and not set(after.values()) & set(before.values())
        assert server.status().uptime_s < 60
        caller.wait_for_packets(100)
        wait_for("the echo", lambda: pitch_and_level(caller.audio(len(caller.received) - 50))[1] > 7_000)
        states = setups()
    assert states == ["over"] * round(PER_SECOND * SECONDS)


def test_nothing_is_cut_or_refused_under_bellframe_up(start_server: StartServer) -> None:
    server: Server = start_server(agent="echo", bridges=1)
    check(server)
    server.wait_until_quiet()
    log = server.log()
    assert "every process has been replaced" in log and "ended with exit code 0 to make room for its successor" in log
    assert "ERROR" not in log
