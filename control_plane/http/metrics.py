"""/metrics: the shared counters, what the front counts, and this process itself, as Prometheus reads them."""

import asyncio
import time
from collections.abc import Iterable

import numpy as np
from aiohttp import web

from control_plane.http.exposition import CONTENT_TYPE, Family, Histogram, Kind, Labels, Sample, encode
from control_plane.http.link import FrontAway, Link
from control_plane.http.media import LOW_QUANTILES, QUANTILES, Media
from control_plane.http.services import SERVICES, Services
from control_plane.messages import BOUNDS, Counted, Figures, GetFigures, GetStatus, Message, Status

ANSWER_LIMIT_S = 0.5
"""A scraper must see the media's figures also while the front is away."""
PREFIX = "bellframe_"
SECONDS = {"_ns": 1e9, "_us": 1e6}
HIDDEN = frozenset(("heartbeat_ns", "pid", "core", "lateness_ns"))
"""Of the workers: what is no figure, and what is shown in another way."""
DISTRIBUTION_HELP = {
    "post_dial_seconds": "from our INVITE until the far end rang, of calls that we made",
    "setup_seconds": "from the INVITE to the answer, of calls that were answered",
    "duration_seconds": "from the answer to the end",
    "loss_ratio": "part of the caller's packets that never came, of each call at its end",
    "mos": "how good the agent heard the caller, over each call: 1 to 4.5 (E-model)",
    "jitter_seconds": "interarrival jitter of each call at its end",
    "turn_seconds": "from the caller's last sound to the first of the agent's answer on the wire",
    "turn_detected_seconds": "of that, until the caller's turn was taken as over",
    "turn_model_seconds": "of that, from then until the agent's first audio came",
    "turn_wire_seconds": "of that, from then until it was on the wire",
}


async def scrape(request: web.Request) -> web.Response:
    """Figures, for Prometheus."""
    services = request.app[SERVICES]
    started = time.perf_counter()
    services.media.look()
    status, figures = await asyncio.gather(ask(services.link, GetStatus()), ask(services.link, GetFigures()))
    found = [
        *front_families(status if isinstance(status, Status) else None),
        *call_families(figures if isinstance(figures, Figures) else None),
        *worker_families(services.media),
        *media_families(services.media),
        *own_families(services, started),
    ]
    return web.Response(body=encode(found), headers={"Content-Type": CONTENT_TYPE})


async def ask(link: Link, question: Message) -> Message | None:
    try:
        return await link.ask(question, ANSWER_LIMIT_S)
    except FrontAway:
        return None


def front_families(status: Status | None) -> list[Family]:
    found = [Family(PREFIX + "front_up", "gauge", "1 while the SIP front answers", [Sample(status is not None)])]
    if status is None:
        return found
    peers = [((("role", peer.role), ("index", str(peer.index))), peer) for peer in status.peers]
    capped = [((("trunk", one.name),), one) for one in status.trunks if one.max_spend_per_day]
    workers = [(labels, peer) for labels, peer in peers if peer.role == "worker"]
    return [
        *found,
        Family(PREFIX + "info", "gauge", "which release runs", [Sample(1, (("version", status.version),))]),
        Family(PREFIX + "front_uptime_seconds", "gauge", "since the front was started", [Sample(status.uptime_s)]),
        Family(PREFIX + "draining", "gauge", "1 while no new calls are taken", [Sample(status.draining)]),
        Family(PREFIX + "peer_up", "gauge", "1 while the front hears a process", [Sample(p.silent_ms <= 3_000, at) for at, p in peers]),
        Family(PREFIX + "peer_calls", "gauge", "calls that the front has given to a process", [Sample(p.calls, at) for at, p in peers]),
        Family(PREFIX + "trunk_spent_today", "gauge", "by prices, since 00:00 UTC", [Sample(one.spent_today, at) for at, one in capped]),
        Family(PREFIX + "trunk_spend_cap", "gauge", "max_spend_per_day", [Sample(one.max_spend_per_day, at) for at, one in capped]),
        Family(PREFIX + "capacity_calls", "gauge", "calls that a worker can carry", [Sample(p.capacity, at[1:]) for at, p in workers]),
    ]


def call_families(figures: Figures | None) -> list[Family]:
    if figures is None:
        return []
    found = [
        Family(PREFIX + "calls", "gauge", "calls that are up, by state", counted(figures.live, "state")),
        Family(
            PREFIX + "call_setups_total", "counter", "calls by the final response to their INVITE; 0: none was sent",
            counted(figures.setups, "status"),
        ),
        Family(PREFIX + "call_outcomes_total", "counter", "calls that have ended", counted(figures.outcomes, "outcome")),
    ]  # fmt: skip
    owners = [((("tenant", one.name),), one) for one in figures.tenants]
    found.append(Family(PREFIX + "tenant_calls", "gauge", "calls of a tenant that are up", [Sample(one.live, at) for at, one in owners]))
    ended = [Sample(count, (*at, ("outcome", outcome))) for at, one in owners for outcome, count in one.outcomes.items()]
    found.append(Family(PREFIX + "tenant_call_outcomes_total", "counter", "calls of a tenant that have ended", ended))
    for name, bounds in BOUNDS.items():
        rows = [
            Histogram(bounds, row.counts, row.sum, (("direction", row.direction), ("trunk", row.trunk)))
            for row in figures.distributions
            if row.name == name
        ]
        found.append(Family(f"{PREFIX}call_{name}", "histogram", DISTRIBUTION_HELP[name], rows))
    return found


