"""May new calls be sent here?"""

import asyncio
import pathlib

import msgspec
import pytest

from control_plane.http import health
from control_plane.messages import PeerFacts
from tests.control_plane.http.front import PEERS, STATUS, Front, running

WORKER, BRIDGE = PEERS
SILENT = msgspec.structs.replace(WORKER, silent_ms=5_000)
FULL = msgspec.structs.replace(WORKER, calls=1000)
CASES = [
    ({}, True, "taken"),
    ({"draining": True}, False, "draining"),
    ({"peers": ()}, False, "no worker"),
    ({"peers": (SILENT, BRIDGE)}, False, "no worker"),
    ({"peers": (WORKER,)}, False, "no bridge"),
    ({"peers": (FULL, BRIDGE)}, False, "full"),
    ({"peers": (FULL, PeerFacts("worker", 1, 1, 1, 0, 10, 0), BRIDGE)}, True, "taken"),
]


@pytest.mark.parametrize(("changes", "is_well", "why"), CASES)
def test_it_says_why_not(changes: dict[str, object], is_well: bool, why: str) -> None:
    judged = health.judge(msgspec.structs.replace(STATUS, **changes))
    assert judged.is_well is is_well and why in judged.why and (judged.room > 0) is is_well


def test_a_balancer_reads_the_status(tmp_path: pathlib.Path, front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> list[int]:
        async with running(tmp_path) as (client, _):
            first = await client.get("/healthz")
            assert await first.json() == {"is_well": True, "why": "new calls are taken", "calls": 1, "room": 999}
            front.status = msgspec.structs.replace(STATUS, draining=True)
            return [first.status, (await client.get("/healthz")).status]

    assert asyncio.run(run()) == [200, 503]


def test_without_a_front_it_is_red(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ANSWER_LIMIT_S", 0.05)

    async def run() -> int:
        async with running(tmp_path) as (client, _):
            return (await client.get("/healthz")).status

    assert asyncio.run(run()) == 503
