"""Send the far end of a call elsewhere (REFER), and wait for what becomes of it.

    bellframe transfer ID sip:desk@192.0.2.7      blind: to a URI, or to a number at the far end's own domain
    bellframe transfer ID --with OTHER            attended: joins it with the far end of another call of ours

After success our call ends. Otherwise it goes on.
"""

import argparse

from control_plane import client
from control_plane.logs import clean
from control_plane.messages import Transfer

LIMIT_S = 240.0
"""The front gives up 180 s after the far end's last word."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("call_id", metavar="ID", help="as `bellframe calls` shows it")
    parser.add_argument("to", metavar="URI", nargs="?", default="", help="a SIP URI or a number")
    parser.add_argument("--with", dest="with_call", metavar="OTHER", default="", help="the id of the call to join it with")
    client.add_runtime_argument(parser)
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Returns 1 where it was refused."""
    if bool(arguments.to) == bool(arguments.with_call):
        raise client.CommandFailed("say where to: either a URI or a number, or --with and the id of another call")
    order = Transfer(call_id=arguments.call_id, to=arguments.to, with_call=arguments.with_call)

    def show(text: str) -> None:
        if not arguments.json:
            print(f"  {clean(text, 200)}", flush=True)

    outcome = client.order(client.runtime_directory(arguments.runtime_dir), order, LIMIT_S, show)
    if arguments.json:
        client.print_json(outcome)
    elif outcome.was_accepted:
        print(f"{arguments.call_id} is transferred" + (f": {clean(outcome.why, 200)}" if outcome.why else ""))
    else:
        print(f"{arguments.call_id} goes on with us: {clean(outcome.why, 200) or outcome.status}")
    return 0 if outcome.was_accepted else 1
