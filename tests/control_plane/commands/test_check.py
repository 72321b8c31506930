"""bellframe check: a verdict, and warnings about what is allowed but may not be meant."""

import json
import pathlib

import pytest

from control_plane.command import main
from control_plane.commands import check
from control_plane.config import Bridge, Config, Route, Sip
from control_plane.trunk_config import Trunk


def test_a_right_file(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bellframe.toml"
    file.write_text('[sip]\nlisten = "127.0.0.1:5070"\n[media]\nrtp_ports = "10000-10199"\nworkers = 1\n[[routes]]\nagent = "echo"\n')
    assert main(["check", str(file)]) == 0
    output = capsys.readouterr().out
    assert "is right: calls on sip:127.0.0.1:5070, agent echo, 1 worker on" in output and "100 calls at most" in output
    assert main(["check", "--json", str(file)]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["configuration"]["sip"]["listen"] == "127.0.0.1:5070" and verdict["notes"] == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[sip]\nlissten = '127.0.0.1:1'", "`$.sip`; did you mean listen?"),
        ("[media]\nfrobnicate = 1", "there are rtp_ports, "),
        ("[[trunks]]\nname = 'a'\nallow_number = []", "field `allow_number` - at `$.trunks[0]`; did you mean allow_numbers?"),
        ("[bridg]", "did you mean bridge?"),
        ("[sip]\nlisten = 'everywhere'", 'sip.listen: "everywhere" is not ADDRESS:PORT'),
        ("[media]\nrtp_ports = '5-6'", "media.rtp_ports"),
        ("[sip\n", "line 1"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(text: str, reason: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bellframe.toml"
    file.write_text(text)
    assert main(["check", str(file)]) == 1
    assert str(file) in (error := capsys.readouterr().err) and reason in error
    assert main(["check", "--json", str(file)]) == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["is_right"] is False and reason in verdict["why"]


ROUTES = (Route(agent="echo"),)


@pytest.mark.parametrize(
    ("sip", "is_warned"),
    [
        (Sip(), False),
        (Sip(listen="[::1]:5060"), False),
        (Sip(listen="0.0.0.0:5060"), True),
        (Sip(listen="0.0.0.0:5060", allow=("127.0.0.0/8", "192.0.2.0/24")), False),
    ],
)
def test_an_open_address_that_nobody_may_call_is_pointed_out(sip: Sip, is_warned: bool) -> None:
    warnings = check.warnings(Config(sip=sip, routes=ROUTES))
    assert bool(warnings) is is_warned
    assert not is_warned or ("403" in warnings[0] and "--allow" in warnings[0])


def test_no_route_is_pointed_out() -> None:
    assert "404" in check.warnings(Config())[0]


def test_files_and_agents_that_are_not_there_are_pointed_out(tmp_path: pathlib.Path) -> None:
    (tmp_path / "reception.py").write_text("raise SystemExit('a check runs nothing')")
    (tmp_path / "key.pem").write_text("")
    missing = str(tmp_path / "certificate.pem")
    agents = ("echo", "reception:Desk", "recepton:Desk", "twilio+wss://bot.example/", "door:desk", "")
    found = check.warnings(
        Config(
            sip=Sip(listen="tls:127.0.0.1:5061", tls_certificate=missing, tls_key=str(tmp_path / "key.pem")),
            trunks=(Trunk("carrier", gateways=("a",), allow_numbers=("*",), username="u", password_file="credential"),),
            bridge=Bridge(modules=str(tmp_path)),
            routes=tuple(Route(agent=agent, to=str(n)) for n, agent in enumerate(agents)),
        )
    )
    assert len(found) == 2, found
    assert found[0] == f"sip.tls_certificate: there is no file {missing} on this machine, and calls need it; write it, or mend the path"
    assert found[1].startswith('agent "recepton:Desk": there is no module recepton in ')
