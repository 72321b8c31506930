"""Let the far ends of two calls speak with each other.

    bellframe join ID OTHER                       their agents are out: they hear nothing, and wait
    bellframe join ID OTHER --agent listen        the agent of ID stays, and hears both
    bellframe join ID OTHER --after return        when one hangs up, the other goes back to its agent

Both calls must be on one media worker (`bellframe calls`). `bellframe unjoin ID` takes them apart.
"""

import argparse
from typing import get_args

from control_plane import client
from control_plane.messages import After, AgentRole, JoinCalls


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("call_id", metavar="ID", help="as `bellframe calls` shows it")
    parser.add_argument("with_call", metavar="OTHER", help="the other call")
    parser.add_argument("--agent", choices=get_args(AgentRole), default="out", help="what the agent of ID does from now on (default out)")
    parser.add_argument("--after", choices=get_args(After), default="end", help="what becomes of the other when one hangs up (default end)")
    client.add_runtime_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    order = JoinCalls(arguments.call_id, arguments.with_call, arguments.agent, arguments.after)
    client.ask(client.runtime_directory(arguments.runtime_dir), order)
    print(f"{arguments.call_id} and {arguments.with_call} are joined")
    return 0
