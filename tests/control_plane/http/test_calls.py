"""/v1/calls: what is asked of the front, and what is answered when it cannot be done."""

import asyncio
import json
import pathlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from control_plane.http import answers, calls, link
from control_plane.http_config import Http
from control_plane.messages import Failed, HangUp, HoldCall, PressKeys, Transfer
from tests.control_plane.http.front import CALL, Client, Front, running

ORDER = {"to": "sip:100@192.0.2.1", "agent": "echo", "arguments": {"name": "Ada"}, "headers": {"X-Account": "7"}}


def ask(directory: pathlib.Path, work: Callable[[Client], Awaitable[Any]], **http: Any) -> Any:
    async def run() -> Any:
        async with running(directory, Http(**http)) as (client, _):
            return await work(client)

    return asyncio.run(run())


def test_calling_out_is_accepted_with_where_to_look(tmp_path: pathlib.Path, front: Front) -> None:
    async def work(client: Client) -> None:
        response = await client.post("/v1/calls", json=ORDER)
        made = await response.json()
        assert response.status == 202 and response.headers["Location"] == f"/v1/calls/{made['call_id']}"
        assert (made["state"], made["outcome"], made["callee"]) == ("calling", "queued", "sip:100@192.0.2.1")
        seen = await client.get(response.headers["Location"])
        assert (await seen.json())["call_id"] == made["call_id"]

    ask(tmp_path, work)
    (order,) = front.orders
    assert (order.to, order.agent, order.arguments, order.headers) == ("sip:100@192.0.2.1", "echo", {"name": "Ada"}, {"X-Account": "7"})


def test_the_same_key_is_the_same_call_and_the_same_answer(tmp_path: pathlib.Path, front: Front) -> None:
    async def work(client: Client) -> list[bytes]:
        bodies = []
        for _ in range(3):
            response = await client.post("/v1/calls", json=ORDER, headers={"Idempotency-Key": "k-1"})
            assert response.status == 202
            bodies.append(await response.read())
        other = await client.post("/v1/calls", json={**ORDER, "agent": "menu"}, headers={"Idempotency-Key": "k-1"})
        assert other.status == 422 and "take a new key" in (await other.json())["detail"]
        return bodies

    bodies = ask(tmp_path, work)
    assert len(set(bodies)) == 1 and len(front.orders) == 1
    again = ask(tmp_path, lambda client: client.post("/v1/calls", json=ORDER, headers={"Idempotency-Key": "k-1"}))
    assert again.status == 202 and len(front.orders) == 1, "also when the process that was asked first is gone"


def test_two_at_once_with_one_key_are_one_call(tmp_path: pathlib.Path, front: Front) -> None:
    async def work(client: Client) -> list[int]:
        both = [client.post("/v1/calls", json=ORDER, headers={"Idempotency-Key": "k"}) for _ in range(4)]
        return [response.status for response in await asyncio.gather(*both)]

    assert ask(tmp_path, work) == [202] * 4 and len(front.orders) == 1


def test_a_key_whose_order_failed_may_be_used_again(tmp_path: pathlib.Path, front: Front) -> None:
    async def work(client: Client) -> tuple[int, int]:
        front.refusal = Failed("this server is draining and makes no new calls", 503)
        first = await client.post("/v1/calls", json=ORDER, headers={"Idempotency-Key": "k"})
        assert first.headers["Retry-After"]
        front.refusal = None
        return first.status, (await client.post("/v1/calls", json=ORDER, headers={"Idempotency-Key": "k"})).status

    assert ask(tmp_path, work) == (503, 202)


WRONG = [
    ({"agent": "echo"}, 422, "missing required field `to`"),
    ({"to": "sip:a@b"}, 422, "name who talks"),
    ({**ORDER, "agent": "a b"}, 422, "$.agent"),
    ({**ORDER, "to": ""}, 422, "$.to"),
    ({**ORDER, "to": "sip:a@b\r\nX: 1"}, 422, "$.to"),
    ({**ORDER, "speed": 3}, 422, "unknown field `speed`"),
    ({**ORDER, "headers": {"Via": "x"}}, 422, "$.headers"),
    ({**ORDER, "headers": {"X-A": "x\r\nVia: y"}}, 422, "$.headers"),
    ({**ORDER, "webhook": "ftp://x"}, 422, "https://"),
    ({**ORDER, "webhook": "https://example.com"}, 422, "http.webhook_secret"),
    ([], 422, "object"),
]


