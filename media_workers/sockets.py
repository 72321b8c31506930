"""The duty cycle's own system calls. Everything that is Linux's, and everything about sockets, is here.

The symbols are libc's, found in the process itself, so compiled kernels that use them can be cached.
Nothing here touches a Python object; -1 and `errno`-less results are counted by the caller, never raised.
"""

import contextlib
import ctypes
import platform
import select
import socket

import numpy as np
from numba import types

from shm.jit import njit

_recvfrom = types.ExternalFunction(
    "recvfrom", types.intp(types.int32, types.uintp, types.uintp, types.int32, types.uintp, types.uintp)
)
_sendto = types.ExternalFunction("sendto", types.intp(types.int32, types.uintp, types.uintp, types.int32, types.uintp, types.uint32))
_epoll_pwait2 = types.ExternalFunction(
    "epoll_pwait2", types.int32(types.int32, types.uintp, types.int32, types.uintp, types.uintp)
)
_clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.uintp))
_eventfd_write = types.ExternalFunction("eventfd_write", types.int32(types.int32, types.uint64))

CLOCK_REALTIME, CLOCK_MONOTONIC = 0, 1
MSG_DONTWAIT = 0x40
IS_PACKED = platform.machine() == "x86_64"  # struct epoll_event is packed there, and only there
EVENT_BYTES = 12 if IS_PACKED else 16
EVENT_DATA = 4 if IS_PACKED else 8
MAX_EVENTS = 256
SOCKADDR_BYTES = 32
BUFFER_BYTES = 2048

CONTROL_EVENT = 0xFFFFFFFF
"""epoll's user data of the control channel. RTP sockets have row << 1, RTCP sockets row << 1 | 1."""
SHARED_EVENT, SHARED_RTCP_EVENT = 0xFFFFFFFC, 0xFFFFFFFD
"""Of the ports that many calls share."""

_libc = ctypes.CDLL(None, use_errno=True)

EXPEDITED_FORWARDING = 46  # DSCP of voice, RFC 4594
SO_RCVBUFFORCE = 33  # asm-generic/socket.h: beyond net.core.rmem_max, for who has CAP_NET_ADMIN


@njit
def now_ns(clock):
    """CLOCK_MONOTONIC; `clock` is scratch for a timespec."""
    _clock_gettime(CLOCK_MONOTONIC, clock.ctypes.data)
    return clock[0] * 1_000_000_000 + clock[1]


@njit
def realtime_ns(clock):
    """CLOCK_REALTIME: what the wall says, which may be set at any moment."""
    _clock_gettime(CLOCK_REALTIME, clock.ctypes.data)
    return clock[0] * 1_000_000_000 + clock[1]


@njit
def wait(epoll_fd, events, clock, timeout_ns):
    """epoll_pwait2: how many events there are. A signal counts as none."""
    clock[0] = timeout_ns // 1_000_000_000
    clock[1] = timeout_ns % 1_000_000_000
    return max(0, _epoll_pwait2(epoll_fd, events.ctypes.data, MAX_EVENTS, clock.ctypes.data, 0))


@njit
def event_data(events, i):
    """The 32-bit user data of event i."""
    at = i * EVENT_BYTES + EVENT_DATA
    return np.int64(events[at]) | np.int64(events[at + 1]) << 8 | np.int64(events[at + 2]) << 16 | np.int64(events[at + 3]) << 24


@njit
def receive(fd, packet, sockaddr, sockaddr_bytes):
    """One datagram into `packet`; its size, or below 0: nothing there. sockaddr_bytes[0] becomes the size of the sockaddr."""
    sockaddr_bytes[0] = SOCKADDR_BYTES
    return _recvfrom(fd, packet.ctypes.data, BUFFER_BYTES, MSG_DONTWAIT, sockaddr.ctypes.data, sockaddr_bytes.ctypes.data)


@njit
def send(fd, packet, size, sockaddr, sockaddr_bytes):
    """Below 0: the kernel refused."""
    return _sendto(fd, packet.ctypes.data, size, MSG_DONTWAIT, sockaddr.ctypes.data, sockaddr_bytes)


@njit
def send_to(fd, packet, size, address, address_bytes):
    """The same, to the sockaddr that lies at this address."""
    return _sendto(fd, packet.ctypes.data, size, MSG_DONTWAIT, address, address_bytes)


@njit
def ring_bell(fd):
    _eventfd_write(fd, 1)


def bind_pair(host: str, port: int, dscp: int = EXPEDITED_FORWARDING) -> tuple[socket.socket, socket.socket]:
    """The sockets for RTP and RTCP of one call. Raises OSError when one is taken; then neither is."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    pair: list[socket.socket] = []
    try:
        for number in (port, port + 1):
            pair.append(socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC))
            pair[-1].bind((host, number))
            with contextlib.suppress(OSError):
                pair[-1].setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)  # also on IPv6's, which may carry IPv4
                if family == socket.AF_INET6:
                    pair[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
    except OSError:
        for bound in pair:
            bound.close()
        raise
    return pair[0], pair[1]


def widen(bound: socket.socket, buffer_bytes: int) -> int:
    """Have the kernel keep so much of what comes, as far as it lets us; what it keeps, in the same measure."""
    for option in (SO_RCVBUFFORCE, socket.SO_RCVBUF):
        with contextlib.suppress(OSError):
            bound.setsockopt(socket.SOL_SOCKET, option, buffer_bytes)
            break
    return bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # it doubles what is asked, for its own part


def is_supported() -> bool:
    """Does this kernel have epoll_pwait2 (Linux 5.11), and may we call it? Without it a worker would spin, and hear nothing."""
    with select.epoll() as epoll:
        event, at_once = ctypes.create_string_buffer(EVENT_BYTES), ctypes.create_string_buffer(16)
        return int(_libc.epoll_pwait2(epoll.fileno(), event, 1, at_once, None)) == 0


def watch(epoll: select.epoll, fd: int, data: int) -> None:
    """Register `fd` with user data of our own, which select.epoll does not offer: the event carries it back.

    select.epoll always stores the descriptor as user data, so the raw call is made here.
    """
    event = bytearray(EVENT_BYTES)
    event[0:4] = int(select.EPOLLIN).to_bytes(4, "little")
    event[EVENT_DATA : EVENT_DATA + 4] = data.to_bytes(4, "little")
    buffer = (ctypes.c_char * EVENT_BYTES).from_buffer(event)
    if _libc.epoll_ctl(epoll.fileno(), 1, fd, buffer) != 0:  # EPOLL_CTL_ADD
        raise OSError(ctypes.get_errno(), "epoll_ctl")
