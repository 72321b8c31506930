"""What the configuration says of trunks and of users: who may call as whom, and how calls go out."""

import ipaddress
import math
import os
import pathlib
import re
from typing import NamedTuple

import msgspec

from control_plane.errors import ConfigurationError
from control_plane.formats import check_names
from control_plane.secret import Secret
from control_plane.srtp_suites import POLICIES

DAY_S = 86_400
MAX_RANK = 65_535  # of priority and weight in SRV records (RFC 2782)
GATEWAY = re.compile(r"(?:sip:)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>\d{1,5}))?(?P<parameters>(?:;\w+=\w+)*)")
HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?")
PREFIX = re.compile(r"\+?[0-9*#]{1,20}|\+")
HA1 = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}")
USER = re.compile(r"[^\s\"<>@:;\\\x00-\x1f\x7f]+")
TRANSPORTS = ("udp", "tcp", "tls")
NUMBER_FORMATS = ("as_given", "+e164", "e164")
CALLER_HEADERS = ("", "P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID")


class Trunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    """Shown for each of its calls, and named in routes and in orders to call."""
    tenant: str = ""
    """Whose trunk it is. Its calls go to routes of this tenant and to those of nobody in particular. Empty: nobody's in particular."""
    gateways: tuple[str, ...] = ()
    """Where calls go out to: HOST[:PORT][;transport=udp|tcp|tls], the first one first. The next is tried when one does not answer.
    With ;priority=N or ;weight=N, as of SRV: the lowest priority first, and calls are shared by weight among those that have the same."""
    allow: tuple[str, ...] = ()
    """Networks and host names that call as this trunk. With `users` as well, both are asked for."""
    users: tuple[str, ...] = ()
    """Names of [[users]] that call as this trunk, from anywhere unless `allow` says where."""
    username: str = ""
    """Of the credential, for digest. Carriers often call it authentication or SIP user; it is not the display name."""
    password: Secret = Secret()
    password_file: str = ""
    """A file that holds the password: an absolute path, or the name of a systemd credential."""
    realm: str = ""
    """The only one that may ask for the password. Empty: whatever the gateways name."""
    from_user: str = ""
    """In From, where the carrier wants the account there. Empty: the caller's number."""
    from_domain: str = ""
    """In From and To. Empty: the gateway's."""
    register: bool = False
    """Log in at the first gateway that answers, so that calls come to us."""
    register_seconds: int = 600
    """How long a registration is asked for. Less finds a lost one sooner, and costs more messages."""
    outbound_proxy: str = ""
    """HOST[:PORT][;transport=...] that everything goes through."""
    country_code: str = ""
    """Of national numbers, which begin with 0: "49" makes +4930... of 030... Empty: they are left alone."""
    number_format: str = "as_given"
    """Of the number called: "+e164" is +4930..., "e164" is 4930..."""
    strip: str = ""
    """Taken off the front of the number, if it is there."""
    prefix: str = ""
    """Put in front of the number: a tech prefix."""
    caller_header: str = ""
    """Which header holds the caller's number: P-Asserted-Identity, P-Preferred-Identity or Remote-Party-ID. Empty: From only."""
    hides_caller: bool = False
    """Asks the carrier not to show the number (Privacy: id), and calls as anonymous."""
    send_headers: tuple[str, ...] = ()
    """X- headers that a call's order may put into the INVITE, as patterns: "X-Campaign*"."""
    allow_numbers: tuple[str, ...] = ()
    """Numbers that may be called, as patterns: "+49*". Nothing else is called: a stolen token must not ring up premium numbers."""
    deny_numbers: tuple[str, ...] = ()
    """Numbers that may not be called though `allow_numbers` has them, as patterns: "+49900*"."""
    max_calls_per_minute: int = 0
    """Calls out. 0: no limit of its own."""
    max_calls_per_number_per_hour: int = 0
    """Calls out to one number. 0: no limit of its own."""
    prices: dict[str, float] = {}
    """What a minute costs, by the beginning of the number in full: {"+49" = 0.01, "+4917" = 0.05}. The longest that fits counts."""
    max_spend_per_day: float = 0.0
    """By `prices`, in their currency, from 00:00 UTC on. Beyond it nothing is called, calls end, and numbers without a price are refused.
    0: no cap."""
    max_calls: int = 0
    """At a time, both ways. 0: no limit of its own."""
    max_calls_per_second: float = 0.0
    """Outbound set-ups. 0: no limit of its own. Carriers answer 503 or worse above theirs."""
    formats: tuple[str, ...] = ()
    """Empty: media.formats."""
    srtp: str = ""
    """off, preferred or required, as media.srtp says. Empty: media.srtp."""
    delayed_offer: bool = False
    """INVITEs leave the offer to the far end, whose codecs are then taken in its order of lines: for gateways that ask for it."""
    shared_rtp_port: bool = False
    """Its calls have one RTP port together, one for each worker: cheaper, and one hole in firewalls. For peers that send from where
    their SDP says; one behind NAT is heard only if it says its SSRC there (a=ssrc). See media.shared_port_calls."""
    ping_seconds: int = 60
    """OPTIONS to each gateway; one that does not answer is tried last. 0: never."""
    answer_seconds: float = 4.0
    """A gateway that says nothing at all for this long is left for the next one."""
    traceparent_header: str = ""
    """The X- header in which it may name the trace that a call belongs to (W3C Trace Context). Empty: it may not."""


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    tenant: str = ""
    """Whose user it is. Empty: its trunk's."""
    password: Secret = Secret()
    password_file: str = ""
    ha1: Secret = Secret()
    """Instead of the password: hexadecimal MD5 (32) or SHA-256 (64) of NAME:REALM:PASSWORD, with sip.realm."""


