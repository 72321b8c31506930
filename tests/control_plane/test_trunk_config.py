"""Trunks and users in the configuration: what is refused, with which words, and where passwords come from."""

import json
import pathlib
from typing import Any

import msgspec
import pytest

from control_plane import config
from control_plane.commands import up
from control_plane.config import Config
from control_plane.errors import ConfigurationError
from control_plane.secret import Secret, decode_hook
from control_plane.trunk_config import LIMITS, Gateway, Trunk, User, parse_gateway, read_password

CARRIER = {"name": "carrier", "gateways": ["sip.example.com"], "username": "u", "password": "hush"}


def loaded(**values: Any) -> Config:
    return config.check(msgspec.convert({"media": {"workers": 1}, **values}, Config, dec_hook=decode_hook))


def test_a_full_trunk_is_taken() -> None:
    trunk = {**CARRIER, "register": True, "allow": ["192.0.2.0/24", "sbc.example.com"], "outbound_proxy": "[2001:db8::1]:5070"}
    more = {"number_format": "+e164", "country_code": "49", "caller_header": "P-Asserted-Identity", "send_headers": ["X-*"], "srtp": "off"}
    found = loaded(trunks=[{**trunk, **more}], users=[{"name": "desk", "password": "p"}], routes=[{"agent": "echo", "trunk": "car*"}])
    assert found.trunks[0].password.reveal() == "hush"


@pytest.mark.parametrize(
    ("trunk", "why"),
    [
        ({"name": ""}, "needs a name of its own"),
        ({"gateways": ["sip.example.com:x"]}, r"is not HOST\[:PORT\]"),
        ({"gateways": ["sip.example.com:70000"]}, "no port from 1 to 65535"),
        ({"gateways": ["sip.example.com;transport=sctp"]}, "there are udp, tcp, tls"),
        ({"gateways": ["a;weight=1", "b"]}, '"b" has neither priority nor weight'),
        ({"gateways": ["a;weight=70000"]}, "no weight from 0 to 65535"),
        ({"gateways": ["a;wait=1"]}, '"wait"; there are transport, priority and weight'),
        ({"outbound_proxy": "a;priority=1"}, "write them to gateways"),
        ({"allow": ["192.0.2.1/24"]}, "neither a network such as"),
        ({"allow": ["192.0.2.300"]}, "neither a network such as"),
        ({"number_format": "E164"}, 'is none of "as_given", "\\+e164", "e164"'),
        ({"caller_header": "Caller"}, "P-Asserted-Identity"),
        ({"srtp": "yes"}, '"off", "preferred", "required"'),
        ({"country_code": "+49"}, 'one to three digits such as "49"'),
        ({"send_headers": ["Route"]}, "does not begin with X-"),
        ({"password_file": "/p"}, "keep password_file"),
        ({"username": ""}, "a password without username"),
        ({"gateways": [], "register": True}, "register = true without gateways"),
        ({"gateways": [], "allow_numbers": ["*"]}, "allow_numbers without gateways"),
        ({"username": "", "password": "", "register": True}, "nobody to register"),
        ({"users": ["ghost"]}, 'there is no user "ghost"'),
        ({"formats": ["G999"]}, '"G999" is not known'),
        ({"username": "a b"}, "a character that SIP does not allow"),
    ],
)
def test_what_cannot_work_is_refused_with_the_remedy(trunk: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        loaded(trunks=[{**CARRIER, **trunk}])


@pytest.mark.parametrize(("setting", "low", "high", "remedy"), LIMITS, ids=[row[0] for row in LIMITS])
def test_numbers_have_limits(setting: str, low: float, high: float, remedy: str) -> None:
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigurationError, match=remedy.partition(" ")[0]):
            loaded(trunks=[{**CARRIER, setting: value}])


def test_every_number_of_a_trunk_has_its_limits() -> None:
    numbers = {name for name in Trunk.__struct_fields__ if type(getattr(Trunk("x"), name)) in (int, float)}
    assert numbers == {setting for setting, *_ in LIMITS}


@pytest.mark.parametrize(
    ("users", "why"),
    [
        ([{"name": "a b", "password": "p"}], "without spaces"),
        ([{"name": "a", "password": "p"}, {"name": "a", "password": "q"}], "a name of its own"),
        ([{"name": "a"}], "one of password, password_file and ha1"),
        ([{"name": "a", "password": "p", "ha1": "0" * 32}], "one of password, password_file and ha1"),
        ([{"name": "a", "ha1": "xyz"}], "hexadecimal"),
        ([{"name": "a", "ha1": "0" * 32}, {"name": "b", "ha1": "0" * 64}], "of one algorithm"),
    ],
)
def test_users_that_cannot_work_are_refused(users: list[dict[str, str]], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        loaded(users=users)


def test_names_are_given_once_and_a_user_has_one_trunk() -> None:
    with pytest.raises(ConfigurationError, match="name of its own"):
        loaded(trunks=[CARRIER, CARRIER])
    pair = [{**CARRIER, "name": name, "users": ["desk"]} for name in ("a", "b")]
    with pytest.raises(ConfigurationError, match='belongs to trunk "a" already'):
        loaded(trunks=pair, users=[{"name": "desk", "password": "p"}])


def test_a_route_for_a_trunk_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r'routes\[0\].trunk: "carier" fits no trunk; there are "carrier"'):
        loaded(trunks=[CARRIER], routes=[{"agent": "echo", "trunk": "carier"}])


def test_a_gateway_is_read() -> None:
    assert parse_gateway("[2001:db8::1]:5061;transport=TLS", "x") == Gateway("[2001:db8::1]", 5061, "tls")
    assert parse_gateway("sip:sip.example.com", "x").uri("100") == "sip:100@sip.example.com"
    assert parse_gateway("192.0.2.1:5070;transport=tcp", "x").uri("100") == "sip:100@192.0.2.1:5070;transport=tcp"


def test_a_password_comes_from_a_file_or_a_credential(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "carrier").write_text("hush\n")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert read_password(Trunk("t", password_file=str(tmp_path / "carrier"))) == "hush"
    with pytest.raises(ConfigurationError, match="LoadCredential="):
        read_password(Trunk("t", password_file="carrier"))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_password(User("u", password_file="carrier")) == "hush"
    with pytest.raises(ConfigurationError, match=r'users "u"\.password_file: .* cannot be read'):
        read_password(User("u", password_file="absent"))
    assert read_password(Trunk("t", password=Secret("direct"))) == "direct"


def test_bellframe_up_hands_trunks_and_passwords_on(tmp_path: pathlib.Path) -> None:
    import argparse

    file = tmp_path / "bellframe.json"
    file.write_text(json.dumps({"media": {"workers": 1}, "trunks": [CARRIER]}))
    parser = argparse.ArgumentParser()
    up.add_arguments(parser)
    settings = up.configure(parser.parse_args(["--config", str(file)]))
    handed_on = tmp_path / "config.json"
    handed_on.write_bytes(config.encode(settings))
    assert config.load(handed_on).trunks[0].password.reveal() == "hush"


def test_every_example_of_the_documentation_is_right() -> None:
    import re
    import tomllib

    page = (pathlib.Path(__file__).parent.parent.parent / "docs" / "trunks.md").read_text()
    examples = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL)]
    assert len(examples) >= 3
    for example in examples:
        loaded(**example)
