"""Packets on their way out: collected in one pass of the duty cycle, and sent by one system call for many of them.

Through io_uring where the kernel has it and lets us: 64 sends on 64 sockets for one entry into the kernel. A third of what sendto
costs falls away (docs/benchmarks.md). Without it, packets that follow one another on one socket go by sendmmsg, the others by
sendto. All are sent when `flush` returns, either way: nothing stays under way, and the order is kept.

The ring is of one process, as any descriptor's memory of it is: a worker makes its own.
"""

import ctypes
import mmap
import os
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from media_workers import batch, sockets
from media_workers.batch import HEADER_WORDS, NAME, NAME_BYTES, PACKETS
from media_workers.sockets import BUFFER_BYTES, MSG_DONTWAIT
from shm.copying import copy
from shm.jit import njit

_syscall = types.ExternalFunction("syscall", types.intp(*[types.intp] * 7))
_sendmmsg = types.ExternalFunction("sendmmsg", types.int32(types.int32, types.uintp, types.uint32, types.int32))

# linux/io_uring.h
IO_URING_SETUP, IO_URING_ENTER = 425, 426
SETUP_SINGLE_ISSUER, SETUP_DEFER_TASKRUN = 1 << 12, 1 << 13  # Linux 6.1: completions are ours to reap, and interrupt nothing
FEATURE_SINGLE_MMAP, ENTER_GETEVENTS = 1, 1
RING_OFFSET, ENTRIES_OFFSET = 0, 0x10000000  # of mmap
OP_SEND = 26
ENTRY_WORDS, COMPLETION_WORDS = 8, 4  # of 8 octets; of 4
FD_WORD, TO_WORD, FROM_WORD, SIZE_WORD, TO_BYTES_WORD = 0, 1, 2, 3, 5  # of an entry: two fields a word in three of them
PARAMETERS = np.dtype(
    [
        *((name, "u4") for name in ("sq_entries", "cq_entries", "flags", "cpu", "idle", "features", "wq_fd")),
        ("reserved", "u4", 3),
        ("sq", "u4", 10),  # offsets: head, tail, mask, entries, flags, dropped, array
        ("cq", "u4", 10),  # head, tail, mask, entries, overflow, completions
    ]
)
RING_FD, SQ_HEAD, SQ_TAIL, SQ_MASK, SQ_ARRAY, CQ_HEAD, CQ_TAIL, CQ_MASK, CQ_ENTRIES = range(9)
"""What `places` holds: the descriptor (-1: no ring), and where in `ring` the rest is."""
ATTEMPTS = 3  # to enter the kernel, should a signal come in between

_libc = ctypes.CDLL(None, use_errno=True)


class SendQueue(NamedTuple):
    batch: npt.NDArray[np.void]  # (1,) BATCH
    fds: npt.NDArray[np.int64]  # (PACKETS,)
    entries: npt.NDArray[np.int64]  # (PACKETS, ENTRY_WORDS)
    ring: npt.NDArray[np.uint32]
    places: npt.NDArray[np.int64]


def make(wants_ring: bool = False) -> SendQueue:
    """An empty queue; through io_uring if that is wanted, and can be."""
    made, places = batch.make(), np.full(9, -1, np.int64)
    entries, ring = np.zeros((PACKETS, ENTRY_WORDS), np.int64), np.zeros(1, np.uint32)
    opened = _open_ring() if wants_ring else None
    if opened:
        places, ring, entries = opened
        entries[:] = 0
        entries[:, FROM_WORD] = made[0]["packets"].ctypes.data + np.arange(PACKETS) * BUFFER_BYTES
    return SendQueue(made, np.zeros(PACKETS, np.int64), entries, ring, places)


def _open_ring() -> "tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32], npt.NDArray[np.int64]] | None":
    """None: this kernel has none, or nobody may use it (kernel.io_uring_disabled, a system call filter)."""
    parameters = np.zeros(1, PARAMETERS)
    parameters["flags"] = SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN
    fd = int(_libc.syscall(IO_URING_SETUP, PACKETS, ctypes.c_void_p(parameters.ctypes.data)))
    if fd < 0:
        return None
    os.set_inheritable(fd, False)
    told = parameters[0]
    if not int(told["features"]) & FEATURE_SINGLE_MMAP or int(told["sq_entries"]) != PACKETS:
        os.close(fd)
        return None
    sq, cq = told["sq"].astype(np.int64) // 4, told["cq"].astype(np.int64) // 4
    words = max(int(sq[6]) + PACKETS, int(cq[5]) + COMPLETION_WORDS * int(told["cq_entries"]))
    ring = np.frombuffer(_map(fd, words * 4, RING_OFFSET), np.uint32)
    entries = np.frombuffer(_map(fd, PACKETS * ENTRY_WORDS * 8, ENTRIES_OFFSET), np.int64).reshape(PACKETS, ENTRY_WORDS)
    places = np.array([fd, sq[0], sq[1], ring[sq[2]], sq[6], cq[0], cq[1], ring[cq[2]], cq[5]], np.int64)
    return places, ring, entries


