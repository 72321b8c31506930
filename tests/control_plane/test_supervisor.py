"""The supervisor with real processes: small ones that speak the service manager's protocol and write down what they saw."""

import collections
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from control_plane import supervisor
from control_plane.lifecycle import State
from control_plane.supervisor import Program, Supervisor

# A process as `bellframe up` starts it. It notes each thing that happens to it, one JSON object a line.
CHILD = """
import json, os, signal, subprocess, sys, time
from control_plane import notify
name, journal, how = sys.argv[1:4]
def note(what, **more):
    with open(journal, "a") as file:
        file.write(json.dumps({"name": name, "what": what, "pid": os.getpid(), **more}) + "\\n")
def end(*_):
    note("ended")
    sys.exit(0)
kept = {n: [os.read(fd, 100).decode() for fd in fds] for n, fds in notify.listen_fds().items()}
note("started", kept=kept, interval=notify.watchdog_interval_s())
first = not os.path.exists(journal + "." + name)
open(journal + "." + name, "w").close()
signal.signal(signal.SIGTERM, signal.SIG_IGN if how == "stubborn" else end)
if how == "broken":
    sys.exit(3)
if how == "keeps" and first:
    for text in (b"one", b"two"):
        reader, writer = os.pipe()
        os.write(writer, text)
        notify.notify("FDSTORE=1\\nFDNAME=pipe", [reader])
if how == "parent":
    note("has child", child=subprocess.Popen(["sleep", "60"]).pid)
notify.notify("READY=1\\nSTATUS=hello from " + name)
if how == "hangs" and first:
    time.sleep(60)
while True:
    notify.notify("WATCHDOG=1")
    time.sleep(0.05)
"""

SUPERVISOR = """
import json, logging, pathlib, sys
from control_plane.supervisor import Program, Supervisor
logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stderr)
programs = [Program(**values) for values in json.loads(sys.argv[2])]
ready = lambda s: print("ready", {c.program.name: c.status for c in s.children}, flush=True)
sys.exit(Supervisor(programs, pathlib.Path(sys.argv[1]), ready).run())
"""


class House:
    """A running supervisor and the journal that its processes write."""

    def __init__(self, directory: pathlib.Path, **programs: dict[str, object]) -> None:
        self.journal = directory / "journal"
        self.journal.touch()
        (directory / "child.py").write_text(CHILD)
        rows = []
        for name, values in programs.items():
            arguments = [sys.executable, str(directory / "child.py"), name, str(self.journal), str(values.pop("how", "plain"))]
            rows.append({"name": name, "arguments": arguments, **values})
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, str(directory), json.dumps(rows)],
            env=os.environ | {"PYTHONPATH": os.getcwd()},
            stdout=subprocess.PIPE,
            stderr=(directory / "log").open("w"),
            text=True,
        )
        self.log_path = directory / "log"

    def notes(self, name: str = "", what: str = "") -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return [line for line in lines if line["name"].startswith(name) and line["what"].startswith(what)]

    def wait_ready(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)

    def pids(self) -> set[int]:
        return {int(str(line["pid"])) for line in self.notes()} | {int(str(line["child"])) for line in self.notes(what="has child")}


