"""The messages that callers left with the built-in agent `voicemail`, newest first."""

import argparse
import pathlib
import time

from control_plane import client, table
from control_plane.voicemail import Message, messages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=pathlib.Path, help="the agent's directory, as its route names it")
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    try:
        found = messages(arguments.directory)
    except OSError as failure:
        raise client.CommandFailed(f"{arguments.directory}: {failure.strerror}: give the directory of a route's voicemail") from failure
    if arguments.json:
        client.print_json(found)
    else:
        print(as_text(found))
    return 0


def as_text(found: list[Message]) -> str:
    if not found:
        return "there are no messages"
    rows = [(time.strftime("%Y-%m-%d %H:%M", time.localtime(m.at)), m.caller, m.callee, f"{m.seconds:.0f} s", m.file) for m in found]
    return table.render(("when", "caller", "called", "length", "file"), rows)
