"""The SIP messages of a call, as a ladder.

    bellframe trace ID                  a call that is up or ended lately; needs sip.trace = true, or that somebody watched
    bellframe trace --follow [ID]       as it happens; without ID, of every call
    bellframe trace ID --full           with the messages themselves; passwords and keys are covered by stars
    bellframe trace ID --pcap FILE      for Wireshark or sngrep
"""

import argparse
import pathlib
import re
import sys
import time
from typing import IO

from control_plane import client, ladder, pcap
from control_plane.channel import Channel
from control_plane.ladder import Ladder
from control_plane.logs import clean
from control_plane.messages import CallChanged, Failed, GetTrace, SipTraced, Traced, Watch

COVERED_KEY = re.compile(r"(?<=inline:)\*+")
WATCH_S = 5.0
"""How often the front is told that we watch: it may be another one by now."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("call_id", nargs="?", default="", metavar="ID", help="as `bellframe calls` or `bellframe records` prints it")
    parser.add_argument("--follow", action="store_true", help="go on as messages come; Ctrl-C ends it")
    parser.add_argument("--full", action="store_true", help="the messages themselves below their arrows")
    parser.add_argument("--pcap", metavar="FILE", help="write them to a capture file")
    client.add_runtime_argument(parser)
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    if not arguments.call_id and not arguments.follow:
        raise client.CommandFailed("trace which call? `bellframe calls` lists them: bellframe trace ID; or all as they come: --follow")
    if not arguments.call_id and (arguments.pcap or arguments.full):
        raise client.CommandFailed("the messages themselves are shown of one call only: bellframe trace ID --follow")
    directory = client.runtime_directory(arguments.runtime_dir)
    if arguments.follow:
        return follow(directory, arguments)
    answer = client.ask(directory, GetTrace(arguments.call_id))
    if not isinstance(answer, Traced):
        raise client.CommandFailed("the server is of another release: use the same one")
    if arguments.pcap:
        with open_capture(arguments.pcap) as file:
            for message in answer.messages:
                file.write(as_packet(message))
    if arguments.json:
        client.print_json(answer)
    else:
        print("\n".join(ladder.draw(answer.messages, arguments.full)))
        if answer.left_out:
            print(f"({answer.left_out} messages in the middle were not kept)")
    return 0


def follow(directory: pathlib.Path, arguments: argparse.Namespace) -> int:
    """Until Ctrl-C, or until the call has ended."""
    follower = Follower(arguments)
    with client.connection(directory) as channel:
        if arguments.call_id:
            channel.send(GetTrace(arguments.call_id))  # what was before
        try:
            follower.run(channel, Watch(arguments.call_id))
        except KeyboardInterrupt:
            return 0
        finally:
            follower.close()
    return 0


class Follower:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.ladders: dict[str, Ladder] = {}
        self.capture = open_capture(arguments.pcap) if arguments.pcap else None
        self.last_ns = 0

    def run(self, channel: Channel, watch: Watch) -> None:
        again = 0.0
        while True:
            if time.monotonic() >= again:
                channel.send(watch)
                again = time.monotonic() + WATCH_S
            if not channel.socket.poll(max(0, round((again - time.monotonic()) * 1000))):
                continue
            for message in channel.receive():
                if isinstance(message, Traced):
                    for before in message.messages:
                        self.show(before)
                elif isinstance(message, SipTraced):
                    self.show(message)
                elif isinstance(message, CallChanged) and self.arguments.call_id and message.call.state == "ended":
                    return
                elif isinstance(message, Failed) and message.status == 503:
                    raise client.CommandFailed(message.why)

    def show(self, message: SipTraced) -> None:
        if self.arguments.call_id and message.at_ns < self.last_ns:
            return  # it came while we asked what was before
        self.last_ns = message.at_ns
        if self.arguments.json:
            client.print_json(message)
        elif self.arguments.call_id:
            for line in self.ladders.setdefault(message.call_id, Ladder()).lines(message):
                print(line)
            if self.arguments.full:
                print("\n".join(ladder.indented(message.text)))
        else:
            arrow = "->" if message.is_sent else "<-"
            clock = time.strftime("%H:%M:%S", time.localtime(message.at))
            names = f"{clean(message.call_id, 40):<14} {arrow} {clean(message.remote, 50):<24}"
            print(f"{clock}.{int(message.at % 1 * 1000):03d}  {names} {clean(message.summary, 120)}")
        if self.capture:
            self.capture.write(as_packet(message))
            self.capture.flush()
        sys.stdout.flush()

    def close(self) -> None:
        if self.capture:
            self.capture.close()


def open_capture(name: str) -> IO[bytes]:
    """A capture file with its header. Raises CommandFailed."""
    try:
        file = pathlib.Path(name).open("wb")  # noqa: SIM115  (the caller closes it)
    except OSError as failure:
        raise client.CommandFailed(f"--pcap: cannot write {name}: {failure.strerror}") from failure
    file.write(pcap.header())
    return file


def as_packet(message: SipTraced, is_protected: bool = True) -> bytes:
    """Lengths stay as they were. Not `is_protected`: the capture has the audio without SRTP, so Wireshark must not look for it."""
    text = COVERED_KEY.sub(lambda key: "A" * len(key[0]), message.text)  # Wireshark takes stars for a malformed key
    if not is_protected:
        text = text.replace("a=crypto:", "a=hidden:")
    here, there = pcap.parse_endpoint(message.local), pcap.parse_endpoint(message.remote)
    source, destination = (here, there) if message.is_sent else (there, here)
    return pcap.packet(message.at, source, destination, text.encode("utf-8", "replace"))
