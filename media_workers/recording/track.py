"""One call's recording on disk: the WAV file, and beside it what a program wants to know of it, as JSON.

While it is under way the JSON is called CALL_ID.json.part: so a recorder that has just begun finds what its predecessor left,
without a look at the thousands that are complete.
"""

import datetime
import errno
import json
import os
import pathlib
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from media_workers.recording.ogg_file import OggFile
from media_workers.recording.wave_file import WaveFile

SAFE = re.compile(r"[A-Za-z0-9_@=+-][A-Za-z0-9_.@=+-]*")
PART = ".json.part"
FILES: dict[str, type[WaveFile] | type[OggFile]] = {"wav": WaveFile, "ogg": OggFile}
"""By recording.format."""


def file_name(call_id: str) -> str:
    """The id, unless it would leave the folder or hide in it; then its octets in hexadecimal."""
    return call_id if SAFE.fullmatch(call_id) else f"call-{call_id.encode().hex()}"


def as_utc(unix_ns: int) -> str:
    return datetime.datetime.fromtimestamp(unix_ns / 1e9, datetime.UTC).isoformat(timespec="milliseconds")


class Recording:
    """Of one call, from the first sample of its tape on. Sample n of the file is sample n of the tape."""

    def __init__(
        self, directory: pathlib.Path, call_id: str, generation: int, row: int, sample_rate_hz: int, format: str = "wav"
    ) -> None:
        """Goes on with what a recorder before us wrote of this very call. Raises OSError or ValueError for what cannot be read."""
        self.directory, self.call_id, self.generation, self.row, self.sample_rate_hz = directory, call_id, generation, row, sample_rate_hz
        self.reels: list[dict[str, Any]] = []
        self.lost = {"caller_ms": 0, "sent_ms": 0, "disk_ms": 0}
        self.name = file_name(call_id)
        self.base: dict[str, int] = dict(self.lost)
        """What was lost before us."""
        before = self._what_is_there()
        if before and before.get("generation") != generation:  # an id that was given twice
            self.name = f"{self.name}-{generation:x}"
            before = self._what_is_there()
        if before:
            self.reels, self.base = list(before["reels"]), dict(before["lost"])
            self.lost = dict(self.base)
        self.kind = kind_of(str(before["file"])) if before else FILES[format]
        self.file: WaveFile | OggFile | None = None
        self.dropped_samples = 0
        self.saved = ""

    @property
    def audio_path(self) -> pathlib.Path:
        return self.directory / f"{self.name}{self.kind.suffix}"

    @property
    def part_path(self) -> pathlib.Path:
        return self.directory / f"{self.name}{PART}"

    @property
    def json_path(self) -> pathlib.Path:
        return self.directory / f"{self.name}.json"

    def _what_is_there(self) -> dict[str, Any] | None:
        for path in (self.part_path, self.json_path):
            if path.exists():
                return read(path)
        return None

    def samples_there(self) -> int:
        """How much of it is on disk already. Raises OSError."""
        self._open()
        return self.file.samples if self.file else 0

    def _open(self) -> None:
        if self.file is None:
            self.file = self.kind(self.audio_path, self.sample_rate_hz)

    def begin_reel(self, number: int, sample: int, unix_ns: int) -> None:
        if not self.reels or self.reels[-1]["number"] < number:
            self.reels.append({"number": number, "sample": sample, "at": as_utc(unix_ns)})

    def note_lost(self, caller_ms: int, sent_ms: int) -> None:
        self.lost["caller_ms"], self.lost["sent_ms"] = self.base["caller_ms"] + caller_ms, self.base["sent_ms"] + sent_ms

    def write(self, at: int, stereo: npt.NDArray[np.int16]) -> None:
        """Raises OSError: what was not written is silence, and counted."""
        written = 0
        try:
            self._open()
            assert self.file is not None
            if at + len(stereo) > self.kind.max_samples:
                raise OSError(errno.EFBIG, "a WAV file holds no more than 4 GiB")
            before = self.file.samples
            try:
                self.file.write(at, stereo)
                written = len(stereo)
            except OSError:
                written = self.file.samples - at if self.file.samples > max(at, before) else 0
                raise
        finally:
            if written < len(stereo):
                self.dropped_samples += len(stereo) - written
                self.lost["disk_ms"] = self.base["disk_ms"] + self.dropped_samples * 1000 // self.sample_rate_hz

    def facts(self, state: str, samples: int) -> dict[str, Any]:
        return {
            "call_id": self.call_id,
            "state": state,
            "file": self.audio_path.name,
            "sample_rate_hz": self.sample_rate_hz,
            "channels": ["caller", "sent"],
            "started_at": self.reels[0]["at"] if self.reels else "",
            "duration_s": round(samples / self.sample_rate_hz, 3),
            "reels": self.reels,
            "lost": self.lost,
            "row": self.row,
            "generation": self.generation,
        }

    def save(self) -> None:
        """What is known so far, if that is news. Raises OSError."""
        text = json.dumps(self.facts("recording", 0))
        if text != self.saved:
            _replace(self.part_path, text)
            self.saved = text

    def finish(self, samples: int) -> None:
        """The call or its recording has ended. Raises OSError where not even that can be written."""
        self._open()
        file, self.file = self.file, None
        assert file is not None
        file.close(min(samples, self.kind.max_samples))
        complete(self.part_path, self.facts("complete", samples))

    def leave(self) -> None:
        """Another recorder goes on with it."""
        if self.file is not None:
            os.close(self.file.fd)
            self.file = None


def kind_of(name: str) -> type[WaveFile] | type[OggFile]:
    return next((kind for kind in FILES.values() if name.endswith(kind.suffix)), WaveFile)


def read(path: pathlib.Path) -> dict[str, Any]:
    """Raises OSError, or ValueError if it is not ours."""
    facts = json.loads(path.read_text())
    if not isinstance(facts, dict) or not {"call_id", "row", "generation", "reels", "lost", "sample_rate_hz", "file"} <= set(facts):
        raise ValueError(f"{path} says nothing of a recording")
    return facts


def complete(part: pathlib.Path, facts: dict[str, Any]) -> None:
    """From now on it is a recording like others."""
    path = part.with_name(part.name.removesuffix(PART) + ".json")
    _replace(path, json.dumps(facts, indent=2) + "\n")
    part.unlink(missing_ok=True)


def abandon(part: pathlib.Path, facts: dict[str, Any]) -> None:
    """Of a call that ended while nobody recorded: its file says what it holds. Raises OSError."""
    path = part.with_name(pathlib.PurePath(facts["file"]).name)
    file = kind_of(path.name)(path, int(facts["sample_rate_hz"]))
    samples = file.samples
    file.close(samples)
    complete(part, {**facts, "state": "cut", "duration_s": round(samples / facts["sample_rate_hz"], 3)})


def _replace(path: pathlib.Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
    fresh.replace(path)


__all__ = ["Recording", "abandon", "as_utc", "complete", "file_name", "read"]
