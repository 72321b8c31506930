"""The part of the configuration that is about HTTP and call records."""

import ipaddress

import msgspec

from control_plane.errors import ConfigurationError
from control_plane.secret import Secret
from control_plane.tokens import check_token


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    listen: str = ""
    """Where the HTTP API and the metrics are, HOST:PORT. Empty: off. Anything but loopback needs tokens; put a proxy with TLS before it."""
    tokens: tuple[Secret, ...] = ()
    """Who shows one of these (Authorization: Bearer ...) may do everything, calling out too. Empty: everybody on this machine may."""
    token_file: str = ""
    """More tokens, one a line. A name without a slash is that of a systemd credential (LoadCredential=)."""
    webhook: str = ""
    """Where changes of every call are posted. A call of POST /v1/calls may name another place for its own."""
    webhook_secret: Secret = Secret()
    """Signs what is posted (HMAC-SHA256), so that the receiver knows that it was us."""
    webhook_secret_file: str = ""
    """The same from a file, or from a systemd credential, as token_file."""
    page: bool = False
    """A page for people at /: the calls that are up, the load, one call's ladder and levels."""


class Records(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    file: str = ""
    """Where every call leaves a row (SQLite), for `bellframe records`. Empty: nowhere."""
    days: int = 90
    """Rows older than this are deleted. Who called whom is personal data: keep it as short as the law where you are asks."""


def check_http(http: Http, host: str) -> None:
    """`host`: of http.listen, empty where that is. Raises ConfigurationError."""
    if host:
        if not ipaddress.ip_address(host).is_loopback and not (http.tokens or http.token_file):
            remedy = 'name http.tokens or http.token_file, or listen on "127.0.0.1:8080"'
            raise ConfigurationError(f'http.listen: "{http.listen}" can be reached from elsewhere, so anybody could call out: {remedy}')
    elif http.page:
        raise ConfigurationError('http.page: it needs http.listen, for example "127.0.0.1:8080"')
    for token in http.tokens:
        check_token(token.reveal(), "http.tokens")
    if http.webhook:
        if not http.webhook.startswith(("https://", "http://")):
            raise ConfigurationError("http.webhook: it is not a URL that begins with https://")
        if not (http.webhook_secret or http.webhook_secret_file):
            raise ConfigurationError("http.webhook: name http.webhook_secret too, or the receiver cannot know that it was us")
