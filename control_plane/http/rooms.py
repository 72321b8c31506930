"""/v1/calls/ID/join, /connect, /room: calls that hear each other."""

import secrets
from typing import Annotated

from aiohttp import web
from msgspec import Meta

from control_plane.http.calls import HeaderName, Order, Target, Text, facts_of, obey, read, reply
from control_plane.http.tenancy import tenant_of
from control_plane.messages import After, AgentRole, ConnectCall, EnterRoom, JoinCalls, LeaveRoom, Meanwhile, Party, Role

AgentPart = Annotated[AgentRole, Meta(description="What its agent does from then on. out: hears nothing, and what it says waits.")]


class JoinOrder(Order, frozen=True):
    with_call: Annotated[Target, Meta(description="The id of the other call, on the same media worker.")]
    agent: AgentPart = "out"
    after: Annotated[After, Meta(description="What becomes of either when the other ends. Without an agent it ends.")] = "end"


class ConnectOrder(Order, frozen=True):
    to: Annotated[Target, Meta(description="A SIP URI, user:NAME of a phone, or a number that a trunk takes.")]
    caller: Annotated[Text, Meta(description="Who calls, for the display. Empty: the caller of this call.")] = ""
    trunk: Text = ""
    headers: Annotated[dict[HeaderName, Text], Meta(max_length=32)] = {}
    meanwhile: Annotated[Meanwhile, Meta(description="What the caller hears while it rings.")] = "music"
    ring_seconds: Annotated[int, Meta(ge=1, le=600)] = 60
    agent: AgentPart = "out"
    after: Annotated[After, Meta(description="What becomes of this call when the other has hung up.")] = "end"


class RoomOrder(Order, frozen=True):
    room: Annotated[str, Meta(description="Its name. The first call that enters makes it.", pattern=r"^[!-~]{1,40}$")]
    role: Annotated[Role, Meta(description="Of the far end. music, ringback: it waits, and hears that.")] = "talk"
    agent: AgentPart = "out"
    to: Annotated[Text, Meta(description="Whom the far end whispers to: a call's id, or ID/agent.")] = ""
    agent_to: Annotated[Text, Meta(description="Whom the agent whispers to.")] = ""
    after: Annotated[After, Meta(description="What becomes of this call when nobody else is left there.")] = "stay"


async def join(request: web.Request) -> web.Response:
    """Two calls hear each other."""
    order, _ = await read(request, JoinOrder)
    call_id = request.match_info["call_id"]
    await obey(request, JoinCalls(call_id, order.with_call, order.agent, order.after, tenant_of(request)))
    return reply(await facts_of(request, call_id), 202)


async def connect(request: web.Request) -> web.Response:
    """Ring somebody for this call, and join the two once it is answered. Gives the call that is made."""
    order, _ = await read(request, ConnectOrder)
    leg_id = f"out-{secrets.token_hex(16)}"
    await obey(
        request,
        ConnectCall(
            request.match_info["call_id"], order.to, leg_id, order.caller, order.trunk, order.headers, order.meanwhile,
            order.ring_seconds, order.agent, order.after,
        ),
    )  # fmt: skip
    return reply(await facts_of(request, leg_id), 202, {"Location": f"/v1/calls/{leg_id}"})


async def enter(request: web.Request) -> web.Response:
    """Put the call into a room, a conference, or change its part there."""
    order, _ = await read(request, RoomOrder)
    call_id = request.match_info["call_id"]
    party = Party(call_id, order.role, order.agent, order.to, order.agent_to)
    await obey(request, EnterRoom(order.room, party, order.after, tenant_of(request)))
    return reply(await facts_of(request, call_id), 202)


async def leave(request: web.Request) -> web.Response:
    """Back to its agent, out of its room, or from waiting for somebody who is rung. A call without an agent ends."""
    await obey(request, LeaveRoom(request.match_info["call_id"]))
    return web.Response(status=204)
