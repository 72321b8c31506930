"""A campaign's files: the list that it dials, what was dialled, and what became of each number.

    LIST.csv             number[,NAME,...]: a heading, then a number a line; other columns are what the agent finds in call.arguments
    LIST.csv.dialled     one line before a number is dialled, on disk before the order leaves: row, or -row where it was refused for now
    LIST.csv.outcomes    CSV: a line a number, as it ends
"""

import contextlib
import csv
import fcntl
import os
import pathlib
import secrets
import time
from collections import Counter
from typing import IO

from control_plane.campaign import Entry, Settled
from control_plane.errors import ConfigurationError

COLUMNS = ("number", "outcome", "status", "started_at", "talked_s", "cause", "call_id", "row")
MAX_ROWS = 1_000_000


def read_list(path: pathlib.Path) -> list[Entry]:
    """Raises ConfigurationError that names the line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = [name.strip() for name in reader.fieldnames or ()]
            if "number" not in names:
                raise ConfigurationError(f'{path}: its first line has no column "number"; write number, and names for other columns')
            reader.fieldnames = names
            return [_entry(path, row, line) for row, line in enumerate(reader, 1)]
    except (OSError, UnicodeDecodeError, csv.Error) as failure:
        raise ConfigurationError(f"{path}: cannot be read: {failure}") from failure


def _entry(path: pathlib.Path, row: int, line: dict[str, str]) -> Entry:
    number = (line.get("number") or "").strip()
    if row > MAX_ROWS or not number or None in line or None in line.values():
        too_many = f"more than {MAX_ROWS} rows"
        what = too_many if row > MAX_ROWS else "no number" if not number else "more or fewer columns than the first line"
        raise ConfigurationError(f"{path}: row {row} has {what}")
    return Entry(row, number, {name: value for name, value in line.items() if name != "number"})


class CampaignFile:
    """Held by one process at a time. Raises ConfigurationError where another has it."""

    def __init__(self, path: pathlib.Path) -> None:
        self.outcomes_path = path.with_name(path.name + ".outcomes")
        try:
            self.dialled_file = path.with_name(path.name + ".dialled").open("a+b", buffering=0)
            self.outcomes_file: IO[str] = self.outcomes_path.open("a+", newline="", encoding="utf-8")
        except OSError as failure:
            raise ConfigurationError(f"{path}: nothing can be written beside it: {failure}") from failure
        try:
            fcntl.flock(self.dialled_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as failure:
            self.close()
            raise ConfigurationError(f"{path} is being dialled by another process; stop that one first") from failure
        self.outcomes: Counter[str] = Counter()
        self.name, self.dialled = self._read_dialled()
        self.settled = self._read_settled()

    def _read_dialled(self) -> tuple[str, set[int]]:
        """The campaign's name, and the rows that were dialled. A last line that a crash has cut counts as dialled where it can be read."""
        self.dialled_file.seek(0)
        octets = self.dialled_file.read()
        name, *lines = octets.decode("ascii", "replace").split("\n")
        if not name:
            name, lines = secrets.token_hex(8), []
            self._append(f"{name}\n")
        elif octets and not octets.endswith(b"\n"):
            self._append("\n")
        rows: set[int] = set()
        for line in lines:
            if line.isdecimal():
                rows.add(int(line))
            elif line[:1] == "-" and line[1:].isdecimal():
                rows.discard(int(line[1:]))
        return name, rows

    def _read_settled(self) -> set[int]:
        self.outcomes_file.seek(0)
        rows: set[int] = set()
        for line in csv.DictReader(self.outcomes_file):
            if (line.get("row") or "").isdecimal():
                rows.add(int(line["row"]))
                self.outcomes[line["outcome"]] += 1
        if self.outcomes_file.tell() == 0:
            csv.writer(self.outcomes_file).writerow(COLUMNS)
            self.outcomes_file.flush()
        return rows

    def note_dialling(self, entry: Entry) -> None:
        """Before the order leaves."""
        self._append(f"{entry.row}\n")

    def note_not_dialled(self, entry: Entry) -> None:
        """It was refused for now."""
        self._append(f"-{entry.row}\n")

    def write(self, settled: Settled) -> None:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(settled.started_at))
        cause = settled.cause.replace("\n", " ").replace("\r", " ")
        row = (settled.number, settled.outcome, settled.status, at, f"{settled.talked_s:.1f}", cause, settled.call_id, settled.row)
        csv.writer(self.outcomes_file).writerow(row)
        self.outcomes_file.flush()

    def _append(self, text: str) -> None:
        os.write(self.dialled_file.fileno(), text.encode())
        os.fdatasync(self.dialled_file.fileno())

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.dialled_file.close()
            self.outcomes_file.close()
