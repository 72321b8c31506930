"""The caller in plain Python, over TCP or TLS: it cuts messages out of the stream by hand."""

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Callable

from tests.system.caller import Caller
from tests.system.server import HOST


class StreamCaller(Caller):
    """`context`: TLS with it. It listens as well, so that the server finds it when the connection has gone."""

    def __init__(
        self, port: int, to: str = "echo", payload: Callable[[int], bytes] | None = None, context: ssl.SSLContext | None = None
    ) -> None:  # fmt: skip
        super().__init__(port, to, payload)
        self.protocol, self.context = "TLS" if context else "TCP", context
        self.sip.close()
        self.reconnect()
        self.server_side = socket.create_server((HOST, 0))
        self.local = f"{HOST}:{self.server_side.getsockname()[1]}"

    def reconnect(self) -> None:
        self.sip.close()
        self.sip = socket.create_connection(self.server, timeout=5)
        if self.context:
            self.sip = self.context.wrap_socket(self.sip, server_hostname=HOST)
        self.rest = b""

    def request(self, method: str, body: str = "", cseq: int | None = None) -> bytes:
        text = super().request(method, body, cseq).decode().replace("SIP/2.0/UDP", f"SIP/2.0/{self.protocol}", 1)
        return text.replace(f"{self.local}>", f"{self.local};transport={self.protocol.lower()}>").encode()

    def read(self, limit_s: float = 8.0) -> str:
        """One message."""
        self.sip.settimeout(limit_s)
        while not (head := re.match(rb"(?s).*?\r\nContent-Length: (\d+)\r\n\r\n", self.rest)) or len(self.rest) < head.end() + int(head[1]):
            more = self.sip.recv(65_535)
            assert more, "the server closed the connection"
            self.rest += more
        end = head.end() + int(head[1])
        octets, self.rest = self.rest[:end], self.rest[end:]
        return octets.decode()

    def transact(self, method: str, body: str = "", limit_s: float = 8.0) -> str:
        self.sip.sendall(self.request(method, body))
        deadline = time.monotonic() + limit_s
        while True:
            answer = self.read(max(0.1, deadline - time.monotonic()))
            if answer.startswith("SIP/2.0") and f"CSeq: {self.cseq} {method}" in answer and not answer.startswith("SIP/2.0 1"):
                return answer

    def __enter__(self) -> "StreamCaller":
        answer = self.transact("INVITE", self.offer)
        assert answer.startswith("SIP/2.0 200"), answer
        self.remote_tag = answer.partition("\r\nTo: ")[2].partition("\r\n")[0].partition("tag=")[2]
        self.media = (HOST, int(answer.partition("m=audio ")[2].split()[0]))
        self.sip.sendall(self.request("ACK"))
        for thread in self._threads:
            thread.start()
        return self

    def answer_bye(self, limit_s: float = 8.0) -> str:
        while not (request := self.read(limit_s)).startswith("BYE "):
            pass
        kept = [line for line in request.splitlines() if line.startswith(("Via:", "From:", "To:", "Call-ID:", "CSeq:"))]
        self.sip.sendall(("\r\n".join(["SIP/2.0 200 OK", *kept, "Content-Length: 0"]) + "\r\n\r\n").encode())
        self.is_over.set()
        return request

    def cut(self) -> None:
        self.sip.close()

    def wait_for_connection(self, limit_s: float = 8.0) -> None:
        """The server's, instead of ours."""
        self.server_side.settimeout(limit_s)
        self.sip, _ = self.server_side.accept()
        self.rest = b""

    def close(self) -> None:
        super().close()
        with contextlib.suppress(OSError):
            self.server_side.close()
