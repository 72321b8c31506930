"""What the configuration says of tenants: whose trunks, routes and users are theirs, what they may use, and who asks for them."""

import math
from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from control_plane.errors import ConfigurationError
from control_plane.route_config import Route
from control_plane.secret import Secret
from control_plane.tokens import check_token
from control_plane.trunk_config import Trunk, User

OPERATORS_ARGUMENTS = frozenset((
    "directory", "fallback", "key", "key_header", "play", "record", "recordings", "tools",
    "document", "document_url", "status_callback", "tools_url",
))  # fmt: skip
"""Of agents of ours: they name files, keys, code and other agents, of this machine or of others' calls, or places that this machine asks.
So do those in ..._file."""


class Tenant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    """As `tenant` of [[trunks]], [[routes]] and [[users]] names it."""
    max_calls: int = 0
    """At a time, in and out, over all trunks. 0: no limit of its own."""
    max_calls_per_second: float = 0.0
    """Set-ups, in and out. 0: no limit of its own."""
    max_calls_per_minute: int = 0
    """Calls out. 0: no limit of its own."""
    max_spend_per_day: float = 0.0
    """By the `prices` of trunks, over all of them. 0: no cap."""
    tokens: tuple[Secret, ...] = ()
    """Who shows one of these to the HTTP API sees this tenant's calls only, and calls out as this tenant only."""
    token_file: str = ""
    """More tokens, one a line, as http.token_file."""
    agents: tuple[str, ...] = ()
    """Who may talk in the calls that it orders, beside the agents of its own routes; named as there, without patterns. An agent is code, or
    has the use of your keys."""


class Owned(Protocol):
    @property
    def tenant(self) -> str: ...


def why_not_agent(tenant: Tenant, routes: Iterable[Route], agent: str) -> str:
    """Of a call that this tenant orders; empty: it may have it. A call without one waits to be joined."""
    allowed = [*dict.fromkeys([*(route.agent for route in routes if route.tenant == tenant.name and route.agent), *tenant.agents])]
    if not agent or agent in allowed:
        return ""
    return f"tenant {tenant.name} has no such agent: it has {', '.join(allowed) or 'none'}, of its routes and of tenants.agents"


def why_not_arguments(arguments: Mapping[str, str]) -> str:
    """Of a call that a tenant orders; empty: its agent may have them."""
    for name, value in arguments.items():
        if name in OPERATORS_ARGUMENTS or name.endswith("_file") or (name == "greeting" and value.endswith(".wav")):
            return f"the argument {name} is for operators: it names files, keys, code or places that the server asks"
    return ""


def check_tenants(tenants: tuple[Tenant, ...], trunks: tuple[Trunk, ...], routes: tuple[Route, ...], users: tuple[User, ...]) -> None:
    """What types cannot say. Raises ConfigurationError with the first thing that is wrong."""
    names: set[str] = set()
    for tenant in tenants:
        where = f'tenants "{tenant.name}"'
        if not tenant.name or not tenant.name.isprintable() or len(tenant.name) > 64 or tenant.name in names:
            raise ConfigurationError(f"{where}: each tenant needs a name of its own of 1 to 64 characters")
        names.add(tenant.name)
        if not 0 <= tenant.max_calls <= 100_000:
            raise ConfigurationError(f"{where}.max_calls: {tenant.max_calls} is not from 0 to 100000; 0 is no limit of its own")
        rate = tenant.max_calls_per_second
        if not 0 <= rate <= 10_000 or math.isnan(rate):
            raise ConfigurationError(f"{where}.max_calls_per_second: {rate} is not from 0 to 10000; 0 is no limit of its own")
        if not 0 <= tenant.max_calls_per_minute <= 600_000:
            raise ConfigurationError(f"{where}.max_calls_per_minute: {tenant.max_calls_per_minute} is not from 0 to 600000; 0 is no limit")
        if not 0 <= tenant.max_spend_per_day <= 1e9:
            raise ConfigurationError(f"{where}.max_spend_per_day: {tenant.max_spend_per_day} is not from 0 to 1000000000; 0 is no cap")
        for token in tenant.tokens:
            check_token(token.reveal(), f"{where}.tokens")
    owned: list[tuple[str, Owned]] = [(f'trunks "{trunk.name}"', trunk) for trunk in trunks]
    owned += [(f"routes[{position}]", route) for position, route in enumerate(routes)]
    owned += [(f'users "{user.name}"', user) for user in users]
    for where, one in owned:
        if one.tenant and one.tenant not in names:
            there_are = ", ".join(sorted(names)) or "none"
            raise ConfigurationError(f'{where}.tenant: there is no "{one.tenant}"; add it to [[tenants]], which has {there_are}')
    _check_users(trunks, users)


def _check_users(trunks: tuple[Trunk, ...], users: tuple[User, ...]) -> None:
    by_name = {user.name: user for user in users}
    for trunk in trunks:
        for name in trunk.users:
            owner = by_name[name].tenant if name in by_name else ""
            if owner and trunk.tenant and owner != trunk.tenant:
                why = f'"{name}" is of tenant "{owner}", and the trunk of "{trunk.tenant}"'
                raise ConfigurationError(f'trunks "{trunk.name}".users: {why}; a user calls as one of them')
