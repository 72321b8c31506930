"""The ladder of a call: a column for us and one for each far end, an arrow for each message, for a terminal of fixed width."""

from collections.abc import Iterable, Iterator

from control_plane.logs import clean
from control_plane.messages import SipTraced

COLUMN, MARGIN, MIN_SHAFT = 40, 11, 4
MAX_SUMMARY = 60
RAIL = "│".ljust(COLUMN)


class Ladder:
    """`lines` draws one message after the other; columns are added as far ends appear."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.began_ns = 0

    def heading(self, local: str) -> list[str]:
        """Who stands where."""
        names = "".join(clean(name, COLUMN - 2).ljust(COLUMN) for name in (local or "here", *self.ends))
        return [" " * (MARGIN + 2) + names.rstrip(), " " * (MARGIN + 2) + RAIL * len(self.ends) + RAIL[0]]

    def lines(self, message: SipTraced) -> Iterator[str]:
        self.began_ns = self.began_ns or message.at_ns
        if message.remote not in self.ends:
            self.ends.append(message.remote)
            yield from self.heading(message.local)
        yield self._arrow(message)

    def _arrow(self, message: SipTraced) -> str:
        time = f"{(message.at_ns - self.began_ns) / 1e9:+.3f} s"
        position = self.ends.index(message.remote)
        width = COLUMN * (position + 1) - 1
        summary = clean(message.summary, min(MAX_SUMMARY, width - 2 * MIN_SHAFT))[: width - 2 * MIN_SHAFT]
        shaft = f" {summary} ".center(width - 1, "─")
        drawn = f"{shaft}>" if message.is_sent else f"<{shaft}"
        return f"{time:>{MARGIN}}  {RAIL[0]}{drawn}" + RAIL * (len(self.ends) - position - 1) + RAIL[0]


def draw(messages: Iterable[SipTraced], is_whole: bool = False) -> list[str]:
    """All at once: every far end has its column from the beginning. `is_whole`: with each message below its arrow."""
    messages = list(messages)
    ladder, lines = Ladder(), list[str]()
    for message in messages:
        if message.remote not in ladder.ends:
            ladder.ends.append(message.remote)
    if messages:
        lines += ladder.heading(messages[0].local)
    for message in messages:
        lines += ladder.lines(message)
        if is_whole:
            lines += indented(message.text)
    return lines


def indented(text: str) -> list[str]:
    return ["", *(f"    {clean(line)}" for line in text.rstrip().splitlines()), ""]
