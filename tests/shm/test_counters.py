"""The catalogue of counters, and the segment that holds them."""

import os

import numpy as np
import pytest

from shm import counters, segment
from shm.counters import CALL_COLUMN, CALL_COUNTERS, WORKER, WORKER_COUNTERS, counters_bytes, counters_format, counters_views


@pytest.mark.parametrize("catalogue", [WORKER_COUNTERS, CALL_COUNTERS], ids=["worker", "call"])
def test_each_has_a_name_of_its_own_and_a_meaning(catalogue: tuple[tuple[str, str], ...]) -> None:
    names = [name for name, _ in catalogue]
    assert len(set(names)) == len(names) and all(name.isidentifier() for name in names)
    assert all(len(meaning.split()) >= 2 for _, meaning in catalogue)


def test_the_position_is_the_column() -> None:
    assert WORKER["heartbeat_ns"] == 0 and [*WORKER] == [name for name, _ in WORKER_COUNTERS]
    assert CALL_COLUMN["packets_received"] == 0 and [*CALL_COLUMN.values()] == [*range(len(CALL_COUNTERS))]


@pytest.mark.parametrize(("workers", "calls"), [(1, 1), (3, 40)])
def test_workers_and_calls_do_not_overlap_and_fill_the_segment(workers: int, calls: int) -> None:
    memory = bytearray(counters_bytes(workers, calls))
    views = counters_format(memory, workers, calls)
    assert (views.workers.shape, views.lateness.shape, views.calls.shape) == ((workers, 64), (workers, 32), (calls,))
    for value, view in enumerate((views.workers, views.lateness, views.calls["counters"]), 1):
        assert not view.any()
        view[:] = value
    views.calls["call_id"] = b"x" * 40
    assert (views.workers == 1).all() and (views.lateness == 2).all() and (views.calls["counters"] == 3).all()
    assert counters.HEADER_BYTES + sum(view.nbytes for view in views) == len(memory)


def test_a_reader_sees_what_the_worker_counts_and_cannot_write() -> None:
    fd = segment.make("counters", counters_bytes(2, 3))
    writer = counters_format(segment.map_fd(fd), 2, 3)
    reader = counters_views(segment.map_fd(segment.read_only(fd)))
    os.close(fd)
    writer.workers[1, WORKER["cycles"]] += 5
    writer.calls[2]["call_id"] = b"call-2"
    assert reader.workers[1, WORKER["cycles"]] == 5 and reader.calls[2]["call_id"] == b"call-2"
    with pytest.raises(ValueError, match="read-only"):
        reader.workers[0, 0] = 1


@pytest.mark.parametrize("header", [(0, 0), (counters.MAGIC, counters.VERSION + 1)])
def test_another_release_is_refused_with_the_remedy(header: tuple[int, int]) -> None:
    memory = bytearray(counters_bytes(1, 1))
    counters_format(memory, 1, 1)
    np.frombuffer(memory, np.int64, 2)[:] = header
    with pytest.raises(ValueError, match="same release"):
        counters_views(memory)
