"""Which addresses may be asked that somebody else has named: a document from elsewhere, or whoever holds a tenant's token.

Those of the internet, and the networks of `reachable_networks`. Loopback, link-local and private networks would let them ask what only
this machine and its neighbours may: a cloud's metadata, a database, an administrator's page. Names are judged by what they are resolved
to, for the very connection that is made, so that a name cannot be one thing when it is looked at and another when it is called.
"""

import errno
import ipaddress
from collections.abc import Iterable

from control_plane.errors import ConfigurationError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"), ipaddress.ip_network("2002::/16"))
"""IPv6 addresses that stand for an IPv4 address (RFC 6052, 8215, 3056), which might be any."""


class Unreachable(OSError):
    """It may not be asked. The text says who could allow it."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EACCES, why)  # aiohttp tells no more of an error than its strerror

    def __str__(self) -> str:
        return str(self.strerror)


class Reach:
    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Raises ConfigurationError."""
        self._networks: list[Network] = []
        for text in networks:
            try:
                self._networks.append(ipaddress.ip_network(text))
            except ValueError as failure:
                raise ConfigurationError(f"reachable_networks: {failure}: give networks such as 10.1.0.0/16") from None

    def check(self, address: str, name: str = "") -> None:
        """Raises Unreachable. `name`: what was resolved to this address."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if any(ip in network for network in self._networks):
            return
        if not ip.is_global or ip.is_multicast or any(ip in network for network in TRANSLATED):
            where = f"{name} is {ip}, which" if name not in ("", address) else f"{ip}"
            raise Unreachable(f"{where} is not of the internet: the operator may allow it with reachable_networks of the configuration")

    def check_host(self, host: str) -> None:
        """Of a URL, if it is an address: those are not resolved. Raises Unreachable."""
        try:
            ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return
        self.check(host)
