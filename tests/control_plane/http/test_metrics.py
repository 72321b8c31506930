"""/metrics: right types, names and values; nothing of it breaks while a part of the server is away."""

import asyncio
import json
import pathlib
import re

import msgspec
import pytest

from control_plane.http import metrics
from control_plane.messages import BOUNDS, Counted, Distribution, Figures, GetFigures, GetStatus, Message, TenantFigures, TrunkFacts
from shm.counters import CALL_COLUMN, WORKER, Counters, counters_bytes, counters_format
from tests.control_plane.http.front import Front, running
from tests.control_plane.test_client import Exchange

DOCS = pathlib.Path(__file__).parents[3] / "docs"
FIGURES = Figures(
    (Counted("inbound", "carrier", "up", 2),),
    (Counted("inbound", "carrier", "200", 5), Counted("inbound", "", "403", 7)),
    (Counted("inbound", "carrier", "answered", 5),),
    tuple(Distribution("inbound", "carrier", name, (1,) * (len(bounds) + 1), 3.5) for name, bounds in BOUNDS.items()),
    (TenantFigures("acme", 3, {"busy": 2}),),
)
TRUNKS = (TrunkFacts("carrier", 2, spent_today=1.25, max_spend_per_day=20.0), TrunkFacts("free", 0))
SAMPLE = re.compile(r"""([a-z_:][a-z0-9_:]*)(\{(?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*\})? (\S+)$""")


class CountingFront(Front):
    def __call__(self, message: Message) -> list[Message]:
        if isinstance(message, GetStatus):
            return [msgspec.structs.replace(self.status, trunks=TRUNKS)]
        return [FIGURES] if isinstance(message, GetFigures) else super().__call__(message)


def make_views() -> Counters:
    views = counters_format(bytearray(counters_bytes(2, 4)), 2, 4)
    views.workers[1, WORKER["packets_sent"]], views.workers[1, WORKER["busy_ns"]] = 50, 1_500_000_000
    views.workers[1, WORKER["lateness_ns"]], views.lateness[1, [0, 3, 31]] = 2_000_000_000, (7, 2, 1)
    views.calls[0]["call_id"], views.calls[0]["generation"] = b"c", 1
    views.calls[0]["counters"][[CALL_COLUMN["lost"], CALL_COLUMN["packets_received"]]] = 10, 90
    views.calls[0]["counters"][[CALL_COLUMN["mos_x100"], CALL_COLUMN["rtt_us"]]] = 412, 31_000
    return views


def scrape(directory: pathlib.Path, has_media: bool = True) -> dict[str, float]:
    """Every sample by its name and labels. Checks the format on the way."""

    async def run() -> str:
        async with running(directory) as (client, services):
            if has_media:
                services.media.adopt(make_views())
            await client.get("/nothing")
            response = await client.get("/metrics")
            assert response.status == 200 and response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            return await response.text()

    text = asyncio.run(run())
    assert text.endswith("\n")
    found: dict[str, float] = {}
    kinds: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in kinds
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            match = SAMPLE.match(line)
            assert match, line
            name, labels, value = match.groups()
            stem = re.sub("_(bucket|sum|count)$", "", name)
            family = stem if kinds.get(stem) == "histogram" else name
            assert family in kinds, line
            assert (kinds[family] == "counter") == family.endswith("_total"), f"{family} is a {kinds[family]}"
            assert name + (labels or "") not in found
            found[name + (labels or "")] = float(value)
    return found


@pytest.fixture
def counting(tmp_path: pathlib.Path) -> object:
    exchange = Exchange(tmp_path, CountingFront())
    yield exchange
    exchange.close()


