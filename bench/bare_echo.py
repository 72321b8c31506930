"""The floor: what the kernel's UDP path costs, with a port per call, one receive and one send a packet, nothing else.

`python -m bench.bare_echo --ports N --core C` prints its ports as JSON and echoes until its input closes. `--batches`: each port
is read and written in batches, as one that calls share.
"""

import argparse
import json
import os
import select
import socket
import sys

import numpy as np

from media_workers import batch, send_queue, sockets
from media_workers.keeper import SHARED_BUFFER_BYTES
from shm.jit import njit


@njit
def run(fds, epoll_fd, packet, sockaddr, sockaddr_bytes, events, clock, until_ns):
    """Echo every datagram to where it came from."""
    now = sockets.now_ns(clock)
    while now < until_ns:
        for i in range(sockets.wait(epoll_fd, events, clock, until_ns - now)):
            fd = fds[sockets.event_data(events, i)]
            size = sockets.receive(fd, packet, sockaddr, sockaddr_bytes)
            if size > 0:
                sockets.send(fd, packet, size, sockaddr, sockaddr_bytes[0])
        now = sockets.now_ns(clock)


@njit
def run_batches(fds, epoll_fd, rx, queue, events, clock, until_ns):
    """The same, many datagrams for one system call each way."""
    now = sockets.now_ns(clock)
    while now < until_ns:
        for i in range(sockets.wait(epoll_fd, events, clock, until_ns - now)):
            fd, count = fds[sockets.event_data(events, i)], batch.PACKETS
            while count == batch.PACKETS:
                count = batch.receive(fd, rx[0])
                for n in range(count):
                    octets, sockaddr_bytes = rx[0]["headers"][n, batch.DONE] & 0xFFFFFFFF, rx[0]["headers"][n, batch.NAME_BYTES]
                    send_queue.add(queue, fd, rx[0]["packets"][n], octets, rx[0]["names"][n], sockaddr_bytes & 0xFFFFFFFF)
                send_queue.flush(queue)
        now = sockets.now_ns(clock)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ports", type=int, required=True)
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--batches", action="store_true")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    bound = []
    for _ in range(arguments.ports):
        bound.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))
        bound[-1].bind(("127.0.0.1", 0))
        if arguments.batches:
            sockets.widen(bound[-1], SHARED_BUFFER_BYTES)
    epoll = select.epoll()
    for i, one in enumerate(bound):
        sockets.watch(epoll, one.fileno(), i)
    fds = np.array([one.fileno() for one in bound], np.int64)
    scratch = np.zeros(2048, np.uint8), np.zeros(32, np.uint8), np.zeros(1, np.int64)
    events, clock = np.zeros(sockets.MAX_EVENTS * sockets.EVENT_BYTES, np.uint8), np.zeros(4, np.int64)

    def echo(until_ns: int) -> None:
        if arguments.batches:
            run_batches(fds, epoll.fileno(), rx, queue, events, clock, until_ns)
        else:
            run(fds, epoll.fileno(), *scratch, events, clock, until_ns)

    rx, queue = batch.make(), send_queue.make()
    echo(0)
    print(json.dumps([one.getsockname()[1] for one in bound]), flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        echo(int(sockets.now_ns(clock)) + 100_000_000)


if __name__ == "__main__":
    main()
