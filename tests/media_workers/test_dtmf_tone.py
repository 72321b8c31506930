"""Keys in the audio: each once, at the edges that ITU-T Q.24 sets, and none in speech."""



import numpy as np
import numpy.typing as npt
import pytest
from msgspec.structs import replace

from ai_bridge.keys import as_frames
from control_plane import g711
from control_plane.dtmf import KEYS, frequencies_hz
from media_workers import dtmf_tone
from media_workers.call_table import CALL
from media_workers.dtmf_tone import NO_KEY
from media_workers.rows import Rows
from shm.layout import AUDIO, DTMF
from tests.media_workers.call_under_test import MS, CallUnderTest, make_views

Samples = npt.NDArray[np.floating]
RATES = [8_000, 16_000, 48_000]
FULL = 32_767.0


def told(signal: Samples, rate_hz: int = 8_000) -> str:
    """Fed in frames of 20 ms, as the jitter buffer does it."""
    tones, keys, frame = np.zeros(1, CALL)[0]["tones"], "", rate_hz // 50
    dtmf_tone.start(tones, rate_hz)
    pcm = np.asarray(np.clip(np.round(signal), -32_768, 32_767), np.int16)
    for start in range(0, pcm.size - frame + 1, frame):
        key = dtmf_tone.take_key(tones, np.ascontiguousarray(pcm[start : start + frame]), frame)
        keys += "" if key == NO_KEY else chr(key)
    return keys


def silence(duration_ms: float, rate_hz: int = 8_000) -> Samples:
    return np.zeros(int(rate_hz * duration_ms / 1000))


def tone(
    key: str, duration_ms: float, rate_hz: int = 8_000, low_db: float = -12, high_db: float = -12, off_percent: float = 0, start: int = 0
) -> Samples:
    """Levels in dB below a full-scale sine."""
    time_s = (np.arange(int(rate_hz * duration_ms / 1000)) + start) / rate_hz
    low_hz, high_hz = (hz * (1 + off_percent / 100) for hz in frequencies_hz(key))
    low, high = (FULL * 10 ** (db / 20) for db in (low_db, high_db))
    return np.asarray(low * np.sin(2 * np.pi * low_hz * time_s) + high * np.sin(2 * np.pi * high_hz * time_s))


def press(keys: str, tone_ms: float = 100, gap_ms: float = 60, rate_hz: int = 8_000, **of_tone: float) -> Samples:
    parts = [silence(40, rate_hz)]
    for key in keys:
        parts += [tone(key, tone_ms, rate_hz, **of_tone), silence(gap_ms, rate_hz)]  # type: ignore[arg-type]
    return np.concatenate([*parts, silence(100, rate_hz)])


@pytest.mark.parametrize("rate_hz", RATES)
def test_every_key_is_told_once(rate_hz: int) -> None:
    assert told(press(KEYS, rate_hz=rate_hz), rate_hz) == KEYS


@pytest.mark.parametrize("rate_hz", RATES)
def test_what_we_send_ourselves_is_understood(rate_hz: int) -> None:
    frames = as_frames(KEYS + "1122", 60, 60, rate_hz)
    assert told(np.concatenate([pcm for _, pcm in frames] + [silence(100, rate_hz)]), rate_hz) == KEYS + "1122"


@pytest.mark.parametrize("offset_ms", range(0, 20, 3))
def test_forty_milliseconds_are_a_key_wherever_they_begin(offset_ms: int) -> None:
    signal = np.concatenate([silence(offset_ms), press("159D", 40, 45)])
    assert told(signal) == "159D"


@pytest.mark.parametrize("duration_ms", [5, 10, 12, 20])
def test_a_blip_is_none(duration_ms: int) -> None:
    assert all(told(np.concatenate([silence(offset), press("159D", duration_ms)])) == "" for offset in range(0, 20, 3))


def test_a_key_held_for_ten_seconds_is_one() -> None:
    assert told(press("5", 10_000)) == "5"


@pytest.mark.parametrize("dropout_ms", [3, 8])
def test_a_short_dropout_does_not_make_two(dropout_ms: int) -> None:
    assert told(np.concatenate([silence(40), tone("5", 60), silence(dropout_ms), tone("5", 60), silence(100)])) == "5"


@pytest.mark.parametrize(("low_db", "high_db"), [(-3, -3), (-30, -30), (-40, -40), (-12, -18), (-15, -12)])
def test_loud_faint_and_unbalanced_tones_are_keys(low_db: float, high_db: float) -> None:
    assert told(press("148D", low_db=low_db, high_db=high_db) * 0.7) == "148D"


@pytest.mark.parametrize(("low_db", "high_db"), [(-55, -55), (-12, -30), (-30, -12)])
def test_too_faint_or_one_sided_ones_are_not(low_db: float, high_db: float) -> None:
    assert told(press("148D", low_db=low_db, high_db=high_db)) == ""


@pytest.mark.parametrize("off_percent", [-1.5, 1.5])
def test_tones_a_little_off_pitch_are_keys(off_percent: float) -> None:
    assert told(press(KEYS, off_percent=off_percent)) == KEYS


@pytest.mark.parametrize("law", [0, 1])
def test_through_g_711_and_noise(law: int) -> None:
    noise = np.random.default_rng(1).normal(0, 150, press(KEYS).size)
    pcm = np.asarray(np.clip(press(KEYS) + noise, -32_768, 32_767), np.int16)
    assert told(g711.decode(law, g711.encode(law, pcm)).astype(float)) == KEYS


def test_single_tones_chords_and_noise_are_no_keys() -> None:
    random, time_s = np.random.default_rng(2), np.arange(80_000) / 8_000
    assert told(random.normal(0, 8_000, 400_000)) == ""
    assert all(told(12_000 * np.sin(2 * np.pi * hz * time_s)) == "" for hz in (440, 697, 941, 1209, 1633))
    for pitch_hz in (90, 110, 150, 200, 240):  # voices: all harmonics, as loud as vowels have them
        harmonics = sum(np.sin(2 * np.pi * pitch_hz * n * time_s + n) / n for n in range(1, 3_400 // pitch_hz))
        assert told(4_000 * np.asarray(harmonics)) == "", pitch_hz


def call_with_tones(**media: object) -> CallUnderTest:
    return CallUnderTest(rows=Rows(make_views(), 0, 2, 0, inband_dtmf=True), **media)  # type: ignore[arg-type]


def keys_heard(call: CallUnderTest, signal: Samples) -> str:
    keys = ""
    pcm = np.asarray(signal, np.int16)
    for number in range(pcm.size // 160):
        call.now_ns += 20 * MS
        call.receive(number, 160 * number, g711.encode(0, pcm[160 * number : 160 * number + 160]))
        frames = call.take()
        keys += "".join(chr(frame.value) for frame in frames if frame.kind == DTMF)
        assert sum(frame.kind == AUDIO for frame in frames) == 1
    return keys


def test_a_far_end_without_telephone_events_is_listened_to() -> None:
    call = call_with_tones(dtmf_payload_type=-1)
    assert keys_heard(call, press("159#")) == "159#" and call.counter("keys_received") == 4


@pytest.mark.parametrize("with_events", [True, False])
def test_others_are_not(with_events: bool) -> None:
    call = call_with_tones() if with_events else CallUnderTest(dtmf_payload_type=-1)
    assert keys_heard(call, press("159#")) == ""


def test_events_agreed_later_end_the_listening() -> None:


    call = call_with_tones(dtmf_payload_type=-1)
    call.rows.update("call", replace(call.media, dtmf_payload_type=101), call.now_ns)
    assert keys_heard(call, press("159#")) == ""


