"""The memory of the media workers: all that a call's media needs, so that no worker has state worth keeping.

The segment `media`: C rows of CALL, mapped by the keeper and its workers only (addresses, keys). A call is
a row, the same row as in the rings and the counters; worker w owns rows [w * share, (w + 1) * share).
What a noun of the field needs is drawn in its file and nested here: one pointer leads to all of a call.
"""

import mmap
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from control_plane.messages import MAX_PARTIES
from media_workers import batch, echo, send_queue, shared_port, sounds
from media_workers.codecs import CODEC
from media_workers.codecs.g729 import G729
from media_workers.codecs.halfband import LINE_SAMPLES
from media_workers.codecs.opus import OPUS
from media_workers.concealment import PAST_SAMPLES
from media_workers.dtmf_tone import TONES
from media_workers.echo import Echo
from media_workers.jitter_buffer import AT_HAND, HELD_PACKET, RX_STREAM, SLOTS
from media_workers.playout import TX_STREAM
from media_workers.playout_buffer import PLAYOUT_BUFFER
from media_workers.quality import QUALITY
from media_workers.rooms import PLACE
from media_workers.rtcp import HEARD, RTCP
from media_workers.send_queue import SendQueue
from media_workers.sounds import Sounds
from media_workers.source import SOURCE
from media_workers.srtp import SESSION_COLUMNS, SRTP
from media_workers.telephone_event import KEY_PRESS
from media_workers.voice_activity import VOICE
from shm.counters import Counters
from shm.layout import MAX_BRIDGES, MAX_FRAME_SAMPLES, Rings

GROUPS = 10
"""Rows are looked at every 10 ms, the shortest ptime; a row's group is its number modulo ten, so sending is spread
evenly over the time without any list that a crash could leave half written."""

FREE, OPEN, QUIET = range(3)
"""QUIET: the call is over, its port waits until late packets have stopped coming."""

CALL = np.dtype(
    [
        ("state", "i8"),
        ("generation", "i8"),
        ("call_id", "S40"),
        ("rtp_fd", "i8"),
        ("rtcp_fd", "i8"),
        ("rtp_port", "i8"),
        ("is_port_shared", "i8"),  # as the descriptors, of the row: other calls have the same (shared_port.py)
        ("remote_ssrc", "i8"),  # named in the SDP or, on a shared port, proved by SRTP keys; -1: not known
        ("bridge", "i8"),
        ("front", "i8"),  # which front opened it: another one would not know it
        ("codec_id", "i8"),
        ("payload_type", "i8"),
        ("dtmf_payload_type", "i8"),  # -1: not agreed
        ("comfort_noise_payload_type", "i8"),
        ("sends_noise", "i8"),  # comfort noise packets in place of silence
        ("rtp_clock_hz", "i8"),
        ("sample_rate_hz", "i8"),  # of the rings, for the whole call
        ("codec_rate_hz", "i8"),  # of the codec, which a re-INVITE may have changed
        ("packet_samples", "i8"),  # of what we send: ptime at the sample rate
        ("may_send", "i8"),
        ("may_receive", "i8"),
        ("captures", "i8"),  # who captures it: CLEAR and WIRE of capture.py; 0: nobody
        ("capture_until_ns", "i8", 2),  # of each of them
        ("opened_ns", "i8"),
        ("closed_ns", "i8"),
        ("last_rx_ns", "i8"),
        ("last_datagram_ns", "i8"),  # from the call's far end, also after its end: late packets keep the port
        ("silence_told_ns", "i8"),  # when MediaSilent was last told
        ("source", SOURCE),
        ("srtp", SRTP),
        ("rtcp", RTCP),
        ("quality", QUALITY),
        ("rx", RX_STREAM),
        ("tx", TX_STREAM),
        ("voice", VOICE),
        ("key_press", KEY_PRESS),
        ("tones", TONES),
        ("place", PLACE),
        ("codec", CODEC),
        ("g729", G729),
        ("partial", "i2", MAX_FRAME_SAMPLES),  # samples that do not fill a frame yet
        ("held", HELD_PACKET, SLOTS),  # packets that came early; pages that no gap has touched cost nothing
        ("opus", OPUS),
        ("line", PLAYOUT_BUFFER),  # what it says to the room that it is in, on the clock; pages that no room has touched cost nothing
        ("speech", PLAYOUT_BUFFER),  # what its agent says there
    ],
    align=True,
)
SCRATCH = np.dtype(
    [
        ("packet", "u1", 4096),  # a datagram as it was read, or as it will be sent; behind 2048, one that was held
        ("at_hand", AT_HAND),
        ("spare", "u1", 2048),  # SRTP: the packet as it came, should it be tried again
        ("octets", "i4", 1),  # of a packet, for libsrtp
        ("is_newest", "i8"),  # SRTP: the packet at hand is ahead of all that came
        ("heard", HEARD),
        ("sockaddr", "u1", 32),  # whom it came from
        ("sockaddr_bytes", "i8", 1),
        ("address", "i8", 3),  # the same as words
        ("pcm", "i2", 2880),  # 60 ms at 48 kHz
        ("made_up", "i2", 2880),  # what is put in place of audio that did not come
        ("past", "i2", PAST_SAMPLES),  # what was heard before it
        ("mix", "i4", 2880),  # what a party hears of its room
        ("filter", "i4", LINE_SAMPLES),  # of one whose rate is another
        ("events", "u1", 4096),  # of epoll
        ("clock", "i8", 2),  # a timespec
        ("served_ms", "i8"),  # the millisecond whose group was served last
        ("shared_fd", "i8"),  # the RTP port that calls share, and the one for its RTCP; -1: there is none
        ("shared_rtcp_fd", "i8"),
        ("locked", "i8", 3),  # a call's source before the packet at hand
        ("bridges", "i8"),
        ("bell_fds", "i8", MAX_BRIDGES),
        ("rung", "i8", MAX_BRIDGES + 1),  # bridges that got something in this pass; the last stands for calls without an agent
    ],
    align=True,
)


