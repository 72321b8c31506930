"""The sockets that SIP comes in by, and which of them a far end is reached from."""

import errno
import functools
import ipaddress
import socket
from typing import NamedTuple

from control_plane import notify
from control_plane.config import Sip
from control_plane.errors import ConfigurationError
from control_plane.listen_config import Listener, listeners
from sip_front.transport import TRANSPORTS, Address, Place

RECEIVE_BUFFER_BYTES = 4 << 20  # a second of stall at full load; the kernel may grant less
BACKLOG = 1024
MAPPED = "::ffff:"
ACTIVATED = {"sip": ("udp", "tcp"), "sips": ("udp", "tls")}
"""Names of descriptors that a socket unit passes, and what those of datagrams and of streams are then."""
KEPT = "listener"
"""What we give into keeping ourselves: who comes after us accepts what has queued up meanwhile."""


class Bound(NamedTuple):
    """`flow` of an Address over UDP is the number of its socket, from 1."""

    flow: int
    listener: Listener
    socket: socket.socket

    @property
    def is_ipv6(self) -> bool:
        return self.socket.family == socket.AF_INET6

    def peer(self, source: tuple[str, int]) -> tuple[str, int]:
        """An IPv4 address that reached an IPv6 socket is one again."""
        return (source[0].removeprefix(MAPPED) if self.is_ipv6 else source[0]), source[1]

    def own_form(self, host: str) -> str:
        return MAPPED + host if self.is_ipv6 and ":" not in host else host

    def reaches(self, host: str) -> bool:
        if not self.is_ipv6:
            return ":" not in host
        is_any = ipaddress.ip_address(self.listener.host).is_unspecified
        return ":" in host or (is_any and not self.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))


class Sockets:
    def __init__(self, bound: list[Bound], has_stale: bool) -> None:
        """`has_stale`: the service manager holds some that the configuration names no more."""
        self.bound, self.has_stale = bound, has_stale
        self.by_flow = {one.flow: one for one in bound}
        self.learnt: dict[str, str] = {}
        """Public addresses, by the STUN server that knows them."""
        self.towards = functools.lru_cache(4096)(self._towards)
        self.place_of = functools.lru_cache(4096)(self._place_of)

    def learn(self, stun: str, address: str) -> None:
        self.learnt[stun] = address
        self.place_of.cache_clear()

    @property
    def families(self) -> tuple[str, ...]:
        """DNS's names of those in which we can send."""
        return tuple(kind for kind, host in (("A", "0.0.0.0"), ("AAAA", "::")) if any(one.reaches(host) for one in self.bound))

    def place_towards(self, address: Address) -> Place:
        """Where that far end reaches us by the same transport."""
        return self.place_of(address.transport, address.host, address.flow if address.transport == "udp" else 0)

    def _place_of(self, transport: str, host: str, flow: int) -> Place:
        one = self.by_flow.get(flow) or self.towards(transport, host)
        if one is None:  # by a connection that we open, and on which alone we are reached
            other = next((o for o in self.bound if o.reaches(host)), None)
            return Place(self._host_of(other, host) if other else source_towards(host), None)
        return Place(self._host_of(one, host), one.listener.port)

    def _host_of(self, one: Bound, host: str) -> str:
        public = one.listener.public_address or self.learnt.get(one.listener.stun, "")
        if public and (":" in public) == (":" in host):
            return public
        return source_towards(host) if ipaddress.ip_address(one.listener.host).is_unspecified else one.listener.host

    def _towards(self, transport: str, host: str) -> Bound | None:
        """The one bound to the address that the kernel would send from, else one of all addresses, else any of the family."""
        usable = [one for one in self.bound if one.listener.transport == transport and one.reaches(host)]
        source = source_towards(host) if len(usable) > 1 else ""

        def rank(one: Bound) -> int:
            return 0 if one.listener.host == source else 1 if ipaddress.ip_address(one.listener.host).is_unspecified else 2

        return min(usable, key=rank, default=None)

    def source_of(self, transport: str, host: str) -> str | None:
        """What a connection to there must be bound to, so that it comes from the address that we are known by. None: the kernel chooses."""
        one = self.towards(transport, host) or self.towards("tcp", host) or self.towards("udp", host)
        return None if one is None or ipaddress.ip_address(one.listener.host).is_unspecified else one.listener.host

    def keep(self) -> None:
        """Hand them to the service manager."""
        if self.has_stale:
            notify.notify(f"FDSTOREREMOVE=1\nFDNAME={KEPT}")
        notify.notify(f"FDSTORE=1\nFDNAME={KEPT}", [one.socket.fileno() for one in self.bound])

    def close(self) -> None:
        for one in self.bound:
            one.socket.close()

    def __str__(self) -> str:
        """As the configuration writes them: HOST:PORT where it is both UDP and TCP."""
        names = [str(one.listener) for one in self.bound]
        pairs = [name.removeprefix("udp:") for name in names if name.startswith("udp:") and f"tcp:{name.removeprefix('udp:')}" in names]
        return ", ".join([*pairs, *(name for name in names if name.partition(":")[2] not in pairs or name.startswith("tls:"))])


