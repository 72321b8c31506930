"""Is the server well: its processes, and how many calls they carry. Exit code 1 if no server answers."""

import argparse

from control_plane import client, table
from control_plane.messages import GetStatus, PeerFacts, Status, TrunkFacts

SILENT_LIMIT_MS = 3_000
"""Processes say that they are alive once a second: three times in a row is no coincidence."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    client.add_runtime_argument(parser)
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    directory = client.runtime_directory(arguments.runtime_dir)
    answer = client.ask(directory, GetStatus())
    if not isinstance(answer, Status):
        raise client.CommandFailed(f"the server in {directory} answers with {type(answer).__name__}: use the same release as it is")
    if arguments.json:
        client.print_json(answer)
    else:
        print(as_text(answer))
    return 0


def as_text(status: Status) -> str:
    state = "draining: no new calls" if status.draining else "accepts calls"
    lines = [
        f"bellframe {status.version} {state} on sip:{status.sip.removeprefix('sip:')}, up {table.duration(status.uptime_s)}",
        f"{table.count(status.calls, 'call')} up, {status.calls_total} since the start, {status.calls_refused} refused",
    ]
    rows = [
        (f"{p.role} {p.index}", p.pid, p.generation or "-", p.calls, p.capacity or "-", *load(p), "silent" if is_silent(p) else "alive")
        for p in status.peers
    ]
    if rows:
        lines += ["", table.render(("process", "pid", "generation", "calls", "at most", "busy", "late", "state"), rows)]
    if status.trunks:
        lines += ["", table.render(("trunk", "calls", "registration", "gateways"), [trunk_row(trunk) for trunk in status.trunks])]
        lines += [f"{trunk.name}: {trunk.why}" for trunk in status.trunks if trunk.why]
        capped = [trunk for trunk in status.trunks if trunk.max_spend_per_day]
        lines += [f"{trunk.name}: {trunk.spent_today:.2f} of {trunk.max_spend_per_day:g} spent today" for trunk in capped]
    for role in ("worker", "bridge"):
        if not any(peer.role == role for peer in status.peers):
            lines.append(f"no {role} has reported: calls are refused until one does")
    return "\n".join(lines)


def load(peer: PeerFacts) -> tuple[str, str]:
    return (f"{peer.busy_percent:.0f}%", f"{peer.late_percent:g}%") if peer.role == "worker" else ("-", "-")


def is_silent(peer: PeerFacts) -> bool:
    return peer.silent_ms > SILENT_LIMIT_MS


def trunk_row(trunk: TrunkFacts) -> tuple[str, str, str, str]:
    calls = f"{trunk.calls} of {trunk.max_calls}" if trunk.max_calls else str(trunk.calls)
    registration = f"{trunk.registration}, {trunk.registered_s} s left" if trunk.registered_s else trunk.registration or "-"
    return trunk.name, calls, registration, ", ".join(f"{name} {state}" for name, state in trunk.gateways.items()) or "-"
