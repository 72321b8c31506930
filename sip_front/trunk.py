"""One trunk while it runs: who we are towards it, which numbers it may call and how it wants them written, what it carries.

No I/O and no messages: what is sent to a trunk is in trunks.py.
"""

import fnmatch
import random
import re
from typing import NamedTuple

from control_plane import trunk_config
from control_plane.trunk_config import parse_gateway, parse_gateways
from sip_front import digest
from sip_front.limit import Limit
from sip_front.preference import in_order
from sip_front.uri import quoted

SECOND = 1_000_000_000
VISUAL = re.compile(r"[ \t().\-/]+")  # RFC 3966 3: for people, not for dialling
DIALLED = re.compile(r"\+?[0-9A-Za-z*#_.]{1,64}")
ADDRESS_LIFE_NS = 60 * SECOND
ANONYMOUS = "sip:anonymous@anonymous.invalid"  # RFC 3323 4.1.1.3


class Caller(NamedTuple):
    """How the caller is shown: the value of From without its tag, and further headers."""

    from_value: str
    headers: tuple[tuple[str, str], ...]


class Gateway:
    """One of a trunk's, and what we know of it."""

    __slots__ = ("asked_ns", "gateway", "is_down", "ping_ns", "pinged", "priority", "weight", "why")

    def __init__(self, gateway: trunk_config.Gateway, priority: int = 0) -> None:
        self.gateway, self.priority = gateway, priority
        self.weight = 1 if gateway.weight is None else gateway.weight
        self.is_down, self.why = False, ""
        self.ping_ns = self.asked_ns = 0
        self.pinged = False
        """A ping is under way."""

    @property
    def is_named(self) -> bool:
        """Its address must be looked up."""
        return not trunk_config.is_address(self.gateway.host.strip("[]"))

    @property
    def name(self) -> str:
        return f"{self.gateway.host}:{self.gateway.port}" if self.gateway.port else self.gateway.host


