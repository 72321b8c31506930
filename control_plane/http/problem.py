"""What the API answers when it cannot do what was asked: RFC 9457, with a detail that says what to change."""

import http
import logging
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from control_plane.errors import BellframeError
from control_plane.http.link import FrontAway
from control_plane.messages import Failed

log = logging.getLogger("http")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
DETAILS = {
    404: "there is nothing at this address; GET /openapi.json lists what there is",
    405: "this address knows other methods; GET /openapi.json lists them",
    413: "the body is larger than 64 KiB",
}


class Problem(msgspec.Struct, frozen=True):
    """An error, as application/problem+json."""

    status: int
    title: str
    detail: str


class Refusal(BellframeError):
    """Raised by a handler: becomes a Problem."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.headers = status, headers or {}


def respond(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode(Problem(status, http.HTTPStatus(status).phrase, detail))
    return web.Response(status=status, body=body, content_type="application/problem+json", headers=headers)


def of_failed(answer: Failed) -> Refusal:
    """The front said no."""
    status = answer.status if answer.status in (400, 404, 409, 422, 503) else 400
    return Refusal(status, answer.why, {"Retry-After": "5"} if status == 503 else None)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refusal as refusal:
        return respond(refusal.status, str(refusal), refusal.headers)
    except FrontAway as failure:
        return respond(503, str(failure), {"Retry-After": "2"})
    except web.HTTPException as failure:
        if failure.status < 400:
            raise
        headers = {"Allow": failure.headers["Allow"]} if "Allow" in failure.headers else None
        return respond(failure.status, DETAILS.get(failure.status, failure.reason), headers)
    except Exception:
        log.exception("a bug: %s %s failed; please report it", request.method, request.path)
        return respond(500, "a bug of ours; the log of the server has the details")
