"""A stereo WAV file that is right at every moment: what is written counts from when its sizes say so.

Whoever dies in the midst of it leaves a file that plays up to the last write but one, and a successor that goes on in it.
A write that fails leaves a hole, which reads as silence: what follows keeps its place.
"""

import os
import pathlib
import struct

import numpy as np
import numpy.typing as npt

HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
FRAME_BYTES = 4  # two channels of 16 bits


def header(sample_rate_hz: int, samples: int) -> bytes:
    octets = samples * FRAME_BYTES
    form = (1, 2, sample_rate_hz, sample_rate_hz * FRAME_BYTES, FRAME_BYTES, 16)
    return HEADER.pack(b"RIFF", HEADER.size - 8 + octets, b"WAVE", b"fmt ", 16, *form, b"data", octets)


class WaveFile:
    """Made anew, or opened where it was left. Raises OSError."""

    suffix = ".wav"
    max_samples = (0xFFFF_FFFF - HEADER.size) // FRAME_BYTES
    """Sizes have 32 bits: 37 hours at 8 kHz."""

    def __init__(self, path: pathlib.Path, sample_rate_hz: int) -> None:
        self.path, self.sample_rate_hz = path, sample_rate_hz
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self.samples = max(0, os.fstat(self.fd).st_size - HEADER.size) // FRAME_BYTES
        """To the end of the file, holes included."""
        try:
            self._tell()
        except OSError:
            os.close(self.fd)
            raise

    def write(self, at: int, stereo: npt.NDArray[np.int16]) -> None:
        """Samples (n, 2) from sample `at` on. Raises OSError: then `samples` says how far it came."""
        octets = memoryview(np.ascontiguousarray(stereo, "<i2").tobytes())
        done = 0
        try:
            while done < len(octets):
                done += os.pwrite(self.fd, octets[done:], HEADER.size + at * FRAME_BYTES + done)
        finally:
            if done >= FRAME_BYTES:
                self.samples = max(self.samples, at + done // FRAME_BYTES)
                self._tell()

    def _tell(self) -> None:
        os.pwrite(self.fd, header(self.sample_rate_hz, self.samples), 0)

    def close(self, samples: int) -> None:
        """So many it has: what could not be written at its end is silence as well. Raises OSError, and is closed all the same."""
        try:
            os.ftruncate(self.fd, HEADER.size + samples * FRAME_BYTES)
            self.samples = samples
            self._tell()
        finally:
            os.close(self.fd)
