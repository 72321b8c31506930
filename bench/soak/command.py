"""Prove that nothing leaks, ends or crosses: callers with a tone of their own each, over a network that loses and reorders, while our
processes are killed. Starts a server of its own; ends with a page that says pass or what went wrong. Exit code 1 if it failed.

    bellframe soak --minutes 2
    bellframe soak --hours 2 --calls 200 --fault-every 120
"""

import argparse
import contextlib
import os
import pathlib
import random
import sys
import threading
import time

from bench.server import OTHER_CORE, Server, running
from bench.soak import report, watch
from bench.soak.caller import Mix
from bench.soak.codecs import CODECS
from bench.soak.crowd import MAX_CALLERS, Crowd
from bench.soak.faults import KINDS, Faults
from bench.soak.wires import WIRES, running_bots
from control_plane import client
from control_plane.errors import BellframeError
from control_plane.messages import Transfer

SAMPLE_S = 2.0
SETTLE_LIMIT_S = 40.0
KINDS_OF_CALLS = (*CODECS, *WIRES)
MIRROR = "soak"
"""Whom callers reach whose agent is in our own process: it presses back their keys."""
SPARE_ROWS = 20
"""For ports that wait until late packets have stopped coming."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hours", type=float, default=0.0)
    parser.add_argument("--minutes", type=float, default=0.0, help="(default 2)")
    parser.add_argument("--calls", type=int, default=50, metavar="N", help=f"callers at once, {MAX_CALLERS} at most (default 50)")
    parser.add_argument("--fault-every", type=float, default=20.0, metavar="S", help="kill a process this often; 0: never (default 20)")
    parser.add_argument("--faults", default=",".join(KINDS), metavar="KINDS", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--loss", type=float, default=0.01, help="share of callers' packets that never arrive (default 0.01)")
    parser.add_argument("--reorder", type=float, default=0.005, help="share that arrives behind the next one (default 0.005)")
    parser.add_argument("--srtp", type=float, default=0.3, help="share of calls that are protected by SRTP (default 0.3)")
    parser.add_argument("--mix", default=",".join(KINDS_OF_CALLS), metavar="KINDS", help=f"of {', '.join(KINDS_OF_CALLS)} (default all)")
    parser.add_argument("--transfer-every", type=float, default=10.0, metavar="S", help="REFER a call this often; 0: never (default 10)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=pathlib.Path, default=pathlib.Path("soak.html"), metavar="FILE")


def run(arguments: argparse.Namespace) -> int:
    seconds = arguments.hours * 3600 + arguments.minutes * 60 or 120.0
    kinds = [kind for kind in arguments.faults.split(",") if kind]
    mixed = arguments.mix.split(",")
    unknown = [kind for kind in kinds if kind not in KINDS] + [kind for kind in mixed if kind not in KINDS_OF_CALLS]
    if unknown or not 1 <= arguments.calls <= MAX_CALLERS:
        known = f"faults are {', '.join(KINDS)}; a mix is of {', '.join(KINDS_OF_CALLS)}"
        print(f"bellframe soak: {known}; calls from 1 to {MAX_CALLERS}", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {OTHER_CORE})
    os.environ.setdefault("BELLFRAME_LOG_LEVEL", "WARNING")
    codecs, wires = tuple(filter(CODECS.get, mixed)) or ("PCMU",), tuple(kind for kind in mixed if kind in WIRES)
    mix = Mix(arguments.srtp, codecs, (MIRROR, MIRROR, *wires), MIRROR)
    with running_bots() as port:
        routes: list[dict[str, object]] = [{"to": wire, "agent": f"{wire}+ws://127.0.0.1:{port}/{wire}"} for wire in wires]
        srtp = "preferred" if arguments.srtp else "off"
        with running("bench.soak.agents:Mirror", arguments.calls + SPARE_ROWS, routes=routes, srtp=srtp, formats=list(codecs)) as server:
            outcome = soak(server, arguments, seconds, kinds, mix)
    is_good = report.write(outcome, arguments.report)
    for line in report.lines(outcome):
        print(f"{'good' if line.is_good else 'BAD ':<5} {line.what}: {line.found} (asked: {line.asked})")
    for text in outcome.figures.foreign[:10]:
        print(f"      {text}")
    print(f"{'passed' if is_good else 'failed'}; {arguments.report}")
    return 0 if is_good else 1


def soak(server: Server, arguments: argparse.Namespace, seconds: float, kinds: list[str], mix: Mix) -> report.Outcome:
    crowd = Crowd(server.host, server.sip_port, arguments.calls, arguments.loss, arguments.reorder, arguments.seed, mix)
    faults, samples, is_over = Faults(server, kinds), list[watch.Sample](), threading.Event()
    before = watch.take(server, 0.0)
    fault_every_s = arguments.fault_every if kinds else 0.0
    watching = threading.Thread(target=_watch, args=(server, faults, samples, is_over, fault_every_s, arguments.transfer_every, seconds))
    watching.start()
    started = time.monotonic()
    try:
        while (left := seconds - (time.monotonic() - started)) > 0:
            crowd.run(min(left, 5.0))
            _progress(crowd, faults, seconds - left, seconds)
        crowd.end(SETTLE_LIMIT_S)
    finally:
        is_over.set()
        watching.join()
    settled = _settle(server)
    crowd.close()
    return report.Outcome(
        seconds, samples, crowd.figures, faults.events, before.descriptors, watch.take(server, 0.0).descriptors,
        *settled,
    )  # fmt: skip


def _watch(
    server: Server, faults: Faults, samples: list[watch.Sample], is_over: threading.Event, every_s: float, transfer_s: float, seconds: float
) -> None:
    """Beside the callers: samples, transfers, and the kills, none in the last seconds so that all calls end in peace."""
    started = time.monotonic()
    next_fault, next_transfer = every_s or float("inf"), transfer_s or float("inf")
    while not is_over.wait(SAMPLE_S):
        passed = time.monotonic() - started
        samples.append(watch.take(server, passed))
        if next_fault <= passed < seconds - 5:
            next_fault += every_s
            faults.strike()
        if next_transfer <= passed < seconds - 5:
            next_transfer += transfer_s
            _transfer(server)


def _transfer(server: Server) -> None:
    """One call is sent elsewhere."""
    with contextlib.suppress(BellframeError):  # the front is being replaced, or it has just ended
        up = [call for call in server.calls() if call.answered_at and not call.ended_at]
        if up:
            client.ask(server.runtime, Transfer(random.choice(up).call_id, f"sip:elsewhere@{server.host}"))


def _settle(server: Server) -> tuple[int, int, int, int]:
    """Calls, rows, transactions and dialogs that are left when everybody has hung up, at the latest after the limit."""
    until = time.monotonic() + SETTLE_LIMIT_S
    while any(left := _left(server)) and time.monotonic() < until:
        time.sleep(0.5)
    return left


def _left(server: Server) -> tuple[int, int, int, int]:
    status = server.status()
    return status.calls, server.total("calls_open"), status.transactions, status.dialogs


def _progress(crowd: Crowd, faults: Faults, passed: float, seconds: float) -> None:
    figures = crowd.figures
    text = f"{passed / 60:5.1f} of {seconds / 60:.1f} min  {crowd.up} up  {figures.set_up} set up  {figures.finished} finished  "
    text += f"{figures.ended_early + figures.unanswered} lost  {len(faults.events)} kills  {len(figures.foreign)} foreign"
    print(text, end="\r" if sys.stdout.isatty() else "\n", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.soak.command", description=__doc__)
    add_arguments(parser)
    sys.exit(run(parser.parse_args()))
