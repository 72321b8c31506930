"""One key told per press, however the far end stumbles (RFC 4733)."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from media_workers import telephone_event
from media_workers.telephone_event import KEY_PRESS, KEYS, MOST_KEYS, NO_KEY
from shm.jit import IS_COMPILED
from shm.layout import DTMF
from tests.media_workers.call_under_test import DTMF_TYPE, MS, SECOND, CallUnderTest
from tests.reference import telephone_event as reference
from tests.reference.telephone_event import Event

FIVE, SIX = 5, 6


def told(events: list[Event], first_timestamp: int = 0, clock_hz: int = 8_000) -> str:
    """The keys that these packets tell."""
    press, keys = np.zeros(1, KEY_PRESS)[0], ""
    for event in events:
        payload = np.frombuffer(b"\xee\xee" + event.payload(), np.uint8).copy()
        key = telephone_event.take_key(press, payload, 2, 4, (event.timestamp + first_timestamp) & 0xFFFFFFFF, clock_hz)
        keys += "" if key == NO_KEY else chr(key)
    return keys


def press_of(event: int, at: int, durations: tuple[int, ...] = (160, 320, 480), ends: int = 3) -> list[Event]:
    """As RFC 4733 2.5.1 wants it: one timestamp, growing durations, the end three times."""
    last = durations[-1] + 160 if durations else 160
    return [Event(at, event, duration, False) for duration in durations] + [Event(at, event, last, True)] * ends


@pytest.mark.parametrize("event", range(16))
def test_each_key_has_its_character(event: int) -> None:
    assert told(press_of(event, 1000)) == "0123456789*#ABCD"[event] == chr(KEYS[event])


@pytest.mark.parametrize("event", [16, 17, 64, 255])
def test_flash_and_other_events_are_no_keys(event: int) -> None:
    assert told(press_of(event, 1000)) == ""
    assert told(press_of(event, 1000) + press_of(FIVE, 5000)) == "5"


def test_nothing_before_the_first_press_is_taken_for_its_repeat() -> None:
    assert told(press_of(0, 0)) == "0"


@pytest.mark.parametrize(
    "events",
    [
        press_of(FIVE, 800)[1:],
        press_of(FIVE, 800)[4:],
        press_of(FIVE, 800, ends=0),
        press_of(FIVE, 800, ends=9),
        press_of(FIVE, 800)[:1],
        press_of(FIVE, 800, (), 1),
        press_of(FIVE, 800, tuple(range(160, 60_000, 160))),
        press_of(FIVE, 800, (0, 0, 0)),
    ],
    ids=["start lost", "all but an end lost", "ends lost", "ends repeated", "one packet", "only an end", "held for 7 s", "no durations"],
)
def test_one_press_is_told_once(events: list[Event]) -> None:
    assert told(events) == "5"


def test_the_same_key_twice_is_two_presses() -> None:
    assert told(press_of(FIVE, 0) + press_of(FIVE, 1200)) == "55"


def test_the_same_key_twice_with_the_ends_lost_is_still_two() -> None:
    assert told(press_of(FIVE, 0, ends=0) + press_of(FIVE, 1200, ends=0)) == "55"


def test_two_keys_close_together_are_two() -> None:
    assert told(press_of(FIVE, 0, (), 3) + press_of(SIX, 160, (), 3)) == "56"


def test_the_same_key_again_at_once_after_an_end_is_a_second_press() -> None:
    assert told(press_of(FIVE, 0, (), 3) + press_of(FIVE, 300, (), 3)) == "55"


@pytest.mark.parametrize("step", [80, 160, 240])
def test_a_gateway_that_steps_the_timestamp_within_a_press(step: int) -> None:
    stepping = [Event(1000 + step * n, FIVE, step * (n + 1), False) for n in range(30)]
    assert told(stepping + [Event(1000 + step * 30, FIVE, step * 31, True)] * 3) == "5"
    assert told(stepping + press_of(FIVE, 1000 + step * 30 + 800)) == "55"


def test_a_press_longer_than_a_duration_can_say_goes_on_in_segments() -> None:
    """RFC 4733 2.5.1.3: after 0xFFFF ticks (8.2 s) a new timestamp, without an end before it."""
    first = press_of(FIVE, 0, (*range(160, 65_000, 1600), 0xFFFF), 0)
    second = press_of(FIVE, 0xFFFF, (*range(160, 65_000, 1600), 0xFFFF), 0)
    assert told(first + second + press_of(FIVE, 2 * 0xFFFF)) == "5"


def test_what_comes_late_from_the_press_before_is_not_a_key() -> None:
    one, two = press_of(FIVE, 0), press_of(SIX, 2000)
    assert told(one[:3] + two + one[3:] + press_of(FIVE, 4000)) == "565"


@pytest.mark.parametrize("first_timestamp", [2**32 - 100, 2**32 - 1, 2**31])
def test_timestamps_wrap(first_timestamp: int) -> None:
    assert told(press_of(FIVE, 0) + press_of(FIVE, 1600) + press_of(SIX, 3200), first_timestamp) == "556"


@pytest.mark.parametrize("size", range(4))
def test_a_payload_too_short_is_no_key(size: int) -> None:
    press = np.zeros(1, KEY_PRESS)[0]
    assert telephone_event.take_key(press, np.full(8, 5, np.uint8), 0, size, 160, 8_000) == NO_KEY and press["is_known"] == 0


events = st.lists(
    st.builds(lambda step, event, duration, is_end: (step, event, duration, is_end),
              st.sampled_from([0, 0, 0, 160, 320, 480, 1600, 0xFFFF, -160, -1600]), st.sampled_from([FIVE, FIVE, SIX, 16]),
              st.sampled_from([0, 160, 640, 0xFFFF]), st.booleans()),
    max_size=30,
)  # fmt: skip


@settings(max_examples=400 if IS_COMPILED else 100, deadline=None)
@given(events, st.sampled_from([0, 2**32 - 500]))
def test_agrees_with_the_reference_on_any_sequence(steps: list[tuple[int, int, int, bool]], first: int) -> None:
    stream, timestamp = [], first + 1_000_000
    for step, event, duration, is_end in steps:
        timestamp += step
        stream.append(Event(timestamp % 2**32, event, duration, is_end))
    assert told(stream) == reference.keys(stream)


# ---- the same press by SIP INFO ----------------------------------------------------------------------------------------

S = 1_000_000_000
RTP, INFO = telephone_event.BY_RTP, telephone_event.BY_INFO


@pytest.mark.parametrize(
    ("presses", "told"),
    [
        ([(FIVE, RTP, 0), (FIVE, INFO, 150)], "R"),
        ([(FIVE, INFO, 0), (FIVE, RTP, 40)], "I"),
        ([(FIVE, RTP, 0), (FIVE, INFO, 150), (FIVE, RTP, 300), (FIVE, INFO, 450)], "RR"),
        ([(FIVE, RTP, 0), (FIVE, RTP, 200), (FIVE, INFO, 250), (FIVE, INFO, 450)], "RR"),
        ([(FIVE, RTP, 0), (SIX, RTP, 200), (FIVE, INFO, 250), (SIX, INFO, 450)], "RR"),
        ([(FIVE, INFO, 0), (FIVE, INFO, 300), (SIX, INFO, 600)], "III"),
        ([(FIVE, RTP, 0), (FIVE, INFO, 2_500)], "RI"),
        ([(FIVE, RTP, 0), (FIVE, RTP, 2_500), (FIVE, INFO, 2_600), (FIVE, INFO, 2_700)], "RRI"),
    ],
    ids=["info second", "info first", "twice", "both late", "two keys", "info only", "two presses", "an old one does not count"],
)
def test_a_press_that_comes_both_ways_is_told_once(presses: list[tuple[int, int, int]], told: str) -> None:
    press = np.zeros(1, KEY_PRESS)[0]
    found = ["RI"[way] for event, way, at_ms in presses if telephone_event.is_news(press, event, way, 10 * S + at_ms * S // 1000)]
    assert "".join(found) == told


def test_what_is_no_key_is_never_news() -> None:
    assert not telephone_event.is_news(np.zeros(1, KEY_PRESS)[0], 16, RTP, S)


def test_a_flood_of_keys_is_cut_and_counted_and_ends_with_its_second() -> None:
    call = CallUnderTest()
    for number in range(200):
        call.now_ns += 4 * MS
        call.receive(number, 400 * number, bytes((number % 10, 0x8A, 1, 64)), payload_type=DTMF_TYPE)
    assert len([told for told in call.take() if told.kind == DTMF]) == MOST_KEYS == call.counter("keys_received")
    assert call.counter("keys_dropped") == 200 - MOST_KEYS
    assert call.rows.take_key("call", "A", call.now_ns) and call.take() == [], "by SIP INFO as well"
    call.now_ns += SECOND
    call.receive(200, 90_000, bytes((7, 0x8A, 1, 64)), payload_type=DTMF_TYPE)
    assert [told.value for told in call.take() if told.kind == DTMF] == [ord("7")]
