"""Replace every process by another one, of the release and the configuration that are installed by now, while calls go on.

    pip install --upgrade bellframe && bellframe install && bellframe upgrade

One after the other: agent processes (their callers hear comfort noise for the seconds of a start), the keeper with its workers (a
second or two without audio), the front (what is sent to it waits in its sockets), then the rest. Set-ups wait meanwhile and are not
refused. Under systemd this is `systemctl restart` of each unit, and needs the right to do that. What changes the RTP ports, the
workers, the number of bridges or the layout of shared memory ends the calls.
"""

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import time

from control_plane import client, runtime
from control_plane.client import CommandFailed, ask
from control_plane.errors import BellframeError
from control_plane.messages import GetStatus, Status

ORDER = ("bellframe-bridge@", "bellframe-keeper", "bellframe-front", "bellframe-http", "bellframe-recorder")
LIMIT_S, LOOK_S, REPORT_LIMIT_S = 300.0, 0.1, 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    client.add_runtime_argument(parser)
    parser.add_argument("--user", action="store_true", help="the units are those of a user's systemd")


def run(arguments: argparse.Namespace) -> int:
    directory = client.runtime_directory(arguments.runtime_dir)
    before = status(directory)
    if before is None:
        raise client.no_server(directory)
    if before.draining:
        raise CommandFailed("the server is draining: start it anew instead")
    began = time.monotonic()
    supervisor = runtime.holder(directory)
    if supervisor:
        os.kill(supervisor, signal.SIGUSR1)
        wait_until_replaced(directory, before)
    else:
        restart_units(["systemctl", "--user"] if arguments.user else ["systemctl"], directory)
    after = status(directory)
    calls = f"{after.calls} calls are up" if after else "the front does not answer"
    print(f"every process was replaced in {time.monotonic() - began:.0f} s; {calls}")
    return 0


def status(directory: pathlib.Path) -> Status | None:
    try:
        found = ask(directory, GetStatus())
    except BellframeError:
        return None  # the front is being replaced just now
    return found if isinstance(found, Status) else None


def wait_until_replaced(directory: pathlib.Path, before: Status) -> None:
    old, began = {(peer.role, peer.index): peer.pid for peer in before.peers}, time.monotonic()
    while time.monotonic() - began < LIMIT_S:
        now = status(directory)
        if now and now.uptime_s < time.monotonic() - began:
            peers = {(peer.role, peer.index): peer.pid for peer in now.peers if peer.silent_ms < 3_000}
            if peers.keys() >= old.keys() and all(peers[name] != pid for name, pid in old.items()):
                return
        time.sleep(LOOK_S)
    raise CommandFailed(f"not every process was replaced within {LIMIT_S:.0f} s: look into the log of `bellframe up`")


def restart_units(systemctl: list[str], directory: pathlib.Path) -> None:
    if not shutil.which("systemctl"):
        raise CommandFailed("neither `bellframe up` nor systemd runs this server: restart its processes yourself, in the order of --help")
    for unit in in_order(_do([*systemctl, "list-units", "--plain", "--no-legend", "--state=active", "bellframe-*.service"])):
        print(f"{unit}", flush=True)
        _do([*systemctl, "restart", unit])
        began = time.monotonic()
        while not all_report(directory):
            if time.monotonic() - began > REPORT_LIMIT_S:
                raise CommandFailed(f"{unit} was restarted, but front, workers and bridges do not all report: look into the journal")
            time.sleep(LOOK_S)


def in_order(listed: str) -> list[str]:
    """Units of `systemctl list-units`, those that the others can do without first."""
    units = [line.split()[0] for line in listed.splitlines() if line.strip()]
    return [unit for name in ORDER for unit in sorted(units) if unit.startswith(name)]


def all_report(directory: pathlib.Path) -> bool:
    now = status(directory)
    return now is not None and {peer.role for peer in now.peers} == {"worker", "bridge"} and all(p.silent_ms < 2_000 for p in now.peers)


def _do(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout
