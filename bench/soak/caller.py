"""A caller of the soak, without I/O: SIP and RTP as octets and time. Each call has a tone nobody else has, and knows it again.

`receive_*` and `expire` are told what happened; `outbox` and `audio` hold what to send.
"""

import base64
import collections
import enum
import random
import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pylibsrtp import Error, Policy, Session

from bench.soak.codecs import CODECS, RATE_HZ, SAMPLES

MS, SECOND = 1_000_000, 1_000_000_000
AMPLITUDE = 8_000
RETRY_NS, PATIENCE_NS = SECOND // 2, 32 * SECOND  # RFC 3261 17.1.1.2: T1, and 64 times that
LOWEST_HZ, STEP_HZ = 300, 12
KEY_TYPE, KEY_PACKETS, KEY_ENDS = 101, 5, 3
"""RFC 4733: a key of 100 ms, whose end is said three times."""
SUITE, SECRET_BYTES = "AES_CM_128_HMAC_SHA1_80", 30
REFERRED = ("Event: refer", "Subscription-State: terminated;reason=noresource", "Content-Type: message/sipfrag")
SILENT_POWER = 1e-4
"""Of the tone's own power: less than this is a line on which nothing is heard."""


class State(enum.Enum):
    IDLE, INVITED, UP, ENDING = range(4)


class Verdict(enum.Enum):
    """What one second of a call sounded like."""

    OWN, SILENT, FOREIGN, UNCLEAR = range(4)


class Figures:
    """What all callers have seen."""

    def __init__(self) -> None:
        self.set_up = self.refused = self.unanswered = self.ended_early = self.finished = self.keys = 0
        self.protected = self.unproven = self.transferred = self.keys_back = 0
        """Calls with SRTP; packets that did not prove to be the server's, as they would if an index were used twice."""
        self.seconds = dict.fromkeys(Verdict, 0)
        self.foreign: list[str] = []
        self.gaps_ms: list[float] = []
        self.causes: dict[str, int] = {}
        self.kinds = collections.Counter[str]()
        """Calls set up, by codec and by whom they reached."""


class Line(NamedTuple):
    """Where things are."""

    host: str
    sip_port: int
    server_port: int


class Mix(NamedTuple):
    """What calls are like."""

    srtp: float = 0.0
    """The share that is protected by SRTP."""
    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    called: tuple[str, ...] = ("soak",)
    """User parts of whom they call."""
    presses: str = ""
    """Of these, who presses keys back."""
    key_every_s: float = 7.0