class Gateway(NamedTuple):
    host: str
    """With brackets round an IPv6 address."""
    port: int | None
    transport: str
    priority: int | None = None
    weight: int | None = None

    def uri(self, user: str = "") -> str:
        port = f":{self.port}" if self.port else ""
        transport = "" if self.transport == "udp" else f";transport={self.transport}"
        return f"sip:{f'{user}@' if user else ''}{self.host}{port}{transport}"


LIMITS: tuple[tuple[str, float, float, str], ...] = (  # of a trunk: setting, from, to, what to write
    ("register_seconds",     30, DAY_S,   "600 finds a registrar that lost us within ten minutes"),
    ("max_calls",            0,  100_000, "0 is no limit of its own"),
    ("max_calls_per_second", 0,  10_000,  "0 is no limit of its own"),
    ("max_calls_per_minute", 0,  600_000, "0 is no limit of its own"),
    ("max_calls_per_number_per_hour", 0, 10_000, "0 is no limit of its own"),
    ("max_spend_per_day",    0,  1e9,     "0 is no cap"),
    ("ping_seconds",         0,  DAY_S,   "60 is usual, and 0 sends none"),
    ("answer_seconds",       0.5, 32,     "4 outlasts three lost datagrams"),
)  # fmt: skip


def parse_gateway(text: str, where: str) -> Gateway:
    """Raises ConfigurationError."""
    found = GATEWAY.fullmatch(text)
    host = found["host"] if found else ""
    if not found or not (is_address(host.strip("[]")) or HOST_NAME.fullmatch(host)):
        raise ConfigurationError(f'{where}: "{text}" is not HOST[:PORT][;transport=tcp], for example "sip.example.com:5060"')
    parameters = dict(item.split("=") for item in found["parameters"].lower().split(";")[1:])
    transport = parameters.pop("transport", "udp")
    if transport not in TRANSPORTS:
        raise ConfigurationError(f'{where}: "{text}" names the transport "{transport}"; there are {", ".join(TRANSPORTS)}')
    ranks = {name: parameters.pop(name, None) for name in ("priority", "weight")}
    for name, value in (*parameters.items(), *ranks.items()):
        if name not in ranks:
            raise ConfigurationError(f'{where}: "{text}" has a parameter "{name}"; there are transport, priority and weight')
        if value is not None and not (value.isdecimal() and int(value) <= MAX_RANK):
            raise ConfigurationError(f'{where}: "{text}" has no {name} from 0 to {MAX_RANK}')
    port = int(found["port"]) if found["port"] else None
    if port is not None and not 1 <= port <= 65535:
        raise ConfigurationError(f'{where}: "{text}" has no port from 1 to 65535')
    return Gateway(host, port, transport, *(None if value is None else int(value) for value in ranks.values()))


def parse_gateways(trunk: Trunk, where: str) -> list[tuple[int, Gateway]]:
    """With the priority of each, the lowest first. Where none has a priority or a weight, they have the order in which they are written.

    Raises ConfigurationError.
    """
    found = [parse_gateway(text, where) for text in trunk.gateways]
    unranked = [text for text, one in zip(trunk.gateways, found, strict=True) if one.priority is None and one.weight is None]
    if len(unranked) == len(found):
        return list(enumerate(found))
    if unranked:
        raise ConfigurationError(f'{where}: "{unranked[0]}" has neither priority nor weight, and others have; say where it stands')
    return sorted(((one.priority or 0, one) for one in found), key=lambda ranked: ranked[0])


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def check_sources(sources: tuple[str, ...], where: str) -> None:
    for source in sources:
        if is_network(source):
            continue
        if "/" in source or "." not in source or not HOST_NAME.fullmatch(source) or source.replace(".", "").isdecimal():
            raise ConfigurationError(f'{where}: "{source}" is neither a network such as "192.0.2.0/24" nor a host name')


