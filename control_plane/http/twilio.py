"""The one route of Twilio's REST API that bots need: look at a call, end it, send it elsewhere.

A bot's client is told this server's address instead of api.twilio.com, and any account with one of http.tokens as its
auth token. TwiML, or the address of some, replaces what the call's agent does: ai_bridge/twiml says which verbs there are.
"""

import msgspec
from aiohttp import web

from control_plane.call_sid import call_sid
from control_plane.http.problem import Refusal, of_failed
from control_plane.http.services import SERVICES
from control_plane.messages import CallFacts, Calls, Failed, GetCalls, HangUp, InstructCall, Message
from control_plane.twiml import Unreadable, parse

PATH = "/2010-04-01/Accounts/{account_sid}/Calls/{call_sid}.json"
CAUSE = "hung up through Twilio's API"
STATES = {"up": "in-progress", "ended": "completed"}
NOT_FOUND, NO_SUCH_PARAMETER, BAD_TWIML = 20404, 20001, 12100
"""Twilio's own numbers: a bot that hangs up a call that is over knows the first."""


class CallResource(msgspec.Struct, frozen=True):
    """A call, as Twilio tells of one."""

    sid: str
    account_sid: str
    status: str
    direction: str
    from_: str = msgspec.field(name="from")
    to: str
    uri: str


class Wrong(msgspec.Struct, frozen=True):
    """An error, as Twilio tells of one."""

    code: int
    message: str
    status: int
    more_info: str = ""


class Unwanted(Exception):
    """What was asked for cannot be done; the text says what can."""

    def __init__(self, code: int, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.code, self.status = code, status


async def show(request: web.Request) -> web.Response:
    """One call that is up, as Twilio's Call resource."""
    return await _answer(request, {})


async def update(request: web.Request) -> web.Response:
    """End a call (Status=completed), or have it do something else (Twiml, Url), as Twilio's call update."""
    form = await request.post()
    return await _answer(request, {name: str(value) for name, value in form.items()})


async def _answer(request: web.Request, form: dict[str, str]) -> web.Response:
    order: Message | None = None
    try:
        call = await _find(request)
        if request.method == "POST":
            order = order_of(call.call_id, form)
            told = await request.app[SERVICES].link.ask(order)
            if isinstance(told, Failed):
                raise of_failed(told)
    except (Unwanted, Refusal) as failure:
        code = failure.code if isinstance(failure, Unwanted) else NOT_FOUND if failure.status == 404 else NO_SUCH_PARAMETER
        return _reply(Wrong(code, str(failure), failure.status), failure.status)
    account, sid = request.match_info["account_sid"], request.match_info["call_sid"]
    status = "completed" if isinstance(order, HangUp) else STATES.get(call.state, "ringing")
    direction = "inbound" if call.direction == "inbound" else "outbound-api"
    return _reply(CallResource(sid, account, status, direction, call.caller, call.callee, request.path))


async def _find(request: web.Request) -> CallFacts:
    wanted = request.match_info["call_sid"]
    answer = await request.app[SERVICES].link.ask(GetCalls())
    for call in answer.calls if isinstance(answer, Calls) else ():
        if call_sid(call.call_id) == wanted:
            return call
    raise Unwanted(NOT_FOUND, f"The requested resource {request.path} was not found: no call of this name is up", 404)


def order_of(call_id: str, form: dict[str, str]) -> Message:
    """Raises Unwanted."""
    if "Twiml" in form:
        return _order_of_twiml(call_id, form["Twiml"])
    if "Url" in form:
        return _order_of_url(call_id, form["Url"], form.get("Method", "POST").upper())
    if form.get("Status") in ("completed", "canceled"):
        return HangUp(call_id, CAUSE)
    raise Unwanted(NO_SUCH_PARAMETER, "send Status=completed, or Twiml, or the Url where there is some")


def _order_of_url(call_id: str, url: str, method: str) -> Message:
    if not url.startswith(("https://", "http://")) or method not in ("GET", "POST"):
        raise Unwanted(NO_SUCH_PARAMETER, "Url begins with https://, and Method is GET or POST")
    return InstructCall(call_id, url=url, method="GET" if method == "GET" else "POST")


def _order_of_twiml(call_id: str, text: str) -> Message:
    """What ends a call is done, and told, by the front; the rest is for the call's agent."""
    try:
        verbs = parse(text)
    except Unreadable as failure:
        raise Unwanted(BAD_TWIML, str(failure)) from failure
    if len(verbs) == 1:
        (verb,) = verbs
        if verb.tag in ("Hangup", "Reject"):
            return HangUp(call_id, CAUSE)
    if not verbs:
        raise Unwanted(BAD_TWIML, "the TwiML has no verb: <Hangup/> would end the call")
    return InstructCall(call_id, document=text)


def _reply(value: CallResource | Wrong, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")
