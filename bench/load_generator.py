"""Compiled RTP load: thousands of callers in one process, who hear what comes back.

Every caller sends a packet each 20 ms at absolute times, phases spread evenly. A PCMU payload begins with a stamp of
µ-law codes that survive decoding and encoding: which frame of which caller. So a frame that comes back through ring and
agent is recognised, its round trip measured, its loss counted. Other codecs send a second of a tone, encoded before,
over and over; there what is missing is counted by sequence numbers, and what came back is listened to.

Callers share sockets, and what is due within a fifth of a millisecond is sent by one system call: that makes the
generator cheaper than the server it measures. With keys, a caller speaks SRTP through the same kernels of libsrtp.
"""

import select
import socket
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench import payloads
from bench.payloads import PERIODS
from control_plane.srtp_suites import SUITES
from media_workers import batch, libsrtp, rtp, send_queue, sockets
from media_workers.send_queue import SendQueue
from media_workers.source import SOCKADDR_BYTES, sockaddr
from shm.copying import copy
from shm.jit import njit

PERIOD_NS, FIRST_SSRC = 20_000_000, 0x1000
CALLERS_PER_SOCKET = 50
TOGETHER_NS = 200_000  # what is due within this is sent at once
RECEIVE_BUFFER_BYTES = 4 << 20
STAMPS = 512
"""Frames remembered per caller: more than ten seconds of round trip."""
HISTOGRAM_US = 100_000
STAMP_CODE = 0x80  # µ-law codes 0x80 to 0xBF: each has a value of its own, so it comes back as it went
FRAME_DIGITS, CALLER_DIGITS = 4, 3  # codes of six bits
BY_PORT, BY_SSRC, BY_SOCKET = range(3)
"""How a packet's caller is known: each has its own port of the server; or all have one, and the SSRC that came with a caller's
stamp is his; or each has a socket of his own."""
SSRC_SLOTS = 1 << 16
KEPT = 100
"""The last payloads that caller 0 got, to be listened to."""
SETTLING_NS = 1_000_000_000
"""Gaps and lateness are counted from here on: the first packets of a call find cold caches on both sides."""

CALLER = np.dtype(
    [
        ("fd", "i8"),
        ("sockaddr", "u1", SOCKADDR_BYTES),
        ("ssrc", "i8"),
        ("seq", "i8"),
        ("timestamp", "i8"),
        ("next_ns", "i8"),
        ("sent", "i8"),
        ("received", "i8"),
        ("echoed", "i8"),
        ("repeated", "i8"),
        ("last_rx_ns", "i8"),
        ("longest_gap_ns", "i8"),
        ("grid_ns", "i8"),  # earliest arrival seen, moved along by 20 ms a packet: what is later is late
        ("late", "i8"),
        ("last_seq", "i8"),
        ("seq_breaks", "i8"),
        ("tx_session", "i8"),  # 0: in the clear
        ("rx_session", "i8"),
        ("refused", "i8"),  # packets that did not prove to be the server's
        ("missing", "i8"),  # sequence numbers left out
        ("least_us", "i8"),  # the shortest round trip, since counting began; 0: none
        ("sent_ns", "i8", STAMPS),  # negative: it came back
    ]
)


class Load(NamedTuple):
    """What the kernel works on."""

    callers: npt.NDArray[np.void]  # (n,) CALLER, in order of phase
    by_port: npt.NDArray[np.int64]  # (65536,) server port -> caller, -1: none
    by_ssrc: npt.NDArray[np.int64]  # (SSRC_SLOTS, 2): SSRC plus one, caller
    fds: npt.NDArray[np.int64]
    round_trips_us: npt.NDArray[np.int64]  # (100001,) histogram
    added_us: npt.NDArray[np.int64]  # the same, less the caller's shortest one
    packet: npt.NDArray[np.uint8]
    sockaddr: npt.NDArray[np.uint8]  # for who reads one by one
    sockaddr_bytes: npt.NDArray[np.int64]
    events: npt.NDArray[np.uint8]
    clock: npt.NDArray[np.int64]
    octets: npt.NDArray[np.int32]
    """Of a packet, for libsrtp."""
    rx: npt.NDArray[np.void]  # (1,) BATCH
    queue: SendQueue
    payloads: npt.NDArray[np.uint8]  # (PERIODS, MAX_PAYLOAD_BYTES)
    sizes: npt.NDArray[np.int64]  # of them
    kept: npt.NDArray[np.uint8]  # (KEPT, MAX_PAYLOAD_BYTES)
    kept_sizes: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    """Payload type, clock ticks a packet, is there a stamp, and one of BY_PORT, BY_SSRC, BY_SOCKET."""


