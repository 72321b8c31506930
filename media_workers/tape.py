"""What really went out, kept for whoever records: one more stage of playout, and one branch where nobody does.

The tape stands on the grid that packets go out on, not on packets: comfort noise is on it, and silence of exact length where
nothing was sent, so a second of it is a second of the clock. Where it stands follows from when the next packet is due: a worker
that takes over in the midst of a packet neither repeats nor leaves out a sample. shm/layout.py draws it.
"""

from typing import TYPE_CHECKING

import numpy as np

from shm import ring, segment
from shm.atomics import keep_order, store_release
from shm.copying import copy
from shm.jit import njit
from shm.layout import REEL, REEL_AT, REEL_NS, TAPE, TAPE_FRAMES, TAPE_RUNNING, TAPE_WRITE

if TYPE_CHECKING:
    from media_workers.call_table import Worker


@njit
def position(call):
    """The sample that the packet due next begins with."""
    tx = call["tx"]
    return tx["reel_at"] + (tx["next_tx_ns"] - tx["reel_ns"]) * call["sample_rate_hz"] // 1_000_000_000


@njit
def write(worker, row, samples):
    """Put `own["pcm"][:samples]`, which is about to be sent, on the tape."""
    call, pcm, tape = worker.calls[row], worker.own[0]["pcm"], worker.rings.tape[row]
    size = call["sample_rate_hz"] // 50 * TAPE_FRAMES
    start = position(call)
    at = start % size
    first = min(samples, size - at)
    keep_order()  # the cursor that told readers of this place's reuse is visible before the place changes
    copy(tape, at, pcm, 0, first)
    copy(tape, 0, pcm, first, samples - first)
    store_release(worker.rings.words, row, TAPE_WRITE, start + samples)


@njit
def write_silence(worker, row, samples):
    """Before the clock goes on by this much with nothing sent: on hold, or because the worker came back too late."""
    call, tape = worker.calls[row], worker.rings.tape[row]
    frame_samples = call["sample_rate_hz"] // 50
    size = frame_samples * TAPE_FRAMES
    start, end = position(call), position(call) + samples
    if samples > size:  # all of it is silence by the time that the cursor says so
        for i in range(size):
            tape[i] = 0
        start = end - size
    while start < end:
        count = min(end - start, frame_samples)  # no more at a time than a packet has: readers keep clear of that
        keep_order()
        for i in range(start, start + count):
            tape[i % size] = 0
        start += count
        store_release(worker.rings.words, row, TAPE_WRITE, start)


def turn(worker: "Worker", row: int, state: int) -> None:
    """TAPE_OFF, TAPE_RUNNING or TAPE_PAUSED, from Python, between two cycles. Said again, it changes nothing."""
    call, words = worker.calls[row], worker.rings.words
    tx = call["tx"]
    if state != TAPE_RUNNING and tx["tape"] == TAPE_RUNNING:
        tx["reel_at"], tx["reel_ns"] = position(call), tx["next_tx_ns"]  # the next reel goes on here
    elif state == TAPE_RUNNING and tx["tape"] != TAPE_RUNNING:
        segment.populate(worker.rings.tape[row, : int(call["sample_rate_hz"]) // 50 * TAPE_FRAMES])
        tx["reel"], tx["reel_ns"] = tx["reel"] + 1, tx["next_tx_ns"]
        ring.store_word(words, row, REEL, 0)
        for column, name in ((REEL_AT, "reel_at"), (REEL_NS, "reel_ns"), (REEL, "reel")):
            ring.store_word(words, row, column, np.int64(tx[name]))
    tx["tape"] = state
    ring.store_word(words, row, TAPE, state)


__all__ = ["position", "turn", "write", "write_silence"]
