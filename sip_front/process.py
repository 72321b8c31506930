"""The front's sockets, clock and signals: the only place of it that does I/O. What it means is in front.py.

One non-blocking UDP socket, read in batches into one buffer: asyncio's datagram transport maps and unmaps 256 KiB for
each packet. The control channel's descriptor is edge-triggered, so it is drained after everything that touches it.
"""

import argparse
import asyncio
import contextlib
import errno
import functools
import ipaddress
import logging
import pathlib
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import zmq

from control_plane import config as configuration
from control_plane import logs, notify, runtime
from control_plane.channel import Switchboard
from control_plane.config import Config
from control_plane.errors import BellframeError, ConfigurationError
from sip_front.front import Front, Lookup
from sip_front.transport import Address, Place
from sip_front.trunk import Gateway
from sip_front.uri import BadUri

log = logging.getLogger("front")
RECEIVE_BUFFER_BYTES = 4 << 20  # a second of stall at full load; the kernel may grant less
MAX_DATAGRAM = 65_535
DEFAULT_PORT = 5060
BATCH = 64  # datagrams before timers and control get their turn
BYE_LIMIT_S = 2.0
MAPPED = "::ffff:"
PASSING = (errno.ENOBUFS, errno.ENOMEM, errno.EINTR)  # of this moment, not of the way


