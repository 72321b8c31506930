"""SRTP keys in session descriptions: a=crypto, RFC 4568, with the suites of RFC 6188 and RFC 7714.

A line that asks for what we do not do (an MKI, packets that are not encrypted or not authenticated, keys derived
again and again) is passed over for the next one, and the reason kept. No text of ours ever has a key in it.
"""

import base64
import binascii
import re
import secrets
from collections.abc import Iterable
from typing import NamedTuple

from control_plane.srtp_suites import SUITES
from sip_front.uri import parse_number, quoted

MAX_LINES = 16  # read of one m= section; phones offer eight at most
MAX_TAG = 10**9 - 1
MAX_LIFETIME = 2**48  # RFC 3711 9.2
MAX_WINDOW_HINT = 65_535
BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


class Crypto(NamedTuple):
    tag: int
    suite: str
    secret: bytes
    """Master key and salt of what the one who wrote the line sends."""

    def __repr__(self) -> str:
        return f"Crypto({self.tag}, {self.suite!r}, hidden)"

    @property
    def value(self) -> str:
        """What stands behind a=crypto: ."""
        return f"{self.tag} {self.suite} inline:{base64.b64encode(self.secret).decode()}"


class Read(NamedTuple):
    """The lines of one m= section, in the order of their writer's preference."""

    usable: tuple[Crypto, ...]
    why_not: tuple[str, ...]
    """Of each of the others."""

    def chosen_by(self, answer: Crypto) -> Crypto | None:
        """Of our offer: what this line of an answer chose. By its tag (RFC 4568 5.1.3); who numbers the answer anew means the suite."""
        fitting = [crypto for crypto in self.usable if crypto.suite == answer.suite]
        return next((crypto for crypto in fitting if crypto.tag == answer.tag), fitting[0] if fitting else None)


def new_secret(suite: str) -> bytes:
    return secrets.token_bytes(SUITES[suite].secret_bytes)


def read(attributes: Iterable[tuple[str, str | None]]) -> Read:
    usable: list[Crypto] = []
    why_not: list[str] = []
    for value in [value or "" for name, value in attributes if name.lower() == "crypto"][:MAX_LINES]:
        found = parse(value)
        if isinstance(found, str):
            why_not.append(found)
        elif any(found.tag == other.tag for other in usable):
            why_not.append(f"the tag {found.tag} is there twice")
        else:
            usable.append(found)
    return Read(tuple(usable), tuple(why_not))


def parse(value: str) -> Crypto | str:
    """One line, or why it cannot be used."""
    words = [word for word in value.split(" ") if word]
    if len(words) < 3:
        return "a=crypto has not a tag, a suite and a key"
    tag, suite = parse_number(words[0], MAX_TAG), SUITES.get(words[1].upper())
    if tag is None:
        return f"{quoted(words[0])} is no tag of a=crypto"
    if suite is None:
        return f"the suite {quoted(words[1])} is not known"
    secret = _parse_key(words[2], suite.secret_bytes)
    if isinstance(secret, str):
        return f"{suite.name}: {secret}"
    for parameter in words[3:]:
        why_not = _why_not(parameter)
        if why_not:
            return f"{suite.name}: {why_not}"
    return Crypto(tag, suite.name, secret)


def _parse_key(text: str, secret_bytes: int) -> bytes | str:
    """inline:KEY[|LIFETIME][|MKI:LENGTH]"""
    method, colon, rest = text.partition(":")
    if method.lower() != "inline" or not colon:
        return "its key is not inline:"
    if ";" in rest:
        return "several keys need an MKI, which is not supported; offer one key"
    key, *more = rest.split("|")
    if any(":" in part for part in more):
        return "an MKI is not supported; offer the key without"
    if len(more) > 1 or not all(_is_lifetime(part) for part in more):
        return "what is behind its key is no lifetime"
    try:
        secret = base64.b64decode(key.rstrip("=") + "=" * (-len(key.rstrip("=")) % 4), validate=True) if BASE64.fullmatch(key) else b""
    except binascii.Error:
        secret = b""
    if len(secret) != secret_bytes:
        return f"its key and salt are not {secret_bytes} octets of base64"
    return secret


def _is_lifetime(text: str) -> bool:
    """Packets, as a number or a power of two. It is the far end's own limit on what it sends: we need only understand it."""
    exponent = text.removeprefix("2^")
    number = parse_number(exponent, MAX_LIFETIME)
    if number is None:
        return False
    return 0 < number <= 48 if exponent != text else number > 0


def _why_not(parameter: str) -> str:
    """RFC 4568 6.3: a parameter that is not understood makes the line unusable, unless it begins with a dash."""
    name, _, value = parameter.partition("=")
    if name.startswith("-"):
        return ""
    if name.upper() == "WSH":  # a hint at how far packets are reordered; we look back over 64, which is the least that may be asked
        return "" if parse_number(value, MAX_WINDOW_HINT) else "WSH has no number"
    if name.upper() in ("UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "UNAUTHENTICATED_SRTP"):
        return f"{name.upper()} would leave the call unprotected"
    if name.upper() == "KDR":
        return "keys that are derived anew (KDR) are not supported"
    return f"{quoted(name, 40)} is not supported"
