"""A recording as Ogg/Opus (RFC 3533, RFC 7845): a tenth of a WAV file, and whole at every page.

The two channels are two streams of Opus in one (mapping family 1, nothing coupled): what one side says never leaks into the other's.
Whoever dies in the midst of it leaves a file that plays up to the last page, and a successor that goes on behind it. What a full disk
did not take is silence of its length: what follows keeps its place.
"""

import ctypes
import mmap
import os
import pathlib
import secrets
import struct
import zlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from media_workers import libopus

FRAME_MS, CLOCK_HZ = 20, 48_000
FRAME_TICKS = CLOCK_HZ * FRAME_MS // 1000
"""Granule positions count at 48 kHz, whatever the rate of the sound (RFC 7845 4)."""
RATES_HZ = (8_000, 12_000, 16_000, 24_000, 48_000)
BITRATE_BPS = {8_000: 16_000, 12_000: 20_000, 16_000: 24_000}
HIGHEST_BITRATE_BPS = 32_000
"""Of each channel."""
COMPLEXITY = 1
"""A call takes 0.25 % of a core at 8 kHz and 0.4 % at 16 kHz; with 5 it would be 0.6 and 1.1 %."""
MAX_PACKET_BYTES, PACKETS_A_PAGE = 1_275 * 2 + 8, 20
PAGE = struct.Struct("<4sBBqIIIB")
CONTINUED, FIRST, LAST = 1, 2, 4
VENDOR = b"bellframe"
REVERSED = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))
SETTLING_FRAMES = 10


class Found(NamedTuple):
    """What a file holds already."""

    serial: int
    pages: int
    ticks: int
    end: int
    """Octets up to the end of the last page that is whole."""


