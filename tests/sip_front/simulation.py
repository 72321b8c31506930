"""A small telephone network in simulated time: fronts with their staff, phones made of text, and a link that loses.

Nothing sleeps and nothing is random beyond the seed, so a failure can be run again.
"""

import heapq
import random
from collections.abc import Callable
from typing import Any

from control_plane.config import Config, Media, Route, Sip
from control_plane.messages import (
    AgentStarted,
    Alive,
    CloseMedia,
    MediaClosed,
    MediaOpened,
    MediaRecorded,
    MediaUpdated,
    Message,
    OpenMedia,
    RecordMedia,
    RoomSet,
    SetRoom,
    StartAgent,
    UpdateMedia,
)
from sip_front import journal
from sip_front.deadlines import Deadlines
from sip_front.front import Front
from sip_front.message import Request, Response, parse
from sip_front.transport import TRANSPORTS, Address, Place

SECOND = 1_000_000_000
BOOT = "this start of the machine"
CALLER, SERVER, STRANGER = "192.0.2.10", "192.0.2.1", "198.51.100.7"
TRUSTED = ("192.0.2.0/24",)
SDP = (
    "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP {formats}\r\n"
    "a=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
)


class Network:
    """Datagrams arrive `delay_ms` later, or not: `loss` is the part that gets lost. Streams lose nothing, and are there at once."""

    def __init__(self, loss: float = 0.0, delay_ms: float = 0.0, seed: int = 1) -> None:
        self.loss, self.delay_ns, self.random = loss, round(delay_ms * 1e6), random.Random(seed)
        self.now_ns = SECOND
        self.due: list[tuple[int, int, Callable[[], None]]] = []
        self.hosts: dict[str, Machine | Phone] = {}
        self.count = self.lost = 0

    def at(self, at_ns: int, what: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.due, (at_ns, self.count, what))

    def carry(self, octets: bytes, source: Address, destination: Address) -> None:
        if not destination.is_reliable and self.random.random() < self.loss:
            self.lost += 1
        elif destination.host in self.hosts:
            receiver = self.hosts[destination.host]
            self.at(self.now_ns + self.delay_ns, lambda: receiver.receive(octets, source))

    def run_until(self, is_true: Callable[[], bool], within_s: float = 60.0) -> bool:
        limit_ns = self.now_ns + round(within_s * SECOND)
        while not is_true():
            machines = [m for m in self.hosts.values() if isinstance(m, Machine)]
            deadlines = [m.front.next_deadline_ns for m in machines]
            next_ns = min([*deadlines, *(d[0] for d in self.due[:1])], default=limit_ns + 1)
            if next_ns > limit_ns:
                self.now_ns = limit_ns
                return is_true()
            self.now_ns = max(self.now_ns, next_ns)
            if self.due and self.due[0][0] <= self.now_ns:
                heapq.heappop(self.due)[2]()
            else:
                for machine in machines:
                    machine.expire()
        return True

    def run(self, seconds: float = 0.1) -> None:
        self.run_until(lambda: False, seconds)