PAYLOAD_TYPE, TICKS, IS_STAMPED, KNOWN_BY = range(4)  # of `kind`


@njit
def run(load, epoll_fd, until_ns, is_counted):
    """Send and receive until then; returns the worst lateness of our own sending, in nanoseconds."""
    callers = load.callers
    now = sockets.now_ns(load.clock)
    begun = now
    cursor, worst = 0, 0
    for i in range(callers.size):
        if callers[i]["next_ns"] < callers[cursor]["next_ns"]:
            cursor = i
    while now < until_ns:
        wait_ns = max(0, min(callers[cursor]["next_ns"], until_ns) - now)
        count = sockets.wait(epoll_fd, load.events, load.clock, wait_ns)
        now = sockets.now_ns(load.clock)
        for i in range(count):
            _receive_all(load, sockets.event_data(load.events, i), now, is_counted and now - begun > SETTLING_NS)
        worst = max(worst, now - callers[cursor]["next_ns"])
        cursor = _send_due(load, cursor, now)
    return worst


@njit
def _send_due(load, cursor, now):
    """Everybody whose time has come, or comes at once; returns who is next."""
    callers = load.callers
    while callers[cursor]["next_ns"] <= now + TOGETHER_NS:
        if _build(load, cursor, now):
            send_queue.flush(load.queue)
        cursor = (cursor + 1) % callers.size
    if load.queue.batch[0]["count"] > 0:
        send_queue.flush(load.queue)
    return cursor


@njit
def _build(load, i, now):
    """The next packet of caller i into the queue. True: it is full."""
    caller, packet, kind = load.callers[i], load.packet, load.kind
    rtp.write_header(packet, kind[PAYLOAD_TYPE], caller["sent"] == 0, caller["seq"], caller["timestamp"], caller["ssrc"])
    which = caller["sent"] % PERIODS
    copy(packet, rtp.HEADER_BYTES, load.payloads[which], 0, load.sizes[which])
    if kind[IS_STAMPED] != 0:
        for digit in range(FRAME_DIGITS):
            packet[rtp.HEADER_BYTES + digit] = STAMP_CODE | ((caller["sent"] >> (6 * digit)) & 0x3F)
        for digit in range(CALLER_DIGITS):
            packet[rtp.HEADER_BYTES + FRAME_DIGITS + digit] = STAMP_CODE | ((i >> (6 * digit)) & 0x3F)
    caller["sent_ns"][caller["sent"] % STAMPS] = now
    caller["sent"] += 1
    caller["seq"] = (caller["seq"] + 1) & 0xFFFF
    caller["timestamp"] = (caller["timestamp"] + kind[TICKS]) & 0xFFFFFFFF
    caller["next_ns"] += PERIOD_NS
    load.octets[0] = rtp.HEADER_BYTES + load.sizes[which]
    if caller["tx_session"] != 0:
        libsrtp.protect(caller["tx_session"], packet, load.octets)
    return send_queue.add(load.queue, caller["fd"], packet, load.octets[0], caller["sockaddr"], 16)


@njit
def _receive_all(load, place, now, is_counted):
    rx = load.rx[0]
    while True:
        count = batch.receive(load.fds[place], rx)
        for n in range(count):
            load.octets[0] = rx["headers"][n, batch.DONE] & 0xFFFFFFFF
            packet = rx["packets"][n]
            if load.octets[0] < rtp.HEADER_BYTES or rtp.is_rtcp(packet):
                continue
            i = _whose(load, place, packet, rx["names"][n])
            if i < 0:
                continue
            session = load.callers[i]["rx_session"]
            if session != 0 and libsrtp.unprotect(session, packet, load.octets) != libsrtp.OK:
                load.callers[i]["refused"] += 1
                continue
            _take(load, i, packet, load.octets[0], now, is_counted)
        if count < batch.PACKETS:
            return