def until(claim: Callable[[], object], within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Iterator[Callable[..., House]]:
    houses: list[House] = []

    def make(**programs: dict[str, object]) -> House:
        houses.append(House(tmp_path, **programs))
        return houses[-1]

    yield make
    for house in houses:
        if house.process.poll() is None:
            house.process.kill()
        house.process.wait()
        assert house.process.stdout is not None
        house.process.stdout.close()
        # Whatever a test did: nothing that it started is left, not even as a zombie.
        until(lambda house=house: not [pid for pid in house.pids() if pathlib.Path(f"/proc/{pid}").exists()])


def test_processes_start_and_stop_in_order(start: Callable[..., House]) -> None:
    house = start(
        keeper={"starts_in": 0, "stops_in": 2},
        front={"starts_in": 1, "stops_in": 0},
        bridge={"starts_in": 1, "stops_in": 1, "watchdog_s": 3},
    )
    assert house.wait_ready() == "ready {'keeper': 'hello from keeper', 'front': 'hello from front', 'bridge': 'hello from bridge'}\n"
    started = house.notes(what="started")
    assert started[0]["name"] == "keeper" and {line["name"] for line in started[1:]} == {"front", "bridge"}
    assert {line["name"]: line["interval"] for line in started} == {"keeper": None, "front": None, "bridge": 1.5}
    assert house.stop() == 0
    assert [line["name"] for line in house.notes(what="ended")] == ["front", "bridge", "keeper"]


def test_a_killed_process_comes_back_with_its_descriptors_and_the_others_stay(start: Callable[..., House]) -> None:
    house = start(keeper={"how": "keeps"}, front={})
    house.wait_ready()
    os.kill(int(str(house.notes("keeper", "started")[0]["pid"])), signal.SIGKILL)
    until(lambda: len(house.notes("keeper", "started")) == 2)
    assert house.notes("keeper", "started")[1]["kept"] == {"pipe": ["one", "two"]}
    until(lambda: "keeper is back" in house.log_path.read_text())
    assert "keeper was killed by SIGKILL; it is started again, calls go on" in house.log_path.read_text()
    assert house.stop() == 0
    assert len(house.notes("front", "started")) == 1


def test_each_process_makes_room_for_another_one_after_the_other(start: Callable[..., House]) -> None:
    house = start(
        keeper={"how": "keeps", "renewed_in": 2},
        front={"renewed_in": 1},
        bridge={"how": "stubborn", "stop_limit_s": 0.5},
    )
    house.wait_ready()
    house.process.send_signal(signal.SIGUSR1)
    until(lambda: "every process has been replaced" in house.log_path.read_text())
    assert [line["name"] for line in house.notes(what="started")[3:]] == ["bridge", "front", "keeper"]
    assert house.notes("keeper", "started")[1]["kept"] == {"pipe": ["one", "two"]}
    log = house.log_path.read_text()
    assert "front ended with exit code 0 to make room for its successor" in log
    assert "bridge has not made room within 0.5 s and is killed" in log and "calls go on" in log
    assert house.stop() == 0


def test_a_process_that_hangs_is_killed_and_replaced(start: Callable[..., House]) -> None:
    house = start(bridge={"how": "hangs", "watchdog_s": 0.3})
    house.wait_ready()
    until(lambda: len(house.notes("bridge", "started")) == 2)
    assert "bridge did not answer for 0.3 s and is killed" in house.log_path.read_text()
    assert house.stop() == 0


def test_one_that_cannot_be_started_now_is_tried_again_and_the_others_stay(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    house = Supervisor([Program("one", ("/bin/true",))], tmp_path, lambda _: None)
    (child,) = house.children
    house.has_been_ready, child.life.state, child.life.deadline_ns = True, State.RESTING, 0
    with monkeypatch.context() as patched:
        patched.setattr(supervisor, "spawn", refuse)
        assert house.advance(1)
    assert child.life.state is State.RESTING and child.pid == 0 and not house.is_stopping
    monkeypatch.setattr(supervisor, "spawn", lambda *_: 4711)
    assert child.life.deadline_ns is not None and house.advance(child.life.deadline_ns) and child.pid == 4711


def test_one_that_never_gets_ready_ends_the_start_with_its_reason(start: Callable[..., House]) -> None:
    house = start(keeper={}, front={"how": "broken", "starts_in": 1})
    assert house.process.wait(20) == 1
    assert "front ended with exit code 3 before it was ready" in house.log_path.read_text()
    assert len(house.notes("keeper", "ended")) == 1


def test_one_that_cannot_begin_is_not_tried_again_while_the_others_end(start: Callable[..., House]) -> None:
    later = {"starts_in": 1, "stops_in": 1}
    house = start(keeper={"how": "broken", "stops_in": 2}, bridge=later, front={"starts_in": 1})
    assert house.process.wait(20) == 1
    assert len(house.notes(what="started")) == 1


def test_one_that_will_not_stop_is_killed(start: Callable[..., House]) -> None:
    house = start(front={"how": "stubborn", "stop_limit_s": 0.2})
    house.wait_ready()
    assert house.stop() == 0
    assert "front did not end within 0 s and is killed" in house.log_path.read_text()


def test_a_second_interrupt_ends_at_once(start: Callable[..., House]) -> None:
    house = start(front={"how": "stubborn", "stop_limit_s": 60}, keeper={"stops_in": 1})
    house.wait_ready()
    house.process.send_signal(signal.SIGINT)
    until(lambda: "no new calls" in house.log_path.read_text())
    assert house.stop(signal.SIGINT) == 0
    assert house.notes(what="ended") == []


def test_what_a_process_started_goes_with_it(start: Callable[..., House]) -> None:
    house = start(keeper={"how": "parent"})
    house.wait_ready()
    os.kill(int(str(house.notes("keeper", "started")[0]["pid"])), signal.SIGKILL)
    until(lambda: len(house.notes("keeper", "has child")) == 2)
    first, second = (int(str(line["child"])) for line in house.notes("keeper", "has child"))
    until(lambda: not pathlib.Path(f"/proc/{first}").exists())
    assert pathlib.Path(f"/proc/{second}").exists()
    assert house.stop() == 0


def test_what_a_process_leaves_to_its_successor_outlives_it_but_not_the_supervisor(start: Callable[..., House]) -> None:
    house = start(keeper={"how": "parent", "leaves_children": True})
    house.wait_ready()
    os.kill(int(str(house.notes("keeper", "started")[0]["pid"])), signal.SIGKILL)
    until(lambda: len(house.notes("keeper", "has child")) == 2)
    children = [int(str(line["child"])) for line in house.notes("keeper", "has child")]
    assert all(is_running(pid) for pid in children)
    assert house.stop() == 0
    assert not any(is_running(pid) for pid in children)


def test_nothing_outlives_a_killed_supervisor(start: Callable[..., House]) -> None:
    house = start(keeper={}, front={"how": "stubborn"})
    house.wait_ready()
    house.process.kill()
    house.process.wait()
    counts = collections.Counter(str(line["name"]) for line in house.notes(what="started"))
    assert counts == {"keeper": 1, "front": 1}
    until(lambda: not [pid for pid in house.pids() if is_running(pid)])


def is_running(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
