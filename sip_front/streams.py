"""TCP, TLS and WebSocket: accepting, connecting, reading and writing. What may exist and for how long is in connections.py.

A stranger's connection is closed as soon as it is accepted: before a handshake, and before anything is kept of it.
"""

import asyncio
import contextlib
import ctypes
import logging
import socket
import ssl
import struct
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, cast

from sip_front.certificates import Certificates
from sip_front.connections import MAX_BACKLOG, SECOND, Connection, Connections, Limits
from sip_front.framing import PING, PONG
from sip_front.sockets import Bound, Sockets
from sip_front.transport import TRANSPORTS, Address

log = logging.getLogger("streams")
BATCH = 64  # connections that are accepted before others get their turn
CONNECT_LIMIT_S = 5.0  # to be there, with its handshake; the next server of a name is waiting
MANY = 250  # connections that end at once and are worth an answer to the kernel
REST_S = 0.5  # when there are no descriptors left
UNHEARD_LIMIT_MS = 10_000  # data that the far end's kernel has not confirmed: it is dead, and a BYE can go another way before timer F
CLOSE_LIMIT_S = 3.0  # for what a far end has still to read


class Owner(Protocol):
    """What a stream needs of the process."""

    def guard(self, work: Callable[[], None]) -> None: ...
    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...
    def receive_message(self, octets: bytes, source: Address) -> None: ...
    def fail_to_send(self, octets: bytes, destination: Address, why: str) -> None: ...
    def lose_connection(self, lost: Address, why: str) -> None: ...
    def may_connect(self, host: str) -> bool: ...
    def is_stranger(self, host: str) -> bool: ...
    def is_worth_a_line(self, host: str, what: str) -> bool: ...
    def addresses_in_use(self) -> frozenset[object]: ...


