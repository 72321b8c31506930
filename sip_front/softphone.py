"""A telephone that follows a script: real SIP, real RTP, no loudspeaker. Our demo and our tests call with it.

    python -m sip_front.softphone --server 127.0.0.1:5060 --script call.json --record call.wav --events -

It shares the grammar and the transactions with the front, but none of its sessions: it is a peer of its own. The WAV
has the caller on the left and the far end on the right. Exit code 1: a step of the script did not come about.
"""

import argparse
import json
import pathlib
import secrets
import select
import socket
import sys
import time
import wave
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TextIO

import msgspec
import numpy as np

from control_plane.config import parse_address
from control_plane.errors import BellframeError, ConfigurationError
from control_plane.formats import FORMATS
from control_plane.messages import MediaDescription
from sip_front import offer_answer, phone_script
from sip_front.dialog import Dialog
from sip_front.message import MAGIC_COOKIE, Headers, Message, Request, Response, make_response, parse, validate
from sip_front.phone_line import RATE_HZ, Line, Pcm, Talk
from sip_front.phone_script import AnyStep, Progress
from sip_front.sdp import parse_sdp
from sip_front.transaction import ClientTransaction, ServerTransaction, client_key, make_ack, make_cancel, server_key

AGENT_NAME = "Bellframe softphone"
FORMAT = "PCMU"
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS"
LINGER_NS = 100_000_000  # after the last answer: the far end may not have got it
ANSWER_LIMIT_NS = 60_000_000_000  # of ringing
Address = tuple[str, int]


