"""A tenant's token, at every address of the API: what is not its own is not there."""

import asyncio
import pathlib
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from control_plane.call_sid import call_sid
from control_plane.http.api import OPERATIONS
from control_plane.http.tenancy import OwnCalls
from control_plane.http_config import Http
from control_plane.messages import CallChanged, Calls, Failed, Noted, SipTraced
from control_plane.secret import Secret
from control_plane.tenant_config import Tenant
from tests.control_plane.http.front import CALL, Client, Front, running

OPERATORS, ACMES = "the-token-of-operators", "the-token-of-tenant-acme"
TENANTS = (Tenant("acme", tokens=(Secret(ACMES),), agents=("echo",)), Tenant("globex"))
MINE, THEIRS = (msgspec.structs.replace(CALL, call_id=f"c-{name}", tenant=name) for name in ("acme", "globex"))


def bearer(token: str = ACMES) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def ask(directory: pathlib.Path, front: Front, what: Callable[[Client], Awaitable[object]]) -> None:
    front.calls = {"c-acme": MINE, "c-globex": THEIRS, "c-1": CALL}

    async def run() -> None:
        async with running(directory, Http(tokens=(Secret(OPERATORS),)), tenants=TENANTS) as (client, _):
            await what(client)

    asyncio.run(run())


def test_lists_have_its_own_only(tmp_path: pathlib.Path, front: Front) -> None:
    async def what(client: Client) -> None:
        for token, found in ((ACMES, ["c-acme"]), (OPERATORS, ["c-acme", "c-globex", "c-1"])):
            listed = await (await client.get("/v1/calls", headers=bearer(token))).json()
            assert [call["call_id"] for call in listed["calls"]] == found

    ask(tmp_path, front, what)


ONE = [operation for operation in OPERATIONS if "{call_id}" in operation.path]


@pytest.mark.parametrize("operation", ONE, ids=lambda operation: f"{operation.method} {operation.path}")
def test_a_call_of_another_is_not_there_whatever_is_asked_of_it(tmp_path: pathlib.Path, front: Front, operation) -> None:  # type: ignore[no-untyped-def]
    async def what(client: Client) -> None:
        for call_id in ("c-globex", "c-1", "c-nobody"):
            path = operation.path.format(call_id=call_id)
            answer = await client.request(operation.method, path, headers=bearer(), json={"to": "sip:a@b", "keys": "1"})
            assert answer.status == 404 and f"there is no call {call_id}" in (await answer.json())["detail"]
        assert front.others == []
        path = operation.path.format(call_id="c-acme")
        statuses = [(await client.request(operation.method, path, headers=bearer(token), json={})).status for token in (ACMES, OPERATORS)]
        assert statuses[0] == statuses[1], "of its own it gets what an operator gets"

    ask(tmp_path, front, what)


def test_it_calls_out_as_itself_whatever_it_writes(tmp_path: pathlib.Path, front: Front) -> None:
    async def what(client: Client) -> None:
        made = await client.post("/v1/calls", headers=bearer(), json={"to": "+49", "agent": "echo"})
        assert (made.status, (await made.json())["tenant"]) == (202, "acme")
        written = await client.post("/v1/calls", headers=bearer(), json={"to": "+49", "agent": "echo", "tenant": "globex"})
        assert written.status == 422
        await client.post("/v1/calls", headers=bearer(OPERATORS), json={"to": "+49", "agent": "echo"})
        assert [order.tenant for order in front.orders] == ["acme", ""]

    ask(tmp_path, front, what)


@pytest.mark.parametrize(
    ("order", "why"),
    [
        ({"agent": "wav"}, "has no such agent: it has echo, of its routes"),
        ({"agent": "openai+wss://collector.example/"}, "has no such agent"),
        ({"agent": "echo", "arguments": {"authorization_file": "/etc/bellframe/bellframe.toml"}}, "authorization_file is for op"),
        ({"agent": "echo", "arguments": {"fallback": "wav"}}, "the argument fallback is for operators"),
        ({"agent": "echo", "arguments": {"greeting": "/var/lib/messages/1.wav"}}, "the argument greeting is for operators"),
    ],
)
def test_it_has_no_agent_and_no_argument_that_reaches_into_the_server(
    tmp_path: pathlib.Path, front: Front, order: dict[str, object], why: str
) -> None:
    async def what(client: Client) -> None:
        refused = await client.post("/v1/calls", headers=bearer(), json={"to": "+49", **order})
        assert refused.status == 403 and why in (await refused.json())["detail"]
        assert front.orders == []
        assert (await client.post("/v1/calls", headers=bearer(OPERATORS), json={"to": "+49", **order})).status == 202

    ask(tmp_path, front, what)


def test_what_is_about_all_is_for_operators(tmp_path: pathlib.Path, front: Front) -> None:
    async def what(client: Client) -> None:
        refused = await client.get("/metrics", headers=bearer())
        assert refused.status == 403 and "one of http.tokens" in (await refused.json())["detail"]
        assert (await client.get("/metrics", headers=bearer(OPERATORS))).status == 200
        assert (await client.get("/openapi.json", headers=bearer())).status == 200
        assert (await client.get("/v1/events?call_id=c-globex", headers=bearer())).status == 404

    ask(tmp_path, front, what)


def test_also_by_twilios_names(tmp_path: pathlib.Path, front: Front) -> None:
    async def what(client: Client) -> None:
        for call_id, status in (("c-acme", 200), ("c-globex", 404)):
            path = f"/2010-04-01/Accounts/AC1/Calls/{call_sid(call_id)}.json"
            assert (await client.get(path, headers=bearer())).status == status

    ask(tmp_path, front, what)


def test_what_a_stream_shows() -> None:
    visible = OwnCalls("acme")
    assert visible.show(Calls((MINE, THEIRS))) == Calls((MINE,))
    for call_id, is_shown in (("c-acme", True), ("c-globex", False), ("c-other", False)):
        for message in (Noted(call_id, 1, "heard", "yes"), SipTraced(call_id, 1, False, "INVITE", "")):
            assert (visible.show(message) is not None) is is_shown
    assert visible.show(CallChanged(THEIRS)) is None and visible.show(Failed("there is no call c-globex")) is None
    assert visible.show(CallChanged(msgspec.structs.replace(MINE, state="ended"))) is not None
    assert visible.show(Noted("c-acme", 1, "heard", "yes")) is None, "what has ended is not remembered"
    assert OwnCalls("").show(CallChanged(THEIRS)) is not None
