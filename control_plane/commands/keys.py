"""Press DTMF keys in a call, behind what its agent is saying. ID is what `bellframe calls` shows.

KEYS are 0-9, *, #, A-D; a comma waits for half a second.
"""

import argparse

from control_plane import client, table
from control_plane.messages import PressKeys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("call_id", metavar="ID")
    parser.add_argument("keys", metavar="KEYS")
    client.add_runtime_argument(parser)
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    client.ask(client.runtime_directory(arguments.runtime_dir), PressKeys(call_id=arguments.call_id, keys=arguments.keys))
    if arguments.json:
        client.print_json({"call_id": arguments.call_id, "done": True})
    else:
        print(f"{table.count(len(arguments.keys), 'key')} to {arguments.call_id}")  # not which: they may be a card's number
    return 0
