"""What the configuration says of routes: which calls one is for, who takes them, and how they are answered."""

import fnmatch
import re
from typing import Any, Literal

import msgspec

from control_plane.errors import ConfigurationError
from control_plane.formats import check_names
from control_plane.hours import Hours
from control_plane.messages import Decision
from control_plane.trunk_config import Trunk, User

HEADER = re.compile(r"[A-Za-z0-9!%*_+`'~.-]{1,64}")  # RFC 3261 25.1: token
MAX_RING_S, MAX_MINUTES, MAX_WEBHOOK_S = 600, 1440, 10


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    agent: str = ""
    """echo, menu, MODULE:CLASS, a bot's address such as twilio+wss://bot.example/media (docs/wires.md), or a model's (docs/models.md)."""
    phones: tuple[str, ...] = ()
    """Instead of an agent: [[users]] whose phones ring, all of them. The first to answer has the call."""
    via: str = ""
    """Instead of an agent: the trunk that the call goes out through, to `number`. With `phones`, both ring."""
    number: str = ""
    """Empty: the number that was called."""
    refuse: int = 0
    """Instead of an agent: the status that the caller gets, such as 603."""
    webhook: str = ""
    """Who decides instead, for each call: an address that begins with https://. It answers within `webhook_seconds`, or what else stands in
    this route counts; where nothing does, the next route that fits. Needs http.webhook_secret."""
    webhook_seconds: float = 1.0
    """The caller hears nothing meanwhile."""
    to: str = "*"
    """The number called, as a pattern: "+4930*". The first route that fits is taken."""
    caller: str = "*"
    """The number that calls, as a pattern."""
    trunk: str = "*"
    """The trunk that it comes from, as a pattern. Calls that only sip.allow lets in have none: ""."""
    tenant: str = ""
    """Whose route it is: it is for calls of this tenant's trunks, and for those of trunks that are nobody's, which become this tenant's."""
    headers: dict[str, str] = {}
    """Headers of the INVITE with a pattern each: {"X-Language" = "de*"}. One that is absent does not fit."""
    hours: tuple[str, ...] = ()
    """When: ["Mon-Fri 08:00-18:00", "Sat 10:00-14:00"]. Needs time_zone. Empty: always."""
    time_zone: str = ""
    """Of `hours`, as IANA names it: "Europe/Berlin"."""
    answer: Literal["ready", "at once", "early"] = "ready"
    """When the call is answered: once its agent is ready; at once, while it is fetched; or when the agent says so with call.answer(),
    which speaks until then as early media (183), and nobody pays. Phones: "ready" answers when one of them is; "at once" before,
    and the caller hears `meanwhile`."""
    meanwhile: Literal["ringback", "music"] = "ringback"
    """What the caller hears while phones ring for a call that is answered "at once": ringing, or media.music."""
    ring_seconds: int = 60
    """How long nobody need answer: phones, before the next route that fits takes the call, or an agent with answer = "early"."""
    max_minutes: int = 0
    """A call that lasts longer is ended. 0: no limit."""
    arguments: dict[str, str] = {}
    formats: tuple[str, ...] = ()
    """Audio formats of these calls, the preferred one first, and no others. Empty: the trunk's `formats`, or media.formats. A bot
    whose wire is PCMU gets the octets of the line as they came with formats = ["PCMU"]."""
    record: bool = False
    """Record these calls from their answer on. Whether callers must be told, or asked, is the law's where they are."""

    @property
    def rings(self) -> bool:
        """Others are rung for the call."""
        return bool(self.phones or self.via)

    @property
    def target(self) -> str:
        """Who takes the call, for people. Empty: nobody is named."""
        if self.rings:
            number = [f"{self.number or 'the same number'} over trunk {self.via}"] if self.via else []
            return ", ".join([*(f"phones of {name}" for name in self.phones), *number])
        return self.agent or (f"refused with {self.refuse}" if self.refuse else "")


def check_routes(routes: tuple[Route, ...], trunks: tuple[Trunk, ...], users: tuple[User, ...] = ()) -> None:
    """What types cannot say. Raises ConfigurationError with the first thing that is wrong."""
    for position, route in enumerate(routes):
        where = f"routes[{position}]"
        _check_target(route, where)
        _check_rung(route, where, trunks, users)
        _check_conditions(route, where, trunks)
        check_names(route.formats, f"{where}.formats")
        _check_webhook(route, where)
        _check_numbers(route, where)


