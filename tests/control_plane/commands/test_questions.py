"""status, calls, call show and hangup, run as a user runs them, with somebody at the front's socket."""

import json
import pathlib
from collections.abc import Callable, Iterator

import msgspec
import pytest

from control_plane.command import main
from control_plane.messages import (
    CallChanged,
    CallFacts,
    Calls,
    Done,
    Failed,
    GetCall,
    GetCalls,
    GetStatus,
    HangUp,
    HoldEnded,
    Message,
    Noted,
    PeerFacts,
    Status,
    TransferEnded,
    Watch,
)
from tests.control_plane.test_client import Exchange

FROM, TO = "sip:alice@192.0.2.1", "sip:100@192.0.2.9"
CALL = CallFacts("c-1", "talking", "inbound", FROM, TO, "menu", 1.7e9, 65.2, format="PCMU", worker=0, row=3)
PEERS = (PeerFacts("worker", 0, 4711, 2, 1, 1000, 300), PeerFacts("bridge", 0, 4712, 0, 1, 0, 9000))


def answer(message: Message) -> list[Message]:
    match message:
        case GetStatus():
            return [Status("0.1.0", "127.0.0.1:5060", 3700.0, False, 1, 17, 2, PEERS)]
        case GetCalls():
            return [Calls(calls=(CALL,))]
        case GetCall(call_id="c-1"):
            return [Calls(calls=(CALL,))]
        case HangUp(call_id="c-1"):
            return [Done()]
    return [Failed(why="there is no such call: `bellframe calls` lists those that are up")]


@pytest.fixture
def front(tmp_path: pathlib.Path) -> Iterator[Exchange]:
    exchange = Exchange(tmp_path, answer)
    yield exchange
    exchange.close()


@pytest.fixture
def bellframe(front: Exchange, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*words: str) -> tuple[int, str, str]:
        code = main([*words, "--runtime-dir", str(tmp_path)])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def test_status_names_processes_and_who_is_silent(bellframe: Callable[..., tuple[int, str, str]]) -> None:
    code, output, _ = bellframe("status")
    assert code == 0
    assert output.splitlines()[:2] == [
        "bellframe 0.1.0 accepts calls on sip:127.0.0.1:5060, up 1:01:40",
        "1 call up, 17 since the start, 2 refused",
    ]
    rows = [line.split() for line in output.splitlines()[4:]]
    assert rows == [
        ["worker", "0", "4711", "2", "1", "1000", "0%", "0%", "alive"],
        ["bridge", "0", "4712", "-", "1", "-", "-", "-", "silent"],
    ]
    assert json.loads(bellframe("status", "--json")[1])["peers"][0]["capacity"] == 1000


def test_calls_are_listed(bellframe: Callable[..., tuple[int, str, str]]) -> None:
    code, output, _ = bellframe("calls")
    assert code == 0
    assert output.splitlines()[1].split() == ["c-1", "talking", "1:05", "inbound", CALL.caller, CALL.callee, "menu", "PCMU", "0"]
    assert json.loads(bellframe("calls", "--json")[1])[0]["row"] == 3


def test_one_call_is_shown(bellframe: Callable[..., tuple[int, str, str]]) -> None:
    code, output, _ = bellframe("call", "show", "c-1")
    assert "ended_at" not in output and "counters" not in output, "what has not come yet is not shown"
    shown = dict(line.split(maxsplit=1) for line in output.splitlines())
    assert code == 0 and (shown["state"], shown["duration_s"], shown["row"]) == ("talking", "1:05", "3")
    assert json.loads(bellframe("call", "show", "c-1", "--json")[1])["caller"] == CALL.caller


def test_hangup_is_ordered(bellframe: Callable[..., tuple[int, str, str]], front: Exchange) -> None:
    assert bellframe("hangup", "c-1")[:2] == (0, "c-1 is hung up\n")
    assert front.asked == [HangUp(call_id="c-1")]
    assert json.loads(bellframe("hangup", "c-1", "--json")[1]) == {"call_id": "c-1", "done": True}


@pytest.mark.parametrize("words", [("hangup", "c-2"), ("call", "show", "c-2")])
def test_a_call_that_is_not_there_fails_with_what_to_do(bellframe: Callable[..., tuple[int, str, str]], words: tuple[str, ...]) -> None:
    code, output, error = bellframe(*words)
    assert (code, output) == (1, "") and "`bellframe calls` lists" in error


@pytest.mark.parametrize(("words", "remedy"), [(("call", "show"), "call show ID"), (("call", "alice"), "sip:100@192.0.2.1")])
def test_a_call_written_wrongly_says_how_to_write_it(
    bellframe: Callable[..., tuple[int, str, str]], words: tuple[str, ...], remedy: str
) -> None:
    code, _, error = bellframe(*words)
    assert code == 1 and remedy in error


# ---- hold, resume, transfer: what became of it comes later than the answer --------------------------------------------


@pytest.fixture
def orders(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """`orders(outcome, *words)`: the front takes the order, and tells this of it."""

    def run(outcome: list[Message], *words: str) -> tuple[int, str, str]:
        exchange = Exchange(tmp_path, lambda message: [Done()] if isinstance(message, Watch) else [Done("c-1"), *outcome])
        try:
            code = main([*words, "--runtime-dir", str(tmp_path)])
        finally:
            exchange.close()
        output = capsys.readouterr()
        return code, output.out, output.err

    yield run


@pytest.mark.parametrize(("word", "is_held", "shown"), [("hold", True, "c-1 is on hold\n"), ("resume", False, "c-1 is resumed\n")])
def test_hold_and_resume_wait_for_the_far_end(
    orders: Callable[..., tuple[int, str, str]], word: str, is_held: bool, shown: str
) -> None:
    assert orders([HoldEnded("other", is_held, False, 488), HoldEnded("c-1", is_held, True, 200)], word, "c-1") == (0, shown, "")
    code, output, _ = orders([HoldEnded("c-1", is_held, False, 488, "488 Not Acceptable Here")], word, "c-1")
    assert (code, output) == (1, "c-1 is as it was: the far end answered 488 Not Acceptable Here\n")


def test_a_transfer_shows_how_it_fares(orders: Callable[..., tuple[int, str, str]]) -> None:
    ringing = Noted("c-1", 1, "transfer", "transfer to sip:desk@x: 180 Ringing")
    code, output, _ = orders([ringing, TransferEnded("c-1", True, 200, "200 OK")], "transfer", "c-1", "sip:desk@x")
    assert (code, output) == (0, "  transfer to sip:desk@x: 180 Ringing\nc-1 is transferred: 200 OK\n")
    code, output, _ = orders([TransferEnded("c-1", False, 486, "486 Busy Here")], "transfer", "c-1", "--with", "c-2", "--json")
    assert code == 1 and json.loads(output)["status"] == 486


def test_what_a_transfer_cannot_be(orders: Callable[..., tuple[int, str, str]]) -> None:
    for words in (["c-1"], ["c-1", "sip:a@b", "--with", "c-2"]):
        assert "either a URI or a number, or --with" in orders([], "transfer", *words)[2]
    assert "it is over" in orders([CallChanged(msgspec.structs.replace(CALL, state="ended", cause="it is over"))], "hold", "c-1")[2]
    assert "no such" in orders([Failed("no such thing")], "hold", "c-1")[2]
