"""bellframe trace, as a user runs it."""

import json
import pathlib
from collections.abc import Callable, Iterator

import pytest

from control_plane.command import main
from control_plane.messages import CallChanged, CallFacts, Done, Failed, GetTrace, Message, SipTraced, Traced, Watch
from tests.control_plane.test_client import Exchange
from tests.control_plane.test_ladder import HERE, MESSAGES, ONE

ENDED = CallFacts("c", "ended", "inbound", "a", "b", "echo", 1.0, 2.0)
BYE = SipTraced("c", 9_000_000_000, False, "BYE", ONE, HERE, 1.5e9, "BYE sip:a@b SIP/2.0\r\n\r\n")


def answer(message: Message) -> list[Message]:
    match message:
        case GetTrace(call_id="c"):
            return [Traced("c", MESSAGES, 3)]
        case Watch(call_id="c"):
            return [Done(), BYE, CallChanged(ENDED)]
        case Watch():
            return [Failed("64 watch already, and no more may; end one of them", 503)]
    return [Failed("the messages of call x were not kept: set sip.trace = true", 404)]


@pytest.fixture
def trace(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    exchange = Exchange(tmp_path, answer)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["trace", *words, "--runtime-dir", str(tmp_path)])
        output = capsys.readouterr()
        return code, output.out, output.err

    yield run
    exchange.close()


def test_a_call_is_drawn(trace: Callable[..., tuple[int, str, str]]) -> None:
    code, output, _ = trace("c")
    assert code == 0 and "│<─────────────── INVITE ───────────────│" in output and "(3 messages in the middle were not kept)" in output
    assert "INVITE sip:a@b SIP/2.0" not in output and "    INVITE sip:a@b SIP/2.0" in trace("c", "--full")[1]
    assert len(json.loads(trace("c", "--json")[1])["messages"]) == 3


def test_following_shows_what_was_and_what_comes_until_the_end(trace: Callable[..., tuple[int, str, str]], tmp_path: pathlib.Path) -> None:
    code, output, _ = trace("c", "--follow", "--full", "--pcap", str(tmp_path / "call.pcap"))
    assert code == 0 and output.index("INVITE ─") < output.index("─ BYE ─") and "    BYE sip:a@b SIP/2.0" in output
    assert (tmp_path / "call.pcap").stat().st_size > 24 + 4 * (16 + 28)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ((), "bellframe trace ID"),
        (("--follow", "--full"), "one call only"),
        (("x",), "sip.trace = true"),
        (("--follow",), "64 watch already"),
        (("c", "--pcap", "/nonexistent/x.pcap"), "cannot write"),
    ],
)
def test_what_cannot_be_traced_says_why(trace: Callable[..., tuple[int, str, str]], words: tuple[str, ...], remedy: str) -> None:
    code, _, error = trace(*words)
    assert code == 1 and remedy in error
