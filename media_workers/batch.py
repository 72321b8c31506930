"""Many datagrams for one system call: the buffers, and recvmmsg for a port that calls share. What goes out: send_queue.py.

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
        ("count", "i8"),  # that wait to be sent
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
