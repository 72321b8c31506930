"""Who may use the API: bearers of a token; without tokens, programs on this machine, but no web page in its browser."""

import base64
import ipaddress
from collections.abc import Mapping

from aiohttp import web

from control_plane.errors import ConfigurationError
from control_plane.http.problem import Handler, Refusal
from control_plane.tenant_config import Tenant
from control_plane.tokens import Tokens, load_tokens

OPEN_TO_ALL = ("/healthz", "/")
"""A balancer's question, and the page, which has nothing in it until it is given a token."""
TWILIO = "/2010-04-01/"
"""Below it, clients of Twilio's REST API ask (twilio.py)."""


def tenant_tokens(tenants: tuple[Tenant, ...], others: tuple[str, ...]) -> dict[str, str]:
    """Tokens of tenants, and whose each is. `others`: the operators'. Raises ConfigurationError, also for one that two have."""
    owners = dict.fromkeys(others, "")
    for tenant in tenants:
        where = f'tenants "{tenant.name}"'
        for token in load_tokens(tenant.tokens, tenant.token_file, f"{where}.token_file"):
            if owners.setdefault(token, tenant.name) != tenant.name:
                raise ConfigurationError(f"{where}: a token of it is somebody else's as well; make each with `openssl rand -hex 24`")
    return {token: owner for token, owner in owners.items() if owner}


class Access:
    """The middleware `check`."""

    def __init__(self, tokens: tuple[str, ...], of_tenants: Mapping[str, str] | None = None) -> None:
        """`of_tenants`: as `tenant_tokens` gives them."""
        self.tokens = Tokens((*tokens, *(of_tenants or {})))
        self.owners = {self.tokens.find(token): tenant for token, tenant in (of_tenants or {}).items()}
        """The tenant that a token is for, by its digest."""

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

    def tenant_of(self, request: web.Request) -> str:
        """Whose token it came with; empty: an operator's, or none."""
        return self.owners.get(self._token_of(request), "") if self.owners else ""

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