@njit
def _whose(load, place, packet, sockaddr):
    """The caller; -1: nobody's, or not known yet."""
    if load.kind[KNOWN_BY] == BY_SOCKET:
        return place
    if load.kind[KNOWN_BY] == BY_PORT:
        return load.by_port[(np.int64(sockaddr[2]) << 8) | np.int64(sockaddr[3])]
    ssrc = rtp.read_u32(packet, 8)
    at = ssrc & (SSRC_SLOTS - 1)
    while load.by_ssrc[at, 0] != 0:
        if load.by_ssrc[at, 0] == ssrc + 1:
            return load.by_ssrc[at, 1]
        at = (at + 1) & (SSRC_SLOTS - 1)
    i = _digits(packet, rtp.HEADER_BYTES + FRAME_DIGITS, CALLER_DIGITS)
    if 0 <= i < load.callers.size and _digits(packet, rtp.HEADER_BYTES, FRAME_DIGITS) >= 0:
        load.by_ssrc[at, 0] = ssrc + 1
        load.by_ssrc[at, 1] = i
        return i
    return -1


@njit
def _digits(packet, start, count):
    """A number of the stamp; -1: there is none, it is comfort noise."""
    number = 0
    for digit in range(count):
        code = np.int64(packet[start + digit])
        if code & 0xC0 != STAMP_CODE:
            return -1
        number |= (code & 0x3F) << (6 * digit)
    return number


@njit
def _take(load, i, packet, size, now, is_counted):
    caller = load.callers[i]
    caller["received"] += 1
    seq = rtp.read_u16(packet, 2)
    step = (seq - caller["last_seq"]) & 0xFFFF
    if caller["received"] > 1 and step != 1:
        caller["seq_breaks"] += 1
        caller["missing"] += step - 1 if step < 0x8000 else 0
    caller["last_seq"] = seq
    if i == 0:
        place = caller["received"] % KEPT
        copy(load.kept[place], 0, packet, rtp.HEADER_BYTES, size - rtp.HEADER_BYTES)
        load.kept_sizes[place] = size - rtp.HEADER_BYTES
    if is_counted:
        if caller["last_rx_ns"] != 0:
            caller["longest_gap_ns"] = max(caller["longest_gap_ns"], now - caller["last_rx_ns"])
        caller["grid_ns"] = now if caller["grid_ns"] == 0 else min(caller["grid_ns"] + PERIOD_NS, now)
        if now - caller["grid_ns"] > PERIOD_NS:
            caller["late"] += 1
        caller["last_rx_ns"] = now
    stamp = _digits(packet, rtp.HEADER_BYTES, FRAME_DIGITS) if load.kind[IS_STAMPED] != 0 else -1
    if stamp < 0 or stamp >= caller["sent"] or caller["sent"] - stamp >= STAMPS:
        return
    sent_ns = caller["sent_ns"][stamp % STAMPS]
    if sent_ns <= 0:
        caller["repeated"] += 1
        return
    caller["sent_ns"][stamp % STAMPS] = -sent_ns
    caller["echoed"] += 1
    if is_counted:
        us = (now - sent_ns) // 1000
        load.round_trips_us[min(us, HISTOGRAM_US)] += 1
        caller["least_us"] = us if caller["least_us"] == 0 else min(us, caller["least_us"])
        load.added_us[min(us - caller["least_us"], HISTOGRAM_US)] += 1


