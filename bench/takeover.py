"""A worker is killed under calls. How long is the gap that callers hear, and is any call lost?

SIGKILL of the worker while all calls echo, several times; the gap is the longest time between two packets that any
caller heard, the takeover is from the kill to the successor's first cycle. With SRTP, what a caller refuses is
counted: it is what an index used twice would look like.

    python -m bench.takeover [CALLS [KILLS]] [--srtp [SUITE]] [--shared]
"""

import argparse
import os
import signal
import time
from typing import Any

import numpy as np

from bench.callers import Callers
from bench.load_generator import BY_PORT, BY_SOCKET, BY_SSRC, Generator
from bench.server import OTHER_CORE, running
from shm.counters import WORKER

CALLS, KILLS, BETWEEN_S = 200, 10, 2.0


def measure(calls: int = CALLS, kills: int = KILLS, suite: str = "", is_shared: bool = False) -> dict[str, Any]:
    gaps_ms, takeovers_ms = [], []
    with running("echo_batch", calls, is_port_shared=is_shared, srtp="required" if suite else "off") as server:
        generator = Generator(calls, known_by=BY_PORT if not is_shared else BY_SOCKET if suite else BY_SSRC)
        callers = Callers(server, generator, suite)
        callers.open(calls)
        generator.run(2.0, is_counted=False)
        for _ in range(kills):
            generator.load.callers["longest_gap_ns"] = generator.load.callers["last_rx_ns"] = 0
            generation = server.total("generation")
            pid = os.fork()
            if pid == 0:  # the generator must not stop to kill
                time.sleep(1.4)
                killed_ns = time.monotonic_ns()
                os.kill(server.worker_pid(), signal.SIGKILL)
                while server.total("generation") == generation or server.total("heartbeat_ns") < killed_ns:
                    time.sleep(0.0002)
                first_ns = int(server.counters.workers[0, WORKER["heartbeat_ns"]])
                while server.total("cycles") == 0:
                    time.sleep(0.0002)
                os._exit(min(255, round((first_ns - killed_ns) / 1e6)))
            generator.run(BETWEEN_S)
            _, status = os.waitpid(pid, 0)
            takeovers_ms.append(os.waitstatus_to_exitcode(status))
            gaps_ms += list(generator.load.callers["longest_gap_ns"] / 1e6)
        received = generator.load.callers["received"].copy()
        generator.run(1.5, is_counted=False)
        alive = int((generator.load.callers["received"] > received + 50).sum())
        listed, refused = len(server.calls()), int(generator.load.callers["refused"].sum())
        callers.close()
        generator.close()
    return {
        "calls": calls,
        "kills": kills,
        "lost": calls - min(alive, listed),
        "refused": refused,
        "gap_ms": {p: float(np.percentile(gaps_ms, p)) for p in (50, 99, 100)},
        "takeover_ms": {"median": float(np.median(takeovers_ms)), "worst": max(takeovers_ms)},
    }


answer = measure

def test_takeover(benchmark):
    assert benchmark.pedantic(measure, (20, 2), rounds=1)["lost"] == 0

if __name__ == "__main__":
    os.sched_setaffinity(0, {OTHER_CORE})
    parser = argparse.ArgumentParser()
    parser.add_argument("calls", type=int, nargs="?", default=CALLS)
    parser.add_argument("kills", type=int, nargs="?", default=KILLS)
    parser.add_argument("--srtp", nargs="?", const="AES_CM_128_HMAC_SHA1_80", default="")
    parser.add_argument("--shared", action="store_true")
    asked = parser.parse_args()
    print(answer(asked.calls, asked.kills, asked.srtp, asked.shared))
