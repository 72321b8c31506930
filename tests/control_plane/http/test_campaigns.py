"""Campaigns of the API against a front that answers as told: the pace is Campaign's, here is what is kept and what may be asked."""

import asyncio
import csv
import io
import pathlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from control_plane.config import CampaignsSection, Config, check
from control_plane.errors import ConfigurationError
from control_plane.http.diallers import Diallers, read_lines
from control_plane.http_config import Http
from control_plane.messages import CallFacts, Calls, Failed, GetCall, Message, Originate
from control_plane.secret import Secret
from control_plane.tenant_config import Tenant
from tests.control_plane.http.front import Client, Front, running

OPERATORS, ACMES = "the-token-of-operators", "the-token-of-tenant-acme"
TENANTS = (Tenant("acme", tokens=(Secret(ACMES),), agents=("echo",)), Tenant("globex"))
NUMBERS = [{"number": "+4901", "arguments": {"name": "Ada"}}, {"number": "+4902"}, {"number": "+4901"}, {"number": "+4921"}]
ORDER = {"name": "spring", "trunk": "carrier", "agent": "echo", "per_second": 500, "numbers": NUMBERS}


class Answering(Front):
    """Its calls have ended when one looks, those to +492... are refused."""

    holds = False

    def __call__(self, message: Message) -> list[Message]:
        if isinstance(message, Originate) and message.to.startswith("+492"):
            return [Failed("403: trunk carrier may not call +492", 422)]
        if isinstance(message, GetCall) and not self.holds and message.call_id in self.calls:
            up = self.calls[message.call_id]
            ended = msgspec.structs.replace(up, state="ended", outcome="busy", status=486, ended_at=1.7e9)
            return [Calls((ended,))]
        return super().__call__(message)


@pytest.fixture
def front(front: Front) -> Answering:  # the one at the socket, that answers otherwise
    front.__class__ = Answering
    assert isinstance(front, Answering)
    return front


def bearer(token: str = OPERATORS) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def ask(directory: pathlib.Path, what: Callable[[Client, Diallers], Awaitable[object]]) -> None:
    kept = directory / "campaigns"
    kept.mkdir(exist_ok=True)

    async def run() -> None:
        async with running(directory, Http(tokens=(Secret(OPERATORS),)), tenants=TENANTS) as (client, services):
            services.diallers = diallers = Diallers(services.link, kept)
            diallers.start()
            try:
                await what(client, diallers)
            finally:
                await diallers.close()

    asyncio.run(run())


async def until(client: Client, state: str, token: str = OPERATORS) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            facts: dict[str, Any] = await (await client.get("/v1/campaigns/spring", headers=bearer(token))).json()
            if facts.get("state") == state:
                return facts
            await asyncio.sleep(0.02)


def test_a_list_is_called_and_its_outcomes_are_csv(tmp_path: pathlib.Path, front: Answering) -> None:
    async def what(client: Client, _: Diallers) -> None:
        made = await client.post("/v1/campaigns", headers=bearer(), json=ORDER)
        assert (made.status, made.headers["Location"]) == (201, "/v1/campaigns/spring")
        facts = await until(client, "over")
        assert (facts["waiting"], facts["active"], facts["settled"], facts["duplicates"]) == (0, 0, 3, 1)
        assert facts["outcomes"] == {"busy": 2, "failed": 1}
        assert [(order.to, order.arguments, order.trunk) for order in front.orders] == [
            ("+4901", {"name": "Ada"}, "carrier"), ("+4902", {}, "carrier"),
        ]  # fmt: skip
        answer = await client.get("/v1/campaigns/spring/outcomes", headers=bearer())
        assert answer.content_type == "text/csv"
        rows = list(csv.DictReader(io.StringIO(await answer.text())))
        assert {row["number"]: row["outcome"] for row in rows} == {"+4901": "busy", "+4902": "busy", "+4921": "failed"}
        added = await client.post("/v1/campaigns/spring/numbers", headers=bearer(), json={"numbers": [{"number": "+4903"}]})
        assert added.status == 202
        assert (await until(client, "over"))["settled"] == 4
        listed = await (await client.get("/v1/campaigns", headers=bearer())).json()
        assert [one["name"] for one in listed["campaigns"]] == ["spring"]

    ask(tmp_path, what)


