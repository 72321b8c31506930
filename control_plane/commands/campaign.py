"""Call a list of numbers at a pace. What becomes of each is written beside the list as it ends: FILE.outcomes, CSV.

    bellframe campaign numbers.csv --trunk carrier --agent reminders:Remind --per-second 2 --concurrent 20

The list has a heading with `number`; other columns are what the agent finds in call.arguments. Ctrl-C dials nobody any more and waits for
the calls that are up; again, it leaves them. The same command goes on where it was: no number is dialled twice, whatever has crashed.
"""

import argparse
import pathlib
import secrets
import signal
import sys
import time
from collections import Counter

import zmq

from control_plane import client
from control_plane.campaign import Entry, Settled
from control_plane.campaign_file import CampaignFile, read_list
from control_plane.campaign_run import Run, Settings
from control_plane.channel import Channel
from control_plane.messages import CallChanged, Done, Failed, GetCall, Message, Watch

TICK_S, WATCH_S, LOOK_S, LOOK_AT_ONCE = 0.05, 1.0, 1.0, 50
ASK_LIMIT_MS = 2_000
MAX_RATE, MAX_CONCURRENT = 1_000.0, 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=pathlib.Path, metavar="FILE.csv")
    parser.add_argument("--trunk", required=True, metavar="NAME", help="the trunk that they are called through")
    parser.add_argument("--agent", required=True, metavar="AGENT", help="who talks, as in a route")
    parser.add_argument("--per-second", type=float, default=1.0, metavar="RATE", help="calls dialled a second at most (default 1)")
    parser.add_argument("--concurrent", type=int, default=10, metavar="N", help="calls at a time at most (default 10)")
    parser.add_argument("--caller", default="", metavar="NUMBER", help="who calls, for the display")
    client.add_runtime_argument(parser)
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    if not 0 < arguments.per_second <= MAX_RATE or not 1 <= arguments.concurrent <= MAX_CONCURRENT:
        raise client.CommandFailed(f"--per-second: above 0, up to {MAX_RATE:g}; --concurrent: from 1 to {MAX_CONCURRENT}")
    entries, file = read_list(arguments.file), CampaignFile(arguments.file)
    settings = Settings(arguments.trunk, arguments.agent, arguments.per_second, arguments.concurrent, arguments.caller)
    campaign_run = Run(settings, file, entries)
    campaign = campaign_run.campaign
    dialler = Dialler(campaign_run, client.runtime_directory(arguments.runtime_dir), arguments.json)
    before = signal.signal(signal.SIGINT, lambda *_: dialler.interrupt())
    try:
        dialler.run()
    finally:
        signal.signal(signal.SIGINT, before)
        dialler.close()
        file.close()
    left = len(campaign.waiting) + len(campaign.active)
    if arguments.json:
        outcomes = dict(dialler.outcomes)
        client.print_json({"outcomes": outcomes, "left": left, "duplicates": campaign.duplicates, "file": str(file.outcomes_path)})
    else:
        print(f"{dialler.summary()}; see {file.outcomes_path}")
    return int(left > 0)


class Dialler:
    """The campaign with a clock and a server."""

    def __init__(self, campaign_run: Run, directory: pathlib.Path, is_quiet: bool) -> None:
        self.of, self.campaign, self.directory, self.is_quiet = campaign_run, campaign_run.campaign, directory, is_quiet
        self.outcomes: Counter[str] = Counter()
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.orders, self.news = self._open(), self._open()
        self.interrupts = self.looked = 0
        self.watch_at = self.look_at = 0.0
        self.has_complained = False

    def _open(self) -> Channel:
        return Channel(self.context, self.directory, f"campaign-{secrets.token_hex(6)}")

    def interrupt(self) -> None:
        self.interrupts += 1
        self.campaign.is_stopped = True

    def run(self) -> None:
        while not self.campaign.is_over and self.interrupts < 2:
            now = time.monotonic()
            if now >= self.watch_at:  # another front does not know that we watch
                self.watch_at = now + WATCH_S
                self.news.send(Watch(what="calls"))
            while entry := self.campaign.take_due(time.monotonic()):
                self.dial(entry)
            if now >= self.look_at:
                self.look_at = now + LOOK_S
                self.look()
            self.news.socket.poll(round(TICK_S * 1000))
            for message in self.news.receive():
                if isinstance(message, CallChanged):
                    self.write(self.of.take_facts(message.call))

    def dial(self, entry: Entry) -> None:
        self.of.file.note_dialling(entry)
        answer = self.ask(self.of.order(entry))  # again and again, until the front has said something: it is the same call
        while answer is None and self.interrupts < 2:
            answer = self.ask(self.of.order(entry))
        if isinstance(answer, Done | Failed):
            self.write(self.of.take_answer(entry, answer, time.monotonic()))
        elif answer is not None:
            raise client.CommandFailed(f"the server answers with {type(answer).__name__}: use the same release as it is")

    def look(self) -> None:
        """At calls whose news may have been missed: some of them, the next ones the next time."""
        active = list(self.campaign.active.items())
        self.looked = 0 if self.looked >= len(active) else self.looked
        some, self.looked = active[self.looked : self.looked + LOOK_AT_ONCE], self.looked + LOOK_AT_ONCE
        for call_id, entry in some:
            answer = self.ask(GetCall(call_id))
            if answer is None:
                return
            self.write(self.of.take_look(entry, answer))

    def ask(self, question: Message) -> Message | None:
        """None: no server answers now."""
        answer = self.orders.ask(question, ASK_LIMIT_MS)
        if answer is None:
            self.orders.close()  # a late answer must not be taken for that to the next question
            self.orders = self._open()
            if not self.has_complained:
                print(f"no server answers in {self.directory}; waiting for it", file=sys.stderr, flush=True)
        self.has_complained = answer is None
        return answer

    def write(self, settled: Settled | None) -> None:
        if settled is None:
            return
        self.outcomes[settled.outcome] += 1
        if not self.is_quiet:
            print(f"{settled.number}  {settled.outcome}{f'  {settled.cause}' if settled.cause else ''}", flush=True)

    def summary(self) -> str:
        counted = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.most_common()) or "nobody called"
        for count, what in ((len(self.campaign.waiting), "not dialled yet"), (len(self.campaign.active), "up")):
            counted += f"; {count} {what}" if count else ""
        return counted

    def close(self) -> None:
        self.orders.close()
        self.news.close()
        self.context.term()
