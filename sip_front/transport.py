"""Transports, and the far ends that they lead to: RFC 3261 18 and 19.1.2. Values only, nothing is opened or looked up here.

A new transport is one row of the table, and its I/O.
"""

from collections.abc import Callable
from typing import NamedTuple

from sip_front.admission import fold
from sip_front.uri import Uri


class Transport(NamedTuple):
    name: str
    """In URIs, and in sip.listen."""
    via: str
    is_reliable: bool
    """It loses nothing, so that a transaction repeats nothing (17.1.1.2). It is a connection, which whoever is at its end is reached by."""
    is_secure: bool
    default_port: int
    srv: str
    """What stands before a domain that says where its servers are (RFC 3263 4.1). Empty: nobody is connected to by it, they come to us."""
    naptr: str
    is_stream: bool = False
    """Messages must be cut out of it, by their Content-Length (18.3)."""
    in_uri: str = ""
    """What URIs call it, where that is not its name."""


TRANSPORTS = {t.name: t for t in (
    #         name   via    reliable secure port   SRV           NAPTR       stream  in URIs
    Transport("udp", "UDP", False,   False, 5060, "_sip._udp",  "SIP+D2U"),
    Transport("tcp", "TCP", True,    False, 5060, "_sip._tcp",  "SIP+D2T",  True),
    Transport("tls", "TLS", True,    True,  5061, "_sips._tcp", "SIPS+D2T", True),
    Transport("ws",  "WS",  True,    False, 80,   "",           "",         False, "ws"),   # RFC 7118
    Transport("wss", "WSS", True,    True,  443,  "",           "",         False, "ws"),
)}  # fmt: skip


class Address(NamedTuple):
    """A far end. `host` is an IP address without brackets."""

    host: str
    port: int
    transport: str = "udp"
    flow: int = 0
    """What leads there: over UDP one of our sockets, over a stream a connection. 0, or one that has gone: whichever leads there."""
    name: str = ""
    """Whose certificate it must show, over TLS (RFC 5922 4). Empty: the host's."""

    @property
    def is_reliable(self) -> bool:
        return TRANSPORTS[self.transport].is_reliable

    @property
    def can_connect(self) -> bool:
        """Where its connection has gone, another may be opened."""
        return bool(TRANSPORTS[self.transport].srv)

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What two addresses have in common that one connection serves."""
        return self.transport, self.host, self.port, self.name

    def __str__(self) -> str:
        place = f"{bracketed(self.host)}:{self.port}"
        return place if self.transport == "udp" else f"{self.transport}:{place}"


class Place(NamedTuple):
    """Where a far end reaches us. `port` None: nowhere but on a connection that we opened."""

    host: str
    port: int | None

    def encode(self) -> str:
        return bracketed(self.host) if self.port is None else f"{bracketed(self.host)}:{self.port}"


PlaceTowards = Callable[[Address], Place]


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def transport_of(uri: Uri) -> str | None:
    """The one that the URI asks for; without that, what an address or a port without more means (RFC 3263 4.1). None: not one of ours,
    or one by which we connect to nobody."""
    asked = (uri.params.get("transport") or "").lower()
    if uri.scheme == "sips":  # 26.2.2: TLS, whose transport parameter says what lies below it
        return "tls" if asked in ("", "tcp", "tls") else None
    return (asked or "udp") if not asked or (asked in TRANSPORTS and TRANSPORTS[asked].srv) else None


def address_of(uri: Uri) -> Address | None:
    """None: a name, or a transport that we do not speak."""
    host, transport = fold(uri.host.strip("[]")), transport_of(uri)
    if host is None or transport is None or uri.port == 0:
        return None
    return Address(str(host), uri.port or TRANSPORTS[transport].default_port, transport)
