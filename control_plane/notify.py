"""What a process tells its service manager, and what it gets from it: sd_notify(3) and sd_listen_fds(3).

systemd and `bellframe up` speak the same protocol, so a process does not know which of them runs it. Without
either, every function here does nothing.
"""

import os
import socket

FIRST_LISTEN_FD = 3  # sd_listen_fds(3): SD_LISTEN_FDS_START
MAX_FDS_PER_MESSAGE = 253  # linux/net/scm.h: SCM_MAX_FD


def notify(state: str, fds: list[int] | None = None) -> None:
    """Send `state`, lines such as "READY=1" or "FDSTORE=1\\nFDNAME=ports", to the service manager if there is one.

    With `fds` the descriptors go along; more than one message holds are sent in several of the same state.
    Raises OSError if the manager's socket has gone: a process that cannot report ready would be killed anyway.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket is written with @ and begins with a zero byte
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.connect(address)
        if not fds:
            manager.sendall(state.encode())
            return
        for start in range(0, len(fds), MAX_FDS_PER_MESSAGE):
            socket.send_fds(manager, [state.encode()], fds[start : start + MAX_FDS_PER_MESSAGE])


def listen_fds() -> dict[str, list[int]]:
    """The descriptors that the service manager kept for us, by name, in the order in which they were stored.

    Empty if there are none, or if they were meant for another process. They are closed on exec from now on.
    """
    if os.environ.get("LISTEN_PID", "") != str(os.getpid()) or not os.environ.get("LISTEN_FDS", "").isdecimal():
        return {}
    count = int(os.environ["LISTEN_FDS"])
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    found: dict[str, list[int]] = {}
    for i in range(count):
        name = names[i] if i < len(names) and names[i] else "unknown"  # the name that systemd gives
        os.set_inheritable(FIRST_LISTEN_FD + i, False)
        found.setdefault(name, []).append(FIRST_LISTEN_FD + i)
    return found


def watchdog_interval_s() -> float | None:
    """How often to send WATCHDOG=1, in seconds: half of what the manager waits for. None: it does not wait."""
    limit = os.environ.get("WATCHDOG_USEC", "")
    if not limit.isdecimal() or int(limit) == 0 or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(limit) / 2_000_000
