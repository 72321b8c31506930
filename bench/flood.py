"""Strangers send 20,000 messages a second. Do calls notice, and does a trusted trunk still get its calls through?

Garbage, OPTIONS and INVITE from one address, and then from 10,000 addresses of 127.0.0.0/8 which sip.allow does not name, with
calls that echo and set-ups from the one address that it does. "After" are set-ups that begin when the flood has ended.
"""

import itertools
import os
import pathlib
import random
import socket
import struct
import sys
import time
from typing import Any

import numpy as np

from bench.call_setups import Load
from bench.callers import Callers
from bench.front_takeover import in_child
from bench.load_generator import Generator
from bench.server import OTHER_CORE, Server, running, threads_cpu_ns

CALLS, PER_SECOND, SECONDS, SOURCES = 50, 20_000, 10.0, 10_000
SETUPS_PER_SECOND = 20.0
AFTER_S = 3.0
BURST = 100
IP_PKTINFO, PKTINFO = 8, struct.Struct("=I4s4s")  # linux/in.h; struct in_pktinfo: the address to send from


def messages(server: Server) -> list[bytes]:
    rng = random.Random(1)

    def request(method: str, n: int) -> bytes:
        lines = [
            f"{method} sip:{100 + n}@{server.host}:{server.sip_port} SIP/2.0",
            f"Via: SIP/2.0/UDP 198.51.100.{n}:5060;branch=z9hG4bK{rng.getrandbits(64):x};rport",
            f"From: <sip:{n}@198.51.100.{n}>;tag={rng.getrandbits(32):x}",
            f"To: <sip:{100 + n}@{server.host}>",
            f"Call-ID: {rng.getrandbits(64):x}",
            f"CSeq: 1 {method}",
            "Max-Forwards: 70",
            f"Contact: <sip:{n}@198.51.100.{n}>",
            "User-Agent: friendly-scanner",
            "Content-Length: 0",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    kinds = [(rng.randbytes(rng.randrange(20, 800)), request("OPTIONS", n), request("INVITE", n)) for n in range(1, 200)]
    return list(itertools.chain.from_iterable(kinds))


def flood(server: Server, sources: int) -> float:
    """Messages a second that were sent."""
    texts, hosts = itertools.cycle(messages(server)), [bytes((127, 1 + n // 62_500, n // 250 % 250, 1 + n % 250)) for n in range(sources)]
    extras = itertools.cycle([[(socket.IPPROTO_IP, IP_PKTINFO, PKTINFO.pack(0, host, host))] for host in hosts])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("0.0.0.0", 0))
        began, sent, to = time.monotonic(), 0, (server.host, server.sip_port)
        while (now := time.monotonic() - began) < SECONDS:
            for _ in range(min(10 * BURST, int(now * PER_SECOND) - sent)):
                one.sendmsg([next(texts)], next(extras), 0, to)
                sent += 1
            time.sleep(BURST / PER_SECOND)
        return sent / (time.monotonic() - began)


def set_up(server: Server, seconds: float) -> dict[str, Any]:
    load = Load(server, SETUPS_PER_SECOND, seconds)
    load.run()
    return {"calls": load.calls, "failed": sum(state != "over" for state in load.state), "setups_ms": load.setups_ms}


def flood_and_set_up(server: Server, sources: int) -> dict[str, Any]:
    """While it lasts, and when it is over."""
    flooding = in_child(lambda: flood(server, sources))
    during = set_up(server, SECONDS - 0.5)
    sent = flooding()
    return {"sent": sent, "during": during, "after": set_up(server, AFTER_S)}


def resident_mb(pid: int) -> float:
    return int(pathlib.Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024


def step(server: Server, generator: Generator, sources: int) -> dict[str, Any]:
    front = server.front_pid()
    memory, cpu, began = resident_mb(front), threads_cpu_ns(front), time.monotonic()
    callers = generator.load.callers
    callers["longest_gap_ns"] = callers["last_rx_ns"] = 0
    working = in_child(lambda: flood_and_set_up(server, sources))
    heard = generator.run(SECONDS + AFTER_S + 1)
    cpu, took = threads_cpu_ns(front) - cpu, time.monotonic() - began
    found = working()
    during, after = found["during"], found["after"]
    return {
        "sources": sources,
        "messages_per_second": found["sent"],
        "set_ups": during["calls"],
        "failed": during["failed"],
        "setup_ms": {p: float(np.percentile(during["setups_ms"], p)) for p in (50, 99, 100)},
        "failed_after": after["failed"],
        "setup_after_ms": {p: float(np.percentile(after["setups_ms"], p)) for p in (50, 99, 100)},
        "longest_gap_ms": heard.longest_gap_ms,
        "front_percent": cpu / took / 1e7,
        "front_grew_mb": resident_mb(front) - memory,
        "generator_late_ms": heard.generator_late_ms,
    }


def answer(calls: int = CALLS, *each: int) -> list[dict[str, Any]]:
    with running("echo_batch", calls + 200, {"allow": ["127.0.0.1/32"]}, heartbeat_timeout_ms=1000) as server:
        generator = Generator(calls)
        callers = Callers(server, generator)
        callers.open(calls)
        generator.run(2.0, is_counted=False)
        rows = [step(server, generator, sources) for sources in each or (1, SOURCES)]
        callers.close()
        generator.close()
    return rows


def test_flood(benchmark):
    assert benchmark.pedantic(answer, (10, 1), rounds=1)[0]["failed"] == 0

if __name__ == "__main__":
    os.sched_setaffinity(0, {OTHER_CORE})
    for row in answer(*(int(word) for word in sys.argv[1:])):
        print(row)
