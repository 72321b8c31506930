"""Names for aiohttp's connections, resolved to what is in reach only: apart from reach.py, which is wanted where no HTTP client is."""

import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

from control_plane.reach import Reach


class Guarded(AbstractResolver):
    """For a TCPConnector: what a name is resolved to must be in reach."""

    def __init__(self, reach: Reach) -> None:
        self._reach, self._resolver = reach, DefaultResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        for one in found:
            self._reach.check(one["host"], host)
        return found

    async def close(self) -> None:
        await self._resolver.close()
