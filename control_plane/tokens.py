"""Bearer tokens: where they are written, and whether one that is shown is one of them."""

import hashlib
import hmac
import os
import pathlib
from collections.abc import Iterable

from control_plane.errors import ConfigurationError
from control_plane.secret import Secret

MIN_TOKEN, MAX_TOKEN = 16, 256
MAX_SECRET_BYTES = 65_536


def check_token(token: str, where: str) -> None:
    """Raises ConfigurationError, without the token in it."""
    if not MIN_TOKEN <= len(token) <= MAX_TOKEN or not all("!" <= c <= "~" for c in token):
        remedy = f"{MIN_TOKEN} to {MAX_TOKEN} printable ASCII characters, such as `openssl rand -hex 24` makes"
        raise ConfigurationError(f"{where}: a token is too short, or has a character that no header carries; it needs {remedy}")


def read_secret(name: str, where: str) -> str:
    """The content of a file, or of a systemd credential if the name has no slash. Raises ConfigurationError."""
    path = pathlib.Path(os.environ.get("CREDENTIALS_DIRECTORY", ""), name) if "/" not in name else pathlib.Path(name)
    try:
        with path.open("rb") as file:
            return file.read(MAX_SECRET_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as failure:
        remedy = "name a file that the server may read, with a slash in it, or a credential of LoadCredential="
        raise ConfigurationError(f"{where}: {name} cannot be read ({failure}); {remedy}") from failure


def load_tokens(tokens: Iterable[Secret], file: str, where: str) -> tuple[str, ...]:
    """All of them; `where`: the setting that names the file. Raises ConfigurationError."""
    found = [token.reveal() for token in tokens]
    if file:
        lines = [line.strip() for line in read_secret(file, where).splitlines()]
        found += [line for line in lines if line and not line.startswith("#")]
        if not found:
            raise ConfigurationError(f"{where}: {file} has no token in it; put one on a line of its own")
    for token in found:
        check_token(token, where)
    return tuple(found)


class Tokens:
    """Kept as digests."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests = tuple(_digest(token) for token in tokens)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def find(self, token: str) -> bytes | None:
        """Its digest if it is one of them. It takes as long for every token that is not."""
        digest, is_known = _digest(token), False
        for known in self._digests:
            is_known |= hmac.compare_digest(known, digest)
        return digest if is_known else None

    def bearer(self, header: str) -> bytes | None:
        """The same of an Authorization header."""
        scheme, _, given = header.partition(" ")
        digest = self.find(given.strip())
        return digest if scheme.lower() == "bearer" else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
