"""Start one process as a service manager would: its own session, its kept descriptors, and no life without us.

The caller must have a single thread: what runs between fork and exec is Python.
"""

import ctypes
import fcntl
import os
import signal

from control_plane.notify import FIRST_LISTEN_FD

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
CANNOT_EXECUTE = 127
_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """What our processes leave behind becomes our child, so that it can be reaped: no zombie, whoever dies."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def spawn(arguments: list[str], environment: dict[str, str], kept: list[tuple[str, int]]) -> int:
    """Run `arguments` with `environment`; returns its pid. `kept` descriptors become 3, 4, ... and are named (sd_listen_fds(3)).

    It is killed when the calling thread ends. Raises OSError if there can be no further process.
    """
    environment = {name: value for name, value in environment.items() if not name.startswith("LISTEN_")}
    if kept:
        environment |= {"LISTEN_FDS": str(len(kept)), "LISTEN_FDNAMES": ":".join(name for name, _ in kept)}
    parent = os.getpid()
    # A signal between fork and exec would run our handlers in the child.
    before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _become(arguments, environment, [fd for _, fd in kept], parent)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _become(arguments: list[str], environment: dict[str, str], kept: list[int], parent: int) -> None:
    """In the child: never returns."""
    try:
        os.setsid()  # Ctrl-C is for the supervisor, which then stops everything in order
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(CANNOT_EXECUTE)  # it died before the line above
        nothing = os.open("/dev/null", os.O_RDONLY)
        os.dup2(nothing, 0)
        past = FIRST_LISTEN_FD + len(kept)
        safe = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, past) for fd in kept]  # out of the way of the numbers they get
        for i, fd in enumerate(safe):
            os.dup2(fd, FIRST_LISTEN_FD + i, inheritable=True)
        os.closerange(past, os.sysconf("SC_OPEN_MAX"))
        own = str(os.getpid())
        environment |= {"LISTEN_PID": own} if kept else {}
        environment |= {"WATCHDOG_PID": own} if "WATCHDOG_USEC" in environment else {}
        for number in (signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(arguments[0], arguments, environment)
    except BaseException as failure:  # nothing of the parent may run on in this copy of it
        os.write(2, f"cannot run {arguments[0]}: {failure}\n".encode())
    finally:
        os._exit(CANNOT_EXECUTE)
