"""Workers and calls, live: read from the shared counters, so that the workers do nothing for it. Ctrl-C ends it.

A worker is busy while it is not waiting. Late is how long after its time a packet left: 99 of 100 of the last
second, and the worst since the start. The bars show how loud both sides are.
"""

import argparse
import pathlib
import sys
import time
from typing import TYPE_CHECKING

import msgspec
import zmq

from control_plane import client, table
from control_plane.channel import Channel
from control_plane.logs import clean
from control_plane.messages import CallFacts, Calls, GetCalls

if TYPE_CHECKING:
    from rich.console import Group

    from shm.counters import Counters

INTERVAL_S = 1.0
FIRST_INTERVAL_S = 0.25
BAR, BAR_FLOOR_DBOV = " ▁▂▃▄▅▆▇█", -60
AWAY_LIMIT_S = 20.0
"""How long `top` waits for a keeper that is being replaced before it says that no server answers."""
BAD_MOS = 3.6
"""Many of those who hear this complain (ITU-T G.107 annex B)."""
SHOWN_CALLS = 200
"""A screen holds fewer, and drawing thousands would cost more than the calls."""
PIPE_COLUMNS = 240
"""A pipe has no width, and 80 columns fold the rows, which are for grep there."""


class WorkerFigures(msgspec.Struct, frozen=True):
    index: int
    pid: int
    core: int
    generation: int
    calls: int
    busy_percent: float
    late_p99_us: int
    """Upper end of the bucket: at most twice what it was. 0: nothing was late."""
    worst_late_us: int
    packets_received: int
    packets_sent: int
    sent_late: int


class CallFigures(msgspec.Struct, frozen=True):
    call_id: str
    worker: int
    rtp_port: int
    duration_s: float
    caller: str
    callee: str
    agent: str
    state: str
    level_rx_dbov: int
    level_tx_dbov: int
    lost: int
    lost_percent: float
    concealed_frames: int
    jitter_ms: float
    rtt_ms: float
    """0: the far end has sent no report."""
    remote_lost: int
    """Packets of ours that the far end missed, by its last report."""
    mos: float
    """What the agent hears, 1 to 4.5; 0: not measured yet."""
    mos_mean: float
    mos_worst: float


class Figures(msgspec.Struct, frozen=True):
    workers: tuple[WorkerFigures, ...]
    calls: tuple[CallFigures, ...]


class Sample(msgspec.Struct, frozen=True):
    """A copy of the workers' numbers at one moment."""

    at_ns: int
    workers: list[list[int]]
    lateness: list[list[int]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="print one picture and end")
    client.add_runtime_argument(parser)
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    directory = client.runtime_directory(arguments.runtime_dir)
    views = open_counters(directory)
    with client.connection(directory, is_needed=False) as channel:
        before = take_sample(views)
        time.sleep(FIRST_INTERVAL_S)
        figures = measure(before, take_sample(views), views, ask_for_calls(channel))
        if arguments.json:
            client.print_json(figures)
        elif arguments.once:
            from rich.console import Console

            Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(draw(figures))
        else:
            show_live(directory, views, channel, figures)
    return 0


def open_counters(directory: pathlib.Path) -> "Counters":
    """Raises CommandFailed while no keeper listens."""
    from shm import handover

    try:
        return handover.ask_for_counters(directory)
    except OSError as failure:
        raise client.no_server(directory) from failure
    except ValueError as failure:
        raise client.CommandFailed(str(failure)) from failure


def ask_for_calls(channel: Channel) -> tuple[CallFacts, ...]:
    """Who talks with whom; empty while the front is away, which media does not notice."""
    list(channel.receive())  # an answer that came too late for the last question
    try:
        answer = channel.ask(GetCalls(), 500)
    except zmq.ZMQError:
        return ()
    return answer.calls if isinstance(answer, Calls) else ()


def take_sample(views: "Counters") -> Sample:
    return Sample(time.monotonic_ns(), views.workers.tolist(), views.lateness.tolist())


def measure(before: Sample, after: Sample, views: "Counters", facts: tuple[CallFacts, ...]) -> Figures:
    """What happened between two samples, and the calls as they are now."""
    elapsed_ns = max(1, after.at_ns - before.at_ns)
    workers = tuple(
        measure_worker(i, elapsed_ns, before.workers[i], after.workers[i], [b - a for a, b in zip(*pair, strict=True)])
        for i, pair in enumerate(zip(before.lateness, after.lateness, strict=True))
    )
    known = {fact.call_id: fact for fact in facts}
    rows = views.calls[views.calls["call_id"] != b""]
    calls = [measure_call(row["call_id"].decode("utf-8", "replace"), row, after.at_ns, known) for row in rows]
    return Figures(workers, tuple(sorted(calls, key=lambda call: -call.duration_s)))


def measure_worker(index: int, elapsed_ns: int, before: list[int], after: list[int], lateness: list[int]) -> WorkerFigures:
    from shm.counters import WORKER

    now = {name: after[column] for name, column in WORKER.items()}
    # A successor goes on counting where its predecessor was, but never let a figure go below nothing.
    busy_ns = max(0, now["busy_ns"] - before[WORKER["busy_ns"]])
    return WorkerFigures(
        index=index,
        pid=now["pid"],
        core=now["core"],
        generation=now["generation"],
        calls=now["calls_open"],
        busy_percent=min(100.0, 100.0 * busy_ns / elapsed_ns),
        late_p99_us=percentile_us(lateness, 0.99),
        worst_late_us=now["worst_lateness_ns"] // 1000,
        packets_received=now["packets_received"],
        packets_sent=now["packets_sent"],
        sent_late=now["sent_late"],
    )


