"""Opus in a call: what is lost comes again, what is silent is left out, and who takes over goes on or begins anew."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from msgspec.structs import replace

from control_plane.config import Opus
from control_plane.messages import MediaDescription
from media_workers import libopus
from media_workers.codecs import opus
from media_workers.rows import Rows
from shm.layout import CONCEALED_FLAG
from tests.media_workers.call_under_test import START, CallUnderTest, make_views

pytestmark = pytest.mark.skipif(not libopus.IS_THERE, reason="libopus is not installed: pip install 'bellframe[opus]'")
RATE_HZ, TICKS = 16_000, 960
WITH_FEC = "useinbandfec=1"


def voice(seconds: float, rate_hz: int = RATE_HZ) -> npt.NDArray[np.int16]:
    """Enough like speech for SILK: a buzz whose pitch and loudness move."""
    times = np.arange(int(seconds * rate_hz)) / rate_hz
    pitch = np.cumsum(130 + 30 * np.sin(2 * np.pi * 2 * times)) / rate_hz
    loudness = 0.6 + 0.4 * np.sin(2 * np.pi * 5 * times)
    return (2_500 * loudness * sum(np.sin(2 * np.pi * k * pitch) / k for k in range(1, 20))).astype(np.int16)


def packets_of(pcm: npt.NDArray[np.int16], ptime_ms: int = 20, fmtp: str = WITH_FEC) -> list[bytes]:
    talker = CallUnderTest(ptime_ms, "OPUS", fmtp=fmtp)
    samples = RATE_HZ * ptime_ms // 1000
    found = []
    for start in range(0, pcm.size - samples + 1, samples):
        talker.say(pcm[start : start + samples])
        found.append(talker.next_packet().payload)
    return found


def hear(packets: list[bytes], lost: set[int], ptime_ms: int = 20) -> CallUnderTest:
    call = CallUnderTest(format="OPUS")
    for n, payload in enumerate(packets):
        call.now_ns = START + n * ptime_ms * 1_000_000
        if n not in lost:
            call.receive(n, n * ptime_ms * 48, payload)
        call.now_ns += 100_000_000
        call.expire()
    return call


def recoverable(payload: bytes) -> int:
    return int(opus.recoverable_samples(np.frombuffer(payload, np.uint8), 0, len(payload), RATE_HZ))


def likeness(heard: npt.NDArray[np.int16], said: npt.NDArray[np.int16]) -> float:
    return float(np.corrcoef(heard.astype(float), said.astype(float))[0, 1])


@pytest.mark.parametrize("ptime_ms", [20, 40])
def test_what_is_lost_comes_again_inside_the_next_packet(ptime_ms: int) -> None:
    packets = packets_of(voice(1.8), ptime_ms)
    lost = {next(n for n in range(len(packets) // 2, len(packets) - 1) if recoverable(packets[n + 1]))}
    whole = np.concatenate([frame.pcm for frame in hear(packets, set(), ptime_ms).frames()])
    call = hear(packets, lost, ptime_ms)
    frames = call.frames()
    pcm = np.concatenate([frame.pcm for frame in frames])
    assert pcm.size == whole.size
    assert call.counter("recovered_frames") == ptime_ms // 20 and call.counter("concealed_frames") == 0
    assert not any(frame.flags & CONCEALED_FLAG for frame in frames)
    gap = slice(min(lost) * ptime_ms * 16, (min(lost) + 1) * ptime_ms * 16)
    assert likeness(pcm[gap], whole[gap]) > 0.8


def test_without_fec_libopus_makes_it_up_and_it_is_flagged() -> None:
    packets = packets_of(voice(1), fmtp="")
    call = hear(packets, {20, 21})
    frames = call.frames()
    assert [n for n, frame in enumerate(frames) if frame.flags & CONCEALED_FLAG] == [20, 21]
    assert (call.counter("recovered_frames"), call.counter("concealed_frames"), call.counter("lost")) == (0, 2, 2)


def test_of_several_lost_packets_the_last_comes_again() -> None:
    call = hear(packets_of(voice(1)), {20, 21, 22})
    assert [n for n, frame in enumerate(call.frames()) if frame.flags & CONCEALED_FLAG] == [20, 21]
    assert (call.counter("recovered_frames"), call.counter("concealed_frames")) == (1, 2)


def test_silence_is_left_out_where_the_far_end_wants_that() -> None:
    talker = CallUnderTest(format="OPUS", fmtp="usedtx=1")
    talker.say(voice(0.4))
    sent = []
    for _ in range(150):
        talker.now_ns = int(talker.call["tx"]["next_tx_ns"])
        sent += talker.tick()
    assert 20 < len(sent) < 60
    assert [packet.seq for packet in sent] == [(sent[0].seq + n) & 0xFFFF for n in range(len(sent))]
    steps = [(after.timestamp - before.timestamp & 0xFFFFFFFF) // TICKS for before, after in itertools.pairwise(sent)]
    assert max(steps) >= 10 and all(step == 1 or after.marker for step, after in zip(steps, sent[1:], strict=True))
    assert talker.counter("longest_gap_ns") == 0 or talker.counter("longest_gap_ns") <= 20_000_000


def test_otherwise_every_packet_is_sent() -> None:
    talker = CallUnderTest(format="OPUS")
    assert len([talker.next_packet() for _ in range(100)]) == 100


@pytest.mark.parametrize(
    ("fmtp", "expected"),
    [
        ("", {"bitrate_bps": 24_000, "bandwidth": libopus.FULLBAND, "has_fec": 0, "has_dtx": 0, "is_cbr": 0}),
        ("minptime=10; UseInbandFEC=1;usedtx=1", {"has_fec": 1, "has_dtx": 1}),
        ("maxplaybackrate=8000;maxaveragebitrate=12000;cbr=1", {"bandwidth": libopus.NARROWBAND, "bitrate_bps": 12_000, "is_cbr": 1}),
        ("maxplaybackrate=16000;maxaveragebitrate=510000", {"bandwidth": libopus.WIDEBAND, "bitrate_bps": 24_000}),
        ("maxaveragebitrate=1;;=;x;usedtx=²;useinbandfec=-1", {"bitrate_bps": 6_000, "has_dtx": 0, "has_fec": 0}),
    ],
)
def test_the_far_end_says_how_it_wants_to_be_spoken_to(fmtp: str, expected: dict[str, int]) -> None:
    state = CallUnderTest(format="OPUS", fmtp=fmtp).call["opus"]
    assert {name: int(state[name]) for name in expected} == expected


def test_our_own_settings_bound_what_it_may_ask_for() -> None:
    ours = Opus(bitrate_bps=16_000, complexity=1, fec=False, dtx=False)
    rows = Rows(make_views(), 0, 2, 0, opus_settings=ours)
    call = CallUnderTest(format="OPUS", fmtp="useinbandfec=1;usedtx=1;maxaveragebitrate=40000", rows=rows)
    state = call.call["opus"]
    assert [int(state[name]) for name in ("bitrate_bps", "complexity", "has_fec", "has_dtx")] == [16_000, 1, 0, 0]
    call.rows.update("call", replace(call.media, fmtp="maxaveragebitrate=12000"), call.now_ns)
    assert [int(state[name]) for name in ("bitrate_bps", "complexity")] == [12_000, 1]


def test_a_bitrate_that_was_asked_for_is_kept() -> None:
    sizes = [np.mean([len(packet) for packet in packets_of(voice(2), fmtp=f"maxaveragebitrate={bps}")]) for bps in (8_000, 24_000)]
    assert sizes[0] < 8_000 / 400 * 1.25 and sizes[0] < sizes[1] < 24_000 / 400 * 1.25


@pytest.mark.parametrize("payload", [b"", b"\xff", b"\x0b\xff\xff", b"\x03", bytes(300), b"\xff" * 1_400, b"\x0a\xfc", b"\x4a"])
def test_octets_that_are_no_opus_harm_nothing(payload: bytes) -> None:
    packets = packets_of(voice(0.6))
    call = hear([*packets[:10], payload, *packets[11:]], {9})
    assert len(call.frames()) >= 28


def test_a_successor_goes_on_with_the_state_it_finds() -> None:
    packets = packets_of(voice(1))
    call, other = CallUnderTest(format="OPUS"), CallUnderTest(format="OPUS")
    for n, payload in enumerate(packets[:40]):
        if n == 20:
            Rows(call.worker, 0, 2, 0)
        call.receive(n, n * TICKS, payload)
        other.receive(n, n * TICKS, payload)
    assert all((one.pcm == two.pcm).all() for one, two in zip(call.frames(), other.frames(), strict=True))


@pytest.mark.parametrize("field", ["library", "is_busy"])
def test_a_state_of_another_library_or_cut_short_by_a_crash_is_made_anew(field: str) -> None:
    packets, call = packets_of(voice(1)), CallUnderTest(format="OPUS", fmtp="usedtx=1")
    for n, payload in enumerate(packets[:20]):
        call.receive(n, n * TICKS, payload)
    call.call["opus"][field] += 1
    call.call["opus"]["decoder"][1_000:] = 0xA5
    call.call["opus"]["encoder"][1_000:] = 0xA5
    Rows(call.worker, 0, 2, 0)
    assert (int(call.call["opus"]["library"]), int(call.call["opus"]["is_busy"])) == (libopus.TOKEN, 0)
    for n, payload in enumerate(packets[20:], 20):
        call.receive(n, n * TICKS, payload)
    frames = call.frames()
    assert len(frames) == 50 and np.abs(frames[-1].pcm).max() > 500
    call.say(voice(0.1))
    assert len(call.next_packet().payload) > 10 and call.call["opus"]["has_dtx"] == 1


def test_a_new_offer_changes_how_we_speak_and_not_the_sound() -> None:
    call = CallUnderTest(format="OPUS", fmtp="")
    before = bytes(call.call["opus"]["decoder"])
    call.rows.update("call", MediaDescription("OPUS", call.payload_type, "127.0.0.1", 4_000, fmtp=WITH_FEC), START)
    assert call.call["opus"]["has_fec"] == 1 and bytes(call.call["opus"]["decoder"]) == before


def test_what_is_in_a_packet_again_is_known_by_its_flag() -> None:
    sizes = [recoverable(packet) for packet in packets_of(voice(1))]
    assert set(sizes) <= {0, 320} and sizes.count(320) > 25
    assert {recoverable(packet) for packet in packets_of(voice(1), fmtp="")} == {0}
    assert recoverable(b"\xf8\xff\xfe") == recoverable(b"\x08") == recoverable(b"") == 0
