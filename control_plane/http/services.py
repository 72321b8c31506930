"""What the handlers share."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from control_plane.config import Config
from control_plane.http.access import Access
from control_plane.http.answers import Answers
from control_plane.http.link import Link
from control_plane.http.webhooks import Webhooks
from control_plane.messages import CallFacts


async def no_record(_call_id: str) -> CallFacts | None:
    return None


class Services:
    def __init__(self, config: Config, link: Link, access: Access, webhooks: Webhooks) -> None:
        self.config, self.link, self.access, self.webhooks = config, link, access, webhooks
        self.answers = Answers()
        self.streams = 0
        """How many read /v1/events."""
        self.find_record: Callable[[str], Awaitable[CallFacts | None]] = no_record
        """A call that ended long ago."""


SERVICES = web.AppKey("services", Services)