@pytest.mark.parametrize(("body", "status", "why"), WRONG)
def test_what_is_wrong_with_an_order_is_named(tmp_path: pathlib.Path, front: Front, body: Any, status: int, why: str) -> None:
    async def work(client: Client) -> None:
        response = await client.post("/v1/calls", json=body)
        problem = await response.json()
        assert (response.status, response.content_type) == (status, "application/problem+json")
        assert why in problem["detail"] and problem["status"] == status and problem["title"]

    ask(tmp_path, work)
    assert front.orders == []


def test_bodies_are_json_bounded_and_come_in_time(tmp_path: pathlib.Path, front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(client: Client) -> list[int]:
        form = await client.post("/v1/calls", data=json.dumps(ORDER), headers={"Content-Type": "text/plain"})
        broken = await client.post("/v1/calls", data="{", headers={"Content-Type": "application/json"})
        large = await client.post("/v1/calls", json={**ORDER, "arguments": {"x": "y" * 70_000}})
        monkeypatch.setattr(calls, "BODY_LIMIT_S", 0.0)

        async def drip() -> Any:
            yield b"{"
            await asyncio.Event().wait()

        slow = await client.post("/v1/calls", data=drip(), headers={"Content-Type": "application/json"})
        return [form.status, broken.status, large.status, slow.status]

    assert ask(tmp_path, work) == [415, 400, 413, 408] and front.orders == []


def test_what_can_be_done_with_a_call(tmp_path: pathlib.Path, front: Front) -> None:
    async def work(client: Client) -> None:
        one = "/v1/calls/c-1"
        assert (await client.post(one + "/transfer", json={"to": "sip:200@192.0.2.1"})).status == 202
        assert (await client.post(one + "/hold")).status == 202
        assert (await client.post(one + "/resume")).status == 202
        pressed = await client.post(one + "/dtmf", json={"keys": "12#"})
        assert pressed.status == 202 and (await pressed.json())["call_id"] == "c-1"
        assert (await client.post(one + "/dtmf", json={"keys": "12x"})).status == 422
        assert (await client.delete(one)).status == 204

    ask(tmp_path, work)
    held, hung_up = [HoldCall("c-1", True), HoldCall("c-1", False)], HangUp("c-1", "hung up through the API")
    assert front.others == [Transfer("c-1", "sip:200@192.0.2.1"), *held, PressKeys("c-1", "12#"), hung_up]


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/hold"), ("POST", "/resume")])
def test_a_call_that_is_not_there_is_404(tmp_path: pathlib.Path, front: Front, method: str, path: str) -> None:
    response = ask(tmp_path, lambda client: client.request(method, f"/v1/calls/none{path}"))
    assert response.status == 404


def test_the_messages_of_a_call_are_shown(tmp_path: pathlib.Path, front: Front) -> None:
    async def work(client: Client) -> Any:
        assert (await client.get("/v1/calls/none/trace")).status == 404
        return await (await client.get("/v1/calls/c-1/trace")).json()

    found = ask(tmp_path, work)
    assert [(m["summary"], m["text"]) for m in found["messages"]] == [("INVITE", "INVITE ...")]


def test_calls_are_listed_by_state_and_direction(tmp_path: pathlib.Path, front: Front) -> None:
    async def work(client: Client) -> None:
        listed = await (await client.get("/v1/calls")).json()
        assert [call["call_id"] for call in listed["calls"]] == ["c-1"] and listed["calls"][0]["caller"] == CALL.caller
        assert (await (await client.get("/v1/calls?direction=outbound")).json())["calls"] == []
        assert len((await (await client.get("/v1/calls?state=up&limit=1")).json())["calls"]) == 1
        assert (await client.get("/v1/calls?limit=0")).status == 400

    ask(tmp_path, work)


def test_without_a_front_it_is_503_in_time(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link.Link.ask, "__defaults__", (0.05,))
    response = ask(tmp_path, lambda client: client.get("/v1/calls"))
    assert response.status == 503 and response.headers["Retry-After"]


def test_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_ANSWERS", 3)
    kept = answers.Answers()
    for i in range(5):
        assert kept.find(str(i), b"x") == b""
        kept.keep(str(i), b"x", b"answer")
    assert list(kept.kept) == ["2", "3", "4"] and kept.find("4", b"x") == b"answer"
