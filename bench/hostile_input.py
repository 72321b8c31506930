"""How many messages that somebody has spoilt does the front take before it raises, stumbles or is slow?

The messages of RFC 4475 and 5118, of calls, registrations and answers are cut, doubled, mixed and swollen, by a seed: the same
again at will. Each is read and printed twice, taken by a whole front with its trunks, users and calls (in simulated time), and
every eighth comes through a stream, cut anywhere. `coverage_fuzzer.py` lets atheris choose them instead.
"""

import gc
import itertools
import logging
import pathlib
import random
import time
import traceback
from collections.abc import Callable
from typing import Any

from control_plane.config import Route
from control_plane.secret import Secret
from control_plane.trunk_config import Trunk, User
from sip_front.framing import PING, Framer
from sip_front.message import BadMessage, Message, parse, validate
from sip_front.transport import Address
from tests.sip_front.simulation import CALLER, SDP, SERVER, STRANGER, TRUSTED, Machine, Network
from tests.sip_front.torture import CASES

SLOW_NS = 5_000_000
LIFE = 400  # messages that one front takes; then the time of all its timers passes
TIMERS_S = 80.0  # 64 * T1 twice, and some
FOUND = pathlib.Path("results") / "hostile"
USERS = (User("alice", password=Secret("secret")), User("bob", ha1=Secret("0" * 32)))
TRUNKS = (
    Trunk("carrier", allow=(CALLER,), gateways=(CALLER,), username="us", password=Secret("secret"), register=True, allow_numbers=("*",)),
    Trunk("phones", users=("alice", "bob")),
)
ROUTES = (Route(agent="echo", to="[0-9+a-z]*"),)
CONFIG: dict[str, Any] = {"trunks": TRUNKS, "users": USERS, "routes": ROUTES}
AUTHORIZATION = (
    'Authorization: Digest username="alice", realm="bellframe", nonce="00", uri="sip:192.0.2.1", response="{}", '
    'algorithm=MD5, cnonce="0a4f113b", qop=auth, nc=00000001\r\n'.format("0" * 32)
)
TOKENS = (
    b"\r\n", b"\r\n\r\n", b"\r\n ", b"\r", b"\n", b"\x00", b" ", b"\t", b",", b";", b";;", b"=", b"\"", b"\\", b"\\\"", b"<", b">",
    b"<>", b"@", b":", b"?", b"%", b"%00", b"%zz", b"[", b"]", b"[::1]", b"[::ffff:1.2.3.4]", b"sip:", b"sips:", b"tel:", b"SIP/2.0",
    b"SIP/2.0 200 OK\r\n", b"sip:a@b;lr", b"z9hG4bK", b";tag=x", b";rport", b";branch=", b";received=1.2.3.4", b";maddr=1.2.3.4",
    b";ttl=1", b";transport=tls", b"*", b"0", b"-1", b"255", b"256", b"65535", b"65536", b"2147483648", b"4294967295", b"4294967296",
    b"99999999999999999999", b"\xff\xfe", b"\xc3(", b"\xe2\x80\xa8", b"Content-Length: 0\r\n", b"Content-Length: 9999999999\r\n",
    b"l: 5\r\n", b"Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\n", b"Route: <sip:h;lr>\r\n", b"Contact: *\r\n",
    b"Require: 100rel, timer, replaces\r\n", b"Supported: 100rel, timer\r\n", b"Replaces: call-1;to-tag=a;from-tag=caller\r\n",
    b"Session-Expires: 1;refresher=uac\r\n", b"Min-SE: 4294967295\r\n", b"RAck: 1 1 INVITE\r\n",
    b"Refer-To: <sip:x@192.0.2.10?Replaces=a>\r\n", b"Expires: 0\r\n", b"Event: refer\r\n", b"Subscription-State: terminated\r\n",
    b"Identity: x\r\n", b"Reason: Q.850;cause=16\r\n", b"Content-Type: multipart/mixed;boundary=b\r\n", b"Content-Encoding: gzip\r\n",
    b"Timestamp: 1 1\r\n", b"Max-Forwards: 0\r\n", b"INVITE", b"ACK", b"BYE", b"CANCEL", b"REGISTER", b"OPTIONS", b"UPDATE", b"PRACK",
    b"REFER", b"INFO", b"NOTIFY", b"m=audio 0 RTP/AVP 0\r\n", b"m=video 9 RTP/AVP 96\r\n", b"a=rtpmap:", b"a=fmtp:101 0-16,",
    b"c=IN IP6 ::\r\n", b"c=IN IP4 0.0.0.0\r\n", b"a=sendonly\r\n", b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA|2^31|1:4\r\n",
    b"a=candidate:1 1 UDP 1 1.2.3.4 5 typ host\r\n",
)  # fmt: skip