def decided(route: Route, decision: Decision, where: str) -> Route:
    """The route with what its webhook decided. Raises ConfigurationError for what makes no route."""
    values = {name: value for name, value in msgspec.structs.asdict(decision).items() if value is not None}
    nobody: dict[str, Any] = {"agent": "", "refuse": 0, "phones": (), "via": "", "number": ""}
    targets = nobody if decision.agent or decision.refuse or decision.phones or decision.via else {}
    made = msgspec.structs.replace(route, **{"webhook": "", **targets, **values})
    if made.target:  # else it is left to the next route
        _check_target(made, where)
    _check_numbers(made, where)
    return made


def _check_webhook(route: Route, where: str) -> None:
    if route.webhook and not route.webhook.startswith(("https://", "http://")):
        raise ConfigurationError(f"{where}.webhook: it is not a URL that begins with https://")
    if not 0.1 <= route.webhook_seconds <= MAX_WEBHOOK_S:
        raise ConfigurationError(f"{where}.webhook_seconds: {route.webhook_seconds} is not from 0.1 to {MAX_WEBHOOK_S}; callers wait")


def _check_numbers(route: Route, where: str) -> None:
    if not 1 <= route.ring_seconds <= MAX_RING_S:
        raise ConfigurationError(f"{where}.ring_seconds: {route.ring_seconds} is not from 1 to {MAX_RING_S}; people wait for about 60")
    if not 0 <= route.max_minutes <= MAX_MINUTES:
        raise ConfigurationError(f"{where}.max_minutes: {route.max_minutes} is not from 0 to {MAX_MINUTES}; 0 is no limit")


def _check_rung(route: Route, where: str, trunks: tuple[Trunk, ...], users: tuple[User, ...]) -> None:
    known = [user.name for user in users]
    for name in route.phones:
        if name not in known:
            raise ConfigurationError(f'{where}.phones: there is no user "{name}"; [[users]] has {", ".join(known) or "none"}')
    if route.via and not any(trunk.name == route.via and trunk.gateways for trunk in trunks):
        there_are = ", ".join(trunk.name for trunk in trunks if trunk.gateways) or "none"
        raise ConfigurationError(f'{where}.via: "{route.via}" is no trunk with gateways; there are {there_are}')


def _check_target(route: Route, where: str) -> None:
    if not route.target and route.webhook:
        return
    if [bool(route.agent), bool(route.refuse), route.rings].count(True) != 1:
        raise ConfigurationError(f"{where}: name one who takes the call: agent, phones, via with a number, or refuse with a status")
    if route.number and not route.via:
        raise ConfigurationError(f"{where}.number: name the trunk that it is called through too: via")
    if route.rings and route.answer == "early":
        raise ConfigurationError(f'{where}.answer: phones say nothing before they are answered; write "ready", or "at once" to answer now')
    if route.meanwhile == "music" and not (route.rings and route.answer == "at once"):
        raise ConfigurationError(f'{where}.meanwhile: nobody hears it without phones or via, and answer = "at once"')
    if route.refuse and not 400 <= route.refuse <= 699:
        raise ConfigurationError(f"{where}.refuse: {route.refuse} is no status that refuses a call; 603 declines, 486 is busy")
    if route.answer == "early" and "://" in route.agent and not route.agent.startswith("twiml+"):
        raise ConfigurationError(f'{where}.answer: "early" needs an agent in Python, which says call.answer(); bots have no word for it')


def _check_conditions(route: Route, where: str, trunks: tuple[Trunk, ...]) -> None:
    names = ["", *(trunk.name for trunk in trunks)]
    if not any(fnmatch.fnmatchcase(name, route.trunk) for name in names):
        there_are = ", ".join(f'"{name}"' for name in names[1:]) or "no [[trunks]]"
        raise ConfigurationError(f'{where}.trunk: "{route.trunk}" fits no trunk; there are {there_are}')
    for name in route.headers:
        if not HEADER.fullmatch(name):
            raise ConfigurationError(f'{where}.headers: "{name}" is no name of a header; write it without the colon')
    if bool(route.hours) != bool(route.time_zone):
        raise ConfigurationError(f'{where}: hours and time_zone go together: hours = ["Mon-Fri 08:00-18:00"], time_zone = "Europe/Berlin"')
    if route.hours:
        Hours(route.hours, route.time_zone, where)
