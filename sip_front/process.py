"""The front's sockets, clock and signals: the only place of it that does I/O. What it means is in front.py.

UDP sockets are read in batches into one buffer: asyncio's datagram transport maps and unmaps 256 KiB for each packet.
Streams are in streams.py. The control channel's descriptor is edge-triggered, so it is drained after everything that touches it.
"""

import argparse
import asyncio
import contextlib
import errno
import functools
import gc
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
from control_plane.errors import BellframeError
from control_plane.logs import clean
from sip_front.certificates import Certificates
from sip_front.connections import SECOND, Limits
from sip_front.dns_client import DnsClient
from sip_front.front import Front
from sip_front.hep_export import HepExport
from sip_front.journal import Learnt
from sip_front.journal_file import JournalFile
from sip_front.originator import Lookup
from sip_front.resolver import Resolver, Unresolved
from sip_front.sockets import Bound, Sockets, bind
from sip_front.spend_file import SpendFile
from sip_front.streams import Streams
from sip_front.stun_client import StunClient
from sip_front.transport import Address
from sip_front.trunk import Gateway
from sip_front.uri import Uri, parse_uri

log = logging.getLogger("front")
MAX_DATAGRAM = 65_535
BATCH = 64  # datagrams before timers and control get their turn
BYE_LIMIT_S = 2.0
CALM_LIMIT_S = 10.0
"""For a moment in which no call is being set up. Phones ring for longer, but nobody waits that long for a restart."""
RESTART = signal.SIGUSR1
"""Make room for another front at once: RestartKillSignal= of the unit."""
PASSING = (errno.ENOBUFS, errno.ENOMEM, errno.EINTR)  # of this moment, not of the way


