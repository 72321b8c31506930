"""Segments: sealed memfds, mapped here, passed to other processes over a Unix socket.

No name in /dev/shm: nothing to leak, to guess, or to clean up after a crash. The kernel-specific part of
shared memory is in this file.
"""

import ctypes
import fcntl
import mmap
import os
import socket
from typing import Any

import numpy.typing as npt

F_ADD_SEALS, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW = 1033, 1, 2, 4  # linux/fcntl.h
MADV_REMOVE, MADV_POPULATE_WRITE = 9, 23  # linux/mman.h
MAX_FDS = 16
MAX_MESSAGE_BYTES = 4096
_libc = ctypes.CDLL(None)


def make(name: str, size_bytes: int) -> int:
    """A memfd of this size, zeroed, that nobody can shrink or grow: a shorter one would kill who reads it."""
    fd = os.memfd_create(f"bellframe-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size_bytes)
    fcntl.fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW)
    return fd


def read_only(fd: int) -> int:
    """A second descriptor of the same memory through which nothing can be written, for whoever only looks."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)


def map_fd(fd: int) -> mmap.mmap:
    """Map the whole segment: writable if the descriptor is. The descriptor may be closed afterwards."""
    writable = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
    access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    return mmap.mmap(fd, os.fstat(fd).st_size, flags=mmap.MAP_SHARED, prot=access)


def populate(part: npt.NDArray[Any]) -> None:
    """Have every page of this part of a segment there before the duty cycle touches it: a page fault costs a packet.

    Best effort: a kernel before 5.14 has no MADV_POPULATE_WRITE, and then each page comes at its first touch.
    """
    start = part.ctypes.data & -mmap.PAGESIZE
    _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(part.ctypes.data + part.nbytes - start), MADV_POPULATE_WRITE)


def give_back(part: npt.NDArray[Any]) -> None:
    """Free the pages that lie within this part of a segment, for every process; they read as zeros afterwards. Best effort."""
    start, end = -(-part.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE, (part.ctypes.data + part.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start:
        _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_REMOVE)


def send(connection: socket.socket, message: bytes, fds: list[int]) -> None:
    """One message with descriptors. The receiver gets copies; ours stay open."""
    socket.send_fds(connection, [message], fds)


def receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """The counterpart of `send`. Raises ConnectionError if the other side closed."""
    message, fds, _, _ = socket.recv_fds(connection, MAX_MESSAGE_BYTES, MAX_FDS)
    if not message:
        raise ConnectionError("the keeper closed the memory socket")
    return message, fds
