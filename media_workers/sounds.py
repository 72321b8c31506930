"""What people hear while they wait: music, and the ringing of a telephone. A stretch that goes round, kept at every rate of a line.

The operator's own music is a WAV; ours is made here, so that it is nobody else's. Samples follow from the clock: nobody has a place in it.
"""

import functools
import wave
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from control_plane.dtmf import KEYS
from control_plane.errors import ConfigurationError
from control_plane.key_tones import tone
from shm.jit import njit

MUSIC, RINGBACK = range(2)
RATES_HZ = (8_000, 16_000, 48_000)
MAX_S = 300
"""Of music: 5 minutes are 43 MB, once for all workers."""
RINGBACK_HZ, RINGS_MS, RESTS_MS = 425, 1_000, 4_000  # ITU-T E.180, as in most of Europe
AMPLITUDE = 3_000  # about -24 dBov
PRESS_MS, GAP_MS = 100, 60
"""Of a key that goes from leg to leg: what telephones do, and room for the three packets that end it (RFC 4733 2.5.1.4)."""


class Sounds(NamedTuple):
    pcm: npt.NDArray[np.int16]
    """All of them, one behind the other."""
    at: npt.NDArray[np.int64]
    """(sounds, rates, 2): where each begins, and how many samples it has."""
    keys: npt.NDArray[np.int16]
    """(rates, keys, samples): each key's press and the gap behind it."""


Pcm = npt.NDArray[np.int16]


def read_wav(path: str) -> tuple[Pcm, int]:
    """The samples in one channel, and their rate. Raises ConfigurationError."""
    try:
        with wave.open(path, "rb") as file:
            channels, width, rate_hz, count = file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()
            if width != 2 or not 8_000 <= rate_hz <= 48_000 or not rate_hz / 10 <= count <= MAX_S * rate_hz:
                found, wanted = f"{8 * width} bit at {rate_hz} Hz, {count / rate_hz:.1f} s", f"16 bit at 8 to 48 kHz, 0.1 to {MAX_S} s"
                raise ConfigurationError(f"media.music: {path} has {found}; give a WAV with {wanted}")
            content = file.readframes(count)
    except (OSError, EOFError, wave.Error) as failure:
        raise ConfigurationError(f"media.music: {path} cannot be read: {failure}; give a WAV file with 16-bit PCM") from failure
    return np.frombuffer(content, "<i2").reshape(-1, channels).mean(axis=1).astype(np.int16), rate_hz


def our_music(rate_hz: int) -> Pcm:
    """Sixteen seconds of broken chords."""
    step_s = 0.25
    chords = ((48, 55, 64, 67), (45, 52, 60, 64), (41, 48, 57, 60), (43, 50, 59, 62))
    pattern = (0, 1, 2, 3, 2, 1, 2, 3)
    pcm = np.zeros(round(rate_hz * step_s * 64))
    time_s = np.arange(2 * rate_hz) / rate_hz
    for step in range(64):
        key = chords[step // 16][pattern[step % 8]] + (12 if step % 16 >= 8 else 0)
        pitch_hz = 440.0 * 2 ** ((key - 69) / 12)
        note = sum(np.sin(2 * np.pi * pitch_hz * n * time_s) / n**2 for n in (1, 2, 3)) * np.exp(-3 * time_s) * np.minimum(1, time_s * 200)
        at = np.arange(note.size) + round(step * step_s * rate_hz)
        pcm[at % pcm.size] += note  # the last notes ring on into the first
    return np.asarray(pcm * (2 * AMPLITUDE / np.abs(pcm).max()), np.int16)


def our_ringback(rate_hz: int) -> Pcm:
    pcm = np.zeros(rate_hz * (RINGS_MS + RESTS_MS) // 1000, np.int16)
    rings = rate_hz * RINGS_MS // 1000
    pcm[:rings] = AMPLITUDE * np.sin(2 * np.pi * RINGBACK_HZ * np.arange(rings) / rate_hz)
    return pcm


def at_rate(pcm: Pcm, from_hz: int, to_hz: int) -> Pcm:
    """What goes round, at another rate: by its spectrum, so that there is no seam where it begins again."""
    if from_hz == to_hz:
        return pcm
    count = round(pcm.size * to_hz / from_hz)
    spectrum = np.fft.rfft(pcm.astype(np.float64))
    kept = np.zeros(count // 2 + 1, np.complex128)
    common = min(spectrum.size, kept.size) - 1  # the last one may be half a frequency of the slower rate
    kept[:common] = spectrum[:common]
    return np.asarray(np.clip(np.round(np.fft.irfft(kept, count) * to_hz / from_hz), -32_768, 32_767), np.int16)


@functools.cache
def load(path: str = "") -> Sounds:
    """The operator's music, or ours, and ringing. Raises ConfigurationError for a file that cannot be played."""
    if path:
        given, given_hz = read_wav(path)
        music = [at_rate(given, given_hz, rate_hz) for rate_hz in RATES_HZ]
    else:  # made for each rate: a spectrum of so many samples would leave tables of 12 MB behind
        music = [our_music(rate_hz) for rate_hz in RATES_HZ]
    pieces = [*music, *(our_ringback(rate_hz) for rate_hz in RATES_HZ)]
    sizes = np.array([piece.size for piece in pieces], np.int64)
    at = np.stack((np.cumsum(sizes) - sizes, sizes), axis=1).reshape(2, len(RATES_HZ), 2)
    return Sounds(np.concatenate(pieces), at, _key_tones())


def _key_tones() -> Pcm:
    tones = np.zeros((len(RATES_HZ), len(KEYS), (PRESS_MS + GAP_MS) * RATES_HZ[-1] // 1000), np.int16)
    for n, rate_hz in enumerate(RATES_HZ):
        pressed = PRESS_MS * rate_hz // 1000
        for event, key in enumerate(KEYS):
            tones[n, event, :pressed] = tone(key, pressed, rate_hz)
    return tones


@njit
def rate_number(rate_hz):
    return 0 if rate_hz == 8_000 else 1 if rate_hz == 16_000 else 2


@njit
def add(sounds, sound, start, count, rate_hz, mix):
    """Add so much of a sound to `mix`, from the sample that the clock is at."""
    begins, size = sounds.at[sound, rate_number(rate_hz), 0], sounds.at[sound, rate_number(rate_hz), 1]
    at = start % size
    for i in range(count):
        mix[i] += sounds.pcm[begins + at]
        at = at + 1 if at + 1 < size else 0
