"""A request and its transaction, with the session that it is of and where it goes: what came (Served), and what we sent (Sent)."""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

from sip_front.digest import Attempt
from sip_front.message import Request, Response
from sip_front.transaction import ClientTransaction, ServerTransaction, client_key
from sip_front.transport import Address

if TYPE_CHECKING:
    from sip_front.session import Session
    from sip_front.user_agent import UserAgent

OnResponse = Callable[[Response | None, int], None]
"""Told of a final response, or None where there will be none."""


class Served:
    """A request that came, and its transaction."""

    __slots__ = ("agent", "destination", "key", "request", "scheduled_ns", "session", "transaction")

    def __init__(self, agent: "UserAgent", key: tuple[str, ...], request: Request, destination: Address, session: "Session") -> None:
        self.agent, self.key, self.request, self.destination, self.session = agent, key, request, destination, session
        self.transaction = ServerTransaction(request.method, is_reliable=destination.is_reliable)
        self.scheduled_ns: int | None = None

    @property
    def deadline_ns(self) -> int | None:
        return self.transaction.deadline_ns

    def expire(self, now_ns: int) -> None:
        self.transaction.expire(now_ns)
        self.agent.flush(self)


def ignore(_response: Response | None, _now_ns: int) -> None:
    """For a request whose answer changes nothing."""


class Sent:
    """A request of ours, and its transaction."""

    __slots__ = (
        "agent", "attempt", "destination", "fallback", "has_moved", "key",
        "on_response", "request", "scheduled_ns", "session", "transaction",
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
        self.scheduled_ns: int | None = None
        self.start(destination, now_ns)

    def start(self, destination: Address, now_ns: int) -> None:
        """A transaction of its own: the top Via must name its transport by now."""
        self.destination, self.key = destination, client_key(self.request)
        octets = self.request.encode()
        self.transaction = ClientTransaction(self.request.method, octets, now_ns, is_reliable=destination.is_reliable)

    def spent(self) -> "Sent":
        """What is left of it when it goes on as another transaction: it acknowledges a failure that comes again, and tells nobody."""
        old = copy.copy(self)
        old.on_response, old.scheduled_ns = ignore, None
        return old

    @property
    def deadline_ns(self) -> int | None:
        return self.transaction.deadline_ns

    def expire(self, now_ns: int) -> None:
        self.transaction.expire(now_ns)
        self.agent.flush(self)
        if self.transaction.told:
            self.transaction.told = False
            self.on_response(None, now_ns)