class Machine:
    """A front, with two workers and two bridges that answer at once unless they are told not to."""

    def __init__(
        self, network: Network, host: str = SERVER, workers: int = 2, capacity: int = 100, more: dict[str, Any] | None = None, **sip: object
    ) -> None:
        """`sip`: settings of that section; `more`: other parts of the configuration, such as trunks."""
        settings = Sip(**{"listen": f"{host}:5060", "allow": TRUSTED, **sip})  # type: ignore[arg-type]
        routes = (Route(agent="echo", to="[0-9+]*", arguments={"tone": "high"}),)
        config = Config(**{"sip": settings, "media": Media(), "routes": routes, **(more or {})})
        self.network, self.host, self.config = network, host, config
        self.front = Front(config, self.place_towards, network.now_ns)
        self.is_dead = False
        """The front is; its workers and bridges go on."""
        self.journal = journal.write(journal.Begin(self.front.front_id, BOOT))
        self.refuses_tcp: set[str] = set()
        """Hosts that take no TCP from us."""
        self.silent: set[bytes] = set()
        """Identities that say nothing at all."""
        self.deaf: set[bytes] = set()
        """Identities that report that they are alive, and answer nothing."""
        self.said: list[tuple[bytes, Message]] = []
        """What the front told its processes."""
        self.pids = {f"{role}-{i}".encode(): 100 * (role == "worker") + i for role in ("worker", "bridge") for i in range(workers)}
        self.capacity = capacity
        self.rows: dict[str, int] = {}
        self.datagrams: list[tuple[bytes, Address]] = []
        network.hosts[host] = self
        self.report()

    def place_towards(self, address: Address) -> Place:
        return Place(self.host, TRANSPORTS[address.transport].default_port)

    def report(self) -> None:
        """Alive, once a second."""
        for identity in self.pids:
            if identity not in self.silent:
                self.introduce(identity)
        self.network.at(self.network.now_ns + SECOND, self.report)

    def introduce(self, identity: bytes, suspects: tuple[int, ...] = ()) -> None:
        role, _, index = identity.decode().partition("-")
        capacity = self.capacity if role == "worker" else 0
        self.tell(identity, Alive(role, int(index), self.pids[identity], capacity=capacity, suspects=suspects))  # type: ignore[arg-type]

    def replace(self, identity: bytes, suspects: tuple[int, ...] = ()) -> None:
        """Another process in its place. `suspects`: rows of the calls at whose work the one before ended itself."""
        self.pids[identity] += 1000
        self.silent.discard(identity)
        self.introduce(identity, suspects)

    def kill_front(self) -> None:
        self.is_dead = True

    def start_front(self) -> None:
        """Another one, with the journal as it was left."""
        self.front, self.is_dead = Front(self.config, self.place_towards, self.network.now_ns), False
        self.front.succession.take_over(*journal.last_of_each(journal.read(self.journal), BOOT), self.network.now_ns)
        self.pump()

    def tell(self, identity: bytes, message: Message) -> None:
        if self.is_dead:
            return
        self.front.receive_message(identity, message, self.network.now_ns)
        self.pump()

    def receive(self, octets: bytes, source: Address) -> None:
        if self.is_dead:
            return
        self.front.receive_sip(octets, source, self.network.now_ns)
        self.pump()

    def expire(self) -> None:
        if self.is_dead:
            self.front.tick_ns = self.network.now_ns + SECOND
            self.front.user_agent.deadlines = Deadlines()
            return
        self.front.expire(self.network.now_ns)
        self.pump()

    def pump(self) -> None:
        self.journal += b"".join(map(journal.write, self.front.succession.take_entries()))
        for octets, destination in self.front.take_sip():
            self.datagrams.append((octets, destination))
            if destination.is_reliable and destination.host in self.refuses_tcp:
                self.network.at(self.network.now_ns, lambda octets=octets, to=destination: self.fail(octets, to))  # type: ignore[misc]
            else:
                self.network.carry(octets, destination._replace(host=self.host, port=5060), destination)
        for identity, message in self.front.take_messages():
            self.said.append((identity, message))
            answer = None if identity in self.silent | self.deaf else self.answer(identity, message)
            if answer is not None:
                self.network.at(self.network.now_ns, lambda to=identity, what=answer: self.tell(to, what))  # type: ignore[misc]

    def fail(self, octets: bytes, destination: Address) -> None:
        self.front.fail_to_send(octets, f"cannot connect to {destination}", self.network.now_ns)
        self.pump()

    def answer(self, identity: bytes, message: Message) -> Message | None:
        index = int(identity.rpartition(b"-")[2]) if identity in self.pids else 0
        match message:
            case OpenMedia(call_id=call_id):
                row = self.rows.setdefault(call_id, len(self.rows))
                return MediaOpened(call_id, index, row, 7, 10_000 + 2 * row, 8_000)
            case UpdateMedia(call_id=call_id):
                return MediaUpdated(call_id)
            case RecordMedia(call_id=call_id, state=state):
                return MediaRecorded(call_id, state)
            case CloseMedia(call_id=call_id):
                return MediaClosed(call_id)
            case SetRoom(room_id=room_id, number=number):
                return RoomSet(room_id, number)
            case StartAgent(call_id=call_id):
                return AgentStarted(call_id)
        return None

    def told(self, kind: type, identity: bytes | None = None) -> list:  # type: ignore[type-arg]
        return [m for to, m in self.said if isinstance(m, kind) and (identity is None or to == identity)]

    @property
    def states(self) -> list[str]:
        return [call.state.name for call in self.front.calls.values()]

    @property
    def last_cause(self) -> str:
        """Of the call that ended last."""
        return next(reversed(self.front.ended.values())).cause


