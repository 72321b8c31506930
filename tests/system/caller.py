"""A caller in plain Python who knows nothing of our code: SIP by hand, RTP from a thread, every packet kept."""

import contextlib
import itertools
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tests.system.server import HOST, wait_for
from tests.system.sound import Pcm

PTIME_NS, FRAME = 20_000_000, 160
SO_TIMESTAMPNS = 35
RTP = struct.Struct("!BBHII")
KEYS, EVENT_TYPE = "0123456789*#ABCD", 101


def encode_ulaw(pcm: npt.NDArray[Any]) -> bytes:
    """G.711, by the book."""
    sign = np.where(pcm < 0, 0x80, 0)
    magnitude = np.minimum(np.abs(pcm.astype(np.int32)), 32_635) + 132
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    return bytes((~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8))


def decode_ulaw(payload: bytes) -> Pcm:
    code = ~np.frombuffer(payload, np.uint8) & 0xFF
    magnitude = (((code & 0x0F).astype(np.int32) << 3) + 132 << ((code >> 4) & 7)) - 132
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def tone(pitch_hz: float, amplitude: float = 8_000) -> Callable[[int], bytes]:
    """The payload of each frame, by its number."""
    return lambda frame: encode_ulaw(amplitude * np.sin(2 * np.pi * pitch_hz * (np.arange(FRAME) + frame * FRAME) / 8_000))


class Packet(NamedTuple):
    at_ns: int
    """When the kernel got it: how busy this process was does not count."""
    payload_type: int
    seq: int
    timestamp: int
    ssrc: int
    payload: bytes


