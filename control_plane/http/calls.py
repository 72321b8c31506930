"""/v1/calls: call out, look, hang up, transfer, hold, press keys."""

import asyncio
import secrets
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta

from control_plane.client import plain
from control_plane.http.answers import call_id_of
from control_plane.http.problem import Refusal, of_failed
from control_plane.http.services import SERVICES
from control_plane.http.tenancy import check_order, own, tenant_of
from control_plane.messages import (
    CallFacts,
    Calls,
    Failed,
    GetCall,
    GetCalls,
    GetTrace,
    HangUp,
    HoldCall,
    Message,
    Originate,
    PressKeys,
    Transfer,
)

BODY_LIMIT_S = 10.0
MAX_LISTED = 10_000
JSON = "application/json"
Text = Annotated[str, Meta(max_length=512, pattern=r"^[^\x00-\x1f\x7f]*$")]
Target = Annotated[str, Meta(min_length=1, max_length=512, pattern=r"^[^\x00-\x20\x7f]+$")]
HeaderName = Annotated[str, Meta(pattern=r"^X-[A-Za-z0-9-]{1,60}$")]


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class NewCall(Order, frozen=True):
    to: Annotated[Target, Meta(description="A SIP URI, or a number if a trunk takes it.")]
    agent: Annotated[str, Meta(description="Who talks: echo, menu, or MODULE:CLASS.", max_length=512, pattern=r"^[^\x00-\x20\x7f]*$")] = ""
    beside: Annotated[Text, Meta(description="A call that this one may be joined with. Then it may do without an agent.")] = ""
    caller: Annotated[Text, Meta(description="Who calls, for the display of the called party.")] = ""
    trunk: Annotated[Text, Meta(description="Which trunk of the configuration. Empty: as routing says.")] = ""
    arguments: Annotated[dict[str, str], Meta(description="What the agent finds in call.arguments.")] = {}
    headers: Annotated[dict[HeaderName, Text], Meta(description="X- headers that the INVITE carries.", max_length=32)] = {}
    hears_early: Annotated[bool, Meta(description="The agent starts with the far end's early media, not with its answer.")] = False
    webhook: Annotated[str, Meta(description="Where this call's changes are posted, instead of http.webhook.", max_length=2048)] = ""


class TransferOrder(Order, frozen=True):
    to: Annotated[Target, Meta(description="A SIP URI, or a number that the call's trunk completes.")]


class KeysOrder(Order, frozen=True):
    keys: Annotated[str, Meta(description="DTMF, sent in this order.", pattern="^[0-9*#A-D]{1,64}$")]


OrderType = TypeVar("OrderType", bound=Order)


class CallList(msgspec.Struct, frozen=True):
    calls: tuple[CallFacts, ...]


async def read(request: web.Request, kind: type[OrderType]) -> tuple[OrderType, bytes]:
    """The body as what it should be, and as it came. Raises Refusal that says what is wrong."""
    if request.content_type != JSON:
        raise Refusal(415, f"send JSON, with the header `Content-Type: {JSON}`")
    try:
        async with asyncio.timeout(BODY_LIMIT_S):
            body = await request.read()
    except TimeoutError as failure:
        raise Refusal(408, f"the body did not come within {BODY_LIMIT_S:g} s") from failure
    try:
        return msgspec.json.decode(body, type=kind), body
    except msgspec.ValidationError as failure:
        raise Refusal(422, str(failure)) from failure
    except msgspec.DecodeError as failure:
        raise Refusal(400, f"the body is not JSON: {failure}") from failure


def reply(value: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(plain(value)), content_type=JSON, headers=headers)


async def obey(request: web.Request, order: Message) -> None:
    """Raises Refusal with what the front says."""
    answer = await request.app[SERVICES].link.ask(order)
    if isinstance(answer, Failed):
        raise of_failed(answer)


async def facts_of(request: web.Request, call_id: str) -> CallFacts:
    """From the front; of a call that it has forgotten, from the records. Raises Refusal."""
    services = request.app[SERVICES]
    answer = await services.link.ask(GetCall(call_id))
    if isinstance(answer, Calls) and answer.calls:
        return answer.calls[0]
    recorded = await services.recorder.find(call_id) if services.recorder else None
    if recorded is None:
        raise Refusal(404, f"there is no call {call_id[:80]}; GET /v1/calls lists those that are up")
    return recorded


