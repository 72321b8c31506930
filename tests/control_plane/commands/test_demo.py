"""Pieces of the demo; the whole of it is run by tests/system."""

import io
import pathlib
import socket
import subprocess
import sys

import pytest
from rich.console import Console

from control_plane import config
from control_plane.commands import demo
from control_plane.commands.demo import DemoFailed, Server, as_toml, choose, free_port, free_rtp_ports, leave
from control_plane.commands.demo_scenes import OWN
from control_plane.commands.demo_story import Story


def test_the_ports_are_free_and_even() -> None:
    first, last = map(int, free_rtp_ports().split("-"))
    assert first % 2 == 0 and last - first == demo.RTP_PORTS - 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", free_port()))


def test_without_a_free_range_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr(demo.random, "randrange", lambda *_: port)
        with pytest.raises(DemoFailed, match="no free range"):
            free_rtp_ports()


def test_a_server_that_ends_at_once_is_told_with_its_log(tmp_path: pathlib.Path) -> None:
    out = io.StringIO()
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)  # others may look into it: `bellframe up` refuses that
    route = {"agent": "echo", "arguments": {}}
    with Server(route, shared, tmp_path / "server.log") as server, pytest.raises(DemoFailed, match=r"server\.log"):
        server.wait_until_ready(Console(file=out))
    assert "chmod 700" in (tmp_path / "server.log").read_text()


def test_without_a_recording_nothing_is_drawn_and_both_are_missing(tmp_path: pathlib.Path) -> None:
    (tmp_path / "demo.png").write_text("of an earlier call")
    assert [(part.name, part.is_done) for part in leave(Story(()), tmp_path, "menu")] == [("a recording", False), ("a picture", False)]
    assert not (tmp_path / "demo.png").exists()


@pytest.mark.parametrize(
    ("agent", "wire", "why"), [("ech", None, "there is no such built-in agent"), (None, "skype", "has a bot for bellframe")]
)
def test_a_name_that_there_is_not_is_told_with_those_that_there_are(agent: str | None, wire: str | None, why: str) -> None:
    with pytest.raises(DemoFailed, match=why):
        choose(agent, wire)


def test_agents_of_somebody_elses_are_spoken_to() -> None:
    assert choose("my_agent:Mine", None) is OWN and choose(None, None).expected[0] == "opening hours"


def test_the_routes_arguments_survive_the_file(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "demo.toml"
    file.write_text(as_toml({"agent": "voicemail", "arguments": {"directory": '/tmp/"a\\b"/ü'}}))
    (route,) = config.load(file).routes
    assert route.agent == "voicemail" and route.arguments == {"directory": '/tmp/"a\\b"/ü'}


def test_the_command_brings_neither_numba_nor_matplotlib() -> None:
    check = "import sys, control_plane.commands.demo; sys.exit(any(n in sys.modules for n in ('numba', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
