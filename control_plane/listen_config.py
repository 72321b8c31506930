"""The part of the configuration that says where SIP comes in: places, their public addresses, certificates and name servers."""

import ipaddress
import pathlib
import re
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from control_plane.errors import ConfigurationError

TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")
SECURE = ("tls", "wss")
MAX_PLACES = 32
STUN, STUN_PORT = "stun:", 3478
HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?")
ORIGIN = re.compile(r"[a-zA-Z][a-zA-Z0-9+.\-]*://[^/\s?#]+")


class Sip(Protocol):
    """What is read here of the section [sip]."""

    @property
    def listen(self) -> str | tuple[str, ...]: ...
    @property
    def public_address(self) -> str | tuple[str, ...]: ...
    @property
    def tls_certificate(self) -> str: ...
    @property
    def tls_key(self) -> str: ...
    @property
    def tls_client_ca(self) -> str: ...
    @property
    def tls_server_ca(self) -> str: ...
    @property
    def websocket_origins(self) -> tuple[str, ...]: ...
    @property
    def hep(self) -> str: ...
    @property
    def nameservers(self) -> tuple[str, ...]: ...


class Listener(NamedTuple):
    transport: str
    host: str
    """Without brackets."""
    port: int
    public_address: str
    """Empty: none of its own."""
    stun: str = ""
    """HOST:PORT of who knows it. Empty: nobody has to be asked."""

    def __str__(self) -> str:
        return f"{self.transport}:{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse_address(text: str, where: str) -> tuple[str, int]:
    """HOST:PORT, with brackets round an IPv6 host."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
    except ValueError as failure:
        raise ConfigurationError(f'{where}: "{text}" is not ADDRESS:PORT, for example "0.0.0.0:5060"') from failure
    if not port.isdecimal() or int(port) > 65535:
        raise ConfigurationError(f'{where}: "{text}" has no port from 0 to 65535')
    return host, int(port)


def places(sip: Sip) -> tuple[str, ...]:
    """sip.listen as a list, as it was written."""
    return (sip.listen,) if isinstance(sip.listen, str) else sip.listen


def listeners(sip: Sip) -> list[Listener]:
    """What sip.listen asks for; HOST:PORT is two of them. Raises ConfigurationError."""
    texts = places(sip)
    public = (sip.public_address,) * len(texts) if isinstance(sip.public_address, str) else sip.public_address
    if not 1 <= len(texts) <= MAX_PLACES:
        raise ConfigurationError(f'sip.listen: {len(texts)} places; name 1 to {MAX_PLACES}, for example "0.0.0.0:5060"')
    if len(public) != len(texts):
        raise ConfigurationError(f'sip.public_address: {len(public)} for {len(texts)} places of sip.listen; name one for each, "" for none')
    found: list[Listener] = []
    for text, address in zip(texts, public, strict=True):
        prefix, colon, rest = text.partition(":")
        transports = (prefix,) if colon and prefix in TRANSPORTS else ("udp", "tcp")
        host, port = parse_address(rest if len(transports) == 1 else text, "sip.listen")
        stun = address.removeprefix(STUN) if address.startswith(STUN) else ""
        if stun:
            address, stun = "", "{}:{}".format(*parse_stun(stun))
        elif address and not _is_address(address):
            raise ConfigurationError(f'sip.public_address: "{address}" is neither an IP address nor "stun:HOST[:PORT]"')
        found += [Listener(transport, host, port, address, stun) for transport in transports]
    for one in found:
        if one.port and sum(_collide(one, other) for other in found) > 1:
            raise ConfigurationError(f"sip.listen: {one} is there twice; TCP and TLS need a port each, and HOST:PORT is UDP and TCP")
    return found


def parse_stun(text: str) -> tuple[str, int]:
    """HOST[:PORT] after "stun:". Raises ConfigurationError."""
    host, colon, port = text.partition(":")
    if not HOST.fullmatch(host) or (colon and not (port.isdecimal() and 0 < int(port) < 65_536)):
        raise ConfigurationError(f'sip.public_address: "stun:{text}" is not "stun:HOST[:PORT]", for example "stun:stun.example.com"')
    return host, int(port or STUN_PORT)


def parse_hep(text: str) -> tuple[str, int] | None:
    """udp:HOST:PORT of a collector; None: there is none. Raises ConfigurationError."""
    if not text:
        return None
    transport, _, place = text.partition(":")
    host, colon, port = place.rpartition(":")
    name = host.removeprefix("[").removesuffix("]")
    is_right = transport == "udp" and colon and port.isdecimal() and 0 < int(port) < 65_536
    if not is_right or not (HOST.fullmatch(host) or _is_address(name)):
        raise ConfigurationError(f'sip.hep: "{text}" is not udp:HOST:PORT, for example "udp:homer.example.com:9060"')
    return name, int(port)


def media_host(sip: Sip) -> str:
    """Where audio comes in: on the address of SIP; if there are several of them, on all of this machine."""
    hosts = list(dict.fromkeys(listener.host for listener in listeners(sip)))
    return hosts[0] if len(hosts) == 1 else "::" if any(":" in host for host in hosts) else "0.0.0.0"


def _collide(one: Listener, other: Listener) -> bool:
    return (one.host, one.port, one.transport == "udp") == (other.host, other.port, other.transport == "udp")


def check_listen(sip: Sip) -> None:
    """Raises ConfigurationError. Whether files hold what they should is seen when they are used."""
    secure = [listener.transport for listener in listeners(sip) if listener.transport in SECURE]
    if secure and not sip.tls_certificate:
        raise ConfigurationError(f"sip.listen: {secure[0]}: needs sip.tls_certificate, and sip.tls_key if the key is in another file")
    for origin in sip.websocket_origins:
        if origin != "*" and not ORIGIN.fullmatch(origin):
            raise ConfigurationError(f'sip.websocket_origins: "{origin}" is not an origin such as "https://phone.example.com"')
    if sip.tls_key and not sip.tls_certificate:
        raise ConfigurationError("sip.tls_key: it is the key of sip.tls_certificate, which is not named")
    for name in ("tls_certificate", "tls_key", "tls_client_ca", "tls_server_ca"):
        file = getattr(sip, name)
        if file and not pathlib.Path(file).is_absolute():
            raise ConfigurationError(f'sip.{name}: "{file}" is not an absolute path')
    list(nameservers(sip.nameservers))
    parse_hep(sip.hep)


def nameservers(texts: Iterable[str]) -> list[tuple[str, int]]:
    """Raises ConfigurationError."""
    return [(text, 53) if _is_address(text) else parse_address(text, "sip.nameservers") for text in texts]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
