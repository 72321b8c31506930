"""The front is killed under calls. When is a request inside a call answered again, and is any call or set-up lost?

SIGKILL of the front while all calls echo, several times. Requests inside one of the calls are sent every 10 ms until one is
answered; new calls are set up all the while, and repeat their INVITE as RFC 3261 17.1.1.2 asks. The gap is the longest time
between two packets that any caller heard.
"""

import functools
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.call_setups import Load
from bench.callers import Callers
from bench.load_generator import Generator
from bench.server import OTHER_CORE, Server, running

CALLS, KILLS, BETWEEN_S = 200, 5, 5.0
"""Whoever dies more often than every two seconds has to wait longer each time (lifecycle.py)."""
BEFORE_KILL_S, PROBE_S, LIMIT_S = 1.0, 0.01, 8.0
SETUPS_PER_SECOND, SETUPS_S = 20.0, 2.0


def in_child(work: Callable[[], Any]) -> Callable[[], Any]:
    """Does it in another process: the generator must not stop for it. Call what is returned for the result."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, json.dumps(work()).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)  # the server is not this copy's to end
    os.close(writer)

    def result() -> Any:
        with os.fdopen(reader, "rb") as pipe:
            found = pipe.read()
        os.waitpid(pid, 0)
        return json.loads(found)

    return result


def kill(server: Server, callers: Callers, first_cseq: int) -> dict[str, float]:
    """In ms from the kill: until another front runs, and until a request inside a call is answered."""
    time.sleep(BEFORE_KILL_S)
    front, probes = server.front_pid(), first_cseq
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect((server.host, server.sip_port))
        os.kill(front, signal.SIGKILL)
        killed = time.monotonic()
        while time.monotonic() - killed < LIMIT_S:
            one.send(callers.probe(0, probes, one.getsockname()[1]))
            probes += 1
            if select.select([one], [], [], PROBE_S)[0] and one.recv(65_535).startswith(b"SIP/2.0 200"):
                return {"answered_ms": (time.monotonic() - killed) * 1000, "is_another": float(server.front_pid() != front)}
    return {"answered_ms": float("inf"), "is_another": 0.0}


def set_up(server: Server) -> dict[str, Any]:
    """New calls, from before the kill until after it."""
    time.sleep(BEFORE_KILL_S / 2)
    load = Load(server, SETUPS_PER_SECOND, SETUPS_S)
    load.run()
    return {"lost": sum(state != "over" for state in load.state), "setups_ms": load.setups_ms}


def measure(calls: int = CALLS, kills: int = KILLS) -> dict[str, Any]:
    answered_ms, setups_ms, gaps_ms, lost_setups = list[float](), list[float](), list[float](), 0
    with running("echo_batch", calls + 100, heartbeat_timeout_ms=1000) as server:
        generator = Generator(calls)
        callers = Callers(server, generator)
        callers.open(calls)
        generator.run(2.0, is_counted=False)
        for n in range(kills):
            generator.load.callers["longest_gap_ns"] = generator.load.callers["last_rx_ns"] = 0
            killed, new = in_child(functools.partial(kill, server, callers, 2 + 1000 * n)), in_child(lambda: set_up(server))
            generator.run(BETWEEN_S)
            found = killed()
            assert found["is_another"], "the front was not replaced"
            answered_ms.append(found["answered_ms"])
            found = new()
            lost_setups += found["lost"]
            setups_ms += found["setups_ms"]
            gaps_ms += list(generator.load.callers["longest_gap_ns"] / 1e6)
        received = generator.load.callers["received"].copy()
        generator.run(1.5, is_counted=False)
        alive = int((generator.load.callers["received"] > received + 50).sum())
        listed = len(server.calls())
        callers.close()
        generator.close()
    return {
        "calls": calls,
        "kills": kills,
        "lost": calls - min(alive, listed),
        "lost_setups": lost_setups,
        "answered_ms": {"median": float(np.median(answered_ms)), "worst": max(answered_ms)},
        "setup_ms": {"median": float(np.median(setups_ms)), "worst": max(setups_ms)},
        "gap_ms": {p: float(np.percentile(gaps_ms, p)) for p in (50, 99, 100)},
    }


answer = measure

def test_front_takeover(benchmark):
    assert benchmark.pedantic(measure, (20, 1), rounds=1)["lost"] == 0

if __name__ == "__main__":
    os.sched_setaffinity(0, {OTHER_CORE})
    print(answer(*(int(word) for word in sys.argv[1:])))
