"""Bring calls into a conference, or change their part in it: everybody hears all others.

    bellframe conference weekly ID ID ID          three who talk
    bellframe conference weekly ID:listen         one more, who is not heard
    bellframe conference weekly ID:whisper:OTHER  a coach: heard by the far end of OTHER alone, or by OTHER/agent
    bellframe conference weekly ID:music          who waits, with music; ringback: with ringing
    bellframe conference weekly ID --agent talk   its agent takes part as well: talk, listen, out

The first call makes the room. All are on one media worker (`bellframe calls`). `bellframe unjoin ID` takes one out.
"""

import argparse
from typing import get_args

from control_plane import client
from control_plane.messages import After, AgentRole, EnterRoom, Party, Role

AGENT_ROLES = tuple(role for role in get_args(AgentRole) if role != "whisper")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("room", metavar="ROOM", help="its name")
    parser.add_argument("calls", metavar="ID[:ROLE[:OTHER]]", nargs="+", help=f"roles: {', '.join(get_args(Role))} (default talk)")
    parser.add_argument("--agent", choices=AGENT_ROLES, default="out", help="what their agents do (default out)")
    parser.add_argument("--after", choices=get_args(After), default="stay", help="what becomes of who is left alone (default stay)")
    client.add_runtime_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    directory = client.runtime_directory(arguments.runtime_dir)
    orders = [EnterRoom(arguments.room, party_of(text, arguments.agent), arguments.after) for text in arguments.calls]
    for order in orders:
        client.ask(directory, order)
        print(f"{order.party.call_id} is in {order.room} as {order.party.role}")
    return 0


def party_of(text: str, agent: AgentRole) -> Party:
    """Raises CommandFailed for what is no role."""
    call_id, _, part = text.partition(":")
    role, _, to = part.partition(":")
    found = next((known for known in get_args(Role) if known == (role or "talk")), None)
    if found is None or bool(to) != (found == "whisper"):
        raise client.CommandFailed(f"{text}: give ID:ROLE with one of {', '.join(get_args(Role))}; who whispers needs ID:whisper:OTHER")
    return Party(call_id, found, agent, to)
