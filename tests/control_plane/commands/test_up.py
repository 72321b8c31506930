"""bellframe up: what the flags mean, and what is run. That the processes then work together is tests/system."""

import argparse
import pathlib

import pytest

from control_plane.commands import up
from control_plane.config import Config
from control_plane.errors import ConfigurationError


def configured(*words: str) -> Config:
    parser = argparse.ArgumentParser()
    up.add_arguments(parser)
    return up.configure(parser.parse_args(words))


def test_without_anything_the_menu_answers_on_loopback() -> None:
    settings = configured()
    assert (settings.routes[0].agent, settings.sip.listen) == ("menu", "127.0.0.1:5060")


def test_every_flag_finds_its_setting() -> None:
    settings = configured(
        *("--agent", "my.agents:Bot", "--sip", "0.0.0.0:5070", "--rtp-ports", "20000-20100", "--workers", "2", "--cores", "0"),
        *("--public-address", "192.0.2.9", "--allow", "192.0.2.0/24", "--allow", "198.51.100.0/24"),
        *("--bridges", "3", "--runtime-dir", "/tmp/x", "--http", "127.0.0.1:8080"),
    )
    assert settings.routes[0].agent == "my.agents:Bot"
    assert (settings.sip.listen, settings.sip.public_address) == ("0.0.0.0:5070", "192.0.2.9")
    assert settings.sip.allow == ("127.0.0.0/8", "::1/128", "192.0.2.0/24", "198.51.100.0/24")
    assert (settings.media.rtp_ports, settings.media.workers, settings.media.cores) == ("20000-20100", 2, "0")
    assert (settings.bridge.processes, settings.runtime_directory) == (3, "/tmp/x")
    assert settings.http.listen == "127.0.0.1:8080"


def test_a_flag_counts_more_than_the_file_and_the_file_keeps_the_rest(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "bellframe.toml"
    file.write_text('[sip]\nlisten = "127.0.0.1:5070"\ndrain_seconds = 5.0\n[[routes]]\nto = "100"\nagent = "echo"\n')
    settings = configured("--config", str(file), "--sip", "127.0.0.1:5080")
    assert (settings.sip.listen, settings.sip.drain_seconds, settings.routes[0].to) == ("127.0.0.1:5080", 5.0, "100")
    assert configured("--config", str(file), "--agent", "menu").routes[0].agent == "menu"


def test_a_wrong_flag_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigurationError, match=r"sip\.allow"):
        configured("--allow", "my-trunk")
    with pytest.raises(ConfigurationError, match=r"media\.rtp_ports"):
        configured("--rtp-ports", "20000")


def test_http_runs_only_where_it_has_something_to_do_and_ends_after_the_front(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "bellframe.toml"
    file.write_text('[records]\nfile = "calls.db"\n[[routes]]\nagent = "echo"\n')
    for words in (("--http", "127.0.0.1:8080"), ("--config", str(file))):
        *_, front, http = up.programs(configured(*words), tmp_path / "config.json")
        assert (http.name, http.arguments[1:3]) == ("http", ("-m", "control_plane.http")) and http.stops_in > front.stops_in


def test_the_keeper_starts_first_and_the_front_stops_first(tmp_path: pathlib.Path) -> None:
    settings = configured("--bridges", "2")
    programs = {program.name: program for program in up.programs(settings, tmp_path / "config.json")}
    assert list(programs) == ["keeper", "bridge-0", "bridge-1", "front"]
    assert [programs[name].starts_in for name in programs] == [0, 1, 1, 1]
    assert [programs[name].stops_in for name in programs] == [2, 1, 1, 0]
    assert programs["bridge-1"].arguments[1:] == ("-m", "ai_bridge", "--config", str(tmp_path / "config.json"), "--index", "1")
    assert programs["front"].stop_limit_s > settings.sip.drain_seconds
