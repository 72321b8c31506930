"""A configuration in plain words: who may call, which route takes which calls, where calls may go."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec

from control_plane.config import Config
from control_plane.listen_config import places
from control_plane.route_config import Route
from control_plane.sources import sources_of
from control_plane.tenant_config import Tenant
from control_plane.trunk_config import Trunk

ANSWERS = {
    "ready": "answered once it is ready",
    "at once": "answered at once",
    "early": "speaks as early media until it answers",
}


def explain(config: Config) -> list[str]:
    """A line each."""
    return [*_callers(config), *_tenants(config), *_routes(config), *_calls_out(config), *_others(config)]


def _callers(config: Config) -> Iterator[str]:
    sip = config.sip
    yield f"calls come in at {', '.join(places(sip))}, {sip.max_calls_per_second:g} a second at most"
    for trunk in config.trunks:
        yield f'trunk "{trunk.name}"{_owner(trunk.tenant)}: {_who_calls(trunk)}{_bounds(trunk)}'
    yield f"as no trunk in particular: {', '.join(sip.allow)} (sip.allow)" if sip.allow else "nobody else may call: sip.allow is empty"
    owners = {user for trunk in config.trunks for user in trunk.users}
    free = [user.name for user in config.users if user.name not in owners]
    if free:
        yield f"users {', '.join(free)} call with their password from anywhere, as no trunk in particular"


def _tenants(config: Config) -> Iterator[str]:
    for tenant in config.tenants:
        trunks = ", ".join(trunk.name for trunk in config.trunks if trunk.tenant == tenant.name) or "no trunk of its own"
        tokens = "tokens for the HTTP API" if tenant.tokens or tenant.token_file else "no token"
        yield f"tenant {tenant.name}: {trunks}; {tokens}{_bounds(tenant)}"


def _who_calls(trunk: Trunk) -> str:
    sources, users = ", ".join(sources_of(trunk)), ", ".join(trunk.users)
    if sources and users:
        return f"users {users} call with their password, from {sources} only"
    if sources:
        return f"{sources} may call"
    return f"users {users} call with their password, from anywhere" if users else "nobody calls as it: it has neither allow nor users"


def _bounds(one: Trunk | Tenant) -> str:
    found = [f"{one.max_calls} calls at a time"] if one.max_calls else []
    found += [f"{one.max_calls_per_second:g} a second{' out' if isinstance(one, Trunk) else ''}"] if one.max_calls_per_second else []
    found += [f"{one.max_calls_per_minute} a minute out"] if one.max_calls_per_minute else []
    found += [f"{one.max_spend_per_day:g} a day by prices"] if one.max_spend_per_day else []
    return f"; at most {' and '.join(found)}" if found else ""


def _owner(tenant: str) -> str:
    return f" of tenant {tenant}" if tenant else ""


def _routes(config: Config) -> Iterator[str]:
    if not config.routes:
        yield "there are no routes: every call is refused with 404"
    for position, route in enumerate(config.routes):
        yield f"routes[{position}]: {describe(route)}"
    if config.routes and not any(is_for_all(route) for route in config.routes):
        yield "calls that fit none of them are refused with 404"


def describe(route: Route) -> str:
    """Which calls, and what becomes of them."""
    return f"{_which(route)}: {what_becomes(route)}"


def _which(route: Route) -> str:
    found = [f"calls to {route.to}" if route.to != "*" else "all calls"]
    found += [f"from {route.caller}"] if route.caller != "*" else []
    found += [("over no trunk" if route.trunk == "" else f"over trunk {route.trunk}")] if route.trunk != "*" else []
    found += [f"with {name}: {text}" for name, text in route.headers.items()]
    text = " ".join(found) + (f", {', '.join(route.hours)} ({route.time_zone})" if route.hours else "")
    return text + (f", tenant {route.tenant}" if route.tenant else "")


def what_becomes(route: Route) -> str:
    if route.webhook:
        rest = msgspec.structs.replace(route, webhook="")
        otherwise = what_becomes(rest) if route.target else "the next route that fits"
        host = urlsplit(route.webhook).hostname
        return f"as its webhook at {host} decides within {route.webhook_seconds:g} s; where it does not, {otherwise}"
    if route.rings:
        limit = f", ended after {route.max_minutes} min" if route.max_minutes else ""
        waits = f" (answered at once, with {route.meanwhile} meanwhile)" if route.answer == "at once" else ""
        return f"rings {route.target} for {route.ring_seconds} s{waits}{limit}; where nobody answers, the next route that fits"
    if not route.agent:
        return route.target
    found = [f"agent {route.agent}", ANSWERS[route.answer]]
    found += [f"for {route.ring_seconds} s at most"] if route.answer == "early" else []
    found += [f"ended after {route.max_minutes} min"] if route.max_minutes else []
    found += ["recorded"] if route.record else []
    return ", ".join(found)


def is_for_all(route: Route) -> bool:
    """Whatever comes fits, and goes no further."""
    conditions = route.headers or route.hours or route.tenant
    return bool(route.target) and not route.rings and not conditions and (route.to, route.caller, route.trunk) == ("*", "*", "*")


def _calls_out(config: Config) -> Iterator[str]:
    for trunk in config.trunks:
        if trunk.gateways and trunk.allow_numbers:
            gateways = ", ".join(trunk.gateways)
            but = f" but not to {', '.join(trunk.deny_numbers)}" if trunk.deny_numbers else ""
            yield f'calls go out over trunk "{trunk.name}" to {", ".join(trunk.allow_numbers)}{but}, by {gateways}'
    if not any(trunk.gateways and trunk.allow_numbers for trunk in config.trunks):
        yield "no number can be called: no trunk has gateways and allow_numbers; sip: URIs can"
    if config.users:
        yield f"phones of {', '.join(user.name for user in config.users)} can be called while they are registered"


def _others(config: Config) -> Iterator[str]:
    http = config.http
    if http.listen:
        yield f"HTTP API on {http.listen}, for {'bearers of a token' if http.tokens or http.token_file else 'programs of this machine'}"
    if config.records.are_kept:
        yield f"a record of each call in {config.records.file or 'PostgreSQL'}, for {config.records.days} days"
    if config.recording.directory:
        yield f"recordings in {config.recording.directory}"