def counted(rows: Iterable[Counted], label: str) -> list[Sample]:
    return [Sample(row.count, (("direction", row.direction), ("trunk", row.trunk), (label, row.what))) for row in rows]


def worker_families(media: Media) -> list[Family]:
    from shm.counters import LATENESS_COLUMNS, WORKER, WORKER_COUNTERS, WORKER_GAUGES

    if media.views is None:
        return []
    values, lateness = media.views.workers.tolist(), media.views.lateness.tolist()
    indexes: list[Labels] = [(("worker", str(index)),) for index in range(len(values))]
    since_s = [(time.monotonic_ns() - row[WORKER["heartbeat_ns"]]) / 1e9 for row in values]
    found = [
        Family(
            PREFIX + "worker_heartbeat_age_seconds", "gauge", "since the worker's last cycle",
            [Sample(max(0.0, age_s), at) for at, age_s in zip(indexes, since_s, strict=True)],
        )
    ]  # fmt: skip
    for name, text in WORKER_COUNTERS:
        if name in HIDDEN:
            continue
        column, scale = WORKER[name], scale_of(name)
        rows = [Sample(row[column] / scale, at) for at, row in zip(indexes, values, strict=True)]
        found.append(Family(*named("worker_", name, name in WORKER_GAUGES), text, rows))
    bounds = [2**b / 1e6 for b in range(LATENESS_COLUMNS - 1)]
    late = [
        Histogram(bounds, counts, row[WORKER["lateness_ns"]] / 1e9, at)
        for at, counts, row in zip(indexes, lateness, values, strict=True)
    ]
    found.append(Family(PREFIX + "worker_lateness_seconds", "histogram", "how long after its time each packet was sent", late))
    return found


def media_families(media: Media) -> list[Family]:
    from shm.counters import CALL_COLUMN, CALL_COUNTERS, CALL_GAUGES

    if media.views is None:
        return []
    totals = media.totals.tolist()
    found = [
        Family(*named("media_", name, False), f"{text}; of all calls", [Sample(totals[CALL_COLUMN[name]] / scale_of(name))])
        for name, text in CALL_COUNTERS
        if name not in CALL_GAUGES
    ]
    opened = media.open_calls()
    for name, text, of_calls in (
        ("mos", "how good the agent hears the caller, 1 to 4.5 (E-model), of the open calls; low quantiles are the bad ones", opened.mos),
        ("round_trip_seconds", "to the far end and back, by RTCP, of the open calls", opened.round_trip_s),
        ("jitter_seconds", "interarrival jitter of the open calls", opened.jitter_s),
        ("loss_ratio", "part of the packets that never came, of the open calls", opened.loss_ratio),
        ("late_ratio", "part of the packets that came after their gap had been concealed, of the open calls", opened.late_ratio),
    ):
        if not of_calls.size:
            continue
        quantiles = LOW_QUANTILES if name == "mos" else QUANTILES
        at_quantiles = np.quantile(of_calls, quantiles).tolist()
        rows = [Sample(value, (("quantile", f"{q:g}"),)) for q, value in zip(quantiles, at_quantiles, strict=True)]
        found.append(Family(f"{PREFIX}open_calls_{name}", "gauge", text, rows))
    return found


def own_families(services: Services, started: float) -> list[Family]:
    hooks = services.webhooks
    answered = [Sample(count, (("method", method), ("status", str(status)))) for (method, status), count in services.answered.items()]
    results = (("sent", hooks.sent), ("failed", hooks.failed), ("dropped", hooks.dropped))
    posted = [Sample(count, (("result", result),)) for result, count in results]
    writer = services.recorder.writer if services.recorder else None
    kept = [Sample(writer.written, (("result", "written"),)), Sample(writer.dropped, (("result", "dropped"),))] if writer else []
    return [
        Family(PREFIX + "records_total", "counter", "calls that left a record, and those whose record was dropped", kept),
        Family(PREFIX + "records_waiting", "gauge", "records that are not written yet", [Sample(len(writer.waiting))] if writer else []),
        Family(PREFIX + "http_requests_total", "counter", "requests to this API, by their answer", answered),
        Family(PREFIX + "http_event_streams", "gauge", "who reads /v1/events", [Sample(services.streams)]),
        Family(PREFIX + "webhooks_total", "counter", "changes of calls that were posted, or not", posted),
        Family(PREFIX + "webhooks_waiting", "gauge", "changes of calls that have not been taken yet", [Sample(hooks.queued)]),
        Family(PREFIX + "scrape_seconds", "gauge", "what this scrape took", [Sample(time.perf_counter() - started)]),
    ]


def scale_of(name: str) -> float:
    return next((scale for ending, scale in SECONDS.items() if name.endswith(ending)), 1)


def named(prefix: str, name: str, is_gauge: bool) -> tuple[str, Kind]:
    """Prometheus' way: seconds, and _total for what only grows."""
    for ending in SECONDS:
        if name.endswith(ending):
            name = name.removesuffix(ending) + "_seconds"
    return f"{PREFIX}{prefix}{name}" + ("" if is_gauge else "_total"), "gauge" if is_gauge else "counter"
