"""`bellframe up` without systemd: runs the same processes with systemd's own protocol.

A process says READY=1, feeds its watchdog, and gives its descriptors into keeping; it is started again when it
dies or hangs, and gets them back, so its sockets outlive it. What is legal when stands in control_plane/lifecycle.py.
The supervisor needs a process of its own, with one thread: it reaps every child, and takes the signals.
"""

import contextlib
import logging
import os
import pathlib
import resource
import selectors
import signal
import socket
import struct
import time
from collections.abc import Callable

import msgspec

from control_plane.fd_store import FdStore, clean_name
from control_plane.lifecycle import SECOND_NS, Cause, Lifecycle, Order, State
from control_plane.notify import MAX_FDS_PER_MESSAGE, notify
from control_plane.spawn import adopt_orphans, spawn

MAX_NOTIFICATION_BYTES = 4096
CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
PASSED_ON = ("READY", "WATCHDOG", "FDSTORE", "FDSTOREREMOVE", "FDNAME", "STATUS")
NOT_PASSED_ON = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "PYTHONDONTWRITEBYTECODE")
"""The last, as images of containers set it, would have a process that is started again under calls compile its own sources first: 0.1 s."""
RENEW = signal.SIGUSR1
"""Replace every process by another one, of the code that is installed by now."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

log = logging.getLogger(__name__)


class Program(msgspec.Struct, frozen=True):
    """One process to run. Those with a lower `starts_in` are ready before the next ones are started; likewise `stops_in`."""

    name: str
    arguments: tuple[str, ...]
    starts_in: int = 0
    stops_in: int = 0
    start_limit_s: float = 300.0
    """Until READY=1. The first start on a machine compiles the kernels, and a small one takes its time for it."""
    stop_limit_s: float = 5.0
    watchdog_s: float = 0.0
    """0: it is not watched."""
    restart_signal: int = signal.SIGTERM
    """What makes it end so that its successor goes on with what it has: as RestartKillSignal= of its unit."""
    leaves_children: bool = False
    """What it started outlives it, for its successor to end: as KillMode=process of its unit. Otherwise that goes with it."""
    renewed_in: int = 0
    """RENEW replaces one after the other, in this order."""


class Child:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.life = Lifecycle(
            round(program.start_limit_s * SECOND_NS), round(program.stop_limit_s * SECOND_NS), round(program.watchdog_s * SECOND_NS)
        )
        self.store = FdStore()
        self.pid = 0
        self.status = ""
        """The last STATUS= that it sent."""


class Renewal:
    """One process after the other makes room for another. The next one's turn comes when the successor of the last is ready."""

    def __init__(self) -> None:
        self.waiting: list[Child] = []
        self.current: Child | None = None
        self.before = 0
        self.deadline_ns: int | None = None

    def begin(self, children: list[Child]) -> None:
        """Once more from the start, if it was under way."""
        self.waiting = sorted(children, key=lambda child: child.program.renewed_in)
        log.info("every process is replaced by another, one after the other; calls go on")

    def advance(self, now_ns: int) -> None:
        current = self.current
        if current is not None:
            if current.pid == self.before and self.deadline_ns is not None and now_ns >= self.deadline_ns:
                log.warning("%s has not made room within %g s and is killed", current.program.name, current.program.stop_limit_s)
                _kill(current)
                self.deadline_ns = None
            if current.pid in (0, self.before) or current.life.state is not State.READY:
                return
            self.current = self.deadline_ns = None
            if not self.waiting:
                log.info("every process has been replaced")
        while self.waiting and self.current is None:
            child = self.waiting.pop(0)
            if child.pid and child.life.state is State.READY:
                self.current, self.before = child, child.pid
                self.deadline_ns = now_ns + round(child.program.stop_limit_s * SECOND_NS)
                os.kill(child.pid, child.program.restart_signal)


