"""The campaigns of the API: each a list, its settings and its outcomes in [campaigns] directory, and a task that dials.

Another process in this one's place goes on with all of them. A file is written by a thread: the API does not wait for a disk.
"""

import asyncio
import contextlib
import json
import logging
import os
import pathlib

import msgspec

from control_plane.campaign import Entry
from control_plane.campaign_file import CampaignFile
from control_plane.campaign_run import Run, Settings
from control_plane.errors import ConfigurationError
from control_plane.http.link import FrontAway, Link
from control_plane.messages import CallFacts, GetCall

log = logging.getLogger("campaigns")
TICK_S, LOOK_S, LOOK_AT_ONCE, AWAY_S = 0.05, 1.0, 50, 1.0
MAX_CAMPAIGNS = 256


class Number(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a list."""

    number: str
    arguments: dict[str, str] = {}


class Dialler:
    """One campaign."""

    def __init__(self, link: Link, path: pathlib.Path, settings: Settings) -> None:
        """`path`: the list. Raises ConfigurationError and OSError."""
        self.link, self.path = link, path
        self.entries = read_lines(path)
        self.run = Run(settings, CampaignFile(path), self.entries)
        self.looked = 0

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def state(self) -> str:
        campaign = self.run.campaign
        if campaign.is_stopped:
            return "stopping" if campaign.active else "stopped"
        return "over" if campaign.is_over else "running"

    def add(self, numbers: tuple[Number, ...]) -> None:
        """More lines for the list."""
        with self.path.open("ab") as file:
            file.write(b"".join(msgspec.json.encode(number) + b"\n" for number in numbers))
            file.flush()
            os.fdatasync(file.fileno())
        fresh = [Entry(row, one.number, one.arguments) for row, one in enumerate(numbers, len(self.entries) + 1)]
        self.entries += fresh
        self.run.campaign.add(fresh)

    def stop(self, is_stopped: bool) -> None:
        self.run.settings = msgspec.structs.replace(self.run.settings, is_stopped=is_stopped)
        self.run.campaign.is_stopped = is_stopped
        write_settings(self.path, self.run.settings)

    async def work(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        look_at = 0.0
        while True:
            try:
                while entry := self.run.campaign.take_due(loop.time()):
                    await self.dial(entry)
                if loop.time() >= look_at:
                    look_at = loop.time() + LOOK_S
                    await self.look()
                await asyncio.sleep(TICK_S)
            except FrontAway:
                await asyncio.sleep(AWAY_S)
            except OSError as failure:
                self.run.campaign.is_stopped = True
                log.error("campaign %s stops: %s cannot be written: %s; resume it once it can", self.name, self.path.parent, failure)

    async def dial(self, entry: Entry) -> None:
        """Raises OSError."""
        await asyncio.to_thread(self.run.file.note_dialling, entry)
        while True:
            with contextlib.suppress(FrontAway):
                answer = await self.link.ask(self.run.order(entry))
                self.run.take_answer(entry, answer, asyncio.get_running_loop().time())
                return
            await asyncio.sleep(AWAY_S)

    async def look(self) -> None:
        """At calls whose news may have been missed: some of them, the next ones the next time. Raises FrontAway."""
        active = list(self.run.campaign.active.items())
        self.looked = 0 if self.looked >= len(active) else self.looked
        some, self.looked = active[self.looked : self.looked + LOOK_AT_ONCE], self.looked + LOOK_AT_ONCE
        for call_id, entry in some:
            self.run.take_look(entry, await self.link.ask(GetCall(call_id)))


class Diallers:
    def __init__(self, link: Link, directory: pathlib.Path) -> None:
        """Raises ConfigurationError."""
        self.link, self.directory = link, directory
        if not directory.is_dir() or not os.access(directory, os.W_OK):
            raise ConfigurationError(f"campaigns.directory: nothing can be written to {directory}; make that folder, or name another one")
        self.diallers: dict[str, Dialler] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Go on with those that are there."""
        for file in sorted(self.directory.glob("*.settings")):
            try:
                settings = msgspec.json.decode(file.read_bytes(), type=Settings)
                self._begin(Dialler(self.link, file.with_suffix(".list"), settings))
            except (ConfigurationError, OSError, msgspec.DecodeError) as failure:
                log.error("campaign %s is left alone: %s", file.stem, failure)

    def create(self, name: str, settings: Settings, numbers: tuple[Number, ...]) -> Dialler:
        """Raises ConfigurationError and OSError."""
        path = self.directory / f"{name}.list"
        path.touch(0o600)
        dialler = Dialler(self.link, path, settings)
        dialler.add(numbers)
        write_settings(path, settings)  # last: without it there is no campaign
        self._begin(dialler)
        return dialler

    def _begin(self, dialler: Dialler) -> None:
        self.diallers[dialler.name] = dialler
        self.tasks[dialler.name] = asyncio.get_running_loop().create_task(dialler.work())

    def take(self, facts: CallFacts) -> None:
        """Of every call, as it changes."""
        if facts.state == "ended" and facts.call_id.startswith("camp-"):
            for dialler in self.diallers.values():
                if facts.call_id in dialler.run.campaign.active:
                    dialler.run.take_facts(facts)

    async def close(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        if self.tasks:
            await asyncio.wait(list(self.tasks.values()), timeout=1.0)
        for dialler in self.diallers.values():
            dialler.run.file.close()


def write_settings(path: pathlib.Path, settings: Settings) -> None:
    """Raises OSError."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(settings))
    os.replace(fresh, path.with_suffix(".settings"))


def read_lines(path: pathlib.Path) -> list[Entry]:
    """A last line that a crash has cut is not there: whoever asked was never told that it is. Raises ConfigurationError."""
    whole = path.read_bytes()
    if whole and not whole.endswith(b"\n"):
        whole = whole[: whole.rfind(b"\n") + 1]
        path.write_bytes(whole)
    try:
        lines = [msgspec.convert(json.loads(line), Number) for line in whole.splitlines()]
    except (ValueError, msgspec.ValidationError) as failure:
        raise ConfigurationError(f"{path}: {failure}") from failure
    return [Entry(row, line.number, line.arguments) for row, line in enumerate(lines, 1)]
