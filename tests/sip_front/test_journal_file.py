"""The journal's file: what was appended is there after a crash, it stays short, and a full disk ends nothing."""

import os
import pathlib
import stat

import pytest

from sip_front import journal, journal_file
from sip_front.journal import Begin, Entry, Over, Saved
from sip_front.journal_file import JournalFile
from tests.sip_front.simulation import Machine, Network, Phone


@pytest.fixture(name="machine")
def _machine() -> Machine:
    network = Network()
    machine = Machine(network)
    phone = Phone(network)
    for i in range(3):
        phone.call(call_id=f"c{i}", tag="", cseq=1)
    return machine


@pytest.fixture(name="file")
def _file(machine: Machine, tmp_path: pathlib.Path) -> JournalFile:
    return JournalFile(tmp_path / "journal", machine.front.succession.all_entries)


def saved(machine: Machine) -> list[Entry]:
    return [entry for call in machine.front.calls.values() if (entry := journal.save(call))]


def test_the_next_one_reads_what_this_one_wrote(file: JournalFile, machine: Machine, tmp_path: pathlib.Path) -> None:
    file.begin()
    file.append([Over(next(iter(machine.front.calls)))])
    front_id, calls = JournalFile(tmp_path / "journal", machine.front.succession.all_entries).read()
    assert front_id == machine.front.front_id and len(calls) == 2 and all(isinstance(call, Saved) for call in calls)


def test_it_is_for_its_owner_only(file: JournalFile) -> None:
    file.begin()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_nothing_to_read_is_no_error(file: JournalFile) -> None:
    assert file.read() == (0, [])


def test_it_is_shortened(file: JournalFile, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "SHORTEN_AT_BYTES", 0)
    file.begin()
    shortest = file.size
    for _ in range(100):
        file.append(saved(machine))
    assert file.path.stat().st_size == file.size <= 5 * shortest
    assert len(file.read()[1]) == 3


def test_a_full_disk_is_said_once_and_mended_when_there_is_room(
    file: JournalFile, machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file.begin()
    write = os.write
    monkeypatch.setattr(journal_file.os, "write", lambda fd, octets: write(fd, octets[:10]))
    for _ in range(3):
        file.append([Begin(1, "x")])
    assert caplog.text.count("calls would not outlive the front") == 1
    monkeypatch.setattr(journal_file.os, "write", write)
    file.append([])
    assert len(file.read()[1]) == 3


def test_a_clean_end_leaves_nothing(file: JournalFile) -> None:
    file.begin()
    file.remove()
    assert not file.path.exists()
    file.remove()
