"""What is queued goes out whole and in order, through io_uring and without, whatever the kernel refuses in between."""

import os
import socket
from collections.abc import Iterator

import numpy as np
import pytest

from media_workers import send_queue
from media_workers.batch import PACKETS
from media_workers.send_queue import RING_FD, SendQueue
from media_workers.source import SOCKADDR_BYTES, sockaddr

pytestmark = pytest.mark.compiled
NOWHERE = ("::1", 9)  # not over an IPv4 socket


@pytest.fixture(name="queue", params=[True, False], ids=["io_uring", "system calls"])
def _queue(request: pytest.FixtureRequest) -> Iterator[SendQueue]:
    queue = send_queue.make(wants_ring=request.param)
    if request.param and queue.places[RING_FD] < 0:
        pytest.skip("this kernel has no io_uring for us")
    yield queue
    send_queue.close(queue)


class Line:
    """Two sockets that send, and one that hears."""

    def __init__(self) -> None:
        self.senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        for one in (*self.senders, self.listener):
            one.bind(("127.0.0.1", 0))
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.places: list[np.ndarray] = []

    def add(self, queue: SendQueue, number: int, sender: int = 0, to: tuple[str, int] | None = None) -> bool:
        octets = np.frombuffer(sockaddr(*(to or self.listener.getsockname())), np.uint8)
        place, packet = np.zeros(SOCKADDR_BYTES, np.uint8), np.zeros(2048, np.uint8)
        place[: octets.size] = octets
        self.places.append(place)  # it must stay until it was sent
        packet[:2] = number >> 8, number & 0xFF
        return bool(send_queue.add(queue, self.senders[sender].fileno(), packet, 100 + number % 50, place, octets.size))

    def heard(self) -> list[tuple[int, int, int]]:
        """Number, size, and whose, in the order in which they came."""
        found, ports = [], [one.getsockname()[1] for one in self.senders]
        while True:
            try:
                datagram, source = self.listener.recvfrom(2048)
            except BlockingIOError:
                return found
            found.append((datagram[0] << 8 | datagram[1], len(datagram), ports.index(source[1])))

    def close(self) -> None:
        for one in (*self.senders, self.listener):
            one.close()


@pytest.fixture(name="line")
def _line() -> Iterator[Line]:
    line = Line()
    yield line
    line.close()


def test_many_rounds_of_any_size_arrive_in_order(queue: SendQueue, line: Line) -> None:
    """Also past the turn of the ring, which has as many places as a full queue."""
    number = 0
    for count in (1, PACKETS, 3, PACKETS - 1, 2, PACKETS, 17, 40):
        expected = []
        for _ in range(count):
            sender = number * 7 % 5 % 2
            is_full = line.add(queue, number, sender)
            expected.append((number, 100 + number % 50, sender))
            number += 1
        assert is_full == (count == PACKETS) and line.heard() == []
        assert send_queue.flush(queue) == 0 and line.heard() == expected
    assert send_queue.flush(queue) == 0 and line.heard() == [], "nothing is sent twice"


def test_what_the_kernel_refuses_costs_none_of_the_others(queue: SendQueue, line: Line) -> None:
    wrong = {0, 5, 6, 20}
    for number in range(21):
        line.add(queue, number, 0, NOWHERE if number in wrong else None)
    assert send_queue.flush(queue) == len(wrong)
    assert [number for number, _, _ in line.heard()] == [number for number in range(21) if number not in wrong]
    line.add(queue, 99)
    assert send_queue.flush(queue) == 0 and [number for number, _, _ in line.heard()] == [99], "and the next round is as ever"


def test_a_ring_that_is_lost_costs_packets_and_nothing_else(line: Line) -> None:
    queue = send_queue.make(wants_ring=True)
    if queue.places[RING_FD] < 0:
        pytest.skip("this kernel has no io_uring for us")
    real = int(queue.places[RING_FD])
    queue.places[RING_FD] = line.listener.fileno()  # entering it fails
    for number in range(3):
        line.add(queue, number)
    assert send_queue.flush(queue) == 3 and line.heard() == []
    queue.places[RING_FD] = real
    line.add(queue, 7)
    assert send_queue.flush(queue) == 0 and [number for number, _, _ in line.heard()] == [7], "what was late is not sent late"
    send_queue.close(queue)
    with pytest.raises(OSError):
        os.fstat(real)


def test_without_io_uring_there_is_a_queue_all_the_same(monkeypatch: pytest.MonkeyPatch, line: Line) -> None:
    monkeypatch.setattr(send_queue, "IO_URING_SETUP", 100_000)  # no such system call
    queue = send_queue.make(wants_ring=True)
    assert queue.places[RING_FD] < 0
    line.add(queue, 1)
    assert send_queue.flush(queue) == 0 and [number for number, _, _ in line.heard()] == [1]
