"""Who may use the API: bearers of a token; without tokens, programs on this machine, but no web page in its browser."""

import base64
import ipaddress

from aiohttp import web

from control_plane.http.problem import Handler, Refusal
from control_plane.tokens import Tokens

OPEN_TO_ALL = ("/healthz", "/")
"""A balancer's question, and the page, which has nothing in it until it is given a token."""
TWILIO = "/2010-04-01/"
"""Below it, clients of Twilio's REST API ask (twilio.py)."""


class Access:
    """The middleware `check`."""

    def __init__(self, tokens: tuple[str, ...]) -> None:
        self.tokens = Tokens(tokens)

    def password(self, header: str) -> bytes | None:
        """The digest of a token of ours that is the password of a Basic header: Twilio's clients cannot send another."""
        scheme, _, given = header.partition(" ")
        try:
            _, _, password = base64.b64decode(given.strip(), validate=True).decode().partition(":")
        except ValueError:
            return None
        return self.tokens.find(password) if scheme.lower() == "basic" else None

    def _token_of(self, request: web.Request) -> bytes | None:
        header = request.headers.get("Authorization", "")
        return self.password(header) if request.path.startswith(TWILIO) and header[:6].lower() == "basic " else self.tokens.bearer(header)

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN_TO_ALL:
            if self.tokens and self._token_of(request) is None:
                why = "this needs a token: send the header `Authorization: Bearer TOKEN` with one of http.tokens"
                raise Refusal(401, why, {"WWW-Authenticate": 'Bearer realm="bellframe"'})
            if not self.tokens and not is_local(request):
                why = "without http.tokens only programs on this machine may ask, by its loopback address, and no web page"
                raise Refusal(403, why)
        return await handler(request)


def is_local(request: web.Request) -> bool:
    """Neither a page of elsewhere in a browser here (its Origin), nor one that calls itself us by DNS rebinding (its Host)."""
    host = request.host.rpartition(":")[0] if request.host.rpartition(":")[2].isdecimal() else request.host
    origin = request.headers.get("Origin")
    return _is_loopback(host.strip("[]")) and origin in (None, f"http://{request.host}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
