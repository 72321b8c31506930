"""How a process gets at the segments: over the keeper's socket, and only what it asked for."""

import gc
import os
import pathlib
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from shm import counters, doorbell, handover, layout, segment


class Keeper:
    """Owns small segments and answers one request after the other."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.rings_fd, counters_fd = segment.make("rings", layout.rings_bytes(2)), segment.make("counters", counters.counters_bytes(1, 2))
        self.rings = layout.rings_format(segment.map_fd(self.rings_fd), 2)
        memory = segment.map_fd(counters_fd)
        self.counters, self.version = counters.counters_format(memory, 1, 2), np.frombuffer(memory, np.int64)
        self.counters_fd = segment.read_only(counters_fd)
        self.bells = [doorbell.make(), doorbell.make()]
        self.listener = handover.listen(directory)
        self.log: list[str] = []

    def serve(self) -> threading.Thread:
        """Answer the next request, whenever it comes."""

        def answer() -> None:
            self.listener.setblocking(True)
            self.log.append(handover.serve_one(self.listener, self.rings_fd, self.counters_fd, self.bells))

        thread = threading.Thread(target=answer)
        thread.start()
        return thread


@pytest.fixture(name="keeper")
def _keeper() -> Iterator[Keeper]:
    with tempfile.TemporaryDirectory(prefix="bf-") as directory:  # short: a Unix socket's path has 107 octets
        keeper = Keeper(pathlib.Path(directory))
        yield keeper
        keeper.listener.close()
        for fd in (keeper.rings_fd, keeper.counters_fd, *keeper.bells):
            os.close(fd)


def test_a_bridge_gets_the_rings_to_write_the_counters_to_look_at_and_its_bell(keeper: Keeper) -> None:
    thread = keeper.serve()
    rings, seen, bell = handover.ask_as_bridge(keeper.directory, 1)
    thread.join()
    rings.words[1, layout.TURN] = 3
    keeper.counters.workers[0, 4] = 44
    assert keeper.rings.words[1, layout.TURN] == 3 and seen.workers[0, 4] == 44 and not seen.workers.flags.writeable
    os.eventfd_write(keeper.bells[1], 1)
    assert os.eventfd_read(bell) == 1
    assert keeper.log == ["bridge 1"]
    os.close(bell)


def test_everybody_else_gets_the_counters_only(keeper: Keeper) -> None:
    thread = keeper.serve()
    seen = handover.ask_for_counters(keeper.directory)
    thread.join()
    assert not seen.calls.flags.writeable and keeper.log == ["counters"]


@pytest.mark.parametrize("ask", [handover.ask_for_counters, handover.ask_as_recorder, lambda path: handover.ask_as_bridge(path, 0)])
def test_memory_of_another_release_is_refused_and_let_go_of(keeper: Keeper, ask: Callable[[pathlib.Path], object]) -> None:
    """Who asks once a second until the keeper is replaced must not run out of descriptors."""
    keeper.version[0] += 1
    gc.collect()  # what other tests have left open
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        thread = keeper.serve()
        with pytest.raises(ValueError, match="same release"):
            ask(keeper.directory)
        thread.join()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_bridge_too_many_is_told_so(keeper: Keeper) -> None:
    thread = keeper.serve()
    with pytest.raises(LookupError, match="bridge 2"):
        handover.ask_as_bridge(keeper.directory, 2)
    thread.join()


@pytest.mark.parametrize("request_text", ["", "bridge", "bridge -1", "bridge 1x", "rings", "\xff\xfe" * 40])
def test_nonsense_gets_no_descriptor(keeper: Keeper, request_text: str) -> None:
    thread = keeper.serve()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(str(handover.socket_path(keeper.directory)))
        connection.send(request_text.encode("latin-1") or b" ")
        answer, fds = segment.receive(connection)
    thread.join()
    assert b"no such thing" in answer and fds == []


def test_who_connects_and_says_nothing_holds_nobody_up(keeper: Keeper) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(str(handover.socket_path(keeper.directory)))
        thread = keeper.serve()
        thread.join(timeout=5)
        assert not thread.is_alive() and keeper.log[0].startswith("failed")


def test_only_our_user_may_enter_and_a_stale_socket_is_replaced(keeper: Keeper) -> None:
    path = handover.socket_path(keeper.directory)
    assert path.stat().st_mode & 0o777 == 0o600
    keeper.listener.close()
    keeper.listener = handover.listen(keeper.directory)
    thread = keeper.serve()
    handover.ask_for_counters(keeper.directory)
    thread.join()


def test_without_a_keeper_the_system_says_why(tmp_path: pathlib.Path) -> None:
    with pytest.raises(OSError):
        handover.ask_for_counters(tmp_path)
