"""Put the far end of a call on hold, by a re-INVITE. It is not heard, and hears music (media.music_on_hold) or its agent."""

import argparse

from control_plane import client
from control_plane.messages import HoldCall

LIMIT_S = 90.0
"""A far end that does not answer a re-INVITE is given up after 32 s, and glare may come before it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("call_id", metavar="ID", help="as `bellframe calls` shows it")
    client.add_runtime_argument(parser)
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace, is_held: bool = True) -> int:
    """Returns 1 where the far end refused; the call is then as it was."""
    order = HoldCall(call_id=arguments.call_id, is_held=is_held)
    outcome = client.order(client.runtime_directory(arguments.runtime_dir), order, LIMIT_S, lambda _text: None)
    if arguments.json:
        client.print_json(outcome)
    elif outcome.was_accepted:
        print(f"{arguments.call_id} is {'on hold' if is_held else 'resumed'}")
    else:
        print(f"{arguments.call_id} is as it was: the far end answered {outcome.why or outcome.status}")
    return 0 if outcome.was_accepted else 1