class Supervisor:
    """`run` returns when everything has ended. `on_ready` is called once, when all processes are ready for the first time."""

    def __init__(self, programs: list[Program], runtime_directory: pathlib.Path, on_ready: Callable[["Supervisor"], None]) -> None:
        self.children = [Child(program) for program in programs]
        self.by_name = {child.program.name: child for child in self.children}
        self.notify_path = runtime_directory / "notify"
        self.on_ready = on_ready
        self.has_been_ready = False
        self.is_stopping = False
        self.renewal = Renewal()
        self.exit_code = 0

    def run(self) -> int:
        """Start everything, keep it running, and stop it on SIGTERM or SIGINT. Returns the exit code: 0 if all went as asked."""
        adopt_orphans()
        _allow_many_descriptors()
        self.notify_path.unlink(missing_ok=True)
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as manager,
            Signals() as signals,
            selectors.DefaultSelector() as selector,
        ):
            manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            manager.bind(str(self.notify_path))
            self.notify_path.chmod(0o600)
            selector.register(manager, selectors.EVENT_READ)
            selector.register(signals.reader, selectors.EVENT_READ)
            try:
                while self.advance(time.monotonic_ns()):
                    selector.select(self._wait_s(time.monotonic_ns()))
                    for number in signals.take():
                        self.handle_signal(number)
                    self._read_notifications(manager)
                    self._reap(manager)
            finally:
                self._kill_all()
                _reap_the_rest()
                self.notify_path.unlink(missing_ok=True)
        return self.exit_code

    def advance(self, now_ns: int) -> bool:
        """Do what is due. False: everything has ended."""
        for child in self.children:
            if child.life.deadline_ns is not None and now_ns >= child.life.deadline_ns:
                self._tell_deadline(child)
                self._step(child, Cause.DEADLINE, now_ns)
        if self.is_stopping:
            self._stop_next(now_ns)
            return any(child.life.state is not State.ENDED for child in self.children)
        self._start_next(now_ns)
        self.renewal.advance(now_ns)
        return True

    def handle_signal(self, number: int) -> None:
        if number == RENEW and self.has_been_ready:
            self.renewal.begin(self.children)
        if number not in STOP_SIGNALS:
            return
        if not self.is_stopping:
            self.stop(f"{signal.Signals(number).name}: no new calls; waiting for those that are up (Ctrl-C again ends at once)")
        elif number == signal.SIGINT:
            log.warning("ending at once")
            self._kill_all()

    def stop(self, why: str, level: int = logging.INFO) -> None:
        log.log(level, "%s", why)
        notify("STOPPING=1")
        self.is_stopping = True

    def _start_next(self, now_ns: int) -> None:
        if self.has_been_ready:
            return
        waiting = [child for child in self.children if child.life.state is not State.READY]
        if not waiting:
            self.has_been_ready = True
            self.on_ready(self)
            notify("READY=1")
            return
        stage = min(child.program.starts_in for child in waiting)
        for child in waiting:
            if child.program.starts_in == stage and child.life.state is State.IDLE:
                self._step(child, Cause.START, now_ns)

    def _stop_next(self, now_ns: int) -> None:
        """Those whose turn it is. Those that have nothing to end, such as one that never began, are not waited for."""
        for stage in sorted({child.program.stops_in for child in self.children}):
            children = [child for child in self.children if child.program.stops_in == stage]
            for child in children:
                if child.life.state not in (State.STOPPING, State.ENDED):
                    self._step(child, Cause.STOP, now_ns)
                    child.store.clear()
            if any(child.life.state is not State.ENDED for child in children):
                return

    def _step(self, child: Child, cause: Cause, now_ns: int) -> None:
        child.life.step(cause, now_ns)
        while child.life.orders:
            self._obey(child, child.life.orders.pop(0))

    def _obey(self, child: Child, order: Order) -> None:
        if order is Order.SPAWN:
            try:
                child.pid = spawn(list(child.program.arguments), self._environment(child.program), child.store.held)
            except OSError as failure:  # no memory or no process to be had now: the others, and their calls, must not end for it
                self._handle_death(child, f"could not be started ({failure.strerror})")
        elif child.pid and order is Order.TERMINATE:
            os.kill(child.pid, signal.SIGTERM)
        elif child.pid and order is Order.KILL:
            _kill(child)

    def _environment(self, program: Program) -> dict[str, str]:
        environment = {k: v for k, v in os.environ.items() if k not in NOT_PASSED_ON}
        environment["NOTIFY_SOCKET"] = str(self.notify_path)
        if program.watchdog_s:
            environment["WATCHDOG_USEC"] = str(round(program.watchdog_s * 1e6))
        return environment

    def _read_notifications(self, manager: socket.socket) -> None:
        while True:
            room = socket.CMSG_SPACE(CREDENTIALS.size) + socket.CMSG_SPACE(4 * MAX_FDS_PER_MESSAGE)
            try:
                message, extras, _, _ = manager.recvmsg(MAX_NOTIFICATION_BYTES, room, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            pid, fds = 0, list[int]()
            for level, kind, content in extras:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds += memoryview(content[: len(content) // 4 * 4]).cast("i")
                elif level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                    pid = CREDENTIALS.unpack(content[: CREDENTIALS.size])[0]
            child = next((child for child in self.children if pid and child.pid == pid), None)
            lines = (line.partition("=") for line in message.decode("utf-8", "replace").splitlines())
            states = {key: value for key, _, value in lines if key in PASSED_ON}
            if child is None or "FDSTORE" not in states or child.life.state is State.STOPPING:
                for fd in fds:
                    os.close(fd)
            else:
                for fd in fds:
                    child.store.keep(clean_name(states.get("FDNAME", "stored")), fd)
            if child is not None:
                self._handle_states(child, states)

    def _handle_states(self, child: Child, states: dict[str, str]) -> None:
        now_ns = time.monotonic_ns()
        if states.get("FDSTOREREMOVE") == "1":
            child.store.remove(clean_name(states.get("FDNAME", "stored")))
        if "STATUS" in states:
            child.status = states["STATUS"]
        if states.get("READY") == "1":
            if self.has_been_ready and child.life.state is State.STARTING:
                log.info("%s is back", child.program.name)
            self._step(child, Cause.SAID_READY, now_ns)
        if states.get("WATCHDOG") == "1":
            self._step(child, Cause.FED_WATCHDOG, now_ns)
        elif states.get("WATCHDOG") == "trigger":
            _kill(child)

    def _reap(self, manager: socket.socket) -> None:
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            child = next((child for child in self.children if child.pid == found.si_pid), None)
            if child is not None:
                _kill(child)  # what it started goes with it; its pid is still ours until it is reaped
                self._read_notifications(manager)  # what it said last still counts, its descriptors above all
            os.waitpid(found.si_pid, 0)
            if child is not None:
                child.pid = 0
                self._handle_death(child, _describe(found.si_code, found.si_status))

    def _handle_death(self, child: Child, how: str) -> None:
        was = child.life.state
        self._step(child, Cause.DIED, time.monotonic_ns())
        if was is State.STOPPING:
            return
        if self.has_been_ready and self.renewal.current is child:
            log.info("%s %s to make room for its successor", child.program.name, how)
        elif self.has_been_ready:
            log.error("%s %s; it is started again, calls go on", child.program.name, how)
        elif not self.is_stopping:
            self.exit_code = 1
            self.stop(f"{child.program.name} {how} before it was ready; what it wrote above says why", logging.ERROR)
            self._step(child, Cause.STOP, time.monotonic_ns())  # else it would try once more before its turn to stop comes

    def _tell_deadline(self, child: Child) -> None:
        if child.life.state is State.READY:
            log.error("%s did not answer for %.1f s and is killed", child.program.name, child.program.watchdog_s)
        elif child.life.state is State.STARTING:
            log.error("%s was not ready after %.0f s and is killed", child.program.name, child.program.start_limit_s)
        elif child.life.state is State.STOPPING:
            log.warning("%s did not end within %.0f s and is killed", child.program.name, child.program.stop_limit_s)

    def _wait_s(self, now_ns: int) -> float | None:
        deadlines = [child.life.deadline_ns for child in self.children] + [self.renewal.deadline_ns]
        due = min((deadline_ns for deadline_ns in deadlines if deadline_ns is not None), default=None)
        return None if due is None else max(0.0, (due - now_ns) / SECOND_NS)

    def _kill_all(self) -> None:
        self.is_stopping = True
        for child in self.children:
            if child.pid:
                _kill_session(child.pid)
                os.waitpid(child.pid, 0)
                child.pid = 0
            child.life.state, child.life.deadline_ns = State.ENDED, None
            child.store.clear()
        _kill_orphans()


class Signals:
    """The signals that matter here, as something to select on. Restores what was there before."""

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)

    def __enter__(self) -> "Signals":
        self._before = {number: signal.signal(number, lambda *_: None) for number in (*STOP_SIGNALS, RENEW, signal.SIGCHLD)}
        self._wakeup_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self.reader.close()
        self._writer.close()

    def take(self) -> list[int]:
        try:
            return list(self.reader.recv(1024))
        except BlockingIOError:
            return []


def _kill(child: Child) -> None:
    """And what it started, unless that is its successor's."""
    if child.program.leaves_children and child.life.state is not State.STOPPING:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
    else:
        _kill_session(child.pid)


def _kill_orphans() -> None:
    """What processes left to successors that will not come."""
    with contextlib.suppress(OSError):
        for pid in pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)


def _kill_session(pid: int) -> None:
    """A process and what it started: spawn() gave it a session and hence a group of its own."""
    for send in (os.kill, os.killpg):
        try:
            send(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _reap_the_rest() -> None:
    """What processes that we killed had started became ours and is dying: wait for it, but not for long."""
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.005)
        except ChildProcessError:
            return


def _allow_many_descriptors() -> None:
    """Two sockets a call pass through here: raise the limit as far as we may, for us and for those we start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _describe(code: int, status: int) -> str:
    if code == os.CLD_EXITED:
        return f"ended with exit code {status}"
    try:
        return f"was killed by {signal.Signals(status).name}"
    except ValueError:
        return f"was killed by signal {status}"
