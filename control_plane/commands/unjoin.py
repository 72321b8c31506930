"""Take a call out of its room, back to its agent; end the ringing of somebody who is rung for it. A call without an agent ends.

Who is left alone there does what it was told to when it was joined: it ends, goes back to its agent, or waits.
"""

import argparse

from control_plane import client
from control_plane.messages import LeaveRoom


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("call_id", metavar="ID", help="as `bellframe calls` shows it")
    client.add_runtime_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    client.ask(client.runtime_directory(arguments.runtime_dir), LeaveRoom(arguments.call_id))
    print(f"{arguments.call_id} is in no room")
    return 0