class Softphone:
    """One outgoing call, without I/O: give it what came and the time, and send what it has put into `sip_out` and `rtp_out`."""

    def __init__(
        self, server: Address, local: Address, rtp_port: int, *, steps: tuple[AnyStep, ...] = (), speech: dict[str, Pcm] | None = None,
        user: str = "menu", caller: str = "caller", codec: str = FORMAT,
    ) -> None:  # fmt: skip
        self.server, self.local, self.rtp_port, self.codec = server, local, rtp_port, codec
        self.uri = f"sip:{user}@{_joined(server)}"
        self.contact = f"<sip:{caller}@{_joined(local)}>"
        self.caller = caller
        self.sip_out: list[bytes] = []
        self.rtp_out: list[bytes] = []
        self.events: list[dict[str, Any]] = []
        self.progress = Progress(steps, speech or {}, self.hang_up)
        self.line: Line | None = None
        self.media: MediaDescription | None = None
        self.failure = ""
        self.is_over = False
        self._ends_ns: int | None = None  # the call has ended; when to leave
        self._clients: dict[tuple[str, str], ClientTransaction] = {}
        self._servers: dict[tuple[str, ...], ServerTransaction] = {}
        self._dialog: Dialog | None = None
        self._early = False
        self._is_leaving = False
        self._talking: dict[str, int] = {}
        self._wants_cancel = False
        self._ack = b""
        self._began_ns = 0

    # ---- what the runner asks -----------------------------------------------------------------------------------

    @property
    def rtp_destination(self) -> Address | None:
        return (self.media.remote_host, self.media.remote_port) if self.media else None

    def deadline_ns(self, now_ns: int) -> int:
        """When to poll again at the latest. While a script runs every 5 ms: it looks at the time and at the level."""
        times = [tx.deadline_ns for tx in (*self._clients.values(), *self._servers.values()) if tx.deadline_ns is not None]
        times += [self.line.next_ns] if self.line else []
        times += [self._ends_ns] if self._ends_ns is not None else []
        return min([*times, now_ns + 5_000_000])

    # ---- SIP ----------------------------------------------------------------------------------------------------

    def start(self, now_ns: int) -> None:
        """Send the INVITE."""
        self._began_ns = now_ns
        self._offer = offer_answer.offer(
            formats=(self.codec,), address=self.local[0], port=self.rtp_port, session_id=secrets.randbits(31), version=1
        )
        headers = Headers()
        headers.lines += [
            ("Via", self._via()),
            ("Max-Forwards", "70"),
            ("From", f"<sip:{self.caller}@{self.local[0]}>;tag={secrets.token_hex(6)}"),
            ("To", f"<{self.uri}>"),
            ("Call-ID", f"{secrets.token_hex(12)}@{self.local[0]}"),
            ("CSeq", "1 INVITE"),
            ("Contact", self.contact),
            ("Allow", ALLOW),
            ("User-Agent", AGENT_NAME),
            ("Content-Type", "application/sdp"),
        ]
        self.invite = Request("INVITE", self.uri, headers, self._offer.encode())
        self._request(self.invite, now_ns)

    def receive_sip(self, octets: bytes, now_ns: int) -> None:
        try:
            message = parse(octets)
            validate(message)
        except BellframeError as failure:
            self._tell(now_ns, "note", text=f"ignored what the server sent: {failure}")
            return
        self._trace(message, now_ns, is_sent=False)
        if isinstance(message, Request):
            self._serve(message, now_ns)
        else:
            self._hear(message, now_ns)
        self._flush(now_ns)

    def hang_up(self, now_ns: int) -> None:
        """BYE, or CANCEL while it rings."""
        if self._ends_ns is not None:
            return
        if self._dialog is not None:
            self._request(self._dialog.make_request("BYE", via=self._via(), contact=self.contact), now_ns)
        elif self._early:
            self._request(make_cancel(self.invite), now_ns)
        else:
            self._wants_cancel = True  # 9.1: not before a provisional response

    def _hear(self, response: Response, now_ns: int) -> None:
        tx = self._clients.get(client_key(response))
        if tx is None:
            return
        method = response.cseq[1]
        is_refusal = method == "INVITE" and response.status >= 300
        tx.receive(response.status, now_ns, make_ack(self.invite, response).encode() if is_refusal else b"")
        if method == "INVITE":
            self._hear_invite(response, now_ns)
        elif method == "BYE" and response.status >= 200:
            self._end(now_ns)

    def _hear_invite(self, response: Response, now_ns: int) -> None:
        if response.status < 200:
            self._early = True
            if self._wants_cancel:
                self._wants_cancel = False
                self.hang_up(now_ns)
        elif response.status >= 300:
            self._end(now_ns, "" if response.status == 487 else f"the server answered {response.status} {response.reason}")
        elif self._dialog is not None:
            self.sip_out.append(self._ack)  # our ACK was lost
        else:
            self._answered(response, now_ns)

    def _answered(self, response: Response, now_ns: int) -> None:
        self._dialog = Dialog.from_response(self.invite, response)
        ack = self._dialog.make_request("ACK", via=self._via(), contact=self.contact, cseq=1)
        self._ack = ack.encode()
        self.sip_out.append(self._ack)
        self._trace(ack, now_ns, is_sent=True)
        try:
            self.media = offer_answer.accept(parse_sdp(response.body), self._offer)
        except BellframeError as failure:
            self.failure = f"the answer cannot be used: {failure}"
            self.hang_up(now_ns)
            return
        codec = FORMATS[self.media.format].codec_id
        self.line = Line(codec, self.media.payload_type, self.media.dtmf_payload_type, secrets.randbits(32), now_ns)
        rtp = _joined((self.media.remote_host, self.media.remote_port))
        self._tell(now_ns, "answered", rtp=rtp, set_up_ms=round((now_ns - self._began_ns) / 1e6, 2))

    def _serve(self, request: Request, now_ns: int) -> None:
        key = server_key(request)
        if key in self._servers:
            self._servers[key].receive(request.method, now_ns)
            return
        if request.method == "ACK":
            return
        is_ours = self._dialog is not None and self._dialog.belongs(request)
        tx = self._servers[key] = ServerTransaction(request.method)
        # a re-INVITE is refused, which leaves the session as it is (RFC 3261 14.2)
        status = {"OPTIONS": 200, "BYE": 200 if is_ours else 481, "INVITE": 488 if is_ours else 486, "CANCEL": 481}.get(request.method, 405)
        response = make_response(request, status, headers=(("Allow", ALLOW),) if status in (200, 405) else ())
        tx.respond(status, response.encode(), now_ns)
        self._trace(response, now_ns, is_sent=True)
        if request.method == "BYE" and is_ours:
            self._end(now_ns, ended_by="the server")

    def _request(self, request: Request, now_ns: int) -> None:
        self._clients[client_key(request)] = ClientTransaction(request.method, request.encode(), now_ns)
        self._trace(request, now_ns, is_sent=True)
        self._flush(now_ns)

    def _flush(self, now_ns: int) -> None:
        for tx in (*self._clients.values(), *self._servers.values()):
            self.sip_out += tx.take_outbox()

    def _end(self, now_ns: int, failure: str = "", ended_by: str = "us") -> None:
        if self._ends_ns is None:
            self._ends_ns = now_ns + LINGER_NS
            self.failure = self.failure or failure
            self._tell(now_ns, "ended", by=ended_by)

    def _via(self) -> str:
        return f"SIP/2.0/UDP {_joined(self.local)};branch={MAGIC_COOKIE}{secrets.token_hex(8)};rport"

    # ---- audio and time -----------------------------------------------------------------------------------------

    def receive_rtp(self, octets: bytes, now_ns: int) -> None:
        if self.line is not None:
            self.line.receive(octets, now_ns)

    def poll(self, now_ns: int) -> None:
        """Send what is due, go on in the script, see what timed out."""
        for key, tx in list(self._clients.items()):
            tx.expire(now_ns)
            if tx.is_over and key[1] == "INVITE" and self._dialog is not None:
                del self._clients[key]  # nor does a 2xx that is repeated belong to it any more (RFC 6026: timer M)
            elif tx.is_over and self._ends_ns is None:
                self._end(now_ns, f"no answer to {key[1]} from {_joined(self.server)}")
        for server in self._servers.values():
            server.expire(now_ns)
        if self.line is None and self._ends_ns is None and now_ns - self._began_ns > ANSWER_LIMIT_NS and not self._wants_cancel:
            self.failure = "nobody answered for a minute"
            self.hang_up(now_ns)
            self._began_ns = now_ns
        self._flush(now_ns)
        if self.line is not None:
            self._poll_line(self.line, now_ns)
        if self._ends_ns is not None and now_ns >= self._ends_ns:
            self.is_over = True

    def _poll_line(self, line: Line, now_ns: int) -> None:
        has_ended = self._ends_ns is not None
        if not self.failure:
            self.progress.poll(line, now_ns, has_ended=has_ended)
            self.events += self.progress.events
            self.progress.events.clear()
            self.failure = self.progress.failure
        if (self.failure or self.progress.is_done) and not self._is_leaving:
            self._is_leaving = True
            self.hang_up(now_ns)
        if not has_ended:
            keys = len(line.keys)
            self.rtp_out += line.poll(now_ns)
            for at_ns, key in line.keys[keys:]:
                self._tell(at_ns, "key", key=key)
        self._tell_talk("caller", line.ours)
        self._tell_talk("agent", line.theirs)

    def _tell_talk(self, who: str, talk: Talk) -> None:
        began_ns = self._talking.get(who, 0)
        if talk.began_ns != began_ns:
            self._talking[who] = talk.began_ns
            if began_ns:
                self._tell(talk.spurts[-1].ended_ns, "speech", who=who, is_started=False)
            if talk.began_ns:
                self._tell(talk.began_ns, "speech", who=who, is_started=True)

    # ---- for those who watch ------------------------------------------------------------------------------------

    def _tell(self, at_ns: int, event: str, **values: object) -> None:
        self.events.append({"event": event, "at_ns": at_ns, **values})

    def _trace(self, message: Message, now_ns: int, *, is_sent: bool) -> None:
        is_request = isinstance(message, Request)
        summary = message.method if is_request else f"{message.status} {message.reason} ({message.cseq[1]})"  # type: ignore[union-attr]
        self._tell(now_ns, "sip", is_sent=is_sent, summary=summary, sip_call_id=message.call_id)

    def summary(self) -> dict[str, Any]:
        """What the whole call was, for the last line of the events."""
        line = self.line
        if line is None:
            return {"event": "summary", "failure": self.failure or "the call was not answered"}
        for talk in (line.ours, line.theirs):
            talk.finish(line.next_ns)
        return {
            "event": "summary",
            "failure": self.failure,
            "origin_ns": line.origin_ns,
            "caller_spurts": [list(spurt) for spurt in line.ours.spurts],
            "agent_spurts": [list(spurt) for spurt in line.theirs.spurts],
            "keys": [[at_ns, key] for at_ns, key in line.keys],
            "quality": msgspec.to_builtins(line.quality()),
        }