class Phone:
    """Sends what it is given and keeps what comes. It answers and repeats nothing by itself."""

    def __init__(self, network: Network, host: str = CALLER, transport: str = "udp", flow: int = 0) -> None:
        self.network, self.host, self.transport, self.flow = network, host, transport, flow
        self.got: list[Request | Response] = []
        self.sources: list[Address] = []
        """How each of them came: `flow` is the one it was sent on."""
        self.cseq = 0
        self.to_tag = ""
        network.hosts[host] = self

    def receive(self, octets: bytes, source: Address) -> None:
        message = parse(octets)
        self.got.append(message)
        self.sources.append(source)
        is_for_invite = (message.headers.get("CSeq") or "").endswith("INVITE")
        if isinstance(message, Response) and is_for_invite and message.to.tag:
            self.to_tag = message.to.tag

    def send(self, text: str, port: int = 5060) -> None:
        source = Address(self.host, port, self.transport, self.flow)
        self.network.carry(text.encode(), source, source._replace(host=SERVER, port=5060))

    def request(
        self, method: str, *, to: str = "100", cseq: int | None = None, branch: str = "", body: str = "", kind: str = "application/sdp",
        headers: str = "", tag: str | None = None, call_id: str = "call-1", from_tag: str = "caller",
        contact: str = "", run_s: float = 0.1,
    ) -> list[Request | Response]:  # fmt: skip
        """Send one, let the network run for a moment, and return what came meanwhile. `tag`: None, the one that we know."""
        if cseq is None:
            self.cseq += method not in ("ACK", "CANCEL")
            cseq = self.cseq
        known = self.to_tag if tag is None else tag
        before = len(self.got)
        protocol, branch = TRANSPORTS[self.transport].via, branch or f"{call_id}-{cseq}-{method}"
        text = (
            f"{method} sip:{to}@{SERVER} SIP/2.0\r\n"
            f"Via: SIP/2.0/{protocol} {self.host}:5060;branch=z9hG4bK{branch};rport\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:+491@{self.host}>;tag={from_tag}\r\n"
            f"To: <sip:{to}@{SERVER}>{f';tag={known}' if known else ''}\r\n"
            f"Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: {contact or f'<sip:me@{self.host}:5060>'}\r\n{headers}"
            + (f"Content-Type: {kind}\r\n" if body else "")
            + f"Content-Length: {len(body)}\r\n\r\n{body}"
        )
        self.send(text)
        self.network.run(run_s)
        return self.got[before:]

    def invite(self, **more: object) -> list[Request | Response]:
        return self.request("INVITE", **{"body": self.sdp(), **more})  # type: ignore[arg-type]

    def call(self, **more: object) -> None:
        """Up to the ACK."""
        self.invite(**more)
        self.request("ACK", call_id=str(more.get("call_id", "call-1")))

    def sdp(self, direction: str = "sendrecv", port: int = 40_000, formats: str = "0 8 101") -> str:
        return SDP.format(host=self.host, port=port, formats=formats, direction=direction)

    def respond(self, request: Request, status: int, reason: str = "OK", body: str = "", tag: str = "callee", headers: str = "") -> None:
        """To a request that came."""
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items() if name in ("Via", "From", "Call-ID", "CSeq"))
        to = request.headers.get("To") or ""
        to += f";tag={tag}" if tag and "tag=" not in to else ""
        kind = "Content-Type: application/sdp\r\n" if body else ""
        contact = f"Contact: <sip:me@{self.host}:5060>\r\n"
        self.send(f"SIP/2.0 {status} {reason}\r\n{head}To: {to}\r\n{contact}{headers}{kind}Content-Length: {len(body)}\r\n\r\n{body}")
        self.network.run()

    def statuses(self) -> list[int]:
        return [m.status for m in self.got if isinstance(m, Response)]

    def requests(self, method: str) -> list[Request]:
        return [m for m in self.got if isinstance(m, Request) and m.method == method]
