"""The sockets of STUN: one for each server that sip.public_address names, apart from those of SIP, so that nothing has to be told apart."""

import asyncio
import socket
import time
from collections.abc import Callable, Mapping

from control_plane.listen_config import Listener, parse_stun
from sip_front.public_address import SECOND, PublicAddress

START_LIMIT_S = 1.0


class StunClient:
    def __init__(self, listeners: list[Listener], learnt: Callable[[str, str], None], loop: asyncio.AbstractEventLoop) -> None:
        """`learnt` is told the server, and the address whenever it is another one."""
        self.learnt, self.loop = learnt, loop
        self.tasks: list[asyncio.Task[None]] = []
        self.places = {one.stun: one for one in reversed(listeners) if one.stun}

    async def start(self, known: Mapping[str, str]) -> None:
        """`known`: what the front before us has learnt, by server: calls wait for us, so that is good enough to begin with.

        Returns when every other server has answered or failed, or after a moment.
        """
        firsts = {server: self.loop.create_future() for server in self.places}
        servers = [PublicAddress(server, known.get(server, "")) for server in self.places]
        self.tasks = [self.loop.create_task(self._keep(one, firsts[one.server])) for one in servers]
        awaited = [firsts[one.server] for one in servers if not one.address]
        if awaited:
            await asyncio.wait(awaited, timeout=START_LIMIT_S)

    def stop(self) -> None:
        for task in self.tasks:
            task.cancel()

    async def _keep(self, one: PublicAddress, first: asyncio.Future[None]) -> None:
        while True:
            await self._ask(one)
            if not first.done():
                first.set_result(None)
            await asyncio.sleep(max(0, one.deadline_ns - time.monotonic_ns()) / SECOND)

    async def _ask(self, one: PublicAddress) -> None:
        before = one.address
        try:
            await self._exchange(one)
        except (OSError, UnicodeError) as failure:
            one.fail(str(failure), time.monotonic_ns())
        if one.address != before:
            self.learnt(one.server, one.address)

    async def _exchange(self, one: PublicAddress) -> None:
        host, port = parse_stun(one.server)
        own = self.places[one.server].host
        family = socket.AF_INET6 if ":" in own else socket.AF_INET
        found = await self.loop.getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM)
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.setblocking(False)
            asking.bind((own, 0))
            asking.connect(found[0][4])
            while (question := one.take(time.monotonic_ns())) is not None:
                asking.send(question)
                await self._listen(asking, one)

    async def _listen(self, asking: socket.socket, one: PublicAddress) -> None:
        while one.is_asking and (left_ns := one.deadline_ns - time.monotonic_ns()) > 0:
            try:
                async with asyncio.timeout(left_ns / SECOND):
                    octets = await self.loop.sock_recv(asking, 2_048)
            except TimeoutError:
                return
            one.receive(octets, time.monotonic_ns())
