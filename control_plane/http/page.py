"""GET /: the page for people. One file, nothing from elsewhere; it may run its own script and ask this server, and nothing else."""

import base64
import functools
import hashlib
import pathlib
import re

from aiohttp import web

from control_plane.http.problem import Refusal
from control_plane.http.services import SERVICES

FILE = pathlib.Path(__file__).with_name("page.html")
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}


async def show(request: web.Request) -> web.Response:
    """The page for people, if http.page is on."""
    if not request.app[SERVICES].config.http.page:
        raise Refusal(404, "there is no page here: http.page = true puts one; GET /openapi.json lists what there is")
    body, policy = load()
    return web.Response(body=body, content_type="text/html", charset="utf-8", headers={"Content-Security-Policy": policy, **HEADERS})


@functools.cache
def load() -> tuple[bytes, str]:
    """The page, and a policy that allows its own script and style by what is in them."""
    body = FILE.read_bytes()
    script, style = (re.findall(rb"<%b>(.*?)</%b>" % (name, name), body, re.DOTALL)[0] for name in (b"script", b"style"))
    policy = f"default-src 'none'; connect-src 'self'; script-src '{_digest(script)}'; style-src '{_digest(style)}'"
    return body, f"{policy}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def _digest(content: bytes) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content).digest()).decode()
