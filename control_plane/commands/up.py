"""Run the server in the foreground: the SIP front, the keeper with its media workers, and the agent processes.

With a file, `bellframe up --config bellframe.toml`; without one the flags suffice:

    bellframe up --agent menu
    bellframe up --agent mycompany.agents:Reception --sip 0.0.0.0:5060 --allow 192.0.2.0/24

A flag counts more than the file. Ctrl-C or SIGTERM ends it once its calls have ended; Ctrl-C again, at once.
"""

import argparse
import os
import pathlib
import signal
import sys
from typing import TypeVar

import msgspec

from control_plane import config, logs, runtime, table
from control_plane.commands import check
from control_plane.config import Config, Route
from control_plane.listen_config import places
from control_plane.supervisor import Program, Supervisor

DEFAULT_AGENT = "menu"
KEEPER_WATCHDOG_S, BRIDGE_WATCHDOG_S, FRONT_WATCHDOG_S, HTTP_WATCHDOG_S, RECORDER_WATCHDOG_S = 10.0, 10.0, 10.0, 10.0, 60.0
"""As WatchdogSec= in systemd/. An agent may hold up its bridge for a second or two, a page fault storm anybody, a disk the recorder."""
DRAIN_MARGIN_S = 10.0
"""What the front gets beyond the time for draining: its last BYEs are repeated until they are answered."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=pathlib.Path, metavar="FILE", help="TOML; `bellframe check FILE` says whether it is right")
    parser.add_argument("--agent", help="who answers: echo, menu, MODULE:CLASS, or WIRE+wss://BOT (default, without a file: menu)")
    parser.add_argument("--sip", metavar="HOST:PORT", help="where calls come in (default 127.0.0.1:5060)")
    parser.add_argument("--rtp-ports", metavar="A-B", help="ports for audio, two a call (default 10000-12000)")
    parser.add_argument("--workers", type=int, metavar="N", help="media workers (default: one a core, but one core is left)")
    parser.add_argument("--cores", metavar="LIST", help='cores for the workers, such as "2-5,8"')
    parser.add_argument("--public-address", metavar="IP", help="what far ends are told to send to, behind NAT")
    parser.add_argument("--allow", action="append", metavar="NETWORK", help="who else may call, such as 192.0.2.0/24; may be repeated")
    parser.add_argument("--bridges", type=int, metavar="N", help="agent processes (default 1)")
    parser.add_argument("--http", metavar="HOST:PORT", help="where the HTTP API and the metrics are (default: nowhere)")
    parser.add_argument("--runtime-dir", metavar="DIR", help="where the processes' sockets go")


def run(arguments: argparse.Namespace) -> int:
    settings = configure(arguments)
    directory = runtime.prepare(settings.runtime_path())
    settings = msgspec.structs.replace(settings, runtime_directory=str(directory))
    held = runtime.lock(directory)
    logs.configure(settings.log_format, "bellframe")
    file = directory / "config.json"
    runtime.write_private(file, config.encode(settings))
    for warning in check.warnings(settings):
        print(f"note: {warning}", file=sys.stderr)
    print("starting; the first time on a machine, the kernels are compiled, which takes up to two minutes", file=sys.stderr, flush=True)
    try:
        return Supervisor(programs(settings, file), directory, lambda server: announce(server, settings)).run()
    finally:
        os.close(held)


def configure(arguments: argparse.Namespace) -> Config:
    """The file with the flags over it. Raises ConfigurationError."""
    given = config.load(arguments.config) if arguments.config else Config()
    sip, media, bridge = given.sip, given.media, given.bridge
    allow = (*sip.allow, *arguments.allow) if arguments.allow else None
    sip = _replaced(sip, listen=arguments.sip, public_address=arguments.public_address, allow=allow)
    media = _replaced(media, rtp_ports=arguments.rtp_ports, workers=arguments.workers, cores=arguments.cores)
    bridge = _replaced(bridge, processes=arguments.bridges)
    agent = arguments.agent or (None if arguments.config else DEFAULT_AGENT)
    routes = (Route(agent=agent),) if agent else given.routes
    runtime_directory = os.path.abspath(arguments.runtime_dir) if arguments.runtime_dir else given.runtime_directory
    http = _replaced(given.http, listen=arguments.http)
    kept = _replaced(given.records, file=os.path.abspath(given.records.file) if given.records.file else None)
    replaced = {"sip": sip, "media": media, "bridge": bridge, "http": http, "records": kept, "routes": routes}
    replaced["runtime_directory"] = runtime_directory
    return config.check(msgspec.structs.replace(given, **replaced))


SectionType = TypeVar("SectionType", bound=msgspec.Struct)


def _replaced(section: SectionType, **values: object) -> SectionType:
    return msgspec.structs.replace(section, **{name: value for name, value in values.items() if value is not None})


def programs(settings: Config, file: pathlib.Path) -> list[Program]:
    """What runs. Workers before those who talk to them; on the way down, the front first: it ends the calls."""

    def command(module: str, *more: str) -> tuple[str, ...]:
        return (sys.executable, "-m", module, "--config", str(file), *more)

    bridges = [
        Program(f"bridge-{i}", command("ai_bridge", "--index", str(i)), starts_in=1, stops_in=1, watchdog_s=BRIDGE_WATCHDOG_S)
        for i in range(settings.bridge.processes)
    ]
    drain_s = settings.sip.drain_seconds + DRAIN_MARGIN_S
    front = Program(
        "front", command("sip_front"), starts_in=1, stops_in=0, stop_limit_s=drain_s, watchdog_s=FRONT_WATCHDOG_S,
        restart_signal=signal.SIGUSR1, renewed_in=2,
    )
    keeper = Program(
        "keeper", command("media_workers"), starts_in=0, stops_in=2, watchdog_s=KEEPER_WATCHDOG_S,
        restart_signal=signal.SIGUSR1, leaves_children=True, renewed_in=1,
    )  # fmt: skip
    # It ends after the front, so that it hears how the last calls ended.
    http = Program("http", command("control_plane.http"), starts_in=1, stops_in=1, watchdog_s=HTTP_WATCHDOG_S, renewed_in=3)
    recorder = Program(
        "recorder", command("media_workers.recording"), starts_in=1, stops_in=2, watchdog_s=RECORDER_WATCHDOG_S, renewed_in=3
    )
    others = ([http] if settings.needs_http else []) + ([recorder] if settings.recording.directory else [])
    return [keeper, *bridges, front, *others]


def announce(server: Supervisor, settings: Config) -> None:
    """The one line that says that calls may come. A process's own STATUS= knows better than the configuration."""
    address, media = server.by_name["front"].status, server.by_name["keeper"].status
    cores = settings.cores()
    numbers = ",".join(map(str, dict.fromkeys(cores)))
    sip = address if address.startswith("sip:") else f"sip:{', '.join(places(settings.sip))}"
    carried = media or f"{table.count(len(cores), 'worker')} on cores {numbers}  {settings.most_calls()} calls at most"
    agents = ", ".join(dict.fromkeys(route.agent for route in settings.routes if route.agent)) or "none"
    print(f"bellframe accepts calls on {sip}  agent {agents}  {carried}", flush=True)
