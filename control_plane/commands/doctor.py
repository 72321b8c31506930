"""Look for what usually breaks: limits, cores, clock, ports, firewall, NAT, certificates, names, gateways, one-way audio. Says what to
do about each. Exit code 1 if something is broken.

    bellframe doctor                      the server that runs here, or the defaults
    bellframe doctor --config FILE
"""

import argparse
import pathlib
import time
from typing import TYPE_CHECKING

from control_plane import client
from control_plane.doctor import examine
from control_plane.doctor.machine import Machine
from control_plane.doctor.patient import CallSound, Finding, Patient
from control_plane.errors import BellframeError
from control_plane.messages import GetStatus, Status

if TYPE_CHECKING:
    from shm.counters import Counters

COLOURS = {"broken": "bold red", "risky": "yellow", "hint": "cyan"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=pathlib.Path, metavar="FILE", help="the configuration (default: that of the running server)")
    client.add_runtime_argument(parser)
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    directory = client.runtime_directory(arguments.runtime_dir)
    settings = client.load_configuration(arguments.config, directory)
    patient = Patient(Machine(), settings, ask_status(directory), ask_calls(directory))
    if arguments.json:
        found = dict(examine(patient))
        client.print_json({name: [finding._asdict() for finding in findings] for name, findings in found.items()})
    else:
        found = show(patient)
    return int(any(finding.weight == "broken" for findings in found.values() for finding in findings))


def ask_status(directory: pathlib.Path) -> Status | None:
    try:
        answer = client.ask(directory, GetStatus())
    except BellframeError:
        return None
    return answer if isinstance(answer, Status) else None


def ask_calls(directory: pathlib.Path) -> tuple[CallSound, ...]:
    from control_plane.commands.top import open_counters

    try:
        return sounds(open_counters(directory))
    except BellframeError:
        return ()


def sounds(views: "Counters") -> tuple[CallSound, ...]:
    """The calls that are up, from the shared counters."""
    from shm.counters import CALL_COLUMN

    now_ns = time.monotonic_ns()
    found = []
    for row in views.calls[views.calls["call_id"] != b""]:
        counted = {name: int(row["counters"][CALL_COLUMN[name]]) for name in ("opened_ns", "packets_received", "packets_sent", "lost")}
        age_s = (now_ns - counted["opened_ns"]) / 1e9
        call_id = bytes(row["call_id"]).decode()
        found.append(CallSound(call_id, age_s, counted["packets_received"], counted["packets_sent"], counted["lost"]))
    return tuple(found)


def show(patient: Patient) -> dict[str, list[Finding]]:
    from rich.console import Console
    from rich.markup import escape

    console, found = Console(highlight=False), {}
    server = "a server runs here" if patient.is_running else "no server runs here: what only a running one shows is left out"
    console.print(f"[dim]{server}[/dim]")
    for name, findings in examine(patient):
        found[name] = findings
        if not findings:
            console.print(f"[green]well[/green]    {name}")
        for finding in findings:
            console.print(f"[{COLOURS[finding.weight]}]{finding.weight:<7}[/] {name}: {escape(finding.what)}")
            console.print(f"        [bold]do[/bold] {escape(finding.remedy)}")
    return found
