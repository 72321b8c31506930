"""What a fork does first: it dies with its parent, and wakes on time."""

import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parent.parent.parent
PARENT = """
import os, sys, time
from shm import forking
forking.settle()
parent = os.getpid()
if os.fork() == 0:
    forking.live_with(parent)
    forking.wake_on_time()
    print(os.getpid(), open("/proc/self/timerslack_ns").read().strip(), flush=True)
    time.sleep(60)
    os._exit(0)
time.sleep(60)
"""


def is_alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_fork_wakes_to_the_nanosecond_and_dies_with_its_parent() -> None:
    root = pathlib.Path(__file__).parent.parent.parent
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=root) as parent:
        assert parent.stdout is not None
        child, slack_ns = map(int, parent.stdout.readline().split())
        assert is_alive(child) and slack_ns == 1
        parent.kill()
        deadline = time.monotonic() + 10
        while is_alive(child):
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_who_was_orphaned_before_it_could_ask_ends_at_once() -> None:
    root = pathlib.Path(__file__).parent.parent.parent
    script = f"from shm import forking; forking.live_with({os.getppid()}); print('alive')"
    found = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (1, "")


SETTLED = """
import ctypes.util, numba.core.codegen
from shm import forking

def resident_kilobytes():
    return sum(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Rss:"))

before = resident_kilobytes()
forking.settle()
after = resident_kilobytes()
numba.njit(lambda a: a + 1)(1)  # what was forgotten is fetched again
print(before, after)
"""


def test_settling_gives_the_compiler_s_code_back_and_it_still_runs() -> None:
    told = subprocess.run([sys.executable, "-c", SETTLED], capture_output=True, text=True, cwd=ROOT, check=True)
    before, after = map(int, told.stdout.split())
    assert after < before - 10_000
