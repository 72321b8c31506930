"""What does a scrape of /metrics cost with a thousand calls open, and does the duty cycle notice it?

The cost: the real HTTP process over a segment of a thousand open calls, laid out by hand, so that nothing else runs; time as the
scraper sees it, CPU as the scheduler counts it. The notice: a real server under load, scraped ten times a second and not at all,
the lateness of its packets beside each other.
"""

import contextlib
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator

import numpy as np
import zmq

from bench.callers import Callers
from bench.load_generator import Generator
from bench.server import OTHER_CORE, cpu_ns, running
from control_plane.channel import Switchboard
from control_plane.messages import Done, GetFigures, GetStatus, PeerFacts, Status
from shm import counters, handover, segment
from sip_front.figures import FrontFigures

CALLS, WORKERS, SCRAPES, BAR_MS = 1000, 2, 200, 50.0
LOAD_CALLS, LOAD_S, PAUSE_S = 100, 10.0, 0.1
PEERS = tuple(PeerFacts("worker", i, 1, 1, 500, 500, 0) for i in range(WORKERS))
STATUS = Status("bench", "127.0.0.1:5060", 1.0, False, CALLS, CALLS, 0, PEERS)


def fill(views: counters.Counters, seed: int) -> None:
    """A thousand calls that have counted something."""
    random = np.random.default_rng(seed)
    views.calls["call_id"] = [f"call-{i}".encode() for i in range(CALLS)]
    views.calls["generation"], views.calls["worker"] = 1, np.arange(CALLS) % WORKERS
    views.calls["counters"] += random.integers(0, 1000, views.calls["counters"].shape)
    views.workers[:] += random.integers(0, 1000, views.workers.shape)
    views.lateness[:] += random.integers(0, 1000, views.lateness.shape)
    views.workers[:, counters.WORKER["heartbeat_ns"]] = time.monotonic_ns()


class Parts:
    """The front's and the keeper's sockets, with as much behind them as a scrape asks for."""

    def __init__(self, directory: pathlib.Path) -> None:
        size = counters.counters_bytes(WORKERS, CALLS)
        self.fd = segment.make("bench", size)
        self.views = counters.counters_format(segment.map_fd(self.fd), WORKERS, CALLS)
        fill(self.views, 1)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.board = Switchboard(self.context, directory)
        self.listener = handover.listen(directory)
        self.is_over = False
        self.figures = FrontFigures()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        live = [("inbound", "carrier", "up")] * CALLS
        while not self.is_over:
            self.views.workers[:, counters.WORKER["heartbeat_ns"]] = time.monotonic_ns()
            select.select([self.listener.fileno(), self.board.fileno()], [], [], 0.01)
            with contextlib.suppress(BlockingIOError):
                handover.serve_one(self.listener, self.fd, segment.read_only(self.fd), [])
            for identity, message in self.board.receive():
                match message:
                    case GetStatus():
                        self.board.send(identity, STATUS)
                    case GetFigures():
                        self.board.send(identity, self.figures.show(live, {}))
                    case _:
                        self.board.send(identity, Done())

    def close(self) -> None:
        self.is_over = True
        self.thread.join()
        self.board.close()
        self.listener.close()
        self.context.term()


@contextlib.contextmanager
def http_process(directory: pathlib.Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    file = directory / "http.json"
    file.write_text(json.dumps({"runtime_directory": str(directory), "http": {"listen": f"127.0.0.1:{port}"}}))
    command = [sys.executable, "-m", "control_plane.http", "--config", str(file)]
    process = subprocess.Popen(command, cwd=pathlib.Path(__file__).parent.parent, preexec_fn=lambda: os.sched_setaffinity(0, {OTHER_CORE}))
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if b"bellframe_worker_cycles_total" in scrape(port):
                    break
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait()


def scrape(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        return bytes(response.read())


def cost() -> dict[str, float]:
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bellframe-bench-"))
    parts, port, took = Parts(directory), 18089, []
    try:
        with http_process(directory, port) as process:
            before_ns, started = cpu_ns(process.pid), time.monotonic()
            for i in range(SCRAPES):
                fill(parts.views, i)
                begun = time.perf_counter()
                body = scrape(port)
                took.append((time.perf_counter() - begun) * 1000)
            cpu_ms = (cpu_ns(process.pid) - before_ns) / 1e6
    finally:
        parts.close()
        shutil.rmtree(directory, ignore_errors=True)
    result = {f"p{p}_ms": float(np.percentile(took, p)) for p in (50, 99, 100)}
    return result | {"cpu_ms": cpu_ms / SCRAPES, "bytes": len(body), "bar_ms": BAR_MS, "calls": CALLS, "took_s": time.monotonic() - started}


def lateness(is_scraped: bool) -> dict[str, float]:
    """Of a worker with real calls, over ten seconds."""
    port = 18090
    with running("echo_batch", LOAD_CALLS) as server, http_process(server.runtime, port) as process:
        generator = Generator(LOAD_CALLS)
        callers = Callers(server, generator)
        callers.open(LOAD_CALLS)
        generator.run(2.0, is_counted=False)
        before, cpu_before = server.counters.lateness.copy(), cpu_ns(process.pid)
        scraper = os.fork() if is_scraped else 0
        if is_scraped and scraper == 0:  # the generator must not stop to scrape
            while True:
                scrape(port)
                time.sleep(PAUSE_S)
        generator.run(LOAD_S)
        if is_scraped:
            os.kill(scraper, signal.SIGKILL)
            os.waitpid(scraper, 0)
        buckets = (server.counters.lateness - before).sum(axis=0)
        cpu_percent = (cpu_ns(process.pid) - cpu_before) / LOAD_S / 1e7
        callers.close()
        generator.close()
    seen = np.cumsum(buckets) / max(1, buckets.sum())
    found = {f"p{100 * share:g}_us": float(2 ** int(np.argmax(seen >= share))) for share in (0.5, 0.99, 0.999)}
    return found | {"packets": int(buckets.sum()), "http_cpu_percent": cpu_percent}


def answer() -> dict[str, dict[str, float]]:
    return {"cost": cost(), "lateness, not scraped": lateness(False), "lateness, scraped 10/s": lateness(True)}


def test_metrics_scrape(benchmark):
    from control_plane.http import exposition, metrics
    from control_plane.http.media import Media

    media = Media(pathlib.Path())
    views = counters.counters_format(bytearray(counters.counters_bytes(WORKERS, CALLS)), WORKERS, CALLS)
    fill(views, 1)
    media.adopt(views)

    def once() -> bytes:
        media.look()
        return exposition.encode([*metrics.worker_families(media), *metrics.media_families(media)])

    assert b"bellframe_media_lost_total" in benchmark(once)


if __name__ == "__main__":
    print(answer())