class Way(Protocol):
    """What is used of a transport of asyncio's, and of a WebSocket."""

    def write(self, octets: bytes, /) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def get_extra_info(self, name: str, /) -> Any: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class Stream(asyncio.Protocol):
    def __init__(self, streams: "Streams", connection: Connection) -> None:
        self.streams, self.connection = streams, connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.streams.made(self.connection, cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        self.streams.owner.guard(lambda: self.streams.read(self.connection, data))

    def connection_lost(self, failure: Exception | None) -> None:
        why = str(failure) if failure else "the far end closed it"
        self.streams.owner.guard(lambda: self.streams.lost(self.connection, why))


class Streams:
    def __init__(
        self, owner: Owner, sockets: Sockets, limits: Limits, certificates: Certificates, loop: asyncio.AbstractEventLoop,
        origins: tuple[str, ...] = (),
    ) -> None:
        """`origins`: of pages that may open a WebSocket."""
        self.owner, self.sockets, self.certificates, self.loop = owner, sockets, certificates, loop
        self.origins = tuple(origin.lower() for origin in origins)
        self.connections = Connections(limits)
        self.transports: dict[int, Way] = {}

    def start(self) -> None:
        for bound in self._listening():
            self.loop.add_reader(bound.socket.fileno(), self.accept, bound)

    def stop(self) -> None:
        for bound in self._listening():
            self.loop.remove_reader(bound.socket.fileno())
        for transport in list(self.transports.values()):
            transport.close()

    def _listening(self) -> list[Bound]:
        return [bound for bound in self.sockets.bound if TRANSPORTS[bound.listener.transport].is_reliable]

    # ---- connections that come ---------------------------------------------------------------------------------

    def accept(self, bound: Bound) -> None:
        for _ in range(BATCH):
            try:
                one, source = bound.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as failure:
                log.error("cannot accept a connection: %s; raise LimitNOFILE=, or lower sip.max_connections", failure)
                self.loop.remove_reader(bound.socket.fileno())
                self.loop.call_later(REST_S, self.loop.add_reader, bound.socket.fileno(), self.accept, bound)
                return
            host, port = bound.peer(source[:2])
            is_stranger, now_ns = self.owner.is_stranger(host), time.monotonic_ns()
            why_not = self._why_not(host, is_stranger, now_ns)
            if why_not:
                one.close()
                if self.owner.is_worth_a_line(host, "connection"):
                    log.warning("closed a connection of %s to %s: %s", host, bound.listener, why_not)
                continue
            connection = self.connections.accept(host, port, bound.listener.transport, now_ns, is_stranger)
            self.owner.spawn(self._welcome(one, connection))

    def _why_not(self, host: str, is_stranger: bool, now_ns: int) -> str:
        if not self.owner.may_connect(host):
            return f"{host} is not in sip.allow; add its network there if it is your trunk"
        return self.connections.why_full(host, is_stranger, now_ns)

    async def _welcome(self, one: socket.socket, connection: Connection) -> None:
        context = self.certificates.server if TRANSPORTS[connection.remote.transport].is_secure else None
        limits_s = {"ssl_handshake_timeout": connection.limits.start_ns / SECOND, "ssl_shutdown_timeout": CLOSE_LIMIT_S} if context else {}
        try:
            one.setblocking(False)
            await self.loop.connect_accepted_socket(lambda: self._protocol(connection), one, ssl=context, **limits_s)
        except (OSError, ssl.SSLError) as failure:
            one.close()
            if self.connections.drop(connection) and self.owner.is_worth_a_line(connection.remote.host, "tls"):
                log.warning("no TLS with %s: %s", connection.remote.host, explain(failure, connection.remote))

    def _protocol(self, connection: Connection) -> asyncio.Protocol:
        if TRANSPORTS[connection.remote.transport].is_stream:
            return Stream(self, connection)
        from sip_front import websocket  # picows, which nobody else needs

        return websocket.make_protocol(self, connection, self.origins)

    # ---- connections that we open ------------------------------------------------------------------------------

    def send(self, octets: bytes, destination: Address) -> None:
        connection = self.connections.find(destination)
        if connection is None:
            if not destination.port:
                return  # its connection has gone, and no other is opened for it
            if not destination.can_connect:
                self._fail([octets], destination, f"{destination} has gone: a phone behind a WebSocket must connect again by itself")
                return
            connection = self.connections.open(destination, time.monotonic_ns())
            self.owner.spawn(self._connect(connection))
        if not connection.is_ready:
            if connection.waiting_bytes + len(octets) > MAX_BACKLOG:
                self._fail([octets], destination, f"too much waits for a connection to {destination}")
            else:
                connection.waiting.append(octets)
            return
        transport = self.transports[connection.remote.flow]
        transport.write(octets)
        if transport.get_write_buffer_size() > MAX_BACKLOG:
            self._cut_off(connection, f"it has not read {MAX_BACKLOG // 1024} KiB that we sent it")

    async def _connect(self, connection: Connection) -> None:
        remote = connection.remote
        is_secure = TRANSPORTS[remote.transport].is_secure
        source = self.sockets.source_of(remote.transport, remote.host)
        secure: dict[str, Any] = {"server_hostname": remote.name or remote.host, "ssl_shutdown_timeout": CLOSE_LIMIT_S} if is_secure else {}
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                await self.loop.create_connection(
                    lambda: Stream(self, connection), remote.host, remote.port,
                    ssl=self.certificates.client if is_secure else None, local_addr=(source, 0) if source else None, **secure,
                )  # fmt: skip
        except (OSError, ssl.SSLError, TimeoutError) as failure:
            self.connections.drop(connection)
            why = f"cannot connect to {remote}: {explain(failure, remote)}"
            if self.owner.is_worth_a_line(remote.host, "connect"):
                log.warning("%s", why)
            waiting, connection.waiting = connection.waiting, []
            self.owner.guard(lambda: self._fail(waiting, remote, why))

    def _fail(self, messages: list[bytes], destination: Address, why: str) -> None:
        for octets in messages:
            self.owner.fail_to_send(octets, destination, why)

    # ---- what happens on them ----------------------------------------------------------------------------------

    def made(self, connection: Connection, transport: Way) -> None:
        if connection.is_closed:  # its time was over during the handshake
            transport.abort()
            return
        one = transport.get_extra_info("socket")
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_LIMIT_MS)
        self.transports[connection.remote.flow] = transport
        for octets in self.connections.made(connection, time.monotonic_ns()):
            transport.write(octets)
        self.connections.deadlines.schedule(connection)

    def _cut_off(self, connection: Connection, why: str) -> None:
        """At once: nothing more is read from it, and nothing more is written to it."""
        if self.owner.is_worth_a_line(connection.remote.host, "cut off"):
            log.warning("closed the connection of %s: %s", connection.remote, why)
        reset(self.transports[connection.remote.flow])
        self.loop.call_soon(self.owner.guard, lambda: self.owner.lose_connection(connection.remote, why))
        del self.transports[connection.remote.flow]
        self.connections.drop(connection)

    def read(self, connection: Connection, octets: bytes) -> None:
        if connection.is_closed:
            return
        transport = self.transports[connection.remote.flow]
        for frame in connection.receive(octets, time.monotonic_ns()):
            if connection.is_closed:
                return
            if frame == PING:
                transport.write(PONG)
            else:
                self.owner.receive_message(frame, connection.remote)
        if connection.framer.failure:
            if self.owner.is_worth_a_line(connection.remote.host, "framing"):
                log.warning("closed the connection of %s: %s", connection.remote, connection.framer.failure)
            self.loop.call_soon(self._close, transport)  # after the answer, which the guard sends
        self.connections.deadlines.schedule(connection)

    def read_message(self, connection: Connection, octets: bytes) -> None:
        """A whole one, of a WebSocket."""
        if connection.is_closed:
            return
        connection.receive_message(time.monotonic_ns())
        if octets == PING:
            self.transports[connection.remote.flow].write(PONG)
        else:
            self.owner.receive_message(octets, connection.remote)
        self.connections.deadlines.schedule(connection)

    def hear(self, connection: Connection) -> None:
        """It says that it is there."""
        connection.heard_ns = time.monotonic_ns()
        if not connection.is_closed:
            self.connections.deadlines.schedule(connection)

    def _close(self, transport: Way) -> None:
        transport.close()
        self.loop.call_later(CLOSE_LIMIT_S, transport.abort)

    def lost(self, connection: Connection, why: str) -> None:
        self.transports.pop(connection.remote.flow, None)
        if self.connections.drop(connection):
            self.owner.lose_connection(connection.remote, f"the connection to {connection.remote} broke: {why}")

    def expire(self, now_ns: int) -> None:
        """Once a second."""
        used = self.owner.addresses_in_use()
        expired = self.connections.take_expired(now_ns, used)
        if len(expired) >= MANY:
            self.loop.call_later(CLOSE_LIMIT_S, give_back_memory)
        for connection in expired:
            log.debug("closed the connection of %s: %s", connection.remote, connection.why_expired)
            transport = self.transports.pop(connection.remote.flow, None)
            self.connections.drop(connection)
            if transport:
                reset(transport)
        for connection in self.connections.take_pings(now_ns, used):
            with contextlib.suppress(KeyError):
                self.transports[connection.remote.flow].write(PING)


