"""Silence, to a far end that makes its own noise (RFC 3389): described instead of sent."""

import itertools

import pytest

from media_workers.rows import Rows
from shm.layout import TAPE_WRITE
from tests.media_workers.call_under_test import COMFORT_NOISE_TYPE, CallUnderTest, heard, loud, make_views


def noisy(**media: object) -> CallUnderTest:
    return CallUnderTest(rows=Rows(make_views(), 0, 2, 0, comfort_noise=True), **media)  # type: ignore[arg-type]


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 60])
def test_silence_is_described_where_the_far_end_makes_its_own(ptime_ms: int) -> None:
    call = noisy(ptime_ms=ptime_ms)
    call.say(loud(480))
    sent = []
    for _ in range(2_000 // ptime_ms):
        call.now_ns = int(call.call["tx"]["next_tx_ns"])
        sent += call.tick()
    noise = [packet for packet in sent if packet.payload_type == COMFORT_NOISE_TYPE]
    speech = sent[: len(sent) - len(noise)]
    assert all((heard(packet) == loud(1)[0]).all() for packet in speech) and sum(len(packet.payload) for packet in speech) == 480
    assert {packet.payload for packet in noise} == {bytes([73])} and not any(packet.marker for packet in noise)
    interval_ms = -(-200 // ptime_ms) * ptime_ms
    assert len(noise) in (1_940 // interval_ms, 1_940 // interval_ms + 1)
    assert [b.seq - a.seq for a, b in itertools.pairwise(sent)] == [1] * (len(sent) - 1)
    assert (noise[1].timestamp - noise[0].timestamp) % 2**32 in range(1_600, 1_600 + 8 * ptime_ms), "the clock goes on"
    before = (int(call.call["tx"]["timestamp"]), int(call.call["tx"]["seq"]))
    call.say(loud(480, 4_000))
    first = call.next_packet()
    assert first.marker and (first.timestamp, first.seq) == before and heard(first)[0] == loud(1, 4_000)[0]


def test_without_the_agreement_or_the_operators_will_it_is_sent_as_sound() -> None:
    for call in (noisy(comfort_noise_payload_type=-1), CallUnderTest()):
        assert [call.next_packet().payload_type for _ in range(5)] == [0] * 5


def test_noise_that_is_described_is_still_on_the_tape() -> None:
    call = noisy()
    call.rows.record("call", "on")
    for _ in range(10):
        call.now_ns = int(call.call["tx"]["next_tx_ns"])
        call.tick()
    tape = call.worker.rings.tape[call.row, :1600]
    assert int(call.worker.rings.words[call.row, TAPE_WRITE]) == 1600 and tape.any()
