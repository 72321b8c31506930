"""Compiled RTP load: thousands of callers in one process, who hear what comes back.

Every caller sends a 172-octet PCMU packet each 20 ms at absolute times, phases spread evenly. The payload begins
with a stamp of four µ-law codes that survive decoding and encoding, so a frame that comes back through ring and
agent is recognised, its round trip measured, its loss counted. Callers share a few sockets: that makes the
generator cheaper than the server it measures. With keys, a caller speaks SRTP through the same kernels of libsrtp.
"""

import select
import socket
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from control_plane.srtp_suites import SUITES
from media_workers import libsrtp, rtp, sockets
from media_workers.source import SOCKADDR_BYTES, sockaddr
from shm.jit import njit

PACKET_BYTES, PAYLOAD_BYTES, PERIOD_NS, SAMPLES = 172, 160, 20_000_000, 160
CALLERS_PER_SOCKET = 50
RECEIVE_BUFFER_BYTES = 4 << 20
STAMPS = 512
"""Frames remembered per caller: more than ten seconds of round trip."""
HISTOGRAM_US = 100_000
STAMP_CODE = 0x80  # µ-law codes 0x80 to 0xBF: each has a value of its own, so it comes back as it went
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
        ("sent_ns", "i8", STAMPS),  # negative: it came back
    ]
)


class Load(NamedTuple):
    """What the kernel works on."""

    callers: npt.NDArray[np.void]  # (n,) CALLER, in order of phase
    by_port: npt.NDArray[np.int64]  # (65536,) server port -> caller, -1: none
    fds: npt.NDArray[np.int64]
    round_trips_us: npt.NDArray[np.int64]  # (100001,) histogram
    packet: npt.NDArray[np.uint8]
    sockaddr: npt.NDArray[np.uint8]
    sockaddr_bytes: npt.NDArray[np.int64]
    events: npt.NDArray[np.uint8]
    clock: npt.NDArray[np.int64]
    octets: npt.NDArray[np.int32]
    """Of a packet, for libsrtp."""


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
            _receive_all(load, load.fds[sockets.event_data(load.events, i)], now, is_counted and now - begun > SETTLING_NS)
        while callers[cursor]["next_ns"] <= now:
            worst = max(worst, now - callers[cursor]["next_ns"])
            _send(load, cursor, now)
            cursor = (cursor + 1) % callers.size
    return worst


@njit
def _send(load, i, now):
    caller, packet = load.callers[i], load.packet
    rtp.write_header(packet, 0, caller["sent"] == 0, caller["seq"], caller["timestamp"], caller["ssrc"])
    for digit in range(4):
        packet[rtp.HEADER_BYTES + digit] = STAMP_CODE | ((caller["sent"] >> (6 * digit)) & 0x3F)
    for k in range(rtp.HEADER_BYTES + 4, PACKET_BYTES):
        packet[k] = 0x90 | (k & 7)
    caller["sent_ns"][caller["sent"] % STAMPS] = now
    caller["sent"] += 1
    caller["seq"] = (caller["seq"] + 1) & 0xFFFF
    caller["timestamp"] = (caller["timestamp"] + SAMPLES) & 0xFFFFFFFF
    caller["next_ns"] += PERIOD_NS
    load.octets[0] = PACKET_BYTES
    if caller["tx_session"] != 0:
        libsrtp.protect(caller["tx_session"], packet, load.octets)
    sockets.send(caller["fd"], packet, load.octets[0], caller["sockaddr"], 16)


@njit
def _receive_all(load, fd, now, is_counted):
    while True:
        size = sockets.receive(fd, load.packet, load.sockaddr, load.sockaddr_bytes)
        if size < 0:
            return
        if size < PACKET_BYTES:
            continue
        i = load.by_port[(np.int64(load.sockaddr[2]) << 8) | np.int64(load.sockaddr[3])]
        if i < 0:
            continue
        load.octets[0] = size
        session = load.callers[i]["rx_session"]
        if session != 0 and libsrtp.unprotect(session, load.packet, load.octets) != libsrtp.OK:
            load.callers[i]["refused"] += 1
            continue
        _take(load, i, now, is_counted)