def _joined(address: Address) -> str:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}"


# ---- the runner: sockets, the clock and files ----------------------------------------------------------------------


class Runner:
    """Two sockets on the address that reaches the server, and a loop that waits for them or for the next packet's time."""

    def __init__(
        self, server: Address, steps: tuple[AnyStep, ...], speech: dict[str, Pcm], tell: Callable[[dict[str, Any]], None], **options: Any
    ) -> None:  # fmt: skip
        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        self.sip, self.rtp = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        self.tell = tell
        self.sip.connect(server)
        host, port = self.sip.getsockname()[:2]
        self.rtp.bind((host, 0))
        for one in (self.sip, self.rtp):
            one.setblocking(False)
        self.phone = Softphone(server, (host, port), self.rtp.getsockname()[1], steps=steps, speech=speech, **options)

    def run(self) -> Softphone:
        phone = self.phone
        phone.start(time.monotonic_ns())
        while not phone.is_over:
            self._send()
            now_ns = time.monotonic_ns()
            wait_s = max(0, phone.deadline_ns(now_ns) - now_ns) / 1e9
            readable, _, _ = select.select([self.sip, self.rtp], [], [], wait_s)
            for one in readable:
                self._receive(one)
            phone.poll(time.monotonic_ns())
        self._send()
        self.sip.close()
        self.rtp.close()
        return phone

    def _receive(self, one: socket.socket) -> None:
        handle = self.phone.receive_sip if one is self.sip else self.phone.receive_rtp
        while True:
            try:
                octets = one.recv(65_536)
            except BlockingIOError:
                return
            except ConnectionRefusedError:  # nobody listens there yet: the transaction repeats itself
                continue
            handle(octets, time.monotonic_ns())

    def _send(self) -> None:
        phone = self.phone
        for octets in phone.sip_out:
            try:
                self.sip.send(octets)
            except ConnectionRefusedError:
                continue
        for packet in phone.rtp_out:
            if phone.rtp_destination:
                self.rtp.sendto(packet, phone.rtp_destination)
        phone.sip_out.clear()
        phone.rtp_out.clear()
        for event in phone.events:
            self.tell(event)
        phone.events.clear()


