"""bellframe install: says what it does, does nothing when only asked, and refuses what could not work."""

import json
import pathlib

import pytest

from control_plane.command import main


def test_a_dry_run_writes_nothing(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install", "--dry-run", "--root", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "would make" in output and "bellframe-keeper.service" in output
    assert list(tmp_path.iterdir()) == []


def test_it_says_what_it_made_and_what_was_there(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    for state in ("made", "is there"):
        assert main(["install", "--json", "--root", str(tmp_path), "--prefix", "/opt/bellframe"]) == 0
        assert {step["state"] for step in json.loads(capsys.readouterr().out)} == {state}
    assert main(["install", "--undo", "--root", str(tmp_path), "--prefix", "/opt/bellframe"]) == 0
    assert "undone" in capsys.readouterr().out
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_environment_that_services_cannot_see_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install", "--dry-run", "--prefix", "/root/venv"]) == 1
    assert "/root/venv is hidden from services" in capsys.readouterr().err
