"""Sealed memory without a name, passed over a Unix socket."""

import mmap
import os
import socket

import numpy as np
import pytest

from shm import segment


def test_fresh_memory_is_zeroed_and_shared_between_mappings() -> None:
    fd = segment.make("test", 8192)
    first, second = segment.map_fd(fd), segment.map_fd(fd)
    os.close(fd)
    assert len(first) == 8192 and not any(first[:])
    first[100:105] = b"heard"
    assert second[100:105] == b"heard"


@pytest.mark.parametrize("size", [0, 4096, 16384])
def test_nobody_can_shrink_or_grow_it(size: int) -> None:
    fd = segment.make("test", 8192)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, size)
    os.close(fd)


def test_who_only_looks_cannot_write() -> None:
    fd = segment.make("test", 4096)
    looked_at = segment.map_fd(segment.read_only(fd))
    with pytest.raises(TypeError):
        looked_at[0] = 1
    with pytest.raises(PermissionError):
        mmap.mmap(segment.read_only(fd), 4096, flags=mmap.MAP_SHARED, prot=mmap.PROT_WRITE | mmap.PROT_READ)
    segment.map_fd(fd)[0] = 7
    assert looked_at[0] == 7


def test_it_has_no_name_to_leak() -> None:
    fd = segment.make("test", 4096)
    assert os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:bellframe-test")
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_descriptors_travel_and_lead_to_the_same_memory() -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        fds = [segment.make(name, 4096) for name in ("one", "two")]
        segment.send(here, b"hello", fds)
        message, received = segment.receive(there)
        assert message == b"hello" and len(received) == 2 and not set(received) & set(fds)
        segment.map_fd(received[1])[5] = 55
        assert segment.map_fd(fds[1])[5] == 55 and segment.map_fd(fds[0])[5] == 0


def test_a_closed_connection_is_told() -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    here.close()
    with there, pytest.raises(ConnectionError, match="closed"):
        segment.receive(there)


def test_pages_that_are_given_back_are_free_and_read_as_zeros_and_their_neighbours_stay() -> None:
    fd = segment.make("test", 64 * mmap.PAGESIZE)
    memory = np.frombuffer(segment.map_fd(fd), np.uint8)
    memory[:] = 7
    before = os.fstat(fd).st_blocks
    segment.give_back(memory[100 : 60 * mmap.PAGESIZE + 5])
    assert os.fstat(fd).st_blocks == before * 5 // 64, "whole pages within it, and no others"
    assert not memory[mmap.PAGESIZE : 60 * mmap.PAGESIZE].any()
    assert (memory[: mmap.PAGESIZE] == 7).all() and (memory[60 * mmap.PAGESIZE :] == 7).all()
    segment.give_back(memory[10:20])
    assert (memory[: mmap.PAGESIZE] == 7).all()
    os.close(fd)
