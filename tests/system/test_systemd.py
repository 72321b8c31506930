"""The shipped units under a real systemd: ready, watched, restarted, and the calls that live through it."""

import functools
import itertools
import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.system.caller import Caller
from tests.system.manager import Managed, why_not
from tests.system.server import wait_for

KEEPER, FRONT, BRIDGE = "bellframe-keeper.service", "bellframe-front.service", "bellframe-bridge@0.service"


def is_ready(managed: Managed, unit: str) -> bool:
    """Type=notify: active only after READY=1."""
    return managed.show(unit, "ActiveState", "SubState") == ["active", "running"]


@pytest.fixture(scope="module")
def managed() -> Iterator[Managed]:
    reason = why_not()
    if reason:
        if os.environ.get("BELLFRAME_REQUIRE_PEERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    server = Managed(drop_in="WatchdogSec=2")
    try:
        server.ctl("start", KEEPER)  # compiles the kernels on a fresh machine
        server.ctl("start", "bellframe.target")
        yield server
    finally:
        server.discard()


def test_the_target_starts_all_and_each_has_said_that_it_is_ready(managed: Managed) -> None:
    for unit in (KEEPER, FRONT, BRIDGE):
        wait_for(f"{unit} is ready", functools.partial(is_ready, managed, unit), 60.0)
    assert managed.show(FRONT, "StatusText")[0].startswith("listening for SIP on ")
    with Caller(managed.sip_port) as caller:
        caller.wait_for_packets(50)


def test_a_restarted_keeper_gets_its_ports_and_memory_back_and_the_call_goes_on(managed: Managed) -> None:
    with Caller(managed.sip_port) as caller:
        caller.wait_for_packets(50)
        before = managed.pid_of("worker")
        began_s = time.monotonic()
        managed.ctl("restart", KEEPER)
        took_s = time.monotonic() - began_s
        wait_for("another worker", lambda: managed.pid_of("worker") != before)
        caller.wait_for_packets(100)
        packets = list(caller.received)
        assert len({packet.ssrc for packet in packets}) == 1
        steps = [(b.seq - a.seq & 0xFFFF, (b.timestamp - a.timestamp) % 160) for a, b in itertools.pairwise(packets)]
        assert set(steps) == {(1, 0)}
        skipped_s = (packets[-1].timestamp - packets[0].timestamp) % 2**32 / 8000 - 0.02 * (len(packets) - 1)
        assert skipped_s < took_s / 2, "its workers go on until the other one has started"
    assert int(managed.show(KEEPER, "NFileDescriptorStore")[0]) > 80


@pytest.mark.parametrize("unit", [FRONT, BRIDGE, KEEPER])
def test_a_process_that_hangs_is_killed_by_the_watchdog_and_comes_back(managed: Managed, unit: str) -> None:
    pid, restarts = managed.show(unit, "MainPID", "NRestarts")
    managed.kill(unit, signal.SIGSTOP)
    wait_for("the watchdog", lambda: managed.show(unit, "NRestarts") == [str(int(restarts) + 1)], 30.0, every_s=0.2)
    wait_for("it is back", lambda: managed.show(unit, "ActiveState")[0] == "active" and managed.show(unit, "MainPID")[0] != pid, 60.0)
    wait_for("worker and bridge report to it", lambda: len(managed.status().peers) == 2)
    with Caller(managed.sip_port) as caller:
        caller.wait_for_packets(50)


def test_stopping_the_front_lets_its_calls_end(managed: Managed) -> None:
    with Caller(managed.sip_port) as caller:
        caller.wait_for_packets(20)
        managed.ctl("stop", "--no-block", FRONT)
        wait_for("it drains", lambda: "draining" in managed.log())
        caller.wait_for_packets(50)
    wait_for("it has ended", lambda: managed.show(FRONT, "ActiveState") == ["inactive"], 20.0)
    managed.ctl("start", FRONT)
