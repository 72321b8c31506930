"""The packets of a call that is up, for Wireshark: RTP and RTCP both ways, with its SIP messages, until it ends.

    bellframe capture ID                    into ID.pcap; Ctrl-C ends it sooner, and so does --seconds
    bellframe capture ID --file - | wireshark -k -i -
    bellframe capture ID --encrypted        SRTP as it is on the wire, and its keys in ID.pcap.keys

Without --encrypted, SRTP is taken off. The file holds what both sides say: it is yours alone to read. SIP messages from before are
there if sip.trace is on; those that come meanwhile are always.
"""

import argparse
import os
import pathlib
import re
import sys
import time
from typing import IO

from control_plane import client, pcap, table
from control_plane.channel import Channel
from control_plane.commands.call_capture import AGAIN_S, LOOK_S, SETTLED_S, CallCapture, keys_text
from control_plane.messages import CaptureCall, Capturing, Failed, GetTrace, Watch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("call_id", metavar="ID", help="as `bellframe calls` prints it")
    parser.add_argument("--file", metavar="FILE", default="", help="where to; - is stdout; without it ID.pcap, here")
    parser.add_argument("--seconds", type=float, metavar="N", help="end after so long; else when the call does")
    parser.add_argument("--encrypted", action="store_true", help="SRTP as it is on the wire, with its keys in FILE.keys")
    client.add_runtime_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    name = arguments.file or re.sub(r"[^A-Za-z0-9_@=+-]", "_", arguments.call_id)[:100] + ".pcap"
    if name == "-" and arguments.encrypted:
        raise client.CommandFailed("--encrypted writes the keys beside the file: name one with --file")
    directory = client.runtime_directory(arguments.runtime_dir)
    started = client.ask(directory, CaptureCall(arguments.call_id, arguments.encrypted))
    if not isinstance(started, Capturing):
        raise client.CommandFailed("the server is of another release: use the same one")
    try:
        capture = CallCapture(directory, arguments.encrypted)
    except (OSError, ValueError) as failure:
        raise client.CommandFailed(f"cannot read the packets: {failure}") from failure
    capture.receive(started)
    with open_private(name) as file, client.connection(directory) as channel:
        Follower(arguments, capture, channel, file).run()
    if arguments.encrypted:
        with open_private(f"{name}.keys") as beside:
            beside.write(keys_text(arguments.call_id, capture.keys).encode())
    if capture.missed:
        print(f"bellframe capture: {capture.missed} packets are missing: this machine was too busy to read them in time", file=sys.stderr)
    if name != "-":
        said = f"{table.count(capture.packets, 'packet')} and {table.count(capture.messages, 'SIP message')}"
        print(f"{name}: {said}" + (f"; keys in {name}.keys" if arguments.encrypted else ""))
    return 0


class Follower:
    def __init__(self, arguments: argparse.Namespace, capture: CallCapture, channel: Channel, file: IO[bytes]) -> None:
        self.call_id, self.is_encrypted, self.seconds = arguments.call_id, arguments.encrypted, arguments.seconds
        self.capture, self.channel, self.file = capture, channel, file
        self.end = float("inf") if self.seconds is None else time.monotonic() + self.seconds

    def run(self) -> None:
        """Until the call is over, the time is, or Ctrl-C."""
        self.file.write(pcap.header())
        self.channel.send(GetTrace(self.call_id))  # what was before
        try:
            again = 0.0
            while time.monotonic() < self.end and not self.capture.is_over():
                if time.monotonic() >= again:
                    self.channel.send(CaptureCall(self.call_id, self.is_encrypted))
                    self.channel.send(Watch(self.call_id))
                    again = time.monotonic() + AGAIN_S
                self.channel.socket.poll(round(LOOK_S * 1000))
                for message in self.channel.receive():
                    if self.capture.receive(message):
                        self.end = min(self.end, time.monotonic() + SETTLED_S)
                    elif isinstance(message, Failed) and message.status != 404:  # 404: nothing of it was traced
                        raise client.CommandFailed(message.why)
                self.file.write(self.capture.take(time.time() - SETTLED_S))
                self.file.flush()
        except KeyboardInterrupt:
            pass
        self.file.write(self.capture.take(float("inf")))


def open_private(name: str) -> IO[bytes]:
    """For us alone to read. Raises CommandFailed."""
    if name == "-":
        return os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    try:
        pathlib.Path(name).unlink(missing_ok=True)
        return os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
    except OSError as failure:
        raise client.CommandFailed(f"--file: cannot write {name}: {failure.strerror}") from failure
