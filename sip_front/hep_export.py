"""Every SIP message to a HEP collector, both ways, and a report of the audio of each call that has ended. It never waits for anybody.

Passwords and keys are covered by stars. What strangers send and nobody reads is not exported: a flood must not leave here twice.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Iterable

from control_plane.config import Sip
from control_plane.listen_config import parse_hep
from control_plane.messages import CallFacts
from sip_front import hep
from sip_front.hep import Collector, Place
from sip_front.trace import redact
from sip_front.transport import TRANSPORTS, Address, PlaceTowards

log = logging.getLogger("hep")
RESOLVE_S = 60.0  # a collector may move; so often a line is worth it that it cannot be reached
SEND_BUFFER_BYTES = 1 << 20


class HepExport:
    def __init__(self, sip: Sip, place_towards: PlaceTowards, loop: asyncio.AbstractEventLoop) -> None:
        self.target, self.place_towards, self.loop = parse_hep(sip.hep), place_towards, loop
        self.collector = Collector(sip.hep_capture_id, sip.hep_password.reveal())
        self.socket: socket.socket | None = None
        self.address: object = None
        self.lost, self.why = 0, ""
        self.reported = 0
        """Calls that had ended when we looked last."""
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self.target:
            self.task = self.loop.create_task(self._keep(*self.target))

    def stop(self) -> None:
        if self.task:
            self.task.cancel()
        if self.socket:
            self.socket.close()

    # ---- what is told ------------------------------------------------------------------------------------------

    def note_message(self, octets: bytes, remote: Address, is_sent: bool) -> None:
        if self.socket is None:
            return
        place = self.place_towards(remote)
        ours, theirs = Place(place.host, place.port or 0), Place(remote.host, remote.port)
        source, destination = (ours, theirs) if is_sent else (theirs, ours)
        self._send(hep.encode(self.collector, source, destination, redact(octets), time.time(), is_stream=remote.is_reliable))

    def note_ended(self, ended: Iterable[CallFacts], total: int) -> None:
        """`ended`: all that are remembered, the latest last; `total`: how many there ever were."""
        fresh, self.reported = total - self.reported, total
        if fresh <= 0 or self.socket is None:
            return
        for facts in list(ended)[-fresh:]:
            if facts.counters and facts.sip_call_id:
                self._send(self._report(facts))

    def _report(self, facts: CallFacts) -> bytes:
        transport, _, rest = facts.remote.partition(":")
        host, _, port = (rest if transport in TRANSPORTS else facts.remote).rpartition(":")
        theirs = Address(host.strip("[]"), int(port), transport if transport in TRANSPORTS else "udp")
        place = self.place_towards(theirs)
        payload = hep.report(facts.sip_call_id, facts.direction, facts.counters)
        return hep.encode(
            self.collector, Place(theirs.host, theirs.port), Place(place.host, place.port or 0), payload, facts.ended_at or time.time(),
            kind=hep.RTP_REPORT, correlation_id=facts.sip_call_id,
        )  # fmt: skip

    # ---- the socket --------------------------------------------------------------------------------------------

    def _send(self, datagram: bytes) -> None:
        assert self.socket is not None
        try:
            self.socket.send(datagram)
        except OSError as failure:  # full, or an ICMP error of something sent before
            self.lost, self.why = self.lost + 1, str(failure)

    async def _keep(self, host: str, port: int) -> None:
        while True:
            try:
                found = await self.loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
                self._connect(found[0][0], found[0][4])
            except (OSError, UnicodeError) as failure:
                log.warning("sip.hep: %s:%d has no address (%s); look at its spelling and at DNS", host, port, failure)
            await asyncio.sleep(RESOLVE_S)
            if self.lost:
                log.warning("sip.hep: %d messages did not reach %s:%d (%s); look whether it listens there", self.lost, host, port, self.why)
                self.lost = 0

    def _connect(self, family: int, address: object) -> None:
        if address == self.address:
            return
        fresh = socket.socket(family, socket.SOCK_DGRAM)
        fresh.setblocking(False)
        fresh.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        try:
            fresh.connect(address)  # type: ignore[arg-type]
        except OSError:
            fresh.close()
            raise
        if self.socket:
            self.socket.close()
        self.socket, self.address = fresh, address
        log.info("SIP messages are exported to %s", address)
