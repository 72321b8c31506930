"""The worker's own system calls."""

import select
import socket
import time

import numpy as np
import pytest

from media_workers import sockets
from tests.media_workers.line import bind_pairs


def test_a_pair_is_an_even_port_and_the_next_both_marked_as_voice() -> None:
    ((rtp, rtcp),) = bind_pairs("127.0.0.1", 1)
    port = rtp.getsockname()[1]
    assert port % 2 == 0 and rtcp.getsockname()[1] == port + 1
    assert rtp.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == rtcp.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 46 << 2
    assert not rtp.getblocking() and not rtp.get_inheritable()
    with pytest.raises(OSError):
        sockets.bind_pair("127.0.0.1", port)
    rtp.close()
    with pytest.raises(OSError):
        sockets.bind_pair("127.0.0.1", port)  # the second is still taken: then neither is kept
    rtcp.close()
    for bound in sockets.bind_pair("127.0.0.1", port):
        bound.close()


@pytest.mark.compiled
def test_an_event_carries_what_was_registered() -> None:
    here, there = socket.socketpair()
    events, clock = np.zeros(4096, np.uint8), np.zeros(2, np.int64)
    with here, there, select.epoll() as epoll:
        for data in (0, 1, 12_345 << 1 | 1, sockets.CONTROL_EVENT):
            sockets.watch(epoll, here.fileno(), data)
            there.send(b"x")
            assert sockets.wait(epoll.fileno(), events, clock, 1_000_000_000) == 1
            assert sockets.event_data(events, 0) == data
            here.recv(9)
            epoll.unregister(here.fileno())
        assert sockets.wait(epoll.fileno(), events, clock, 0) == 0
        with pytest.raises(OSError):
            sockets.watch(epoll, 9_999, 0)


@pytest.mark.compiled
def test_waiting_keeps_to_the_nanosecond_timeout_and_the_clock_is_the_systems() -> None:
    events, clock = np.zeros(4096, np.uint8), np.zeros(2, np.int64)
    with select.epoll() as epoll:
        before = time.monotonic_ns()
        assert before <= sockets.now_ns(clock) <= time.monotonic_ns()
        sockets.wait(epoll.fileno(), events, clock, 3_000_000)
        assert time.monotonic_ns() - before >= 3_000_000


@pytest.mark.compiled
def test_datagrams_go_out_and_come_in_with_the_senders_address() -> None:
    pairs = bind_pairs("127.0.0.1", 1)
    (rtp, rtcp) = pairs[0]
    packet, sockaddr, size = np.zeros(4096, np.uint8), np.zeros(32, np.uint8), np.zeros(1, np.int64)
    with rtp, rtcp:
        assert sockets.receive(rtp.fileno(), packet, sockaddr, size) < 0  # nothing there, and no waiting
        rtcp.sendto(b"hello", rtp.getsockname())
        assert sockets.receive(rtp.fileno(), packet, sockaddr, size) == 5 and packet[:5].tobytes() == b"hello"
        assert sockaddr[2:4].tobytes() == rtcp.getsockname()[1].to_bytes(2, "big") and size[0] == 16
        assert sockets.send(rtp.fileno(), packet, 3, sockaddr, 16) == 3 and rtcp.recv(9) == b"hel"
        rtcp.sendto(bytes(5000), rtp.getsockname())
        assert sockets.receive(rtp.fileno(), packet, sockaddr, size) == sockets.BUFFER_BYTES and not packet[sockets.BUFFER_BYTES :].any()
        assert sockets.send(9_999, packet, 3, sockaddr, 16) < 0