def _map(fd: int, size: int, offset: int) -> Any:
    return mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=offset)


def close(queue: SendQueue) -> None:
    """The ring's descriptor, if there is one."""
    if queue.places[RING_FD] >= 0:
        os.close(int(queue.places[RING_FD]))
        queue.places[RING_FD] = -1


@njit
def add(queue, fd, packet, size, sockaddr, sockaddr_bytes):
    """One more to be sent. `sockaddr` must stay where it is until then. True: it is full, and must be flushed."""
    waiting = queue.batch[0]
    i = waiting["count"]
    copy(waiting["packets"][i], 0, packet, 0, size)
    queue.fds[i] = fd
    if queue.places[RING_FD] >= 0:
        entry = queue.entries[i]
        entry[FD_WORD] = OP_SEND | fd << 32
        entry[TO_WORD] = sockaddr.ctypes.data
        entry[SIZE_WORD] = size | MSG_DONTWAIT << 32
        entry[TO_BYTES_WORD] = sockaddr_bytes << 32
    else:
        waiting["vectors"][i, 1] = size
        waiting["headers"][i, NAME] = sockaddr.ctypes.data
        waiting["headers"][i, NAME_BYTES] = sockaddr_bytes
    waiting["count"] = i + 1
    return i + 1 == PACKETS


@njit
def flush(queue):
    """Send all that waits; how many the kernel refused. One that it refuses costs none of the others."""
    count = queue.batch[0]["count"]
    queue.batch[0]["count"] = 0
    if queue.places[RING_FD] >= 0:
        return _send_by_ring(queue, count)
    return _send_one_by_one(queue, count)


@njit
def _send_by_ring(queue, count):
    ring, places = queue.ring, queue.places
    tail = np.int64(ring[places[SQ_TAIL]])
    for i in range(count):
        ring[places[SQ_ARRAY] + ((tail + i) & places[SQ_MASK])] = i
    ring[places[SQ_TAIL]] = (tail + count) & 0xFFFFFFFF
    submitted, attempts = 0, 0
    while submitted < count and attempts < ATTEMPTS:
        wanted = count - submitted
        taken = _syscall(IO_URING_ENTER, places[RING_FD], wanted, wanted, ENTER_GETEVENTS, 0, 0)
        submitted += max(0, taken)
        attempts += 1 if taken < wanted else 0
    refused = count - submitted
    if refused > 0:
        ring[places[SQ_TAIL]] = ring[places[SQ_HEAD]]  # what it did not take is taken back: it would be late
    head = np.int64(ring[places[CQ_HEAD]])
    while head != np.int64(ring[places[CQ_TAIL]]):
        result = ring[places[CQ_ENTRIES] + COMPLETION_WORDS * (head & places[CQ_MASK]) + 2]
        refused += 1 if result & 0x80000000 else 0
        head = (head + 1) & 0xFFFFFFFF
    ring[places[CQ_HEAD]] = head
    return refused


@njit
def _send_one_by_one(queue, count):
    waiting, done, refused = queue.batch[0], 0, 0
    while done < count:
        together = 1
        while done + together < count and queue.fds[done + together] == queue.fds[done]:
            together += 1
        first = waiting["headers"].ctypes.data + done * HEADER_WORDS * 8
        sent = 1
        if together > 1:
            sent = _sendmmsg(queue.fds[done], first, together, MSG_DONTWAIT)
        elif _sendto_of(queue, done) < 0:
            sent = -1
        if sent <= 0:
            refused += 1
            sent = 1
        done += sent
    return refused


@njit
def _sendto_of(queue, i):
    header, waiting = queue.batch[0]["headers"][i], queue.batch[0]
    return sockets.send_to(queue.fds[i], waiting["packets"][i], waiting["vectors"][i, 1], header[NAME], header[NAME_BYTES])
