"""A short soak with a kill of each kind that no call ends by."""

import pathlib
import subprocess
import sys

from tests.system.server import ROOT


def test_nothing_leaks_ends_or_crosses_while_processes_are_killed(tmp_path: pathlib.Path) -> None:
    page = tmp_path / "soak.html"
    words = ("soak", "--minutes", "0.6", "--calls", "12", "--fault-every", "8", "--report", str(page))
    command = [sys.executable, "-m", "control_plane.command", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=110, check=False)
    assert done.returncode == 0 and "passed" in page.read_text(), done.stdout + done.stderr
