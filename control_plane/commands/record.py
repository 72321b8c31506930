"""Record a call, or end that. During a pause nothing is kept, and the recording goes on behind it. ID is what `bellframe calls` shows."""

import argparse
from typing import get_args

from control_plane import client
from control_plane.messages import RecordCall, Recording


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("call_id", metavar="ID")
    parser.add_argument("state", choices=get_args(Recording))
    client.add_runtime_argument(parser)
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    client.ask(client.runtime_directory(arguments.runtime_dir), RecordCall(arguments.call_id, arguments.state))
    if arguments.json:
        client.print_json({"call_id": arguments.call_id, "recording": arguments.state})
    else:
        print(f"{arguments.call_id}: recording {arguments.state}")
    return 0
