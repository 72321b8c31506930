"""Questions to name servers, with dnspython; and to the system, where the configuration names none and DNS knows nothing."""

import asyncio
import socket
from typing import Any

from control_plane.listen_config import nameservers
from sip_front.resolver import Answer, Naptr, Srv

QUESTION_LIMIT_S = 4.0
HOSTS_TTL_S = 60.0
"""Of what /etc/hosts and the like say, which have no time to live."""
FAMILIES = {"A": socket.AF_INET, "AAAA": socket.AF_INET6}


class DnsClient:
    def __init__(self, servers: tuple[str, ...]) -> None:
        """`servers`: sip.nameservers; empty: the system's."""
        self.servers = nameservers(servers)
        self.resolver: Any = None

    def _make(self) -> Any:
        import dns.asyncresolver  # here, because few calls need it, and it takes 50 ms
        import dns.nameserver
        import dns.resolver

        try:
            resolver = dns.asyncresolver.Resolver(configure=not self.servers)
        except dns.resolver.NoResolverConfiguration as failure:
            raise OSError("there is no name server in /etc/resolv.conf") from failure
        if self.servers:
            resolver.nameservers = [dns.nameserver.Do53Nameserver(host, port) for host, port in self.servers]
        resolver.lifetime = QUESTION_LIMIT_S
        return resolver

    async def ask(self, name: str, kind: str) -> Answer:
        """Raises OSError if no name server answers."""
        try:
            answer = await self._ask(name, kind)
        except OSError:
            if self.servers or kind not in FAMILIES:
                raise
            answer = Answer((), 0.0)
        if not answer.records and not self.servers and kind in FAMILIES:
            return await self._ask_system(name, kind)
        return answer

    async def _ask(self, name: str, kind: str) -> Answer:
        import dns.exception
        import dns.resolver

        self.resolver = self.resolver or self._make()
        try:
            answer = await self.resolver.resolve(name, kind, search=False, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return Answer((), 30.0)
        except (dns.exception.DNSException, ValueError) as failure:
            raise OSError(str(failure)[:200]) from failure
        if answer.rrset is None:
            return Answer((), 30.0)
        return Answer(tuple(_read(record, kind) for record in answer.rrset), float(answer.rrset.ttl))

    async def _ask_system(self, name: str, kind: str) -> Answer:
        try:
            rows = await asyncio.get_running_loop().getaddrinfo(name, None, family=FAMILIES[kind], type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError):
            return Answer((), 0.0)
        return Answer(tuple(dict.fromkeys(str(row[4][0]) for row in rows)), HOSTS_TTL_S)


def _read(record: Any, kind: str) -> Naptr | Srv | str:
    if kind == "NAPTR":
        flags, service = (part.decode("ascii", "replace") for part in (record.flags, record.service))
        return Naptr(record.order, record.preference, flags, service, record.replacement.to_text())
    if kind == "SRV":
        return Srv(record.priority, record.weight, record.port, record.target.to_text())
    return str(record.address)
