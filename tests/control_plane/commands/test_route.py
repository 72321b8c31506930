"""bellframe route, as people and programs call it."""

import json
import pathlib

import pytest

from control_plane.command import main

TEXT = """
[sip]
allow = ["127.0.0.0/8", "localhost.localdomain"]
[[trunks]]
name = "carrier"
allow = ["192.0.2.0/24"]
[[routes]]
to = "100"
hours = ["Mon-Fri 08:00-18:00"]
time_zone = "UTC"
agent = "reception:Reception"
arguments = { language = "de" }
[[routes]]
headers = { "X-Level" = "gold" }
agent = "vip:Vip"
"""


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    file = tmp_path / "bellframe.toml"
    file.write_text(TEXT)
    return file


def route(file: pathlib.Path, *words: str) -> int:
    return main(["route", "--config", str(file), *words])


def test_in_words(file: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert route(file, "--to", "100", "--trunk", "carrier", "--header", "x-level=gold", "--at", "2026-11-21T10:00+00:00") == 0
    assert capsys.readouterr().out.splitlines() == [
        'let in: taken as a call of trunk "carrier"',
        "passed over routes[0]: hours are Mon-Fri 08:00-18:00, and it is Sat 10:00 (UTC)",
        "routes[1] takes it: agent vip:Vip, answered once it is ready",
        "formats: PCMU, PCMA, G722; SRTP off",
        "limit: 200 set-ups a second (sip.max_calls_per_second)",
    ]


def test_a_refusal_is_an_exit_code(file: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert route(file, "--to", "999", "--source", "127.0.0.1") == 1
    assert "refused: 404: 999 fits none of the 2 routes" not in (output := capsys.readouterr().out) and "refused: 404: 999" in output
    assert route(file, "--to", "100", "--source", "198.51.100.1") == 1
    assert capsys.readouterr().out.startswith("refused: 403: 198.51.100.1 is not in sip.allow")


def test_for_programs(file: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert route(file, "--json", "--to", "100", "--from", "+491", "--source", "192.0.2.9", "--at", "2026-11-20T10:00+00:00") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["trunk"], answer["route"], answer["arguments"]) == ("carrier", "routes[0]", {"language": "de"})


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--at", "soon"), "--at: \"soon\" is no time"),
        (("--source", "example.com"), "is no address such as 192.0.2.7"),
        (("--header", "X-Level"), "is not NAME=VALUE"),
    ],
)
def test_what_is_written_wrongly(words: tuple[str, str], why: str, file: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert route(file, "--to", "100", *words) == 1
    assert why in capsys.readouterr().err


def test_check_says_the_same_in_words(file: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file)]) == 0
    output = capsys.readouterr().out
    assert '  trunk "carrier": 192.0.2.0/24 may call' in output
    assert "  routes[1]: all calls with X-Level: gold: agent vip:Vip, answered once it is ready" in output
    file.write_text('[[routes]]\nagent = "echo"\n[[routes]]\nto = "1"\nagent = "menu"\n')
    assert main(["check", str(file)]) == 0
    assert "routes[0] takes every call, so nothing comes to 1 route after it: put it last" in capsys.readouterr().out
