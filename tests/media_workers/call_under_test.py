"""A worker without sockets: packets and the time are put in by hand, rings and kernels are the real ones."""

import os
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from control_plane import g711
from control_plane.formats import FORMATS
from control_plane.messages import MediaDescription
from media_workers import jitter_buffer, playout, rtp
from media_workers.call_table import Worker, make_worker, table_bytes, table_views
from media_workers.rows import Rows
from shm import counters, layout, ring
from shm.counters import CALL_COLUMN, WORKER
from shm.jit import IS_COMPILED
from shm.layout import AUDIO
from tests.reference import rtp as reference_rtp

MS = 1_000_000
SECOND = 1_000 * MS
START = 1_000 * SECOND
SSRC = 7
COMFORT_NOISE_TYPE, DTMF_TYPE, DYNAMIC_TYPE = 13, 101, 96
SILENCE = bytes([g711.SILENCE_ULAW])
MUTATIONS = int(os.environ.get("BELLFRAME_MUTATIONS", 20_000 if IS_COMPILED else 2_000))
"""Packets made wrong at random, of each kind. The full count, BELLFRAME_MUTATIONS=1000000, takes a minute a test."""


def make_views(rows: int = 2, bridges: int = 1, first_fd: int = -1, sharing: int = 0) -> Worker:
    """The memory of one worker with this many rows, as its keeper would have made it. The last `sharing` of them share a port."""
    rings = layout.rings_format(bytearray(layout.rings_bytes(rows)), rows)
    shown = counters.counters_format(bytearray(counters.counters_bytes(1, rows)), 1, rows)
    calls = table_views(bytearray(table_bytes(rows)), rows)
    calls["rtp_fd"] = calls["rtcp_fd"] = first_fd
    calls["rtp_port"] = 30_000 + 2 * np.arange(rows)
    calls["is_port_shared"][rows - sharing :] = 1
    return make_worker(calls, rings, shown, 0, rows, [-1] * bridges)


TOLD_FIELDS = ("kind", "flags", "position", "turn", "value", "rtp_timestamp", "samples", "level_dbov", "captured_ns")


class Told(NamedTuple):
    """A FRAME, copied out of the ring."""

    kind: int
    flags: int
    position: int
    turn: int
    value: int
    timestamp: int
    samples: int
    level_dbov: int
    captured_ns: int
    pcm: npt.NDArray[np.int16]


