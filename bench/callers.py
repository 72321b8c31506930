"""Enough SIP to set up and end the load's calls: INVITE, ACK, BYE, with retransmission, many at once; RTP, or SRTP with SDES."""

import base64
import re
import secrets
import select
import socket
import time

from bench.load_generator import Generator
from bench.server import Server
from control_plane.formats import FORMATS
from control_plane.srtp_suites import SUITES

AT_ONCE = 50
RETRY_S = 0.5
PATIENCE_S = 60.0
LAST_CSEQ = 1_000_000
"""Of the BYE: what else is asked inside a call comes before it."""


class Callers:
    """Calls set up by SIP, whose audio a Generator sends. With the name of a suite, they are protected by it."""

    def __init__(self, server: Server, generator: Generator, suite: str = "") -> None:
        self.server, self.generator, self.suite = server, generator, suite
        self.secrets: dict[int, bytes] = {}
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((server.host, 0))
        self.socket.connect((server.host, server.sip_port))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]
        self.to_tags: dict[int, str] = {}

    def probe(self, i: int, cseq: int, port: int) -> bytes:
        """A request inside of a call that changes nothing, whose answer goes to that port."""
        octets = self._request("OPTIONS", i, cseq)
        return octets.replace(f":{self.port};branch=z9hG4bKOPTIONS{i}-".encode(), f":{port};branch=z9hG4bKOPTIONS{i}-{cseq}-".encode())

    def _request(self, method: str, i: int, cseq: int, body: str = "") -> bytes:
        tag = self.to_tags.get(i, "")
        lines = [
            f"{method} sip:load@{self.server.host}:{self.server.sip_port} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.server.host}:{self.port};branch=z9hG4bK{method}{i}-{self.port};rport",
            f"From: <sip:caller{i}@{self.server.host}>;tag=f{i}-{self.port}",
            f"To: <sip:load@{self.server.host}>" + (f";tag={tag}" if tag else ""),
            f"Call-ID: load-{i}-{self.port}",
            f"CSeq: {cseq} {method}",
            "Max-Forwards: 70",
            f"Contact: <sip:caller{i}@{self.server.host}:{self.port}>",
        ]
        if body:
            lines.append("Content-Type: application/sdp")
        return ("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]) + body).encode()

    def _offer(self, i: int) -> str:
        host, port = self.server.host, self.generator.local_port(i)
        session = ("v=0", f"o=load {i} 1 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0")
        number, format = self.generator.payload_type, FORMATS[self.generator.format]
        channels = f"/{format.channels}" if format.channels > 1 else ""
        encoding = f"{number} {format.encoding}/{format.rtp_clock_hz}{channels}"
        lines = [*session, f"m=audio {port} {'RTP/SAVP' if self.suite else 'RTP/AVP'} {number}", f"a=rtpmap:{encoding}"]
        lines += [f"a=fmtp:{number} {format.fmtp}"] if format.fmtp else []
        lines.append(f"a=ssrc:{self.generator.ssrc(i)} cname:load{i}")
        if self.suite:
            secret = self.secrets.setdefault(i, secrets.token_bytes(SUITES[self.suite].secret_bytes))
            lines.append(f"a=crypto:1 {self.suite} inline:{base64.b64encode(secret).decode()}")
        return "".join(line + "\r\n" for line in lines)

    def open(self, calls: int) -> None:
        """Set all calls up. Raises RuntimeError with the server's answer if one is refused."""
        self._transact("INVITE", range(calls), lambda i: self._request("INVITE", i, 1, self._offer(i)))

    def close(self) -> None:
        """End them all."""
        self._transact("BYE", list(self.to_tags), lambda i: self._request("BYE", i, LAST_CSEQ))
        self.to_tags.clear()
        self.socket.close()

    def _transact(self, method: str, which: "range | list[int]", request) -> None:  # type: ignore[no-untyped-def]
        waiting = list(reversed(which))
        pending: dict[int, float] = {}
        deadline = time.monotonic() + PATIENCE_S
        while waiting or pending:
            now = time.monotonic()
            if now > deadline:
                raise RuntimeError(f"{method}: {len(waiting) + len(pending)} calls had no answer")
            while waiting and len(pending) < AT_ONCE:
                i = waiting.pop()
                self.socket.send(request(i))
                pending[i] = now
            for i, sent_at in pending.items():
                if now - sent_at > RETRY_S:
                    self.socket.send(request(i))
                    pending[i] = now
            while select.select([self.socket], [], [], 0.01)[0]:
                self._take(self.socket.recv(65535).decode(), method, pending)

    def _take(self, message: str, method: str, pending: dict[int, float]) -> None:
        i, status = int(message.partition("Call-ID: load-")[2].partition("-")[0] or -1), message[8:11]
        if method not in message.partition("CSeq:")[2].partition("\r\n")[0] or not message.startswith("SIP/2.0 ") or status < "200":
            return
        if status != "200":
            raise RuntimeError(f"call {i}: {message.splitlines()[0]}")
        if method == "INVITE":
            found, port = re.search(r"(?im)^to:.*;tag=([^;\r\n]+)", message), re.search(r"(?m)^m=audio (\d+)", message)
            assert found and port
            self.to_tags[i] = found[1]
            self.socket.send(self._request("ACK", i, 1))
            if i in pending:
                self.generator.set_target(i, int(port[1]))
                if self.suite:
                    key = re.search(rf"(?m)^a=crypto:1 {self.suite} inline:([^|\s]+)", message)
                    assert key, "the answer has no key"
                    self.generator.set_keys(i, self.suite, self.secrets[i], base64.b64decode(key[1]))
        pending.pop(i, None)
