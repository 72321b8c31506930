"""join, unjoin and conference, run as a user runs them, with somebody at the front's socket."""

import pathlib
from collections.abc import Callable, Iterator

import pytest

from control_plane.command import main
from control_plane.messages import Done, EnterRoom, Failed, JoinCalls, LeaveRoom, Message, Party
from tests.control_plane.test_client import Exchange


@pytest.fixture
def asked() -> list[Message]:
    return []


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bellframe(tmp_path: pathlib.Path, asked: list[Message], capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    def answer(message: Message) -> list[Message]:
        asked.append(message)
        return [Failed("there is no call none", 404)] if "none" in repr(message) else [Done()]

    exchange = Exchange(tmp_path, answer)

    def run(*words: str) -> tuple[int, str, str]:
        return main([*words, "--runtime-dir", str(tmp_path)]), *capsys.readouterr()

    yield run
    exchange.close()


ORDERS = [
    (("join", "a", "b"), [JoinCalls("a", "b")], "a and b are joined"),
    (("join", "a", "b", "--agent", "listen", "--after", "return"), [JoinCalls("a", "b", "listen", "return")], "joined"),
    (("unjoin", "a"), [LeaveRoom("a")], "a is in no room"),
    (
        ("conference", "weekly", "a", "b:listen", "c:whisper:a/agent", "d:music", "--agent", "talk", "--after", "end"),
        [
            EnterRoom("weekly", Party("a", agent="talk"), "end"),
            EnterRoom("weekly", Party("b", "listen", "talk"), "end"),
            EnterRoom("weekly", Party("c", "whisper", "talk", "a/agent"), "end"),
            EnterRoom("weekly", Party("d", "music", "talk"), "end"),
        ],
        "c is in weekly as whisper",
    ),
]


@pytest.mark.parametrize(("words", "orders", "said"), ORDERS)
def test_the_front_is_asked(
    bellframe: Run, asked: list[Message], words: tuple[str, ...], orders: list[Message], said: str
) -> None:
    code, out, _ = bellframe(*words)
    assert code == 0 and said in out and asked == orders


@pytest.mark.parametrize("words", [("join", "none", "b"), ("unjoin", "none"), ("conference", "weekly", "none")])
def test_a_refusal_is_shown(bellframe: Run, words: tuple[str, ...]) -> None:
    code, _, err = bellframe(*words)
    assert code == 1 and "there is no call none" in err


@pytest.mark.parametrize("call", ["a:sings", "a:whisper", "a:listen:b"])
def test_a_part_written_wrongly_asks_nothing(bellframe: Run, asked: list[Message], call: str) -> None:
    code, _, err = bellframe("conference", "weekly", "b", call)
    assert code == 1 and "ID:ROLE" in err and asked == []
