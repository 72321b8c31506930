"""`bellframe top` on a terminal: what is drawn once a second, and what keys do."""

import contextlib
import os
import pathlib
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import zmq
from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.text import Text

from control_plane import client
from control_plane.channel import Channel
from control_plane.commands import top
from control_plane.commands.top_figures import ORDERS, Figures, measure, take_sample
from control_plane.commands.top_screen import draw
from control_plane.ladder import Ladder
from control_plane.logs import clean
from control_plane.messages import CallFacts, GetTrace, HangUp, Message, Traced

if TYPE_CHECKING:
    from shm.counters import Counters

INTERVAL_S = 1.0
FACTS_EVERY_S = 5.0
"""Who talks with whom changes seldom: a thousand calls would cost the front and us more than everything else."""
AWAY_LIMIT_S = 20.0
"""How long `top` waits for a keeper that is being replaced before it says that no server answers."""
ANSWER_MS = 500
HELP = "s sorts, arrows choose, Enter shows, t traces, x hangs up, q ends"
ARROWS = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down"}
FRAME_LINES = 6
"""Of the screen, beside a line for each worker: headings, and what stands below."""


class Live:
    """What is shown. `press` takes a key, `picture` gives what is to be drawn."""

    def __init__(self, directory: pathlib.Path, views: "Counters", channel: Channel, order: str = "time") -> None:
        self.directory, self.views, self.channel, self.order = directory, views, channel, order
        self.selected = self.told = self.text = ""
        """The chosen call; a line for the operator; what is shown of that call instead of the list."""
        self.is_asking = self.is_over = False
        self.facts: dict[str, CallFacts] = {}
        self.asked_at = 0.0
        self.before = take_sample(views)
        self.figures = Figures((), ())

    # ---- once a second ------------------------------------------------------------------------------------------------

    def look(self, lines: int) -> bool:
        """Measure anew, as many calls as there is room for. False: nothing has moved; the keeper may have been replaced."""
        after = take_sample(self.views)
        if after.workers == self.before.workers:
            return False
        room = max(1, lines - len(self.views.workers) - FRAME_LINES)
        self.figures = measure(self.before, after, self.views, self.facts.values(), self.order, room)
        unknown = any(call.call_id not in self.facts for call in self.figures.calls)
        if time.monotonic() - self.asked_at > (INTERVAL_S if unknown else FACTS_EVERY_S):
            self.asked_at = time.monotonic()
            self.facts = {call.call_id: call for call in top.ask_for_calls(self.channel)}
            self.figures = measure(self.before, after, self.views, self.facts.values(), self.order, room)
        self.before = after
        return True

    def picture(self) -> Group:
        if self.text:
            return Group(Text(self.text), Text("\nany key goes back", style="dim"))
        return draw(self.figures, self.order, self.selected, self.told or HELP)

    # ---- keys --------------------------------------------------------------------------------------------------------------

    def press(self, key: str) -> None:
        if self.is_asking:
            self.is_asking = False
            self.told = self._hang_up() if key == "y" else "not hung up"
            return
        if self.text:
            self.text = ""
            return
        self.told = ""
        action = KEYS.get(key)
        if action is not None:
            action(self)

    def end(self) -> None:
        self.is_over = True

    def sort(self) -> None:
        names = list(ORDERS)
        self.order = names[(names.index(self.order) + 1) % len(names)]
        self.told = f"sorted by {self.order}"

    def move(self, by: int) -> None:
        ids = [call.call_id for call in self.figures.calls]
        if ids:
            at = ids.index(self.selected) + by if self.selected in ids else 0
            self.selected = ids[max(0, min(len(ids) - 1, at))]

    def show(self) -> None:
        call = next((call for call in self.figures.calls if call.call_id == self.selected), None)
        if call is None:
            self.told = "choose a call with the arrows first"
            return
        facts = self.facts.get(self.selected)
        shown = {name: getattr(call, name) for name in call.__struct_fields__}
        if facts:
            shown |= {name: getattr(facts, name) for name in ("direction", "trunk", "format", "remote", "sip_call_id", "bridge")}
        self.text = "\n".join(f"{name:<18} {clean(str(value), 120)}" for name, value in shown.items())

    def trace(self) -> None:
        answer = self._ask(GetTrace(self.selected)) if self.selected else None
        if isinstance(answer, Traced):
            drawn = Ladder()
            self.text = "\n".join(line for message in answer.messages for line in drawn.lines(message))
        else:
            self.told = clean(getattr(answer, "why", "choose a call with the arrows first"), 160)

    def ask_whether_to_hang_up(self) -> None:
        self.is_asking = bool(self.selected)
        self.told = f"hang up {clean(self.selected, 40)}? y/n" if self.selected else "choose a call with the arrows first"

    def _hang_up(self) -> str:
        answer = self._ask(HangUp(self.selected, "hung up by an operator"))
        return clean(getattr(answer, "why", ""), 160) or f"{clean(self.selected, 40)} is hung up"

    def _ask(self, message: Message) -> Message | None:
        list(self.channel.receive())
        try:
            return self.channel.ask(message, ANSWER_MS)
        except zmq.ZMQError:
            return None

    # ---- the terminal -------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until q or Ctrl-C. A keeper that was replaced has other counters, so they are asked for anew when nothing moves."""
        console, last_seen = Console(), time.monotonic()
        with keyboard() as keys, RichLive(self.picture(), console=console, screen=True, auto_refresh=False) as live:
            due = time.monotonic() + top.FIRST_INTERVAL_S
            while not self.is_over:
                for key in keys(max(0.0, due - time.monotonic())):
                    self.press(key)
                    live.update(self.picture(), refresh=True)
                if time.monotonic() < due:
                    continue
                due = time.monotonic() + INTERVAL_S
                if self.look(console.height):
                    last_seen = time.monotonic()
                    live.update(self.picture(), refresh=True)
                elif time.monotonic() - last_seen > AWAY_LIMIT_S:
                    self.views = top.open_counters(self.directory)
                else:
                    with contextlib.suppress(client.CommandFailed):
                        self.views = top.open_counters(self.directory)
                        self.before = take_sample(self.views)


@contextlib.contextmanager
def keyboard() -> Iterator[Callable[[float], list[str]]]:
    """Keys as they are pressed, without Enter; waits for so many seconds at most. None where there is no terminal."""
    if not sys.stdin.isatty():
        yield no_keys
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield lambda seconds: read_keys(fd, seconds)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def no_keys(seconds: float) -> list[str]:
    time.sleep(seconds)
    return []


def read_keys(fd: int, seconds: float) -> list[str]:
    if not select.select([fd], [], [], seconds)[0]:
        return []
    octets = os.read(fd, 64)
    if octets in ARROWS:
        return [ARROWS[octets]]
    return [] if octets.startswith(b"\x1b") else [{"\n": "enter", "\r": "enter"}.get(key, key) for key in octets.decode("ascii", "ignore")]


KEYS: dict[str, Callable[[Live], None]] = {
    "q": Live.end,
    "s": Live.sort,
    "up": lambda live: live.move(-1),
    "down": lambda live: live.move(1),
    "enter": Live.show,
    "t": Live.trace,
    "x": Live.ask_whether_to_hang_up,
}