def test_every_part_is_there_with_its_values(tmp_path: pathlib.Path, counting: object) -> None:
    found = scrape(tmp_path)
    wanted = {
        "bellframe_front_up": 1,
        'bellframe_calls{direction="inbound",trunk="carrier",state="up"}': 2,
        'bellframe_call_setups_total{direction="inbound",trunk="",status="403"}': 7,
        'bellframe_call_outcomes_total{direction="inbound",trunk="carrier",outcome="answered"}': 5,
        'bellframe_call_loss_ratio_sum{direction="inbound",trunk="carrier"}': 3.5,
        'bellframe_call_duration_seconds_bucket{direction="inbound",trunk="carrier",le="+Inf"}': 12,
        'bellframe_worker_packets_sent_total{worker="1"}': 50,
        'bellframe_worker_busy_seconds_total{worker="1"}': 1.5,
        'bellframe_worker_lateness_seconds_bucket{worker="1",le="1e-06"}': 7,
        'bellframe_worker_lateness_seconds_bucket{worker="1",le="8e-06"}': 9,
        'bellframe_worker_lateness_seconds_count{worker="1"}': 10,
        'bellframe_worker_lateness_seconds_sum{worker="1"}': 2,
        "bellframe_media_lost_total": 10,
        'bellframe_tenant_calls{tenant="acme"}': 3,
        'bellframe_tenant_call_outcomes_total{tenant="acme",outcome="busy"}': 2,
        'bellframe_trunk_spent_today{trunk="carrier"}': 1.25,
        'bellframe_trunk_spend_cap{trunk="carrier"}': 20,
        'bellframe_open_calls_loss_ratio{quantile="1"}': 0.1,
        'bellframe_open_calls_mos{quantile="0.1"}': 4.12,
        'bellframe_open_calls_round_trip_seconds{quantile="0.5"}': 0.031,
        'bellframe_peer_up{role="worker",index="0"}': 1,
        'bellframe_capacity_calls{index="0"}': 1000,
        'bellframe_http_requests_total{method="GET",status="404"}': 1,
    }
    assert {name: found.get(name) for name in wanted} == wanted
    assert 'bellframe_trunk_spent_today{trunk="free"}' not in found


def test_while_the_front_is_away_the_media_is_still_seen(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "ANSWER_LIMIT_S", 0.05)
    found = scrape(tmp_path)
    assert found["bellframe_front_up"] == 0 and found["bellframe_media_lost_total"] == 10
    assert not any(name.startswith("bellframe_calls") for name in found)


def test_while_the_keeper_is_away_the_calls_are_still_seen(tmp_path: pathlib.Path, counting: object) -> None:
    found = scrape(tmp_path, has_media=False)
    assert found["bellframe_front_up"] == 1 and not any(name.startswith("bellframe_worker") for name in found)


def test_every_counter_of_the_catalogue_is_shown_or_known_not_to_be(tmp_path: pathlib.Path, counting: object) -> None:
    from shm.counters import CALL_COUNTERS, CALL_GAUGES, WORKER_COUNTERS, WORKER_GAUGES

    names = {re.sub(r"[{].*", "", name) for name in scrape(tmp_path)}
    for name, _ in WORKER_COUNTERS:
        assert name in metrics.HIDDEN or metrics.named("worker_", name, name in WORKER_GAUGES)[0] in names, name
    for name, _ in CALL_COUNTERS:
        assert name in CALL_GAUGES or metrics.named("media_", name, False)[0] in names, name
        assert name in CALL_GAUGES or not re.search("_(us|dbov|ms|x100|permille)$", name), f"{name} does not only grow: see CALL_GAUGES"


@pytest.mark.parametrize("file", ["dashboard.json", "alerts.yml"])
def test_dashboard_and_alerts_name_what_there_is(tmp_path: pathlib.Path, counting: object, file: str) -> None:
    text = (DOCS / "grafana" / file).read_text()
    named = set(re.findall(r"bellframe_[a-z_]+", text))
    there_are = {re.sub(r"[{].*", "", name) for name in scrape(tmp_path)}
    assert named and named <= there_are, named - there_are
    for labels in re.findall(r"by \(([^)]*)\)", text):
        known = {"le", "worker", "direction", "trunk", "state", "status", "outcome", "role", "index", "quantile", "instance", "result"}
        assert set(labels.replace(" ", "").split(",")) <= known


def test_the_dashboard_is_one() -> None:
    found = json.loads((DOCS / "grafana" / "dashboard.json").read_text())
    assert found["title"] and found["uid"] and len({panel["id"] for panel in found["panels"]}) == len(found["panels"])
    for panel in found["panels"]:
        assert panel["type"] == "row" or all(target["expr"] and target["refId"] for target in panel["targets"]), panel["title"]
