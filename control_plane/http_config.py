"""The part of the configuration that is about HTTP and call records."""

import ipaddress

import msgspec

from control_plane.errors import ConfigurationError
from control_plane.secret import Secret
from control_plane.tokens import check_token, read_secret


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
    """Where every call leaves a row (SQLite), for `bellframe records`. Empty: nowhere, or at `url`."""
    url: Secret = Secret()
    """Instead of a file: postgresql://USER:PASSWORD@HOST/DATABASE, where the table `calls` is made (bellframe[postgres])."""
    url_file: str = ""
    """The same from a file, or from a systemd credential, as http.token_file."""
    days: int = 90
    """Rows older than this are deleted. Who called whom is personal data: keep it as short as the law where you are asks."""


    @property
    def has_url(self) -> bool:
        return bool(self.url or self.url_file)

    @property
    def are_kept(self) -> bool:
        return bool(self.file) or self.has_url

    def read_url(self) -> str:
        """Raises ConfigurationError."""
        url = read_secret(self.url_file, "records.url_file") if self.url_file else self.url.reveal()
        check_url(url)
        return url


def check_records(records: Records) -> None:
    """Raises ConfigurationError."""
    if [bool(records.file), bool(records.url), bool(records.url_file)].count(True) > 1:
        raise ConfigurationError("records: file, url and url_file are places for the same rows; keep one of them")
    if records.url:
        check_url(records.url.reveal())


def check_url(url: str) -> None:
    """Raises ConfigurationError, without the password in it."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise ConfigurationError("records.url: it does not begin with postgresql://, as in postgresql://bellframe:PASSWORD@192.0.2.5/bellframe")


class Traces(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    endpoint: str = ""
    """Where each call's trace is sent when it has ended, by OTLP over HTTP, such as "http://127.0.0.1:4318/v1/traces". Empty: nowhere."""
    service: str = "bellframe"
    """service.name of the spans."""


def check_traces(traces: Traces) -> None:
    """Raises ConfigurationError."""
    if traces.endpoint and not traces.endpoint.startswith(("https://", "http://")):
        raise ConfigurationError('traces.endpoint: it is not a URL, such as "http://127.0.0.1:4318/v1/traces"')


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
