"""Which calls are recorded, and what lies on disk afterwards: the real rows, tapes and rings, in one process."""

import json
import logging
import os
import pathlib
import wave

import numpy as np
import pytest

from media_workers import libopus
from media_workers.recording import wave_file
from media_workers.recording.recorder import Recorder
from media_workers.recording.track import file_name
from shm.counters import Counters
from tests.media_workers.call_under_test import MS, SECOND, CallUnderTest, loud, ulaw
from tests.media_workers.recording.test_ogg_file import decode

FRAME = 160
UNIX_LESS_NS = 1_700_000_000 * SECOND


class Studio:
    """A call whose both sides speak, and a recorder."""

    def __init__(self, directory: pathlib.Path, call_id: str = "call", format: str = "wav") -> None:
        self.directory, self.format = directory, format
        self.call = CallUnderTest(call_id=call_id)
        self.frames = 0
        self.recorder = self.new_recorder()

    def new_recorder(self) -> Recorder:
        worker = self.call.worker
        counters = Counters(worker.totals, worker.lateness.reshape(1, -1), worker.shown)
        recorder = Recorder(worker.rings, counters, self.directory, self.format)
        recorder.take_over()
        return recorder

    def talk(self, frames: int, is_watched: bool = True) -> None:
        for _ in range(frames):
            self.frames += 1
            self.call.say(loud(FRAME, 4_000))
            self.call.next_packet()
            self.call.receive(self.frames, FRAME * self.frames, ulaw(-8_000))
            if is_watched and self.frames % 5 == 0:
                self.look()

    def look(self, ahead_ms: int = 0) -> None:
        self.recorder.step(self.call.now_ns + ahead_ms * MS, UNIX_LESS_NS)

    def finish(self) -> None:
        self.look()
        self.look(700)

    @property
    def wave(self) -> np.ndarray:
        with wave.open(str(self.directory / "call.wav")) as file:
            return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)

    @property
    def facts(self) -> dict[str, object]:
        return json.loads((self.directory / "call.json").read_text())


@pytest.fixture(name="studio")
def _studio(tmp_path: pathlib.Path) -> Studio:
    return Studio(tmp_path)


SENT, SAID = 4_000, -8_000


def share(channel: np.ndarray, value: int) -> float:
    return float((abs(channel.astype(int) - value) < 400).mean())


def test_a_call_is_recorded_from_on_to_its_end(studio: Studio) -> None:
    studio.talk(20)
    assert list(studio.directory.iterdir()) == []
    began_ns = int(studio.call.call["tx"]["next_tx_ns"])
    studio.call.rows.record("call", "on")
    studio.talk(100)
    assert {path.name for path in studio.directory.iterdir()} == {"call.wav", "call.json.part"}
    studio.call.rows.close("call", studio.call.now_ns)
    studio.finish()
    assert {path.name for path in studio.directory.iterdir()} == {"call.wav", "call.json"}
    assert len(studio.wave) == 100 * FRAME and share(studio.wave[:, 1], SENT) == 1 and share(studio.wave[:, 0], SAID) > 0.98
    facts = studio.facts
    assert (facts["state"], facts["duration_s"], facts["channels"]) == ("complete", 2.0, ["caller", "sent"])
    assert facts["lost"] == {"caller_ms": 0, "sent_ms": 0, "disk_ms": 0}
    assert facts["started_at"] == f"2023-11-14T22:30:{(began_ns + UNIX_LESS_NS) / 1e9 % 60:06.3f}+00:00"
    assert studio.recorder.recordings == {}


def test_a_pause_is_not_in_it_and_stands_beside_it(studio: Studio) -> None:
    studio.call.rows.record("call", "on")
    studio.talk(50)
    studio.call.rows.record("call", "pause")
    studio.talk(50)
    studio.call.rows.record("call", "on")
    studio.talk(50)
    studio.call.rows.record("call", "off")
    studio.finish()
    assert len(studio.wave) == 100 * FRAME
    first, second = studio.facts["reels"]  # type: ignore[misc]
    assert (first["sample"], second["sample"]) == (0, 50 * FRAME)
    assert float(second["at"][17:23]) - float(first["at"][17:23]) == pytest.approx(2.0)