class Caller:
    def __init__(self, number: int, line: Line, rtp_port: int, figures: Figures, seed: int, mix: Mix = Mix()) -> None:  # noqa: B008 (frozen)
        self.mix = mix
        self.secret = b""
        self.tx: Session | None = None
        self.rx: Session | None = None
        self.number, self.line, self.rtp_port, self.figures = number, line, rtp_port, figures
        self.random = random.Random(seed)
        self.pitch_hz = LOWEST_HZ + STEP_HZ * number
        self.wave = (AMPLITUDE * np.sin(2 * np.pi * self.pitch_hz * np.arange(RATE_HZ) / RATE_HZ)).astype(np.int16)
        self.state, self.calls, self.outbox = State.IDLE, 0, list[bytes]()
        self.begin_ns = self.end_ns = self.retry_ns = self.give_up_ns = 0
        self.to_tag, self.target, self.waiting = "", 0, b""

    # ---- SIP --------------------------------------------------------------------------------------------------------

    def start(self, now_ns: int, seconds: float) -> None:
        self.calls += 1
        self.codec, self.called = CODECS[self.random.choice(self.mix.codecs)], self.random.choice(self.mix.called)
        self.speaker, self.payload_type = self.codec.speaker(), self.codec.payload_type
        self.key, self.key_sent, self.key_at, self.next_key, self.last_key = 0, 0, 0, self._until_key(), -1
        self.is_transferred = False
        self.secret = self.random.randbytes(SECRET_BYTES) if self.random.random() < self.mix.srtp else b""
        self.tx = self.rx = None
        self.seq, self.timestamp, self.ssrc = self.random.randrange(65536), self.random.randrange(2**32), self.random.randrange(2**32)
        self.sent, self.heard, self.last_rx_ns, self.longest_gap_ns = 0, bytearray(), 0, 0
        self.to_tag, self.state, self.end_ns = "", State.INVITED, now_ns + int(seconds * SECOND)
        self.begin_ns, self.give_up_ns = now_ns, now_ns + PATIENCE_NS
        self._send(self._request("INVITE", 1, self._offer()), now_ns)

    def expire(self, now_ns: int) -> None:
        """Call at least every 20 ms."""
        if self.state is State.UP and now_ns >= self.end_ns:
            self.state, self.give_up_ns = State.ENDING, now_ns + PATIENCE_NS
            self._send(self._request("BYE", 3), now_ns)
        elif self.waiting and now_ns >= self.give_up_ns:
            self.figures.unanswered += 1
            self._over(f"no answer to {self.waiting.partition(b' ')[0].decode()}")
        elif self.waiting and now_ns >= self.retry_ns:
            self._send(self.waiting, now_ns)

    def receive_sip(self, message: str, now_ns: int) -> None:
        if message.startswith("BYE "):
            self._answer(message)
            if self.state is State.UP:
                self.figures.transferred += self.is_transferred
                self.figures.ended_early += not self.is_transferred
                self._over("" if self.is_transferred else reason_of(message))
        elif message.startswith("REFER "):
            self._answer(message, "202 Accepted")
            if self.state is State.UP and not self.is_transferred:  # RFC 3515: it has answered, so the call here may end
                self.is_transferred = True
                self._send(self._request("NOTIFY", 2, "SIP/2.0 200 OK\r\n", REFERRED), now_ns)
        elif message.startswith("SIP/2.0 ") and message[8] != "1":
            method = message.partition("CSeq:")[2].split()[1]
            if method == "INVITE":
                self._receive_final(message, now_ns)
            elif method == "BYE" and self.state is State.ENDING:
                self.figures.finished += 1
                self._over("")
            elif method == "NOTIFY" and self.waiting.startswith(b"NOTIFY"):
                self.waiting = b""

    def _receive_final(self, message: str, now_ns: int) -> None:
        tag, port = re.search(r"(?im)^to:.*;tag=([^;\s]+)", message), re.search(r"(?m)^m=audio (\d+)", message)
        key = re.search(rf"(?m)^a=crypto:1 {SUITE} inline:([^|\s]+)", message)
        if message.startswith("SIP/2.0 200") and tag and port and (key or not self.secret):
            self.to_tag = tag[1]
            if key and self.tx is None:
                self.tx = Session(Policy(key=self.secret, ssrc_type=Policy.SSRC_ANY_OUTBOUND))
                self.rx = Session(Policy(key=base64.b64decode(key[1]), ssrc_type=Policy.SSRC_ANY_INBOUND))
            self.outbox.append(self._request("ACK", 1))
            if self.state is State.INVITED:
                self.figures.set_up += 1
                self.figures.protected += bool(self.secret)
                self.figures.kinds.update((self.codec.name, f"to {self.called}"))
                self.state, self.waiting, self.target, self.begin_ns = State.UP, b"", int(port[1]), now_ns
        elif self.state is State.INVITED:
            self.to_tag = tag[1] if tag else ""
            self.outbox.append(self._request("ACK", 1))
            self.figures.refused += 1
            self._over(message.partition("\r\n")[0])

    def _over(self, cause: str) -> None:
        if self.state in (State.UP, State.ENDING) and self.longest_gap_ns:
            self.figures.gaps_ms.append(self.longest_gap_ns / MS)
        self.state, self.waiting = State.IDLE, b""
        if cause:
            self.figures.causes[cause] = self.figures.causes.get(cause, 0) + 1

    def _send(self, octets: bytes, now_ns: int) -> None:
        self.waiting, self.retry_ns = octets, now_ns + RETRY_NS
        self.outbox.append(octets)

    def _request(self, method: str, cseq: int, body: str = "", headers: tuple[str, ...] = ("Content-Type: application/sdp",)) -> bytes:
        line, call = self.line, f"soak-{self.number}-{self.calls}"
        lines = [
            f"{method} sip:{self.called}@{line.host}:{line.server_port} SIP/2.0",
            f"Via: SIP/2.0/UDP {line.host}:{line.sip_port};branch=z9hG4bK{method}-{call};rport",
            f"From: <sip:soak{self.number}@{line.host}>;tag=f{call}",
            f"To: <sip:{self.called}@{line.host}>" + (f";tag={self.to_tag}" if self.to_tag else ""),
            f"Call-ID: {call}-{line.sip_port}",
            f"CSeq: {cseq} {method}",
            "Max-Forwards: 70",
            f"Contact: <sip:soak{self.number}@{line.host}:{line.sip_port}>",
            "Allow: INVITE, ACK, CANCEL, BYE, REFER, NOTIFY",
            *(headers if body else ()),
            f"Content-Length: {len(body)}",
        ]
        return ("\r\n".join([*lines, "", ""]) + body).encode()

    def _answer(self, request: str, status: str = "200 OK") -> None:
        kept = [line for line in request.split("\r\n") if line.lower().startswith(("via:", "from:", "to:", "call-id:", "cseq:"))]
        contact = f"Contact: <sip:soak{self.number}@{self.line.host}:{self.line.sip_port}>"
        self.outbox.append("\r\n".join([f"SIP/2.0 {status}", *kept, contact, "Content-Length: 0", "", ""]).encode())

    def _offer(self) -> str:
        host, number = self.line.host, self.payload_type
        session = ("v=0", f"o=soak {self.calls} 1 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0")
        profile = "RTP/SAVP" if self.secret else "RTP/AVP"
        media = [f"m=audio {self.rtp_port} {profile} {number} {KEY_TYPE}", f"a=rtpmap:{number} {self.codec.rtpmap}"]
        media.append(f"a=rtpmap:{KEY_TYPE} telephone-event/{50 * self.codec.ticks}")
        if self.secret:
            media.append(f"a=crypto:1 {SUITE} inline:{base64.b64encode(self.secret).decode()}")
        return "".join(f"{line}\r\n" for line in (*session, *media))

    # ---- RTP --------------------------------------------------------------------------------------------------------

    def next_packet(self) -> bytes:
        """The packet of this tick of 20 ms."""
        if self.sent >= self.next_key:
            payload, kind, stamp = self._key_packet()
        else:
            at = self.sent % (RATE_HZ // SAMPLES) * SAMPLES
            payload, stamp = self.speaker.encode(self.wave[at : at + SAMPLES]), self.timestamp
            kind = self.payload_type | (0x80 if self.sent == 0 else 0)
        header = bytes((0x80, kind)) + self.seq.to_bytes(2, "big") + stamp.to_bytes(4, "big") + self.ssrc.to_bytes(4, "big")
        self.sent, self.seq, self.timestamp = self.sent + 1, self.seq + 1 & 0xFFFF, self.timestamp + self.codec.ticks & 0xFFFFFFFF
        return self.tx.protect(header + payload) if self.tx else header + payload

    def _until_key(self) -> float:
        """In packets."""
        is_pressed = self.called == self.mix.presses
        return self.random.uniform(0.7, 1.3) * self.mix.key_every_s * RATE_HZ / SAMPLES if is_pressed else float("inf")

    def _key_packet(self) -> tuple[bytes, int, int]:
        """Payload, type with marker, timestamp: that of its beginning (RFC 4733 2.2.2)."""
        if self.key_sent == 0:
            self.key, self.key_at = self.random.randrange(12), self.timestamp
            self.figures.keys += 1
        self.key_sent += 1
        duration = min(self.key_sent, KEY_PACKETS) * self.codec.ticks
        payload = bytes((self.key, 10 | (0x80 if self.key_sent > KEY_PACKETS else 0))) + duration.to_bytes(2, "big")
        kind = KEY_TYPE | (0x80 if self.key_sent == 1 else 0)
        if self.key_sent == KEY_PACKETS + KEY_ENDS:
            self.key_sent, self.next_key = 0, self.sent + self._until_key()
        return payload, kind, self.key_at

    def receive_rtp(self, packet: bytes, now_ns: int, from_port: int = 0) -> None:
        """`from_port`: of the server. What is late of the call before has another one, and other keys."""
        if self.rx:
            try:
                packet = self.rx.unprotect(packet)
            except Error:
                self.figures.unproven += from_port == self.target
                return
        if self.last_rx_ns and self.state is State.UP:
            self.longest_gap_ns = max(self.longest_gap_ns, now_ns - self.last_rx_ns)
        self.last_rx_ns = now_ns
        if packet[1] & 0x7F == self.payload_type:
            self.heard += self.speaker.decode(packet[12:]).tobytes()
            del self.heard[: -2 * RATE_HZ]
        elif packet[1] & 0x7F == KEY_TYPE and (stamp := int.from_bytes(packet[4:8], "big")) != self.last_key:
            self.last_key = stamp
            self.figures.keys_back += 1

    def take_second(self) -> npt.NDArray[np.int16] | None:
        """What was heard in the last second, once there is one."""
        if self.state is not State.UP or len(self.heard) < 2 * RATE_HZ:
            return None
        pcm = np.frombuffer(bytes(self.heard), np.int16)
        self.heard.clear()
        return pcm


def reason_of(bye: str) -> str:
    found = re.search(r'(?im)^reason:.*text="([^"]*)"', bye)
    return f"BYE: {found[1] if found else 'no reason'}"


def judge(seconds: npt.NDArray[np.int16], pitches_hz: npt.NDArray[np.int64]) -> list[tuple[Verdict, int]]:
    """What each row of (n, 8000) samples sounded like to whoever sent `pitches_hz`; and the loudest pitch, in Hz.

    FOREIGN needs the power of another caller's tone to be more than that of all else: a gap or a restart makes a click, not a tone.
    """
    spectrum = np.abs(np.fft.rfft(seconds * np.hanning(RATE_HZ), axis=1)) ** 2
    spectrum[:, : LOWEST_HZ - STEP_HZ // 2] = 0
    total, full = spectrum.sum(axis=1), (AMPLITUDE * RATE_HZ / 4) ** 2
    loudest = spectrum.argmax(axis=1)
    found = []
    for row, pitch in enumerate(pitches_hz):
        near = [float(spectrum[row, hz - 3 : hz + 4].sum()) for hz in (int(pitch), int(loudest[row]))]
        if total[row] < SILENT_POWER * full:
            verdict = Verdict.SILENT
        elif near[0] > 0.5 * total[row]:
            verdict = Verdict.OWN
        elif near[1] > 0.5 * total[row] and abs(int(loudest[row]) - int(pitch)) >= STEP_HZ // 2:
            verdict = Verdict.FOREIGN
        else:
            verdict = Verdict.UNCLEAR
        found.append((verdict, int(loudest[row])))
    return found
