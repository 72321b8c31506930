"""A real systemd for the tests: a user manager in namespaces of its own, which runs the units as `bellframe install` writes them.

Its /run is a fresh tmpfs and its /etc an overlay, so nothing of the machine is touched and nothing is left behind.
What it is told otherwise than an operator's: where Python and the tree lie, that both may be below /root or /tmp, and not to
hide files of /proc, which a container may have hidden before.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import Any

from control_plane.command import main
from tests.system.server import AGENTS, HOST, ROOT, START_LIMIT_S, Reachable, free_ports, wait_for

SERVICES = ("bellframe-keeper.service", "bellframe-front.service", "bellframe-bridge@.service")
CALLS = 40
SYSTEMD = "/lib/systemd/systemd"
BOOT = """
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/user/0 /run/upper /run/work /run/venv/bin
mount --bind "$FOLDER/run" /run/user/0
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work /etc
mkdir -p /etc/bellframe && cp "$FOLDER/bellframe.toml" /etc/bellframe/
cp "$FOLDER/python" /run/venv/bin/python
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p /sys/fs/cgroup/manager && echo $$ > /sys/fs/cgroup/manager/cgroup.procs
export XDG_RUNTIME_DIR=/run/user/0 SYSTEMD_UNIT_PATH="$FOLDER/root/etc/systemd/system:/usr/lib/systemd/user" SYSTEMD_LOG_TARGET=console
"$SYSTEMD" --user & # not as process 1: a user manager refuses to be that
wait
"""
DROP_IN = """[Service]
User=
Group=
ProtectHome=no
PrivateTmp=no
ProtectKernelTunables=no
ProtectKernelLogs=no
StandardOutput=append:{log}
StandardError=append:{log}
{more}
"""


def why_not() -> str:
    """Why no manager can be run here, or nothing."""
    if os.geteuid() != 0:
        return "a systemd in namespaces of its own needs root"
    tried = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--cgroup", "true"], capture_output=True, text=True)
    return tried.stderr.strip()


def children_of(pid: int) -> list[int]:
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Managed(Reachable):
    """`bellframe.target` under a systemd of its own. `drop_in`: more lines for each service."""

    def __init__(self, drop_in: str = "", agent: str = "echo", calls: int = CALLS) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sd-"))
        self.runtime, self.log_path = self.folder / "run" / "bellframe", self.folder / "log"
        first = free_ports(2 * calls + 4)
        self.sip_port = first
        self._write(range(first + 2, first + 2 * calls + 2), drop_in, agent)
        environment = {**os.environ, "FOLDER": str(self.folder), "SYSTEMD": SYSTEMD}
        command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--cgroup", "--kill-child=KILL", "sh", "-c", BOOT]
        with (self.folder / "manager").open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        self.inside = 0
        try:
            wait_for("systemd answers", self._is_up, 20.0, every_s=0.1)
        except BaseException:
            self.discard()
            raise

    def _write(self, rtp_ports: range, drop_in: str, agent: str) -> None:
        (self.folder / "run").mkdir(mode=0o700)
        root = self.folder / "root"
        root.mkdir()
        assert main(["install", "--root", str(root), "--prefix", "/run/venv"]) == 0
        units = root / "etc/systemd/system"
        for name in SERVICES:
            (units / f"{name}.d").mkdir()
            (units / f"{name}.d" / "test.conf").write_text(DROP_IN.format(log=self.log_path, more=drop_in))
        settings: dict[str, dict[str, Any]] = {
            "sip": {"listen": f"{HOST}:{self.sip_port}"},
            "media": {"rtp_ports": f"{rtp_ports.start}-{rtp_ports.stop}", "workers": 1, "heartbeat_timeout_ms": 1000},
            "bridge": {"modules": str(AGENTS)},
        }
        lines = [f'[[routes]]\nagent = "{agent}"\n']
        for section, values in settings.items():
            lines += [f"[{section}]\n", *(f"{key} = {json.dumps(value)}\n" for key, value in values.items())]
        (self.folder / "bellframe.toml").write_text("".join(lines))
        python = self.folder / "python"
        python.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} "$@"\n')
        python.chmod(0o755)

    def _is_up(self) -> bool:
        assert self.process.poll() is None, (self.folder / "manager").read_text()
        with contextlib.suppress(OSError, StopIteration):
            first = next(iter(children_of(self.process.pid)))
            self.inside = next(pid for pid in children_of(first) if pathlib.Path(f"/proc/{pid}/comm").read_text() == "systemd\n")
            return self.ctl("is-system-running", check=False) in ("running", "starting", "degraded")
        return False

    def ctl(self, *words: str, check: bool = True, limit_s: float = START_LIMIT_S) -> str:
        """`systemctl --user ...` inside; what it prints."""
        done = self.inside_run("systemctl", "--user", "--no-pager", *words, limit_s=limit_s)
        assert done.returncode == 0 or not check, f"{' '.join(words)}: {done.stdout}{done.stderr}\n{self.log()}"
        return done.stdout.strip()

    def inside_run(self, *command: str, limit_s: float = START_LIMIT_S) -> subprocess.CompletedProcess[str]:
        """A command in the manager's namespaces, as somebody who has logged in there would run it."""
        entered = ["nsenter", "--target", str(self.inside), "--mount", "--pid", "--cgroup", "env"]
        entered += ["XDG_RUNTIME_DIR=/run/user/0", f"PYTHONPATH={ROOT}", *command]
        return subprocess.run(entered, capture_output=True, text=True, timeout=limit_s, check=False)

    def show(self, unit: str, *names: str) -> list[str]:
        """Properties of a unit, in the order asked for."""
        found = dict(line.partition("=")[::2] for line in self.ctl("show", unit, f"--property={','.join(names)}").splitlines())
        return [found[name] for name in names]

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def kill(self, unit: str, number: signal.Signals) -> None:
        """A signal to a service's main process, as if from outside."""
        self.ctl("kill", f"--signal={number.value}", "--kill-whom=main", unit)

    def discard(self) -> None:
        """The first process of a PID namespace takes all others with it."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