@njit
def _take(load, i, now, is_counted):
    caller, packet = load.callers[i], load.packet
    caller["received"] += 1
    seq = rtp.read_u16(packet, 2)
    if caller["received"] > 1 and seq != (caller["last_seq"] + 1) & 0xFFFF:
        caller["seq_breaks"] += 1
    caller["last_seq"] = seq
    if is_counted:
        if caller["last_rx_ns"] != 0:
            caller["longest_gap_ns"] = max(caller["longest_gap_ns"], now - caller["last_rx_ns"])
        caller["grid_ns"] = now if caller["grid_ns"] == 0 else min(caller["grid_ns"] + PERIOD_NS, now)
        if now - caller["grid_ns"] > PERIOD_NS:
            caller["late"] += 1
        caller["last_rx_ns"] = now
    stamp = 0
    for digit in range(4):
        code = np.int64(packet[rtp.HEADER_BYTES + digit])
        if code & 0xC0 != STAMP_CODE:
            return  # comfort noise
        stamp |= (code & 0x3F) << (6 * digit)
    if stamp >= caller["sent"] or caller["sent"] - stamp >= STAMPS:
        return
    sent_ns = caller["sent_ns"][stamp % STAMPS]
    if sent_ns <= 0:
        caller["repeated"] += 1
        return
    caller["sent_ns"][stamp % STAMPS] = -sent_ns
    caller["echoed"] += 1
    if is_counted:
        load.round_trips_us[min((now - sent_ns) // 1000, HISTOGRAM_US)] += 1


class Generator:
    """Callers, each of whom talks to one port of the server. Ports may be set after the SDP is known."""

    def __init__(self, calls: int, host: str = "127.0.0.1") -> None:
        self.host = host
        self.sockets = []
        for _ in range(-(-calls // CALLERS_PER_SOCKET)):
            bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            bound.bind((host, 0))
            try:
                bound.setsockopt(socket.SOL_SOCKET, 33, RECEIVE_BUFFER_BYTES)  # SO_RCVBUFFORCE, where we may
            except PermissionError:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            self.sockets.append(bound)
        callers = np.zeros(calls, CALLER)
        callers["ssrc"] = np.arange(calls) + 0x1000
        callers["seq"], callers["timestamp"] = 1000, 160_000
        callers["fd"] = [self.sockets[i % len(self.sockets)].fileno() for i in range(calls)]
        self.load = Load(
            callers=callers,
            by_port=np.full(65536, -1, np.int64),
            fds=np.array([bound.fileno() for bound in self.sockets], np.int64),
            round_trips_us=np.zeros(HISTOGRAM_US + 1, np.int64),
            packet=np.zeros(2048, np.uint8),
            sockaddr=np.zeros(SOCKADDR_BYTES, np.uint8),
            sockaddr_bytes=np.zeros(1, np.int64),
            events=np.zeros(sockets.MAX_EVENTS * sockets.EVENT_BYTES, np.uint8),
            clock=np.zeros(4, np.int64),
            octets=np.zeros(1, np.int32),
        )
        self.epoll = select.epoll()
        for i, bound in enumerate(self.sockets):
            sockets.watch(self.epoll, bound.fileno(), i)

    def local_port(self, i: int) -> int:
        """Where caller i wants its audio: the port for its SDP."""
        return int(self.sockets[i % len(self.sockets)].getsockname()[1])

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
        self.longest_gap_ms = float(callers["longest_gap_ns"].max() / 1e6)
        self.gaps_ms = callers["longest_gap_ns"] / 1e6
        self.generator_late_ms = generator_late_ms
        counts = load.round_trips_us.cumsum()
        self.percentiles_ms = {
            p: float(np.searchsorted(counts, counts[-1] * p / 100) / 1000) if counts[-1] else float("nan") for p in (50, 99, 99.9)
        }
