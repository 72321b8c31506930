"""The parent in a process of its own, with a life that a test wrote, and the service manager's socket."""

import contextlib
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
PARENT = """
import logging, os, pathlib, sys, time
from ai_bridge import parent
parent.HUNG_S, parent.START_LIMIT_S = 0.6, {start_limit_s}
births = pathlib.Path({births!r})
def live(give_sign, is_after_failure):
    with births.open("a") as file:
        file.write(f"{{os.getpid()}}\\n")
    nth = len(births.read_text().split())
{life}
logging.basicConfig()
sys.exit(parent.Parent("bridge 0", live).run())
"""


@pytest.fixture
def run_parent(tmp_path: pathlib.Path) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], socket.socket, pathlib.Path]]]:
    with contextlib.ExitStack() as stack:

        def run(life: str, start_limit_s: float = 60.0) -> tuple[subprocess.Popen[bytes], socket.socket, pathlib.Path]:
            manager = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            manager.bind(str(tmp_path / "notify"))
            manager.settimeout(10)
            births = tmp_path / "births"
            births.touch()
            code = PARENT.format(births=str(births), life=life, start_limit_s=start_limit_s)
            environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": str(tmp_path / "notify")}
            environment["WATCHDOG_USEC"] = "200000"
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stderr=subprocess.PIPE))
            stack.callback(process.kill)
            return process, manager, births

        yield run


def born(births: pathlib.Path) -> int:
    return len(births.read_text().split())


def until(condition: Callable[[], object], manager: socket.socket) -> list[bytes]:
    """What the manager was told meanwhile: it must read, or the parent waits to tell it more."""
    told, deadline = [], time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        told.append(manager.recv(100))
    return told


def test_the_watchdog_is_fed_while_a_blocked_child_is_found_and_replaced(run_parent):
    process, manager, births = run_parent("    give_sign()\n    time.sleep(60)")
    assert manager.recv(100) == b"READY=1"
    gaps, last = [], time.monotonic()
    while born(births) < 2:
        assert manager.recv(100) == b"WATCHDOG=1"
        gaps.append(time.monotonic() - last)
        last = time.monotonic()
    assert len(gaps) > 3 and max(gaps) < 0.6, "the parent lives, however long its child is blocked"
    process.terminate()
    assert process.wait(10) == 0 and b"its agents have blocked it" in process.stderr.read()


def test_a_successor_may_load_for_longer_than_a_child_may_be_blocked(run_parent):
    process, manager, births = run_parent(
        """\
    if nth > 1:
        time.sleep(1.5)
    give_sign()
    if nth == 1:
        time.sleep(0.3)
        os._exit(9)
    births.with_name("up").touch()
    time.sleep(60)"""
    )
    told = until(births.with_name("up").exists, manager)
    assert born(births) == 2 and told.count(b"READY=1") == 1
    process.terminate()
    assert process.wait(10) == 0 and b"replaced" not in process.stderr.read()


def test_a_child_that_never_gets_ready_is_given_up(run_parent):
    process, _, births = run_parent("    time.sleep(60)", start_limit_s=0.5)
    assert process.wait(10) != 0 and born(births) == 1
    assert b"its agents have been loading" in process.stderr.read()


@pytest.mark.parametrize(("end", "is_own_doing"), [("os.abort()", True), ("os._exit(3)", True), ("os.kill(os.getpid(), 9)", False)])
def test_the_next_child_knows_whether_the_one_before_ended_itself(run_parent, end: str, is_own_doing: bool):
    """Who sends SIGKILL cannot be seen, so it counts as somebody else's; the kernel's, for want of memory, can."""
    process, manager, births = run_parent(
        f"""\
    give_sign()
    if nth == 1:
        time.sleep(0.2)
        {end}
    births.with_name(f"after-{{is_after_failure}}").touch()
    time.sleep(60)"""
    )
    until(births.with_name(f"after-{is_own_doing}").exists, manager)
    process.terminate()
    assert process.wait(10) == 0