def give_back_memory() -> None:
    """What a flood of connections took: the C library would keep it for the next one."""
    with contextlib.suppress(AttributeError):  # musl has none
        ctypes.CDLL(None).malloc_trim(0)


def reset(transport: Way) -> None:
    """Not a FIN behind what a far end may never read: the kernel would keep megabytes for it."""
    one = transport.get_extra_info("socket")
    if one is not None:
        with contextlib.suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def explain(failure: BaseException, remote: Address) -> str:
    """What went wrong, and what helps."""
    if isinstance(failure, ssl.SSLCertVerificationError):
        name = remote.name or remote.host
        remedy = f"its certificate must be for {name}, and signed by one of sip.tls_server_ca (or of the system's list)"
        return f"{failure.verify_message.rstrip('.')}; {remedy}"
    if isinstance(failure, ssl.SSLError):
        reason = (failure.reason or str(failure)).lower().replace("_", " ")
        return f"{reason}; both sides need TLS 1.2 or newer, and certificates they accept"
    if isinstance(failure, TimeoutError) or "handshake" in str(failure):
        tls = ", and whether it speaks TLS at that port" if TRANSPORTS[remote.transport].is_secure else ""
        return f"it did not answer in time; look at its address, at firewalls{tls}"
    return f"{failure.strerror or failure if isinstance(failure, OSError) else failure}; look whether it listens there, and at firewalls"
