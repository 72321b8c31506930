"""Compiling by running: nothing that a worker runs is left for its first call."""

import mmap

import numba
import pytest

from media_workers import duty_cycle, warm_up
from media_workers.call_table import make_worker, table_bytes, table_views
from shm import counters, layout

pytestmark = pytest.mark.compiled


def test_afterwards_the_cycle_is_machine_code_for_the_memory_that_keepers_make() -> None:
    """Other types, for example of a mapping that is read-only, would make a worker compile in the middle of a call."""
    warm_up.compile_all()
    rings = layout.rings_format(mmap.mmap(-1, layout.rings_bytes(3)), 3)
    shown = counters.counters_format(mmap.mmap(-1, counters.counters_bytes(2, 3)), 2, 3)
    worker = make_worker(table_views(mmap.mmap(-1, table_bytes(3)), 3), rings, shown, 1, 1, [1, 2])
    assert numba.typeof(worker) in [signature[0] for signature in duty_cycle.run.signatures]


def test_it_may_be_repeated() -> None:
    warm_up.compile_all()
    before = len(duty_cycle.run.signatures)
    warm_up.compile_all()
    assert len(duty_cycle.run.signatures) == before
