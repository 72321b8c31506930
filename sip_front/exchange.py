"""A request and its transaction, with the session that it is of and where it goes: what came (Served), and what we sent (Sent)."""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

from sip_front.deadlines import Place
from sip_front.digest import Attempt
from sip_front.message import Request, Response
from sip_front.transaction import ClientTransaction, ServerTransaction, client_key
from sip_front.transport import Address

if TYPE_CHECKING:
    from sip_front.session import Session
    from sip_front.user_agent import UserAgent

OnResponse = Callable[[Response | None, int], None]
"""Told of a final response, or None where there will be none."""
MergeKey = tuple[str, str, int]
NEVER_CHALLENGED = ("ACK", "CANCEL")  # 22.1: nobody could send them again


class Served:
    """A request that came, and its transaction."""

    __slots__ = ("agent", "destination", "key", "place", "request", "session", "transaction")

    def __init__(self, agent: "UserAgent", key: tuple[str, ...], request: Request, destination: Address, session: "Session") -> None:
        self.agent, self.key, self.request, self.destination, self.session = agent, key, request, destination, session
        self.transaction = ServerTransaction(request.method, is_reliable=destination.is_reliable)
        self.place: Place | None = None

    @property
    def deadline_ns(self) -> int | None:
        return self.transaction.deadline_ns

    @property
    def call_id(self) -> str:
        return self.session.call_id

    @property
    def local_tag(self) -> str:
        return self.session.local_tag

    @property
    def merge_key(self) -> MergeKey | None:
        """What a merged INVITE has in common with the first (8.2.2.2)."""
        return merge_key(self.request) if self.transaction.is_invite else None

    def expire(self, now_ns: int) -> None:
        self.transaction.expire(now_ns)
        self.agent.flush(self)


class Answered:
    """What is left of a request that has its final answer, which its repeats get for 32 s: neither the message nor the session.

    At 300 calls a second there are 20,000 of them. What they would hold is walked by the garbage collector, and stops every call.
    """

    __slots__ = ("agent", "call_id", "destination", "key", "local_tag", "merge_key", "place", "transaction")

    def __init__(self, served: Served) -> None:
        self.agent, self.key, self.destination, self.transaction = served.agent, served.key, served.destination, served.transaction
        self.call_id, self.local_tag, self.merge_key = served.call_id, served.local_tag, served.merge_key
        self.place: Place | None = None

    @property
    def deadline_ns(self) -> int | None:
        return self.transaction.deadline_ns

    def expire(self, now_ns: int) -> None:
        self.transaction.expire(now_ns)
        self.agent.flush(self)


def merge_key(request: Request) -> MergeKey:
    return request.call_id, request.from_.tag or "", request.cseq[0]


def ignore(_response: Response | None, _now_ns: int) -> None:
    """For a request whose answer changes nothing."""


class Sent:
    """A request of ours, and its transaction."""

    __slots__ = (
        "agent", "attempt", "destination", "fallback", "has_moved", "key", "on_response", "place", "request", "session", "transaction",
    )  # fmt: skip

    def __init__(
        self, agent: "UserAgent", request: Request, destination: Address, session: "Session", on_response: OnResponse, now_ns: int
    ) -> None:
        self.agent, self.request, self.session, self.on_response = agent, request, session, on_response
        self.attempt = Attempt()
        self.fallback: Address | None = None
        """Over UDP, should the stream be refused that the length of the request asks for (18.1.1)."""
        self.has_moved = False
        """It went out once more, on another connection, after its first one was lost."""
        self.place: Place | None = None
        self.start(destination, now_ns)

    def start(self, destination: Address, now_ns: int) -> None:
        """A transaction of its own: the top Via must name its transport by now."""
        self.destination, self.key = destination, client_key(self.request)
        octets = self.request.encode()
        self.transaction = ClientTransaction(self.request.method, octets, now_ns, is_reliable=destination.is_reliable)

    def spent(self) -> "Sent":
        """What is left of it when it goes on as another transaction: it acknowledges a failure that comes again, and tells nobody."""
        old = copy.copy(self)
        old.on_response, old.place = ignore, None
        return old

    @property
    def call_id(self) -> str:
        return self.session.call_id

    @property
    def deadline_ns(self) -> int | None:
        return self.transaction.deadline_ns

    def expire(self, now_ns: int) -> None:
        self.transaction.expire(now_ns)
        self.agent.flush(self)
        if self.transaction.told:
            self.transaction.told = False
            self.on_response(None, now_ns)
