"""`bellframe top` on a terminal: order, choice, detail, trace, hanging up; and what it costs with a thousand calls."""

import pathlib
import time
from collections.abc import Iterator

import numpy as np
import pytest
from rich.console import Console

from control_plane import client
from control_plane.commands.top_figures import ORDERS, in_order
from control_plane.commands.top_live import KEYS, Live, read_keys
from control_plane.messages import CallFacts, Calls, Done, GetCalls, GetTrace, HangUp, Message, SipTraced, Traced
from shm.counters import CALL_COLUMN, WORKER, Counters, counters_bytes, counters_format
from tests.control_plane.test_client import Exchange

CALLS, LINES = 1000, 50
MOST_CPU_MS = 120.0
"""For a second's picture. The bar is 50 on a machine that does nothing else; here it finds what grows with the calls."""


@pytest.fixture
def views() -> Counters:
    made = counters_format(bytearray(counters_bytes(1, CALLS)), 1, CALLS)
    made.calls["call_id"] = [f"call-{n}".encode() for n in range(CALLS)]
    counted = made.calls["counters"]
    counted[:, CALL_COLUMN["opened_ns"]] = 1 + np.arange(CALLS)
    counted[:, CALL_COLUMN["packets_received"]] = 100
    counted[7, CALL_COLUMN["lost"]], counted[8, CALL_COLUMN["jitter_us"]], counted[9, CALL_COLUMN["mos_x100"]] = 50, 9_000, 210
    counted[10, CALL_COLUMN["mos_x100"]] = 430
    return made


def facts(number: int) -> CallFacts:
    return CallFacts(f"call-{number}", "up", "inbound", f"+49{number}", "100", "menu", 0.0, 1.0, sip_call_id=f"abc{number}")


@pytest.fixture
def ordered() -> list[Message]:
    """What the front was told to do."""
    return []


@pytest.fixture
def live(tmp_path: pathlib.Path, views: Counters, ordered: list[Message]) -> Iterator[Live]:
    def answer(message: Message) -> list[Message]:
        match message:
            case GetCalls():
                return [Calls(tuple(map(facts, range(CALLS))))]
            case GetTrace(call_id=call_id):
                return [Traced(call_id, (SipTraced(call_id, 1, False, "INVITE", "192.0.2.1:5060"),))]
            case HangUp():
                ordered.append(message)
                return [Done()]
        return []

    front = Exchange(tmp_path, answer)
    with client.connection(tmp_path) as channel:
        yield Live(tmp_path, views, channel)
    front.close()


def look(live: Live) -> str:
    live.views.workers[0, WORKER["cycles"]] += 1
    assert live.look(LINES)
    return shown(live)


def shown(live: Live) -> str:
    console = Console(width=200, record=True, file=pathlib.Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(live.picture())
    console.file.close()
    return console.export_text()


@pytest.mark.parametrize(("order", "first"), [("time", 0), ("lost", 7), ("jitter", 8), ("mos", 9)])
def test_the_worst_comes_first(views: Counters, order: str, first: int) -> None:
    assert in_order(views, order)[0] == first and len(in_order(views, order)) == CALLS


def test_only_as_many_calls_are_looked_at_as_there_is_room_for(live: Live) -> None:
    text = look(live)
    assert len(live.figures.calls) == LINES - 7 and live.figures.open == CALLS
    assert "call-0" in text and "+490" in text and f"and {CALLS - LINES + 7} more" in text and "x hangs up" in text


def test_s_sorts_by_the_next_column(live: Live) -> None:
    look(live)
    seen = []
    for _ in ORDERS:
        live.press("s")
        seen.append(live.order)
    assert seen == [*list(ORDERS)[1:], "time"]
    live.press("s")
    assert "lost*" in look(live) and live.figures.calls[0].call_id == "call-7"


def test_a_call_is_chosen_shown_traced_and_hung_up(live: Live, ordered: list[Message]) -> None:
    look(live)
    for key in ("x", "enter", "t"):
        live.press(key)
        assert "choose a call" in live.told and not live.text
    for key in ("down", "down", "down", "up"):
        live.press(key)
    assert live.selected == "call-1"
    live.press("enter")
    assert "sip_call_id        abc1" in shown(live) and "caller             +491" in shown(live)
    live.press("a")
    live.press("t")
    assert "INVITE" in shown(live) and "192.0.2.1:5060" in shown(live)
    live.press(" ")
    live.press("x")
    assert "hang up call-1? y/n" in shown(live)
    live.press("n")
    assert ordered == [] and "not hung up" in live.told
    live.press("x")
    live.press("y")
    assert [message.call_id for message in ordered if isinstance(message, HangUp)] == ["call-1"] and "call-1 is hung up" in live.told


def test_what_stands_still_is_no_picture(live: Live) -> None:
    look(live)
    assert not live.look(LINES), "the keeper may have been replaced: its counters are asked for anew"


def test_keys_come_from_a_terminal(tmp_path: pathlib.Path) -> None:
    import os

    theirs, ours = os.openpty()
    try:
        assert read_keys(ours, 0.0) == []
        os.write(theirs, b"\x1b[B\n")
        assert read_keys(ours, 1.0) in (["down"], [])  # a canonical line may carry both at once
    finally:
        os.close(theirs)
        os.close(ours)


def test_every_key_has_its_action() -> None:
    assert set(KEYS) == {"q", "s", "up", "down", "enter", "t", "x"}


def test_a_thousand_calls_cost_little(live: Live) -> None:
    look(live)
    began, pictures = time.process_time(), 5
    for _ in range(pictures):
        look(live)
    spent_ms = (time.process_time() - began) * 1000 / pictures
    print(f"{spent_ms:.1f} ms of CPU for a second's picture of {CALLS} calls")
    assert spent_ms < MOST_CPU_MS