def percentile_us(buckets: list[int], share: float) -> int:
    """The bucket that this share of the ticks lies in or below: bucket b counts ticks sent 2^b us late, 0 those in time."""
    total, seen = sum(buckets), 0
    for bucket, count in enumerate(buckets):
        seen += count
        if total and seen >= share * total:
            return 0 if bucket == 0 else 1 << bucket
    return 0


def measure_call(call_id: str, row: "object", now_ns: int, known: dict[str, CallFacts]) -> CallFigures:
    from shm.counters import CALL_COLUMN

    counted = dict(zip(CALL_COLUMN, row["counters"].tolist(), strict=False))  # type: ignore[index]
    fact = known.get(call_id)
    expected = counted["packets_received"] + counted["lost"]
    opened_ns = counted["opened_ns"]
    return CallFigures(
        call_id=call_id,
        worker=int(row["worker"]),  # type: ignore[index]
        rtp_port=int(row["rtp_port"]),  # type: ignore[index]
        duration_s=fact.duration_s if fact else (now_ns - opened_ns) / 1e9 if opened_ns else 0.0,
        caller=fact.caller if fact else "",
        callee=fact.callee if fact else "",
        agent=fact.agent if fact else "",
        state=fact.state if fact else "media only",
        level_rx_dbov=counted["level_rx_dbov"],
        level_tx_dbov=counted["level_tx_dbov"],
        lost=counted["lost"],
        lost_percent=100.0 * counted["lost"] / expected if expected else 0.0,
        concealed_frames=counted["concealed_frames"],
        jitter_ms=counted["jitter_us"] / 1000,
        rtt_ms=counted["rtt_us"] / 1000,
        remote_lost=counted["remote_lost"],
        mos=counted["mos_x100"] / 100,
        mos_mean=counted["mos_mean_x100"] / 100,
        mos_worst=counted["mos_worst_x100"] / 100,
    )


def level_bar(level_dbov: int) -> str:
    """One character: nothing below -60 dBov, full near 0."""
    share = 1 - max(BAR_FLOOR_DBOV, min(0, level_dbov)) / BAR_FLOOR_DBOV
    return BAR[round(share * (len(BAR) - 1))] * 3


def draw(figures: Figures) -> "Group":
    from rich.console import Group
    from rich.table import Column, Table
    from rich.text import Text

    def numbers(*names: str) -> list[Column]:
        return [Column(name, justify="right", no_wrap=True) for name in names]

    figures_of_worker = numbers("core", "pid", "calls", "busy", "late p99", "worst", "sent late")
    workers = Table("worker", *figures_of_worker, box=None, header_style="bold", pad_edge=False)
    for w in figures.workers:
        colour = "red" if w.busy_percent > 85 else "yellow" if w.busy_percent > 60 else "green"
        name = f"{w.index}" + (f" (replaced {w.generation - 1}x)" if w.generation > 1 else "")
        busy = Text(f"{w.busy_percent:.1f} %", style=colour)
        late = f"{w.late_p99_us / 1000:.2f} ms", f"{w.worst_late_us / 1000:.2f} ms"
        workers.add_row(name, str(w.core), str(w.pid), str(w.calls), busy, *late, str(w.sent_late))
    names_and_levels = "caller", "", "callee", "agent", "hears", "says"
    columns: list[Column | str] = ["call", *numbers("time"), *names_and_levels, *numbers("lost", "jitter", "rtt", "mos")]
    calls = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for c in figures.calls[:SHOWN_CALLS]:
        names = Text(clean(c.caller, 40)), Text("->"), Text(clean(c.callee, 40)), Text(clean(c.agent, 30))
        levels = Text(level_bar(c.level_rx_dbov), style="cyan"), Text(level_bar(c.level_tx_dbov), style="magenta")
        lost = Text(f"{c.lost_percent:.1f} %", style="red" if c.lost_percent > 2 else "")
        rtt = f"{c.rtt_ms:.0f} ms" if c.rtt_ms else "-"
        mos = Text(f"{c.mos:.1f}" if c.mos else "-", style="red" if 0 < c.mos < BAD_MOS else "")
        calls.add_row(Text(clean(c.call_id, 40)), table.duration(c.duration_s), *names, *levels, lost, f"{c.jitter_ms:.1f} ms", rtt, mos)
    hidden = len(figures.calls) - SHOWN_CALLS
    if not figures.calls:
        return Group(workers, Text(""), Text("no calls", style="dim"))
    rest = f"and {hidden} more: `bellframe calls` lists all" if hidden > 0 else ""
    return Group(workers, Text(""), calls, Text(rest, style="dim"))


def show_live(directory: pathlib.Path, views: "Counters", channel: Channel, figures: Figures) -> None:
    """Until Ctrl-C. A keeper that was replaced has other counters, so they are asked for anew when nothing moves."""
    from rich.live import Live

    before, last_seen = take_sample(views), time.monotonic()
    with Live(draw(figures), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(INTERVAL_S)
            after = take_sample(views)
            if after.workers == before.workers:
                try:
                    views = open_counters(directory)
                except client.CommandFailed:
                    if time.monotonic() - last_seen > AWAY_LIMIT_S:
                        raise
                before = take_sample(views)
                continue
            last_seen = time.monotonic()
            live.update(draw(measure(before, after, views, ask_for_calls(channel))), refresh=True)
            before = after