class Process:
    def __init__(self, config: Config, sip: socket.socket, switchboard: Switchboard, loop: asyncio.AbstractEventLoop) -> None:
        self.config, self.sip, self.switchboard, self.loop = config, sip, switchboard, loop
        self.is_ipv6 = sip.family == socket.AF_INET6
        host, port = sip.getsockname()[:2]
        host_towards = local_host_finder(config.sip.public_address, host)
        self.front = Front(config, lambda a: Place(host_towards(a.host), port if a.transport == "udp" else None), time.monotonic_ns())
        self.buffer = bytearray(MAX_DATAGRAM)
        self.view = memoryview(self.buffer)
        self.timer: asyncio.TimerHandle | None = None
        self.timer_ns = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.moved, self.is_stopping, self.is_hurried = asyncio.Event(), asyncio.Event(), False

    def start(self) -> None:
        self.loop.add_reader(self.sip.fileno(), self.guard, self.read_sip)
        self.loop.add_reader(self.switchboard.fileno(), self.guard, self.read_control)
        self.guard(self.read_control)

    def stop(self) -> None:
        self.loop.remove_reader(self.sip.fileno())
        self.loop.remove_reader(self.switchboard.fileno())
        if self.timer:
            self.timer.cancel()

    def guard(self, work: Callable[[], None]) -> None:
        """A bug of ours in one message must not end the calls of all others: it is logged whole, and we go on."""
        try:
            work()
        except Exception:
            log.exception("a bug: this event was dropped; please report it")
        try:
            self.flush()
        except Exception:
            log.exception("a bug: something was not sent; please report it")
        self.moved.set()

    # ---- in ----------------------------------------------------------------------------------------------------

    def read_sip(self) -> None:
        for _ in range(BATCH):
            try:
                size, source = self.sip.recvfrom_into(self.buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as failure:  # an ICMP error of something sent before
                log.debug("SIP socket: %s", failure)
                continue
            host = source[0].removeprefix(MAPPED) if self.is_ipv6 else source[0]
            try:
                self.front.receive_sip(bytes(self.view[:size]), Address(host, source[1]), time.monotonic_ns())
            except Exception:
                log.exception("a bug: a datagram of %d octets from %s was dropped; please report it", size, host)

    def read_control(self) -> None:
        for identity, message in self.switchboard.receive():
            self.front.receive_message(identity, message, time.monotonic_ns())

    def wake(self) -> None:
        self.timer = None
        self.guard(self.expire)

    def expire(self) -> None:
        self.front.expire(time.monotonic_ns())
        self.read_control()  # an edge that was missed is found within a second

    # ---- out ---------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        while True:
            for octets, destination in self.front.take_sip():
                self.send_sip(octets, destination)
            messages = self.front.take_messages()
            if not messages:
                break
            for identity, message in messages:
                if not self.switchboard.send(identity, message):
                    self.front.operators.unreachable(identity)
            self.read_control()  # sending swallows the edge of what came meanwhile
        for lookup in self.front.take_lookups():
            self.spawn(self.resolve(lookup))
        for name in self.front.take_names(time.monotonic_ns()):
            self.spawn(self.resolve_allowed(name))
        for gateway in self.front.trunks.take_lookups(time.monotonic_ns()):
            self.spawn(self.resolve_gateway(gateway))
        self.set_timer()

    def send_sip(self, octets: bytes, destination: Address) -> None:
        host, port = destination.host, destination.port
        if self.is_ipv6 and ":" not in host:
            host = MAPPED + host
        try:
            self.sip.sendto(octets, (host, port))
        except (BlockingIOError, InterruptedError):
            log.debug("the SIP socket is full: a datagram to %s was dropped, and will be sent again", destination)
        except (OSError, OverflowError) as failure:
            now_ns = time.monotonic_ns()
            why = f"cannot send to {destination}: {failure}; look at routes and firewalls"
            if self.front.admission.is_worth_a_line(destination.host, "send", now_ns):
                log.warning("%s", why)
            if not isinstance(failure, OSError) or failure.errno not in PASSING:
                self.front.fail_to_send(octets, why, now_ns)

    def set_timer(self) -> None:
        deadline_ns = self.front.next_deadline_ns
        if self.timer is not None:
            if self.timer_ns <= deadline_ns:
                return
            self.timer.cancel()
        self.timer_ns = deadline_ns
        self.timer = self.loop.call_later(max(0.0, (deadline_ns - time.monotonic_ns()) / 1e9), self.wake)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def resolve_gateway(self, gateway: Gateway) -> None:
        """A trunk's, by its name."""
        port = gateway.gateway.port or DEFAULT_PORT
        found: list[Address] = []
        why = ""
        try:
            family = socket.AF_INET6 if self.is_ipv6 else socket.AF_INET
            rows = await self.loop.getaddrinfo(gateway.gateway.host, port, family=family, type=socket.SOCK_DGRAM, flags=socket.AI_V4MAPPED)
            found = [Address(str(row[4][0]).removeprefix(MAPPED), port, gateway.gateway.transport) for row in rows]
        except (OSError, UnicodeError) as failure:
            why = str(failure)
        self.front.trunks.resolved(gateway, found, why, time.monotonic_ns())

    async def resolve_allowed(self, name: str) -> None:
        """A host name that may call: all its addresses, of both families."""
        try:
            found = await self.loop.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError):
            found = []
        self.front.callers.resolved(name, frozenset(str(row[4][0]) for row in found))

    async def resolve(self, lookup: Lookup) -> None:
        """A name in a call that we make. NAPTR and SRV come with trunks."""
        port = lookup.uri.port or DEFAULT_PORT
        family = socket.AF_INET6 if self.is_ipv6 else socket.AF_INET
        try:
            found = await self.loop.getaddrinfo(lookup.uri.host, port, family=family, type=socket.SOCK_DGRAM, flags=socket.AI_V4MAPPED)
            host = str(found[0][4][0]).removeprefix(MAPPED)
            why_not = self.front.dial_out(lookup.order, lookup.uri, [Address(host, port)], time.monotonic_ns())
        except (OSError, UnicodeError, BadUri) as failure:
            why_not = f"cannot call {lookup.uri.host}: its name has no address ({failure})"
        if why_not:
            self.front.fail_order(lookup, why_not)
        self.guard(self.read_control)

    # ---- the end -----------------------------------------------------------------------------------------------

    def receive_signal(self) -> None:
        """The first one drains; the next one does not wait for the calls."""
        self.is_hurried = self.is_stopping.is_set()
        self.is_stopping.set()
        self.moved.set()

    async def drain(self) -> None:
        """No new calls; the old ones finish, until the limit or a second signal. Then they are ended with BYE."""
        self.guard(lambda: self.front.drain(time.monotonic_ns()))
        await self.wait_until(lambda: not self.front.live_calls or self.is_hurried, self.config.sip.drain_seconds)
        if self.front.live_calls:
            log.warning("ending %d calls that did not finish by themselves", self.front.live_calls)
        self.guard(lambda: self.front.hang_up_all("the server is shutting down", time.monotonic_ns()))
        await self.wait_until(lambda: self.front.is_quiet, BYE_LIMIT_S)

    async def wait_until(self, is_true: Callable[[], bool], limit_s: float) -> None:
        """`is_true` can only have changed when something came in or a timer fired: `moved`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not is_true():
                    self.moved.clear()
                    await self.moved.wait()


def local_host_finder(public_address: str, bound_host: str) -> Callable[[str], str]:
    """Our address as a far end sees it: the one configured, the one bound, or the one that the kernel would send from."""
    if public_address:
        return lambda _host: public_address
    if not ipaddress.ip_address(bound_host).is_unspecified:
        return lambda _host: bound_host

    @functools.lru_cache(4096)
    def probe(host: str) -> str:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as towards:
            try:
                towards.connect((host, DEFAULT_PORT))  # sends nothing, but chooses the route
            except OSError:
                return "127.0.0.1"
            return str(towards.getsockname()[0])

    return probe


def bind_sip(listen: str) -> socket.socket:
    """The socket that the service manager holds, or a new one. Raises ConfigurationError."""
    held = notify.listen_fds().get("sip")
    if held:
        sip = socket.socket(fileno=held[0])
    else:
        host, port = configuration.parse_address(listen, "sip.listen")
        sip = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            if sip.family == socket.AF_INET6:
                sip.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sip.bind((host, port))
        except OSError as failure:
            sip.close()
            remedy = "another program has it (`ss -ulpn` shows which), or choose another port"
            raise ConfigurationError(f"sip.listen: cannot listen on {listen}: {failure.strerror}; {remedy}") from failure
    sip.setblocking(False)
    sip.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    return sip


async def serve(config: Config, sip: socket.socket, switchboard: Switchboard) -> None:
    """Until SIGTERM or SIGINT and the end of the calls. A second signal ends them at once."""
    loop = asyncio.get_running_loop()
    process = Process(config, sip, switchboard, loop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.receive_signal)
    process.start()
    host, port = sip.getsockname()[:2]
    log.info("listening for SIP on %s:%d", host, port)
    notify.notify(f"READY=1\nSTATUS=listening for SIP on {host}:{port}")
    feeding = loop.create_task(feed_watchdog())
    await process.is_stopping.wait()
    notify.notify("STOPPING=1")
    await process.drain()
    feeding.cancel()
    process.stop()
    log.info("stopped")


async def feed_watchdog() -> None:
    interval_s = notify.watchdog_interval_s()
    while interval_s is not None:
        notify.notify("WATCHDOG=1")
        await asyncio.sleep(interval_s)


def event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sip_front", description="The SIP process.")
    parser.add_argument("--config", type=pathlib.Path, required=True, help="the configuration, TOML or JSON")
    given = parser.parse_args(arguments)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        config = configuration.load(given.config)
        logs.configure(config.log_format, "front")
        directory = runtime.prepare(config.runtime_path())
        sip = bind_sip(config.sip.listen)
        switchboard = Switchboard(context, directory)
    except (BellframeError, zmq.ZMQError) as failure:
        print(f"bellframe: front: {failure}", file=sys.stderr)
        return 1
    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(serve(config, sip, switchboard))
    switchboard.close()
    sip.close()
    context.term()
    return 0
