"""What the commands share, against a real control socket with somebody at the other end."""

import json
import pathlib
import threading
from collections.abc import Callable, Iterator

import pytest
import zmq

from control_plane import client
from control_plane.channel import Switchboard
from control_plane.messages import CallFacts, Calls, Failed, GetCalls, Message

Reply = Callable[[Message], list[Message]]


class Exchange:
    """Answers on the front's socket as told, in a thread, so that the commands can be run as they are."""

    def __init__(self, directory: pathlib.Path, reply: Reply) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.board = Switchboard(self.context, directory)
        self.reply, self.asked, self.is_closed = reply, list[Message](), False
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        while not self.is_closed:
            if self.board.socket.poll(20):
                for identity, message in self.board.receive():
                    self.asked.append(message)
                    for answer in self.reply(message):
                        self.board.send(identity, answer)

    def close(self) -> None:
        self.is_closed = True
        self.thread.join()
        self.board.close()
        self.context.term()


@pytest.fixture
def exchange(tmp_path: pathlib.Path) -> Iterator[Callable[[Reply], Exchange]]:
    open_ones: list[Exchange] = []

    def start(reply: Reply) -> Exchange:
        open_ones.append(Exchange(tmp_path, reply))
        return open_ones[-1]

    yield start
    for one in open_ones:
        one.close()


def test_an_answer_is_handed_over(tmp_path: pathlib.Path, exchange: Callable[[Reply], Exchange]) -> None:
    front = exchange(lambda message: [Calls(calls=())])
    assert client.ask(tmp_path, GetCalls()) == Calls(calls=())
    assert front.asked == [GetCalls()]


def test_a_refusal_is_an_error_with_its_reason(tmp_path: pathlib.Path, exchange: Callable[[Reply], Exchange]) -> None:
    exchange(lambda message: [Failed(why="there is no such call")])
    with pytest.raises(client.CommandFailed, match="there is no such call"):
        client.ask(tmp_path, GetCalls())


def test_a_server_that_is_silent_is_not_waited_for_forever(
    tmp_path: pathlib.Path, exchange: Callable[[Reply], Exchange], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ANSWER_LIMIT_MS", 50)
    exchange(lambda message: [])
    with pytest.raises(client.CommandFailed, match="no server answers"):
        client.ask(tmp_path, GetCalls())


def test_json_has_every_field_also_those_at_their_default(capsys: pytest.CaptureFixture[str]) -> None:
    call = CallFacts("c-1", "ended", "inbound", "a", "b", "echo", 1.5, 2.5)
    client.print_json({"calls": (call,)})
    (found,) = json.loads(capsys.readouterr().out)["calls"]
    assert found["call_id"] == "c-1" and found["worker"] == -1 and set(found) == set(CallFacts.__struct_fields__)


def test_the_directory_given_counts_and_else_that_of_the_system_if_it_runs(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, system = tmp_path / "own", tmp_path / "system"
    system.mkdir()
    monkeypatch.setattr(client, "SYSTEM_RUNTIME_DIRECTORY", system)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(own))
    assert client.runtime_directory("") == own
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    board = Switchboard(context, system)
    assert client.runtime_directory("") == system
    assert client.runtime_directory(str(own)) == own
    board.close()
    context.term()
