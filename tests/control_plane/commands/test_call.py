"""Dialling out, as the command follows it from the front's messages."""

import json
import pathlib
from collections.abc import Callable, Iterator

import pytest

from control_plane.command import main
from control_plane.commands import call
from control_plane.messages import CallChanged, CallFacts, Done, Failed, GetCall, Message, Noted, Originate, SipTraced, Watch
from tests.control_plane.test_client import Exchange


def changed(call_id: str, state: str, cause: str = "") -> CallChanged:
    return CallChanged(call=CallFacts(call_id, state, "outbound", "", "sip:bob@127.0.0.1", "wav", 0.0, 0.0, cause=cause))


@pytest.fixture
def dial(tmp_path: pathlib.Path) -> Iterator[Callable[..., tuple[int, Exchange]]]:
    exchanges: list[Exchange] = []

    def run(states: list[tuple[str, str]], *words: str, extra: tuple[Message, ...] = ()) -> tuple[int, Exchange]:
        def reply(message: Message) -> list[Message]:
            if isinstance(message, Watch):
                return [Done()]
            if isinstance(message, Originate):
                return [Done(), *extra, *(changed(message.call_id, *state) for state in states)]
            return [Failed(why="there is no such call")]

        exchanges.append(Exchange(tmp_path, reply))
        return main(["call", "sip:bob@127.0.0.1", "--runtime-dir", str(tmp_path), *words]), exchanges[-1]

    yield run
    for exchange in exchanges:
        exchange.close()


def test_an_answered_call_is_followed_to_its_end(
    dial: Callable[..., tuple[int, Exchange]], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hello.wav").touch()
    extra = (SipTraced("x", 0, True, "INVITE", "127.0.0.1:5080"), Noted("x", 0, "heard", "hello\x1b[2J"))
    states = [("calling", ""), ("answered", ""), ("ended", "the far end hung up")]
    code, front = dial(states, "--play", "hello.wav", "--record", "answer.wav", extra=extra)
    output = capsys.readouterr().out
    assert code == 0
    assert "  -> INVITE\n" in output and "answered" in output and "\x1b" not in output
    assert output.splitlines()[-1] == f"ended: the far end hung up; recorded to {tmp_path / 'answer.wav'}"
    watch, order = front.asked[:2]
    assert isinstance(watch, Watch) and isinstance(order, Originate) and watch.call_id == order.call_id
    assert (order.agent, order.to) == ("wav", "sip:bob@127.0.0.1")
    assert order.arguments == {"play": str(tmp_path / "hello.wav"), "record": str(tmp_path / "answer.wav")}


def test_a_call_that_nobody_answers_fails_with_the_cause(
    dial: Callable[..., tuple[int, Exchange]], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = dial([("calling", ""), ("ended", "486 Busy Here")])
    assert code == 1 and capsys.readouterr().out.splitlines()[-1] == "not answered: 486 Busy Here"


def test_json_is_one_object_at_the_end(dial: Callable[..., tuple[int, Exchange]], capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = dial([("answered", ""), ("ended", "bye")], "--json")
    values = json.loads(capsys.readouterr().out)
    assert code == 0 and values["was_answered"] and values["call"]["cause"] == "bye"


def test_a_refusal_is_told(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    front = Exchange(tmp_path, lambda message: [Failed(why="no worker has room")] if isinstance(message, Originate) else [])
    try:
        assert main(["call", "sip:bob@127.0.0.1", "--runtime-dir", str(tmp_path)]) == 1
    finally:
        front.close()
    assert "no worker has room" in capsys.readouterr().err


def test_a_call_whose_end_was_missed_ends_all_the_same(
    dial: Callable[..., tuple[int, Exchange]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The front was restarted meanwhile: asked again, it does not know the call."""
    monkeypatch.setattr(call, "LOOK_S", 0.05)
    code, front = dial([("answered", "")])
    assert code == 0 and any(isinstance(message, GetCall) for message in front.asked)
    assert "ended: no cause given" in capsys.readouterr().out


def test_a_file_to_play_must_be_there(dial: Callable[..., tuple[int, Exchange]], capsys: pytest.CaptureFixture[str]) -> None:
    assert dial([], "--play", "missing.wav")[0] == 1
    assert "--play: there is no file missing.wav" in capsys.readouterr().err
