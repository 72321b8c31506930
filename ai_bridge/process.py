"""An agent process: `python -m ai_bridge --config FILE --index N`.

The parent loads the kernels and forks. The child asks the keeper for the memory, connects to the front, and runs
the agents of the calls it is given. It may be killed at any moment: calls go on, callers hear comfort noise, and
the next process takes the agents' part over.
"""

import argparse
import asyncio
import contextlib
import functools
import gc
import logging
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable

import zmq

from ai_bridge import loader, models, silero, twiml
from ai_bridge.agent import Agent
from ai_bridge.bridge import Bridge
from ai_bridge.parent import SIGN_S, Parent
from ai_bridge.warm_up import warm_up
from ai_bridge.wires import door as doors
from ai_bridge.wires.door_server import open_door
from control_plane import config, logs
from control_plane.channel import Channel
from control_plane.credentials import Credentials
from control_plane.errors import BellframeError, ConfigurationError, Exhausted
from control_plane.reach import Reach
from shm import handover
from shm.jit import compile_apart
from shm.layout import Rings

log = logging.getLogger("ai_bridge")

KEEPER_TIMEOUT_S = 30.0
"""A keeper that has nothing in its cache compiles for seconds before it listens."""
ASK_AGAIN_S = 0.05


def ask_keeper(runtime_directory: pathlib.Path, index: int) -> tuple[Rings, int]:
    """The rings and our doorbell. Waits for the keeper to come up; raises Exhausted if it does not."""
    deadline = time.monotonic() + KEEPER_TIMEOUT_S
    while True:
        try:
            rings, _, bell_fd = handover.ask_as_bridge(runtime_directory, index)
            return rings, bell_fd
        except OSError as failure:
            if time.monotonic() > deadline:
                path = handover.socket_path(runtime_directory)
                what = f"no keeper answers at {path} after {KEEPER_TIMEOUT_S:g} s ({failure})"
                raise Exhausted(f"{what}: start media_workers with the same configuration") from failure
            time.sleep(ASK_AGAIN_S)
        except LookupError as failure:
            raise BellframeError(
                f"the keeper has no bridge {index} ({failure}): raise bridge.processes, and restart the keeper"
            ) from failure


def load_routes(settings: config.Config) -> bool:
    """Import the agents that calls will want, so that no call waits for it. A bad one is told now, and refused later.

    False: not one of them can be had, so every call would fail.
    """
    references = dict.fromkeys(route.agent for route in settings.routes if route.agent)
    bad = 0
    for reference in references:
        try:
            kind = loader.load(reference)
            if issubclass(kind, Agent) and kind.voice_activity == "silero":
                silero.is_there()  # it takes a tenth of a second to load
        except BellframeError as failure:
            bad += 1
            log.error("%s", failure, exc_info=failure.__cause__)
    return not references or bad < len(references)


async def serve(bridge: Bridge, settings: config.Bridge, give_sign: Callable[[], None]) -> None:
    """Until SIGTERM or SIGINT. Raises ConfigurationError."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    entrance = None
    if settings.door:
        doors.door = doors.Door()
        entrance = await open_door(doors.door, settings, bridge.index)
    bridge.start()
    log.info("bridge %d is ready", bridge.index)
    while not stopping.is_set():
        give_sign()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), SIGN_S)
    if entrance is not None:
        entrance.close()
    await bridge.stop()


def event_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def live(settings: config.Config, index: int, give_sign: Callable[[], None], is_after_failure: bool) -> int:
    """The process that runs the agents, from its fork to its end."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # until the loop takes it over
    try:
        rings, bell_fd = ask_keeper(settings.runtime_path(), index)
    except (BellframeError, ValueError) as failure:
        log.error("%s", failure)
        return 1
    models.credentials = Credentials(settings.keys)
    twiml.reach = Reach(settings.reachable_networks)
    if not load_routes(settings):
        return 1
    gc.collect()
    gc.freeze()  # a collector that walks what a large library has brought stops every call: 45 ms with 55,000 objects
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    channel = Channel(context, settings.runtime_path(), f"bridge-{index}")
    runner = asyncio.Runner(loop_factory=event_loop())
    try:
        bridge = Bridge(rings, bell_fd, channel, index, is_after_failure)
        runner.run(serve(bridge, settings.bridge, give_sign))
    except ConfigurationError as failure:
        log.error("%s", failure)
        return 1
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ai_bridge", description="Runs agents.")
    parser.add_argument("--config", type=pathlib.Path, required=True, help="the configuration, TOML or JSON")
    parser.add_argument("--index", type=int, default=0, help="which bridge this is, from 0")
    given = parser.parse_args(arguments)
    try:
        settings = config.load(given.config)
        logs.configure(settings.log_format, f"bridge-{given.index}")
        sys.path.insert(0, str(pathlib.Path(settings.bridge.modules or ".").resolve()))
        compile_apart("ai_bridge.warm_up")
        warm_up()
    except BellframeError as failure:
        print(f"bellframe: bridge {given.index}: {failure}", file=sys.stderr)
        return 1
    return Parent(f"bridge {given.index}", functools.partial(live, settings, given.index)).run()