def read_wav(path: pathlib.Path) -> Pcm:
    """8 kHz, 16 bits, one channel. Raises ConfigurationError saying what it is instead."""
    try:
        with wave.open(str(path), "rb") as file:
            shape = file.getframerate(), file.getsampwidth() * 8, file.getnchannels()
            if shape != (RATE_HZ, 16, 1):
                has = "{} Hz, {} bits and {} channels".format(*shape)
                raise ConfigurationError(f"{path} has {has}: give 8000 Hz, 16 bits and one channel")
            return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
    except (OSError, EOFError, wave.Error) as failure:
        raise ConfigurationError(f"{path}: cannot be read as WAV: {failure}") from failure


def write_wav(path: pathlib.Path, stereo: Pcm) -> None:
    """(samples, 2) int16 at 8 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(stereo.astype("<i2").tobytes())


def main() -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m sip_front.softphone", description=__doc__, formatter_class=as_written)
    parser.add_argument("--server", required=True, metavar="HOST:PORT")
    parser.add_argument("--script", required=True, type=pathlib.Path, metavar="FILE.json", help="steps: sip_front/phone_script.py")
    parser.add_argument("--record", type=pathlib.Path, metavar="OUT.wav")
    parser.add_argument("--events", metavar="FILE", help="a JSON object a line as things happen; - is stdout")
    parser.add_argument("--user", default="menu", help="whom to call (default: menu)")
    parser.add_argument("--caller", default="caller")
    parser.add_argument("--codec", default=FORMAT, choices=("PCMU", "PCMA"))
    arguments = parser.parse_args()
    try:
        return _call(arguments)
    except BellframeError as failure:
        print(f"softphone: {failure}", file=sys.stderr)
        return 2


def _call(arguments: argparse.Namespace) -> int:
    try:
        steps = phone_script.parse(arguments.script.read_text())
    except OSError as failure:
        raise ConfigurationError(f"the script cannot be read: {failure}") from failure
    speech = {name: read_wav(arguments.script.parent / name) for name in phone_script.recordings(steps)}
    with ExitStack() as files:
        out: TextIO | None = sys.stdout if arguments.events == "-" else None
        if arguments.events and out is None:
            out = files.enter_context(open(arguments.events, "w", encoding="utf-8"))
        return _follow(arguments, steps, speech, out)


def _follow(arguments: argparse.Namespace, steps: tuple[AnyStep, ...], speech: dict[str, Pcm], out: TextIO | None) -> int:
    def tell(event: dict[str, Any]) -> None:
        if out is not None:
            print(json.dumps(event), file=out, flush=True)

    options = {"user": arguments.user, "caller": arguments.caller, "codec": arguments.codec}
    phone = Runner(parse_address(arguments.server, "--server"), steps, speech, tell, **options).run()
    if phone.line is not None and arguments.record:
        write_wav(arguments.record, phone.line.recording())
    tell(phone.summary())
    if phone.failure:
        print(f"softphone: {phone.failure}", file=sys.stderr)
    return 1 if phone.failure else 0


if __name__ == "__main__":
    sys.exit(main())
