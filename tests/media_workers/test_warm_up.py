"""Compiling by running: nothing that a worker runs is left for its first call."""

import mmap
import os
import select
import socket
import sys
import time

import numba
import pytest
from numba.core.registry import CPUDispatcher

from control_plane.messages import MediaDescription, Party, SrtpKeys
from media_workers import duty_cycle, warm_up
from media_workers.call_table import make_worker, table_bytes, table_views
from media_workers.rows import Rows
from shm import counters, layout

pytestmark = pytest.mark.compiled


def test_afterwards_the_cycle_is_machine_code_for_the_memory_that_keepers_make() -> None:
    """Other types, for example of a mapping that is read-only, would make a worker compile in the middle of a call."""
    warm_up.compile_all()
    rings = layout.rings_format(mmap.mmap(-1, layout.rings_bytes(3)), 3)
    shown = counters.counters_format(mmap.mmap(-1, counters.counters_bytes(2, 3)), 2, 3)
    worker = make_worker(table_views(mmap.mmap(-1, table_bytes(3)), 3), rings, shown, 1, 1, [1, 2])
    assert numba.typeof(worker) in [signature[0] for signature in duty_cycle.run.signatures]


def compiled() -> dict[str, int]:
    """How many signatures every kernel has."""
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in ("media_workers", "shm")]
    kernels = [value for module in modules for value in vars(module).values() if isinstance(value, CPUDispatcher)]
    return {f"{kernel.py_func.__module__}.{kernel.__name__}": len(kernel.signatures) for kernel in kernels}


def keys() -> SrtpKeys:
    return SrtpKeys("AES_CM_128_HMAC_SHA1_80", os.urandom(30), os.urandom(30))


def test_nothing_is_compiled_while_calls_come_and_go() -> None:
    """A worker that compiles takes longer than its heartbeat may stop: it is killed, and so is each successor at the same place."""
    warm_up.compile_all()
    rings = layout.rings_format(mmap.mmap(-1, layout.rings_bytes(1)), 1)
    shown = counters.counters_format(mmap.mmap(-1, counters.counters_bytes(1, 1)), 1, 1)
    calls = table_views(mmap.mmap(-1, table_bytes(1)), 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtcp:
        calls["rtp_fd"], calls["rtcp_fd"] = rtp.fileno(), rtcp.fileno()
        worker = make_worker(calls, rings, shown, 0, 1, [-1])
        rows = Rows(worker, 0, 1, 0)
        before = compiled()
        now = time.monotonic_ns()
        rows.open("a", 0, MediaDescription("PCMU", 0, "127.0.0.1", 9, dtmf_payload_type=101), now)
        rows.update("a", MediaDescription("PCMA", 8, "127.0.0.1", 9, direction="sendonly"), now)
        rows.update("a", MediaDescription("PCMA", 8, "127.0.0.1", 9), now)
        rows.take_key("a", "5", now)
        rows.place("room", (Party("a", agent="talk"),), now)
        rows.place("room", (Party("a", "music"),), now)
        rows.place("room", (), now)
        with select.epoll() as epoll:
            duty_cycle.run(worker, epoll.fileno(), 0, now + 1_000_000)
        assert rows.close("a", now) is not None
        rows.release_quiet(now + 1)
        rows.open("b", 0, MediaDescription("PCMU", 0, "127.0.0.1", 9, srtp=keys()), now)
        rows.update("b", MediaDescription("PCMU", 0, "127.0.0.1", 9, srtp=keys()), now)
        rows.close("b", now)
        Rows(worker, 0, 1, 0)
    assert {name: count for name, count in compiled().items() if count != before.get(name, 0)} == {}


def test_it_may_be_repeated() -> None:
    warm_up.compile_all()
    before = len(duty_cycle.run.signatures)
    warm_up.compile_all()
    assert len(duty_cycle.run.signatures) == before
