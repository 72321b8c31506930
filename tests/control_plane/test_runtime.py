"""The runtime directory belongs to us alone."""

import os
import pathlib
import stat

import pytest

from control_plane import runtime
from control_plane.errors import ConfigurationError


def test_it_is_made_with_its_parents_for_us_alone(tmp_path: pathlib.Path) -> None:
    made = runtime.prepare(tmp_path / "a" / "b")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700 and stat.S_IMODE(made.parent.stat().st_mode) == 0o700
    assert runtime.prepare(made) == made


def test_one_that_others_may_enter_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(ConfigurationError, match="chmod 700"):
        runtime.prepare(tmp_path / "open")


def test_a_link_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ConfigurationError, match="not a directory of our own"):
        runtime.prepare(tmp_path / "link")


def test_a_parent_that_others_may_write_to_is_refused_unless_sticky(tmp_path: pathlib.Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(ConfigurationError, match="others may replace"):
        runtime.prepare(shared / "mine")
    shared.chmod(0o1777)
    assert runtime.prepare(shared / "mine").is_dir()


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigurationError, match="too long"):
        runtime.prepare(tmp_path / ("x" * 100))


def test_one_server_a_directory(tmp_path: pathlib.Path) -> None:
    held = runtime.lock(tmp_path)
    with pytest.raises(ConfigurationError, match="--runtime-dir"):
        runtime.lock(tmp_path)
    os.close(held)
    os.close(runtime.lock(tmp_path))


def test_who_runs_a_server_in_a_directory_is_known_while_it_does(tmp_path: pathlib.Path) -> None:
    assert runtime.holder(tmp_path) == 0
    held = runtime.lock(tmp_path)
    assert runtime.holder(tmp_path) == os.getpid()
    os.close(held)
    assert runtime.holder(tmp_path) == 0, "it has ended, whatever the file says"


def test_private_files_are_private_from_the_start(tmp_path: pathlib.Path) -> None:
    runtime.write_private(tmp_path / "config.json", b"{}")
    runtime.write_private(tmp_path / "config.json", b"[]")
    assert (tmp_path / "config.json").read_bytes() == b"[]"
    assert stat.S_IMODE((tmp_path / "config.json").stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
