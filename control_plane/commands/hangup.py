"""End a call: the far end gets BYE. ID is what `bellframe calls` shows."""

import argparse

from control_plane import client
from control_plane.messages import HangUp


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("call_id", metavar="ID")
    client.add_runtime_argument(parser)
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    client.ask(client.runtime_directory(arguments.runtime_dir), HangUp(call_id=arguments.call_id))
    if arguments.json:
        client.print_json({"call_id": arguments.call_id, "done": True})
    else:
        print(f"{arguments.call_id} is hung up")
    return 0
