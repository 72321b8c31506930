"""Headers of SIP messages: their names, their values, and the few values that everything else stands on.

Values are text that holds any octets (UTF-8, others as surrogates), so that what came can be sent back unchanged.
Every function reads its text once; no pattern here can backtrack.
"""

import functools
import re
from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from control_plane.errors import Misuse, PeerViolation
from sip_front.uri import FORBIDDEN, NONE, BadUri, Parameters, encode_parameters, quoted, split_host_port

if TYPE_CHECKING:
    from sip_front.message import Request

MAGIC_COOKIE = "z9hG4bK"  # 8.1.1.7: a branch that starts so names one transaction
TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
QUOTED_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
VIA_PROTOCOL = re.compile(r"SIP[ \t]*/[ \t]*2\.0[ \t]*/[ \t]*([A-Za-z0-9\-.!%*_+`'~]+)[ \t]+", re.IGNORECASE | re.ASCII)
MARKS = re.compile(r'\\.|[",;<>]', re.DOTALL)
# What nearly every message has, in one step. Whatever differs is read the long way, with the same result.
USUAL_VIA = re.compile(
    r"SIP/2\.0/(UDP|TCP|TLS|WSS?) ([A-Za-z0-9][A-Za-z0-9.\-]*)(?<![.\-])(?::([0-9]{1,4}))?"
    r"(?:(;rport)(?:=([0-9]+))?)?;branch=([A-Za-z0-9\-.!%*_+`'~]+)(?:(;rport)(?:=([0-9]+))?)?",
    re.ASCII,
)
USUAL_ADDRESS = re.compile(r'(?:"([^"\\]*)" )?<([^\x00-\x20\x7f<>"\\]+)>(?:;tag=([A-Za-z0-9\-.!%*_+`\'~]+))?')
QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"'})

# fmt: off
COMPACT = {
    "a": "Accept-Contact", "b": "Referred-By", "c": "Content-Type", "d": "Request-Disposition", "e": "Content-Encoding",
    "f": "From", "i": "Call-ID", "j": "Reject-Contact", "k": "Supported", "l": "Content-Length", "m": "Contact",
    "n": "Identity-Info", "o": "Event", "r": "Refer-To", "s": "Subject", "t": "To", "u": "Allow-Events", "v": "Via",
    "x": "Session-Expires", "y": "Identity",
}
"""The one-letter names that IANA lists."""

LISTS = frozenset((
    "Accept", "Accept-Contact", "Accept-Encoding", "Accept-Language", "Alert-Info", "Allow", "Allow-Events", "Call-Info",
    "Contact", "Content-Encoding", "Content-Language", "Diversion", "Error-Info", "Geolocation", "History-Info",
    "In-Reply-To", "P-Asserted-Identity", "P-Preferred-Identity", "Path", "Proxy-Require", "Reason", "Record-Route",
    "Reject-Contact", "Require", "Route", "Security-Client", "Security-Server", "Security-Verify", "Service-Route",
    "Supported", "Unsupported", "Via", "Warning",
))
"""Headers whose value is a list: "A: x, y" says the same as two lines (7.3.1)."""

SINGLE = (
    "Authorization", "Call-ID", "Content-Disposition", "Content-Length", "Content-Type", "CSeq", "Date", "Event", "Expires",
    "From", "Max-Forwards", "Min-Expires", "Min-SE", "MIME-Version", "Organization", "Proxy-Authenticate",
    "Proxy-Authorization", "RAck", "Refer-To", "Referred-By", "Replaces", "Retry-After", "RSeq", "Server",
    "Session-Expires", "SIP-ETag", "SIP-If-Match", "Subject", "Timestamp", "To", "User-Agent", "WWW-Authenticate",
)
# fmt: on
KNOWN = {spelling: name for name in (*LISTS, *SINGLE) for spelling in (name, name.lower())} | {
    spelling: name for letter, name in COMPACT.items() for spelling in (letter, letter.upper())
}


KNOWN_NAMES, KNOWN_CHARACTERS = 1024, 64  # of headers that we have no table for: 100 KB at most, whoever sends
USUAL = frozenset(("branch", "rport", "received", "tag", "lr", "transport", "expires", "q"))
"""Parameter names that need no look at each letter."""


class BadMessage(PeerViolation):
    """Not SIP, or SIP that nothing can be done with. `request` is what could be read of it, enough to answer with `status`;
    None: there is nobody to answer, or it was a response, which nobody answers."""

    def __init__(self, text: str, status: int = 400, request: "Request | None" = None) -> None:
        super().__init__(text)
        self.sip_status = status
        self.request = request

    @property
    def status(self) -> int:
        return self.sip_status


def canonical(name: str) -> str:
    """One spelling for each header, whatever the case, the compact form or the space before the colon. Raises BadMessage.

    Everything that looks a header up, filters or forwards it goes through here, so that no spelling slips past.
    """
    return _known_name(name) if len(name) <= KNOWN_CHARACTERS else _canonical(name)


