"""An Ogg/Opus file that plays at every moment: read by ffmpeg's libraries, also after a death and on a full disk."""

import os
import pathlib

import numpy as np
import pytest

from media_workers import libopus
from media_workers.recording import ogg_file
from media_workers.recording.ogg_file import PACKETS_A_PAGE, OggFile, checksum, look

av = pytest.importorskip("av")
pytestmark = pytest.mark.skipif(not libopus.IS_THERE, reason="libopus is not installed")

RATE, LEFT_HZ, RIGHT_HZ = 8_000, 440, 1_000


def tones(start: int, count: int, rate: int = RATE) -> np.ndarray:
    """(count, 2): another pitch on each side, from sample `start` on."""
    at = np.arange(start, start + count) / rate
    return np.stack([8_000 * np.sin(2 * np.pi * hz * at) for hz in (LEFT_HZ, RIGHT_HZ)], axis=1).astype(np.int16)


def decode(path: pathlib.Path) -> np.ndarray:
    """(n, 2) at 48 kHz."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.concatenate(frames, axis=1).T.reshape(-1, 2)


def pitch(channel: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(channel * np.hanning(channel.size)))
    return float(spectrum.argmax() * 48_000 / channel.size)


def share_of(channel: np.ndarray, hz: float) -> float:
    """The part of its energy at this pitch."""
    spectrum = np.abs(np.fft.rfft(channel * np.hanning(channel.size))) ** 2
    at = round(hz * channel.size / 48_000)
    return float(spectrum[at - 3 : at + 4].sum() / spectrum.sum())


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_each_side_is_on_its_channel_and_never_on_the_others(tmp_path: pathlib.Path, rate: int) -> None:
    file = OggFile(tmp_path / "call.ogg", rate)
    for start in range(0, 2 * rate, rate // 4 - 30):  # not whole frames
        file.write(start, tones(start, min(rate // 4 - 30, 2 * rate - start), rate))
    file.close(2 * rate)
    sound = decode(tmp_path / "call.ogg")
    assert len(sound) == 96_000, "to the sample"
    left, right = sound[9_600:86_400].T
    assert share_of(left, LEFT_HZ) > 0.98 and share_of(right, RIGHT_HZ) > 0.98
    assert share_of(left, RIGHT_HZ) < 1e-4 and share_of(right, LEFT_HZ) < 1e-4
    assert (tmp_path / "call.ogg").stat().st_mode & 0o077 == 0


def test_it_is_in_its_place(tmp_path: pathlib.Path) -> None:
    """A click at second 1 is there in the file."""
    file, stereo = OggFile(tmp_path / "call.ogg", RATE), np.zeros((2 * RATE, 2), np.int16)
    stereo[RATE : RATE + 400] = tones(0, 400)
    file.write(0, stereo)
    file.close(2 * RATE)
    loud = np.abs(decode(tmp_path / "call.ogg")[:, 1]) > 0.05
    assert abs(int(loud.argmax()) - 48_000) < 48 * 4


def test_it_plays_after_every_write_whatever_is_torn_behind(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "call.ogg"
    file = OggFile(path, RATE)
    for n in range(4):
        file.write(2_000 * n, tones(2_000 * n, 2_000))
        sound = decode(path)
        assert 0 <= 2_000 * (n + 1) - len(sound) / 6 < 320, "all but the last frame or two"
    with path.open("ab") as torn:
        torn.write(path.read_bytes()[-300:-20])
    assert abs(len(decode(path)) - len(sound)) < 960


@pytest.mark.parametrize("torn", [b"", b"OggS", bytes(40)])
def test_a_successor_goes_on_behind_the_last_whole_page(tmp_path: pathlib.Path, torn: bytes) -> None:
    path = tmp_path / "call.ogg"
    first = OggFile(path, RATE)
    first.write(0, tones(0, RATE + 70))
    with path.open("ab") as broken:
        broken.write(torn)
    second = OggFile(path, RATE)
    assert second.samples == RATE and second.serial == first.serial
    second.write(RATE, tones(RATE, RATE))
    second.close(2 * RATE)
    sound = decode(path)
    assert len(sound) == 96_000
    for start in (9_600, 50_000):
        assert abs(pitch(sound[start : start + 38_400, 0]) - LEFT_HZ) < 3
        assert abs(pitch(sound[start : start + 38_400, 1]) - RIGHT_HZ) < 3


def test_one_that_was_closed_goes_on_where_it_ended(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "call.ogg"
    file = OggFile(path, RATE)
    file.write(0, tones(0, RATE))
    file.close(RATE)
    assert len(decode(path)) == 48_000
    file = OggFile(path, RATE)
    assert RATE - 200 < file.samples <= RATE
    file.write(RATE, tones(RATE, RATE))
    file.close(2 * RATE)
    assert len(decode(path)) == 96_000


def test_a_full_disk_leaves_silence_and_what_follows_keeps_its_place(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "call.ogg"
    file = OggFile(path, RATE)
    file.write(0, tones(0, RATE))
    write = os.pwrite

    def pwrite(fd: int, octets: bytes, at: int) -> int:
        if len(octets) < 20:
            raise OSError(28, "No space left on device")
        return write(fd, octets[: len(octets) - 10], at)

    monkeypatch.setattr(ogg_file.os, "pwrite", pwrite)
    with pytest.raises(OSError, match="No space"):
        file.write(RATE, tones(RATE, RATE))
    assert file.samples == RATE, "no half page counts"
    monkeypatch.undo()
    file.write(31 * RATE, tones(31 * RATE, RATE))
    file.close(33 * RATE)
    sound = decode(path)
    assert len(sound) == 33 * 48_000
    assert np.abs(sound[49_920 : 30 * 48_000]).max() < 0.01 and np.abs(sound[32 * 48_000 + 1_000 :]).max() < 0.01
    assert abs(pitch(sound[31 * 48_000 + 4_800 : 32 * 48_000, 1]) - RIGHT_HZ) < 3


def test_what_is_no_recording_is_written_anew_and_a_rate_that_opus_has_not_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.ogg").write_bytes(b"OggS" + bytes(100))
    file = OggFile(tmp_path / "a.ogg", RATE)
    file.close(0)
    fd = os.open(tmp_path / "a.ogg", os.O_RDONLY)
    assert (found := look(fd)) is not None and found.pages == 2
    os.close(fd)
    with pytest.raises(ValueError, match="no sample rate of 32000"):
        OggFile(tmp_path / "b.ogg", 32_000)


def test_the_checksum_is_that_of_the_standard() -> None:
    """RFC 3533 6: bit by bit."""

    def slow(octets: bytes) -> int:
        register = 0
        for octet in octets:
            register ^= octet << 24
            for _ in range(8):
                register = (register << 1 ^ 0x04C1_1DB7 if register & 0x8000_0000 else register << 1) & 0xFFFF_FFFF
        return register

    for octets in (b"", b"OggS", bytes(range(256)), b"\x00" * 27):
        assert checksum(octets) == slow(octets)
    assert PACKETS_A_PAGE * (2 + 2_560 // 255) <= 255, "segments of a page"
