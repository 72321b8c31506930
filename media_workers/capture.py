"""The packets of a call for whoever captures it: copied into a ring of shared memory, and one branch where nobody does.

Without SRTP (CLEAR), or as they cross the wire (WIRE); both at once where two ask. It lasts as long as it is asked for again:
who captures may be killed at any moment, and then it ends by itself. shm/layout.py draws the ring, shm/capture.py reads it.
"""

from typing import TYPE_CHECKING

import numpy as np

from media_workers import source
from shm import segment
from shm.atomics import keep_order, load_acquire, store_release
from shm.copying import copy
from shm.jit import njit
from shm.layout import CAPTURE_SLOTS, CAPTURE_WRITE, IS_PROTECTED, IS_SENT, MAX_CAPTURED_BYTES

if TYPE_CHECKING:
    from media_workers.call_table import Worker

CLEAR, WIRE = 1, 2
LEASE_NS = 10_000_000_000
"""How long a capture goes on after it was last asked for. Its packets may be read until then, also when the call is over."""


@njit
def write_received(worker, row, size, is_rtcp_port, kind, now_ns):
    """`own["packet"][:size]`, which came from `own["address"]`."""
    if worker.calls[row]["captures"] & kind != 0:
        _write(worker, row, size, is_rtcp_port, IS_PROTECTED if kind == WIRE else 0, now_ns)


@njit
def write_sent(worker, row, size, is_rtcp_port, sockaddr, kind, now_ns):
    """`own["packet"][:size]`, which goes to this sockaddr. Nothing, where it could not be protected."""
    if size > 0 and worker.calls[row]["captures"] & kind != 0:
        source.read_sockaddr(sockaddr, worker.own[0]["address"])
        _write(worker, row, size, is_rtcp_port, IS_SENT | IS_PROTECTED if kind == WIRE else IS_SENT, now_ns)


@njit
def _write(worker, row, size, is_rtcp_port, flags, now_ns):
    own, words = worker.own[0], worker.rings.words
    sequence = load_acquire(words, row, CAPTURE_WRITE)
    keep_order()  # the cursor that told readers of this slot's reuse is visible before the slot changes
    slot = worker.rings.capture[row, sequence & (CAPTURE_SLOTS - 1)]
    slot["at_ns"] = now_ns
    for i in range(3):
        slot["remote"][i] = own["address"][i]
    slot["size"] = min(size, MAX_CAPTURED_BYTES)
    slot["local_port"] = worker.calls[row]["rtp_port"] + (1 if is_rtcp_port else 0)
    slot["flags"] = flags
    copy(slot["octets"], 0, own["packet"], 0, min(size, MAX_CAPTURED_BYTES))
    store_release(words, row, CAPTURE_WRITE, sequence + 1)  # last: this makes it visible


def start(worker: "Worker", row: int, kind: int, now_ns: int) -> None:
    """CLEAR or WIRE, from Python, between two cycles. Said again, it lasts longer."""
    call = worker.calls[row]
    if call["captures"] == 0:
        segment.populate(worker.rings.capture[row])
    call["capture_until_ns"][kind - 1] = now_ns + LEASE_NS
    call["captures"] |= kind


def end_unwanted(worker: "Worker", rows: slice, now_ns: int) -> None:
    """Those that nobody has asked for again."""
    for offset in np.flatnonzero(worker.calls["captures"][rows]):
        call = worker.calls[rows.start + int(offset)]
        for kind in (CLEAR, WIRE):
            if now_ns >= call["capture_until_ns"][kind - 1]:
                call["captures"] &= ~kind
        if call["captures"] == 0:
            segment.give_back(worker.rings.capture[rows.start + int(offset)])
