"""SIP, SIPS and tel URIs: RFC 3261 19.1, RFC 3966. Text in, a value out; escapes are kept as they came.

Nothing here looks anything up, and each step reads its text once.
"""

import functools
import ipaddress
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote

from control_plane.errors import PeerViolation
from control_plane.logs import clean, without_keys

Parameters = Mapping[str, str | None]
"""Names in lower case; None: the name stands alone, without "="."""
NONE: Parameters = MappingProxyType({})

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")
HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]*[A-Za-z0-9_.])?")  # "_" is not legal, but machines are named so
THREE_COLONS = re.compile(r":::(?=[0-9]+\.[0-9.]+\Z)")  # the grammar of RFC 3261 makes them before an IPv4 tail (RFC 5118 4.10)
FORBIDDEN = re.compile(r'[\x00-\x20\x7f<>"\\]')
"""Never inside a URI. Characters beyond ASCII and "#" are not legal either, but phones dial with them."""


# What nearly every URI is, in one step. Whatever differs is read the long way, with the same result.
USUAL_URI = re.compile(
    r"(sips?):(?:([A-Za-z0-9+\-_.]+)@)?([A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?)(?::([0-9]{1,4}))?(?:;([a-z]+)(?:=([A-Za-z0-9\-.]+))?)?",
    re.ASCII,
)
KNOWN_URIS, KNOWN_CHARACTERS = 2048, 256  # a megabyte at most, whoever sends


class BadUri(PeerViolation):
    """Not a URI. The text quotes it and says where it goes wrong."""


class UnknownScheme(BadUri):
    """A URI may be, but of a kind that we cannot reach: RFC 3261 8.2.2.1."""

    sip_status = 416


class Uri(NamedTuple):
    """`user` and everything after it as written, escapes included; `host` has brackets round an IPv6 address.

    A tel: URI has its number as `user` and an empty host.
    """

    scheme: str
    user: str
    password: str | None
    host: str
    port: int | None
    params: Parameters = NONE
    headers: Parameters = NONE

    def encode(self) -> str:
        text = f"{self.scheme}:{self.user}"
        if self.password is not None:
            text += f":{self.password}"
        if self.scheme != "tel":
            text += f"@{self.host}" if self.user else self.host
        if self.port is not None:
            text += f":{self.port}"
        text += encode_parameters(self.params)
        if self.headers:
            text += "?" + "&".join(f"{name}={value or ''}" for name, value in self.headers.items())
        return text

    @property
    def number(self) -> str:
        """Who is called: the user without escapes and without the parameters that gateways put in front of "@"."""
        user = self.user
        return unquote(user.partition(";")[0], errors="replace") if "%" in user or ";" in user else user


def encode_parameters(params: Parameters) -> str:
    return "".join(f";{name}" if value is None else f";{name}={value}" for name, value in params.items())


def quoted(text: str, limit: int = 80) -> str:
    """For an error's text: what the far end wrote, cut short, with nothing that could upset a terminal or a log, and no key."""
    text = without_keys(text)
    return ascii(text if len(text) <= limit else text[:limit] + "...")


def parse_number(text: str, highest: int) -> int | None:
    """ASCII digits only, not above `highest`; None is anything else. int() alone would take "+5", "1_0" and Arabic digits."""
    if not text.isdigit() or not text.isascii() or len(text) > 20:
        return None
    value = int(text)
    return value if value <= highest else None


def parse_uri(text: str) -> Uri:
    """Raises BadUri; UnknownScheme (416) where the scheme is neither sip, sips nor tel."""
    return _known_uri(text) if len(text) <= KNOWN_CHARACTERS else _parse_uri(text)


@functools.lru_cache(KNOWN_URIS)
def _known_uri(text: str) -> Uri:
    """A URI is asked for again and again while its message is served, and a trunk's with every message."""
    usual = USUAL_URI.fullmatch(text)
    if usual is None:
        return _parse_uri(text)
    scheme, user, host, port, name, value = usual.groups()
    return Uri(scheme, user or "", None, host, int(port) if port else None, MappingProxyType({name: value}) if name else NONE)


def _parse_uri(text: str) -> Uri:
    scheme, colon, rest = text.partition(":")
    if not colon or not SCHEME.fullmatch(scheme):
        raise BadUri(f"{quoted(text)} is not a URI: it does not start with a scheme such as sip:")
    scheme = scheme.lower()
    if scheme not in ("sip", "sips", "tel"):
        raise UnknownScheme(f"we reach sip:, sips: and tel: only, not {quoted(text)}")
    if FORBIDDEN.search(rest):
        raise BadUri(f"{quoted(text)} holds a space, a quote or a control character; a URI must escape it with %")
    if scheme == "tel":
        number, _, tail = rest.partition(";")
        if not number:
            raise BadUri(f"{quoted(text)} has no number")
        return Uri(scheme, number, None, "", None, _parameters(tail, ";", text))
    return _sip_uri(scheme, rest, text)


def _sip_uri(scheme: str, rest: str, text: str) -> Uri:
    user, at, after = rest.rpartition("@")  # before "?" and ";" are looked for: a user may hold both (RFC 4475 3.1.1.9)
    if "@" in user or (at and not user):
        raise BadUri(f"{quoted(text)} must have one user before one @; another @ is written %40")
    user, password_follows, password = user.partition(":")
    if at and not user:
        raise BadUri(f"{quoted(text)} has a password without a user")
    after, _, header_text = after.partition("?")
    place, _, tail = after.partition(";")
    host, port = split_host_port(place, text)
    return Uri(
        scheme,
        user,
        password if password_follows else None,
        host,
        port,
        _parameters(tail, ";", text),
        _parameters(header_text, "&", text),
    )


def split_host_port(place: str, text: str) -> tuple[str, int | None]:
    """`place` is HOST, HOST:PORT or with [IPv6]; `text` is what the error quotes. Raises BadUri."""
    if place.startswith("["):
        inside, bracket, tail = place[1:].partition("]")
        inside = THREE_COLONS.sub("::", inside)
        try:
            ipaddress.IPv6Address(inside)
        except ValueError:
            bracket = ""
        if not bracket or "%" in inside or (tail and not tail.startswith(":")):
            raise BadUri(f"{quoted(text)}: {quoted(place)} is not an IPv6 address in brackets")
        host, has_port, port_text = f"[{inside}]", tail[:1], tail[1:]
    else:
        host, has_port, port_text = place.partition(":")
        if not HOST.fullmatch(host):
            raise BadUri(f"{quoted(text)}: {quoted(host)} is not a host")
    if not has_port:
        return host, None
    port = parse_number(port_text, 65535)
    if port is None:
        hint = " (an IPv6 address needs brackets)" if ":" in port_text else ""
        raise BadUri(f"{quoted(text)}: {quoted(port_text)} is not a port{hint}")
    return host, port


def _parameters(text: str, separator: str, whole: str) -> Parameters:
    if not text:
        return NONE
    found: dict[str, str | None] = {}
    for item in text.split(separator):
        name, equals, value = item.partition("=")
        if not name:
            if equals:
                raise BadUri(f"{quoted(whole)} has a value without a name")
            continue
        name = name.lower()
        if name in found:
            raise BadUri(f"{quoted(whole)} names {quoted(name)} twice")
        found[name] = value if equals or separator == "&" else None
    return MappingProxyType(found)


def number_of(uri: str) -> str:
    """Who that is, for people, routes and agents: the user, or all of it where there is none."""
    try:
        parsed = parse_uri(uri)
    except BadUri:
        return clean(uri, 80)
    return clean(parsed.number or parsed.host, 80)
