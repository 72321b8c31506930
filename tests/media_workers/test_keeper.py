"""The real processes: a keeper, its workers, and calls that outlive both signals that end them."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import zmq

from control_plane.channel import Switchboard
from control_plane.config import Config, Media
from control_plane.messages import Alive, CloseMedia, MediaClosed, MediaDescription, MediaOpened, Message, OpenMedia
from media_workers import keeper
from media_workers.call_table import table_bytes
from media_workers.srtp import INDEX_SKIP
from shm import counters, handover, layout, ring, segment
from shm.counters import CALL_COLUMN, WORKER
from shm.layout import AUDIO, FRAME
from tests.media_workers.far_end import FarEnd, make_keys
from tests.media_workers.line import bind_pairs
from tests.reference import rtp as reference_rtp

pytestmark = [pytest.mark.compiled, pytest.mark.system]
PAIRS = 6
PATIENCE_S = 15.0
START_S = 100.0  # in a fresh checkout it compiles first


def free_ports() -> str:
    """FIRST-LAST of PAIRS pairs that are free now."""
    for _ in range(20):
        pairs = bind_pairs("127.0.0.1", PAIRS)
        ports = [rtp.getsockname()[1] for rtp, _ in pairs]
        for bound in (one for pair in pairs for one in pair):
            bound.close()
        if ports[-1] - ports[0] == 2 * (PAIRS - 1):
            return f"{ports[0]}-{ports[-1] + 1}"
    raise OSError("no free range of RTP ports")


class KeeperUnderTest:
    """A keeper with one worker, the front that gives it orders, and the memory as a bridge gets it."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.context = zmq.Context()
        self.front = Switchboard(self.context, directory)
        core = max(os.sched_getaffinity(0))
        media = {"rtp_ports": free_ports(), "workers": 1, "cores": str(core), "heartbeat_timeout_ms": 400, "shared_port_calls": 20}
        trunks = [{"name": "carrier", "shared_rtp_port": True}]
        (directory / "config.json").write_text(json.dumps({"runtime_directory": str(directory), "media": media, "trunks": trunks}))
        command = [sys.executable, "-m", "media_workers", "--config", str(directory / "config.json")]
        self.log = (directory / "log").open("w+")
        self.process = subprocess.Popen(command, stderr=self.log, stdout=self.log)
        self.wait_for(lambda: any(isinstance(message, Alive) for message in self.told()), START_S)
        self.rings, self.counters, self.bell = handover.ask_as_bridge(directory, 0)

    def wait_for(self, is_so: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + within_s
        while not is_so():
            assert time.monotonic() < deadline and self.process.poll() is None, (self.directory / "log").read_text()
            time.sleep(0.005)

    def told(self) -> list[Message]:
        return [message for _, message in self.front.receive()] if self.front.socket.poll(20) else []

    def ask(self, order: Message, answer: type) -> Message:
        found: list[Message] = []

        def is_answered() -> bool:
            found.extend(message for message in self.told() if isinstance(message, answer))
            return bool(found)

        assert self.front.send(b"worker-0", order)
        self.wait_for(is_answered)
        return found[0]

    def worker(self, name: str) -> int:
        return int(self.counters.workers[0, WORKER[name]])

    def end(self, how: int) -> None:
        """Send the worker a signal, and wait until another one is at work."""
        pid = self.worker("pid")
        os.kill(pid, how)
        self.wait_for(lambda: self.worker("pid") != pid and os.path.exists(f"/proc/{self.worker('pid')}"))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.front.close()
        self.context.destroy(linger=0)
        self.log.close()
        os.close(self.bell)


class Call:
    """A caller whose agent sends back what it hears. With a suite, both speak SRTP."""

    def __init__(self, keeper: KeeperUnderTest, call_id: str, suite: str = "", is_port_shared: bool = False) -> None:
        keys = make_keys(suite, len(call_id)) if suite else None
        self.far = FarEnd(keys) if keys else None
        self.keeper, self.call_id, self.seq, self.cursor = keeper, call_id, 100, 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        media = MediaDescription("PCMU", 0, "127.0.0.1", self.socket.getsockname()[1], srtp=keys)
        opened = keeper.ask(OpenMedia(call_id, 0, media, is_port_shared=is_port_shared), MediaOpened)
        assert isinstance(opened, MediaOpened)
        self.row, self.generation, self.target = opened.row, opened.generation, ("127.0.0.1", opened.rtp_port)
        self.heard = self.told_lost = 0
        self.packets: list[reference_rtp.Packet] = []
        self.octets: dict[tuple[int, int], set[bytes]] = {}

    def speak(self) -> None:
        self.seq += 1
        packet = reference_rtp.build(self.seq, 160 * self.seq, bytes([0x20]) * 160)
        self.socket.sendto(self.far.tx.protect(packet) if self.far else packet, self.target)

    def echo(self) -> None:
        """The agent's part."""
        frame, pcm = np.zeros(1, FRAME), np.zeros(960, np.int16)
        while (following := int(ring.read_at(self.keeper.rings, self.row, self.cursor, frame, pcm))) != self.cursor:
            if following == self.cursor + 1 and frame[0]["kind"] == AUDIO:
                self.heard += 1
                ring.try_say(self.keeper.rings, self.row, self.generation, 0, 0, pcm, 0, 160)
            self.cursor = following

    def collect(self) -> None:
        while True:
            try:
                datagram = self.socket.recv(2048, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            packet = self.far.read(datagram) if self.far else reference_rtp.parse(datagram)
            assert packet is not None
            self.packets.append(packet)
            self.octets.setdefault((packet.ssrc, packet.seq), set()).add(datagram)

    def echoed(self) -> int:
        return sum(packet.payload[0] == packet.payload[80] == 0x20 for packet in self.packets)


@pytest.fixture(name="keeper")
def _keeper() -> Iterator[KeeperUnderTest]:
    with tempfile.TemporaryDirectory(prefix="bf-") as directory:  # short: a Unix socket's path has 107 octets
        keeper = KeeperUnderTest(pathlib.Path(directory))
        yield keeper
        keeper.close()


def run_calls(calls: list[Call], is_enough: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    """Calls go on, a packet every 20 ms, until it is enough."""
    next_s, deadline = time.monotonic(), time.monotonic() + within_s
    while not is_enough():
        assert time.monotonic() < deadline
        for call in calls:
            call.speak()
        next_s += 0.02
        time.sleep(max(0.0, next_s - time.monotonic()))
        for call in calls:
            call.echo()
            call.collect()


def assert_one_stream(call: Call) -> None:
    """What the far end got is one RTP stream: one SSRC, numbers that only rise, none used for two packets."""
    assert len({packet.ssrc for packet in call.packets}) == 1
    assert all(len(datagrams) == 1 for datagrams in call.octets.values())
    steps = [(b.seq - a.seq) % 65536 for a, b in zip(call.packets, call.packets[1:], strict=False)]
    most = 3 + (INDEX_SKIP if call.far else 0)
    assert all(1 <= step <= most for step in steps), steps
    ticks = [(b.timestamp - a.timestamp) % 2**32 for a, b in zip(call.packets, call.packets[1:], strict=False)]
    assert all(tick % 160 == 0 and tick > 0 for tick in ticks)


def test_calls_go_on_when_their_worker_is_killed_or_hangs(keeper: KeeperUnderTest) -> None:
    suites = ("", "AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM", "")
    calls = [Call(keeper, f"call-{number}", suite) for number, suite in enumerate(suites)]
    run_calls(calls, lambda: min(call.echoed() for call in calls) >= 10)
    generation = keeper.worker("generation")
    for how in (signal.SIGKILL, signal.SIGSTOP, signal.SIGKILL, signal.SIGABRT):
        keeper.end(how)
        echoed, heard = [call.echoed() for call in calls], [call.heard for call in calls]
        run_calls(calls, lambda e=echoed, h=heard: all(c.echoed() >= e[n] + 10 and c.heard >= h[n] + 10 for n, c in enumerate(calls)))  # type: ignore[misc]
    assert keeper.worker("generation") == generation + 4 and keeper.worker("calls_open") == 4
    for call in calls:
        assert_one_stream(call)
    closed = keeper.ask(CloseMedia("call-2"), MediaClosed)
    assert isinstance(closed, MediaClosed) and closed.counters["frames_from_ai"] >= 50 and closed.counters["malformed"] == 0
    for name in ("wrong_source", "srtp_auth_failed", "srtp_replayed"):
        assert [int(keeper.counters.calls[call.row]["counters"][CALL_COLUMN[name]]) for call in calls] == [0] * 4


def test_calls_on_one_port_go_on_when_their_worker_is_killed(keeper: KeeperUnderTest) -> None:
    suites = ("", "AEAD_AES_128_GCM", "", "", "", "", "", "", "", "")
    calls = [Call(keeper, f"call-{number}", suite, is_port_shared=True) for number, suite in enumerate(suites)]
    assert len({call.target for call in calls}) == 1
    run_calls(calls, lambda: min(call.echoed() for call in calls) >= 10)
    for how in (signal.SIGKILL, signal.SIGSTOP, signal.SIGKILL):
        keeper.end(how)
        echoed = [call.echoed() for call in calls]
        run_calls(calls, lambda e=echoed: all(call.echoed() >= e[n] + 10 for n, call in enumerate(calls)))  # type: ignore[misc]
    for call in calls:
        assert_one_stream(call)
    assert keeper.worker("wrong_source") == keeper.worker("send_failures") == 0


def test_sigterm_ends_all_even_a_worker_that_hangs(keeper: KeeperUnderTest) -> None:
    pid = keeper.worker("pid")
    os.kill(pid, signal.SIGSTOP)
    keeper.process.send_signal(signal.SIGTERM)
    assert keeper.process.wait(PATIENCE_S) == 0
    assert not os.path.exists(f"/proc/{pid}")


def test_workers_do_not_outlive_a_keeper_that_nobody_would_start_again(keeper: KeeperUnderTest) -> None:
    """Whoever started it does not adopt its workers, as a service manager does."""
    pid = keeper.worker("pid")
    keeper.process.kill()
    keeper.process.wait()
    deadline = time.monotonic() + PATIENCE_S
    while os.path.exists(f"/proc/{pid}") and "Z" not in pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_configuration_that_cannot_work_ends_it_with_the_reason(tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"media": {"rtp_ports": "20000-19000"}}))
    command = [sys.executable, "-m", "media_workers", "--config", str(tmp_path / "config.json")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.returncode == 2 and "media.rtp_ports" in found.stderr and "Traceback" not in found.stderr


def test_a_worker_that_cannot_be_forked_now_is_tried_again(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    config = Config(media=Media(rtp_ports=free_ports(), workers=2), runtime_directory=str(tmp_path))
    tested = keeper.Keeper(config)
    monkeypatch.setattr(keeper.os, "fork", refuse)
    tested.spawn(1)
    assert tested.pids == [0, 0] and not tested.pidfds and tested.not_before[1] > time.monotonic() + 0.5
    for bound in (one for pair in tested.pairs for one in pair):
        bound.close()
    for fd in (*tested.fds.values(), *tested.bells):
        os.close(fd)


@pytest.mark.parametrize("changed", ["", "counters", "rings", "media"])
def test_memory_of_another_release_is_not_taken_over(changed: str) -> None:
    """What lies where has changed between the two: reading it all the same would send calls' audio anywhere."""
    rows, workers = 4, 2
    sizes = {"rings": layout.rings_bytes(rows), "media": table_bytes(rows), "counters": counters.counters_bytes(workers, rows)}
    fds = {name: segment.make(name, size + (64 if name == changed == "media" else 0)) for name, size in sizes.items()}
    rings_memory, counters_memory = segment.map_fd(fds["rings"]), segment.map_fd(fds["counters"])
    layout.rings_format(rings_memory, rows)
    counters.counters_format(counters_memory, workers, rows)
    if changed in ("rings", "counters"):
        memory = rings_memory if changed == "rings" else counters_memory
        np.frombuffer(memory, np.int64, 2)[1] += 1
    assert keeper._stored_shape({name: [fd] for name, fd in fds.items()}) == ((0, 0) if changed else (workers, rows))
    for fd in fds.values():
        os.close(fd)
