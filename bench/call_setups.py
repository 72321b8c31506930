"""How many complete calls a second does the front set up and end, and how long does a caller wait for the answer?

INVITE, 100, 180, 200, ACK, then BYE and its 200; each call has a port, a worker and an agent of its own while it is up.
One process of callers with one socket sends at a steady rate, whatever the server does, and repeats as RFC 3261 17.1 asks.
The set-up is from the INVITE's first sending to the 200. CPU is of all threads of the front.
"""

import heapq
import os
import select
import socket
import sys
import time
from typing import Any

import numpy as np

from bench.server import OTHER_CORE, WORKER_CORE, Server, running, threads_cpu_ns

RATES, SECONDS = (100, 200, 300), 10.0
HOLD_S = 0.3
ROOM = 1000
"""Calls at once: those that are up, and ports that rest before they are given to the next."""
T1_S, PATIENCE_S = 0.5, 8.0
AGENT = "echo_batch"


class Load:
    """Calls at a steady rate. All of them are one list of things that are due."""

    def __init__(self, server: Server, rate: float, seconds: float) -> None:
        self.server, self.rate, self.calls = server, rate, round(rate * seconds)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((server.host, 0))
        self.socket.connect((server.host, server.sip_port))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]
        self.due: list[tuple[float, int, str, int]] = []
        """When, which call, what: INVITE or BYE, and how often it was sent."""
        self.began = [0.0] * self.calls
        self.state = ["waiting"] * self.calls
        """waiting, calling, up, ending, over, or why it failed."""
        self.tags = [""] * self.calls
        self.setups_ms: list[float] = []
        self.late_ms = 0.0
        self.repeats = 0

    def run(self) -> None:
        started = time.monotonic()
        next_call, open_calls = 0, 0
        while next_call < self.calls or open_calls > 0:
            now = time.monotonic()
            while next_call < self.calls and started + next_call / self.rate <= now:
                self.late_ms = max(self.late_ms, (now - started - next_call / self.rate) * 1000)
                self.began[next_call], self.state[next_call] = time.monotonic(), "calling"
                self.send(next_call, "INVITE", 0)
                next_call += 1
                open_calls += 1
            while self.due and self.due[0][0] <= now:
                _, call, method, times = heapq.heappop(self.due)
                open_calls -= self.expire(call, method, times, now)
            next_due = min(self.due[0][0] if self.due else now + 1, started + next_call / self.rate if next_call < self.calls else now + 1)
            if select.select([self.socket], [], [], max(0.0, next_due - time.monotonic()))[0]:
                open_calls -= self.read()

    def send(self, call: int, method: str, times: int) -> None:
        self.socket.send(self.request(call, method))
        self.repeats += times > 0
        heapq.heappush(self.due, (time.monotonic() + T1_S * 2**times, call, method, times + 1))

    def expire(self, call: int, method: str, times: int, now: float) -> int:
        """1: the call has failed."""
        state = self.state[call]
        if method == "BYE" and state == "up":
            self.state[call], self.began[call] = "ending", now
            self.send(call, "BYE", 0)
        elif state == {"INVITE": "calling", "BYE": "ending"}[method]:
            if now - self.began[call] > PATIENCE_S:
                self.state[call] = f"no answer to {method}"
                return 1
            self.send(call, method, times)
        return 0

    def read(self) -> int:
        """How many calls are over, well or not."""
        ended = 0
        for _ in range(64):
            try:
                message = self.socket.recv(65_535)
            except BlockingIOError:
                break
            call, status = int(message.partition(b"Call-ID: setup-")[2].partition(b"-")[0]), int(message[8:11])
            is_invite = b" INVITE\r\n" in message
            if status < 200:
                continue
            if status >= 300:
                ended += self.state[call] in ("calling", "ending")
                self.state[call] = message.partition(b"\r\n")[0].decode()
            elif is_invite:
                if self.state[call] == "calling":
                    now = time.monotonic()
                    self.setups_ms.append((now - self.began[call]) * 1000)
                    self.tags[call] = message.partition(b"\r\nTo: ")[2].partition(b"\r\n")[0].partition(b"tag=")[2].decode()
                    self.state[call] = "up"
                    heapq.heappush(self.due, (now + HOLD_S, call, "BYE", 0))
                self.socket.send(self.request(call, "ACK"))
            elif self.state[call] == "ending":
                self.state[call] = "over"
                ended += 1
        return ended

    def request(self, call: int, method: str) -> bytes:
        host, tag = self.server.host, self.tags[call]
        body = ""
        if method == "INVITE":
            body = (
                f"v=0\r\no=load {call} 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {self.port} RTP/AVP 0 8 101\r\n"
                "a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n"
            )
        lines = [
            f"{method} sip:load@{host}:{self.server.sip_port} SIP/2.0",
            f"Via: SIP/2.0/UDP {host}:{self.port};branch=z9hG4bK{method}{call}-{self.port};rport",
            f"From: <sip:+1555{call:07}@{host}>;tag=f{call}-{self.port}",
            f"To: <sip:load@{host}>" + (f";tag={tag}" if tag else ""),
            f"Call-ID: setup-{call}-{self.port}",
            f"CSeq: {2 if method == 'BYE' else 1} {method}",
            "Max-Forwards: 70",
            f"Contact: <sip:load@{host}:{self.port}>",
            *(["Allow: INVITE, ACK, BYE, CANCEL, OPTIONS", "Supported: timer", "Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def step(server: Server, rate: float, seconds: float) -> dict[str, Any]:
    load, pid = Load(server, rate, seconds), server.front_pid()
    cpu, began = threads_cpu_ns(pid), time.monotonic()
    load.run()
    cpu, took = threads_cpu_ns(pid) - cpu, time.monotonic() - began
    load.socket.close()
    failures: dict[str, int] = {}
    for state in load.state:
        if state != "over":
            failures[state] = failures.get(state, 0) + 1
    return {
        "rate": rate,
        "calls": load.calls,
        "failed": sum(failures.values()),
        "failures": failures,
        "setup_ms": {p: float(np.percentile(load.setups_ms or [float("nan")], p)) for p in (50, 99, 100)},
        "front_percent": cpu / took / 1e7,
        "front_us_per_call": cpu / load.calls / 1000,
        "repeats": load.repeats,
        "generator_late_ms": load.late_ms,
    }


def answer(rates: tuple[float, ...] = RATES, seconds: float = SECONDS) -> list[dict[str, Any]]:
    before = os.sched_getaffinity(0)
    with running(AGENT, ROOM, heartbeat_timeout_ms=1000) as server:  # the worker shares its core with the callers
        os.sched_setaffinity(0, {WORKER_CORE})  # without audio the worker idles; the front has the other core, with the bridge
        try:
            return [step(server, rate, seconds) for rate in rates]
        finally:
            os.sched_setaffinity(0, before)


def test_call_setups(benchmark):
    assert benchmark.pedantic(answer, ((50,), 2.0), rounds=1)[0]["failed"] == 0

if __name__ == "__main__":
    os.sched_setaffinity(0, {OTHER_CORE})
    for row in answer(seconds=float(sys.argv[1]) if sys.argv[1:] else SECONDS):
        print(row)
