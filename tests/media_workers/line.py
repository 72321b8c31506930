"""Real sockets on loopback: a worker's port pairs on one side, a caller on the other, in one process."""

import select
import socket
import time

import numpy as np

from control_plane.messages import MediaDescription
from media_workers import duty_cycle, sockets
from media_workers.rows import Rows
from shm import doorbell, layout, ring
from shm.counters import CALL_COLUMN, WORKER
from shm.layout import FRAME
from tests.media_workers.call_under_test import MS, make_views
from tests.reference import rtp as reference_rtp

FIRST_PORT, LAST_PORT = 20_000, 60_000


def bind_pairs(host: str, count: int) -> list[tuple[socket.socket, socket.socket]]:
    """Pairs of an even port and the next, wherever they are free."""
    places = np.random.default_rng().integers(0, (LAST_PORT - FIRST_PORT) // 2 - 100, 20)  # a benchmark may hold a whole range
    for start in FIRST_PORT + 2 * places:
        pairs: list[tuple[socket.socket, socket.socket]] = []
        for port in range(int(start), int(start) + 200, 2):
            try:
                pairs.append(sockets.bind_pair(host, port))
            except OSError:
                continue
            if len(pairs) == count:
                return pairs
        for bound in (one for pair in pairs for one in pair):
            bound.close()
    raise OSError(f"no {count} free port pairs in any of 20 places")


class LoopbackWorker:
    """What MediaWorker does around the compiled cycle, without the control channel."""

    def __init__(self, rows: int = 2, host: str = "127.0.0.1", sharing: int = 0) -> None:
        """`rows` with a port each and, behind them, `sharing` on one port."""
        self.host = host
        self.pairs = bind_pairs(host, rows + (1 if sharing else 0))
        self.views = make_views(rows + sharing, sharing=sharing)
        if sharing:
            rtp, rtcp = self.pairs[-1]
            shared = self.views.calls[rows:]
            shared["rtp_fd"], shared["rtcp_fd"], shared["rtp_port"] = rtp.fileno(), rtcp.fileno(), rtp.getsockname()[1]
            self.views.own["shared_fd"], self.views.own["shared_rtcp_fd"] = rtp.fileno(), rtcp.fileno()
        self.bell = doorbell.make()
        self.views.own[0]["bell_fds"][0] = self.bell
        self.epoll = select.epoll()
        for row, (rtp, rtcp) in enumerate(self.pairs[:rows]):
            call = self.views.calls[row]
            call["rtp_fd"], call["rtcp_fd"], call["rtp_port"] = rtp.fileno(), rtcp.fileno(), rtp.getsockname()[1]
            sockets.watch(self.epoll, rtp.fileno(), row << 1)
            sockets.watch(self.epoll, rtcp.fileno(), row << 1 | 1)
        if sharing:
            sockets.watch(self.epoll, self.pairs[-1][0].fileno(), sockets.SHARED_EVENT)
            sockets.watch(self.epoll, self.pairs[-1][1].fileno(), sockets.SHARED_RTCP_EVENT)
        self.is_shared = sharing > 0
        self.rows = Rows(self.views, 0, rows + sharing, 0)
        self.callers: list[Caller] = []
        self.run(0)  # compiles, if need be: while a call is up, that would be silence for as long

    def call(self, **media: object) -> "Caller":
        caller = Caller(self, f"call-{len(self.callers)}", media)
        self.callers.append(caller)
        return caller

    def run(self, for_ms: float = 2) -> int:
        return int(duty_cycle.run(self.views, self.epoll.fileno(), 0, time.monotonic_ns() + int(for_ms * MS)))

    def total(self, name: str) -> int:
        return int(self.views.totals[0, WORKER[name]])

    def close(self) -> None:
        self.epoll.close()
        for pair in self.pairs:
            for bound in pair:
                bound.close()
        for caller in self.callers:
            caller.socket.close()


class Caller:
    """The far end of one call, and the agent's side of its rings."""

    def __init__(self, worker: LoopbackWorker, call_id: str, media: dict[str, object]) -> None:
        self.worker, self.call_id, self.cursor, self.seq = worker, call_id, 0, 1000
        family = socket.AF_INET6 if ":" in worker.host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((worker.host, 0))
        fields = {"dtmf_payload_type": 101, "remote_host": worker.host, "remote_port": self.socket.getsockname()[1], **media}
        self.media = MediaDescription("PCMU", 0, **fields)  # type: ignore[arg-type]
        self.row = worker.rows.open(call_id, 0, self.media, time.monotonic_ns(), is_port_shared=worker.is_shared)
        self.target = (worker.host, int(worker.views.calls[self.row]["rtp_port"]))

    def send(self, datagram: bytes) -> None:
        self.socket.sendto(datagram, self.target)

    def speak(self, code: int = 0x20, skip: int = 0) -> None:
        """The next 20 ms, or a later one: full of this code."""
        self.seq += 1 + skip
        self.send(reference_rtp.build(self.seq, 160 * self.seq, bytes([code]) * 160))

    def heard_by_agent(self) -> list[tuple[int, int, int]]:
        """What is new in the ring: kind, flags, first sample."""
        frame, pcm, found = np.zeros(1, FRAME), np.zeros(960, np.int16), []
        while True:
            following = int(ring.read_at(self.worker.views.rings, self.row, self.cursor, frame, pcm))
            if following == self.cursor:
                return found
            if following == self.cursor + 1:
                found.append((int(frame[0]["kind"]), int(frame[0]["flags"]), int(pcm[0])))
            self.cursor = following

    def say(self, pcm: np.ndarray, turn: int = 0) -> None:
        rings, generation = self.worker.views.rings, int(self.worker.views.calls[self.row]["generation"])
        for start in range(0, pcm.size, 160):
            assert ring.try_say(rings, self.row, generation, turn, 0, pcm, start, min(160, pcm.size - start))

    def received(self) -> list[reference_rtp.Packet]:
        """All packets that came, parsed."""
        found = []
        while True:
            try:
                datagram = self.socket.recv(2048, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            packet = reference_rtp.parse(datagram)
            assert packet is not None
            found.append(packet)

    def counter(self, name: str) -> int:
        return int(self.worker.views.shown[self.row]["counters"][CALL_COLUMN[name]])


__all__ = ["Caller", "LoopbackWorker", "bind_pairs", "layout"]
