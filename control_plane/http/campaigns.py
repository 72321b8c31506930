"""/v1/campaigns: lists of numbers that are called at a pace (diallers.py dials)."""

import secrets
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from control_plane.campaign_run import Settings
from control_plane.errors import ConfigurationError
from control_plane.http.calls import Order, Target, Text, read, reply
from control_plane.http.diallers import MAX_CAMPAIGNS, Dialler, Diallers, Number
from control_plane.http.problem import Refusal
from control_plane.http.services import SERVICES
from control_plane.http.tenancy import check_order, tenant_of

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,64}$", description="Empty: one is made.")]


class NewCampaign(Order, frozen=True):
    trunk: Annotated[Target, Meta(description="The trunk that all are called through.")]
    agent: Annotated[Target, Meta(description="Who talks, as in a route.")]
    numbers: Annotated[tuple[Number, ...], Meta(description="More can be added; a number that stands twice is called once.")] = ()
    name: Name = ""
    per_second: Annotated[float, Meta(gt=0, le=1000, description="Calls dialled a second, at most.")] = 1.0
    concurrent: Annotated[int, Meta(ge=1, le=100_000, description="Calls at a time, at most.")] = 10
    caller: Annotated[Text, Meta(description="Who calls, for the display.")] = ""


class MoreNumbers(Order, frozen=True):
    numbers: tuple[Number, ...]


class CampaignFacts(msgspec.Struct, frozen=True):
    name: str
    state: str
    """running, over (all are settled), stopping (calls are up still), stopped."""
    trunk: str
    agent: str
    per_second: float
    concurrent: int
    tenant: str
    waiting: int
    active: int
    settled: int
    duplicates: int
    outcomes: dict[str, int]


class CampaignList(msgspec.Struct, frozen=True):
    campaigns: tuple[CampaignFacts, ...]


def facts_of(dialler: Dialler) -> CampaignFacts:
    run, given = dialler.run, dialler.run.settings
    campaign = run.campaign
    return CampaignFacts(
        dialler.name, dialler.state, given.trunk, given.agent, given.per_second, given.concurrent, given.tenant,
        len(campaign.waiting), len(campaign.active), campaign.settled, campaign.duplicates, dict(run.outcomes),
    )  # fmt: skip


def diallers_of(request: web.Request) -> Diallers:
    """Raises Refusal."""
    diallers = request.app[SERVICES].diallers
    if diallers is None:
        raise Refusal(404, 'there are no campaigns here: name [campaigns] directory, for example "/var/lib/bellframe/campaigns"')
    return diallers


def find(request: web.Request) -> Dialler:
    """Raises Refusal, also for another tenant's."""
    name, tenant = request.match_info["name"], tenant_of(request)
    dialler = diallers_of(request).diallers.get(name)
    if dialler is None or (tenant and dialler.run.settings.tenant != tenant):
        raise Refusal(404, f"there is no campaign {name[:80]}; GET /v1/campaigns lists them")
    return dialler


async def create(request: web.Request) -> web.Response:
    """Begin to call a list of numbers."""
    diallers = diallers_of(request)
    order, _ = await read(request, NewCampaign)
    check_order(request, order.agent, [number.arguments for number in order.numbers])
    name = order.name or secrets.token_hex(8)
    if name in diallers.diallers:
        raise Refusal(409, f"there is a campaign {name} already: POST /v1/campaigns/{name}/numbers adds to it")
    if len(diallers.diallers) >= MAX_CAMPAIGNS:
        raise Refusal(503, f"{MAX_CAMPAIGNS} campaigns are there already; take files of old ones out of campaigns.directory, and restart")
    settings = Settings(order.trunk, order.agent, order.per_second, order.concurrent, order.caller, tenant_of(request))
    try:
        dialler = diallers.create(name, settings, order.numbers)
    except (ConfigurationError, OSError) as failure:
        raise Refusal(503, f"the campaign cannot be written down: {failure}", {"Retry-After": "30"}) from failure
    return reply(facts_of(dialler), 201, {"Location": f"/v1/campaigns/{name}"})


async def list_campaigns(request: web.Request) -> web.Response:
    """All of them, those that are over too."""
    tenant, found = tenant_of(request), diallers_of(request).diallers.values()
    return reply(CampaignList(tuple(facts_of(one) for one in found if not tenant or one.run.settings.tenant == tenant)))


async def show(request: web.Request) -> web.Response:
    """How far one is."""
    return reply(facts_of(find(request)))


async def add(request: web.Request) -> web.Response:
    """More numbers for one, at the end of its list."""
    dialler = find(request)
    order, _ = await read(request, MoreNumbers)
    check_order(request, dialler.run.settings.agent, [number.arguments for number in order.numbers])
    try:
        dialler.add(order.numbers)
    except OSError as failure:
        raise Refusal(503, f"they cannot be written down: {failure}", {"Retry-After": "30"}) from failure
    return reply(facts_of(dialler), 202)


async def stop(request: web.Request) -> web.Response:
    """Dial nobody any more. Calls that are up go on."""
    find(request).stop(True)
    return await show(request)


async def go_on(request: web.Request) -> web.Response:
    """Dial those that wait."""
    find(request).stop(False)
    return await show(request)


async def outcomes(request: web.Request) -> web.StreamResponse:
    """What became of each number so far, as CSV."""
    return web.FileResponse(find(request).run.file.outcomes_path, headers={"Content-Type": "text/csv; charset=utf-8"})
