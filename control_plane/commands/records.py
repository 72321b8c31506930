"""The calls that have ended, from the call records ([records] file in the configuration).

    bellframe records --since 2h
    bellframe records --since 2026-11-20 --json
"""

import argparse
import datetime
import pathlib
import re
import time

from control_plane import client, config, table
from control_plane.messages import CallFacts
from control_plane.record_store import SqliteStore, Store, make_store

UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", default="", metavar="WHEN", help="30m, 2h, 7d, or a date such as 2026-11-20T08:30 (default: all)")
    parser.add_argument("--tenant", metavar="NAME", help="of this tenant only")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="the last so many (default 100)")
    parser.add_argument("--file", metavar="FILE", help="the records themselves (default: as the server's configuration says)")
    client.add_runtime_argument(parser)
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    directory = client.runtime_directory(arguments.runtime_dir)
    store = SqliteStore(pathlib.Path(arguments.file)) if arguments.file else configured(directory)
    since = parse_since(arguments.since, time.time()) if arguments.since else 0.0
    try:
        calls = store.read(since, max(1, arguments.limit), arguments.tenant)
    finally:
        store.close()
    if arguments.json:
        client.print_json(calls)
    else:
        print(as_text(calls))
    return 0


def configured(directory: pathlib.Path) -> Store:
    """What the server writes. Raises CommandFailed, and ConfigurationError."""
    for file in (directory / "config.json", client.SYSTEM_CONFIGURATION):
        if file.is_file():
            store = make_store(config.load(file).records)
            if store is not None:
                return store
            raise client.CommandFailed(f'no call records are kept: put [records] with file = "..." into {file}, or name one with --file')
    raise client.CommandFailed("which records? There is no server and no configuration here; name the file with --file")


def parse_since(text: str, now: float) -> float:
    """Seconds since the epoch. Raises CommandFailed."""
    span = re.fullmatch(r"(\d+)([smhd])", text)
    if span:
        return now - int(span[1]) * UNITS_S[span[2]]
    try:
        return datetime.datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError) as failure:
        raise client.CommandFailed(f'--since: "{text[:40]}" is neither 30m, 2h, 7d nor a date such as 2026-11-20') from failure


def as_text(calls: list[CallFacts]) -> str:
    if not calls:
        return "no calls"
    headings = ("started", "call", "direction", "trunk", "caller", "callee", "outcome", "status", "set-up", "talked", "lost", "cause")
    return table.render(headings, [row_of(call) for call in calls])


def row_of(call: CallFacts) -> tuple[object, ...]:
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(call.started_at))
    setup = f"{call.answered_at - call.started_at:.1f} s" if call.answered_at else "-"
    talked = table.duration(call.ended_at - call.answered_at) if call.answered_at else "-"
    received, lost = call.counters.get("packets_received", 0), call.counters.get("lost", 0)
    loss = f"{100 * lost / (received + lost):.1f} %" if received else "-"
    return (
        started, call.call_id, call.direction, call.trunk or "-", call.caller, call.callee, call.outcome, call.status, setup, talked, loss,
        call.cause,
    )  # fmt: skip
