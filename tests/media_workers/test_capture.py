"""A call's packets for whoever captures it: both ways, with and without SRTP, and nothing where nobody does."""

import socket
import time
from collections.abc import Iterator

import pytest

from media_workers import capture
from shm.capture import CapturedPacket, CaptureReader
from shm.jit import IS_COMPILED
from shm.layout import CAPTURE_SLOTS, CAPTURE_WRITE
from tests.media_workers.call_under_test import SECOND, CallUnderTest
from tests.media_workers.far_end import FarEnd, make_keys
from tests.media_workers.line import Caller, LoopbackWorker
from tests.reference import rtcp as reference_rtcp
from tests.reference import rtp as reference_rtp

GCM = "AEAD_AES_128_GCM"
needs_sockets = pytest.mark.skipif(not IS_COMPILED, reason="needs compiled code")


@pytest.fixture(name="worker", params=["127.0.0.1", "::1"])
def _worker(request: pytest.FixtureRequest) -> Iterator[LoopbackWorker]:
    worker = LoopbackWorker(host=request.param)
    yield worker
    worker.close()


def reader_of(worker: LoopbackWorker, call: Caller, is_protected: bool = False) -> CaptureReader:
    return CaptureReader(worker.views.rings, call.row, int(worker.views.calls[call.row]["generation"]), is_protected)


@needs_sockets
def test_both_ways_are_there_with_their_addresses(worker: LoopbackWorker) -> None:
    call = worker.call()
    worker.rows.capture(call.call_id, False, time.monotonic_ns())
    reader = reader_of(worker, call)
    before = time.monotonic_ns()
    call.speak()
    worker.run(60)
    call.send(b"no RTP at all")
    worker.run(5)
    found = reader.take()
    here = call.socket.getsockname()
    assert {(p.remote_host, p.remote_port, p.local_port) for p in found} == {(here[0], here[1], call.target[1])}
    assert all(before < p.at_ns <= time.monotonic_ns() for p in found) and reader.missed == 0
    received, sent = ([p.octets for p in found if p.is_sent is way] for way in (False, True))
    assert received == [reference_rtp.build(call.seq, 160 * call.seq, b"\x20" * 160), b"no RTP at all"]
    assert [reference_rtp.parse(octets) for octets in sent] == call.received() and len(sent) >= 2
    assert reader.take() == []


@needs_sockets
def test_srtp_is_taken_off_or_left_on_as_each_asks(worker: LoopbackWorker) -> None:
    keys = make_keys(GCM)
    far_end, call = FarEnd(keys), worker.call(srtp=keys)
    for is_encrypted in (False, True):
        worker.rows.capture(call.call_id, is_encrypted, time.monotonic_ns())
    readers = [reader_of(worker, call, is_protected) for is_protected in (False, True)]
    protected = far_end.packet(1)
    call.send(protected)
    worker.run(30)
    clear, wire = (reader.take() for reader in readers)
    assert [p.octets for p in wire if not p.is_sent] == [protected]
    assert [p.octets for p in clear if not p.is_sent] == [reference_rtp.build(1, 160, b"\x20" * 160, ssrc=7)]
    read = [far_end.read(p.octets) for p in wire if p.is_sent]
    assert read and read == [reference_rtp.parse(p.octets) for p in clear if p.is_sent]


@needs_sockets
def test_rtcp_is_there_on_its_own_port(worker: LoopbackWorker) -> None:
    worker.rows.rtcp_interval_ns = SECOND // 100
    call = worker.call()
    worker.rows.capture(call.call_id, False, time.monotonic_ns())
    reader = reader_of(worker, call)
    call.speak()
    call.socket.sendto(reference_rtcp.receiver_report(7), (worker.host, call.target[1] + 1))
    worker.run(120)
    found = [p for p in reader.take() if p.local_port == call.target[1] + 1]
    assert {p.is_sent for p in found} == {True, False} and all(192 <= p.octets[1] <= 223 for p in found)
    assert {p.remote_port for p in found if p.is_sent} <= {call.socket.getsockname()[1] + 1, call.socket.getsockname()[1]}


@needs_sockets
def test_nothing_is_kept_that_nobody_asked_for(worker: LoopbackWorker) -> None:
    call, other = worker.call(), worker.call()
    worker.rows.capture(other.call_id, False, time.monotonic_ns())
    call.speak()
    worker.run(30)
    rings = worker.views.rings
    assert int(rings.words[call.row, CAPTURE_WRITE]) == 0 and not rings.capture[call.row]["size"].any()
    assert int(rings.words[other.row, CAPTURE_WRITE]) > 0


def test_it_ends_by_itself_and_gives_its_memory_back() -> None:
    call = CallUnderTest()
    now, rows = call.now_ns, slice(0, 2)
    assert call.rows.capture("call", False, now) and call.rows.capture("call", True, now + SECOND)
    assert not call.rows.capture("no", True, now)
    capture.end_unwanted(call.worker, rows, now + capture.LEASE_NS)
    assert call.call["captures"] == capture.WIRE
    call.rows.capture("call", True, now + 2 * SECOND)
    call.rows.close("call", now + 2 * SECOND)
    capture.end_unwanted(call.worker, rows, now + SECOND + capture.LEASE_NS)
    assert call.call["captures"] == capture.WIRE, "what came last may be read, although the call is over"
    capture.end_unwanted(call.worker, rows, now + 2 * SECOND + capture.LEASE_NS)
    assert call.call["captures"] == 0


def test_who_was_lapped_is_told_how_much_is_missing() -> None:
    call = CallUnderTest()
    call.rows.capture("call", False, call.now_ns)
    reader = CaptureReader(call.worker.rings, call.row, call.generation, False)
    call.worker.own[0]["address"][:] = (socket.AF_INET << 16 | 5000, 0x7F000001, 0)

    def write(count: int) -> None:
        for number in range(count):
            call.worker.own[0]["packet"][0] = number % 251
            capture.write_received(call.worker, call.row, 1, False, capture.CLEAR, call.now_ns + number)

    write(CAPTURE_SLOTS - 1)
    assert [p.octets[0] for p in reader.take()] == [n % 251 for n in range(CAPTURE_SLOTS - 1)] and reader.missed == 0
    write(2 * CAPTURE_SLOTS)
    found = reader.take()
    assert len(found) + reader.missed == 2 * CAPTURE_SLOTS and found[-1].octets[0] == (2 * CAPTURE_SLOTS - 1) % 251
    assert found[0] == CapturedPacket(found[0].at_ns, False, 30_000, "127.0.0.1", 5000, found[0].octets)


def test_a_row_that_is_another_calls_is_read_no_more() -> None:
    call = CallUnderTest()
    call.rows.capture("call", False, call.now_ns)
    reader = CaptureReader(call.worker.rings, call.row, call.generation, False)
    call.rows.close("call", call.now_ns)
    call.rows.release_quiet(call.now_ns + SECOND)
    assert not reader.is_over(), "free, but nobody else's: its last packets are still there"
    for call_id in ("next", "after"):
        call.rows.open(call_id, 0, call.media, call.now_ns + 2 * SECOND)
    assert reader.is_over() and reader.take() == []
    assert not call.worker.calls["captures"].any()
