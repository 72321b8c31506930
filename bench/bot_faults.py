"""A bot stands still for a second every five, or its process is killed. Do callers hear packets all the while, and does it get every word?

Calls to an echo bot on our own wire, whole path. The gap is the longest between two packets that a caller heard. The bot writes down
each frame's position: what is missing between the first and the last is counted, over all processes that the bot has had. A killed
bot is replaced at once by its own parent, which holds the port; counted from the SIGKILL to each call's first frame at the next one.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.callers import Callers
from bench.faulty_bot import ARRIVAL
from bench.front_takeover import in_child
from bench.load_generator import Generator
from bench.server import OTHER_CORE, WORKER_CORE, running

CALLS, KILLS, STALLED_S = 50, 20, 30.0
STALL_S, EVERY_S = 1.0, 5.0
BETWEEN_KILLS_S, AFTERWARDS_S = 2.3, 3.0
BARS_MS = {"gap": 40.0, "back": 1000.0}
Rows = npt.NDArray[np.void]


class Bot:
    def __init__(self, process: "subprocess.Popen[str]", folder: pathlib.Path) -> None:
        assert process.stdout is not None
        self.process, self.folder = process, folder
        self.port = int(process.stdout.readline())

    def serving(self) -> int:
        """The process that has the connections; 0: there is none just now."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def arrivals(self) -> Rows:
        """Of all its processes, in the order of time."""
        found = [np.load(file, mmap_mode="r") for file in sorted(self.folder.glob("*.npy"))]
        rows = np.concatenate([rows[rows["at_ns"] > 0] for rows in found] or [np.zeros(0, ARRIVAL)])
        return rows[np.argsort(rows["at_ns"], kind="stable")]


@contextlib.contextmanager
def faulty_bot(stall_s: float) -> Iterator[Bot]:
    with tempfile.TemporaryDirectory(prefix="bellframe-bot-") as folder:
        command = [sys.executable, "-m", "bench.faulty_bot", "--folder", folder, "--core", str(WORKER_CORE)]
        command += ["--every-s", str(EVERY_S), "--stall-s", str(stall_s)]
        both = {WORKER_CORE, OTHER_CORE}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=lambda: os.sched_setaffinity(0, both)
        )
        bot = Bot(process, pathlib.Path(folder))
        try:
            yield bot
        finally:
            serving = bot.serving()
            process.kill()  # the parent first: it would fork another
            process.wait()
            with contextlib.suppress(ProcessLookupError):
                os.kill(serving or process.pid, signal.SIGKILL)


def kill(bot: Bot, times: int) -> list[int]:
    """When, in ns. From a process beside the generator's, which must not stop for it."""
    killed = []
    for n in range(times):
        time.sleep(BETWEEN_KILLS_S + n * 7.3 % 20 / 1000)
        killed.append(time.monotonic_ns())
        os.kill(bot.serving(), signal.SIGKILL)
    return killed


def completeness(arrivals: Rows, calls: int) -> dict[str, int]:
    """Frames that never came, and those that came more than once, between each call's first and last."""
    missing = twice = 0
    for caller in range(calls):
        of_caller = arrivals[arrivals["caller"] == caller]
        expected = int((of_caller["position"].max() - of_caller["position"].min()) // of_caller["samples"][0] + 1) if of_caller.size else 0
        different = np.unique(of_caller["position"]).size
        missing, twice = missing + expected - different, twice + of_caller.size - different
    return {"frames": int(arrivals.size), "missing": missing, "twice": twice, "unheard_calls": calls - np.unique(arrivals["caller"]).size}


def back_ms(arrivals: Rows, killed_ns: list[int], calls: int) -> dict[str, float]:
    """From each kill until each call's first frame was at the next bot. Whoever never came back counts as never."""
    waits = []
    for at_ns, until_ns in zip(killed_ns, [*killed_ns[1:], sys.maxsize], strict=True):
        later = arrivals[(arrivals["at_ns"] > at_ns) & (arrivals["at_ns"] < until_ns)]
        callers, first = np.unique(later["caller"], return_index=True)
        waits += list((later["at_ns"][first] - at_ns) / 1e6) + [np.inf] * (calls - callers.size)
    return {f"{p}": float(np.percentile(waits, p, method="higher")) for p in (50, 99, 100)}


def measure(fault: str, calls: int, amount: float) -> dict[str, Any]:
    """`amount`: seconds of stalls, or kills."""
    with faulty_bot(STALL_S if fault == "stalls" else 0.0) as bot, running(f"bellframe+ws://127.0.0.1:{bot.port}/", calls) as server:
        generator = Generator(calls)
        callers = Callers(server, generator)
        callers.open(calls)
        generator.run(1.5, is_counted=False)
        generator.load.callers["longest_gap_ns"] = generator.load.callers["last_rx_ns"] = 0
        killed_ns: list[int] = []
        if fault == "kills":
            striking = in_child(lambda: kill(bot, round(amount)))
            heard = generator.run(amount * (BETWEEN_KILLS_S + 0.02) + AFTERWARDS_S)
            killed_ns = striking()
        else:
            heard = generator.run(amount)
        gaps_ms = generator.load.callers["longest_gap_ns"] / 1e6
        up = len(server.calls())
        generator.run(2.0, is_counted=False)  # what waits is delivered
        arrivals = bot.arrivals()
        gap_ms = {f"{p}": float(np.percentile(gaps_ms, p)) for p in (50, 99, 100)}
        result: dict[str, Any] = {"calls": calls, "lost_calls": calls - up, "gap_ms": gap_ms, "generator_late_ms": heard.generator_late_ms}
        result |= completeness(arrivals, calls)
        if killed_ns:
            result |= {"kills": len(killed_ns), "back_ms": back_ms(arrivals, killed_ns, calls)}
        callers.close()
        generator.close()
    print(f"  {fault}: {result}", flush=True)
    return result


def answer(calls: int = CALLS, kills: int = KILLS, seconds: float = STALLED_S) -> dict[str, Any]:
    return {"stalls": measure("stalls", calls, seconds), "kills": measure("kills", calls, kills)}


def test_bot_faults(benchmark):
    found = benchmark.pedantic(answer, (4, 1, 6.0), rounds=1)
    assert not any(row["lost_calls"] or row["unheard_calls"] for row in found.values()) and not found["stalls"]["missing"]
    assert found["kills"]["missing"] <= found["kills"]["kills"] * found["kills"]["calls"], "what it had not read is gone"

if __name__ == "__main__":
    os.sched_setaffinity(0, {OTHER_CORE})
    print(answer(*(int(n) for n in sys.argv[1:])))