def source_towards(host: str) -> str:
    """Our address that the kernel would send from."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as towards:
        try:
            towards.connect((host, 5060))  # sends nothing, but chooses the route
        except OSError:
            return "::1" if ":" in host else "127.0.0.1"
        return str(towards.getsockname()[0])


def bind(sip: Sip) -> Sockets:
    """Those that the service manager holds, or new ones. Raises ConfigurationError."""
    held = notify.listen_fds()
    activated = [_adopt(socket.socket(fileno=fd), name) for name in ACTIVATED for fd in held.get(name, [])]
    kept = [socket.socket(fileno=fd) for fd in held.get(KEPT, [])]
    if activated:
        found = activated
    else:
        wanted, found = listeners(sip), list[tuple[Listener, socket.socket]]()
        for listener in wanted:
            if not listener.port and found and (listener.transport, found[-1][0].transport) == ("tcp", "udp"):
                listener = listener._replace(port=found[-1][0].port)  # HOST:0 is one port for both
            one = _take(kept, listener) or _bind(listener, wanted)
            found.append((listener._replace(port=one.getsockname()[1]), one))
    stale = [one for one in kept if all(one is not other for _, other in found)]
    for one in stale:
        one.close()
    for listener, one in found:
        one.setblocking(False)
        if listener.transport == "udp":
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    return Sockets([Bound(flow, listener, one) for flow, (listener, one) in enumerate(found, 1)], bool(stale))


def _adopt(one: socket.socket, name: str) -> tuple[Listener, socket.socket]:
    host, port = one.getsockname()[:2]
    transport = ACTIVATED[name][one.type == socket.SOCK_STREAM]
    return Listener(transport, host, port, ""), one


def _take(kept: list[socket.socket], listener: Listener) -> socket.socket | None:
    kind = socket.SOCK_STREAM if TRANSPORTS[listener.transport].is_reliable else socket.SOCK_DGRAM
    for one in kept:
        if one.type == kind and one.getsockname()[:2] == (listener.host, listener.port):
            return one
    return None


def _bind(listener: Listener, wanted: list[Listener]) -> socket.socket:
    is_stream = TRANSPORTS[listener.transport].is_reliable
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM if is_stream else socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            has_ipv4 = any(":" not in w.host and (w.port, w.transport) == (listener.port, listener.transport) for w in wanted)
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, has_ipv4)
        if is_stream:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before us are still fading away
        one.bind((listener.host, listener.port))
        if is_stream:
            one.listen(BACKLOG)
    except OSError as failure:
        one.close()
        shows = "ss -tlpn" if is_stream else "ss -ulpn"
        place = str(listener).removeprefix("udp:")
        remedy = {
            errno.EADDRNOTAVAIL: "this machine has no such address (`ip address` shows those that it has), or not yet",
            errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE, which the unit gives; or choose another port",
        }.get(failure.errno or 0, f"another program has it (`{shows}` shows which), or choose another port")
        raise ConfigurationError(f"sip.listen: cannot listen on {place}: {failure.strerror}; {remedy}") from failure
    return one
