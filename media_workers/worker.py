"""One media worker: the compiled duty cycle, and the little Python around it.

It is forked by the keeper with everything at hand, pinned to its core, and has nothing of its own that would
be missed: whoever is forked in its place goes on from the tables.
"""

import logging
import os
import select
import signal
import time
from typing import NamedTuple

import zmq

from control_plane.channel import Channel
from control_plane.config import Config
from control_plane.errors import BellframeError
from control_plane.messages import (
    Alive,
    CaptureMedia,
    CloseMedia,
    FrontStarted,
    MediaClosed,
    MediaOpened,
    MediaRecorded,
    MediaRefused,
    MediaSilent,
    MediaUpdated,
    Message,
    OpenMedia,
    RecordMedia,
    RoomSet,
    SetRoom,
    TakeKey,
    UpdateMedia,
)
from media_workers import capture, duty_cycle, libbcg729, sockets, srtp
from media_workers.call_table import Worker as Views
from media_workers.load import LoadMeter
from media_workers.rows import Rows
from shm.counters import WORKER

log = logging.getLogger(__name__)

HOUSEKEEPING_NS = 50_000_000
ALIVE_NS = 1_000_000_000
COMMANDS_AT_ONCE = 8
"""Opening a call takes a third of a millisecond: more at once would be heard in the calls that are up."""
SECOND_NS = 1_000_000_000
ORPHAN_NS = 60 * SECOND_NS
"""How long calls go on without a keeper. Its successor starts in half a second; meanwhile nobody replaces a worker that hangs."""


class Family(NamedTuple):
    """Processes: the keeper that forked us, and who started that one: its successors come from there."""

    keeper: int
    manager: int

    def is_over(self, parent: int, orphaned_ns: int) -> bool:
        """Is there nothing to go on for, `parent` being who has us now?"""
        return parent != self.keeper and (parent != self.manager or orphaned_ns > ORPHAN_NS)


