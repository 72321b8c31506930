"""Trunks against peers that nobody here wrote: Kamailio as the carrier, SIPp and baresip as callers with a password."""

import pathlib
from typing import Any

import pytest

from control_plane.client import ask
from control_plane.messages import Done, Originate
from tests.system import sipp
from tests.system.baresip import Baresip
from tests.system.conftest import StartServer
from tests.system.kamailio import Kamailio
from tests.system.server import HOST, Server, wait_for

USER, PASSWORD = "bell", "hush-hush"
PHONES: dict[str, Any] = {
    "sip": {"allow": []},
    "users": [{"name": "desk", "password": "secret"}],
    "trunks": [{"name": "phones", "users": ["desk"]}],
    "only": [{"agent": "echo", "trunk": "phones"}],
}


def carrier_trunk(carrier: Kamailio, **more: Any) -> dict[str, Any]:
    account = {"username": USER, "password": PASSWORD, "realm": carrier.realm, "from_user": USER}
    return {"name": "carrier", "gateways": [f"{HOST}:{carrier.port}"], "allow_numbers": ["+49*"], **account, **more}


def known_as(password: str, server: Server) -> tuple[str, ...]:
    """SIPp signs another URI than the one it asks for, unless it is told which."""
    return "-au", "desk", "-ap", password, "-auth_uri", f"echo@{HOST}:{server.sip_port}"


def registration(server: Server) -> str:
    return server.status().trunks[0].registration


@pytest.mark.peer
def test_a_call_comes_in_by_a_registration_and_another_registrar_start_is_survived(
    start_server: StartServer, tmp_path: pathlib.Path
) -> None:
    with Kamailio(tmp_path, USER, PASSWORD, expires_s=4) as carrier:
        trunks = [carrier_trunk(carrier, register=True)]
        server = start_server(only=[{"agent": "echo", "to": USER, "trunk": "carrier"}], trunks=trunks, sip={"allow": []})
        wait_for("it is registered", lambda: registration(server) == "registered")
        with Baresip(tmp_path) as phone:
            phone.dial(f"sip:{USER}@{HOST}:{carrier.port}")
            assert [(call.trunk, call.agent) for call in server.calls()] == [("carrier", "echo")]
            phone.hang_up()
            server.wait_until_quiet()
        carrier.stop()
        before = carrier.let_in(f"REGISTER {USER}")
        carrier.start()
        wait_for("it registers again by itself", lambda: carrier.let_in(f"REGISTER {USER}") > before, 60)
        wait_for("and knows it", lambda: registration(server) == "registered")
    server.stop()


@pytest.mark.peer
def test_a_call_goes_out_with_a_password_and_so_does_its_bye(start_server: StartServer, tmp_path: pathlib.Path) -> None:
    with Baresip(tmp_path, answers=True) as phone, Kamailio(tmp_path, USER, PASSWORD, phone.sip_port) as carrier:
        server = start_server(agent="echo", trunks=[carrier_trunk(carrier, number_format="+e164", country_code="49")])
        assert isinstance(ask(server.runtime, Originate("out-1", "030 123", "echo")), Done)
        wait_for("the phone has answered", lambda: "Call established" in phone.log())
        wait_for("it is up", lambda: [(call.state, call.trunk) for call in server.calls()] == [("up", "carrier")])
        assert carrier.let_in("INVITE +4930123") == 1
        assert server.command("hangup", "out-1").returncode == 0
        wait_for("its BYE passed as well", lambda: carrier.let_in("BYE") == 1)
        server.wait_until_quiet()


@pytest.mark.peer
def test_a_wrong_password_and_a_forbidden_number_say_what_to_change(start_server: StartServer, tmp_path: pathlib.Path) -> None:
    with Kamailio(tmp_path, USER, "another") as carrier:
        server = start_server(agent="echo", trunks=[carrier_trunk(carrier, register=True)])
        refused = server.command("call", "+4930123", "--trunk", "carrier", "--agent", "echo")
        remedy = "carriers want the credential's user name, not the display name"
        assert refused.returncode == 1 and remedy in refused.stdout + refused.stderr
        wait_for("the registration is refused", lambda: registration(server) == "waiting")
        assert remedy in server.status().trunks[0].why
        forbidden = server.command("call", "+900123", "--agent", "echo")
        assert forbidden.returncode == 1 and "no trunk may call +900123" in forbidden.stderr
        assert server.log().count("is not registered: 401") == 1 and PASSWORD not in server.log()


@pytest.mark.peer
def test_a_phone_with_a_password_calls_from_anywhere(start_server: StartServer, tmp_path: pathlib.Path) -> None:
    server = start_server(**PHONES)
    sipp.run("authenticated", server.sip_port, tmp_path, *known_as("secret", server), "-d", "300", calls=3)
    with Baresip(tmp_path, user="desk", account=";auth_user=desk;auth_pass=secret") as phone:
        phone.dial(f"sip:echo@{HOST}:{server.sip_port}")
        assert [call.trunk for call in server.calls()] == ["phones"]
        phone.hang_up()
    server.wait_until_quiet()
    assert server.status().calls_total == 4


@pytest.mark.peer
def test_who_guesses_a_password_gets_nothing_and_a_line_names_it(start_server: StartServer, tmp_path: pathlib.Path) -> None:
    server = start_server(**PHONES)
    sipp.run("wrong_password", server.sip_port, tmp_path, *known_as("guess", server), calls=9, rate=5)
    assert server.status().calls_total == 0
    assert "127.0.0.1 gave a wrong password for user 'desk'; mend it in the phone" in server.log()