class Process:
    def __init__(
        self, config: Config, sockets: Sockets, certificates: Certificates, switchboard: Switchboard, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.config, self.sockets, self.certificates, self.switchboard, self.loop = config, sockets, certificates, switchboard, loop
        self.front = Front(config, sockets.place_towards, time.monotonic_ns())
        sip = config.sip
        limits = Limits(
            round(sip.connection_start_seconds * SECOND), round(sip.connection_idle_seconds * SECOND),
            sip.max_connections, sip.max_connections_per_source,
        )  # fmt: skip
        self.spend_file = SpendFile(config.state_path() / "spent.json")
        self.journal = JournalFile(config.runtime_path() / "journal", self.front.succession.all_entries)
        self.streams = Streams(self, sockets, limits, certificates, loop, sip.websocket_origins)
        self.stun = StunClient([one.listener for one in sockets.bound], self.learn_address, loop)
        self.hep = HepExport(sip, sockets.place_towards, loop)
        self.resolver = Resolver(DnsClient(sip.nameservers).ask, sockets.families)
        self.looked_ns = 0
        self.used: frozenset[object] = frozenset()
        self.buffer = bytearray(MAX_DATAGRAM)
        self.view = memoryview(self.buffer)
        self.timer: asyncio.TimerHandle | None = None
        self.timer_ns = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.moved, self.is_stopping, self.is_hurried = asyncio.Event(), asyncio.Event(), False
        self.is_making_room = False
        """For another front, which goes on with the calls."""

    def take_over(self) -> None:
        """Before anything is read: the calls of the front before us."""
        self.front.toll_guard.restore(self.spend_file.read())
        front_id, left = self.journal.read()
        now_ns = time.monotonic_ns()
        self.front.succession.take_over(front_id, left, now_ns)
        for entry in left:
            if isinstance(entry, Learnt) and entry.server in self.stun.places:
                self.sockets.learn(entry.server, entry.address)
                self.front.learn_address(entry.server, entry.address, now_ns)
        self.journal.begin()

    def start(self) -> None:
        for bound in self.datagram_sockets():
            self.loop.add_reader(bound.socket.fileno(), self.guard, functools.partial(self.read_datagrams, bound))
        self.streams.start()
        self.loop.add_reader(self.switchboard.fileno(), self.guard, self.read_control)
        self.guard(self.read_control)

    def learn_address(self, stun: str, address: str) -> None:
        self.sockets.learn(stun, address)
        self.guard(lambda: self.front.learn_address(stun, address, time.monotonic_ns()))

    def stop(self) -> None:
        for bound in self.datagram_sockets():
            self.loop.remove_reader(bound.socket.fileno())
        self.streams.stop()
        self.loop.remove_reader(self.switchboard.fileno())
        if self.timer:
            self.timer.cancel()

    def datagram_sockets(self) -> list[Bound]:
        return [bound for bound in self.sockets.bound if bound.listener.transport == "udp"]

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

    def read_datagrams(self, bound: Bound) -> None:
        for _ in range(BATCH):
            try:
                size, source = bound.socket.recvfrom_into(self.buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as failure:  # an ICMP error of something sent before
                log.debug("SIP socket: %s", failure)
                continue
            self.receive_message(bytes(self.view[:size]), Address(*bound.peer(source[:2]), flow=bound.flow))

    def receive_message(self, octets: bytes, source: Address) -> None:
        try:
            if self.front.receive_sip(octets, source, time.monotonic_ns()):
                self.hep.note_message(octets, source, is_sent=False)
        except Exception:
            log.exception("a bug: a message of %d octets from %s was dropped; please report it", len(octets), source)

    def read_control(self) -> None:
        for identity, message in self.switchboard.receive():
            self.front.receive_message(identity, message, time.monotonic_ns())

    def wake(self) -> None:
        self.timer = None
        self.guard(self.expire)

    def expire(self) -> None:
        now_ns = time.monotonic_ns()
        self.front.expire(now_ns)
        if now_ns - self.looked_ns >= SECOND:
            self.looked_ns = now_ns
            self.streams.expire(now_ns)
            self.certificates.look()
            self.save_spent()
            self.hep.note_ended(self.front.ended.values(), self.front.ended_total)
        self.read_control()  # an edge that was missed is found within a second

    def save_spent(self) -> None:
        spent = self.front.toll_guard.take_changed()
        if spent is not None:
            self.spend_file.write(spent)

    # ---- out ---------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        while True:
            entries = self.front.succession.take_entries()
            if entries:
                self.journal.append(entries)
            for octets, destination in self.front.take_sip():
                self.send_sip(octets, destination)
                self.hep.note_message(octets, destination, is_sent=True)
            messages = self.front.take_messages()
            if not messages:
                break
            for identity, message in messages:
                if not self.switchboard.send(identity, message):
                    self.front.operators.unreachable(identity)
            self.read_control()  # sending swallows the edge of what came meanwhile
        for lookup in self.front.originator.take_lookups():
            self.spawn(self.resolve(lookup))
        for name in self.front.take_names(time.monotonic_ns()):
            self.spawn(self.resolve_allowed(name))
        for gateway in self.front.trunks.take_lookups(time.monotonic_ns()):
            self.spawn(self.resolve_gateway(gateway))
        self.set_timer()

    def send_sip(self, octets: bytes, destination: Address) -> None:
        if destination.is_reliable:
            self.streams.send(octets, destination)
            return
        bound = self.sockets.by_flow.get(destination.flow) or self.sockets.towards("udp", destination.host)
        if bound is None:
            self.fail_to_send(octets, destination, f"cannot send to {destination}: sip.listen has no UDP place of its family")
            return
        try:
            bound.socket.sendto(octets, (bound.own_form(destination.host), destination.port))
        except (BlockingIOError, InterruptedError):
            log.debug("the SIP socket is full: a datagram to %s was dropped, and will be sent again", destination)
        except (OSError, OverflowError) as failure:
            why = f"cannot send to {destination}: {failure}; look at routes and firewalls"
            if self.is_worth_a_line(destination.host, "send"):
                log.warning("%s", why)
            if not isinstance(failure, OSError) or failure.errno not in PASSING:
                self.fail_to_send(octets, destination, why)

    # ---- what streams ask for and tell -------------------------------------------------------------------------

    def fail_to_send(self, octets: bytes, _destination: Address, why: str) -> None:
        self.front.fail_to_send(octets, why, time.monotonic_ns())

    def lose_connection(self, lost: Address, why: str) -> None:
        self.front.lose_connection(lost, why, time.monotonic_ns())

    def may_connect(self, host: str) -> bool:
        """Default deny, before a handshake. Whom a call is up with may come back on another connection."""
        return self.front.callers.may_connect(host, time.monotonic_ns()) or host in self.used

    def is_stranger(self, host: str) -> bool:
        return host not in self.used and not self.front.callers.trunks_of(host)

    def is_worth_a_line(self, host: str, what: str) -> bool:
        return self.front.admission.is_worth_a_line(host, what, time.monotonic_ns())

    def addresses_in_use(self) -> frozenset[object]:
        self.used = self.front.addresses_in_use()
        return self.used

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
        found, why = await self.find(parse_uri(gateway.gateway.uri()))
        self.front.trunks.resolved(gateway, found, why, time.monotonic_ns())

    async def find(self, uri: Uri) -> tuple[list[Address], str]:
        """In the order of trying; or none, and why."""
        try:
            return await self.resolver.resolve(uri), ""
        except Unresolved as failure:
            return [], str(failure)

    async def resolve_allowed(self, name: str) -> None:
        """A host name that may call: all its addresses, of both families."""
        try:
            found = await self.loop.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError):
            found = []
        self.front.callers.resolved(name, frozenset(str(row[4][0]) for row in found))

    async def resolve(self, lookup: Lookup) -> None:
        """A name in a call that we make."""
        found, why_not = await self.find(lookup.uri)
        if found:
            why_not = self.front.originator.dial_out(lookup.order, lookup.uri, found, time.monotonic_ns())
        else:
            why_not = f"cannot call {clean(lookup.uri.host, 80)}: {why_not}"
        if why_not:
            self.front.originator.fail_order(lookup, why_not)
        self.guard(self.read_control)

    # ---- the end -----------------------------------------------------------------------------------------------

    def receive_signal(self) -> None:
        """The first one drains; the next one does not wait for the calls."""
        self.is_hurried = self.is_stopping.is_set()
        self.is_stopping.set()
        self.moved.set()

    def receive_restart(self) -> None:
        if not self.is_stopping.is_set():
            self.is_making_room = True
            self.is_stopping.set()
            self.moved.set()

    async def make_room(self) -> None:
        """At a moment when no call is being set up, if there is one soon: those that are up are in the journal."""
        await self.wait_until(lambda: not self.front.is_setting_up, CALM_LIMIT_S)
        log.info("making room for the next front, with %d calls", self.front.live_calls)

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


async def serve(config: Config, sockets: Sockets, certificates: Certificates, switchboard: Switchboard) -> None:
    """Until SIGTERM or SIGINT and the end of the calls. A second signal ends them at once."""
    loop = asyncio.get_running_loop()
    process = Process(config, sockets, certificates, switchboard, loop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.receive_signal)
    loop.add_signal_handler(RESTART, process.receive_restart)
    process.take_over()
    await process.stun.start(sockets.learnt)
    process.hep.start()
    process.start()
    loop.add_signal_handler(signal.SIGHUP, certificates.reload)
    log.info("listening for SIP on %s", sockets)
    notify.notify(f"READY=1\nSTATUS=listening for SIP on {sockets}")
    sockets.keep()
    feeding = loop.create_task(feed_watchdog())
    if not process.front.calls:  # else they wait for us, and what start-up left over is little
        gc.collect()
    gc.freeze()  # what start-up made stays: a collector that walks it stops every set-up for 30 ms
    gc.enable()
    await process.is_stopping.wait()
    notify.notify("STOPPING=1")
    await (process.make_room() if process.is_making_room else process.drain())
    feeding.cancel()
    process.stun.stop()
    process.hep.stop()
    process.stop()
    process.save_spent()
    if process.is_making_room:
        process.journal.close()
    elif not process.front.calls and not process.front.phones.registrar.bindings:
        process.journal.remove()
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
        certificates = Certificates(config.sip)
        sockets = bind(config.sip)
        switchboard = Switchboard(context, directory)
    except (BellframeError, zmq.ZMQError) as failure:
        print(f"bellframe: front: {failure}", file=sys.stderr)
        return 1
    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(serve(config, sockets, certificates, switchboard))
    switchboard.close()
    sockets.close()
    context.term()
    return 0