class OggFile:
    """Made anew, or opened where it was left. Raises OSError, or ValueError for a rate that Opus has not."""

    suffix = ".ogg"
    max_samples = 1 << 60

    def __init__(self, path: pathlib.Path, sample_rate_hz: int) -> None:
        self.path, self.sample_rate_hz = path, sample_rate_hz
        self.frame_samples = sample_rate_hz * FRAME_MS // 1000
        self.encoder = Encoder(sample_rate_hz)
        self.pending: npt.NDArray[np.int16] = np.zeros((0, 2), np.int16)
        """Behind what is on disk, and less than a frame."""
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            found = look(self.fd)
            self.serial, self.pages, self.ticks, self.end = found or Found(secrets.randbits(32), 0, 0, 0)
            os.ftruncate(self.fd, self.end)
            self.is_join = found is not None
            """What follows is another encoder's: see `Encoder`."""
            if found is None:
                self._append([self._head()], 0, FIRST)
                self._append([self._tags()], 0)
        except OSError:
            os.close(self.fd)
            raise

    @property
    def samples(self) -> int:
        """On disk."""
        return self.ticks * self.sample_rate_hz // CLOCK_HZ

    def write(self, at: int, stereo: npt.NDArray[np.int16]) -> None:
        """Samples (n, 2) from sample `at` on. Raises OSError: then `samples` says how far it came, and the rest is silence."""
        here = self.samples + len(self.pending)
        if at > here:
            self._write_silence(at - here)
        elif at < here:
            stereo = stereo[here - at :]
        self._write(np.concatenate([self.pending, stereo]))

    def _write(self, stereo: npt.NDArray[np.int16]) -> None:
        self.pending = np.zeros((0, 2), np.int16)
        count = len(stereo) // self.frame_samples
        for first in range(0, count, PACKETS_A_PAGE):
            frames = range(first, min(count, first + PACKETS_A_PAGE))
            packets = [self._encode(stereo[n * self.frame_samples : (n + 1) * self.frame_samples]) for n in frames]
            self._append(packets, len(packets))
        self.pending = stereo[count * self.frame_samples :].copy()

    def _encode(self, frame: npt.NDArray[np.int16]) -> bytes:
        if self.is_join:
            self.is_join = False
            self.encoder.reset()
            return Encoder(self.sample_rate_hz, libopus.APPLICATION_LOWDELAY).encode(frame)
        return self.encoder.encode(frame)

    def _write_silence(self, samples: int) -> None:
        """Of any length: packets of silence that were coded once."""
        whole = min(samples, -len(self.pending) % self.frame_samples)
        self._write(np.concatenate([self.pending, np.zeros((whole, 2), np.int16)]))
        count, rest = divmod(samples - whole, self.frame_samples)
        packet = silent_packet(self.sample_rate_hz) if count else b""
        for first in range(0, count, PACKETS_A_PAGE):
            packets = [packet] * min(PACKETS_A_PAGE, count - first)
            self._append(packets, len(packets))
            self.is_join = True
        self._write(np.concatenate([self.pending, np.zeros((rest, 2), np.int16)]))

    def close(self, samples: int) -> None:
        """So many it has: what could not be written at its end is silence as well. Raises OSError, and is closed all the same."""
        try:
            missing = samples - self.samples - len(self.pending)
            if missing > 0:
                self._write_silence(missing)
            start = self.encoder.delay_ticks
            end = start + samples * CLOCK_HZ // self.sample_rate_hz
            rest = np.concatenate([self.pending, np.zeros((2 * self.frame_samples, 2), np.int16)])
            frames = range(max(1, -(-(end - self.ticks) // FRAME_TICKS)))  # the decoder is behind the encoder by its delay
            packets = [self._encode(rest[n * self.frame_samples : (n + 1) * self.frame_samples]) for n in frames]
            self._append(packets, len(packets), LAST, granule=end)
        finally:
            os.close(self.fd)

    # ---- pages -----------------------------------------------------------------------------------------------------

    def _append(self, packets: list[bytes], frames: int, flags: int = 0, granule: int = -1) -> None:
        """One page. Raises OSError, and then the file ends where it ended before."""
        ticks = self.ticks + frames * FRAME_TICKS
        octets = page(packets, flags, ticks if granule < 0 else granule, self.serial, self.pages)
        try:
            done = 0
            while done < len(octets):
                done += os.pwrite(self.fd, octets[done:], self.end + done)
        except OSError:
            os.ftruncate(self.fd, self.end)
            raise
        self.end, self.pages, self.ticks = self.end + len(octets), self.pages + 1, ticks

    def _head(self) -> bytes:
        """RFC 7845 5.1, with two streams of one channel each."""
        head = struct.pack("<8sBBHIhB", b"OpusHead", 1, 2, self.encoder.delay_ticks, self.sample_rate_hz, 0, 1)
        return head + bytes((2, 0, 0, 1))

    def _tags(self) -> bytes:
        comment = b"DESCRIPTION=left: the caller; right: what was sent"
        return b"OpusTags" + struct.pack("<I", len(VENDOR)) + VENDOR + struct.pack("<II", 1, len(comment)) + comment


def page(packets: list[bytes], flags: int, granule: int, serial: int, number: int) -> bytes:
    """RFC 3533 6, of whole packets."""
    lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes((len(packet) % 255,)) for packet in packets)
    head = PAGE.pack(b"OggS", 0, flags, granule, serial, number, 0, len(lacing))
    octets = head + lacing + b"".join(packets)
    return octets[:22] + struct.pack("<I", checksum(octets)) + octets[26:]


def checksum(octets: bytes) -> int:
    """CRC-32 with the polynomial of Ethernet, but neither reflected nor inverted: zlib's, of everything mirrored."""
    mirrored = zlib.crc32(octets.translate(REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def look(fd: int) -> Found | None:
    """What a file that was left holds, up to its last whole page; without the one that ended it. None: no recording."""
    size = os.fstat(fd).st_size
    if size < PAGE.size:
        return None
    found: Found | None = None
    with mmap.mmap(fd, size, prot=mmap.PROT_READ) as octets:
        at = 0
        while at + PAGE.size <= size:
            magic, _, flags, granule, serial, number, crc, segments = PAGE.unpack_from(octets, at)
            end = at + PAGE.size + segments
            end += sum(octets[at + PAGE.size : end])
            if magic != b"OggS" or end > size or number != (found.pages if found else 0) or flags & LAST:
                break
            whole = octets[at:end]
            if checksum(whole[:22] + bytes(4) + whole[26:]) != crc:
                break
            found, at = Found(serial, number + 1, granule, end), end
    return found if found and found.pages >= 2 else None  # its two headers at least


class Encoder:
    """Two channels, each for itself.

    A decoder goes on from what it heard last, which another encoder does not know: a tone would ring on for seconds. So between two of them
    is a frame for low delay: it is of CELT, and behind it the decoder of SILK begins anew (RFC 6716 4.5.2), as the encoder does.
    """

    def __init__(self, sample_rate_hz: int, application: int = libopus.APPLICATION_VOIP) -> None:
        """Raises ValueError."""
        library = libopus.library()
        if library is None or sample_rate_hz not in RATES_HZ:
            raise ValueError("libopus is not installed" if library is None else f"Opus has no sample rate of {sample_rate_hz}")
        self.library = library
        self.state = ctypes.create_string_buffer(library.opus_multistream_encoder_get_size(2, 0))
        mapping = (ctypes.c_ubyte * 2)(0, 1)
        library.opus_multistream_encoder_init(self.state, ctypes.c_int32(sample_rate_hz), 2, 2, 0, mapping, application)
        bitrate = 2 * BITRATE_BPS.get(sample_rate_hz, HIGHEST_BITRATE_BPS)
        for request, value in ((libopus.SET_BITRATE, bitrate), (libopus.SET_COMPLEXITY, COMPLEXITY)):
            library.opus_multistream_encoder_ctl(self.state, request, ctypes.c_int32(value))
        delay = ctypes.c_int32(0)
        library.opus_multistream_encoder_ctl(self.state, libopus.GET_LOOKAHEAD, ctypes.byref(delay))
        self.delay_ticks = delay.value * CLOCK_HZ // sample_rate_hz
        """What a player leaves out at the beginning (RFC 7845 4.2)."""
        self.packet = ctypes.create_string_buffer(MAX_PACKET_BYTES)

    def reset(self) -> None:
        self.library.opus_multistream_encoder_ctl(self.state, libopus.RESET_STATE)

    def encode(self, stereo: npt.NDArray[np.int16]) -> bytes:
        """20 ms, (n, 2). Raises OSError, should libopus not want it."""
        pcm = np.ascontiguousarray(stereo)
        size = self.library.opus_multistream_encode(
            self.state, ctypes.c_void_p(pcm.ctypes.data), len(pcm), self.packet, MAX_PACKET_BYTES
        )
        if size <= 0:
            raise OSError(f"libopus refused a frame ({size})")
        return self.packet.raw[:size]


_SILENT: dict[int, bytes] = {}


def silent_packet(sample_rate_hz: int) -> bytes:
    """20 ms of nothing, as an encoder for low delay writes it that has heard nothing for a while."""
    if sample_rate_hz not in _SILENT:
        encoder, nothing = Encoder(sample_rate_hz, libopus.APPLICATION_LOWDELAY), np.zeros((sample_rate_hz * FRAME_MS // 1000, 2), np.int16)
        _SILENT[sample_rate_hz] = [encoder.encode(nothing) for _ in range(SETTLING_FRAMES)][-1]
    return _SILENT[sample_rate_hz]
