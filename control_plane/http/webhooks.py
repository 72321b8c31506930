"""Changes of calls, posted where somebody wants them: signed, in order for each call, tried again, bounded.

    Bellframe-Signature: t=SECONDS,v1=HEX      HMAC-SHA256 with the secret over SECONDS, a dot, and the body

The receiver checks the signature, and refuses a time that is minutes old: then nobody can send the same again later.
"""

import asyncio
import hashlib
import hmac
import logging
import time
import urllib.parse
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable

import aiohttp
import msgspec

from control_plane.client import plain
from control_plane.guarded_resolver import Guarded
from control_plane.http.problem import Refusal
from control_plane.messages import CallFacts
from control_plane.reach import Reach, Unreachable

log = logging.getLogger("webhooks")
MAX_QUEUED, MAX_PLACES = 10_000, 10_000
TRY_LIMIT_S = 5.0
BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Before each further try: four minutes in all. A receiver that is away longer asks GET /v1/calls/ID."""
QUIET_S = 60.0
Post = Callable[[str, bytes, dict[str, str]], Awaitable[int]]
Event = tuple[str, int, bytes]


class Webhooks:
    """`take` is told of every change. `start` before, `close` at the end."""

    def __init__(
        self, url: str, secret: str, post: Post | None = None, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        reach: Reach | None = None,
    ) -> None:  # fmt: skip
        self.url, self.secret, self.post, self.sleep, self.reach = url, secret.encode(), post, sleep, reach or Reach()
        self.places: OrderedDict[str, str] = OrderedDict()
        """Call -> where its changes go, if not to `url`."""
        self.guarded: set[str] = set()
        """Of these calls the places were named by a tenant: they are asked within `reach` only."""
        self.seen: OrderedDict[str, tuple[str, int]] = OrderedDict()
        """Call -> the last event and its number."""
        self.queues: dict[str, deque[Event]] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.queued = self.sent = self.failed = self.dropped = 0
        self.quiet_until = 0.0
        self.sessions: dict[bool, aiohttp.ClientSession] = {}

    def check_url(self, url: str, is_tenants: bool) -> None:
        """Raises Refusal."""
        if not url.startswith(("https://", "http://")):
            raise Refusal(422, "webhook: name a URL that begins with https://")
        if not self.secret:
            raise Refusal(422, "webhook: the server has no http.webhook_secret to sign with, so it sends nothing")
        if is_tenants:
            try:
                self.reach.check_host(urllib.parse.urlsplit(url).hostname or "")
            except (Unreachable, ValueError) as failure:
                raise Refusal(403, f"webhook: {failure}") from None

    def send_to(self, call_id: str, url: str, is_tenants: bool) -> None:
        self.places[call_id] = url
        if is_tenants:
            self.guarded.add(call_id)
        while len(self.places) > MAX_PLACES:
            self.guarded.discard(self.places.popitem(last=False)[0])

    def take(self, facts: CallFacts) -> None:
        url = self.places.get(facts.call_id, self.url)
        if not url:
            return
        kind = kind_of(facts)
        last, number = self.seen.get(facts.call_id, ("", 0))
        if kind in ("", last):
            return
        self._note(facts.call_id, kind, number + 1)
        if self.queued >= MAX_QUEUED:
            self.dropped += 1
            self._complain("%d are waiting already: %s of a call was dropped; look at the receiver", self.queued, kind)
            return
        body = msgspec.json.encode({"event": kind, "number": number + 1, "call": plain(facts)})
        queue = self.queues.get(facts.call_id)
        self.queued += 1
        if queue is not None:
            queue.append((kind, number + 1, body))
            return
        self.queues[facts.call_id] = deque([(kind, number + 1, body)])
        task = asyncio.get_running_loop().create_task(self._deliver(facts.call_id, url))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _note(self, call_id: str, kind: str, number: int) -> None:
        self.seen[call_id] = kind, number
        self.seen.move_to_end(call_id)
        while len(self.seen) > MAX_PLACES:
            self.seen.popitem(last=False)

    async def _deliver(self, call_id: str, url: str) -> None:
        """What waits for one call, one after the other."""
        queue = self.queues[call_id]
        try:
            while queue:
                kind, number, body = queue[0]
                is_delivered = await self._try(call_id, url, kind, number, body)
                self.sent += is_delivered
                self.failed += not is_delivered
                queue.popleft()
                self.queued -= 1
                if kind == "call.ended":
                    self.places.pop(call_id, None)
                    self.guarded.discard(call_id)
        finally:
            self.queued -= len(queue)
            del self.queues[call_id]

    async def _try(self, call_id: str, url: str, kind: str, number: int, body: bytes) -> bool:
        why = ""
        for pause_s in (*BACK_OFF_S, None):
            at = str(int(time.time()))
            headers = {
                "Content-Type": "application/json",
                "Bellframe-Signature": f"t={at},v1={sign(self.secret, at, body)}",
                "Bellframe-Delivery": f"{call_id}-{number}",
            }
            try:
                status = await (self.post(url, body, headers) if self.post else self._post(call_id, url, body, headers))
                why = f"it answers {status}"
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as failure:
                status, why = 0, str(failure) or type(failure).__name__
            if 200 <= status < 300:
                return True
            if 400 <= status < 500 and status not in (408, 425, 429):
                break  # it will not want it later either
            if pause_s is not None:
                await self.sleep(pause_s)
        self._complain("%s of a call could not be delivered: %s; look at the receiver", kind, why)
        return False

    async def _post(self, call_id: str, url: str, body: bytes, headers: dict[str, str]) -> int:
        is_guarded = call_id in self.guarded
        if is_guarded:
            self.reach.check_host(urllib.parse.urlsplit(url).hostname or "")
        session = self.sessions.get(is_guarded)
        if session is None:
            resolver = Guarded(self.reach) if is_guarded else None
            # one dead receiver must not hold up the others
            connector = aiohttp.TCPConnector(limit=256, limit_per_host=32, resolver=resolver)
            session = self.sessions[is_guarded] = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        limit = aiohttp.ClientTimeout(total=None, sock_connect=TRY_LIMIT_S, sock_read=TRY_LIMIT_S)
        async with session.post(url, data=body, headers=headers, timeout=limit, allow_redirects=False) as response:
            return response.status

    def _complain(self, text: str, *values: object) -> None:
        """At most once a minute."""
        if time.monotonic() >= self.quiet_until:
            self.quiet_until = time.monotonic() + QUIET_S
            log.warning(text, *values)

    async def close(self) -> None:
        """What waits is given a moment."""
        if self.tasks:
            await asyncio.wait(list(self.tasks), timeout=1.0)
        for task in list(self.tasks):
            task.cancel()
        for session in self.sessions.values():
            await session.close()


def sign(secret: bytes, at: str, body: bytes) -> str:
    return hmac.new(secret, at.encode() + b"." + body, hashlib.sha256).hexdigest()


def kind_of(facts: CallFacts) -> str:
    """The event that these facts are news of; empty: none."""
    if facts.state == "ended":
        return "call.ended"
    return {"queued": "call.started", "ringing": "call.ringing", "answered": "call.answered"}.get(facts.outcome, "")
