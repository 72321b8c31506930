"""The keeper: owns ports and memory, compiles once, forks pinned workers, and replaces those that end or hang.

Forking a warmed parent takes milliseconds, so a worker's death costs its calls less than one frame or two: the
successor finds sockets, tables and rings as they were. What the keeper itself owns it leaves with the service
manager (FDSTORE), so that its successor finds it too: the workers as well. They go on without a keeper while its
successor starts, which then replaces each by its own.
"""

import contextlib
import errno
import functools
import logging
import os
import resource
import select
import signal
import socket
import sys
import time

import numpy as np
import numpy.typing as npt

from control_plane import table
from control_plane.config import Config
from control_plane.errors import ConfigurationError
from control_plane.listen_config import media_host
from control_plane.notify import listen_fds, notify, watchdog_interval_s
from media_workers import shared_port, sockets, sounds, warm_up
from media_workers.call_table import make_worker, table_bytes, table_views
from media_workers.pulse import MS, Pulse
from media_workers.worker import Family, MediaWorker
from shm import counters, doorbell, forking, handover, layout, segment
from shm.counters import WORKER, Counters
from shm.jit import compile_apart
from shm.layout import Rings

log = logging.getLogger(__name__)

LOOK_S = 0.02
"""How often heartbeats are looked at."""
LATE_LOOK_NS = 100_000_000
KEPT = ("rings", "media", "counters", "shared_port", "bells", "rtp")
"""Names of what is left with the service manager."""
SEGMENTS = KEPT[:4]
WORKER_NAME = "worker-"
"""And its number: the name under which the manager has the pidfd of each worker."""
LEAVE = signal.SIGUSR1
"""Make room for another keeper, and leave it the workers: RestartKillSignal= of the unit."""
SHARED_BUFFER_BYTES = 4 << 20
"""Four thousand calls' packets of 20 ms, as the kernel counts them. Held back while their worker is replaced or held up."""
Pair = tuple[socket.socket, socket.socket]
"""For RTP and RTCP."""
RESPAWN_LIMIT, RESPAWN_WINDOW_S = 10, 5.0
"""More deaths of one worker than this in the window: wait, or a bug would burn the core."""
END_S = 2.0
"""How long workers may take to end after SIGTERM. One that hangs must not hang the keeper."""
FDS_PER_MESSAGE = 128
SPARE_FDS = 256


