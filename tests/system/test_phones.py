"""A telephone that nobody here wrote logs in, calls an agent, and is called."""

import pathlib
from typing import Any

import pytest

from control_plane.client import ask
from control_plane.messages import Done, GetPhones, Originate, PhoneFacts, Phones
from tests.system.baresip import Baresip
from tests.system.conftest import StartServer
from tests.system.server import HOST, Server, wait_for

USERS: dict[str, Any] = {
    "sip": {"allow": []},
    "users": [{"name": "anna", "password": "secret"}],
    "trunks": [{"name": "phones", "users": ["anna"]}],
    "only": [{"agent": "echo", "trunk": "phones"}],
}


def registered(server: Server) -> tuple[PhoneFacts, ...]:
    answer = ask(server.runtime, GetPhones())
    assert isinstance(answer, Phones)
    return answer.phones


@pytest.mark.peer
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_phone_logs_in_calls_an_agent_and_is_called(start_server: StartServer, tmp_path: pathlib.Path, transport: str) -> None:
    server = start_server(**USERS)
    missing = server.command("call", "user:anna", "--agent", "echo")
    assert missing.returncode == 1 and "480: anna is not registered; a phone must log in as anna" in missing.stderr
    way = f';outbound="sip:{HOST}:{server.sip_port};transport={transport}"'
    account = f";auth_user=anna;auth_pass=secret;regint=300{way}"
    with Baresip(tmp_path, "anna", answers=True, account=account, transport=transport, registrar=f"{HOST}:{server.sip_port}") as phone:
        wait_for("it has registered", lambda: registered(server))
        (found,) = registered(server)
        assert (found.user, found.transport) == ("anna", transport) and 200 < found.expires_s <= 300 and "baresip" in found.user_agent
        assert all(text in server.command("phones").stdout for text in ("anna", transport, "baresip"))
        assert isinstance(ask(server.runtime, Originate("to-anna", "anna", "echo")), Done)
        wait_for("anna has answered", lambda: "Call established" in phone.log())
        wait_for("it is up", lambda: [(call.state, call.callee, call.trunk) for call in server.calls()] == [("up", "anna", "phones")])
        assert server.command("hangup", "to-anna").returncode == 0
        server.wait_until_quiet()
        phone.dial(f"sip:echo@{HOST}:{server.sip_port}")
        wait_for("she talks to the agent", lambda: [(call.state, call.agent) for call in server.calls()] == [("up", "echo")])
        phone.command("hangup")
        server.wait_until_quiet()
    wait_for("it has logged out", lambda: not registered(server))
    assert "secret" not in server.log()
    server.stop()
