"""Workers and calls, live: read from the shared counters, so that the workers do nothing for it.

A worker is busy while it is not waiting. Late is how long after its time a packet left: 99 of 100 of the last second, and the worst
since the start. The bars show how loud both sides are.

Keys: s sorts by the next column, arrows choose a call, Enter shows it, t its SIP messages, x hangs it up, q ends.
"""

import argparse
import pathlib
import sys
import time
from typing import TYPE_CHECKING

import zmq

from control_plane import client
from control_plane.channel import Channel
from control_plane.commands.top_figures import ORDERS, measure, take_sample
from control_plane.commands.top_screen import draw
from control_plane.messages import CallFacts, Calls, GetCalls

if TYPE_CHECKING:
    from shm.counters import Counters

FIRST_INTERVAL_S = 0.25
SHOWN_CALLS = 200
"""Of one picture: drawing thousands would cost more than the calls."""
PIPE_COLUMNS = 240
"""A pipe has no width, and 80 columns fold the rows, which are for grep there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="print one picture and end")
    parser.add_argument("--sort", default="time", choices=ORDERS, help="the worst of this first (default: time, the longest)")
    client.add_runtime_argument(parser)
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    directory = client.runtime_directory(arguments.runtime_dir)
    views = open_counters(directory)
    with client.connection(directory, is_needed=False) as channel:
        if not arguments.json and not arguments.once:
            from control_plane.commands.top_live import Live

            Live(directory, views, channel, arguments.sort).run()
            return 0
        before = take_sample(views)
        time.sleep(FIRST_INTERVAL_S)
        limit = None if arguments.json else SHOWN_CALLS
        figures = measure(before, take_sample(views), views, ask_for_calls(channel), arguments.sort, limit)
    if arguments.json:
        client.print_json(figures)
    else:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(draw(figures))
    return 0


def open_counters(directory: pathlib.Path) -> "Counters":
    """Raises CommandFailed while no keeper listens."""
    from shm import handover

    try:
        return handover.ask_for_counters(directory)
    except OSError as failure:
        raise client.no_server(directory) from failure
    except ValueError as failure:
        raise client.CommandFailed(str(failure)) from failure


def ask_for_calls(channel: Channel) -> tuple[CallFacts, ...]:
    """Who talks with whom; empty while the front is away, which media does not notice."""
    list(channel.receive())  # an answer that came too late for the last question
    try:
        answer = channel.ask(GetCalls(), 500)
    except zmq.ZMQError:
        return ()
    return answer.calls if isinstance(answer, Calls) else ()
