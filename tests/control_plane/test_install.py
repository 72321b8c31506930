"""The steps of an installation: done once, known as done, undone without touching what a person changed."""

import pathlib

from control_plane import config, install

PREFIX = pathlib.Path("/opt/voice")


def carry_out(root: pathlib.Path) -> list[str]:
    made = []
    for step in install.plan(root, PREFIX):
        if not step.is_done():
            step.do()
            made.append(step.what)
    return made


def undo(root: pathlib.Path) -> None:
    for step in reversed(install.plan(root, PREFIX)):
        step.undo()


def test_a_second_time_changes_nothing(tmp_path: pathlib.Path) -> None:
    first = carry_out(tmp_path)
    assert f"file {tmp_path}/etc/systemd/system/bellframe-front.service" in first
    assert carry_out(tmp_path) == []


def test_the_first_configuration_is_right(tmp_path: pathlib.Path) -> None:
    carry_out(tmp_path)
    settings = config.load(tmp_path / install.CONFIGURATION)
    assert settings.sip.allow == ("127.0.0.0/8",) and settings.routes[0].agent == "menu"


def test_the_units_start_this_environment(tmp_path: pathlib.Path) -> None:
    carry_out(tmp_path)
    units = list((tmp_path / install.UNITS).glob("*.service"))
    assert len(units) >= 3
    for unit in units:
        text = unit.read_text()
        assert "Environment=PATH=/opt/voice/bin:" in text and install.SHIPPED_PREFIX not in text


def test_the_target_wants_as_many_bridges_as_are_configured(tmp_path: pathlib.Path) -> None:
    carry_out(tmp_path)
    file = tmp_path / install.CONFIGURATION
    file.write_text(file.read_text().replace("[bridge]\n", "[bridge]\nprocesses = 3\n"))
    assert carry_out(tmp_path) == [f"file {tmp_path}/etc/systemd/system/bellframe.target.d/bridges.conf"]
    assert "bellframe-bridge@2.service" in (tmp_path / install.UNITS / "bellframe.target.d/bridges.conf").read_text()


def test_undoing_takes_everything_away_but_what_a_person_changed(tmp_path: pathlib.Path) -> None:
    carry_out(tmp_path)
    undo(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    carry_out(tmp_path)
    (tmp_path / install.CONFIGURATION).write_text("# mine\n")
    undo(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / install.CONFIGURATION]
    assert carry_out(tmp_path) and (tmp_path / install.CONFIGURATION).read_text() == "# mine\n"
