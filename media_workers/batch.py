"""Many datagrams for one system call: recvmmsg and sendmmsg, with the buffers they need. For a port that calls share.

A batch is scratch of one process: the headers point into it. What is received is copied from it to where every packet is taken
(some ten nanoseconds), so that everything behind is the same for a port of one call.
"""

import numpy as np
import numpy.typing as npt
from numba import types

from media_workers.sockets import BUFFER_BYTES, MSG_DONTWAIT, SOCKADDR_BYTES
from shm.copying import copy
from shm.jit import njit

_recvmmsg = types.ExternalFunction("recvmmsg", types.int32(types.int32, types.uintp, types.uint32, types.int32, types.uintp))
_sendmmsg = types.ExternalFunction("sendmmsg", types.int32(types.int32, types.uintp, types.uint32, types.int32))

PACKETS = 64
"""Of one system call. More gained nothing measurable; fewer would make entering the kernel dear again."""
HEADER_WORDS = 8
"""struct mmsghdr, 64 octets where pointers have eight: name, name's size, iovec, how many, control, its size, flags, octets done."""
NAME, NAME_BYTES, VECTOR, VECTORS, FLAGS, DONE = 0, 1, 2, 3, 6, 7

BATCH = np.dtype(
    [
        ("headers", "i8", (PACKETS, HEADER_WORDS)),
        ("vectors", "i8", (PACKETS, 2)),  # struct iovec: where, how many octets
        ("names", "u1", (PACKETS, SOCKADDR_BYTES)),
        ("packets", "u1", (PACKETS, BUFFER_BYTES)),
        ("count", "i8"),  # to be sent
    ],
    align=True,
)


def make() -> npt.NDArray[np.void]:
    """An empty batch, its headers pointing at its own buffers."""
    made = np.zeros(1, BATCH)
    batch, places = made[0], np.arange(PACKETS)
    batch["vectors"][:, 0] = batch["packets"].ctypes.data + places * BUFFER_BYTES
    batch["vectors"][:, 1] = BUFFER_BYTES
    batch["headers"][:, NAME] = batch["names"].ctypes.data + places * SOCKADDR_BYTES
    batch["headers"][:, NAME_BYTES] = SOCKADDR_BYTES
    batch["headers"][:, VECTOR] = batch["vectors"].ctypes.data + places * 16
    batch["headers"][:, VECTORS] = 1
    return made


@njit
def receive(fd, batch):
    """What lies there, PACKETS at most; how many. 0: nothing."""
    headers = batch["headers"]
    for i in range(PACKETS):
        headers[i, NAME_BYTES] = SOCKADDR_BYTES  # the kernel wrote how long each was
    return max(0, _recvmmsg(fd, headers.ctypes.data, PACKETS, MSG_DONTWAIT, 0))


@njit
def take(batch, i, own):
    """Packet i to where packets are taken: `own` of call_table.py. Its size."""
    size = batch["headers"][i, DONE] & 0xFFFFFFFF
    copy(own["packet"], 0, batch["packets"][i], 0, size)
    copy(own["sockaddr"], 0, batch["names"][i], 0, SOCKADDR_BYTES)
    own["sockaddr_bytes"][0] = batch["headers"][i, NAME_BYTES] & 0xFFFFFFFF
    return size


@njit
def add(batch, packet, size, sockaddr, sockaddr_bytes):
    """One more to be sent. True: the batch is full, and must be sent."""
    i = batch["count"]
    copy(batch["packets"][i], 0, packet, 0, size)
    batch["vectors"][i, 1] = size
    batch["headers"][i, NAME] = sockaddr.ctypes.data  # of the call's row, where it stays
    batch["headers"][i, NAME_BYTES] = sockaddr_bytes
    batch["count"] = i + 1
    return i + 1 == PACKETS


@njit
def send(fd, batch):
    """All of them; how many the kernel refused. One that it refuses costs none of the others."""
    done, refused, count = 0, 0, batch["count"]
    while done < count:
        sent = _sendmmsg(fd, batch["headers"].ctypes.data + done * HEADER_WORDS * 8, count - done, MSG_DONTWAIT)
        if sent <= 0:
            refused += 1
            sent = 1
        done += sent
    batch["count"] = 0
    return refused
