"""What one hears in samples: the pitch, and how loud it is."""

import pathlib
import wave

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.int16]


def read_wav(path: pathlib.Path) -> tuple[Pcm, int]:
    """int16 of one channel, and the rate. Of a file whose header was never finished, whatever is there."""
    with wave.open(str(path)) as file:
        channels = file.getnchannels()
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return pcm[: len(pcm) // channels * channels].reshape(-1, channels)[:, 0], file.getframerate()


def write_tone(path: pathlib.Path, pitch_hz: float, seconds: float, amplitude: float = 8_000, rate_hz: int = 8_000) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        times = np.arange(round(seconds * rate_hz)) / rate_hz
        file.writeframes((amplitude * np.sin(2 * np.pi * pitch_hz * times)).astype("<i2").tobytes())


def pitch_and_level(pcm: Pcm, rate_hz: int = 8_000) -> tuple[float, float]:
    """The strongest pitch in Hz, and the amplitude of a sine that is as loud."""
    windowed = (pcm.astype(np.float64) - pcm.mean()) * np.hanning(len(pcm))
    strongest = int(np.abs(np.fft.rfft(windowed)).argmax())
    return strongest * rate_hz / len(pcm), float(np.sqrt(2 * (pcm.astype(np.float64) ** 2).mean()))


def loudest_second(pcm: Pcm, rate_hz: int = 8_000) -> Pcm:
    """The loudest second of it, on a grid of 100 ms."""
    starts = range(0, max(1, len(pcm) - rate_hz + 1), rate_hz // 10)
    return max((pcm[start : start + rate_hz] for start in starts), key=lambda part: float((part.astype(np.float64) ** 2).sum()))
