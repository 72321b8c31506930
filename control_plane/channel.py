"""The ZeroMQ side of control. One place sets the limits; nothing here knows what a message means.

`ipc://` in the runtime directory, which only our user may enter. High-water marks and a size limit keep a
peer that stopped reading, or one that lies, from costing memory.
"""

import pathlib
from collections.abc import Iterator

import zmq

from control_plane.messages import Message, decode, encode

HIGH_WATER_MARK = 10_000
MAX_MESSAGE_BYTES = 1 << 20


def endpoint(runtime_directory: pathlib.Path) -> str:
    return f"ipc://{runtime_directory}/control"


def _limit(socket: zmq.Socket[bytes]) -> None:
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.SNDHWM, HIGH_WATER_MARK)
    socket.set(zmq.RCVHWM, HIGH_WATER_MARK)
    socket.set(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)


class Channel:
    """A DEALER to the front. Sending and receiving never block: what does not fit is refused."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], runtime_directory: pathlib.Path, identity: str) -> None:
        self.socket = context.socket(zmq.DEALER)
        _limit(self.socket)
        self.socket.set(zmq.IDENTITY, identity.encode())
        self.socket.set(zmq.RECONNECT_IVL, 20)
        self.socket.set(zmq.RECONNECT_IVL_MAX, 500)
        self.socket.connect(endpoint(runtime_directory))

    def fileno(self) -> int:
        """Readable when `receive` should be tried. Edge-triggered: drain it each time, and after sending too."""
        return int(self.socket.get(zmq.FD))

    def send(self, message: Message) -> bool:
        """False: the front is away and the queue is full, or the message is larger than the front takes."""
        octets = encode(message)
        if len(octets) > MAX_MESSAGE_BYTES:
            return False
        try:
            self.socket.send(octets, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def receive(self) -> Iterator[Message]:
        """Everything that is there. A message that cannot be decoded is skipped: it is from another release."""
        while True:
            try:
                yield decode(self.socket.recv(zmq.DONTWAIT))
            except zmq.Again:
                return
            except ValueError:
                continue

    def ask(self, message: Message, timeout_ms: int) -> Message | None:
        """Send, and wait for one answer. None: nobody answered in time."""
        self.send(message)
        if not self.socket.poll(timeout_ms):
            return None
        return next(self.receive(), None)

    def close(self) -> None:
        self.socket.close()


class Switchboard:
    """The front's ROUTER: messages with the identity of whom they came from or go to."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], runtime_directory: pathlib.Path) -> None:
        self.socket = context.socket(zmq.ROUTER)
        _limit(self.socket)
        self.socket.set(zmq.ROUTER_HANDOVER, 1)  # a worker that was replaced has its predecessor's identity
        self.socket.set(zmq.ROUTER_MANDATORY, 1)
        self.socket.bind(endpoint(runtime_directory))

    def fileno(self) -> int:
        return int(self.socket.get(zmq.FD))

    def send(self, identity: bytes, message: Message) -> bool:
        """False: that peer is not there, or does not read."""
        try:
            self.socket.send_multipart([identity, encode(message)], zmq.DONTWAIT)
        except zmq.ZMQError:
            return False
        return True

    def receive(self) -> Iterator[tuple[bytes, Message]]:
        """Everything that is there. It is asked after whatever was sent, and mostly there is nothing: to hear so from an exception
        would cost three times as much."""
        while int(self.socket.get(zmq.EVENTS)) & zmq.POLLIN:
            try:
                identity, *parts = self.socket.recv_multipart(zmq.DONTWAIT)
                yield identity, decode(parts[-1] if parts else b"")
            except zmq.Again:
                return
            except ValueError:
                continue

    def close(self) -> None:
        self.socket.close()
