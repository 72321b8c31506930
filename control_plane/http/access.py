"""Who may use the API: bearers of a token; without tokens, programs on this machine, but no web page in its browser."""

import base64
import hashlib
import hmac
import ipaddress
import os
import pathlib

from aiohttp import web

from control_plane.errors import ConfigurationError
from control_plane.http.problem import Handler, Refusal
from control_plane.http_config import Http, check_token

OPEN_TO_ALL = ("/healthz", "/")
"""A balancer's question, and the page, which has nothing in it until it is given a token."""
MAX_SECRET_BYTES = 65_536
TWILIO = "/2010-04-01/"
"""Below it, clients of Twilio's REST API ask (twilio.py)."""


def read_secret(name: str, where: str) -> str:
    """The content of a file, or of a systemd credential if the name has no slash. Raises ConfigurationError."""
    path = pathlib.Path(os.environ.get("CREDENTIALS_DIRECTORY", ""), name) if "/" not in name else pathlib.Path(name)
    try:
        with path.open("rb") as file:
            return file.read(MAX_SECRET_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as failure:
        remedy = "name a file that the server may read, with a slash in it, or a credential of LoadCredential="
        raise ConfigurationError(f"{where}: {name} cannot be read ({failure}); {remedy}") from failure


def load_tokens(http: Http) -> tuple[str, ...]:
    """All of them. Raises ConfigurationError."""
    found = [token.reveal() for token in http.tokens]
    if http.token_file:
        lines = [line.strip() for line in read_secret(http.token_file, "http.token_file").splitlines()]
        found += [line for line in lines if line and not line.startswith("#")]
        if not found:
            raise ConfigurationError(f"http.token_file: {http.token_file} has no token in it; put one on a line of its own")
    for token in found:
        check_token(token, "http.token_file")
    return tuple(found)


class Access:
    """The middleware `check`."""

    def __init__(self, tokens: tuple[str, ...]) -> None:
        self.digests = tuple(hashlib.sha256(token.encode()).digest() for token in tokens)

    def bearer(self, header: str) -> bytes | None:
        """The digest of the token, if it is one of ours. It takes as long for every token that is not."""
        scheme, _, given = header.partition(" ")
        digest = self._digest_of(given.strip())
        return digest if digest is not None and scheme.lower() == "bearer" else None

    def password(self, header: str) -> bytes | None:
        """The same for a token that is the password of a Basic header: Twilio's clients cannot send another."""
        scheme, _, given = header.partition(" ")
        try:
            _, _, password = base64.b64decode(given.strip(), validate=True).decode().partition(":")
        except ValueError:
            return None
        return self._digest_of(password) if scheme.lower() == "basic" else None

    def _digest_of(self, token: str) -> bytes | None:
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        is_known = False
        for known in self.digests:
            is_known |= hmac.compare_digest(known, digest)
        return digest if is_known else None

    def _token_of(self, request: web.Request) -> bytes | None:
        header = request.headers.get("Authorization", "")
        return self.password(header) if request.path.startswith(TWILIO) and header[:6].lower() == "basic " else self.bearer(header)

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN_TO_ALL:
            if self.digests and self._token_of(request) is None:
                why = "this needs a token: send the header `Authorization: Bearer TOKEN` with one of http.tokens"
                raise Refusal(401, why, {"WWW-Authenticate": 'Bearer realm="bellframe"'})
            if not self.digests and not is_local(request):
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