def test_off_and_on_again_is_one_file(studio: Studio) -> None:
    studio.call.rows.record("call", "on")
    studio.talk(50)
    studio.call.rows.record("call", "off")
    studio.finish()
    studio.call.now_ns += 700 * MS
    studio.call.tick()
    studio.call.rows.record("call", "on")
    studio.talk(50)
    studio.call.rows.close("call", studio.call.now_ns)
    studio.finish()
    assert len(studio.wave) == 100 * FRAME and len(studio.facts["reels"]) == 2  # type: ignore[arg-type]
    assert share(studio.wave[:, 1], SENT) > 0.99 and studio.facts["lost"] == {"caller_ms": 0, "sent_ms": 0, "disk_ms": 0}


@pytest.mark.parametrize("away_frames", [10, 60, 300])
def test_a_successor_goes_on_in_the_same_file(studio: Studio, away_frames: int) -> None:
    """Killed: nothing of it ran to its end. What the rings still have is not lost; the rest is silence of its length."""
    studio.call.rows.record("call", "on")
    studio.talk(100)
    studio.recorder = None  # type: ignore[assignment]
    studio.talk(away_frames, is_watched=False)
    studio.recorder = studio.new_recorder()
    studio.talk(100)
    studio.call.rows.close("call", studio.call.now_ns)
    studio.finish()
    assert len(studio.wave) == (200 + away_frames) * FRAME
    lost_ms = studio.facts["lost"]["sent_ms"]  # type: ignore[index]
    silent_ms = int((studio.wave[:, 1] == 0).sum()) // 8
    assert silent_ms == lost_ms and (lost_ms == 0) == (away_frames < 90)
    assert share(studio.wave[-90 * FRAME :, 0], SAID) > 0.98, "nothing has moved"
    if away_frames < 90:
        assert share(studio.wave[:, 0], SAID) > 0.98


def test_what_ended_while_nobody_recorded_is_closed(studio: Studio) -> None:
    studio.call.rows.record("call", "on")
    studio.talk(100)
    studio.recorder = None  # type: ignore[assignment]
    with (studio.directory / "call.wav").open("ab") as torn:
        torn.write(b"\x01\x02\x03")
    studio.call.rows.close("call", studio.call.now_ns)
    studio.call.rows.release_quiet(studio.call.now_ns + SECOND)
    studio.recorder = studio.new_recorder()
    assert studio.facts["state"] == "cut" and len(studio.wave) / 8_000 == pytest.approx(studio.facts["duration_s"], abs=1e-3)
    assert share(studio.wave[:, 1], SENT) == 1


def test_a_call_that_ends_while_nobody_records_is_finished_from_the_rings(studio: Studio) -> None:
    studio.call.rows.record("call", "on")
    studio.talk(100)
    studio.recorder = None  # type: ignore[assignment]
    studio.talk(20, is_watched=False)
    studio.call.rows.close("call", studio.call.now_ns)
    studio.recorder = studio.new_recorder()
    studio.finish()
    assert studio.facts["state"] == "complete" and len(studio.wave) == 120 * FRAME


def test_a_row_that_is_used_again_at_once_ends_the_recording_there(studio: Studio) -> None:
    studio.call.rows.record("call", "on")
    studio.talk(100)
    rows = studio.call.rows
    rows.close("call", studio.call.now_ns)
    rows.release_quiet(studio.call.now_ns + SECOND)
    for call_id in ("other", "another"):
        rows.open(call_id, 0, studio.call.media, studio.call.now_ns + SECOND)
        rows.record(call_id, "on")
    studio.finish()
    assert studio.facts["state"] == "complete" and len(studio.wave) == 100 * FRAME
    assert len(studio.recorder.recordings) == 2


