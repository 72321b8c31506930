"""What the media workers count, in a segment that everybody may read and only they write.

    header       64 B           magic, version, workers, calls
    workers      W x 64         int64, a column for each of WORKER_COUNTERS
    lateness     W x 32         int64, column b: ticks sent less than 2^b microseconds late, and not counted in a column before
    calls        C rows         CALL, what is known of the call in that row

A counter has one writer and only grows, so it is read without locks; a reader may see two counters of
slightly different moments. The position is the slot: append only.
"""

import mmap
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MAGIC = 0x42_45_4C_4C_43_4E_54_31  # "BELLCNT1"
VERSION = 2
HEADER_BYTES = 64
WORKER_COLUMNS = 64
LATENESS_COLUMNS = 32
CALL_COLUMNS = 64

WORKER_COUNTERS = (
    ("heartbeat_ns", "CLOCK_MONOTONIC of the worker's last cycle: the keeper replaces a worker that stops"),
    ("generation", "how many times this worker has been started"),
    ("pid", "process id of the worker"),
    ("core", "the core that the worker is pinned to"),
    ("cycles", "passes of the duty cycle"),
    ("busy_ns", "time spent outside of waiting, since start"),
    ("calls_open", "calls that this worker carries now"),
    ("packets_received", "datagrams read from RTP ports"),
    ("packets_sent", "RTP packets put on the wire"),
    ("frames_to_ai", "20 ms frames handed to agents"),
    ("frames_from_ai", "20 ms frames of agents' speech, or of the calls that one is joined with, put on the wire"),
    ("silence_frames", "20 ms frames of comfort noise sent because the agent had nothing to say"),
    ("sent_late", "packets sent more than 20 ms after their time"),
    ("worst_lateness_ns", "the latest that a packet was ever sent"),
    ("ticks_skipped", "packets never sent because the worker came back too late for them"),
    ("malformed", "datagrams that were not RTP, or whose lengths lie"),
    ("wrong_source", "datagrams from an address that the call is not locked to"),
    ("unknown_payload", "packets whose payload type was not agreed"),
    ("doorbells", "times a sleeping bridge was woken"),
    ("send_failures", "packets that the kernel refused to send"),
    ("events_dropped", "events for the front that did not fit"),
    ("srtp_auth_failed", "SRTP packets that nobody who has the key sent"),
    ("srtp_replayed", "SRTP packets that had come before, or were too old to know"),
    ("lateness_ns", "how late packets were sent, added up"),
)
CALL_COUNTERS = (
    ("packets_received", "RTP packets accepted from the caller"),
    ("packets_sent", "RTP packets sent to the caller"),
    ("bytes_received", "octets of those packets"),
    ("lost", "packets that never came, by sequence number"),
    ("reordered", "packets that came after a later one and were put in order"),
    ("duplicates", "packets that had come before"),
    ("late", "packets that came after their gap had been concealed"),
    ("concealed_frames", "20 ms frames made up because nothing came"),
    ("wrong_source", "packets refused because of where they came from"),
    ("malformed", "datagrams that were not RTP"),
    ("unknown_payload", "packets with a payload type that was not agreed"),
    ("frames_to_ai", "20 ms frames handed to the agent"),
    ("frames_from_ai", "20 ms frames of the agent's speech, or of the calls it is joined with, that were sent"),
    ("silence_frames", "20 ms frames of comfort noise sent"),
    ("sent_late", "packets sent more than 20 ms late"),
    ("longest_gap_ns", "longest time between two packets sent"),
    ("jitter_us", "interarrival jitter now, RFC 3550 6.4.1, in microseconds"),
    ("level_rx_dbov", "loudness of the last frame from the caller, 0 to -127"),
    ("level_tx_dbov", "loudness of the last frame sent, 0 to -127"),
    ("keys_received", "DTMF keys"),
    ("last_rx_ns", "CLOCK_MONOTONIC of the last packet accepted"),
    ("opened_ns", "CLOCK_MONOTONIC of the opening of the media"),
    ("turns", "turns that the agent began"),
    ("interruptions", "turns cut short"),
    ("srtp_auth_failed", "SRTP packets that the far end did not send, or sent with other keys"),
    ("srtp_replayed", "SRTP packets that had come before, or were too old to know"),
    ("keys_sent", "DTMF keys sent as events"),
    ("rtcp_received", "RTCP packets accepted from the far end"),
    ("rtcp_sent", "RTCP packets sent to it"),
    ("rtt_us", "round trip to the far end and back, by its last report, in microseconds; 0: it has sent none"),
    ("remote_lost", "packets of ours that the far end did not get, by its last report"),
    ("remote_jitter_us", "interarrival jitter that the far end sees, in microseconds"),
    ("mos_x100", "quality of what the agent heard since the report before, 100 to 450 (E-model, ITU-T G.107); 0: not measured yet"),
    ("mos_mean_x100", "the mean of it over the call"),
    ("mos_worst_x100", "the worst of it"),
    ("recovered_frames", "20 ms frames that were lost and came again inside the next packet (FEC of Opus)"),
    ("keys_dropped", "DTMF keys not told, because there were more than 20 in a second"),
    ("stretched_samples", "samples of the far end put in for the other calls of its room, because what they should hear had not come"),
    ("shortened_samples", "samples of it taken out again, because what came was more than they had to wait for"),
)
WORKER_GAUGES = frozenset(("heartbeat_ns", "generation", "pid", "core", "calls_open", "worst_lateness_ns"))
CALL_GAUGES = frozenset(
    (
        *("longest_gap_ns", "jitter_us", "level_rx_dbov", "level_tx_dbov", "last_rx_ns", "opened_ns"),
        *("rtt_us", "remote_lost", "remote_jitter_us", "mos_x100", "mos_mean_x100", "mos_worst_x100"),
    )
)
"""What does not only grow."""
WORKER = {name: column for column, (name, _) in enumerate(WORKER_COUNTERS)}
CALL_COLUMN = {name: column for column, (name, _) in enumerate(CALL_COUNTERS)}

