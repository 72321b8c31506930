"""What a worker does between its cycles: obeys, tells, keeps house. Its cycle and its death: test_duty_cycle.py, test_keeper.py."""

import itertools
import os
import pathlib
import tempfile
import time
import types
from collections.abc import Iterator

import pytest
import zmq

from control_plane.channel import Switchboard
from control_plane.config import Config, Media
from control_plane.messages import (
    Alive,
    CloseMedia,
    MediaClosed,
    MediaDescription,
    MediaOpened,
    MediaRefused,
    MediaSilent,
    MediaUpdated,
    Message,
    OpenMedia,
    Party,
    RoomSet,
    SetRoom,
    UpdateMedia,
)
from media_workers import duty_cycle, worker
from media_workers.worker import ORPHAN_NS, Family, MediaWorker
from shm.counters import WORKER
from tests.media_workers.call_under_test import SECOND
from tests.media_workers.line import LoopbackWorker

pytestmark = pytest.mark.compiled  # its cycle makes system calls of its own, which only machine code can
PCMU = MediaDescription("PCMU", 0, "127.0.0.1", 4000)


class Scene:
    """A worker in this process, and the front that it talks to."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.context = zmq.Context()
        self.front = Switchboard(self.context, directory)
        self.loopback = LoopbackWorker(2)
        media = Media(port_quiet_seconds=0.0, silent_seconds_at_start=5.0, silent_seconds=7.0)
        config, family = Config(media=media, runtime_directory=str(directory)), Family(os.getppid(), 1)
        self.worker = MediaWorker(self.loopback.views, 0, 2, config, 3, self.loopback.epoll, family)

    def told(self, count: int = 1, wait_ms: int = 1000) -> list[Message]:
        """Messages that reach the front, within a second."""
        found: list[Message] = []
        while len(found) < count and self.front.socket.poll(wait_ms):
            found += [message for _, message in self.front.receive()]
        return found

    def close(self) -> None:
        self.loopback.close()
        self.worker.epoll.close()
        self.worker.channel.close()
        self.front.close()
        self.context.destroy(linger=0)


@pytest.fixture(name="scene")
def _scene() -> Iterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="bf-") as directory:  # short: a Unix socket's path has 107 octets
        scene = Scene(pathlib.Path(directory))
        yield scene
        scene.close()


def test_a_worker_goes_on_while_its_keeper_may_come_back_and_no_longer() -> None:
    family = Family(keeper=20, manager=10)
    assert not family.is_over(20, 0)
    assert not family.is_over(10, ORPHAN_NS), "the manager has us, and starts another keeper"
    assert family.is_over(10, ORPHAN_NS + 1), "it does not"
    assert family.is_over(1, 0), "the manager is gone as well"


def test_it_ends_by_itself_when_keeper_and_manager_are_gone(scene: Scene) -> None:
    scene.worker._keep_house(0)
    assert not scene.worker.is_stopping
    scene.worker.family = Family(keeper=-1, manager=-2)
    scene.worker._keep_house(0)
    assert scene.worker.is_stopping


def obey(scene: Scene, message: Message) -> Message | None:
    return scene.worker._obey(message, time.monotonic_ns())


def test_it_introduces_itself_and_says_how_many_calls_it_can_take(scene: Scene) -> None:
    obey(scene, OpenMedia("a", 0, PCMU))
    scene.worker._introduce()
    assert scene.told() == [Alive("worker", 0, os.getpid(), 0, 1, 2)]
    assert scene.loopback.total("pid") == os.getpid() and scene.loopback.total("core") == 3


def test_it_says_how_loaded_it_is(scene: Scene) -> None:
    before_ns = time.monotonic_ns()
    scene.loopback.views.totals[0, WORKER["busy_ns"]] += 1_000 * SECOND
    scene.loopback.views.lateness[15:17] += 500
    scene.worker._introduce()
    assert time.monotonic_ns() - before_ns < SECOND
    (alive,) = scene.told()
    assert isinstance(alive, Alive) and (alive.busy_percent, alive.late_percent) == (50, 50), "half of it is the second before"


def test_what_the_front_does_not_take_is_counted(scene: Scene) -> None:
    scene.worker.channel.socket.setsockopt(zmq.SNDHWM, 1)
    scene.front.close()
    for _ in range(20_000):
        scene.worker._introduce()
        if scene.loopback.total("events_dropped"):
            return
    raise AssertionError("nothing was ever dropped")


def test_an_order_to_open_is_answered_with_row_and_port_the_same_when_repeated(scene: Scene) -> None:
    opened = obey(scene, OpenMedia("a", 0, PCMU))
    assert isinstance(opened, MediaOpened) and obey(scene, OpenMedia("a", 0, PCMU)) == opened
    call = scene.loopback.views.calls[opened.row]
    assert (opened.call_id, opened.generation, opened.rtp_port, opened.sample_rate_hz) == ("a", call["generation"], call["rtp_port"], 8000)


def test_what_it_cannot_do_it_refuses_with_the_reason(scene: Scene) -> None:
    for name in ("a", "b"):
        obey(scene, OpenMedia(name, 0, PCMU))
    refused = obey(scene, OpenMedia("c", 0, PCMU))
    assert isinstance(refused, MediaRefused) and "no free RTP port" in refused.why
    refused = obey(scene, OpenMedia("c", 0, MediaDescription("SPEEX", 96)))
    assert isinstance(refused, MediaRefused) and "SPEEX" in refused.why


def test_an_update_is_confirmed_and_one_of_nobody_refused(scene: Scene) -> None:
    obey(scene, OpenMedia("a", 0, PCMU))
    assert obey(scene, UpdateMedia("a", PCMU)) == MediaUpdated("a")
    assert isinstance(obey(scene, UpdateMedia("b", PCMU)), MediaRefused)
    assert isinstance(obey(scene, UpdateMedia("a", MediaDescription("PCMU", 0, ptime_ms=17))), MediaRefused)


def test_closing_is_answered_with_the_counters_and_twice_with_none(scene: Scene) -> None:
    obey(scene, OpenMedia("a", 0, PCMU))
    closed = obey(scene, CloseMedia("a"))
    assert isinstance(closed, MediaClosed) and closed.counters["lost"] == 0
    assert obey(scene, CloseMedia("a")) == MediaClosed("a", {})


def test_what_is_no_order_is_left_alone(scene: Scene) -> None:
    assert obey(scene, MediaUpdated("a")) is None


def test_orders_over_the_wire_are_obeyed_in_order(scene: Scene) -> None:
    scene.worker._introduce()
    (introduction,) = scene.told()
    assert isinstance(introduction, Alive)
    for message in (OpenMedia("a", 0, PCMU), UpdateMedia("a", PCMU), CloseMedia("a")):
        assert scene.front.send(b"worker-0", message)
    deadline, answers = time.monotonic() + 5, list[Message]()
    while len(answers) < 3 and time.monotonic() < deadline:
        scene.worker._answer()
        answers += scene.told(wait_ms=20)
    assert [type(answer) for answer in answers] == [MediaOpened, MediaUpdated, MediaClosed]


def test_house_is_kept_ports_are_freed_and_silent_far_ends_told(scene: Scene) -> None:
    obey(scene, OpenMedia("a", 0, PCMU))
    obey(scene, OpenMedia("b", 0, PCMU))
    obey(scene, CloseMedia("b"))
    scene.worker._keep_house(time.monotonic_ns() + 6 * SECOND)
    (told,) = scene.told()
    assert isinstance(told, MediaSilent) and told.call_id == "a" and 6_000 <= told.silent_ms < 7_000
    assert isinstance(obey(scene, OpenMedia("c", 0, PCMU)), MediaOpened)


def test_orders_that_never_stop_coming_leave_time_for_the_house(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the front takes a worker that is busy with its orders for dead, and ports that are quiet are never free again."""
    clock, kept = itertools.count(time.monotonic_ns(), 5_000_000), list[int]()
    monkeypatch.setattr(worker, "time", types.SimpleNamespace(monotonic_ns=lambda: next(clock)))
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    monkeypatch.setattr(scene.worker, "_keep_house", kept.append)

    def run(*_: object) -> int:
        scene.worker.is_stopping = len(kept) == 50
        return duty_cycle.CONTROL

    monkeypatch.setattr(worker.duty_cycle, "run", run)
    scene.worker.run()
    assert max(b - a for a, b in itertools.pairwise(kept)) <= 2 * worker.HOUSEKEEPING_NS
    assert [type(message) for message in scene.told(3)] == [Alive, Alive, Alive], "one at its start, one a second"