class CallUnderTest:
    """One call, opened in a row of a worker."""

    def __init__(self, ptime_ms: int = 20, format: str = "PCMU", rows: Rows | None = None, call_id: str = "call", **media: object) -> None:
        self.rows = rows if rows is not None else Rows(make_views(), 0, 2, 0)
        self.worker = self.rows.worker
        fields = {"dtmf_payload_type": DTMF_TYPE, "comfort_noise_payload_type": COMFORT_NOISE_TYPE, **media}
        static = FORMATS[format].static_payload_type
        self.payload_type = DYNAMIC_TYPE if static is None else static
        self.media = MediaDescription(format, self.payload_type, "127.0.0.1", 4_000, ptime_ms, **fields)  # type: ignore[arg-type]
        self.row = self.rows.open(call_id, 0, self.media, START)
        self.generation = int(self.call["generation"])
        self.now_ns = START
        self.cursor = 0

    @property
    def call(self) -> np.void:
        return self.worker.calls[self.row]

    def counter(self, name: str) -> int:
        return int(self.worker.shown[self.row]["counters"][CALL_COLUMN[name]])

    def total(self, name: str) -> int:
        return int(self.worker.totals[0, WORKER[name]])

    # ---- what the caller sends ---------------------------------------------------------------------------

    def receive(self, seq: int, timestamp: int, payload: bytes = SILENCE * 160, payload_type: int = -1, ssrc: int = SSRC) -> None:
        """A packet that was read off the socket at `now_ns`."""
        kind = self.payload_type if payload_type < 0 else payload_type
        datagram = reference_rtp.build(seq, timestamp, payload, kind, ssrc)
        packet = self.worker.own[0]["packet"]
        packet[: len(datagram)] = np.frombuffer(datagram, np.uint8)
        jitter_buffer.insert(
            self.worker, self.row, rtp.HEADER_BYTES, len(payload), kind, seq & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc, self.now_ns
        )

    def expire(self) -> None:
        jitter_buffer.expire(self.worker, self.row, self.now_ns)

    def take(self) -> list[Told]:
        """All that was told to the agent since."""
        found: list[Told] = []
        frame, pcm = np.zeros(1, layout.FRAME), np.zeros(layout.MAX_FRAME_SAMPLES, np.int16)
        while True:
            following = int(ring.read_at(self.worker.rings, self.row, self.cursor, frame, pcm))
            if following == self.cursor:
                return found
            assert following == self.cursor + 1, "the test did not read for a whole ring"
            self.cursor = following
            f = frame[0]
            numbers = (int(f[name]) for name in TOLD_FIELDS)
            found.append(Told(*numbers, pcm[: int(f["samples"])].copy()))

    def frames(self) -> list[Told]:
        return [told for told in self.take() if told.kind == AUDIO]

    # ---- what the agent says -----------------------------------------------------------------------------

    def say(self, pcm: npt.NDArray[np.int16], turn: int = 0, mark: int = 0, key: int = 0) -> int:
        """In frames of 20 ms, the mark on the last; how many fitted."""
        taken = 0
        frame_samples = int(self.call["sample_rate_hz"]) // 50
        for start in range(0, pcm.size, frame_samples):
            samples = min(frame_samples, pcm.size - start)
            told = mark if start + samples == pcm.size else 0
            taken += bool(ring.try_say(self.worker.rings, self.row, self.generation, turn, told, pcm, start, samples, key))
        return taken

    def set_turn(self, turn: int) -> None:
        ring.set_turn(self.worker.rings.words, self.row, turn)

    def tick(self) -> list[reference_rtp.Packet]:
        """What `duty_cycle.serve` does with the call at `now_ns`, except that nothing is sent."""
        call, sent = self.call, []
        if self.now_ns < call["tx"]["next_tx_ns"]:
            return []
        playout.skip_if_too_late(self.worker, self.row, self.now_ns)
        while self.now_ns >= call["tx"]["next_tx_ns"]:
            size = playout.build(self.worker, self.row, self.now_ns)
            if size == playout.NOTHING:
                playout.leave_out(call)
                continue
            parsed = reference_rtp.parse(self.worker.own[0]["packet"][:size].tobytes())
            assert parsed is not None
            sent.append(parsed)
            playout.account(self.worker, self.row, self.now_ns)
        return sent

    def next_packet(self) -> reference_rtp.Packet:
        """Wait for the next tick; the one packet that it brings."""
        self.now_ns = int(self.call["tx"]["next_tx_ns"])
        (packet,) = self.tick()
        return packet

    def played(self) -> tuple[int, int]:
        """Turn and samples of it on the wire, as the bridge reads them."""
        word = int(self.worker.rings.words[self.row, layout.PLAYED])
        return word >> layout.PLAYED_SAMPLES_BITS, word & layout.PLAYED_SAMPLES_MASK


def heard(packet: reference_rtp.Packet) -> npt.NDArray[np.int16]:
    """The samples in a packet of ours."""
    return g711.decode(0 if packet.payload_type == 0 else 1, packet.payload)


def loud(samples: int, value: int = 8_000) -> npt.NDArray[np.int16]:
    """A constant that G.711 keeps as it is, and that no comfort noise comes near."""
    return np.full(samples, int(g711.decode(0, g711.encode(0, np.array([value], np.int16)))[0]), np.int16)


def ulaw(value: int, samples: int = 160) -> bytes:
    return g711.encode(0, np.full(samples, value, np.int16))