class Worker(NamedTuple):
    """All that the duty cycle touches: views of shared memory, and this process's own scratch."""

    calls: npt.NDArray[np.void]  # (C,) CALL
    shown: npt.NDArray[np.void]  # (C,) CALL of shm/counters.py
    totals: npt.NDArray[np.int64]  # (1, 64) WORKER_COUNTERS of this worker
    lateness: npt.NDArray[np.int64]  # (32,)
    rings: Rings
    own: npt.NDArray[np.void]  # (1,) SCRATCH
    groups: npt.NDArray[np.int64]
    """(10, rows + 1): the open rows to look at in each millisecond of ten; column 0 counts them."""
    sessions: npt.NDArray[np.int64]
    """(C, SESSION_COLUMNS) of srtp.py: pointers that mean something in this process alone."""
    table: npt.NDArray[np.int64]
    """(slots, WORDS) of shared_port.py: whose call a datagram on the shared port is."""
    rx_batch: npt.NDArray[np.void]  # (1,) BATCH, of the shared port
    queue: SendQueue
    echo: Echo
    rooms: npt.NDArray[np.int64]
    """(rows, 1 + MAX_PARTIES): the rows that are in each room of this worker; column 0 counts them."""
    sounds: Sounds


def table_bytes(calls: int) -> int:
    return calls * CALL.itemsize


def table_views(memory: "memoryview | bytearray | mmap.mmap", calls: int) -> npt.NDArray[np.void]:
    return np.frombuffer(memory, CALL, calls)


def make_worker(
    calls: npt.NDArray[np.void],
    rings: Rings,
    counters: Counters,
    index: int,
    share: int,
    bell_fds: list[int],
    table: npt.NDArray[np.int64] | None = None,
    heard: Sounds | None = None,
    wants_ring: bool = False,
) -> Worker:
    """The view of the worker `index`, with fresh scratch. `table`: of its shared port, in shared memory; None: one of its own.
    `heard`: while people wait; None: what we bring along. `wants_ring`: send through io_uring, if that can be; only the process
    that asks for it may then send.
    """
    own = np.zeros(1, SCRATCH)
    mine = calls[index * share : (index + 1) * share]
    sharing = mine[mine["is_port_shared"] != 0]
    own["shared_fd"], own["shared_rtcp_fd"] = (sharing["rtp_fd"][0], sharing["rtcp_fd"][0]) if sharing.size else (-1, -1)
    if table is None:
        table = np.zeros((shared_port.slots_for(sharing.size), shared_port.WORDS), np.int64)
    own["bridges"] = len(bell_fds)
    own["bell_fds"][0, : len(bell_fds)] = bell_fds
    groups = np.zeros((GROUPS, share + 1), np.int64)
    totals, sessions = counters.workers[index : index + 1], np.zeros((calls.size, SESSION_COLUMNS), np.int64)
    rooms, queue = np.zeros((share, 1 + MAX_PARTIES), np.int64), send_queue.make(wants_ring)
    lateness, guards, heard = counters.lateness[index], echo.make(calls.size), heard or sounds.load()
    return Worker(
        calls, counters.calls, totals, lateness, rings, own, groups, sessions, table, batch.make(), queue, guards, rooms, heard
    )  # fmt: skip
