"""G.722 against somebody else's, bit for bit: the package G722 passes the ITU's own test sequences."""

import G722
import numpy as np
import numpy.typing as npt
import pytest

from media_workers.codecs import g722
from shm.jit import IS_COMPILED

RATE_HZ = 16_000
SAMPLES = RATE_HZ * (4 if IS_COMPILED else 1) // 2
TIMES = np.arange(SAMPLES) / RATE_HZ
RANDOM = np.random.default_rng(722)


def speech_like() -> npt.NDArray[np.float64]:
    """A buzz whose pitch and loudness move, between noises, with pauses."""
    pitch = np.cumsum(110 + 40 * np.sin(2 * np.pi * 1.3 * TIMES)) / RATE_HZ
    voiced = sum(np.sin(2 * np.pi * k * pitch) / k for k in range(1, 40)) * np.clip(np.sin(2 * np.pi * 3 * TIMES), 0, 1)
    hiss = np.diff(RANDOM.normal(size=SAMPLES + 1)) * np.clip(-np.sin(2 * np.pi * 3 * TIMES) - 0.5, 0, 1)
    return 6_000 * voiced + 2_000 * hiss


SOUNDS = {
    "silence": np.zeros(SAMPLES),
    "speech-like": speech_like(),
    "noise": RANDOM.normal(0, 3_000, SAMPLES),
    "full scale noise": RANDOM.integers(-32_768, 32_768, SAMPLES),
    "tone": 10_000 * np.sin(2 * np.pi * 440 * TIMES),
    "high tone": 10_000 * np.sin(2 * np.pi * 6_100 * TIMES),
    "square": 32_767 * np.sign(np.sin(2 * np.pi * 300 * TIMES)),
    "click": 30_000.0 * (np.arange(SAMPLES) == 777),
}


def encode(pcm: npt.NDArray[np.int16], pieces: int = 320, is_wide: bool = True) -> npt.NDArray[np.uint8]:
    state, packet = np.array([g722.fresh()]), np.zeros(pcm.size // 2 if is_wide else pcm.size, np.uint8)
    done = 0
    for start in range(0, pcm.size, pieces):
        part = pcm[start : start + pieces]
        done += g722.encode(state[0], part, part.size, packet, done, is_wide)
    assert done == packet.size
    return packet


def decode(payload: npt.NDArray[np.uint8], pieces: int = 160, is_wide: bool = True) -> npt.NDArray[np.int16]:
    state, heard, pcm = np.array([g722.fresh()]), [], np.zeros(2880, np.int16)
    for start in range(0, payload.size, pieces):
        samples = g722.decode(state[0], payload, start, min(pieces, payload.size - start), pcm, is_wide)
        heard.append(pcm[:samples].copy())
    return np.concatenate(heard)


@pytest.mark.parametrize("name", SOUNDS)
def test_every_bit_is_what_another_implementation_says(name: str) -> None:
    pcm = np.clip(SOUNDS[name], -32_768, 32_767).astype(np.int16)
    payload = encode(pcm)
    assert payload.tobytes() == bytes(G722.G722(RATE_HZ, 64_000).encode(pcm))
    assert (decode(payload) == G722.G722(RATE_HZ, 64_000).decode(payload.tobytes())).all()


def test_random_octets_decode_to_the_same_noise() -> None:
    payload = RANDOM.integers(0, 256, SAMPLES // 2).astype(np.uint8)
    assert (decode(payload) == G722.G722(RATE_HZ, 64_000).decode(payload.tobytes())).all()


@pytest.mark.parametrize("pieces", [80, 240, 640])
def test_how_it_was_cut_into_packets_does_not_matter(pieces: int) -> None:
    pcm = SOUNDS["speech-like"].astype(np.int16)
    payload = encode(pcm)
    assert (encode(pcm, 2 * pieces) == payload).all()
    assert (decode(payload, pieces) == decode(payload)).all()


def test_the_low_band_alone_is_the_audio_at_8_khz() -> None:
    """For rings that began with G.711: the pitch and the loudness stay, both ways."""
    times = np.arange(4_000) / 8_000
    narrow = (10_000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)
    wide = decode(encode(narrow, 160, is_wide=False))
    again = decode(encode(narrow, 160, is_wide=False), is_wide=False)
    for heard, rate_hz in ((wide, 16_000), (again, 8_000)):
        settled = heard[heard.size // 4 :].astype(float)
        assert np.sqrt(2 * (settled**2).mean()) == pytest.approx(10_000, rel=0.05)
        spectrum = np.abs(np.fft.rfft(settled * np.hanning(settled.size)))
        assert spectrum.argmax() * rate_hz / settled.size == pytest.approx(440, abs=3)


def test_a_payload_longer_than_the_room_is_cut() -> None:
    state, pcm = np.array([g722.fresh()]), np.zeros(320, np.int16)
    assert g722.decode(state[0], np.zeros(400, np.uint8), 0, 400, pcm, True) == 320
    assert g722.decode(state[0], np.zeros(400, np.uint8), 0, 400, pcm, False) == 320


@pytest.mark.parametrize("seed", range(4))
def test_a_state_half_written_by_a_killed_worker_is_heard_through(seed: int) -> None:
    """Each field is old or new, as when stores are cut short: the successor hears the tone again within 200 ms."""
    random = np.random.default_rng(seed)
    payload, busy = encode(SOUNDS["tone"].astype(np.int16)), np.array([g722.fresh()])
    g722.decode(busy[0], encode(SOUNDS["full scale noise"].astype(np.int16)[:3_200]), 0, 1_600, np.zeros(3_200, np.int16), True)
    torn = np.array([g722.fresh()])
    for band in ("low", "high"):
        for field in g722.BAND.names or ():
            if random.integers(2):
                torn[band][field] = busy[band][field]
    pcm = np.zeros(6_400, np.int16)
    g722.decode(torn[0], payload, 0, 3_200, pcm, True)
    difference = (pcm - decode(payload)[:6_400].astype(int))[3_200:]
    assert np.abs(difference).max() < 200
