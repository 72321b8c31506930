"""The call table: a row is all that a call's media needs."""

import numpy as np
import pytest

from media_workers.call_table import CALL, GROUPS, SCRATCH, make_worker, table_bytes, table_views
from media_workers.jitter_buffer import HELD_AT
from media_workers.rtp import MAX_PACKET_BYTES, MAX_PAYLOAD_BYTES
from media_workers.sockets import BUFFER_BYTES, EVENT_BYTES, MAX_EVENTS, SOCKADDR_BYTES
from shm import counters, layout
from tests.media_workers.call_under_test import make_views


def test_rows_follow_each_other_and_fill_the_segment() -> None:
    memory = bytearray(table_bytes(3))
    calls = table_views(memory, 3)
    calls[1:2].view(np.uint8)[:] = 0xFF
    assert calls.shape == (3,) and not calls[[0, 2]].view(np.uint8).any()
    assert calls.nbytes == len(memory)


def test_words_that_atomics_touch_are_aligned() -> None:
    """A record in an array is as aligned as its size: i8 fields at multiples of eight in every row."""
    assert CALL.itemsize % 8 == SCRATCH.itemsize % 8 == 0
    assert all(CALL.fields is not None and CALL.fields[name][1] % 8 == 0 for name in ("state", "source", "rx", "tx", "voice", "held"))


def test_the_scratch_holds_the_greatest_of_everything() -> None:
    fields = {name: SCRATCH[name] for name in SCRATCH.names or ()}
    assert BUFFER_BYTES <= HELD_AT and fields["packet"].shape[0] >= HELD_AT + MAX_PAYLOAD_BYTES
    assert MAX_PACKET_BYTES < BUFFER_BYTES  # a datagram that is too long is seen to be
    assert fields["events"].shape[0] >= MAX_EVENTS * EVENT_BYTES and fields["sockaddr"].shape[0] >= SOCKADDR_BYTES
    assert fields["pcm"].shape[0] >= max(MAX_PAYLOAD_BYTES, 3 * layout.MAX_FRAME_SAMPLES)
    assert fields["bell_fds"].shape[0] == fields["rung"].shape[0] - 1 == layout.MAX_BRIDGES  # one stands for nobody


def test_every_counter_of_a_call_has_its_place() -> None:
    assert counters.CALL["counters"].shape[0] >= len(counters.CALL_COUNTERS)


@pytest.mark.parametrize("index", [0, 1])
def test_a_worker_counts_in_its_own_line(index: int) -> None:
    rings = layout.rings_format(bytearray(layout.rings_bytes(4)), 4)
    shown = counters.counters_format(bytearray(counters.counters_bytes(2, 4)), 2, 4)
    worker = make_worker(table_views(bytearray(table_bytes(4)), 4), rings, shown, index, 2, [5, 6])
    worker.totals[0, 3] = 9
    worker.lateness[2] = 8
    assert shown.workers[index, 3] == 9 and shown.workers.sum() == 9 and shown.lateness[index, 2] == 8 and shown.lateness.sum() == 8
    assert worker.groups.shape == (GROUPS, 3) and worker.own[0]["bell_fds"][:3].tolist() == [5, 6, 0] and worker.own[0]["bridges"] == 2


def test_two_workers_of_one_process_do_not_share_scratch() -> None:
    one, other = make_views(), make_views()
    one.own[0]["packet"][0] = 1
    assert other.own[0]["packet"][0] == 0
