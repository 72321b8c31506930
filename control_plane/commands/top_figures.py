"""What `bellframe top` shows, read from the shared counters: the workers between two samples, and calls as they are."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from control_plane.messages import CallFacts

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from shm.counters import Counters

ORDERS = {"time": "opened_ns", "lost": "lost", "jitter": "jitter_us", "rtt": "rtt_us", "mos": "mos_x100", "concealed": "concealed_frames"}
"""What calls can be sorted by, the worst first; the longest for time. And the counter that tells."""


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
    open: int = 0
    """Calls, also those that are not among `calls`."""


class Sample(msgspec.Struct, frozen=True):
    """A copy of the workers' numbers at one moment."""

    at_ns: int
    workers: list[list[int]]
    lateness: list[list[int]]


def take_sample(views: "Counters") -> Sample:
    return Sample(time.monotonic_ns(), views.workers.tolist(), views.lateness.tolist())


def measure(
    before: Sample, after: Sample, views: "Counters", facts: Iterable[CallFacts], order: str = "time", limit: int | None = None
) -> Figures:
    """What happened between two samples, and the calls as they are now: the first of them in this order (ORDERS)."""
    elapsed_ns = max(1, after.at_ns - before.at_ns)
    workers = tuple(
        measure_worker(i, elapsed_ns, before.workers[i], after.workers[i], [b - a for a, b in zip(*pair, strict=True)])
        for i, pair in enumerate(zip(before.lateness, after.lateness, strict=True))
    )
    known = {fact.call_id: fact for fact in facts}
    calls = [measure_call(row, after.at_ns, known) for row in views.calls[in_order(views, order)[:limit]]]
    return Figures(workers, tuple(calls), int((views.calls["call_id"] != b"").sum()))


def in_order(views: "Counters", order: str) -> "npt.NDArray[np.int64]":
    """Rows of the open calls. By the counters alone: a thousand calls are sorted before one of them is looked at."""
    import numpy as np

    from shm.counters import CALL_COLUMN

    rows = np.flatnonzero(views.calls["call_id"] != b"")
    counted = views.calls["counters"][rows]
    column = {name: counted[:, CALL_COLUMN[name]].astype(float) for name in ("opened_ns", "lost", "packets_received", *ORDERS.values())}
    values = column[ORDERS[order]]
    if order == "lost":
        values = -column["lost"] / np.maximum(1, column["lost"] + column["packets_received"])
    elif order == "mos":
        values = np.where(values == 0, np.inf, values)  # not measured yet is not bad
    elif order != "time":
        values = -values
    return rows[np.lexsort((column["opened_ns"], values))]


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


def measure_call(row: "object", now_ns: int, known: dict[str, CallFacts]) -> CallFigures:
    from shm.counters import CALL_COLUMN

    call_id = row["call_id"].decode("utf-8", "replace")  # type: ignore[index]
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
