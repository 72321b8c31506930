"""The calls that are up."""

import argparse

from control_plane import client, table
from control_plane.messages import CallFacts, Calls, GetCalls


def add_arguments(parser: argparse.ArgumentParser) -> None:
    client.add_runtime_argument(parser)
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    calls = fetch(arguments.runtime_dir)
    if arguments.json:
        client.print_json(calls)
    else:
        print(as_text(calls))
    return 0


def fetch(runtime_dir: str) -> tuple[CallFacts, ...]:
    answer = client.ask(client.runtime_directory(runtime_dir), GetCalls())
    return answer.calls if isinstance(answer, Calls) else ()


def as_text(calls: tuple[CallFacts, ...]) -> str:
    if not calls:
        return "no calls"
    rows = [
        (c.call_id, c.state, table.duration(c.duration_s), c.direction, c.caller, c.callee, c.agent, c.format, c.worker)
        for c in sorted(calls, key=lambda call: call.started_at)
    ]
    return table.render(("call", "state", "time", "direction", "caller", "callee", "agent", "format", "worker"), rows)