class Generator:
    """Callers, each of whom talks to one port of the server. Ports may be set after the SDP is known."""

    def __init__(
        self, calls: int, host: str = "127.0.0.1", format: str = "PCMU", known_by: int = BY_PORT
    ) -> None:
        """`format`: what they speak. `known_by`: BY_SSRC where all talk to one port of the server; BY_SOCKET if that is protected."""
        self.host, self.format = host, format
        made = payloads.of(format)
        self.payload_type = made.payload_type
        each = 1 if known_by == BY_SOCKET else CALLERS_PER_SOCKET
        self.sockets = [self._bind() for _ in range(-(-calls // each))]
        callers = np.zeros(calls, CALLER)
        callers["ssrc"] = np.arange(calls) + FIRST_SSRC
        callers["seq"], callers["timestamp"] = 1000, 160_000
        callers["fd"] = [self.sockets[i // each].fileno() for i in range(calls)]
        self.each = each
        self.load = Load(
            callers=callers,
            by_port=np.full(65536, -1, np.int64),
            by_ssrc=np.zeros((SSRC_SLOTS, 2), np.int64),
            fds=np.array([bound.fileno() for bound in self.sockets], np.int64),
            round_trips_us=np.zeros(HISTOGRAM_US + 1, np.int64),
            added_us=np.zeros(HISTOGRAM_US + 1, np.int64),
            packet=np.zeros(sockets.BUFFER_BYTES, np.uint8),
            sockaddr=np.zeros(SOCKADDR_BYTES, np.uint8),
            sockaddr_bytes=np.zeros(1, np.int64),
            events=np.zeros(sockets.MAX_EVENTS * sockets.EVENT_BYTES, np.uint8),
            clock=np.zeros(4, np.int64),
            octets=np.zeros(1, np.int32),
            rx=batch.make(),
            queue=send_queue.make(wants_ring=True),
            payloads=made.octets,
            sizes=made.sizes,
            kept=np.zeros((KEPT, rtp.MAX_PAYLOAD_BYTES), np.uint8),
            kept_sizes=np.zeros(KEPT, np.int64),
            kind=np.array((made.payload_type, made.ticks, made.is_stamped, known_by), np.int64),
        )
        self.epoll = select.epoll()
        for i, bound in enumerate(self.sockets):
            sockets.watch(self.epoll, bound.fileno(), i)

    def _bind(self) -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        bound.bind((self.host, 0))
        sockets.widen(bound, RECEIVE_BUFFER_BYTES)
        return bound

    def local_port(self, i: int) -> int:
        """Where caller i wants its audio: the port for its SDP."""
        return int(self.sockets[i // self.each].getsockname()[1])

    def ssrc(self, i: int) -> int:
        return int(self.load.callers[i]["ssrc"])

    def kept(self) -> list[bytes]:
        """The last payloads that caller 0 got, in order."""
        newest = int(self.load.callers["received"][0])
        return [self.load.kept[n % KEPT, : self.load.kept_sizes[n % KEPT]].tobytes() for n in range(newest - KEPT + 1, newest + 1)]

    def set_target(self, i: int, port: int) -> None:
        octets = np.frombuffer(sockaddr(self.host, port), np.uint8)
        self.load.callers[i]["sockaddr"][: octets.size] = octets
        self.load.by_port[port] = i

    def set_keys(self, i: int, suite: str, tx: bytes, rx: bytes) -> None:
        """Caller i protects with `tx`, and believes what is protected with `rx`."""
        caller = self.load.callers[i]
        caller["tx_session"] = libsrtp.open_session(SUITES[suite], tx, [int(caller["ssrc"])])
        caller["rx_session"] = libsrtp.open_session(SUITES[suite], rx, [], takes_any=True)

    def run(self, seconds: float, is_counted: bool = True) -> "Heard":
        """Talk for so long. The first call of a generator spreads the phases; later ones go on where it stopped."""
        now = int(sockets.now_ns(self.load.clock))
        callers = self.load.callers
        behind = now + 10_000_000 - callers["next_ns"]
        if callers["next_ns"][0] == 0:
            callers["next_ns"] = now + 10_000_000 + np.arange(callers.size) * PERIOD_NS // callers.size
        else:
            callers["next_ns"] += np.maximum(0, -(-behind // PERIOD_NS)) * PERIOD_NS
        worst_ns = run(self.load, self.epoll.fileno(), now + int(seconds * 1e9), is_counted)
        return Heard(self.load, worst_ns / 1e6)

    def close(self) -> None:
        for name in ("tx_session", "rx_session"):
            for session in self.load.callers[name]:
                libsrtp.close_session(int(session))
        self.epoll.close()
        send_queue.close(self.load.queue)
        for bound in self.sockets:
            bound.close()


class Heard:
    """What the callers noticed."""

    def __init__(self, load: Load, generator_late_ms: float) -> None:
        callers = load.callers
        self.sent, self.received = int(callers["sent"].sum()), int(callers["received"].sum())
        self.echoed = int(callers["echoed"].sum())
        self.refused = int(callers["refused"].sum())
        self.late, self.seq_breaks = int(callers["late"].sum()), int(callers["seq_breaks"].sum())
        self.missing = int(callers["missing"].sum())
        self.longest_gap_ms = float(callers["longest_gap_ns"].max() / 1e6)
        self.gaps_ms = callers["longest_gap_ns"] / 1e6
        self.generator_late_ms = generator_late_ms
        self.percentiles_ms, self.added_ms = percentiles_ms(load.round_trips_us), percentiles_ms(load.added_us)


def percentiles_ms(histogram_us: npt.NDArray[np.int64]) -> dict[float, float]:
    counts = histogram_us.cumsum()
    return {p: float(np.searchsorted(counts, counts[-1] * p / 100) / 1000) if counts[-1] else float("nan") for p in (50, 99, 99.9)}