def test_orders_that_come_while_it_tells_something_are_looked_for_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """ZeroMQ's descriptor is edge-triggered, and sending takes the edge: the order would wait for 50 ms."""
    clock, was_kept, limits_ns = itertools.count(time.monotonic_ns(), 20_000_000), False, list[int]()
    monkeypatch.setattr(worker, "time", types.SimpleNamespace(monotonic_ns=lambda: next(clock)))
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)

    def keep(_now_ns: int) -> None:
        nonlocal was_kept
        was_kept = True

    def run(_views: object, _epoll: int, _generation: int, until_ns: int) -> int:
        nonlocal was_kept
        if was_kept:
            limits_ns.append(until_ns - next(clock))
        was_kept, scene.worker.is_stopping = False, len(limits_ns) == 10
        return duty_cycle.CONTROL

    monkeypatch.setattr(scene.worker, "_keep_house", keep)
    monkeypatch.setattr(worker.duty_cycle, "run", run)
    scene.worker.run()
    assert len(limits_ns) == 10 and max(limits_ns) <= 0


def test_the_front_being_away_holds_nobody_up(scene: Scene) -> None:
    scene.front.close()
    for _ in range(100):
        scene.worker._introduce()
    assert isinstance(obey(scene, OpenMedia("a", 0, PCMU)), MediaOpened)
    assert scene.loopback.views.totals[0, WORKER["calls_open"]] == 1


def test_two_calls_in_a_room_hear_each_other_through_their_sockets(scene: Scene) -> None:
    scene.worker.rows = scene.loopback.rows
    one, other = scene.loopback.call(), scene.loopback.call()
    order = SetRoom("room", (Party(one.call_id), Party(other.call_id)), 7)
    scene.front.send(b"worker-0", order)
    while not scene.worker.channel.socket.poll(0):
        scene.worker._tell(Alive("worker", 0, 1))  # makes the front know the way
        scene.told()
        scene.front.send(b"worker-0", order)
    scene.worker._answer()
    assert [message for message in scene.told() if isinstance(message, RoomSet)][-1:] == [RoomSet("room", 7)]
    heard: dict[str, set[int]] = {one.call_id: set(), other.call_id: set()}
    began, spoken = time.monotonic(), 0
    while time.monotonic() - began < 5:
        while spoken * 0.02 <= time.monotonic() - began:  # by the clock, however busy the machine is
            one.speak(0x20)
            other.speak(0x30)
            spoken += 1
        scene.loopback.run(20)
        for caller in (one, other):
            heard[caller.call_id] |= {code for packet in caller.received() for code in packet.payload if code in (0x20, 0x30)}
        if all(heard.values()):
            break
    assert heard == {one.call_id: {0x30}, other.call_id: {0x20}}
    assert obey(scene, SetRoom("room", (), 8)) == RoomSet("room", 8)
