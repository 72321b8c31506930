"""What the commands share: finding the running server, asking it, and printing for people or for machines."""

import argparse
import os
import pathlib
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import orjson
import zmq

from control_plane import config
from control_plane.channel import Channel
from control_plane.config import Config
from control_plane.errors import BellframeError
from control_plane.messages import CallChanged, Failed, HoldCall, HoldEnded, Message, Noted, Transfer, TransferEnded, Watch
from control_plane.secret import Secret

ANSWER_LIMIT_MS = 2_000
SYSTEM_RUNTIME_DIRECTORY = pathlib.Path("/run/bellframe")
"""Where the units in systemd/ put the sockets."""
SYSTEM_CONFIGURATION = pathlib.Path("/etc/bellframe/bellframe.toml")


class CommandFailed(BellframeError):
    """The server is not there, or says no. The text says what to do."""


def add_runtime_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runtime-dir", default="", metavar="DIR", help="where the server's sockets are (as given to bellframe up)")


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def runtime_directory(given: str) -> pathlib.Path:
    """The directory given; else that of a server of our own; else that of the system's service, if one runs."""
    own = Config(runtime_directory=given).runtime_path().absolute()
    if not given and not _is_socket(own / "control") and _is_socket(SYSTEM_RUNTIME_DIRECTORY / "control"):
        return SYSTEM_RUNTIME_DIRECTORY
    return own


def _is_socket(path: pathlib.Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False


def no_server(directory: pathlib.Path) -> CommandFailed:
    return CommandFailed(f"no server answers in {directory}: start one with `bellframe up`, or say where it is with --runtime-dir")


@contextmanager
def connection(directory: pathlib.Path, is_needed: bool = True) -> Iterator[Channel]:
    """A channel to the front. If it is needed, raises CommandFailed at once where no server has ever listened."""
    if is_needed and not _is_socket(directory / "control"):
        raise no_server(directory)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    channel = Channel(context, directory, f"command-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield channel
    finally:
        channel.close()
        context.term()


def load_configuration(given: pathlib.Path | None, directory: pathlib.Path) -> Config:
    """The file named, else what the running server was started with, else the system's, else the defaults. Raises ConfigurationError."""
    for file in (given, directory / "config.json", SYSTEM_CONFIGURATION):
        if file is not None and (file == given or file.is_file()):
            return config.load(file)
    return Config()


def ask(directory: pathlib.Path, question: Message) -> Message:
    """The front's answer. Raises CommandFailed if none comes, or if it is a refusal."""
    with connection(directory) as channel:
        answer = channel.ask(question, ANSWER_LIMIT_MS)
    if answer is None:
        raise no_server(directory)
    if isinstance(answer, Failed):
        raise CommandFailed(answer.why)
    return answer


def order(directory: pathlib.Path, order: HoldCall | Transfer, limit_s: float, show: Callable[[str], None]) -> HoldEnded | TransferEnded:
    """What became of it; `show` gets what happens meanwhile. Raises CommandFailed if it is refused, or if the call ends instead."""
    deadline = time.monotonic() + limit_s
    with connection(directory) as channel:
        channel.send(Watch(call_id=order.call_id))
        channel.send(order)
        while (left_s := deadline - time.monotonic()) > 0:
            if channel.socket.poll(round(left_s * 1000)):
                for message in channel.receive():
                    if isinstance(message, HoldEnded | TransferEnded) and message.call_id == order.call_id:
                        return message
                    _look(message, show)
    raise CommandFailed(f"no word of what became of it for {limit_s:g} s; `bellframe call show {order.call_id}` shows how the call is")


def _look(message: Message, show: Callable[[str], None]) -> None:
    if isinstance(message, Failed):
        raise CommandFailed(message.why)
    if isinstance(message, CallChanged) and message.call.state == "ended":
        raise CommandFailed(f"the call has ended: {message.call.cause}")
    if isinstance(message, Noted) and message.kind == "transfer":
        show(message.text)


def plain(value: object) -> object:
    """A message as dicts and lists with every field in it, also those at their default."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Secret) else value


def print_json(value: object) -> None:
    sys.stdout.write(orjson.dumps(plain(value), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode() + "\n")