class Caller:
    """`with Caller(...) as caller`: the call is up inside, and over afterwards."""

    def __init__(
        self, sip_port: int, to: str = "echo", payload: Callable[[int], bytes] | None = None, host: str = HOST, server: str = HOST
    ) -> None:
        """`host`: where it is; `server`: whom it calls."""
        self.name = f"caller{secrets.token_hex(4)}"
        self.host, self.server, self.to, self.payload = host, (server, sip_port), to, payload or tone(440)
        self.sip, self.rtp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for one in (self.sip, self.rtp):
            one.bind((host, 0))
        self.rtp.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.rtp.settimeout(0.1)
        self.call_id, self.tag, self.remote_tag, self.cseq = secrets.token_hex(8), secrets.token_hex(4), "", 1
        port = self.rtp_port = int(self.rtp.getsockname()[1])
        self.offer = (
            f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 {EVENT_TYPE}\r\n"
            f"a=rtpmap:0 PCMU/8000\r\na=rtpmap:{EVENT_TYPE} telephone-event/8000\r\na=fmtp:{EVENT_TYPE} 0-15\r\na=ptime:20\r\n"
        )
        self.local = f"{host}:{self.sip.getsockname()[1]}"
        self.payload_type = 0
        self.received: list[Packet] = []
        self.sent = 0
        self.is_over = threading.Event()
        self._key: str | None = None
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]

    # ---- SIP ----------------------------------------------------------------------------------------------------

    def request(self, method: str, body: str = "", cseq: int | None = None) -> bytes:
        local, to = self.local, f"sip:{self.to}@{self.server[0]}:{self.server[1]}"
        tag = f";tag={self.remote_tag}" if self.remote_tag else ""
        lines = [
            f"{method} {to} SIP/2.0",
            f"Via: SIP/2.0/UDP {local};branch=z9hG4bK{secrets.token_hex(8)};rport",
            "Max-Forwards: 70",
            f"From: <sip:{self.name}@{self.host}>;tag={self.tag}",
            f"To: <{to}>{tag}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {cseq or self.cseq} {method}",
            f"Contact: <sip:{self.name}@{local}>",
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def transact(self, method: str, body: str = "", limit_s: float = 8.0) -> str:
        """The final response, as text."""
        octets, deadline = self.request(method, body), time.monotonic() + limit_s
        self.sip.settimeout(0.5)
        while time.monotonic() < deadline:
            self.sip.sendto(octets, self.server)  # the same again: loopback may lose it when buffers are full
            with contextlib.suppress(TimeoutError):
                while True:
                    answer = self.sip.recv(65_535).decode()
                    if answer.startswith("SIP/2.0") and f"CSeq: {self.cseq} {method}" in answer and not answer.startswith("SIP/2.0 1"):
                        return answer
        raise AssertionError(f"no answer to {method} within {limit_s:g} s")

    def __enter__(self) -> "Caller":
        answer = self.transact("INVITE", self.offer)
        assert answer.startswith("SIP/2.0 200"), answer
        self.remote_tag = answer.partition("\r\nTo: ")[2].partition("\r\n")[0].partition("tag=")[2]
        self.media = (self.server[0], int(answer.partition("m=audio ")[2].split()[0]))
        self.sip.sendto(self.request("ACK"), self.server)
        for thread in self._threads:
            thread.start()
        return self

    def hang_up(self) -> None:
        self.cseq += 1
        answer = self.transact("BYE")
        assert answer.startswith("SIP/2.0 200"), answer

    def answer_bye(self, limit_s: float = 8.0) -> str:
        """Waits for the server's BYE and answers it. Returns it."""
        self.sip.settimeout(limit_s)
        while not (request := self.sip.recv(65_535).decode()).startswith("BYE "):
            pass
        kept = [line for line in request.splitlines() if line.startswith(("Via:", "From:", "To:", "Call-ID:", "CSeq:"))]
        self.sip.sendto(("\r\n".join(["SIP/2.0 200 OK", *kept, "Content-Length: 0"]) + "\r\n\r\n").encode(), self.server)
        self.is_over.set()
        return request

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None and not self.is_over.is_set():
                self.hang_up()
        finally:
            self.close()

    def close(self) -> None:
        self.is_over.set()
        for thread in self._threads:
            if thread.ident:
                thread.join()
        self.sip.close()
        self.rtp.close()

    # ---- RTP ----------------------------------------------------------------------------------------------------

    def press(self, key: str) -> None:
        self._key = key

    def _send(self) -> None:
        due_ns, seq, start, ssrc = time.monotonic_ns(), secrets.randbits(16), secrets.randbits(31), secrets.randbits(32)
        key_at = presses = 0
        while not self.is_over.wait(max(0, due_ns - time.monotonic_ns()) / 1e9):
            timestamp = start + self.sent * FRAME & 0xFFFFFFFF
            if self._key and not presses:
                presses, key_at = 8, timestamp
            if presses and self._key:  # 100 ms of it, its end three times (RFC 4733 2.5.1.4)
                presses -= 1
                payload = struct.pack("!BBH", KEYS.index(self._key), 0x8A if presses < 3 else 0x0A, min(8 - presses, 6) * FRAME)
                head = RTP.pack(0x80, EVENT_TYPE | (0x80 if presses == 7 else 0), seq, key_at, ssrc)
                self._key = self._key if presses else None
            else:
                marker = 0x80 if not self.sent else 0
                payload, head = self.payload(self.sent), RTP.pack(0x80, marker | self.payload_type, seq, timestamp, ssrc)
            self.rtp.sendto(head + payload, self.media)
            self.sent, seq, due_ns = self.sent + 1, seq + 1 & 0xFFFF, due_ns + PTIME_NS

    def _receive(self) -> None:
        while not self.is_over.is_set():
            try:
                octets, extras, _, _ = self.rtp.recvmsg(2_048, 64)
            except TimeoutError:
                continue
            seconds, nanoseconds = struct.unpack("qq", extras[0][2])
            _, kind, seq, timestamp, ssrc = RTP.unpack_from(octets)
            self.received.append(Packet(seconds * 1_000_000_000 + nanoseconds, kind & 0x7F, seq, timestamp, ssrc, octets[RTP.size :]))

    # ---- what came ----------------------------------------------------------------------------------------------

    def wait_for_packets(self, count: int, limit_s: float = 10.0) -> None:
        """So many more than now."""
        wanted = len(self.received) + count
        wait_for(f"{count} more packets from the server", lambda: len(self.received) >= wanted, limit_s)

    def audio(self, first: int = 0, last: int | None = None) -> Pcm:
        """int16, 8 kHz, of the packets received with these numbers."""
        return decode_ulaw(b"".join(packet.payload for packet in self.received[first:last] if packet.payload_type == 0))

    def check_stream(self) -> None:
        """One SSRC, no sequence number left out or twice, and the timestamp of each packet 160 after the last."""
        packets = list(self.received)
        assert len({packet.ssrc for packet in packets}) == 1
        steps = [(b.seq - a.seq & 0xFFFF, b.timestamp - a.timestamp & 0xFFFFFFFF) for a, b in itertools.pairwise(packets)]
        assert [(number, step) for number, step in enumerate(steps) if step != (1, FRAME)] == []

    def longest_gap_ms(self) -> float:
        times = np.array([packet.at_ns for packet in self.received])
        return float(np.diff(times).max()) / 1e6
