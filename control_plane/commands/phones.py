"""The phones that have logged in: whose, where, by which transport and for how long."""

import argparse

from control_plane import client, table
from control_plane.messages import GetPhones, PhoneFacts, Phones


def add_arguments(parser: argparse.ArgumentParser) -> None:
    client.add_runtime_argument(parser)
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    answer = client.ask(client.runtime_directory(arguments.runtime_dir), GetPhones())
    phones = answer.phones if isinstance(answer, Phones) else ()
    if arguments.json:
        client.print_json(phones)
    else:
        print(as_text(phones))
    return 0


def as_text(phones: tuple[PhoneFacts, ...]) -> str:
    if not phones:
        return "no phone has registered"
    rows = [(p.user, p.address, p.transport, f"{p.expires_s} s", p.contact, p.user_agent or "-") for p in phones]
    return table.render(("user", "address", "transport", "expires", "contact", "phone"), rows)
