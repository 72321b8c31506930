"""Look at one call, or make one.

    bellframe call show ID            what is known of a call that is up
    bellframe call sip:100@192.0.2.1  dial out, and watch until it ends
    bellframe call user:anna          the same, to a phone that has registered (`bellframe phones`)

Without --agent the called party hears --play FILE (a WAV), and what it says goes to --record FILE.
Exit code 0: the call was answered. Ctrl-C hangs up.
"""

import argparse
import contextlib
import pathlib
import re
import secrets
import time
from collections.abc import Iterator

from control_plane import client, table
from control_plane.channel import Channel
from control_plane.logs import clean
from control_plane.messages import (
    CallChanged,
    CallFacts,
    Calls,
    Failed,
    GetCall,
    HangUp,
    Message,
    Noted,
    Originate,
    SipTraced,
    Watch,
)

LOOK_S = 2.0
"""Without news for so long, the front is asked whether the call is still there: it may have been restarted meanwhile."""
MISSED_LOOKS = 5
SCHEMES = ("sip:", "sips:", "tel:", "user:")
NUMBER = re.compile(r"[+0-9*#][0-9 ().*#/-]*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="show|URI", help='"show", or whom to call: sip:USER@HOST[:PORT], a number, user:NAME')
    parser.add_argument("call_id", nargs="?", metavar="ID", help="for show: as `bellframe calls` prints it")
    parser.add_argument("--agent", default="wav", help="who talks to the called party: wav, echo, menu, or MODULE:CLASS (default wav)")
    parser.add_argument("--play", metavar="FILE", help="a WAV that the called party hears")
    parser.add_argument("--record", metavar="FILE", help="where what it says goes, as a WAV")
    parser.add_argument("--caller", default="", metavar="NUMBER", help="who calls, for the called party's display")
    parser.add_argument("--trunk", default="", metavar="NAME", help="which of [[trunks]] it goes through (default: the first that may)")
    parser.add_argument("--early", action="store_true", help="the agent hears it from its early media on: ringing tones, announcements")
    parser.add_argument("--beside", default="", metavar="ID", help="a call that this one may be joined with: on the same media worker")
    client.add_runtime_argument(parser)
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    directory = client.runtime_directory(arguments.runtime_dir)
    if arguments.what == "show":
        if not arguments.call_id:
            raise client.CommandFailed("show which call? `bellframe calls` lists them: bellframe call show ID")
        return show(directory, arguments)
    if not arguments.trunk and not arguments.what.lower().startswith(SCHEMES) and not NUMBER.fullmatch(arguments.what):
        reason = "is neither \"show\" nor a URI such as sip:100@192.0.2.1, nor a number, nor user:NAME of a phone"
        raise client.CommandFailed(f'"{clean(arguments.what, 80)}" {reason}')
    return dial(directory, arguments)


def show(directory: pathlib.Path, arguments: argparse.Namespace) -> int:
    answer = client.ask(directory, GetCall(call_id=arguments.call_id))
    call = call_of(answer)
    if call is None:
        raise client.CommandFailed(f"there is no call {clean(arguments.call_id, 80)}: `bellframe calls` lists those that are up")
    if arguments.json:
        client.print_json(call)
    else:
        print("\n".join(f"{name:<12} {_shown(name, getattr(call, name))}" for name in call.__struct_fields__ if _is_known(name, call)))
    return 0


def call_of(answer: Message | None) -> CallFacts | None:
    if isinstance(answer, CallChanged):
        return answer.call
    return answer.calls[0] if isinstance(answer, Calls) and answer.calls else None


def _is_known(name: str, call: CallFacts) -> bool:
    """A time of 0 has not come, and nothing is counted of a call before its end."""
    value = getattr(call, name)
    return bool(value) if name.endswith("_at") else value not in ("", {})


def _shown(name: str, value: object) -> str:
    if name == "duration_s":
        return table.duration(float(str(value)))
    if name.endswith("_at"):
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(str(value))))
    return clean(str(value), 200)


def dial(directory: pathlib.Path, arguments: argparse.Namespace) -> int:
    call_id = f"out-{secrets.token_hex(6)}"
    given = {"play": arguments.play, "record": arguments.record}
    if arguments.play and not pathlib.Path(arguments.play).is_file():
        raise client.CommandFailed(f"--play: there is no file {arguments.play}")
    # The bridge opens them, and it may run in another directory.
    files = {name: str(pathlib.Path(path).absolute()) for name, path in given.items() if path}
    order = Originate(
        call_id, arguments.what, arguments.agent, arguments.caller, files, arguments.trunk, hears_early=arguments.early,
        beside=arguments.beside,
    )  # fmt: skip
    with client.connection(directory) as channel:
        outcome = Outcome(call_id, is_quiet=arguments.json)
        try:
            channel.send(Watch(call_id=call_id))
            channel.send(order)
            outcome.follow(news(channel, call_id))
        except KeyboardInterrupt:
            channel.send(HangUp(call_id=call_id, cause="hung up by the caller"))
            with contextlib.suppress(KeyboardInterrupt):
                outcome.follow(news(channel, call_id, limit_s=5.0))
    if outcome.last is None:
        raise client.no_server(directory)
    if arguments.json:
        client.print_json({"call": outcome.last, "was_answered": outcome.was_answered, "files": files})
    else:
        heard = f"; recorded to {files['record']}" if outcome.was_answered and "record" in files else ""
        print(f"{'ended' if outcome.was_answered else 'not answered'}: {clean(outcome.last.cause) or 'no cause given'}{heard}")
    return 0 if outcome.was_answered else 1


def news(channel: Channel, call_id: str, limit_s: float = float("inf")) -> Iterator[Message]:
    """What the front says about the call, until nobody says anything any more."""
    deadline, missed = time.monotonic() + limit_s, 0
    while time.monotonic() < deadline and missed < MISSED_LOOKS:
        wait_s = min(LOOK_S, max(0.0, deadline - time.monotonic()))
        if channel.socket.poll(round(wait_s * 1000)):
            missed = 0
            yield from channel.receive()
        else:
            missed += 1
            channel.send(GetCall(call_id=call_id))


class Outcome:
    """What became of a call, from the front's messages; prints each step for people."""

    ENDED = "ended"
    TALKING = ("answered", "confirmed", "talking", "up", "established")

    def __init__(self, call_id: str, is_quiet: bool) -> None:
        self.call_id, self.is_quiet = call_id, is_quiet
        self.last: CallFacts | None = None
        self.was_answered = False

    def follow(self, messages: Iterator[Message]) -> None:
        """Until the call has ended. Raises CommandFailed if the front refuses it."""
        for message in messages:
            if isinstance(message, Failed):
                if self.last is None:
                    raise client.CommandFailed(message.why)
                return  # it is not known any more: it ended, and we missed it
            call = call_of(message)
            if call is not None and call.call_id == self.call_id:
                self._take(call)
                if call.state == self.ENDED:
                    return
            elif isinstance(message, SipTraced):
                self._print(f"  {'->' if message.is_sent else '<-'} {message.summary}")
            elif isinstance(message, Noted):
                self._print(f"  {message.kind}: {message.text}")

    def _take(self, call: CallFacts) -> None:
        if self.last is None or self.last.state != call.state:
            self._print(f"{call.call_id}  {call.state}  {call.callee}")
        self.was_answered = self.was_answered or call.state in self.TALKING
        self.last = call

    def _print(self, text: str) -> None:
        if not self.is_quiet:
            print(clean(text, 200), flush=True)
