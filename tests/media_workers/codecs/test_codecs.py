"""Every codec in a call: any packet time in and out, re-framed to 20 ms, and a codec that changes on the way."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from control_plane.formats import FORMATS
from control_plane.messages import MediaDescription
from media_workers import codecs, libbcg729, libopus
from tests.media_workers.call_under_test import START, CallUnderTest

AMPLITUDE, PITCH_HZ = 8_000, 600
MISSING = {"OPUS": not libopus.IS_THERE, "G729": not libbcg729.use("libbcg729.so.0")}
THERE = [name for name in FORMATS if not MISSING.get(name)]
EVERY_PTIME = [(name, ptime_ms) for name in THERE for ptime_ms in FORMATS[name].ptimes_ms]


def tone(samples: int, rate_hz: int) -> npt.NDArray[np.int16]:
    return (AMPLITUDE * np.sin(2 * np.pi * PITCH_HZ * np.arange(samples) / rate_hz)).astype(np.int16)


def check_tone(pcm: npt.NDArray[np.int16], rate_hz: int) -> None:
    settled = pcm[pcm.size // 3 :].astype(float)
    strongest = np.abs(np.fft.rfft(settled * np.hanning(settled.size))).argmax() * rate_hz / settled.size
    assert strongest == pytest.approx(PITCH_HZ, abs=rate_hz / settled.size)
    assert np.sqrt(2 * (settled**2).mean()) == pytest.approx(AMPLITUDE, rel=0.07)


def far_end(format: str, ptime_ms: int, packets: int) -> list[bytes]:
    """The tone as another one of us would send it."""
    call = CallUnderTest(format=format).call
    rate_hz = int(call["sample_rate_hz"])
    samples = rate_hz * ptime_ms // 1000
    pcm, packet, found = tone(samples * packets, rate_hz), np.zeros(2_000, np.uint8), []
    for n in range(packets):
        room = np.zeros(2_880, np.int16)
        room[:samples] = pcm[n * samples : (n + 1) * samples]
        found.append(packet[: codecs.encode(call, room, samples, packet, 0)].tobytes())
    return found


@pytest.mark.parametrize(("format", "ptime_ms"), EVERY_PTIME)
def test_what_comes_in_packets_of_any_length_goes_to_the_agent_in_20_ms(format: str, ptime_ms: int) -> None:
    call, clock_hz = CallUnderTest(format=format), FORMATS[format].rtp_clock_hz
    rate_hz = FORMATS[format].sample_rate_hz
    for n, payload in enumerate(far_end(format, ptime_ms, 600 // ptime_ms)):
        call.receive(n, n * ptime_ms * clock_hz // 1000, payload)
        call.now_ns += ptime_ms * 1_000_000
    frames = call.frames()
    assert len(frames) == 30 and {frame.samples for frame in frames} == {rate_hz // 50}
    assert [frame.position for frame in frames] == [n * rate_hz // 50 for n in range(30)]
    assert [frame.timestamp for frame in frames] == [n * clock_hz // 50 for n in range(30)]
    assert not any(frame.flags & 2 for frame in frames)
    check_tone(np.concatenate([frame.pcm for frame in frames]), rate_hz)


@pytest.mark.parametrize(("format", "ptime_ms"), EVERY_PTIME)
def test_what_the_agent_says_leaves_in_packets_of_the_length_agreed(format: str, ptime_ms: int) -> None:
    call, kind = CallUnderTest(ptime_ms, format), FORMATS[format]
    call.say(tone(kind.sample_rate_hz * 6 // 10, kind.sample_rate_hz))
    packets = [call.next_packet() for _ in range(600 // ptime_ms)]
    steps = {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in itertools.pairwise(packets)}
    assert steps == {kind.rtp_clock_hz * ptime_ms // 1000}
    listener = CallUnderTest(format=format)
    for n, packet in enumerate(packets):
        listener.receive(n, packet.timestamp, packet.payload)
    check_tone(np.concatenate([frame.pcm for frame in listener.frames()]), kind.sample_rate_hz)


@pytest.mark.parametrize("first", THERE)
@pytest.mark.parametrize("then", THERE)
def test_a_codec_that_changes_in_mid_call_keeps_the_agents_rate(first: str, then: str) -> None:
    call = CallUnderTest(format=first)
    rate_hz = int(call.call["sample_rate_hz"])
    number = FORMATS[then].static_payload_type or (0 if then == "PCMU" else 97)
    call.rows.update("call", MediaDescription(then, number, "127.0.0.1", 4_000), START)
    assert call.call["sample_rate_hz"] == rate_hz
    for n, payload in enumerate(far_end(then, 20, 30)):
        call.receive(n, n * FORMATS[then].rtp_clock_hz // 50, payload, number)
    heard = call.frames()
    assert len(heard) == 30 and {frame.samples for frame in heard} == {rate_hz // 50}
    check_tone(np.concatenate([frame.pcm for frame in heard]), rate_hz)

    call.say(tone(rate_hz * 6 // 10, rate_hz))
    listener = CallUnderTest(format=then)
    for n in range(30):
        packet = call.next_packet()
        listener.receive(n, packet.timestamp, packet.payload)
    check_tone(np.concatenate([frame.pcm for frame in listener.frames()]), FORMATS[then].sample_rate_hz)


def test_the_same_format_again_does_not_interrupt_the_codec() -> None:
    call = CallUnderTest(format="G722")
    call.call["codec"]["rx"]["low"]["nb"] = 1_000
    call.rows.update("call", call.media, START)
    assert call.call["codec"]["rx"]["low"]["nb"] == 1_000