def seeds() -> list[bytes]:
    """What is right, or wrong in a known way: each feature of the grammar and of calls, once at least."""
    flow = ["INVITE", "ACK", "UPDATE", "INFO", "PRACK", "REFER", "NOTIFY", "OPTIONS", "MESSAGE", "BYE", "CANCEL", "REGISTER", "SUBSCRIBE"]
    found = [case.octets for case in CASES]
    body = SDP.format(host=CALLER, port=40_000, formats="0 8 101", direction="sendrecv")
    for cseq, method in enumerate(flow):
        for tag, more in (("", ""), (";tag=known", AUTHORIZATION)):
            number = 1 if method in ("INVITE", "ACK", "CANCEL") else cseq + 1
            branch = "call-1-1-INVITE" if method == "CANCEL" else f"call-1-{number}-{method}"
            held = body if method in ("INVITE", "UPDATE", "PRACK") else ""
            kind = "Content-Type: application/sdp\r\n" if held else ""
            found.append(
                f"{method} sip:100@{SERVER} SIP/2.0\r\nVia: SIP/2.0/UDP {CALLER}:5060;branch=z9hG4bK{branch};rport\r\n"
                f"Max-Forwards: 70\r\nFrom: \"A\" <sip:+491@{CALLER}>;tag=caller\r\nTo: <sip:100@{SERVER}>{tag}\r\n"
                f"Call-ID: call-1\r\nCSeq: {number} {method}\r\nContact: <sip:me@{CALLER}:5060>;expires=60\r\n"
                f"Allow: INVITE, ACK, BYE\r\nSupported: timer, 100rel, replaces\r\n{more}{kind}"
                f"Content-Length: {len(held)}\r\n\r\n{held}".encode()
            )
    return found


