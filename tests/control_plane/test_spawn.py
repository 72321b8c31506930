"""A spawned process: its descriptors, its session, and its end with ours."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from control_plane.spawn import CANNOT_EXECUTE, spawn

SHOW = """
import os, sys
from control_plane import notify
kept = notify.listen_fds()
for name, fds in kept.items():
    for fd in fds:
        os.write(fd, name.encode())
others = {int(n) for n in os.listdir("/proc/self/fd")} - {0, 1, 2} - {fd for fds in kept.values() for fd in fds}
print(sorted(kept), os.getsid(0) == os.getpid(), len([fd for fd in others if os.path.exists(f"/proc/self/fd/{fd}")]))
"""


def test_kept_descriptors_arrive_by_name_and_nothing_else_does(capfd: pytest.CaptureFixture[str]) -> None:
    pipes = [os.pipe() for _ in range(3)]
    stray = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(stray, True)
    # Named so that the numbers they must get are taken by others of them.
    kept = [("c", pipes[2][1]), ("a", pipes[0][1]), ("b", pipes[1][1])]
    pid = spawn([sys.executable, "-c", SHOW], {"PYTHONPATH": os.getcwd(), "LISTEN_FDS": "9"}, kept)
    assert os.waitpid(pid, 0)[1] == 0
    assert capfd.readouterr().out == "['a', 'b', 'c'] True 0\n"
    assert [os.read(reader, 10) for reader, _ in pipes] == [b"a", b"b", b"c"]
    for fd in (stray, *(fd for pair in pipes for fd in pair)):
        os.close(fd)


def test_what_cannot_be_run_says_so_and_ends(capfd: pytest.CaptureFixture[str]) -> None:
    pid = spawn(["/nonexistent/program"], {}, [])
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == CANNOT_EXECUTE
    assert "cannot run /nonexistent/program" in capfd.readouterr().err


PARENT = """
import sys, time
from control_plane.spawn import spawn
print(spawn([sys.executable, "-c", "import time; time.sleep(60)"], {}, []), flush=True)
time.sleep(60)
"""


def test_it_dies_with_the_one_who_started_it() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 10
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(child)


def is_running(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