class Trunk:
    def __init__(self, config: trunk_config.Trunk, seed: int | None = None) -> None:
        """Raises ConfigurationError for a password that cannot be read. `seed`: of the choice among gateways by weight."""
        self.config, self.name, self.chance = config, config.name, random.Random(seed)
        password = trunk_config.read_password(config)
        self.client = digest.Client(digest.Credentials(config.username, password, config.realm)) if config.username and password else None
        self.gateways = [Gateway(gateway, priority) for priority, gateway in parse_gateways(config, config.name)]
        self.proxy = Gateway(parse_gateway(config.outbound_proxy, config.name)) if config.outbound_proxy else None
        self.allowed = [re.compile(fnmatch.translate(pattern)) for pattern in config.allow_numbers]
        self.denied = [(pattern, re.compile(fnmatch.translate(pattern))) for pattern in config.deny_numbers]
        self.prices = sorted(config.prices.items(), key=lambda row: -len(row[0]))
        """The longest prefix first."""
        self.header_patterns = [re.compile(fnmatch.translate(pattern), re.IGNORECASE) for pattern in config.send_headers]
        self.limit = Limit(f"trunk {config.name}", config.max_calls, config.max_calls_per_second)

    @property
    def hops(self) -> list[Gateway]:
        """What has an address of its own."""
        return [*self.gateways, self.proxy] if self.proxy else self.gateways

    # ---- may this call be made ------------------------------------------------------------------------------------

    def complete(self, number: str) -> str:
        """The number as it is known everywhere, which routes and `allow_numbers` look at: +4930... where the country is known."""
        plain, country = VISUAL.sub("", number), self.config.country_code
        if plain.startswith("00"):
            return "+" + plain[2:]
        if country and plain.startswith("0"):
            return f"+{country}{plain[1:]}"
        return plain

    def written(self, number: str) -> str:
        """As the carrier wants it: format, then `strip`, then `prefix`."""
        found = self.complete(number) if self.config.number_format != "as_given" or self.config.country_code else VISUAL.sub("", number)
        if self.config.number_format == "e164":
            found = found.removeprefix("+")
        elif self.config.number_format == "+e164" and found[:1].isdecimal() and not found.startswith("0"):
            found = "+" + found
        return self.config.prefix + found.removeprefix(self.config.strip)

    def may_call(self, number: str) -> bool:
        complete = self.complete(number)
        return any(pattern.fullmatch(complete) for pattern in self.allowed) and not self.denied_by(complete)

    def denied_by(self, complete: str) -> str:
        """The pattern of deny_numbers that has it; empty: none."""
        return next((text for text, pattern in self.denied if pattern.fullmatch(complete)), "")

    def price_of(self, complete: str) -> float | None:
        """Of a minute, by the longest prefix. None: it has none."""
        return next((price for prefix, price in self.prices if complete.startswith(prefix)), None)

    def why_not(self, number: str, now_ns: int) -> str:
        """Why this number is not called now, with the remedy; empty: it may be, and has taken its place in the rate."""
        shown = quoted(number)[1:-1]
        if not self.gateways:
            return f"trunk {self.name} has no gateways: it is for calls that come; name the carrier's host there"
        if not DIALLED.fullmatch(VISUAL.sub("", number)):
            return f"{shown} is no number that trunk {self.name} could dial"
        denied_by = self.denied_by(self.complete(number))
        if denied_by:
            return f"403: trunk {self.name} may not call {self.complete(shown)}: deny_numbers has {denied_by}"
        if not self.may_call(number):
            patterns = ", ".join(self.config.allow_numbers) or "nothing"
            return f"403: trunk {self.name} may not call {self.complete(shown)}: allow_numbers has {patterns}; add a pattern if it is meant"
        return self.limit.why_full() or self.limit.why_too_fast(now_ns)

    # ---- how it is written -----------------------------------------------------------------------------------------

    def candidates(self) -> list[Gateway]:
        """In the order in which this call tries them: those that answer first. One that is down is still better than none."""
        return sorted(in_order(self.gateways, self.chance), key=lambda gateway: gateway.is_down)

    def identity(self, caller: str, domain: str) -> Caller:
        """`caller`: the number, or empty; `domain`: where our From belongs if the configuration names none (RFC 3323, 3325)."""
        config = self.config
        number = user_part(VISUAL.sub("", caller))
        domain = config.from_domain or domain
        user = config.from_user or number or user_part(config.username) or "bellframe"
        shown = f"<sip:{number or user}@{domain}>"
        headers: list[tuple[str, str]] = []
        if config.caller_header == "Remote-Party-ID":
            headers.append((config.caller_header, f"{shown};party=calling;privacy={'full' if config.hides_caller else 'off'};screen=no"))
        elif config.caller_header:
            headers.append((config.caller_header, shown))
        if config.hides_caller:
            headers.append(("Privacy", "id"))
            if not config.from_user:
                return Caller(f'"Anonymous" <{ANONYMOUS}>', tuple(headers))
        return Caller(f"<sip:{user}@{domain}>", tuple(headers))

    def why_not_headers(self, headers: dict[str, str]) -> str:
        """Which header of an order may not be sent, with the remedy."""
        for name, value in headers.items():
            if not name.upper().startswith("X-") or not any(pattern.fullmatch(name) for pattern in self.header_patterns):
                return f"the header {quoted(name)} is not among send_headers of trunk {self.name}; add it there"
            if not value.isprintable() or len(value) > 512:
                return f"the header {quoted(name)} has a value that cannot be sent: printable text of up to 512 characters only"
        return ""


def user_part(text: str) -> str:
    """What of it may stand before "@" without an escape."""
    return "".join(c for c in text if c.isascii() and (c.isalnum() or c in "+-_.!*'~"))[:128]


def explain(trunk: str, status: int, reason: str, why: str = "") -> str:
    """A final failure of a carrier, in plain words with the remedy; `why`: what the digest layer knows of a 401 or 407."""
    head = f"{status} {quoted(reason)[1:-1]} from trunk {trunk}"
    if status in (401, 407):
        if not why:
            return f"{head}: it asks for a user name and a password, and the trunk has none; write username and password"
        if "refuses the credentials" not in why:
            return f"{head}: {why.partition(': ')[2] or why}; look at realm and username of the trunk"
        user = why.partition("user ")[2]
        remedy = "carriers want the credential's user name, not the display name"
        return f"{head}: the user name {user} is not known on trunk {trunk}, or the password is wrong; {remedy}"
    remedy = REMEDIES.get(status, "")
    return f"{head}: {remedy}" if remedy else head


REMEDIES = {
    402: "the account has no credit; top it up",
    403: "the carrier forbids the call: look at caller number, destination (international?), account and the address that we call from",
    404: "the carrier does not know the number; look at number_format, strip and prefix",
    408: "the carrier had no answer in time",
    415: "the carrier takes no SDP in this form",
    480: "the number cannot be reached now",
    484: "the number is not complete; look at number_format, country_code, strip and prefix",
    488: "the carrier takes none of the formats offered, or wants SRTP; look at formats and srtp",
    503: "the carrier is overloaded or its limits are reached; look at max_calls and max_calls_per_second",
}