def test_a_full_disk_is_said_once_and_counted(studio: Studio, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    studio.call.rows.record("call", "on")
    studio.talk(100)

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wave_file.os, "pwrite", refuse)
    studio.talk(100)
    monkeypatch.undo()
    studio.talk(100)
    studio.call.rows.close("call", studio.call.now_ns)
    studio.finish()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2 and "No space left" in said[0] and "calls go on" in said[0] and "ms of them are missing" in said[1]
    silent_ms = int((studio.wave[:, 1] == 0).sum()) // 8
    assert len(studio.wave) == 300 * FRAME and silent_ms == studio.facts["lost"]["disk_ms"]  # type: ignore[index]
    assert 1_500 < silent_ms < 2_300


def test_a_directory_that_takes_nothing_is_said_once_a_call(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    (studio.directory / "call.wav").mkdir()
    studio.call.rows.record("call", "on")
    studio.talk(50)
    assert [record.getMessage()[:12] for record in caplog.records] == ["not recorded"]


def test_a_call_that_could_not_be_recorded_is_as_soon_as_it_can(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    (studio.directory / "call.wav").mkdir()
    studio.call.rows.record("call", "on")
    studio.talk(150)
    (studio.directory / "call.wav").rmdir()
    studio.talk(150)
    studio.call.rows.close("call", studio.call.now_ns)
    studio.finish()
    assert len(caplog.records) == 1 and len(studio.wave) == 300 * FRAME, "what comes later keeps its place"
    silent_ms = int((studio.wave[:, 1] == 0).sum()) // 8
    assert 0 < silent_ms < 3_000 and share(studio.wave[-50 * FRAME :, 1], SENT) > 0.99
    assert studio.facts["lost"]["sent_ms"] == silent_ms  # type: ignore[index]


@pytest.mark.parametrize("call_id", ["../escape", ".hidden", "a/b", "", "x\x00y", "ü"])
def test_an_id_never_names_another_place(call_id: str) -> None:
    name = file_name(call_id)
    assert os.path.basename(f"{name}.wav") == f"{name}.wav" and not name.startswith(".") and name.isascii()


def test_an_id_that_was_given_twice_has_two_files(studio: Studio) -> None:
    studio.call.rows.record("call", "on")
    studio.talk(50)
    studio.call.rows.close("call", studio.call.now_ns)
    studio.finish()
    studio.call.rows.release_quiet(studio.call.now_ns + SECOND)
    studio.call = CallUnderTest(rows=studio.call.rows)
    studio.call.now_ns += 5 * SECOND
    studio.call.tick()
    studio.call.rows.record("call", "on")
    studio.talk(50)
    studio.call.rows.close("call", studio.call.now_ns)
    studio.finish()
    assert len(list(studio.directory.glob("*.wav"))) == len(list(studio.directory.glob("*.json"))) == 2


@pytest.mark.skipif(not libopus.IS_THERE, reason="libopus is not installed")
@pytest.mark.parametrize("new_format", ["ogg", "wav"])
def test_as_ogg_with_a_pause_and_a_successor_whatever_that_one_writes(tmp_path: pathlib.Path, new_format: str) -> None:
    studio = Studio(tmp_path, format="ogg")
    studio.call.rows.record("call", "on")
    studio.talk(100)
    studio.recorder = None  # type: ignore[assignment]
    studio.talk(40, is_watched=False)
    studio.format = new_format
    studio.recorder = studio.new_recorder()
    studio.talk(60)
    studio.call.rows.record("call", "pause")
    studio.talk(50)
    studio.call.rows.record("call", "on")
    studio.talk(50)
    studio.call.rows.close("call", studio.call.now_ns)
    studio.finish()
    facts = studio.facts
    assert (facts["state"], facts["file"], facts["duration_s"]) == ("complete", "call.ogg", 5.0)
    assert facts["lost"] == {"caller_ms": 0, "sent_ms": 0, "disk_ms": 0} and len(facts["reels"]) == 2  # type: ignore[arg-type]
    sound = decode(tmp_path / "call.ogg")
    assert len(sound) == 5 * 48_000 and {path.name for path in tmp_path.iterdir()} == {"call.ogg", "call.json"}
