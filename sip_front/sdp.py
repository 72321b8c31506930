"""Session descriptions: RFC 8866 (and what phones made of RFC 4566). Octets in, a value out, and back.

Only what offers and answers need is understood; attributes are kept as written, crypto lines among them. Limits come
before arithmetic, and a name where an address belongs is refused: what an SDP says never makes us look anything up.
"""

import functools
import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple, cast

from control_plane.errors import PeerViolation
from control_plane.messages import Direction
from sip_front.uri import parse_number, quoted

# Overflows in other servers were each a list that an SDP could make as long as it liked.
MAX_OCTETS = 16 * 1024
MAX_LINES = 400
MAX_MEDIA = 4
MAX_FORMATS = 64
MAX_PTIME_MS = 1000  # of what is noted; which of them we do is the answer's business
MAX_RTPMAP_CHARACTERS, KNOWN_RTPMAPS = 80, 512

DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`{|}~/]+")
Attribute = tuple[str, str | None]
"""a=NAME or a=NAME:VALUE."""


class BadDescription(PeerViolation):
    """Not a session description, or one beyond our limits. The text quotes the line."""


class Encoding(NamedTuple):
    """What a payload type stands for: a=rtpmap, or RFC 3551 where the number is static. The name is in upper case."""

    name: str
    rtp_clock_hz: int
    channels: int = 1


STATIC_ENCODINGS = {  # RFC 3551 table 4: what may go without rtpmap
    0: Encoding("PCMU", 8000),
    3: Encoding("GSM", 8000),
    4: Encoding("G723", 8000),
    8: Encoding("PCMA", 8000),
    9: Encoding("G722", 8000),
    13: Encoding("CN", 8000),
    15: Encoding("G728", 8000),
    18: Encoding("G729", 8000),
}


class MediaLine(NamedTuple):
    """One m= section. Its formats are texts: payload types where `protocol` is an RTP profile."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    address: str | None = None
    """From a c= of its own. `SessionDescription.address_of` also knows the session's."""
    attributes: tuple[Attribute, ...] = ()
    bandwidths: tuple[str, ...] = ()
    port_count: int = 1

    def attribute(self, name: str) -> str | None:
        """The first value of that name; "" where it has none; None where it is not there."""
        return _first(self.attributes, name)

    @property
    def is_rtp(self) -> bool:
        return self.protocol.upper().startswith(("RTP/", "UDP/TLS/RTP/"))

    @property
    def encodings(self) -> dict[int, Encoding]:
        """By payload type, in the order of the m= line. Types that nothing explains are left out."""
        mapped = dict(filter(None, (_rtpmap(value or "") for name, value in self.attributes if name == "rtpmap")))
        known = STATIC_ENCODINGS | mapped
        return {number: known[number] for number in map(int, self.formats) if number in known} if self.is_rtp else {}

    @property
    def ptime_ms(self) -> int | None:
        return self._milliseconds("ptime")

    @property
    def maxptime_ms(self) -> int | None:
        return self._milliseconds("maxptime")

    def _milliseconds(self, name: str) -> int | None:
        """None where it says nothing that makes sense: phones write 0, and a wish is no reason to refuse a call."""
        return parse_number((self.attribute(name) or "").strip(" "), MAX_PTIME_MS) or None


class SessionDescription(NamedTuple):
    username: str
    session_id: int
    version: int
    origin_address: str
    address: str | None
    """From the session's c=."""
    media: tuple[MediaLine, ...]
    attributes: tuple[Attribute, ...] = ()
    name: str = "-"
    times: tuple[str, ...] = ("0 0",)
    bandwidths: tuple[str, ...] = ()

    def address_of(self, media: MediaLine) -> str | None:
        return media.address or self.address

    def direction_of(self, media: MediaLine) -> Direction:
        """As the one who wrote this sees it. The session's holds where the media line has none (RFC 8866 6.7)."""
        for attributes in (media.attributes, self.attributes):
            for name, _ in attributes:
                if name in DIRECTIONS:
                    return cast(Direction, name)
        return "sendrecv"

    def encode(self) -> bytes:
        lines = ["v=0", f"o={self.username} {self.session_id} {self.version} IN {_typed(self.origin_address)}", f"s={self.name}"]
        if self.address:
            lines.append(f"c=IN {_typed(self.address)}")
        lines += [f"b={text}" for text in self.bandwidths]
        lines += [f"t={text}" for text in self.times]
        lines += map(_attribute_line, self.attributes)
        for media in self.media:
            port = str(media.port) if media.port_count == 1 else f"{media.port}/{media.port_count}"
            lines.append(" ".join((f"m={media.kind}", port, media.protocol, *media.formats)))
            if media.address:
                lines.append(f"c=IN {_typed(media.address)}")
            lines += [f"b={text}" for text in media.bandwidths]
            lines += map(_attribute_line, media.attributes)
        return ("\r\n".join(lines) + "\r\n").encode("utf-8", "surrogateescape")


def parse_sdp(octets: bytes) -> SessionDescription:
    """Raises BadDescription. Lines that an answer has no use for (i, u, e, p, r, z, k) are read over."""
    if len(octets) > MAX_OCTETS:
        raise BadDescription(f"the session description has {len(octets)} octets; we take {MAX_OCTETS}")
    sections: list[list[tuple[str, str]]] = [[]]
    lines = octets.decode("utf-8", "surrogateescape").split("\n")
    if len(lines) > MAX_LINES:
        raise BadDescription(f"the session description has {len(lines)} lines; we take {MAX_LINES}")
    for line in lines:
        line = line.removesuffix("\r")  # RFC 8866 5: LF alone should be taken
        if not line:
            continue
        if line[1:2] != "=" or "\r" in line or "\0" in line:
            raise BadDescription(f"{quoted(line)} is not a line of a session description: a letter, = and a value")
        if line[0] == "m":
            sections.append([])
        sections[-1].append((line[0], line[2:]))
    session, *media = sections
    if not session or session[0] != ("v", "0"):
        raise BadDescription("the session description does not start with v=0")
    if len(media) > MAX_MEDIA:
        raise BadDescription(f"{len(media)} m= lines; we take {MAX_MEDIA}")
    username, session_id, version, origin_address = _parse_origin(session)
    described = SessionDescription(
        username,
        session_id,
        version,
        origin_address,
        _parse_connection(session),
        tuple(_parse_media(section) for section in media),
        _attributes(session),
        _values(session, "s")[0] if _values(session, "s") else "-",
        _values(session, "t") or ("0 0",),
        _values(session, "b"),
    )
    for wanted in described.media:
        if wanted.port and not described.address_of(wanted):
            raise BadDescription(f"the {quoted(wanted.kind)} media have no c= line, neither of their own nor the session's")
    return described


def _values(section: Iterable[tuple[str, str]], letter: str) -> tuple[str, ...]:
    return tuple(value for key, value in section if key == letter)


def _words(text: str) -> list[str]:
    """Between spaces. split() alone would also cut at separators that only Unicode knows."""
    return [word for word in text.split(" ") if word]


def _attributes(section: Iterable[tuple[str, str]]) -> tuple[Attribute, ...]:
    found: list[Attribute] = []
    for value in _values(section, "a"):
        name, colon, text = value.partition(":")
        name = name.strip(" ")
        if not TOKEN.fullmatch(name):
            raise BadDescription(f"a={quoted(value)} has no name")
        found.append((name, text if colon else None))
    return tuple(found)


def _first(attributes: Iterable[Attribute], name: str) -> str | None:
    return next((value or "" for key, value in attributes if key == name), None)


def _parse_origin(session: list[tuple[str, str]]) -> tuple[str, int, int, str]:
    """o= tells one version of a description from the next; its address is for people, so a name is fine there."""
    text = (_values(session, "o") or ("",))[0]
    parts = _words(text)
    if len(parts) != 6:
        raise BadDescription(f"o={quoted(text)} is not six words: user, session, version, IN, IP4 or IP6, address")
    session_id, version = parse_number(parts[1], 10**20), parse_number(parts[2], 10**20)
    if session_id is None or version is None:
        raise BadDescription(f"o={quoted(text)}: session and version must be numbers of at most 20 digits")
    return parts[0], session_id, version, parts[5]


def _parse_connection(section: list[tuple[str, str]]) -> str | None:
    found = _values(section, "c")
    if not found:
        return None
    parts = _words(found[0])
    if len(parts) != 3 or parts[0].upper() != "IN" or parts[1].upper() not in ("IP4", "IP6"):
        raise BadDescription(f"c={quoted(found[0])} is not IN, IP4 or IP6 and an address")
    text = parts[2].partition("/")[0]  # multicast has its TTL behind; the address alone tells what it is
    kind = ipaddress.IPv4Address if parts[1].upper() == "IP4" else ipaddress.IPv6Address
    try:
        address = kind(text)
    except ValueError as failure:
        raise BadDescription(f"c={quoted(found[0])}: {quoted(text)} is not an {parts[1]} address; names are not looked up") from failure
    if "%" in text:
        raise BadDescription(f"c={quoted(found[0])}: the zone of an address means nothing on another machine")
    return str(address)


def _parse_media(section: list[tuple[str, str]]) -> MediaLine:
    text = section[0][1]
    words = _words(text)
    kind, port_text, protocol, *formats = words if len(words) > 2 else ("", "", "")
    port_text, has_count, count_text = port_text.partition("/")
    port, count = parse_number(port_text, 65535), parse_number(count_text, 65535) if has_count else 1
    if port is None or not count or not protocol:
        raise BadDescription(f"m={quoted(text)} is not a kind of media, a port, a protocol and formats")
    if (port and not formats) or len(formats) > MAX_FORMATS:
        raise BadDescription(f"m={quoted(text)} has {len(formats)} formats; we take 1 to {MAX_FORMATS}")
    if len(set(formats)) < len(formats):
        raise BadDescription(f"m={quoted(text)} names a format twice")
    line = MediaLine(kind, port, protocol, tuple(formats), _parse_connection(section), _attributes(section), _values(section, "b"), count)
    if line.is_rtp:
        for number in formats:
            if parse_number(number, 127) is None or str(int(number)) != number:
                raise BadDescription(f"m={quoted(text)}: {quoted(number)} is not a payload type from 0 to 127")
    return line


def _rtpmap(value: str) -> tuple[int, Encoding] | None:
    """NUMBER NAME/CLOCK[/CHANNELS]. None for anything else: it explains nothing, which is no reason to refuse the rest."""
    return _known_rtpmap(value) if len(value) <= MAX_RTPMAP_CHARACTERS else None


@functools.lru_cache(KNOWN_RTPMAPS)
def _known_rtpmap(value: str) -> tuple[int, Encoding] | None:
    """Every call has the same few, and asks for them several times."""
    number_text, _, encoding = value.strip(" ").partition(" ")
    name, _, rest = encoding.strip(" ").partition("/")
    clock_text, has_channels, channels_text = rest.partition("/")
    number, clock = parse_number(number_text, 127), parse_number(clock_text, 1_000_000)
    channels = parse_number(channels_text, 255) if has_channels else 1
    if number is None or not clock or not channels or not TOKEN.fullmatch(name):
        return None
    return number, Encoding(name.upper(), clock, channels)


def _typed(address: str) -> str:
    return f"IP6 {address}" if ":" in address else f"IP4 {address}"


def _attribute_line(attribute: Attribute) -> str:
    name, value = attribute
    return f"a={name}" if value is None else f"a={name}:{value}"
