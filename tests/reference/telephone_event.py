"""Keys from the events of a stream (RFC 4733), with the whole stream at hand: group into presses, then name each."""

import itertools
from typing import NamedTuple

KEYS = "0123456789*#ABCD"
MIN_SPACING_TICKS = 320
LONGEST_SEGMENT_TICKS = 0xFFFF


class Event(NamedTuple):
    timestamp: int
    event: int
    duration: int
    is_end: bool

    def payload(self) -> bytes:
        return bytes((self.event, self.is_end << 7 | 10)) + self.duration.to_bytes(2, "big")


def presses(events: list[Event]) -> list[list[Event]]:
    """In order of arrival. A press goes on while its timestamp stays, steps by less than any two presses lie apart, or is
    carried on as the next segment of a very long one (2.5.1.3); a packet from before belongs to nobody."""
    found: list[list[Event]] = []
    for event in events:
        if found:
            press = found[-1]
            step = (event.timestamp - press[-1].timestamp + 2**31) % 2**32 - 2**31
            has_ended = any(other.is_end and other.timestamp == earlier.timestamp for earlier, other in itertools.pairwise(press))
            has_ended = has_ended or press[0].is_end
            if step < 0:
                continue
            goes_on = step < MIN_SPACING_TICKS or step == LONGEST_SEGMENT_TICKS
            if step == 0 or (event.event == press[0].event and not has_ended and goes_on):
                press.append(event)
                continue
        found.append([event])
    return found


def keys(events: list[Event]) -> str:
    return "".join(KEYS[press[0].event] for press in presses(events) if press[0].event < len(KEYS))
