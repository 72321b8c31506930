"""bellframe records, as a user runs it."""

import json
import pathlib

import pytest

from control_plane import records
from control_plane.command import main
from control_plane.commands.records import parse_since
from control_plane.errors import BellframeError
from tests.control_plane.test_records import CALL, calls


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "calls.db"
    database = records.open_to_write(path)
    records.insert(database, [CALL, *calls(3)[2:]])
    database.close()
    return path


def test_calls_are_shown_with_how_they_ended(file: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["records", "--file", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["started", "call", "direction"] and len(lines) == 3
    parts = ("c-1", "outbound", "carrier", "answered", "200", "3.0 s", "0:09", "0.4 %", "the far end hung up")
    assert [part for part in parts if part not in lines[1]] == []


def test_the_file_is_found_by_the_server_s_configuration(
    file: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"records": {"file": str(file)}}))
    assert main(["records", "--json", "--limit", "1", "--runtime-dir", str(tmp_path)]) == 0
    (call,) = json.loads(capsys.readouterr().out)
    assert call["call_id"] == "c-2" and call["counters"]["lost"] == 2


def test_without_records_it_says_how_to_have_them(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["records", "--runtime-dir", str(tmp_path)]) == 1
    assert "--file" in capsys.readouterr().err
    (tmp_path / "config.json").write_text("{}")
    assert main(["records", "--runtime-dir", str(tmp_path)]) == 1
    assert "[records]" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("5m", 300), ("2h", 7_200), ("7d", 604_800)])
def test_since_is_a_span(text: str, seconds: int) -> None:
    assert parse_since(text, 1e9) == 1e9 - seconds


def test_since_is_a_date_or_refused() -> None:
    assert parse_since("2026-11-20T08:30+00:00", 0.0) == 1_795_163_400.0
    for text in ("yesterday", "5", "-1h", "", "1h "):
        with pytest.raises(BellframeError, match="--since"):
            parse_since(text, 0.0)