@functools.lru_cache(KNOWN_NAMES)
def _known_name(name: str) -> str:
    """X- headers are the same in every call of a trunk."""
    return _canonical(name)


def _canonical(name: str) -> str:
    name = name.strip(" \t")
    if not TOKEN.fullmatch(name):  # before lower(), which makes a plain k of the Kelvin sign
        raise BadMessage(f"{quoted(name)} is not the name of a header")
    return KNOWN.get(name.lower()) or "-".join(part.capitalize() for part in name.split("-"))


def split_list(text: str, separator: str = ",") -> list[str]:
    """The elements between separators that stand neither in quotes nor in <>. Empty elements are left out."""
    if separator not in text:
        only = text.strip(" \t")
        return [only] if only else []
    if '"' not in text and "<" not in text:
        return [part for piece in text.split(separator) if (part := piece.strip(" \t"))]
    parts: list[str] = []
    start, in_quotes, in_angles = 0, False, False
    for mark in MARKS.finditer(text):
        character = mark[0]
        if character == '"' and not in_angles:
            in_quotes = not in_quotes
        elif in_quotes:
            continue
        elif character == "<":
            in_angles = True
        elif character == ">":
            in_angles = False
        elif character == separator and not in_angles:
            parts.append(text[start : mark.start()].strip(" \t"))
            start = mark.end()
    parts.append(text[start:].strip(" \t"))
    return [part for part in parts if part]


class Headers:
    """In the order they came, each as often as it came, by canonical name. Values are as written, unfolded."""

    __slots__ = ("_first", "_indexed", "_length", "lines")

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self.lines: list[tuple[str, str]] = []
        self._first: dict[str, str] = {}
        self._indexed, self._length = self.lines, 0
        for name, value in items:
            self.add(name, value)

    @property
    def first(self) -> dict[str, str]:
        """The first value of each name, as written. Made anew when lines were added or the list replaced; no line is changed in place."""
        if self._indexed is not self.lines or self._length != len(self.lines):
            self._first = dict(reversed(self.lines))
            self._indexed, self._length = self.lines, len(self.lines)
        return self._first

    def get(self, name: str) -> str | None:
        """The first value, or the first element where the value is a list."""
        value = self.first.get(name)
        if value is None:
            name = KNOWN.get(name) or canonical(name)
            value = self._first.get(name)
        return (split_list(value) or [""])[0] if value and "," in value and name in LISTS else value

    def get_all(self, name: str) -> list[str]:
        """All values; lists are taken apart, so that lines and commas make no difference."""
        name = KNOWN.get(name) or canonical(name)
        if name not in self.first:
            return []
        values = [value for key, value in self.lines if key == name]
        if all(values) and "," not in "".join(values):
            return values
        return [part for value in values for part in split_list(value)] if name in LISTS else values

    def add(self, name: str, value: str) -> None:
        self.lines.append(_checked(name, value))

    def prepend(self, name: str, value: str) -> None:
        """Before all headers of its name: a Via or a Route goes on top."""
        name, value = _checked(name, value)
        place = next((i for i, (key, _) in enumerate(self.lines) if key == name), 0)
        self.lines.insert(place, (name, value))

    def set(self, name: str, value: str) -> None:
        """In the place of all there are of that name, or at the end."""
        name, value = _checked(name, value)
        place = next((i for i, (key, _) in enumerate(self.lines) if key == name), len(self.lines))
        self.lines = [item for item in self.lines if item[0] != name]
        self.lines.insert(place, (name, value))

    def replace_first(self, name: str, value: str) -> None:
        """Only the first element: how received and rport get into the top Via."""
        rest = self.get_all(name)[1:]
        self.set(name, value)
        place = self.lines.index(_checked(name, value)) + 1
        self.lines[place:place] = [_checked(name, other) for other in rest]

    def remove(self, name: str) -> None:
        name = canonical(name)
        self.lines = [item for item in self.lines if item[0] != name]

    def items(self) -> Iterator[tuple[str, str]]:
        return iter(self.lines)

    def copy(self) -> "Headers":
        twin = Headers()
        twin.lines = self.lines.copy()
        return twin

    def __contains__(self, name: str) -> bool:
        return (KNOWN.get(name) or canonical(name)) in self.first

    def __len__(self) -> int:
        return len(self.lines)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.lines == other.lines

    def __repr__(self) -> str:
        return f"Headers({self.lines!r})"


def _checked(name: str, value: str) -> tuple[str, str]:
    if "\r" in value or "\n" in value:
        raise Misuse(f"a line end in {name}: {quoted(value)} would become a header of its own")
    return canonical(name), value


class Via(NamedTuple):
    """One hop (RFC 3261 20.42). `protocol` is the transport in upper case; `host` has brackets round an IPv6 address."""

    protocol: str
    host: str
    port: int | None
    params: Parameters = NONE

    @property
    def branch(self) -> str:
        return self.params.get("branch") or ""

    def with_param(self, name: str, value: str | None) -> "Via":
        return self._replace(params=MappingProxyType({**self.params, name.lower(): value}))

    def encode(self) -> str:
        place = self.host if self.port is None else f"{self.host}:{self.port}"
        return f"SIP/2.0/{self.protocol} {place}{encode_parameters(self.params)}"


