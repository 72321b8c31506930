"""Where a SIP URI leads to: RFC 3263 with NAPTR, SRV (RFC 2782) and addresses, as a list in the order of trying.

The rules are here; who asks a name server is a function that is handed in (dns_client.py). Answers are kept for as long
as they say, the absence of one for a short time, and what a name server gave before is used on while none answers.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from control_plane.errors import BellframeError
from sip_front.admission import fold
from sip_front.preference import in_order
from sip_front.transport import TRANSPORTS, Address, Transport, address_of, transport_of
from sip_front.uri import Uri

SECOND = 1_000_000_000
MIN_TTL_S, MAX_TTL_S, NEGATIVE_TTL_S = 5, 3600, 30
MAX_NAMES = 1024  # answers that are kept
MAX_RECORDS = 16  # of one answer: nobody tries more servers while a caller waits
MAX_DESTINATIONS = 16
LIMIT_S = 8.0  # for all questions of one URI


class Unresolved(BellframeError):
    """The text says what was asked for, and what helps."""


class Naptr(NamedTuple):
    order: int
    preference: int
    flags: str
    service: str
    replacement: str


class Srv(NamedTuple):
    priority: int
    weight: int
    port: int
    target: str


class Answer(NamedTuple):
    """`records`: Naptr, Srv, or addresses as text. Empty: there are none."""

    records: tuple[Naptr | Srv | str, ...]
    ttl_s: float


Ask = Callable[[str, str], Awaitable[Answer]]
"""Name and type ("NAPTR", "SRV", "A", "AAAA"). Raises OSError if no name server answers."""


class Resolver:
    def __init__(
        self, ask: Ask, families: tuple[str, ...] = ("A", "AAAA"), *, seed: int | None = None, now_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """`families`: those in which we can send."""
        self.ask, self.families, self.random, self.now_ns = ask, families, random.Random(seed), now_ns
        self.known: dict[tuple[str, str], tuple[Answer, int]] = {}

    async def resolve(self, uri: Uri) -> list[Address]:
        """One at least. Raises Unresolved."""
        transport = transport_of(uri)
        if transport is None:
            raise Unresolved(f"{uri.encode()[:80]} asks for a transport that we do not speak; there are {', '.join(TRANSPORTS)}")
        numeric = address_of(uri)
        if numeric:
            return [numeric]
        try:
            async with asyncio.timeout(LIMIT_S):
                found = await self._find(uri, TRANSPORTS[transport])
        except TimeoutError as failure:
            raise Unresolved(f"no name server answered for {uri.host} within {LIMIT_S:g} s; look at sip.nameservers") from failure
        except OSError as failure:
            raise Unresolved(f"{uri.host} cannot be looked up ({failure}); look at sip.nameservers, or /etc/resolv.conf") from failure
        if not found:
            raise Unresolved(f"its name has no address that we can send to ({uri.host}); look at its spelling and at DNS")
        return list(dict.fromkeys(found))[:MAX_DESTINATIONS]

    async def _find(self, uri: Uri, transport: Transport) -> list[Address]:
        if uri.port is not None:  # 4.2: a port of one's own means no SRV
            return await self._addresses(uri.host, uri.port, transport, uri.host)
        ways = [(transport, f"{transport.srv}.{uri.host}")] if uri.params.get("transport") else await self._ways(uri)
        found: list[Address] = []
        is_served = False
        for way, name in ways:
            servers = await self._query(name, "SRV")
            is_served = is_served or bool(servers)
            offered = [one for one in servers if isinstance(one, Srv) and one.target.strip(".")]  # ".": there is no such service (RFC 2782)
            for server in in_order(offered, self.random):
                found += await self._addresses(server.target, server.port, way, uri.host)
                if len(found) >= MAX_DESTINATIONS:
                    return found
        if is_served:
            return found
        return await self._addresses(uri.host, transport.default_port, transport, uri.host)

    async def _ways(self, uri: Uri) -> list[tuple[Transport, str]]:
        """4.1: transports and the names of their SRV records, the best first."""
        usable = {t.naptr: t for t in TRANSPORTS.values() if t.srv and (uri.scheme != "sips" or t.is_secure)}
        records = [r for r in await self._query(uri.host, "NAPTR") if isinstance(r, Naptr) and r.flags.lower() == "s"]
        chosen = sorted((r for r in records if r.service.upper() in usable), key=lambda r: (r.order, r.preference))
        if chosen:
            return [(usable[r.service.upper()], r.replacement) for r in chosen]
        return [(t, f"{t.srv}.{uri.host}") for t in usable.values()]

    async def _addresses(self, host: str, port: int, transport: Transport, name: str) -> list[Address]:
        """`name`: what the certificate must be for: the domain that was asked for, not the server that DNS named (RFC 5922 4)."""
        known = fold(host.strip("[]"))
        if known:
            return [Address(str(known), port, transport.name, name=name if transport.is_secure else "")]
        answers = await asyncio.gather(*(self._query(host, family) for family in self.families))
        return [
            Address(record, port, transport.name, name=name if transport.is_secure else "")
            for records in answers
            for record in records
            if isinstance(record, str)
        ]

    async def _query(self, name: str, kind: str) -> tuple[Naptr | Srv | str, ...]:
        key = name.rstrip(".").lower(), kind
        known = self.known.get(key)
        if known and self.now_ns() < known[1]:
            return known[0].records
        try:
            answer = await self.ask(*key)
        except OSError:
            if known is None:
                raise
            self.known[key] = known[0], self.now_ns() + MIN_TTL_S * SECOND  # RFC 8767: better what was than nothing
            return known[0].records
        answer = answer._replace(records=answer.records[:MAX_RECORDS])
        ttl_s = min(max(answer.ttl_s, MIN_TTL_S), MAX_TTL_S if answer.records else NEGATIVE_TTL_S)
        self.known.pop(key, None)
        if len(self.known) >= MAX_NAMES:
            del self.known[next(iter(self.known))]  # the one that was asked for longest ago
        self.known[key] = answer, self.now_ns() + round(ttl_s * SECOND)
        return answer.records
