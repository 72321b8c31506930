import csv
import pathlib

import pytest

from control_plane.campaign import Entry, Settled
from control_plane.campaign_file import CampaignFile, read_list
from control_plane.errors import ConfigurationError


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "numbers.csv"
    path.write_text("number, name\n+491,Ada\n+492,\"Bell, A.\"\n+493,\n")
    return path


def test_a_list_with_arguments(path: pathlib.Path) -> None:
    assert read_list(path) == [Entry(1, "+491", {"name": "Ada"}), Entry(2, "+492", {"name": "Bell, A."}), Entry(3, "+493", {"name": ""})]
    path.write_bytes(b"\xef\xbb\xbfnumber\r\n+491\r\n")  # as spreadsheets write it
    assert read_list(path) == [Entry(1, "+491", {})]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("phone\n+491\n", 'has no column "number"'),
        ("", 'has no column "number"'),
        ("number,name\n,Ada\n", "row 1 has no number"),
        ("number,name\n+491,Ada\n+492\n", "row 2 has more or fewer columns"),
        ("number\n+491,Ada\n", "row 1 has more or fewer columns"),
    ],
)
def test_a_list_that_is_none_says_where(text: str, why: str, path: pathlib.Path) -> None:
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=why):
        read_list(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_list(path.with_name("nothing.csv"))


def test_what_was_written_is_known_to_the_next_run(path: pathlib.Path) -> None:
    file, entries = CampaignFile(path), read_list(path)
    for entry in entries:
        file.note_dialling(entry)
    file.note_not_dialled(entries[2])
    file.write(Settled(1, "+491", "busy", 486, 'said "no"\nagain', "camp-1", 1_763_700_000.0, 0.0))
    file.close()
    again = CampaignFile(path)
    assert (again.name, again.dialled, again.settled) == (file.name, {1, 2}, {1})
    again.write(Settled(2, "+492", "answered", 200, "", "camp-2", 1_763_700_000.0, 12.34))
    again.close()
    rows = list(csv.DictReader(again.outcomes_path.open(newline="")))
    assert [(row["number"], row["outcome"], row["talked_s"], row["cause"]) for row in rows] == [
        ("+491", "busy", "0.0", 'said "no" again'), ("+492", "answered", "12.3", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("cut", range(1, 4))
def test_a_line_that_a_crash_has_cut(path: pathlib.Path, cut: int) -> None:
    file = CampaignFile(path)
    for entry in read_list(path):
        file.note_dialling(entry)
    name = file.name
    file.close()
    dialled = path.with_name("numbers.csv.dialled")
    dialled.write_bytes(dialled.read_bytes()[:-cut])
    again = CampaignFile(path)
    again.note_dialling(Entry(4, "+494", {}))
    again.close()
    third = CampaignFile(path)
    assert third.name == name and third.dialled - {3} == {1, 2, 4}, "the last one may be lost, and no other"


def test_two_at_once_are_refused(path: pathlib.Path) -> None:
    file = CampaignFile(path)
    with pytest.raises(ConfigurationError, match="is being dialled by another process"):
        CampaignFile(path)
    file.close()
    CampaignFile(path).close()
