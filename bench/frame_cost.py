"""What does one 20 ms frame cost in our own code, without the kernel's part?

A call on plain memory, no sockets: packet in hand to frame in the ring (`take`), speech in the ring to packet
(`build`), and the codec alone; for each suite of SRTP, a packet of 160 octets of payload protected and unprotected.
Best of several runs; the machine's disturbance is the spread.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from control_plane.formats import FORMATS
from control_plane.messages import MediaDescription, SrtpKeys
from control_plane.srtp_suites import SUITES
from media_workers import codecs, jitter_buffer, libopus, libsrtp, playout, rtp, srtp
from media_workers.call_table import Worker, make_worker, table_bytes, table_views
from media_workers.rows import Rows
from shm import counters, layout, ring
from shm.jit import njit

FRAMES, RUNS = 20_000, 7


def one_call(format_name: str, keys: SrtpKeys | None = None) -> tuple[Worker, int]:
    """A worker without sockets that carries one call of this format, protected by these keys if there are any."""
    rings = layout.rings_format(bytearray(layout.rings_bytes(1)), 1)
    shown = counters.counters_format(bytearray(counters.counters_bytes(1, 1)), 1, 1)
    worker = make_worker(table_views(bytearray(table_bytes(1)), 1), rings, shown, 0, 1, [-1])
    static = FORMATS[format_name].static_payload_type
    media = MediaDescription(format_name, 96 if static is None else static, "127.0.0.1", 9, fmtp=FORMATS[format_name].fmtp, srtp=keys)
    return worker, Rows(worker, 0, 1, 0).open("bench", 0, media, 1)


@njit
def take(worker, row, payload_type, size, count):
    ticks = worker.calls[row]["rtp_clock_hz"] // 50
    for i in range(count):
        jitter_buffer.insert(worker, row, 12, size, payload_type, i & 0xFFFF, i * ticks & 0xFFFFFFFF, 1, i * 20_000_000)


@njit
def build(worker, row, generation, pcm, is_spoken, count):
    samples = worker.calls[row]["packet_samples"]
    for i in range(count):
        if is_spoken:
            ring.try_say(worker.rings, row, generation, 0, 0, pcm, 0, samples)
        playout.build(worker, row, i * 20_000_000)


@njit
def decode(calls, row, payload, size, pcm, count):
    for _ in range(count):
        codecs.decode(calls[row], payload, 12, size, pcm)


@njit
def encode(calls, row, payload, samples, pcm, count):
    for _ in range(count):
        codecs.encode(calls[row], pcm, samples, payload, 12)


@njit
def protect(worker, row, first, count):
    for i in range(first, first + count):
        rtp.write_header(worker.own[0]["packet"], 0, False, i & 0xFFFF, i * 160, worker.calls[row]["tx"]["ssrc"])
        srtp.protect(worker, row, 172)


@njit
def unprotect(worker, row, far_session, first, count):
    """What a far end has protected: its part is in the figure too, and taken off where it is read."""
    own = worker.own[0]
    for i in range(first, first + count):
        rtp.write_header(own["packet"], 0, False, i & 0xFFFF, i * 160, 7)
        own["octets"][0] = 172
        libsrtp.protect(far_session, own["packet"], own["octets"])
        srtp.unprotect(worker, row, own["octets"][0], 0)


def measure_srtp(suite_name: str) -> dict[str, float]:
    """Step -> microseconds a packet."""
    suite = SUITES[suite_name]
    rx, tx = bytes(range(suite.secret_bytes)), bytes(range(1, suite.secret_bytes + 1))
    worker, row = one_call("PCMU", SrtpKeys(suite_name, rx, tx))
    far_session = libsrtp.open_session(suite, rx, [7])
    worker.calls[row]["tx"]["seq"] = worker.calls[row]["srtp"]["tx_index"] = 0
    sent, received = [1], [1]

    def next_of(counter: list[int], n: int) -> int:
        counter[0] += n
        return counter[0] - n

    alone = best_us(lambda n: protect(worker, row, next_of(sent, n), n))
    both = best_us(lambda n: unprotect(worker, row, far_session, next_of(received, n), n))
    assert worker.shown[row]["counters"][srtp.CALL_AUTH_FAILED] == worker.shown[row]["counters"][srtp.CALL_REPLAYED] == 0
    srtp.forget(worker, row)
    libsrtp.close_session(far_session)
    return {"protect": alone, "unprotect": both - alone}


def best_us(run: Callable[[int], Any]) -> float:
    """Microseconds a frame, the least disturbed of RUNS."""
    run(1)
    times = []
    for _ in range(RUNS):
        started = time.perf_counter_ns()
        run(FRAMES)
        times.append(time.perf_counter_ns() - started)
    return min(times) / FRAMES / 1000


def measure(format_name: str) -> dict[str, float]:
    """Step -> microseconds a frame."""
    worker, row = one_call(format_name)
    call, packet = worker.calls[row], worker.own[0]["packet"]
    pcm = np.random.default_rng(2).integers(-8000, 8000, 2880).astype(np.int16)
    payload_type, generation, samples = int(call["payload_type"]), int(call["generation"]), int(call["packet_samples"])
    size = codecs.encode(call, pcm, samples, packet, 12)
    own_pcm = worker.own[0]["pcm"]
    return {
        "decode": best_us(lambda n: decode(worker.calls, row, packet, size, own_pcm, n)),
        "encode": best_us(lambda n: encode(worker.calls, row, packet, samples, pcm, n)),
        "packet -> ring": best_us(lambda n: take(worker, row, payload_type, size, n)),
        "silence -> packet": best_us(lambda n: build(worker, row, generation, pcm, False, n)),
        "say, ring -> packet": best_us(lambda n: build(worker, row, generation, pcm, True, n)),
    }


def answer() -> dict[str, dict[str, float]]:
    formats = [name for name in FORMATS if name != "G729" and (name != "OPUS" or libopus.IS_THERE)]
    return {name: measure(name) for name in formats} | {name: measure_srtp(name) for name in SUITES}


def test_frame_cost(benchmark):
    worker, row = one_call("PCMU")
    take(worker, row, 0, 160, 1)
    benchmark(take, worker, row, 0, 160, 1000)
    assert worker.rings.words[row, layout.TO_AI_WRITE] > 1000
