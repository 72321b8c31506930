"""A WAV file that is right at every moment, also after a death and on a full disk."""

import os
import pathlib
import wave

import numpy as np
import pytest

from media_workers.recording import wave_file
from media_workers.recording.wave_file import FRAME_BYTES, HEADER, WaveFile

STEREO = np.arange(400, dtype=np.int16).reshape(200, 2)


def read(path: pathlib.Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 8_000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)


def test_it_is_right_after_every_write(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "call.wav"
    file = WaveFile(path, 8_000)
    assert len(read(path)) == 0
    for n in range(3):
        file.write(200 * n, STEREO)
        assert (read(path) == np.tile(STEREO, (n + 1, 1))).all()
    file.close(600)
    assert path.stat().st_mode & 0o077 == 0


def test_a_successor_goes_on_where_the_octets_end(tmp_path: pathlib.Path) -> None:
    """Killed between the samples and the sizes, in the midst of a sample."""
    path = tmp_path / "call.wav"
    WaveFile(path, 8_000).write(0, STEREO)
    with path.open("ab") as torn:
        torn.write(STEREO[:50].tobytes() + b"\x01")
    assert len(read(path)) == 200, "what the sizes say is there"
    file = WaveFile(path, 8_000)
    assert file.samples == 250
    file.write(300, STEREO)
    file.close(500)
    found = read(path)
    assert (found[:200] == STEREO).all() and not found[251:300].any() and (found[300:] == STEREO).all()


def test_what_nobody_goes_on_with_is_repaired(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "call.wav"
    WaveFile(path, 8_000).write(0, STEREO)
    with path.open("ab") as torn:
        torn.write(STEREO.tobytes() + b"abc")
    file = WaveFile(path, 8_000)
    assert file.samples == 400
    file.close(file.samples)
    assert len(read(path)) == 400
    assert path.stat().st_size == HEADER.size + 400 * FRAME_BYTES


def test_a_full_disk_leaves_a_hole(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "call.wav"
    file = WaveFile(path, 8_000)
    file.write(0, STEREO)
    room = [200]
    write = os.pwrite

    def pwrite(fd: int, octets: bytes, at: int) -> int:
        if at == 0:
            return write(fd, octets, at)
        if not room:
            raise OSError(28, "No space left on device")
        return write(fd, octets[: room.pop()], at)

    monkeypatch.setattr(wave_file.os, "pwrite", pwrite)
    with pytest.raises(OSError, match="No space"):
        file.write(200, STEREO)
    assert file.samples == 250, "what it took counts"
    monkeypatch.undo()
    file.write(400, STEREO)
    file.close(700)
    found = read(path)
    assert (found[200:250] == STEREO[:50]).all() and not found[250:400].any() and (found[400:600] == STEREO).all()
    assert len(found) == 700 and not found[600:].any()


def test_nothing_is_written_through_a_link(tmp_path: pathlib.Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"precious")
    (tmp_path / "call.wav").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        WaveFile(tmp_path / "call.wav", 8_000)
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"