def check_trunks(trunks: tuple[Trunk, ...], users: tuple[User, ...]) -> None:
    """What types cannot say. Raises ConfigurationError with the first thing that is wrong."""
    owners: dict[str, str] = {}
    names: set[str] = set()
    for trunk in trunks:
        where = f'trunks "{trunk.name}"'
        if not trunk.name or not trunk.name.isprintable() or len(trunk.name) > 64 or trunk.name in names:
            raise ConfigurationError(f"{where}: each trunk needs a name of its own of 1 to 64 characters")
        names.add(trunk.name)
        _check_trunk(trunk, where)
        for name in trunk.users:
            if name not in {user.name for user in users}:
                raise ConfigurationError(f'{where}.users: there is no user "{name}"; add it to [[users]]')
            if owners.setdefault(name, trunk.name) != trunk.name:
                raise ConfigurationError(f'{where}.users: "{name}" belongs to trunk "{owners[name]}" already; give each its own')
    seen: set[str] = set()
    for user in users:
        _check_user(user, seen)
        seen.add(user.name)


def _check_trunk(trunk: Trunk, where: str) -> None:
    for setting, low, high, remedy in LIMITS:
        value = getattr(trunk, setting)
        if not low <= value <= high or math.isnan(value):
            raise ConfigurationError(f"{where}.{setting}: {value} is not from {low} to {high}; {remedy}")
    parse_gateways(trunk, f"{where}.gateways")
    if trunk.outbound_proxy:
        proxy = parse_gateway(trunk.outbound_proxy, f"{where}.outbound_proxy")
        if proxy.priority is not None or proxy.weight is not None:
            raise ConfigurationError(f"{where}.outbound_proxy: there is one, so priority and weight say nothing; write them to gateways")
    check_sources(trunk.allow, f"{where}.allow")
    for setting, choices in (("number_format", NUMBER_FORMATS), ("caller_header", CALLER_HEADERS), ("srtp", ("", *POLICIES))):
        if getattr(trunk, setting) not in choices:
            known = ", ".join(f'"{choice}"' for choice in choices)
            raise ConfigurationError(f'{where}.{setting}: "{getattr(trunk, setting)}" is none of {known}')
    check_names(trunk.formats, f"{where}.formats")
    for setting in ("from_user", "from_domain", "username"):
        text = getattr(trunk, setting)
        if text and not USER.fullmatch(text):
            raise ConfigurationError(f'{where}.{setting}: "{text}" holds a character that SIP does not allow there; write the bare name')
    if trunk.country_code and not (trunk.country_code.isdecimal() and 1 <= len(trunk.country_code) <= 3):
        raise ConfigurationError(f'{where}.country_code: "{trunk.country_code}" is not one to three digits such as "49"')
    for prefix, price in trunk.prices.items():
        if not PREFIX.fullmatch(prefix) or not 0 <= price <= 1e6:
            raise ConfigurationError(f'{where}.prices: "{prefix}" = {price} is not a beginning such as "+49" with the price of a minute')
    if trunk.max_spend_per_day and not trunk.prices:
        raise ConfigurationError(f'{where}.max_spend_per_day: it needs prices, for example prices = {{ "+49" = 0.01 }}')
    for pattern in trunk.send_headers:
        if not pattern.upper().startswith("X-"):
            raise ConfigurationError(f'{where}.send_headers: "{pattern}" does not begin with X-; other headers are ours to write')
    if trunk.password and trunk.password_file:
        raise ConfigurationError(f"{where}: password and password_file are both given; keep password_file")
    if (trunk.password or trunk.password_file) and not trunk.username:
        raise ConfigurationError(f"{where}: a password without username; write the user name of the carrier's credential")
    if trunk.register and not (trunk.username or trunk.from_user):
        raise ConfigurationError(f"{where}.register: nobody to register; write username, and password if the carrier asks for one")
    for need, setting in (("register", "register = true"), ("allow_numbers", "allow_numbers")):
        if getattr(trunk, need) and not trunk.gateways:
            raise ConfigurationError(f"{where}: {setting} without gateways: name the carrier's host there")


def _check_user(user: User, seen: set[str]) -> None:
    where = f'users "{user.name}"'
    if not USER.fullmatch(user.name) or user.name in seen:
        raise ConfigurationError(f"{where}: each user needs a name of its own, without spaces, quotes, @ and colons")
    if (bool(user.password), bool(user.password_file), bool(user.ha1)).count(True) != 1:
        raise ConfigurationError(f"{where}: give one of password, password_file and ha1")
    if user.ha1 and not HA1.fullmatch(user.ha1.reveal()):
        raise ConfigurationError(f"{where}.ha1: not 32 (MD5) or 64 (SHA-256) hexadecimal digits in lower case")


def read_password(owner: Trunk | User) -> str:
    """From the configuration or its file. Only the front reads it. Raises ConfigurationError."""
    if not owner.password_file:
        return owner.password.reveal()
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    path = pathlib.Path(folder, owner.password_file) if folder else pathlib.Path(owner.password_file)
    where = f'{type(owner).__name__.lower()}s "{owner.name}".password_file'
    if not path.is_absolute():
        raise ConfigurationError(f'{where}: "{owner.password_file}" needs an absolute path, or LoadCredential= in the unit of the front')
    try:
        password = path.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as failure:
        raise ConfigurationError(f"{where}: {path} cannot be read: {failure}") from failure
    if not password:
        raise ConfigurationError(f"{where}: {path} is empty; write the password into it")
    return password
