"""A caller speaks over the agent. How long until the line is silent?

The agent says a tone without end, which the caller's voice cuts off, or in calls after it lowers or pauses. The caller is silent,
then loud from one packet on. Counted from that first loud packet, and from the packet whose frame told that somebody speaks, to
the first packet of comfort noise, or of a softer tone, that the caller hears.
"""

import itertools
import os
import sys
import time
from typing import Any

import numpy as np

from ai_bridge import Agent, Call, Interruption
from bench.callers import Callers
from bench.load_generator import PERIOD_NS, Generator
from bench.server import OTHER_CORE, Server, running
from control_plane.g711 import ULAW_TO_PCM
from media_workers import rtp, sockets
from shm.jit import njit

TRIALS, SILENT_CODE, LOUD_CODE, SOFT_CODE = 25, 0xFF, 0x90, 0xD8
TONE_PEAK = 8000
QUIET_PEAK = 64  # comfort noise stays below, the tone does not
SOFTER_PEAK = TONE_PEAK // 4  # the tone 15 dB down stays below
QUIET_PACKETS = 24  # 480 ms: the talk-spurt before is over after 300, and the agent talks again
LISTEN_NS = 400_000_000


modes = itertools.cycle(Interruption(mode) for mode in ("flush", "duck", "pause", "flush"))
"""Of one call after the other, as QUESTIONS has them."""


class Talker(Agent):
    """Talks until interrupted, and talks again when the caller has finished."""

    def on_start(self, call: Call) -> None:
        call.interruption = next(modes)
        self.talk()

    def on_speech_stopped(self) -> None:
        self.call.new_turn()
        self.talk()

    def talk(self) -> None:
        ticks = np.arange(8000 * 8)
        self.call.say((TONE_PEAK * np.sin(ticks * 2 * np.pi * 440 / 8000)).astype(np.int16))


@njit
def trial(load, epoll_fd, loudness, peaks, quiet_packets, quiet_peak):
    """Silence for so many packets, then loud until the line is silent; (first loud packet, silence) in ns, 0: never."""
    caller, packet = load.callers[0], load.packet
    now = sockets.now_ns(load.clock)
    next_ns, sent, loud_ns = now, 0, 0
    while now - loud_ns < LISTEN_NS or loud_ns == 0:
        for _ in range(sockets.wait(epoll_fd, load.events, load.clock, max(0, next_ns - now))):
            size = sockets.receive(load.fds[0], packet, load.sockaddr, load.sockaddr_bytes)
            now = sockets.now_ns(load.clock)
            peak = 0
            for i in range(rtp.HEADER_BYTES, size):
                peak = max(peak, abs(peaks[packet[i]]))
            if loud_ns != 0 and size > 0 and peak < quiet_peak:
                return loud_ns, now
        now = sockets.now_ns(load.clock)
        if now < next_ns:
            continue
        rtp.write_header(packet, 0, False, caller["seq"], caller["timestamp"], caller["ssrc"])
        for i in range(160):
            packet[rtp.HEADER_BYTES + i] = loudness ^ (0x80 if i & 8 else 0) if sent >= quiet_packets else SILENT_CODE
        caller["seq"] = (caller["seq"] + 1) & 0xFFFF
        caller["timestamp"] = (caller["timestamp"] + 160) & 0xFFFFFFFF
        if sent == quiet_packets:
            loud_ns = now
        sockets.send(caller["fd"], packet, 172, caller["sockaddr"], 16)
        sent += 1
        next_ns += PERIOD_NS
    return loud_ns, np.int64(0)


def ask(server: Server, trials: int, code: int, quiet_peak: int) -> list[float]:
    """A call of its own: milliseconds from the first loud packet, of each trial that the line fell silent in."""
    generator = Generator(1)
    callers = Callers(server, generator)
    callers.open(1)
    load, peaks, took = generator.load, ULAW_TO_PCM.astype(np.int64), []
    trial(load, generator.epoll.fileno(), LOUD_CODE, peaks, 60, quiet_peak)
    for n in range(trials):
        # Off the worker's grid by another part of 20 ms each time.
        time.sleep(n * 7.3 % 20 / 1000)
        loud_ns, silent_ns = trial(load, generator.epoll.fileno(), code, peaks, QUIET_PACKETS + n % 3, quiet_peak)
        if silent_ns:
            took.append((silent_ns - loud_ns) / 1e6)
    callers.close()
    generator.close()
    return took


QUESTIONS = (  # what is done to the tone, how loud the caller is, packets until that is told, what counts as silence
    ("loud", LOUD_CODE, 1, QUIET_PEAK),
    ("duck", LOUD_CODE, 1, SOFTER_PEAK),
    ("pause", LOUD_CODE, 1, QUIET_PEAK),
    ("soft", SOFT_CODE, 2, QUIET_PEAK),
)


def measure(trials: int = TRIALS) -> dict[str, Any]:
    """Milliseconds: p50, p99, worst. Flushed for loud speech (told by its first frame); ducked; paused; flushed for soft speech (told
    by its second)."""
    results: dict[str, Any] = {}
    with running("bench.interruption:Talker", 1) as server:
        for name, code, frames_to_tell, quiet_peak in QUESTIONS:
            took = ask(server, trials, code, quiet_peak)
            from_speech, wait_ms = np.array(took or [np.nan]), (frames_to_tell - 1) * 20
            results[name] = {
                "heard": f"{len(took)} of {trials}",
                "from_first_packet_ms": {p: float(np.percentile(from_speech, p)) for p in (50, 99, 100)},
                "from_telling_packet_ms": {p: float(np.percentile(from_speech - wait_ms, p)) for p in (50, 99, 100)},
            }
            print(f"  {name}: {results[name]}", flush=True)
            time.sleep(0.6)  # its port is given again after half a second of silence
    return results


answer = measure


def test_interruption(benchmark):
    found = benchmark.pedantic(measure, (3,), rounds=1)
    assert [row["heard"] for row in found.values()] == ["3 of 3"] * len(QUESTIONS)


if __name__ == "__main__":
    os.sched_setaffinity(0, {OTHER_CORE})
    print(answer(*(int(n) for n in sys.argv[1:])))