class Mutator:
    """Bytes in, other bytes out, by its seed alone."""

    def __init__(self, corpus: list[bytes], seed: int) -> None:
        self.corpus, self.random = corpus, random.Random(seed)
        self.steps: tuple[Callable[[bytes], bytes], ...] = (
            self._flip, self._cut, self._double, self._insert, self._insert, self._replace, self._splice, self._swap, self._repeat,
            self._swell, self._list,
        )  # fmt: skip

    def next(self) -> bytes:
        octets = self.corpus[self._below(len(self.corpus))]
        for _ in range(1 + self._below(1 + self._below(4))):
            octets = self.steps[self._below(len(self.steps))](octets)
        return octets[:66_000]

    def _below(self, limit: int) -> int:
        return int(self.random.random() * limit)

    def _span(self, octets: bytes, longest: int) -> tuple[int, int]:
        start = self._below(len(octets) + 1)
        return start, min(len(octets), start + 1 + self._below(longest))

    def _flip(self, octets: bytes) -> bytes:
        at = self._below(len(octets))
        return b"%b%c%b" % (octets[:at], self._below(256), octets[at + 1 :])

    def _cut(self, octets: bytes) -> bytes:
        start, end = self._span(octets, 40)
        return octets[:start] + octets[end:]

    def _double(self, octets: bytes) -> bytes:
        start, end = self._span(octets, 60)
        return octets[:end] + octets[start:]

    def _insert(self, octets: bytes) -> bytes:
        at, token = self._below(len(octets) + 1), TOKENS[self._below(len(TOKENS))]
        return octets[:at] + token + octets[at:]

    def _replace(self, octets: bytes) -> bytes:
        start, end = self._span(octets, 12)
        return octets[:start] + TOKENS[self._below(len(TOKENS))] + octets[end:]

    def _splice(self, octets: bytes) -> bytes:
        other = self.corpus[self._below(len(self.corpus))]
        return octets[: self._below(len(octets) + 1)] + other[self._below(len(other) + 1) :]

    def _swap(self, octets: bytes) -> bytes:
        lines = octets.split(b"\r\n")
        one, other = self._below(len(lines)), self._below(len(lines))
        lines[one], lines[other] = lines[other], lines[one]
        return b"\r\n".join(lines)

    def _repeat(self, octets: bytes) -> bytes:
        lines = octets.split(b"\r\n")
        at = self._below(len(lines))
        lines[at:at] = [lines[at]] * (1 + self._below(8) if self._below(16) else 250)
        return b"\r\n".join(lines)

    def _swell(self, octets: bytes) -> bytes:
        start, end = self._span(octets, 4)
        return octets[:end] + octets[start:end] * (self._below(60) if self._below(32) else 9_000) + octets[end:]

    def _list(self, octets: bytes) -> bytes:
        """What stands between two commas, semicolons or spaces, as often as a header can hold it."""
        marks = [at for at, octet in enumerate(octets) if octet in b",; "]
        if len(marks) < 2:
            return octets
        at = self._below(len(marks) - 1)
        start, end = marks[at], marks[at + 1]
        return octets[:end] + octets[start:end] * (self._below(20) if self._below(16) else 8_000 // (end - start)) + octets[end:]


class Target:
    """A front that takes whatever comes. Raises what it should not have raised, or Wrong."""

    def __init__(self, seed: int = 0) -> None:
        self.random, self.count, self.read, self.doubted = random.Random(seed), 0, 0, 0
        self.slow: list[tuple[int, bytes]] = []
        trusted = Address(CALLER, 5060)
        self.sources = itertools.cycle((trusted, Address(STRANGER, 5060), Address(CALLER, 5060, "tcp", 3), trusted))
        self._renew()

    def _renew(self) -> None:
        self.machine = Machine(Network(), more=CONFIG, allow=TRUSTED)

    def take(self, octets: bytes) -> None:
        self.count += 1
        begun = time.perf_counter_ns()
        self._read(octets)
        self._hand_over(octets)
        if time.perf_counter_ns() - begun > SLOW_NS:  # the machine's fault or ours: of CPU, too?
            self.doubted += 1
            took = self._cpu_ns(octets)
            if took > SLOW_NS:
                self.slow.append((took, octets))
        machine = self.machine
        if self.count % 8 == 0:
            self._stream(octets)
            machine.network.run(0.02)
        if self.count % LIFE == 0:
            self._let_it_rest()

    def _cpu_ns(self, octets: bytes) -> int:
        """Of the same once more."""
        begun = time.thread_time_ns()  # it costs more than most messages, so it is not asked for each
        self._read(octets)
        self._hand_over(octets)
        return time.thread_time_ns() - begun

    def _hand_over(self, octets: bytes) -> None:
        self.machine.front.receive_sip(octets, next(self.sources), self.machine.network.now_ns)
        self.machine.pump()

    def _read(self, octets: bytes) -> None:
        """Parsed, printed, parsed and printed: the same."""
        try:
            message = parse(octets)
            validate(message)
        except BadMessage:
            return
        self.read += 1
        printed = message.encode()
        again = parse(printed)
        validate(again)
        if again.encode() != printed or again.body != message.body or meaning(again) != meaning(message):
            raise Wrong(f"printed it means something else: {printed[:400]!r}")

    def _stream(self, octets: bytes) -> None:
        """The same messages wherever the stream is cut."""
        whole, cut, found = Framer(), Framer(), list[bytes]()
        at = 0
        expected = whole.receive(octets)
        while at < len(octets):
            step = 1 + int(self.random.random() * 200)
            found += cut.receive(octets[at : at + step])
            at += step
        if [m for m in found if m != PING] != [m for m in expected if m != PING]:
            raise Wrong(f"cut otherwise the stream has {len(found)} messages instead of {len(expected)}")

    def _let_it_rest(self) -> None:
        """All timers run out: no transaction is left. Requests that were sent can be read by our own rules."""
        machine = self.machine
        for datagram, _ in machine.datagrams:
            if datagram.strip() and not datagram.startswith(b"SIP/2.0 "):  # a response gives back what it was given
                validate(parse(datagram))
        machine.network.run(TIMERS_S)
        agent = machine.front.user_agent
        stuck = [" ".join(map(str, served.key)) for served in agent.served.values()]
        if stuck or any(sent.transaction.is_over for sent in agent.sent.values()):
            raise Wrong(f"transactions that never end: {stuck[:10]}")
        self._renew()
        gc.collect()


class Wrong(Exception):
    """It did not raise, and yet."""


def meaning(message: Message) -> tuple[object, ...]:
    headers = [item for item in message.headers.items() if item[0] != "Content-Length"]  # ours is written, wherever theirs stood
    return headers, message.cseq, message.from_, message.to, message.top_via, message.call_id


def corpus_of(folder: str) -> list[bytes]:
    """Ours, and what a coverage fuzzer has kept there."""
    return seeds() + ([path.read_bytes() for path in sorted(pathlib.Path(folder).iterdir())] if folder else [])


def answer(messages: int = 1_000_000, seconds: int = 3_600, seed: int = 1, corpus: str = "", found: str = str(FOUND)) -> dict[str, Any]:
    """As many as that, or as long as that. What raised is written to the folder `found`, each kind once."""
    logging.disable(logging.CRITICAL)
    mutator, target = Mutator(corpus_of(corpus), seed), Target(seed)
    gc.collect()
    gc.freeze()
    gc.disable()  # a target collects between its lives: what it takes is no message's fault
    failures: dict[str, int] = {}
    begun, cpu = time.monotonic(), time.process_time()
    while target.count < messages and time.monotonic() - begun < seconds:
        octets = mutator.next()
        try:
            target.take(octets)
        except Exception as failure:
            where = traceback.extract_tb(failure.__traceback__)[-1]
            kind = f"{type(failure).__name__} in {pathlib.Path(where.filename).name}:{where.lineno}"
            if kind not in failures:
                pathlib.Path(found).mkdir(parents=True, exist_ok=True)
                (pathlib.Path(found) / f"{seed}-{len(failures)}").write_bytes(octets)
                (pathlib.Path(found) / f"{seed}-{len(failures)}.txt").write_text(traceback.format_exc())
            failures[kind] = failures.get(kind, 0) + 1
            target._renew()
    for number, (took, octets) in enumerate(target.slow[:20]):
        pathlib.Path(found).mkdir(parents=True, exist_ok=True)
        (pathlib.Path(found) / f"{seed}-slow-{number}-{took // 1000}us").write_bytes(octets)
    logging.disable(logging.NOTSET)
    gc.enable()
    gc.unfreeze()
    return {
        "messages": target.count,
        "read as SIP": target.read,
        "raised": sum(failures.values()),
        "kinds": failures,
        "took over 5 ms": len(target.slow),
        "seemed to, beside other work": target.doubted,
        "us_a_message": (time.process_time() - cpu) / max(target.count, 1) * 1e6,
    }


def test_hostile_input(benchmark: Any) -> None:
    assert benchmark.pedantic(answer, (5_000,), rounds=1)["raised"] == 0


if __name__ == "__main__":
    print(answer(messages=20_000))
