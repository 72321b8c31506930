"""A tenant's token sees that tenant's calls, and nothing else. One middleware for all handlers, those to come as well."""

from collections.abc import Iterable, Mapping

from aiohttp import web

from control_plane.call_sid import call_sid
from control_plane.http.problem import Handler, Refusal
from control_plane.http.services import SERVICES
from control_plane.messages import CallChanged, CallFacts, Calls, GetCall, GetCalls, Message, Noted, SipTraced
from control_plane.tenant_config import why_not_agent, why_not_arguments

OPEN = ("/v1/calls", "/v1/campaigns", "/v1/events", "/openapi.json", "/healthz", "/2010-04-01/")
"""What a tenant may ask, and what lies below it. Handlers of lists filter them with `own`."""


def tenant_of(request: web.Request) -> str:
    """Whose token it came with; empty: an operator's."""
    return request.app[SERVICES].access.tenant_of(request)


def own(request: web.Request, calls: Iterable[CallFacts]) -> tuple[CallFacts, ...]:
    """Those that whoever asks may see."""
    tenant = tenant_of(request)
    return tuple(call for call in calls if not tenant or call.tenant == tenant)


def check_order(request: web.Request, agent: str, arguments: Iterable[Mapping[str, str]]) -> None:
    """Of calls out. Raises Refusal for an agent that a tenant may not have, and for arguments that reach into this machine."""
    name, config = tenant_of(request), request.app[SERVICES].config
    tenant = next((one for one in config.tenants if one.name == name), None) if name else None
    if tenant is None:
        return
    why_not = why_not_agent(tenant, config.routes, agent) or next(filter(None, map(why_not_arguments, arguments)), "")
    if why_not:
        raise Refusal(403, why_not)


class OwnCalls:
    """Which messages of a stream are of a tenant's calls. Notes and SIP messages name their call only, so calls are remembered."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.known: set[str] = set()

    def show(self, message: Message) -> Message | None:
        """It, or what of it may be seen."""
        if not self.tenant:
            return message
        match message:
            case Calls(calls=calls):
                found = tuple(call for call in calls if call.tenant == self.tenant)
                self.known.update(call.call_id for call in found)
                return Calls(found)
            case CallChanged(call=call) if call.tenant == self.tenant:
                if call.state == "ended":
                    self.known.discard(call.call_id)
                else:
                    self.known.add(call.call_id)
                return message
            case SipTraced(call_id=call_id) | Noted(call_id=call_id) if call_id in self.known:
                return message
        return None


@web.middleware
async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
    """After access.check has said whose token it is."""
    tenant = tenant_of(request)
    if tenant and request.path != "/":
        if not request.path.startswith(OPEN):
            raise Refusal(403, f"this token is for the calls of tenant {tenant}; this needs one of http.tokens")
        call_id = request.match_info.get("call_id") or request.query.get("call_id", "")
        if call_id and not await _is_own(request, tenant, call_id):
            raise Refusal(404, f"there is no call {call_id[:80]}; GET /v1/calls lists those that are up")
        sid = request.match_info.get("call_sid")
        if sid and not await _is_own_sid(request, tenant, sid):
            raise Refusal(404, f"there is no call {sid[:80]}")
    return await handler(request)


async def _is_own(request: web.Request, tenant: str, call_id: str) -> bool:
    """A call never changes its tenant, so what is true now stays true."""
    services = request.app[SERVICES]
    answer = await services.link.ask(GetCall(call_id))
    if isinstance(answer, Calls) and answer.calls:
        return answer.calls[0].tenant == tenant
    recorded = await services.recorder.find(call_id) if services.recorder else None
    return recorded is not None and recorded.tenant == tenant


async def _is_own_sid(request: web.Request, tenant: str, sid: str) -> bool:
    answer = await request.app[SERVICES].link.ask(GetCalls())
    calls = answer.calls if isinstance(answer, Calls) else ()
    return any(call.tenant == tenant and call_sid(call.call_id) == sid for call in calls)