class NameAddress(NamedTuple):
    """From, To, Contact, Route, Refer-To (20.10). `display` is without quotes and escapes, `uri` as written."""

    display: str
    uri: str
    params: Parameters = NONE

    @property
    def tag(self) -> str | None:
        return self.params.get("tag")

    def with_param(self, name: str, value: str | None) -> "NameAddress":
        return self._replace(params=MappingProxyType({**self.params, name.lower(): value}))

    def encode(self) -> str:
        display = f'"{self.display.translate(ESCAPES)}" ' if self.display else ""
        return f"{display}<{self.uri}>{encode_parameters(self.params)}"


def parse_via(text: str) -> Via:
    """Raises BadMessage."""
    usual = USUAL_VIA.fullmatch(text)
    if usual is None:
        return _parse_via(text)
    transport, host, port, before, rport_before, branch, behind, rport_behind = usual.groups()
    if before is None:
        params = {"branch": branch} if behind is None else {"branch": branch, "rport": rport_behind}
    elif behind is None:
        params = {"rport": rport_before, "branch": branch}
    else:
        return _parse_via(text)
    return Via(transport, host, int(port) if port else None, MappingProxyType(params))


def _parse_via(text: str) -> Via:
    text = text.strip(" \t")
    transport, rest = "UDP", text[12:]
    if not text.startswith("SIP/2.0/UDP "):
        protocol = VIA_PROTOCOL.match(text)
        if not protocol:
            raise BadMessage(f"{quoted(text)} is not a Via: it must start with SIP/2.0/ and a transport")
        transport, rest = protocol[1].upper(), text[protocol.end() :]
    place, _, tail = rest.partition(";")
    if " " in place or "\t" in place:
        place = ":".join(part.strip(" \t") for part in place.split(":"))
    try:
        host, port = split_host_port(place, text)
    except BadUri as failure:
        raise BadMessage(f"Via {failure}") from failure
    return Via(transport, host, port, _parameters(tail, text))


def parse_name_address(text: str) -> NameAddress:
    """Raises BadMessage. The URI is not taken apart: a From may hold kinds that we do not know."""
    usual = USUAL_ADDRESS.fullmatch(text)
    if usual:
        display, uri, tag = usual.groups()
        return NameAddress(display or "", uri, MappingProxyType({"tag": tag}) if tag else NONE)
    return _parse_name_address(text)


def _parse_name_address(text: str) -> NameAddress:
    text = text.strip(" \t")
    display, rest = "", text
    if text.startswith('"'):
        string = QUOTED_STRING.match(text)
        if not string:
            raise BadMessage(f"{quoted(text)} opens a quote that nothing closes")
        display, rest = string[0][1:-1], text[string.end() :].lstrip(" \t")
        if "\\" in display:
            display = QUOTED_PAIR.sub(r"\1", display)
        if not rest.startswith("<"):
            raise BadMessage(f"{quoted(text)} must have its URI in <> after the name")
    before, bracket, after = rest.partition("<")
    if bracket:
        uri, closing, tail = after.partition(">")
        tail = tail.lstrip(" \t")
        if not closing or (tail and not tail.startswith(";")):
            raise BadMessage(f"{quoted(text)} is not an address: <URI> and then parameters, each after a semicolon")
        if '"' in before:
            raise BadMessage(f"{quoted(text)} has a quote inside a name that is not in quotes")
        display, tail = display or before.strip(" \t"), tail[1:]
    else:
        uri, _, tail = rest.partition(";")  # 20.10: without <> all parameters belong to the header, and "?" is not allowed
        if "?" in uri or "," in uri:
            raise BadMessage(f"{quoted(text)} must have its URI in <>, because it holds a comma or a question mark")
    uri = uri.strip(" \t")
    if not uri or FORBIDDEN.search(uri):
        raise BadMessage(f"{quoted(text)} holds no URI")
    return NameAddress(display, uri, _parameters(tail, text))


def _parameters(text: str, whole: str) -> Parameters:
    """NAME[=VALUE] between semicolons. A quoted value keeps its quotes."""
    if not text:
        return NONE
    found: dict[str, str | None] = {}
    for item in split_list(text, ";"):
        name, equals, value = item.partition("=")
        if name not in USUAL:
            name = name.rstrip(" \t")
            if not TOKEN.fullmatch(name):
                raise BadMessage(f"{quoted(whole)}: {quoted(name)} is not the name of a parameter")
            name = name.lower()
        value = value.lstrip(" \t")
        if '"' in value and not QUOTED_STRING.fullmatch(value):
            raise BadMessage(f"{quoted(whole)}: the quotes in {quoted(value)} do not match")
        if name in found and found[name] != (value if equals else None):  # 7.3.1; the same twice is only untidy
            raise BadMessage(f"{quoted(whole)} has two different {name} parameters")
        found[name] = value if equals else None
    return MappingProxyType(found)