class MediaWorker:
    """Made in the forked child. `run` returns when it has been told to stop, or was replaced."""

    def __init__(self, views: Views, index: int, count: int, config: Config, core: int, epoll: select.epoll, family: Family) -> None:
        self.views, self.config, self.index, self.family = views, config, index, family
        self.parented_ns = time.monotonic_ns()
        self.totals = views.totals[0]
        self.generation = int(self.totals[WORKER["generation"]])
        self.totals[WORKER["pid"]], self.totals[WORKER["core"]] = os.getpid(), core
        quiet_ns, interval_ns = (int(s * SECOND_NS) for s in (config.media.port_quiet_seconds, config.media.rtcp_interval_seconds))
        media = config.media
        libbcg729.use(media.g729_library)
        self.rows = Rows(views, index, count, quiet_ns, interval_ns, media.inband_dtmf, media.comfort_noise, media.opus)
        self.load = LoadMeter(self.totals, views.lateness, time.monotonic_ns())
        self.channel = Channel(zmq.Context(io_threads=1), config.runtime_path(), f"worker-{self.index}")
        self.epoll = epoll  # the keeper's: it has all our ports, whoever was here before
        sockets.watch(self.epoll, self.channel.fileno(), sockets.CONTROL_EVENT)
        self.is_stopping = self.has_more = False

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._introduce()
        now = time.monotonic_ns()
        next_house, next_alive = now + HOUSEKEEPING_NS, now + ALIVE_NS
        while not self.is_stopping:
            reason = duty_cycle.run(self.views, self.epoll.fileno(), self.generation, now if self.has_more else next_house)
            if reason == duty_cycle.FENCED:
                log.warning("worker %d was replaced while it hung; this one ends", self.index)
                return
            self._answer()
            now = time.monotonic_ns()
            if now >= next_house:  # by the clock: commands that never stop coming end every run before its time
                next_house = now + HOUSEKEEPING_NS
                self._keep_house(now)
                if now >= next_alive:
                    next_alive = now + ALIVE_NS
                    self._introduce()
                self.has_more = True  # telling takes the edge of orders that come meanwhile: they would wait for the next housekeeping

    def _stop(self, *_: object) -> None:
        self.is_stopping = True

    def _introduce(self) -> None:
        load = self.load.measure(time.monotonic_ns())
        self._tell(
            Alive(
                "worker", self.index, os.getpid(), self.generation, len(self.rows), self.rows.count,
                busy_percent=load.busy_percent, late_percent=load.late_percent,
            )
        )  # fmt: skip

    def _tell(self, message: Message) -> None:
        """Tell the front. While it is away messages wait; what does not fit is dropped, and counted."""
        if not self.channel.send(message):
            self.totals[WORKER["events_dropped"]] += 1

    def _answer(self) -> None:
        """A few commands; then packets have their turn again, and `has_more` says that there may be more."""
        self.has_more = False
        for number, message in enumerate(self.channel.receive(), 1):
            self.has_more = number == COMMANDS_AT_ONCE
            answer = self._obey(message, time.monotonic_ns())
            if answer is not None:
                self._tell(answer)
            if self.has_more:
                return

    def _obey(self, message: Message, now_ns: int) -> Message | None:
        match message:
            case FrontStarted(front=front):
                closed = self.rows.close_of_other_fronts(front, now_ns)
                if closed:
                    log.warning("worker %d: %d calls of the front before are ended: the new one does not know them", self.index, closed)
            case OpenMedia(call_id=call_id, bridge=bridge, media=media, front=front, is_port_shared=is_port_shared):
                try:
                    row = self.rows.open(call_id, bridge, media, now_ns, front, is_port_shared)
                except BellframeError as refusal:
                    return MediaRefused(call_id, str(refusal))
                call = self.rows.calls[row]
                return MediaOpened(
                    call_id, self.index, row, int(call["generation"]), int(call["rtp_port"]), int(call["sample_rate_hz"])
                )
            case UpdateMedia(call_id=call_id, media=media):
                try:
                    row_updated = self.rows.update(call_id, media, now_ns)
                    return MediaUpdated(call_id) if row_updated is not None else MediaRefused(call_id, "no such call")
                except BellframeError as refusal:
                    return MediaRefused(call_id, str(refusal))
            case TakeKey(call_id=call_id, key=key):
                self.rows.take_key(call_id, key, now_ns)
            case RecordMedia(call_id=call_id, state=state):
                self.rows.record(call_id, state)
                return MediaRecorded(call_id, state)
            case CaptureMedia(call_id=call_id, is_encrypted=is_encrypted):
                self.rows.capture(call_id, is_encrypted, now_ns)
            case SetRoom(room_id=room_id, parties=parties, number=number):
                self.rows.place(room_id, parties, now_ns)
                return RoomSet(room_id, number)
            case CloseMedia(call_id=call_id):
                return MediaClosed(call_id, self.rows.close(call_id, now_ns) or {})
        return None

    def _mind_keeper(self, now_ns: int) -> None:
        """Without one we go on for a while: its successor ends us when it has another in our place."""
        parent = os.getppid()
        if parent == self.family.keeper:
            self.parented_ns = now_ns
        elif self.family.is_over(parent, now_ns - self.parented_ns):
            log.warning("worker %d ends: its keeper is gone, and nobody has come in its place", self.index)
            self.is_stopping = True

    def _keep_house(self, now_ns: int) -> None:
        self._mind_keeper(now_ns)
        self.rows.release_quiet(now_ns)
        mine = slice(self.rows.first, self.rows.first + self.rows.count)
        srtp.adopt_strangers(self.views, mine)
        capture.end_unwanted(self.views, mine, now_ns)
        media = self.config.media
        at_start, running = int(media.silent_seconds_at_start * SECOND_NS), int(media.silent_seconds * SECOND_NS)
        for call_id, silent_ms in self.rows.silent(now_ns, at_start, running, int(media.hold_seconds * SECOND_NS)):
            self._tell(MediaSilent(call_id, silent_ms))
