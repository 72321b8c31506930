"""Hours of the week in a time zone: when a route counts. "Mon-Fri 08:00-18:00", "Sat,Sun 10:00-14:00", "22:00-06:00"."""

import datetime
import re
import zoneinfo
from typing import NamedTuple

from control_plane.errors import ConfigurationError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
TEXT = re.compile(r"(?:(?P<days>[A-Za-z, -]+?)\s+)?(?P<from>\d{1,2}:\d\d)\s*-\s*(?P<to>\d{1,2}:\d\d)")


class Span(NamedTuple):
    """On these days of the week (0: Monday), from one minute of the day to before another: of the next day, if that is not later."""

    days: frozenset[int]
    first: int
    end: int


class Hours:
    def __init__(self, texts: tuple[str, ...], time_zone: str, where: str) -> None:
        """Raises ConfigurationError."""
        self.texts = texts
        self.spans = [parse_span(text, where) for text in texts]
        try:
            self.zone = zoneinfo.ZoneInfo(time_zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as failure:
            remedy = 'write an IANA name such as "Europe/Berlin", and see that the package tzdata is installed'
            raise ConfigurationError(f'{where}.time_zone: "{time_zone}" is not known here; {remedy}') from failure

    def hold(self, at: float) -> bool:
        """`at`: seconds since the epoch. Clocks that are put back give an hour twice: both count."""
        local = datetime.datetime.fromtimestamp(at, self.zone)
        day, minute = local.weekday(), local.hour * 60 + local.minute
        return any(_holds(span, day, minute) for span in self.spans)

    def local(self, at: float) -> str:
        """For people: what the clocks there show."""
        return datetime.datetime.fromtimestamp(at, self.zone).strftime("%a %H:%M")


def _holds(span: Span, day: int, minute: int) -> bool:
    if span.first < span.end:
        return day in span.days and span.first <= minute < span.end
    return (day in span.days and minute >= span.first) or ((day - 1) % 7 in span.days and minute < span.end)


def parse_span(text: str, where: str) -> Span:
    """Raises ConfigurationError."""
    found = TEXT.fullmatch(text.strip())
    if not found:
        raise ConfigurationError(f'{where}.hours: "{text}" is not hours such as "Mon-Fri 08:00-18:00"')
    first, end = _minute(found["from"]), _minute(found["to"])
    if first is None or end is None or first in (DAY_MINUTES, end):
        raise ConfigurationError(f'{where}.hours: "{text}" is no time from 00:00 to 24:00, or ends as it begins; all day is 00:00-24:00')
    return Span(_days(found["days"] or "mon-sun", text, where), first, end)


def _minute(text: str) -> int | None:
    hour, _, minute = text.partition(":")
    value = int(hour) * 60 + int(minute)
    return value if int(minute) < 60 and value <= DAY_MINUTES else None


def _days(text: str, whole: str, where: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.lower().replace(" ", "").split(","):
        names = part.split("-")
        numbers = [DAYS.index(name[:3]) for name in names if name[:3] in DAYS]
        if len(numbers) != len(names) or not 1 <= len(names) <= 2:
            raise ConfigurationError(f'{where}.hours: "{whole}" names days that are none; there are Mon, Tue, Wed, Thu, Fri, Sat, Sun')
        first, last = numbers[0], numbers[-1]
        found |= {(first + i) % 7 for i in range((last - first) % 7 + 1)}
    return frozenset(found)
