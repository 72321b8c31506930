"""What a route may say of its bot: the arguments that are for us. All others are handed to the bot."""

import os
import pathlib
from typing import ClassVar

from ai_bridge.arguments import Arguments
from control_plane.errors import ConfigurationError


class Options(Arguments, frozen=True):
    LIMITS: ClassVar[tuple[tuple[str, float, float], ...]] = (
        ("retries", 0, 10),
        ("resume_seconds", 0, 3600),
        ("connect_seconds", 0.1, 60),
        ("silent_seconds", 1, 3600),
    )

    fallback: str = ""
    """Another agent, which gets the call when the bot is away, breaks its wire or dies. Empty: the call is ended."""
    retries: int = 1
    """How often the bot is dialled anew after a connection failed or broke. The bot then begins anew as well."""
    resume_seconds: float = 10.0
    """How long after a connection broke the bot may come back and go on with the call, where its wire can do that."""
    connect_seconds: float = 5.0
    """What the bot may take to accept the connection. The caller hears comfort noise meanwhile."""
    silent_seconds: float = 10.0
    """A bot that sends nothing is pinged this often; one that does not answer for as long is given up."""
    secret: str = ""
    """Signs what we send, as the wire's own provider does. Empty: not signed."""
    secret_file: str = ""
    """The secret's file instead; a name without a path is looked for among the service's credentials (LoadCredential=)."""
    api_key: str = ""
    """Names the account to `audiohook` (X-API-KEY)."""
    api_key_file: str = ""
    """Its file instead, found like that of the secret."""
    authorization: str = ""
    """Sent as the header Authorization when the bot is dialled: "Bearer ...", "Basic ..."."""
    authorization_file: str = ""
    """Its file instead, found like that of the secret."""
    ca_file: str = ""
    """Certificates to trust instead of the system's, PEM: for a bot with a certificate of your own."""
    account: str = ""
    """What the bot is told as the account, where its wire has one."""
    encoding: str = ""
    """Of the audio that the bot gets, where its wire has several. Empty: the wire's usual one. "line": as the far end sends it, at its rate
    (G.722 and Opus as L16); a wire that has no such encoding refuses the call."""
    sample_rate_hz: int = 0
    """The same for its rate."""
    channels: str = ""
    """Of `audiohook`: "external" is the caller, "both" has what is said to the caller on the right. Empty: external."""
    control_messages: str = ""
    """"json" or "plain-text", where a wire has both: of what the bot is sent. It may send either."""

    def __repr__(self) -> str:
        return f"Options(fallback={self.fallback!r}, retries={self.retries}, secret hidden)"

    def signing_secret(self) -> bytes:
        """Empty: nothing is signed. Raises ConfigurationError for a file that cannot be read."""
        return secret("secret_file", self.secret, self.secret_file)

    def key(self) -> bytes:
        """Empty: there is none. Raises ConfigurationError for a file that cannot be read."""
        return secret("api_key_file", self.api_key, self.api_key_file)

    def headers(self) -> dict[str, str]:
        """Of the upgrade request. Raises ConfigurationError for a file that cannot be read."""
        value = secret("authorization_file", self.authorization, self.authorization_file)
        return {"Authorization": value.decode("latin-1")} if value else {}


def secret(setting: str, value: str, file: str) -> bytes:
    """The value, or what the file holds. Raises ConfigurationError."""
    if value or not file:
        return value.encode()
    path = pathlib.Path(file)
    if path.name == file:
        path = pathlib.Path(os.environ.get("CREDENTIALS_DIRECTORY", ".")) / path
    try:
        return path.read_bytes().strip()
    except OSError as failure:
        raise ConfigurationError(f"the route's arguments: {setting}: {path} cannot be read: {failure.strerror}") from None
