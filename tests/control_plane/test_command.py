"""The `bellframe` command as a user meets it."""

import os
import pathlib
import subprocess
import sys

import pytest

from control_plane.command import COMMANDS, main


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    output = capsys.readouterr().out
    assert [name for name in COMMANDS if f"  {name} " not in output] == []


def test_without_words_the_usage_is_shown_and_it_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: bellframe" in capsys.readouterr().out


def test_an_unknown_command_fails_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explode"]) == 2
    error = capsys.readouterr().err
    assert "no command 'explode'" in error and "hangup" in error


@pytest.mark.parametrize("words", [["status"], ["calls"], ["call", "show", "x"], ["call", "sip:a@127.0.0.1"], ["hangup", "x"], ["top"]])
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_without_a_server_each_says_how_to_start_one(
    words: list[str], more: list[str], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--runtime-dir", str(tmp_path), *more]) == 1
    output = capsys.readouterr()
    assert f"no server answers in {tmp_path}: start one with `bellframe up`" in output.err
    assert output.out == ""


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    script = "import sys; from control_plane.command import main; sys.exit(main(['--help']) or main(['check', '/nonexistent']))"
    reader, writer = os.pipe()
    os.close(reader)
    found = subprocess.run([sys.executable, "-c", script], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert "Traceback" not in found.stderr
