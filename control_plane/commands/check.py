"""Is a configuration file right? Says what it means in plain words, or what is wrong, where, and what to write instead: exit code 1."""

import argparse
import pathlib
import sys
from importlib.machinery import PathFinder

from control_plane import config, table
from control_plane.errors import ConfigurationError
from control_plane.explanation import explain, is_for_all
from control_plane.listen_config import listeners, places


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from control_plane import client  # brings ZeroMQ, which `up` has no use for, and it stays for as long as the server

    parser.add_argument("file", type=pathlib.Path, metavar="FILE")
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    from control_plane import client

    try:
        settings = config.load(arguments.file)
    except ConfigurationError as failure:
        if not arguments.json:
            raise
        client.print_json({"file": str(arguments.file), "is_right": False, "why": str(failure)})
        return 1
    if arguments.json:
        words = {"in_words": explain(settings), "notes": warnings(settings)}
        client.print_json({"file": str(arguments.file), "is_right": True, **words, "configuration": settings})
        return 0
    print(f"{arguments.file} is right: {summary(settings)}")
    for line in explain(settings):
        print(f"  {line}")
    for warning in warnings(settings):
        print(f"note: {warning}")
    return 0


def summary(settings: config.Config) -> str:
    cores = settings.cores()
    agents = ", ".join(dict.fromkeys(route.agent for route in settings.routes if route.agent)) or "none"
    numbers = ",".join(map(str, dict.fromkeys(cores)))
    calls = settings.most_calls()
    workers = f"{table.count(len(cores), 'worker')} on cores {numbers}"
    return f"calls on sip:{', '.join(places(settings.sip))}, agent {agents}, {workers}, {calls} calls at most"


def warnings(settings: config.Config) -> list[str]:
    """What is allowed, but may not be meant."""
    found = []
    is_local = all(is_loopback(listener.host) for listener in listeners(settings.sip))
    allowed = [*settings.sip.allow, *(source for trunk in settings.trunks for source in trunk.allow)]
    if not is_local and not settings.users and all(is_loopback(source) for source in allowed):
        found.append(
            f"sip:{', '.join(places(settings.sip))} can be reached from elsewhere, but only this machine may call: "
            "everybody else gets 403. "
            'Allow your phone or trunk with --allow 192.0.2.0/24, or sip.allow = ["192.0.2.0/24"] in the file'
        )
    if not settings.routes:
        found.append("there is no route, so every call is refused with 404: name an agent with --agent, or in [[routes]]")
    found += [
        f'trunk "{trunk.name}" calls nobody: allow_numbers is empty, so every number is refused; write the patterns that may be called'
        for trunk in settings.trunks
        if trunk.gateways and not trunk.allow_numbers and not trunk.register
    ]
    found += shadowed(settings)
    found += missing_files(settings)
    found += missing_agents(settings)
    return found


def missing_files(settings: config.Config) -> list[str]:
    """Named, and not on this machine: right where the file is meant for another one."""
    sip, media = settings.sip, settings.media
    named = [(f"sip.{name}", getattr(sip, name)) for name in ("tls_certificate", "tls_key", "tls_client_ca", "tls_server_ca")]
    named += [("media.music", media.music)]
    for kind, owners in (("trunks", settings.trunks), ("users", settings.users)):
        named += [(f'{kind} "{one.name}".password_file', one.password_file) for one in owners if one.password_file.startswith("/")]
    return [
        f"{where}: there is no file {file} on this machine, and calls need it; write it, or mend the path"
        for where, file in named
        if file and not pathlib.Path(file).is_file()
    ]


def missing_agents(settings: config.Config) -> list[str]:
    """MODULE:CLASS whose module is nowhere. Nothing is imported: that would run it."""
    folder = str(pathlib.Path(settings.bridge.modules or ".").resolve())
    found = []
    for agent in dict.fromkeys(route.agent for route in settings.routes):
        module, colon, _ = agent.partition(":")
        is_ours = colon and "://" not in agent and module != "door"
        if is_ours and PathFinder.find_spec(module.partition(".")[0], [folder, *sys.path]) is None:
            remedy = f"put {module}.py there, or name its folder in bridge.modules"
            found.append(f'agent "{agent}": there is no module {module} in {folder}; {remedy}')
    return found


def shadowed(settings: config.Config) -> list[str]:
    """Routes that no call ever comes to."""
    first = next((position for position, route in enumerate(settings.routes) if is_for_all(route)), None)
    if first is None or first == len(settings.routes) - 1:
        return []
    rest = len(settings.routes) - 1 - first
    return [f"routes[{first}] takes every call, so nothing comes to {table.count(rest, 'route')} after it: put it last"]


def is_loopback(text: str) -> bool:
    """True for an address or a network within 127.0.0.0/8 or ::1. A host name is somebody else."""
    import ipaddress

    try:
        return ipaddress.ip_network(text, strict=False).is_loopback
    except ValueError:
        return False
