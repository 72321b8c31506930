"""What is posted, how it is signed, and what happens when nobody takes it. No test waits: time is given."""

import asyncio
import hmac
import json
from collections.abc import Callable

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from control_plane.http import webhooks
from control_plane.http.problem import Refusal
from control_plane.http.webhooks import BACK_OFF_S, Webhooks, kind_of
from control_plane.messages import CallFacts
from control_plane.reach import Reach, Unreachable

FACTS = CallFacts("c-1", "opening", "inbound", "+491", "100", "echo", 1.7e9, 0.0)
RINGS, TALKS, CLOSING, ENDED = (
    msgspec.structs.replace(FACTS, **changes)
    for changes in (
        {"state": "starting", "outcome": "ringing"},
        {"state": "up", "outcome": "answered"},
        {"state": "closing", "outcome": "answered"},
        {"state": "ended", "outcome": "answered", "cause": "the far end hung up"},
    )
)


class Receiver:
    def __init__(self, statuses: list[int | Exception]) -> None:
        self.statuses, self.posts, self.pauses = statuses, list[tuple[str, bytes, dict[str, str]]](), list[float]()

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        self.posts.append((url, body, headers))
        status = self.statuses.pop(0) if self.statuses else 200
        if isinstance(status, Exception):
            raise status
        return status

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    @property
    def events(self) -> list[tuple[int, str]]:
        return [(json.loads(body)["number"], json.loads(body)["event"]) for _, body, _ in self.posts]


def deliver(receiver: Receiver, facts: list[CallFacts], before: Callable[[Webhooks], None] = lambda _: None) -> Webhooks:
    async def run() -> Webhooks:
        hooks = Webhooks("https://example.com/hook", "secret", receiver.post, receiver.sleep)
        before(hooks)
        for fact in facts:
            hooks.take(fact)
        while hooks.tasks:
            await asyncio.gather(*hooks.tasks)
        return hooks

    return asyncio.run(run())


def test_each_step_of_a_call_is_posted_once_and_in_order() -> None:
    receiver = Receiver([])
    hooks = deliver(receiver, [FACTS, FACTS, RINGS, RINGS, TALKS, CLOSING, ENDED, ENDED])
    assert receiver.events == [(1, "call.started"), (2, "call.ringing"), (3, "call.answered"), (4, "call.ended")]
    assert json.loads(receiver.posts[-1][1])["call"]["cause"] == "the far end hung up"
    assert (hooks.sent, hooks.queued, hooks.queues) == (4, 0, {})


def test_the_signature_can_be_checked_by_the_receiver() -> None:
    receiver = Receiver([])
    deliver(receiver, [FACTS])
    (_, body, headers), *_ = receiver.posts
    at, _, signature = headers["Bellframe-Signature"].partition(",")
    expected = hmac.new(b"secret", at.removeprefix("t=").encode() + b"." + body, "sha256").hexdigest()
    assert signature == f"v1={expected}" and headers["Bellframe-Delivery"] == "c-1-1"


def test_a_receiver_that_fails_is_tried_again_with_growing_pauses_and_nothing_overtakes() -> None:
    receiver = Receiver([500, OSError("refused"), TimeoutError(), 200, 200])
    hooks = deliver(receiver, [FACTS, RINGS])
    assert receiver.events == [(1, "call.started")] * 4 + [(2, "call.ringing")]
    assert receiver.pauses == list(BACK_OFF_S[:3]) and hooks.sent == 2
    assert len({headers["Bellframe-Delivery"] for _, _, headers in receiver.posts[:4]}) == 1, "the receiver knows it again"


def test_one_that_stays_away_is_given_up_and_the_next_is_tried(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver([503] * (len(BACK_OFF_S) + 1))
    hooks = deliver(receiver, [FACTS, RINGS])
    assert (hooks.failed, hooks.sent) == (1, 1) and receiver.pauses == list(BACK_OFF_S)
    assert "call.started of a call could not be delivered: it answers 503" in caplog.text


def test_one_that_does_not_want_it_is_not_asked_again() -> None:
    receiver = Receiver([410])
    assert deliver(receiver, [FACTS]).failed == 1 and receiver.pauses == []


def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(webhooks, "MAX_QUEUED", 2)
    hooks = deliver(Receiver([]), [FACTS, RINGS, TALKS, ENDED])
    assert (hooks.sent, hooks.dropped) == (2, 2) and caplog.text.count("was dropped") == 1


def test_a_call_may_have_a_place_of_its_own() -> None:
    receiver = Receiver([])
    other = msgspec.structs.replace(FACTS, call_id="c-2")
    hooks = deliver(receiver, [FACTS, other, ENDED], lambda hooks: hooks.send_to("c-1", "https://own.example.com", False))
    assert [url for url, _, _ in receiver.posts].count("https://own.example.com") == 2 and not hooks.places


def test_without_a_place_nothing_is_kept() -> None:
    async def run() -> Webhooks:
        hooks = Webhooks("", "")
        hooks.take(FACTS)
        return hooks

    hooks = asyncio.run(run())
    assert not hooks.seen and not hooks.tasks


def test_over_a_real_socket_and_without_following_elsewhere() -> None:
    asked: list[str] = []

    async def take(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path == "/moved":
            raise web.HTTPFound("/elsewhere")
        return web.Response()

    async def run() -> list[int]:
        app = web.Application()
        app.router.add_route("*", "/{any}", take)
        async with TestServer(app) as server:
            hooks = Webhooks("", "secret", sleep=nothing)
            try:
                return [await hooks._post("c", str(server.make_url(path)), b"{}", {}) for path in ("/hook", "/moved")]
            finally:
                await hooks.close()

    assert asyncio.run(run()) == [200, 302] and asked == ["/hook", "/moved"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_where_a_tenant_has_it_sent_is_of_the_internet_or_allowed(host: str) -> None:
    async def take(_: web.Request) -> web.Response:
        return web.Response()

    async def run(networks: tuple[str, ...]) -> int:
        app = web.Application()
        app.router.add_post("/hook", take)
        async with TestServer(app) as server:
            hooks = Webhooks("", "secret", sleep=nothing, reach=Reach(networks))
            url = str(server.make_url("/hook").with_host(host))
            try:
                hooks.send_to("c", url, True)
                return await hooks._post("c", url, b"{}", {})
            finally:
                await hooks.close()

    with pytest.raises((Unreachable, aiohttp.ClientError), match="reachable_networks"):
        asyncio.run(run(()))
    assert asyncio.run(run(("127.0.0.0/8", "::1/128"))) == 200


def test_an_address_of_this_machine_is_refused_when_a_tenant_names_it() -> None:
    hooks = Webhooks("", "secret")
    with pytest.raises(Refusal, match=r"169\.254\.169\.254 is not of the internet"):
        hooks.check_url("http://169.254.169.254/latest", True)
    hooks.check_url("http://169.254.169.254/latest", False)
    hooks.check_url("https://8.8.8.8/hook", True)


async def nothing(_seconds: float) -> None:
    return None


def test_what_is_news() -> None:
    kinds = [kind_of(facts) for facts in (FACTS, RINGS, TALKS, CLOSING, ENDED)]
    assert kinds == ["call.started", "call.ringing", "call.answered", "call.answered", "call.ended"]
    assert kind_of(msgspec.structs.replace(FACTS, state="closing", outcome="busy")) == ""