class Keeper:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.cores = config.cores()
        if not sockets.is_supported():
            raise ConfigurationError("epoll_pwait2 cannot be called: it needs Linux 5.11 or newer, and a system call filter that allows it")
        self.manager = os.getppid()
        kept = listen_fds()
        self.predecessors = {int(name.removeprefix(WORKER_NAME)): kept.pop(name) for name in list(kept) if name.startswith(WORKER_NAME)}
        """pidfds of workers that the keeper before us left at work."""
        stored = self._what_fits(kept)
        if not stored:
            self._relieve(*self.predecessors)
        self.pairs = self._adopt_ports(stored.get("rtp", [])) or self._bind_ports()
        self.shared_pairs, self.pairs = self._split(self.pairs)
        self.own_rows, self.sharing = len(self.pairs) // len(self.cores), config.shared_port_calls()
        if self.own_rows == 0:
            given = f"{len(self.pairs)} port pairs for {len(self.cores)} workers"
            shared = f", beside {len(self.shared_pairs)} that calls share" if self.shared_pairs else ""
            raise ConfigurationError(f"media.rtp_ports: {given}{shared}; give each one at least")
        self.share = self.own_rows + self.sharing
        self.rows = self.share * len(self.cores)
        self.is_successor = bool(stored)
        self.fds, self.bells = self._adopt_memory(stored) if self.is_successor else self._make_memory()
        self.rings, self.calls, self.counters, self.tables = self._map()
        self.sounds = sounds.load(config.media.music)
        self.pidfds: dict[int, int] = {}
        self.pids: list[int] = [0] * len(self.cores)
        self.deaths: list[list[float]] = [[] for _ in self.cores]
        self.pulses: dict[int, Pulse] = {}
        self.not_before = [0.0] * len(self.cores)
        self.epolls = [self._make_epoll(index) for index in range(len(self.cores))]
        self.looked_ns = 0
        self.is_stopping = self.is_leaving = False
        self.listener: socket.socket | None = None

    # ---- what it owns -----------------------------------------------------------------------------------

    def _what_fits(self, stored: dict[str, list[int]]) -> dict[str, list[int]]:
        """What the keeper before us left, if it was laid out for today's configuration; otherwise nothing of it."""
        if not all(name in stored for name in KEPT):
            return {}
        workers, rows = _stored_shape(stored)
        ports = {_port_of(fd) for fd in stored["rtp"]}
        wanted = {number for port in self.config.rtp_port_pairs() for number in (port, port + 1)}
        sharing, count = self.config.shared_port_calls(), len(self.cores)
        own_rows = (len(ports) // 2 - (count if sharing else 0)) // count
        has_table = os.fstat(stored["shared_port"][0]).st_size == count * shared_port.table_bytes(sharing)
        fits = workers == count and rows == count * (own_rows + sharing) and ports <= wanted and has_table
        if rows and fits and len(stored["bells"]) >= self.config.bridge.processes:
            return stored
        which = "media.rtp_ports, media.workers, media.shared_port_calls, shared_rtp_port of a trunk, or bridge.processes"
        changed = f"{which} changed" if rows else "this release lays out memory in another way"
        log.warning("%s: ports and memory are made anew, and calls that were up are lost", changed)
        for name in KEPT:
            notify(f"FDSTOREREMOVE=1\nFDNAME={name}")
            for fd in stored[name]:
                os.close(fd)
        return {}

    def _make_epoll(self, index: int) -> select.epoll:
        """All ports of a worker, registered once: its successors inherit it, and need not do it again under calls."""
        epoll = select.epoll()
        for place in range(self.own_rows):
            for is_rtcp, bound in enumerate(self.pairs[index * self.own_rows + place]):
                sockets.watch(epoll, bound.fileno(), (index * self.share + place) << 1 | is_rtcp)
        if self.sharing:
            for bound, data in zip(self.shared_pairs[index], (sockets.SHARED_EVENT, sockets.SHARED_RTCP_EVENT), strict=True):
                sockets.watch(epoll, bound.fileno(), data)
        return epoll

    def _split(self, pairs: list[Pair]) -> tuple[list[Pair], list[Pair]]:
        """The pairs that calls share, the first ones, one for each worker; and those of one call each."""
        count = len(self.cores) if self.config.shared_port_calls() else 0
        for rtp, _ in pairs[:count]:
            size = sockets.widen(rtp, SHARED_BUFFER_BYTES)
            if size < SHARED_BUFFER_BYTES:
                text = "the RTP port that calls share keeps %d KiB while its worker is busy, %d are wanted; sysctl -w net.core.rmem_max=%d"
                log.warning(text, size // 1024, SHARED_BUFFER_BYTES // 1024, SHARED_BUFFER_BYTES)
        return pairs[:count], pairs[count:]

    def _bind_ports(self) -> list[Pair]:
        host = media_host(self.config.sip)
        wanted = self.config.rtp_port_pairs()
        _raise_descriptor_limit(2 * len(wanted) + SPARE_FDS)
        pairs, taken = [], []
        for port in wanted:
            try:
                pairs.append(sockets.bind_pair(host, port, self.config.media.dscp))
            except OSError as failure:
                if failure.errno == errno.EADDRNOTAVAIL:
                    text = "this machine has no such address (`ip address` shows those that it has), or not yet"
                    raise ConfigurationError(f"sip.listen: no audio can come in on {host}: {text}") from failure
                taken.append(f"{port} ({failure})")
        if not pairs:
            why = f"none of {self.config.media.rtp_ports} can be bound on {host}, the first is {taken[0]}"
            raise ConfigurationError(f"media.rtp_ports: {why}: choose a free range")
        if taken:
            log.warning("%d of %d RTP port pairs cannot be bound, the first is %s; the others are used", len(taken), len(wanted), taken[0])
        return pairs

    def _adopt_ports(self, fds: list[int]) -> list[Pair]:
        """The sockets that the keeper before us left with the service manager, paired again by their numbers."""
        by_port = {bound.getsockname()[1]: bound for bound in (socket.socket(fileno=fd) for fd in fds)}
        return [(by_port[port], by_port[port + 1]) for port in sorted(by_port) if port % 2 == 0 and port + 1 in by_port]

    def _make_memory(self) -> tuple[dict[str, int], list[int]]:
        workers = len(self.cores)
        fds = {
            "rings": segment.make("rings", layout.rings_bytes(self.rows)),
            "media": segment.make("media", table_bytes(self.rows)),
            "counters": segment.make("counters", counters.counters_bytes(workers, self.rows)),
            "shared_port": segment.make("shared_port", workers * shared_port.table_bytes(self.sharing)),
        }
        return fds, [doorbell.make() for _ in range(self.config.bridge.processes)]

    def _adopt_memory(self, stored: dict[str, list[int]]) -> tuple[dict[str, int], list[int]]:
        return {name: stored[name][0] for name in SEGMENTS}, stored["bells"]

    def _map(self) -> tuple[Rings, npt.NDArray[np.void], Counters, npt.NDArray[np.int64]]:
        rings_memory, counters_memory = segment.map_fd(self.fds["rings"]), segment.map_fd(self.fds["counters"])
        calls = table_views(segment.map_fd(self.fds["media"]), self.rows)
        if self.is_successor:
            rings, views = layout.rings_views(rings_memory), counters.counters_views(counters_memory)
        else:
            rings = layout.rings_format(rings_memory, self.rows)
            views = counters.counters_format(counters_memory, len(self.cores), self.rows)
        tables = np.frombuffer(segment.map_fd(self.fds["shared_port"]), np.int64)
        return rings, calls, views, tables.reshape(len(self.cores), -1, shared_port.WORDS)

    def _place_ports(self, index: int) -> None:
        """Our descriptors into the rows of a worker: the keeper before us had other numbers, and its worker needs those to its end."""
        own = self.pairs[index * self.own_rows : (index + 1) * self.own_rows]
        shared = [self.shared_pairs[index]] * self.sharing if self.sharing else []
        for row, (rtp, rtcp) in enumerate(own + shared, index * self.share):
            call = self.calls[row]
            call["rtp_fd"], call["rtcp_fd"], call["rtp_port"] = rtp.fileno(), rtcp.fileno(), rtp.getsockname()[1]
            call["is_port_shared"] = row - index * self.share >= self.own_rows

    def leave_with_manager(self) -> None:
        """Give descriptors to the service manager, so that the keeper after us finds its calls."""
        for name, fd in self.fds.items():
            notify(f"FDSTORE=1\nFDNAME={name}", [fd])
        notify("FDSTORE=1\nFDNAME=bells", self.bells)
        fds = [bound.fileno() for pair in (*self.shared_pairs, *self.pairs) for bound in pair]
        for first in range(0, len(fds), FDS_PER_MESSAGE):
            notify("FDSTORE=1\nFDNAME=rtp", fds[first : first + FDS_PER_MESSAGE])

    # ---- workers ----------------------------------------------------------------------------------------

    def compile(self) -> None:
        """Every kernel of a worker, before the first fork: a successor must not wait for a compiler."""
        compile_apart("media_workers.warm_up")
        warm_up.compile_all()
        forking.settle()

    def spawn(self, index: int) -> None:
        """Fork a worker into this place. A new generation: should its predecessor still breathe, it is fenced."""
        totals = self.counters.workers[index]
        totals[WORKER["generation"]] += 1
        totals[WORKER["heartbeat_ns"]] = spawned_ns = time.monotonic_ns()
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as failure:  # the other workers must not end for it
            log.error("worker %d cannot be started: %s; the next try is in a second", index, failure.strerror)
            self.pids[index], self.not_before[index] = 0, time.monotonic() + 1
            return
        if pid == 0:
            self._become_worker(index, parent)
        self.pids[index] = pid
        self.pulses[index] = Pulse(pid, spawned_ns, self.config.media.heartbeat_timeout_ms * MS)
        pidfd = os.pidfd_open(pid)
        self.pidfds[pidfd] = index
        notify(f"FDSTOREREMOVE=1\nFDNAME={WORKER_NAME}{index}")
        notify(f"FDSTORE=1\nFDNAME={WORKER_NAME}{index}", [pidfd])

    def _relieve(self, *indexes: int) -> None:
        """End the workers that the keeper before us left in these places."""
        for pidfd in (pidfd for index in indexes for pidfd in self.predecessors.pop(index, [])):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            if not _has_ended(pidfd, END_S):
                log.error("a worker of the keeper before has not ended within %.0f s of SIGKILL: it is fenced", END_S)
            os.close(pidfd)

    def _become_worker(self, index: int, parent: int) -> None:
        """The child's whole life; never returns into the keeper's code."""
        status = 1
        try:
            forking.wake_on_time()
            if self.listener:
                self.listener.close()  # or who asks for the memory while there is no keeper would wait here for an answer
            os.sched_setaffinity(0, {self.cores[index]})
            signal.set_wakeup_fd(-1)
            table = self.tables[index]
            views = make_worker(self.calls, self.rings, self.counters, index, self.share, self.bells, table, self.sounds, wants_ring=True)
            family = Family(parent, self.manager)
            MediaWorker(views, index, self.share, self.config, self.cores[index], self.epolls[index], family).run()
            status = 0
        except BaseException:
            log.exception("worker %d failed", index)
        finally:
            sys.stderr.flush()
            os._exit(status)

    def bury(self, pidfd: int) -> None:
        """A worker ended: replace it."""
        index = self.pidfds.pop(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(self.pids[index], 0)
        if self.is_stopping:
            return
        now = time.monotonic()
        died_ns = time.monotonic_ns()
        self.deaths[index] = [t for t in self.deaths[index] if now - t < RESPAWN_WINDOW_S] + [now]
        if len(self.deaths[index]) > RESPAWN_LIMIT:
            log.error("worker %d ended %d times in %.0f s; the next try is in a second", index, len(self.deaths[index]), RESPAWN_WINDOW_S)
            self.pids[index], self.not_before[index] = 0, now + 1
            return
        self.spawn(index)
        if not self.pids[index]:
            return
        reason = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {os.WEXITSTATUS(status)}"
        calls = table.count(int(self.counters.workers[index, WORKER["calls_open"]]), "call")
        spent_ms = (time.monotonic_ns() - died_ns) / 1e6
        successor = f"process {self.pids[index]} goes on after {spent_ms:.1f} ms"
        log.warning("worker %d ended (%s); %s, with its %s", index, reason, successor, calls)

    def try_again(self) -> None:
        """Fork the workers that died too often and have waited long enough."""
        for index, pid in enumerate(self.pids):
            if pid == 0 and time.monotonic() >= self.not_before[index]:
                self.spawn(index)

    def kill_hung(self) -> None:
        """A worker that hangs is ended; its pidfd then brings the successor, so no two ever have the same calls.

        If this look itself came late, the machine stood still, and its workers with it: they get until the next look.
        """
        now = time.monotonic_ns()
        was_late = now - self.looked_ns > LATE_LOOK_NS
        self.looked_ns = now
        if was_late:
            return
        for index in self.pidfds.values():
            why = self.pulses[index].why_hung(int(self.counters.workers[index, WORKER["heartbeat_ns"]]), now)
            if why:
                log.warning("worker %d %s: it is replaced", index, why)
                self.counters.workers[index, WORKER["heartbeat_ns"]] = now
                os.kill(self.pids[index], signal.SIGKILL)

    # ---- its loop ---------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until SIGTERM, or until LEAVE. Ready when every worker has finished a cycle."""
        self.listener = listener = handover.listen(self.config.runtime_path())
        counters_fd = segment.read_only(self.fds["counters"])
        poll = select.epoll()
        poll.register(listener.fileno(), select.EPOLLIN)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(LEAVE, functools.partial(self._stop, is_leaving=True))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        started_ns = time.monotonic_ns()
        for index in range(len(self.cores)):
            self._relieve(index)
            self._place_ports(index)
            self.spawn(index)
        is_ready, watchdog_s, next_pat = False, watchdog_interval_s(), 0.0
        while not self.is_stopping:
            for pidfd in self.pidfds:
                with contextlib.suppress(FileExistsError):
                    poll.register(pidfd, select.EPOLLIN)
            for fd, _ in poll.poll(LOOK_S):
                if fd == listener.fileno():
                    log.debug("memory: %s", handover.serve_one(listener, self.fds["rings"], counters_fd, self.bells))
                else:
                    poll.unregister(fd)
                    self.bury(fd)
            self.kill_hung()
            self.try_again()
            if not is_ready and all(self.counters.workers[:, WORKER["heartbeat_ns"]] > started_ns):
                is_ready = True
                self.leave_with_manager()
                workers = f"{table.count(len(self.cores), 'worker')} on cores {','.join(map(str, self.cores))}"
                notify(f"READY=1\nSTATUS={self.rows} calls at most, {workers}")
            if watchdog_s and time.monotonic() >= next_pat:
                next_pat = time.monotonic() + watchdog_s
                notify("WATCHDOG=1")
        if not self.is_leaving:
            self._end_workers()

    def _stop(self, *_: object, is_leaving: bool = False) -> None:
        self.is_stopping, self.is_leaving = True, is_leaving

    def _end_workers(self) -> None:
        for pid in filter(None, self.pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + END_S
        for pidfd, index in self.pidfds.items():
            if not _has_ended(pidfd, deadline - time.monotonic()):
                log.warning("worker %d has not ended within %.0f s: it is killed", index, END_S)
                os.kill(self.pids[index], signal.SIGKILL)
            os.waitpid(self.pids[index], 0)


def _has_ended(pidfd: int, within_s: float) -> bool:
    ending = select.poll()  # not select.select: descriptors beyond 1023 are usual here
    ending.register(pidfd, select.POLLIN)
    return bool(ending.poll(max(0.0, within_s) * 1000))


def _stored_shape(stored: dict[str, list[int]]) -> tuple[int, int]:
    """Workers and rows that the memory of the keeper before was laid out for; (0, 0) if that was another release."""
    try:
        header = counters.counters_views(segment.map_fd(stored["counters"][0]))
        layout.rings_views(segment.map_fd(stored["rings"][0]))
    except ValueError:
        return 0, 0
    workers, rows = header.workers.shape[0], header.calls.size
    sizes = {"rings": layout.rings_bytes(rows), "media": table_bytes(rows), "counters": counters.counters_bytes(workers, rows)}
    is_ours = all(os.fstat(stored[name][0]).st_size == size for name, size in sizes.items())
    return (workers, rows) if is_ours else (0, 0)


def _port_of(fd: int) -> int:
    with socket.socket(fileno=os.dup(fd)) as bound:
        return int(bound.getsockname()[1])


def _raise_descriptor_limit(needed: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(hard, needed)))
    except (ValueError, OSError) as failure:
        raise ConfigurationError(
            f"media.rtp_ports: {needed} descriptors are needed and {hard} are allowed; raise LimitNOFILE (ulimit -n), or name fewer ports"
        ) from failure


