"""How many calls of bots behind WebSockets does one bridge process carry, and how late is a packet at the bot's socket?

Whole path: packet, worker, ring, bridge, JSON over a WebSocket, an echo bot, and back. The bridge and the front have a
core of their own; worker, generator and bot share the other. CPU is the scheduler's count for the bridge alone, per
frame there and back. From the packet to the bot is counted from the send of the one to the read of the other.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from bench.callers import Callers
from bench.load_generator import STAMPS, Generator
from bench.server import OTHER_CORE, WORKER_CORE, cpu_ns, running

STEPS = (100, 200, 300)
WARM_S, MEASURED_S = 3.0, 8.0


class EchoBot:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None and process.stdin is not None
        self.process, self.out, self.orders = process, process.stdout, process.stdin
        self.port = int(self.out.readline())

    def take_arrivals(self) -> "np.ndarray[Any, np.dtype[np.void]]":
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "arrivals.npy"
            print(path, file=self.orders, flush=True)
            assert self.out.readline().strip() == "saved"
            return np.asarray(np.load(path))


@contextmanager
def echo_bot() -> Iterator[EchoBot]:
    command = [sys.executable, "-m", "bench.echo_bot", "--core", str(WORKER_CORE)]
    both = {WORKER_CORE, OTHER_CORE}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, both)
    ) as process:
        bot = EchoBot(process)
        try:
            yield bot
        finally:
            bot.orders.close()


def lateness_ms(generator: Generator, arrivals: "np.ndarray[Any, np.dtype[np.void]]") -> dict[str, float]:
    """From the packet to the bot's socket. The generator remembers when it sent the last STAMPS packets of each caller."""
    callers = generator.load.callers
    sent = callers["sent"][arrivals["caller"]]
    known = arrivals[(arrivals["stamp"] > sent - STAMPS) & (arrivals["stamp"] < sent)]
    waited = known["at_ns"] - np.abs(callers["sent_ns"][known["caller"], known["stamp"] % STAMPS])
    return {f"{p:g}": float(np.percentile(waited, p)) / 1e6 for p in (50, 99, 99.9)}


def measure(calls: int, seconds: float = MEASURED_S) -> dict[str, Any]:
    with echo_bot() as bot, running(f"twilio+ws://127.0.0.1:{bot.port}/media", calls) as server:
        generator = Generator(calls)
        callers = Callers(server, generator)
        callers.open(calls)
        generator.run(WARM_S, is_counted=False)
        bridge = next(peer.pid for peer in server.status().peers if peer.role == "bridge")
        bot.take_arrivals()
        sent, cpu = int(generator.load.callers["sent"].sum()), cpu_ns(bridge)
        bot_cpu = cpu_ns(bot.process.pid)
        heard = generator.run(seconds)
        cpu, bot_cpu = cpu_ns(bridge) - cpu, cpu_ns(bot.process.pid) - bot_cpu
        generator.run(0.3, is_counted=False)
        arrivals = bot.take_arrivals()
        late = lateness_ms(generator, arrivals)
        result = {
            "calls": calls,
            "bridge_percent": cpu / seconds / 1e7,
            "bridge_us": cpu / (calls * 50 * seconds) / 1000,
            "packet_to_bot_ms": late,
            "missing_at_bot": max(0, heard.sent - sent - arrivals.size),
            "longest_gap_ms": heard.longest_gap_ms,
            "generator_late_ms": heard.generator_late_ms,
            "bot_percent": bot_cpu / seconds / 1e7,
        }
        callers.close()
        generator.close()
    return result


def answer(steps: tuple[int, ...] = STEPS) -> list[dict[str, Any]]:
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {WORKER_CORE})
    try:
        return [measure(calls) for calls in steps]
    finally:
        os.sched_setaffinity(0, usable)


def test_wire_bots(benchmark):
    assert benchmark.pedantic(measure, (20, 2.0), rounds=1)["missing_at_bot"] == 0

if __name__ == "__main__":
    for row in answer(tuple(int(n) for n in sys.argv[1:]) or STEPS):
        print(row)
