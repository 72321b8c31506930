"""The API as a table: what stands at which address. The OpenAPI description is made from it."""

import re
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from control_plane.http import calls, campaigns, capture, events, health, metrics, page, rooms, tenancy, twilio
from control_plane.http.problem import Handler, Problem, problems
from control_plane.http.services import SERVICES, Services
from control_plane.messages import CallFacts, Traced
from control_plane.version import version

MAX_BODY_BYTES = 65_536


class Operation(NamedTuple):
    method: str
    path: str
    handler: Handler
    status: int = 200
    takes: type | None = None
    gives: type | None = None
    media_type: str = "application/json"


async def describe(_request: web.Request) -> web.Response:
    """This description, as OpenAPI 3.1."""
    return web.Response(body=msgspec.json.encode(openapi()), content_type="application/json")


ONE = "/v1/calls/{call_id}"
CAMPAIGNS, CAMPAIGN = "/v1/campaigns", "/v1/campaigns/{name}"
OPERATIONS = (
    #         method    path               handler            status  takes                gives
    Operation("POST",   "/v1/calls",       calls.create,      202,    calls.NewCall,       CallFacts),
    Operation("GET",    "/v1/calls",       calls.list_calls,  200,    None,                calls.CallList),
    Operation("GET",    ONE,               calls.show,        200,    None,                CallFacts),
    Operation("DELETE", ONE,               calls.hang_up,     204),
    Operation("GET",    ONE + "/trace",    calls.trace,       200,    None,                Traced),
    Operation("GET",    ONE + "/capture",  capture.stream,    200,    media_type="application/vnd.tcpdump.pcap"),
    Operation("POST",   ONE + "/transfer", calls.transfer,    202,    calls.TransferOrder, CallFacts),
    Operation("POST",   ONE + "/hold",     calls.hold,        202,    None,                CallFacts),
    Operation("POST",   ONE + "/resume",   calls.resume,      202,    None,                CallFacts),
    Operation("POST",   ONE + "/dtmf",     calls.press_keys,  202,    calls.KeysOrder,     CallFacts),
    Operation("POST",   ONE + "/join",     rooms.join,        202,    rooms.JoinOrder,     CallFacts),
    Operation("POST",   ONE + "/connect",  rooms.connect,     202,    rooms.ConnectOrder,  CallFacts),
    Operation("POST",   ONE + "/room",     rooms.enter,       202,    rooms.RoomOrder,     CallFacts),
    Operation("DELETE", ONE + "/room",     rooms.leave,       204),
    Operation("POST",   CAMPAIGNS,         campaigns.create,  201,    campaigns.NewCampaign, campaigns.CampaignFacts),
    Operation("GET",    CAMPAIGNS,         campaigns.list_campaigns, 200, None,             campaigns.CampaignList),
    Operation("GET",    CAMPAIGN,          campaigns.show,    200,    None,                campaigns.CampaignFacts),
    Operation("POST",   CAMPAIGN + "/numbers", campaigns.add, 202,    campaigns.MoreNumbers, campaigns.CampaignFacts),
    Operation("POST",   CAMPAIGN + "/stop", campaigns.stop,   200,    None,                campaigns.CampaignFacts),
    Operation("POST",   CAMPAIGN + "/resume", campaigns.go_on, 200,   None,                campaigns.CampaignFacts),
    Operation("GET",    CAMPAIGN + "/outcomes", campaigns.outcomes, 200, media_type="text/csv"),
    Operation("GET",    "/v1/events",      events.stream,     200,    media_type="text/event-stream"),
    Operation("GET",    "/healthz",        health.check,      200,    None,                health.Health),
    Operation("GET",    "/metrics",        metrics.scrape,    200,    media_type="text/plain"),
    Operation("GET",    "/",               page.show,         200,    media_type="text/html"),
    Operation("GET",    "/openapi.json",   describe),
    Operation("POST",   twilio.PATH,       twilio.update,     200,    None,                twilio.CallResource),
    Operation("GET",    twilio.PATH,       twilio.show,       200,    None,                twilio.CallResource),
)


def make_app(services: Services) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[services.count, problems, services.access.check, tenancy.check])
    app[SERVICES] = services
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.path, operation.handler)
    return app


def openapi() -> dict[str, Any]:
    """OpenAPI 3.1, made from the table and from the structs."""
    types = [*dict.fromkeys(kind for o in OPERATIONS for kind in (o.takes, o.gives) if kind), Problem]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = describe_operation(operation, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Bellframe", "version": version()},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}],
    }


def describe_operation(operation: Operation, schema_of: dict[type, dict[str, Any]]) -> dict[str, Any]:
    handler = operation.handler
    name = getattr(handler, "__name__", "")
    for module, prefix in ((twilio, "twilio"), (campaigns, "campaign")):
        name = f"{prefix}_{name}" if handler.__module__ == module.__name__ else name
    content = {operation.media_type: {"schema": schema_of[operation.gives]} if operation.gives else {}}
    in_path = re.findall(r"{(\w+)}", operation.path)
    parameters: list[dict[str, Any]] = [{"name": found, "in": "path", "required": True, "schema": {"type": "string"}} for found in in_path]
    if operation.handler is calls.create:
        parameters.append({"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255}})
    described: dict[str, Any] = {
        "operationId": name,
        "summary": (operation.handler.__doc__ or "").strip(),
        "parameters": parameters,
        "responses": {
            str(operation.status): {"description": "done"} | ({} if operation.status == 204 else {"content": content}),
            "default": {"description": "why not", "content": {"application/problem+json": {"schema": schema_of[Problem]}}},
        },
    }
    if operation.takes:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema_of[operation.takes]}}}
    return described