CALL = np.dtype(
    [
        ("call_id", "S40"),  # empty: the row is free
        ("generation", "i8"),
        ("rtp_port", "i4"),
        ("worker", "i4"),
        ("counters", "i8", CALL_COLUMNS),
    ],
    align=True,
)
assert len(WORKER_COUNTERS) <= WORKER_COLUMNS and len(CALL_COUNTERS) <= CALL_COLUMNS


class Counters(NamedTuple):
    """Views of the segment `counters`, as kernels take them."""

    workers: npt.NDArray[np.int64]  # (workers, 64)
    lateness: npt.NDArray[np.int64]  # (workers, 32)
    calls: npt.NDArray[np.void]  # (calls,) CALL


def counters_bytes(workers: int, calls: int) -> int:
    return HEADER_BYTES + workers * (WORKER_COLUMNS + LATENESS_COLUMNS) * 8 + calls * CALL.itemsize


def counters_format(memory: "memoryview | bytearray | mmap.mmap", workers: int, calls: int) -> Counters:
    """Write the header into fresh, zeroed memory, and give its views."""
    np.frombuffer(memory, "i8", 4)[:] = MAGIC, VERSION, workers, calls
    return counters_views(memory)


def counters_views(memory: "memoryview | bytearray | mmap.mmap") -> Counters:
    """Views of a segment that a keeper laid out. Raises ValueError if it is of another version."""
    magic, version, workers, calls = (int(n) for n in np.frombuffer(memory, "i8", 4))
    if magic != MAGIC or version != VERSION:
        raise ValueError(f"counters have version {version}, this release reads {VERSION}: use the same release as the server")
    lateness_at = HEADER_BYTES + workers * WORKER_COLUMNS * 8
    calls_at = lateness_at + workers * LATENESS_COLUMNS * 8
    return Counters(
        np.frombuffer(memory, "i8", workers * WORKER_COLUMNS, HEADER_BYTES).reshape(workers, WORKER_COLUMNS),
        np.frombuffer(memory, "i8", workers * LATENESS_COLUMNS, lateness_at).reshape(workers, LATENESS_COLUMNS),
        np.frombuffer(memory, CALL, calls, calls_at),
    )
