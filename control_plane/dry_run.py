"""What would become of a call: who lets it in, which route takes it, and why the ones before did not. Nothing is sent."""

import ipaddress
from collections.abc import Mapping

import msgspec

from control_plane.config import Config
from control_plane.explanation import what_becomes
from control_plane.route_config import Route
from control_plane.routing import Asked, Routing
from control_plane.sources import Sources
from control_plane.trunk_config import Trunk


class Question(msgspec.Struct, frozen=True):
    number: str
    at: float
    """Seconds since the epoch."""
    caller: str = ""
    trunk: str | None = None
    """None: as the source says."""
    source: str = ""
    """The address that it comes from."""
    headers: dict[str, str] = {}


class PassedOver(msgspec.Struct, frozen=True):
    route: str
    why: str


class Answer(msgspec.Struct, frozen=True):
    admitted: bool
    why: str
    """Who lets it in, or why nobody does."""
    trunk: str = ""
    tenant: str = ""
    passed_over: tuple[PassedOver, ...] = ()
    route: str = ""
    """Empty: none fits."""
    outcome: str = ""
    status: int = 0
    """Of the refusal; 0: it is taken."""
    agent: str = ""
    arguments: dict[str, str] = {}
    formats: tuple[str, ...] = ()
    srtp: str = ""
    limits: tuple[str, ...] = ()
    otherwise: tuple[str, ...] = ()
    """Where nobody answers, or its webhook decides nothing: what becomes of it then, in this order."""


class Lines:
    """Headers, by name in any case."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = {name.lower(): value for name, value in headers.items()}

    def get(self, name: str, /) -> str | None:
        return self.headers.get(name.lower())


def run(config: Config, question: Question, addresses: Mapping[str, frozenset[str]] | None = None) -> Answer:
    """`addresses`: of the host names in allow lists. Raises ConfigurationError."""
    by_name = {trunk.name: trunk for trunk in config.trunks}
    trunk, why_not, why = _admit(config, question, addresses or {})
    if why_not:
        return Answer(False, why_not, status=403)
    owner = by_name.get(trunk)
    tenant = owner.tenant if owner else ""
    asked = Asked(question.number, question.caller, trunk, tenant, Lines(question.headers), question.at)
    routing, passed = Routing(config.routes), list[PassedOver]()
    for row in routing.rows:
        reason = row.why_not(asked)
        if not reason:
            goes_on = row.route.rings or bool(row.route.webhook)
            later = [other for other in routing.fitting(asked) if goes_on and other.position > row.position]
            others = tuple(f"{other.name}: {what_becomes(other.route)}" for other in later)
            so_far = Answer(True, why, trunk, tenant, tuple(passed), otherwise=others)
            return _taken(config, row.name, row.route, so_far, owner)
        passed.append(PassedOver(row.name, reason))
    return Answer(True, why, trunk, tenant, tuple(passed), outcome=routing.why_none(asked), status=404)


def _admit(config: Config, question: Question, addresses: Mapping[str, frozenset[str]]) -> tuple[str, str, str]:
    """The trunk; why not; who lets it in."""
    by_name = {trunk.name: trunk for trunk in config.trunks}
    if question.trunk and question.trunk not in by_name:
        return "", f'there is no trunk "{question.trunk}"; there are {", ".join(by_name) or "none"}', ""
    if not question.source:
        named = by_name.get(question.trunk or "")
        return question.trunk or "", "", f'taken as a call of trunk "{named.name}"' if named else "taken as a call of no trunk (sip.allow)"
    address = ipaddress.ip_address(question.source)
    found = Sources(config.trunks, config.sip.allow).find(address, addresses)
    open_ones = {name: source for name, source in found.items() if name not in by_name or not by_name[name].users}
    wanted = [question.trunk] if question.trunk is not None else [*open_ones, *found]
    for name in wanted:
        if name in found:
            where = f'allow of trunk "{name}"' if name else "sip.allow"
            users = by_name[name].users if name in by_name else ()
            password = f", and a password of {', '.join(users)} is asked for" if users else ""
            return name, "", f"{question.source} is in {found[name]}, {where}{password}"
    return _admit_user(config, question)


def _admit_user(config: Config, question: Question) -> tuple[str, str, str]:
    """From an address in no list."""
    for trunk in config.trunks:
        if trunk.users and not trunk.allow and question.trunk in (None, trunk.name):
            return trunk.name, "", f'{question.source} is in no allow list; a password of {", ".join(trunk.users)} is asked for'
    which = f'allow of trunk "{question.trunk}"' if question.trunk else "sip.allow, nor in allow of any trunk"
    return "", f"403: {question.source} is not in {which}; add its network there", ""


def _taken(config: Config, name: str, route: Route, so_far: Answer, trunk: Trunk | None) -> Answer:
    return msgspec.structs.replace(
        so_far,
        route=name,
        outcome=what_becomes(route),
        status=route.refuse,
        tenant=so_far.tenant or route.tenant,
        agent=route.agent,
        arguments=route.arguments,
        formats=route.formats or (trunk.formats if trunk else ()) or config.media.formats,
        srtp=(trunk.srtp if trunk else "") or config.media.srtp,
        limits=tuple(_limits(config, route, trunk)),
    )


def _limits(config: Config, route: Route, trunk: Trunk | None) -> list[str]:
    found = [f"{config.sip.max_calls_per_second:g} set-ups a second (sip.max_calls_per_second)"]
    found += [f"{trunk.max_calls} calls at a time (max_calls of trunk {trunk.name})"] if trunk and trunk.max_calls else []
    owner = (trunk.tenant if trunk else "") or route.tenant
    for tenant in config.tenants:
        if tenant.name == owner and tenant.max_calls:
            found.append(f"{tenant.max_calls} calls at a time (max_calls of tenant {tenant.name})")
    found += [f"{route.max_minutes} min (max_minutes)"] if route.max_minutes else []
    rings = route.rings or route.answer == "early"
    found += [f"{route.ring_seconds} s until somebody answers (ring_seconds)"] if rings else []
    return found