def test_another_process_goes_on_and_dials_nobody_twice(tmp_path: pathlib.Path, front: Answering) -> None:
    front.holds = True
    numbers = [{"number": f"+49{i}"} for i in range(100, 110)]

    async def begin(client: Client, diallers: Diallers) -> None:
        await client.post("/v1/campaigns", headers=bearer(), json={**ORDER, "numbers": numbers, "concurrent": 4})
        async with asyncio.timeout(10):
            while len(front.orders) < 4:
                await asyncio.sleep(0.01)
        (dialler,) = diallers.diallers.values()
        diallers.take(ended(front.orders[0].call_id))
        assert dialler.run.campaign.settled == 1

    async def go_on(client: Client, _: Diallers) -> None:
        front.holds = False
        facts = await until(client, "over")
        assert facts["settled"] == 10 and facts["outcomes"] == {"answered": 1, "busy": 9}

    ask(tmp_path, begin)
    ask(tmp_path, go_on)
    assert sorted(order.to for order in front.orders) == [one["number"] for one in numbers], "each of them once"


def ended(call_id: str) -> CallFacts:
    return CallFacts(
        call_id, "ended", "outbound", "", "", "echo", 1.7e9, 3.0, outcome="answered", status=200, answered_at=1.7e9, ended_at=1.7e9 + 3
    )


def test_stopped_it_dials_nobody_also_after_a_restart_until_it_is_resumed(tmp_path: pathlib.Path, front: Answering) -> None:
    async def begin(client: Client, _: Diallers) -> None:
        await client.post("/v1/campaigns", headers=bearer(), json={**ORDER, "numbers": []})
        assert (await (await client.post("/v1/campaigns/spring/stop", headers=bearer())).json())["state"] == "stopped"
        await client.post("/v1/campaigns/spring/numbers", headers=bearer(), json={"numbers": NUMBERS})

    async def look(client: Client, _: Diallers) -> None:
        await asyncio.sleep(0.2)
        assert (await until(client, "stopped"))["waiting"] == 3 and front.orders == []
        await client.post("/v1/campaigns/spring/resume", headers=bearer())
        assert (await until(client, "over"))["settled"] == 3

    ask(tmp_path, begin)
    ask(tmp_path, look)


def test_a_tenant_has_its_own_only(tmp_path: pathlib.Path, front: Answering) -> None:
    async def what(client: Client, _: Diallers) -> None:
        await client.post("/v1/campaigns", headers=bearer(ACMES), json=ORDER)
        assert (await until(client, "over", ACMES))["tenant"] == "acme" and {order.tenant for order in front.orders} == {"acme"}
        await client.post("/v1/campaigns", headers=bearer(), json={**ORDER, "name": "ours"})
        for path in ("", "/outcomes"):
            assert (await client.get(f"/v1/campaigns/ours{path}", headers=bearer(ACMES))).status == 404
        assert (await client.post("/v1/campaigns/ours/stop", headers=bearer(ACMES))).status == 404
        listed = await (await client.get("/v1/campaigns", headers=bearer(ACMES))).json()
        assert [one["name"] for one in listed["campaigns"]] == ["spring"]

    ask(tmp_path, what)


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"name": "../etc"}, 422), ({"per_second": 0}, 422), ({"concurrent": 0}, 422), ({"numbers": [{"phone": "1"}]}, 422), ({}, 201)],
)
def test_what_is_no_campaign_is_refused(changes: dict[str, object], status: int, tmp_path: pathlib.Path, front: Answering) -> None:
    async def what(client: Client, _: Diallers) -> None:
        answer = await client.post("/v1/campaigns", headers=bearer(), json={**ORDER, "numbers": [], **changes})
        assert answer.status == status
        if status == 201:
            assert (await client.post("/v1/campaigns", headers=bearer(), json=ORDER)).status == 409

    ask(tmp_path, what)


def test_without_a_folder_there_are_none(tmp_path: pathlib.Path, front: Answering) -> None:
    async def run() -> None:
        async with running(tmp_path, Http(tokens=(Secret(OPERATORS),))) as (client, _):
            answer = await client.get("/v1/campaigns", headers=bearer())
            assert answer.status == 404 and "[campaigns] directory" in (await answer.json())["detail"]

    asyncio.run(run())
    with pytest.raises(ConfigurationError, match="must begin with /"):
        check(Config(campaigns=CampaignsSection("campaigns")))


def test_a_list_that_a_crash_has_cut(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "spring.list"
    path.write_bytes(b'{"number":"+491","arguments":{}}\n{"number":"+4')
    assert [entry.number for entry in read_lines(path)] == ["+491"] and path.read_bytes().endswith(b"\n")
    path.write_bytes(b"number\n")
    with pytest.raises(ConfigurationError, match=r"spring\.list"):
        read_lines(path)
