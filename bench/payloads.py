"""What callers of a load say: a second of it for each codec, made once by the codec itself, and sent over and over.

PCMU is plain, with room for the stamp of load_generator.py. The others say a tone that swells, so that what comes back can be
listened to: `tone_share` tells how much of it is that tone.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.frame_cost import one_call
from control_plane.formats import FORMATS
from media_workers import codecs
from media_workers.rtp import MAX_PAYLOAD_BYTES

PERIODS, PERIOD_MS = 50, 20
TONE_HZ, LOUD = 440.0, 8_000
ULAW_FILLER = 0x90


class Payloads(NamedTuple):
    octets: npt.NDArray[np.uint8]  # (PERIODS, MAX_PAYLOAD_BYTES)
    sizes: npt.NDArray[np.int64]
    payload_type: int
    ticks: int
    is_stamped: int


def ulaw() -> Payloads:
    octets = np.zeros((PERIODS, MAX_PAYLOAD_BYTES), np.uint8)
    octets[:, :160] = ULAW_FILLER | (np.arange(12, 172) & 7)
    return Payloads(octets, np.full(PERIODS, 160), 0, 160, 1)


def of(format: str) -> Payloads:
    """A second of the tone, in packets of 20 ms."""
    if format == "PCMU":
        return ulaw()
    worker, row = one_call(format)
    rate = FORMATS[format].sample_rate_hz
    samples = rate * PERIOD_MS // 1000
    seconds = np.arange(rate) / rate
    swell = LOUD * (0.6 + 0.4 * np.sin(2 * np.pi * 2 * seconds))
    pcm = (swell * np.sin(2 * np.pi * TONE_HZ * seconds)).astype(np.int16)
    octets, sizes = np.zeros((PERIODS, MAX_PAYLOAD_BYTES), np.uint8), np.zeros(PERIODS, np.int64)
    packet = worker.own[0]["packet"]
    for _ in range(2):  # the second time the encoder knows what came before
        for number in range(PERIODS):
            frame = pcm[number * samples : (number + 1) * samples].copy()
            sizes[number] = codecs.encode(worker.calls[row], frame, samples, packet, 0)
            octets[number, : sizes[number]] = packet[: sizes[number]]
    return Payloads(octets, sizes, int(worker.calls[row]["payload_type"]), FORMATS[format].rtp_clock_hz // PERIODS, 0)


def tone_share(format: str, heard: list[bytes]) -> float:
    """How much of the power in these payloads, decoded, is the tone's: near 1 where what was said came back."""
    worker, row = one_call(format)
    packet, pcm = worker.own[0]["packet"], np.zeros(2880, np.int16)
    sound = np.zeros(0)
    for octets in heard:
        packet[: len(octets)] = np.frombuffer(octets, np.uint8)
        samples = int(codecs.decode(worker.calls[row], packet, 0, len(octets), pcm))
        sound = np.concatenate((sound, pcm[:samples]))
    power = np.abs(np.fft.rfft(sound * np.hanning(sound.size))) ** 2
    at = np.fft.rfftfreq(sound.size, 1 / FORMATS[format].sample_rate_hz)
    return float(power[np.abs(at - TONE_HZ) < 20].sum() / power.sum()) if power.sum() else 0.0
