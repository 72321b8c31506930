"""What passes the control channel, against a real socket."""

import pathlib

import zmq

from control_plane.channel import MAX_MESSAGE_BYTES, Channel, Switchboard
from control_plane.messages import HangUp


def test_what_the_front_would_not_take_is_refused_and_what_follows_arrives(tmp_path: pathlib.Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    board, channel = Switchboard(context, tmp_path), Channel(context, tmp_path, "bridge-0")
    try:
        assert not channel.send(HangUp("a", "x" * MAX_MESSAGE_BYTES))
        assert channel.send(HangUp("b", "x" * (MAX_MESSAGE_BYTES // 2)))
        assert board.socket.poll(5_000)
        assert [message.call_id for _, message in board.receive()] == ["b"]  # type: ignore[attr-defined]
    finally:
        channel.close()
        board.close()
        context.term()
