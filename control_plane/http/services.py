"""What the handlers share."""

from collections import Counter

from aiohttp import web

from control_plane.config import Config
from control_plane.http.access import Access
from control_plane.http.answers import Answers
from control_plane.http.diallers import Diallers
from control_plane.http.link import Link
from control_plane.http.media import Media
from control_plane.http.problem import Handler
from control_plane.http.recorder import Recorder
from control_plane.http.webhooks import Webhooks

METHODS = ("GET", "POST", "DELETE")


class Services:
    def __init__(self, config: Config, link: Link, access: Access, webhooks: Webhooks, media: Media) -> None:
        self.config, self.link, self.access, self.webhooks, self.media = config, link, access, webhooks, media
        self.answers = Answers()
        self.answered: Counter[tuple[str, int]] = Counter()
        """Requests, by method and status."""
        self.streams = 0
        """How many read /v1/events."""
        self.captures = 0
        """How many read a call's packets."""
        self.recorder: Recorder | None = None
        self.diallers: Diallers | None = None
        """None: there are no campaigns."""

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        self.answered[request.method if request.method in METHODS else "other", response.status] += 1
        return response


SERVICES = web.AppKey("services", Services)
