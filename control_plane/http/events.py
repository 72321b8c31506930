"""/v1/events: server-sent events of what the front shows to those who watch, beginning with the calls that are up."""

import asyncio

import msgspec
from aiohttp import web

from control_plane.client import plain
from control_plane.http.problem import Refusal
from control_plane.http.services import SERVICES, Services
from control_plane.http.tenancy import OwnCalls, tenant_of
from control_plane.messages import CallChanged, Calls, Failed, GetCall, GetCalls, Message, Noted, SipTraced, Watch

MAX_STREAMS = 32
"""The front has room for 64 who watch."""
WATCH_S, SILENT_S, WRITE_LIMIT_S, LEVELS_S = 5.0, 15.0, 10.0, 0.25
KINDS: dict[type[Message], str] = {SipTraced: "sip", Noted: "note"}


async def stream(request: web.Request) -> web.StreamResponse:
    """Live: call (its facts), sip (a message), note. ?call_id= for one call, then also ?levels=true; ?what=calls for facts only."""
    services = request.app[SERVICES]
    what = request.query.get("what", "all")
    if what not in ("all", "calls"):
        raise Refusal(400, "what: all or calls")
    if services.streams >= MAX_STREAMS:
        raise Refusal(503, f"{MAX_STREAMS} read events already, and no more may; end one of them", {"Retry-After": "30"})
    call_id = request.query.get("call_id", "")
    response = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.content_type = "text/event-stream"
    services.streams += 1
    line = services.link.open_line()
    loop = asyncio.get_running_loop()
    try:
        await response.prepare(request)
        visible = OwnCalls(tenant_of(request))
        watch = Watch(call_id, "all" if what == "all" else "calls")
        line.send(watch)
        line.send(GetCall(call_id) if call_id else GetCalls())
        again, silent = loop.time() + WATCH_S, loop.time() + SILENT_S
        has_levels = bool(call_id) and request.query.get("levels") == "true"
        pause_s = LEVELS_S if has_levels else WATCH_S
        while True:
            messages = await line.receive(min(pause_s, max(0.0, again - loop.time())))
            texts = [text for message in messages if (shown := visible.show(message)) for text in as_events(shown)]
            if has_levels and not messages:
                texts += as_levels(services, call_id)
            if texts or loop.time() >= silent:
                async with asyncio.timeout(WRITE_LIMIT_S):  # who does not read is left
                    await response.write(b"".join(texts) or b": still here\n\n")
                silent = loop.time() + SILENT_S
            if loop.time() >= again:
                line.send(watch)  # the front may be another one by now
                again = loop.time() + WATCH_S
    except (ConnectionResetError, TimeoutError):
        return response
    finally:
        services.streams -= 1
        line.close()


def as_levels(services: Services, call_id: str) -> list[bytes]:
    levels = services.media.levels(call_id)
    return [as_event("levels", levels)] if levels else []


def as_events(message: Message) -> list[bytes]:
    match message:
        case CallChanged(call=call):
            return [as_event("call", call)]
        case Calls(calls=calls):
            return [as_event("call", call) for call in calls]
        case Failed(why=why):
            return [as_event("error", {"why": why})]
    kind = KINDS.get(type(message))
    return [as_event(kind, message)] if kind else []


def as_event(kind: str, value: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(plain(value)))