async def create(request: web.Request) -> web.Response:
    """Call out. What becomes of it: GET its address, watch /v1/events, or name a webhook."""
    services = request.app[SERVICES]
    order, asked = await read(request, NewCall)
    if not order.agent and not order.beside:
        raise Refusal(422, "$.agent: name who talks, or with `beside` the call that it is to be joined with")
    check_order(request, order.agent, [order.arguments])
    if order.webhook:
        services.webhooks.check_url(order.webhook, bool(tenant_of(request)))
    key = request.headers.get("Idempotency-Key")
    bearer = services.access.tokens.bearer(request.headers.get("Authorization", "")) or b""
    call_id = f"out-{secrets.token_hex(16)}" if key is None else call_id_of(key, bearer)
    headers = {"Location": f"/v1/calls/{call_id}"}
    known = services.answers.find(call_id, asked) if key else b""
    if known:
        return web.Response(status=202, body=known, content_type=JSON, headers=headers)
    try:
        if order.webhook:
            services.webhooks.send_to(call_id, order.webhook, bool(tenant_of(request)))
        named = msgspec.structs.asdict(order)
        del named["webhook"]
        await obey(request, Originate(call_id=call_id, tenant=tenant_of(request), **named))
        made = await facts_of(request, call_id)
    except BaseException:
        services.answers.forget(call_id)
        raise
    response = reply(made, 202, headers)
    if key and isinstance(response.body, bytes):
        services.answers.keep(call_id, asked, response.body)
    return response


async def list_calls(request: web.Request) -> web.Response:
    """The calls that are up; ?state=, ?direction=, ?limit=."""
    answer = await request.app[SERVICES].link.ask(GetCalls())
    found = own(request, answer.calls if isinstance(answer, Calls) else ())
    wanted = {name: request.query[name] for name in ("state", "direction") if name in request.query}
    found = tuple(call for call in found if all(getattr(call, name) == value for name, value in wanted.items()))
    limit = request.query.get("limit", str(MAX_LISTED))
    if not limit.isdecimal() or not 1 <= int(limit) <= MAX_LISTED:
        raise Refusal(400, f"limit: a number from 1 to {MAX_LISTED}")
    return reply(CallList(tuple(sorted(found, key=lambda call: call.started_at))[: int(limit)]))


async def show(request: web.Request) -> web.Response:
    """One call, up or ended."""
    return reply(await facts_of(request, request.match_info["call_id"]))


async def trace(request: web.Request) -> web.Response:
    """Its SIP messages, with secrets covered; kept if sip.trace is on, or while somebody watched."""
    answer = await request.app[SERVICES].link.ask(GetTrace(request.match_info["call_id"]))
    if isinstance(answer, Failed):
        raise of_failed(answer)
    return reply(answer)


async def hang_up(request: web.Request) -> web.Response:
    """End it. Again, it stays ended."""
    await obey(request, HangUp(request.match_info["call_id"], "hung up through the API"))
    return web.Response(status=204)


async def transfer(request: web.Request) -> web.Response:
    """Send the far end elsewhere (REFER). The call goes on until that has worked."""
    order, _ = await read(request, TransferOrder)
    return await _do(request, Transfer(request.match_info["call_id"], order.to))


async def hold(request: web.Request) -> web.Response:
    """Put the far end on hold."""
    return await _do(request, HoldCall(request.match_info["call_id"], True))


async def resume(request: web.Request) -> web.Response:
    """Take it back from hold."""
    return await _do(request, HoldCall(request.match_info["call_id"], False))


async def press_keys(request: web.Request) -> web.Response:
    """Send DTMF keys, behind what is being said."""
    order, _ = await read(request, KeysOrder)
    return await _do(request, PressKeys(request.match_info["call_id"], order.keys))


async def _do(request: web.Request, order: Message) -> web.Response:
    await obey(request, order)
    return reply(await facts_of(request, request.match_info["call_id"]), 202)
