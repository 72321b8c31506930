"""What runs out, or goes away for a while: ports, descriptors, the link. Calls that are up notice as little as can be."""

import contextlib
import os
import pathlib
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from bench.server import threads_cpu_ns
from tests.system.caller import Caller
from tests.system.conftest import StartServer
from tests.system.server import HOST, ROOT, Server, wait_for

CALLS, QUIET_S = 3, 1.0
MEMORY_BYTES = 400 << 20
"""Beyond what they had before: enough for another process of agents."""
SPARE_FDS, CONNECTIONS, BUSY_PERCENT = 4, 30, 10.0


@pytest.fixture(scope="module", name="server")
def _server(start_server: StartServer) -> Server:
    return start_server(agent="echo", calls=CALLS, media={"port_quiet_seconds": QUIET_S})


@contextlib.contextmanager
def little_memory(pids: list[int], limit_bytes: int) -> Iterator[None]:
    """These processes, and what they start, may have so much more. Beyond it the kernel ends one of them, as when the machine has none."""
    root = pathlib.Path("/sys/fs/cgroup")
    is_old = (root / "memory" / "memory.limit_in_bytes").exists()
    group = (root / "memory" if is_old else root) / f"bellframe-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if is_old else "memory.max")).write_text(str(limit_bytes))
    except OSError as why:
        pytest.skip(f"no control group for memory can be made here: {why}")
    try:
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (group.parent / "cgroup.procs").write_text(pid)
        group.rmdir()


def test_where_memory_runs_out_an_agent_is_ended_and_the_call_is_heard_on(start_server: StartServer) -> None:
    """R14: the kernel chooses, among all of our processes."""
    server = start_server(agent="probes:Hungry")
    peers = {peer.role: peer.pid for peer in server.status().peers}
    bridge, others = peers["bridge"], set(server.pids()) - {peers["bridge"]}
    score = {pid: int(pathlib.Path(f"/proc/{pid}/oom_score").read_text()) for pid in server.pids()}
    assert score[bridge] > max(score[pid] for pid in others)
    with little_memory(server.pids(), MEMORY_BYTES), Caller(server.sip_port) as caller:
        caller.wait_for_packets(25)
        caller.press("1")
        wait_for("another process has the call", lambda: not os.path.exists(f"/proc/{bridge}"), 30.0)
        caller.wait_for_packets(100)
        wait_for("it has reported", lambda: any(peer.role == "bridge" and peer.pid != bridge for peer in server.status().peers), 20.0)
        assert others <= set(server.pids()), "nothing else was ended"
    server.wait_until_quiet()


def front_of(server: Server) -> int:
    return next(pid for pid in server.pids() if b"sip_front" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())


def test_when_all_ports_are_taken_a_call_is_refused_at_once_and_later_there_is_one_again(server: Server) -> None:
    """R12."""
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(Caller(server.sip_port)) for _ in range(len(server.rtp_ports) // 2)]
        for caller in callers:
            caller.wait_for_packets(10)
        one_more, began = Caller(server.sip_port), time.monotonic()
        answer = one_more.transact("INVITE", one_more.offer)
        took_s = time.monotonic() - began
        one_more.sip.sendto(one_more.request("ACK"), one_more.server)
        one_more.close()
        assert answer.startswith("SIP/2.0 503") and "Retry-After: " in answer and took_s < 0.5, (answer, took_s)
        heard = [len(caller.received) for caller in callers]
        callers[0].wait_for_packets(25)
        assert all(len(caller.received) > before for caller, before in zip(callers, heard, strict=True))
    server.wait_until_quiet()
    time.sleep(QUIET_S + 0.5)
    with Caller(server.sip_port) as caller:
        caller.wait_for_packets(25)
    server.wait_until_quiet()
    server.check_log()


def test_a_front_without_descriptors_goes_on_with_its_calls_and_takes_connections_again(server: Server) -> None:
    """R13: EMFILE in accept."""
    front = front_of(server)
    with Caller(server.sip_port) as caller, contextlib.ExitStack() as stack:
        caller.wait_for_packets(25)
        most = max(map(int, os.listdir(f"/proc/{front}/fd"))) + 1 + SPARE_FDS
        before = resource.prlimit(front, resource.RLIMIT_NOFILE, (most, resource.prlimit(front, resource.RLIMIT_NOFILE)[1]))
        for _ in range(CONNECTIONS):
            stack.enter_context(socket.create_connection((HOST, server.sip_port), 5.0))
        began, cpu_ns = time.monotonic(), threads_cpu_ns(front)
        caller.wait_for_packets(100)
        percent = (threads_cpu_ns(front) - cpu_ns) / (time.monotonic() - began) / 1e7
        assert percent < BUSY_PERCENT, "it must not spin on a socket that it cannot accept from"
        with Caller(server.sip_port) as other:
            other.wait_for_packets(25)
        stack.close()
        resource.prlimit(front, resource.RLIMIT_NOFILE, before)
        wait_for("a connection is taken and answered", lambda: is_answered(server), 20.0, every_s=0.3)
        caller.check_stream()
    assert front_of(server) == front
    server.wait_until_quiet()
    server.checked = len(server.log())


def is_answered(server: Server) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, server.sip_port), 1.0) as one:
        one.settimeout(1.0)
        lines = (
            f"OPTIONS sip:{HOST} SIP/2.0", f"Via: SIP/2.0/TCP {HOST}:9;branch=z9hG4bK{time.monotonic_ns()}", "Max-Forwards: 70",
            f"From: <sip:a@{HOST}>;tag=1", f"To: <sip:{HOST}>", f"Call-ID: {time.monotonic_ns()}", "CSeq: 1 OPTIONS", "Content-Length: 0",
        )  # fmt: skip
        one.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return one.recv(65_535).startswith(b"SIP/2.0 200")
    return False


LINK = """
import subprocess, time
from tests.system.caller import Caller
from tests.system.server import Server, wait_for
from tests.system.sound import pitch_and_level
server = Server([{"agent": "echo"}], calls=3)
try:
    with Caller(server.sip_port) as caller:
        caller.wait_for_packets(50)
        subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
        heard = len(caller.received)
        time.sleep(DOWN_S)
        assert len(caller.received) <= heard + 2, "the link was down"
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        caller.wait_for_packets(100)
        (call,) = server.calls()
        assert call.state == "up"
        wait_for("the echo", lambda: pitch_and_level(caller.audio(len(caller.received) - 50))[1] > 7_000)
    server.wait_until_quiet()
    server.stop()
finally:
    server.discard()
print("it went on")
"""


def test_a_call_outlives_a_link_that_is_down_for_five_seconds() -> None:
    """R16, in a network namespace of its own. Both ends are in it: what they send meanwhile fails or is lost."""
    if os.geteuid() or subprocess.run(["unshare", "--net", "ip", "link"], capture_output=True).returncode:
        pytest.skip("a network namespace needs root and iproute2")
    code = LINK.replace("DOWN_S", "5")
    command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=110)
    assert done.returncode == 0 and "it went on" in done.stdout, done.stdout + done.stderr
