"""Digest authentication, both sides of it, without I/O: RFC 7616 (and RFC 2617 before it), RFC 8760 for SIP.

As client: the strongest challenge that we know is answered once; credentials that were refused are not sent again.
As server: a nonce carries its own time and its own proof, so that a stranger who asks for one leaves nothing behind.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from sip_front.header import split_list
from sip_front.message import Request, Response
from sip_front.uri import BadUri, parse_uri

Hash = Callable[[bytes], str]
STRENGTH: dict[str, Hash] = {  # RFC 8760 2.2: the weakest first; "-sess" belongs to each
    "MD5": lambda octets: hashlib.md5(octets, usedforsecurity=False).hexdigest(),
    "SHA-256": lambda octets: hashlib.sha256(octets).hexdigest(),
    "SHA-512-256": lambda octets: hashlib.new("sha512_256", octets).hexdigest(),
}
HEADERS = {401: ("WWW-Authenticate", "Authorization"), 407: ("Proxy-Authenticate", "Proxy-Authorization")}
NONCE_LIFE_NS = 300_000_000_000  # a client that is idle for longer is asked once more
CLOCK_NS = 1_000_000_000  # a nonce from further ahead is none of ours
MAX_NONCES = 16_384  # that were used with the right password; about 4 MB
MAX_CHALLENGES = 8  # in one response
MAX_PARAMETER = 512  # characters: what a challenge says is sent back by us
MAX_DIGEST = 2048  # characters of a whole challenge, or of credentials: whoever sends them is a stranger yet


class Challenge(NamedTuple):
    header: str
    """That answers it: Authorization or Proxy-Authorization."""
    realm: str
    nonce: str
    algorithm: str
    """As written there; empty: none named, which is MD5."""
    qop: str
    """auth, auth-int or empty: RFC 2069 knew none."""
    opaque: str | None
    is_stale: bool

    @property
    def strength(self) -> int:
        return [*STRENGTH].index(base_algorithm(self.algorithm) or "MD5")


class Credentials:
    """Who we are for one trunk. `realm`: the only one that may see them; empty: whichever the trunk's own gateways name."""

    __slots__ = ("_password", "realm", "username")

    def __init__(self, username: str, password: str, realm: str = "") -> None:
        self.username, self._password, self.realm = username, password, realm

    def ha1(self, hashed: Hash, realm: str) -> str:
        return hashed(f"{self.username}:{realm}:{self._password}".encode("utf-8", "surrogateescape"))

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, hidden)"


# ---- what both sides compute ---------------------------------------------------------------------------------------


def base_algorithm(name: str) -> str | None:
    """MD5 for "md5-sess" and for nothing. None: we do not know it."""
    plain = name.upper().removesuffix("-SESS") or "MD5"
    return plain if plain in STRENGTH else None


def digest_response(
    hashed: Hash, ha1: str, method: str, uri: str, nonce: str, *,
    qop: str = "", nc: str = "", cnonce: str = "", is_session: bool = False, body: bytes = b"",
) -> str:  # fmt: skip
    """RFC 7616 3.4.1 to 3.4.3; without `qop` that of RFC 2069."""
    if is_session:
        ha1 = hashed(_octets(f"{ha1}:{nonce}:{cnonce}"))
    a2 = f"{method}:{uri}:{hashed(body)}" if qop == "auth-int" else f"{method}:{uri}"
    middle = f"{nonce}:{nc}:{cnonce}:{qop}" if qop else nonce
    return hashed(_octets(f"{ha1}:{middle}:{hashed(_octets(a2))}"))


def parse_parameters(value: str) -> dict[str, str] | None:
    """Of a challenge or of credentials, names in lower case, values without their quotes. None: it is not Digest, or no list."""
    scheme, _, rest = value.strip(" \t").partition(" ")
    if scheme.lower() != "digest" or len(rest) > MAX_DIGEST:
        return None
    found: dict[str, str] = {}
    for item in split_list(rest):
        name, equals, text = item.partition("=")
        name, text = name.strip(" \t").lower(), text.strip(" \t")
        if not equals or name in found or len(text) > MAX_PARAMETER:
            return None  # the same name twice: we and a proxy might read different ones
        found[name] = unquote(text)
    return found


def unquote(text: str) -> str:
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inside = text[1:-1]
    return inside if "\\" not in inside else "".join(_unescaped(inside))


def _unescaped(text: str) -> Iterable[str]:
    characters = iter(text)
    for character in characters:
        yield next(characters, "") if character == "\\" else character


def quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# ---- client --------------------------------------------------------------------------------------------------------


def challenges(response: Response) -> list[Challenge]:
    """Those that we can answer, the strongest first; of equals the first (RFC 8760 2.4)."""
    asked, answered = HEADERS[response.status]
    found: list[Challenge] = []
    for value in response.headers.get_all(asked)[:MAX_CHALLENGES]:
        given = parse_parameters(value)
        if not given or "realm" not in given or not given.get("nonce") or base_algorithm(given.get("algorithm", "")) is None:
            continue
        offered = [part.lower() for part in split_list(given.get("qop", ""))]
        qop = next((name for name in ("auth", "auth-int") if name in offered), "")
        if qop or not offered:
            is_stale = given.get("stale", "").lower() == "true"
            challenge = Challenge(answered, given["realm"], given["nonce"], given.get("algorithm", ""), qop, given.get("opaque"), is_stale)
            found.append(challenge)
    return sorted(found, key=lambda challenge: -challenge.strength)


class Nonce:
    """One of the far end's, and how often we have used it."""

    __slots__ = ("challenge", "uses")

    def __init__(self, challenge: Challenge) -> None:
        self.challenge, self.uses = challenge, 0


class Attempt:
    """What one request of ours has tried so far. A proxy and the far end behind it may each ask once, and once more for a stale nonce."""

    __slots__ = ("fresh", "stale")

    def __init__(self) -> None:
        self.fresh: set[tuple[str, str]] = set()
        self.stale: set[tuple[str, str]] = set()


class Client:
    """For one trunk: the nonces that it has given, and what is written into requests for them."""

    def __init__(self, credentials: Credentials, new_cnonce: Callable[[], str] = lambda: secrets.token_hex(8)) -> None:
        self.credentials, self.new_cnonce = credentials, new_cnonce
        self.nonces: dict[str, Nonce] = {}
        """By the header that answers: the one that was asked for last."""

    def apply(self, request: Request) -> None:
        """Credentials before they are asked for, where the far end has named a nonce before (RFC 3261 22.2): one round trip less."""
        for nonce in self.nonces.values():
            if nonce.challenge.qop:  # without a count each use would look like a replay
                request.headers.set(nonce.challenge.header, self._value(nonce, request))

    def answer(self, request: Request, response: Response, attempt: Attempt) -> str:
        """Write the credentials that `response` asks for into `request`. Returns why not, or nothing.

        `request` is the new one: its Via, CSeq and method are what will be sent.
        """
        found = challenges(response)
        if not found:
            return f"{response.status}: it asks for no kind of authentication that we know (Digest with {', '.join(STRENGTH)})"
        own = [c for c in found if self.credentials.realm in ("", c.realm)]
        if not own:
            return f"{response.status}: it asks in the realm {found[0].realm!r}, and credentials are for {self.credentials.realm!r} only"
        challenge = own[0]
        place = challenge.header, challenge.realm
        if place in attempt.fresh and (not challenge.is_stale or place in attempt.stale):
            self.nonces.pop(challenge.header, None)
            return f"{response.status}: it refuses the credentials of user {self.credentials.username!r}"
        (attempt.stale if place in attempt.fresh else attempt.fresh).add(place)
        nonce = self.nonces[challenge.header] = Nonce(challenge)
        request.headers.set(challenge.header, self._value(nonce, request))
        return ""

    def _value(self, nonce: Nonce, request: Request) -> str:
        challenge = nonce.challenge
        nonce.uses += 1
        hashed = STRENGTH[base_algorithm(challenge.algorithm) or "MD5"]
        is_session = challenge.algorithm.upper().endswith("-SESS")
        nc, cnonce = f"{nonce.uses:08x}", self.new_cnonce() if challenge.qop or is_session else ""
        answer = digest_response(
            hashed, self.credentials.ha1(hashed, challenge.realm), request.method, request.uri, challenge.nonce,
            qop=challenge.qop, nc=nc, cnonce=cnonce, is_session=is_session, body=request.body,
        )  # fmt: skip
        parts = [
            f"username={quote(self.credentials.username)}", f"realm={quote(challenge.realm)}", f"nonce={quote(challenge.nonce)}",
            f"uri={quote(request.uri)}", f'response="{answer}"',
        ]  # fmt: skip
        if challenge.algorithm:
            parts.append(f"algorithm={challenge.algorithm}")
        if cnonce:
            parts.append(f'cnonce="{cnonce}"')
        if challenge.qop:
            parts += [f"qop={challenge.qop}", f"nc={nc}"]
        if challenge.opaque is not None:
            parts.append(f"opaque={quote(challenge.opaque)}")
        return "Digest " + ", ".join(parts)


# ---- server --------------------------------------------------------------------------------------------------------


class User:
    """One who may authenticate: with a password, or with its HA1 by algorithm."""

    __slots__ = ("_ha1", "name")

    def __init__(self, name: str, ha1: Mapping[str, str]) -> None:
        self.name, self._ha1 = name, dict(ha1)

    @classmethod
    def with_password(cls, name: str, realm: str, password: str) -> "User":
        secret = Credentials(name, password)
        return cls(name, {algorithm: secret.ha1(hashed, realm) for algorithm, hashed in STRENGTH.items()})

    @property
    def algorithms(self) -> set[str]:
        return set(self._ha1)

    def ha1(self, algorithm: str) -> str:
        return self._ha1.get(algorithm, "")

    def __repr__(self) -> str:
        return f"User({self.name!r}, hidden)"


class Verdict(NamedTuple):
    kind: Literal["passed", "absent", "stale", "refused"]
    """absent: no credentials; stale: the right ones for a nonce that is over; refused: wrong."""
    user: str = ""
    """As the far end wrote it, for the log; of "passed", who it is."""
    is_own_nonce: bool = True
    """It was given to this source, which therefore receives what we send: its address is not forged."""


class Server:
    """`users` by name. Every answer is the same whether a user exists or not, and takes the same work."""

    def __init__(self, realm: str, users: Mapping[str, User], algorithms: Iterable[str] = ("MD5", "SHA-256")) -> None:
        self.realm, self.users = realm, users
        self.algorithms = [name for name in algorithms if all(name in user.algorithms for user in users.values())]
        self.secret = secrets.token_bytes(32)
        self.nobody = User.with_password("", realm, secrets.token_hex(16))
        self.used: dict[str, int] = {}
        """The highest count of each nonce that came with the right password; only those who know one are remembered."""
        self.oldest_ns = -(2**62)
        """Nonces made before are stale: what was forgotten must not pass a second time."""

    def challenge(self, source: str, now_ns: int, is_stale: bool = False) -> tuple[tuple[str, str], ...]:
        """The headers of a 401, one for each algorithm."""
        stale = ", stale=true" if is_stale else ""
        nonce = self.new_nonce(source, now_ns)
        return tuple(
            ("WWW-Authenticate", f'Digest realm={quote(self.realm)}, nonce="{nonce}", algorithm={name}, qop="auth"{stale}')
            for name in self.algorithms
        )

    def new_nonce(self, source: str, now_ns: int) -> str:
        """Of 8 octets time, 8 of chance and 16 of proof that this came from us, for `source`."""
        head = now_ns.to_bytes(8, "big") + secrets.token_bytes(8)
        return base64.b64encode(head + self._proof(head, source)).decode()

    def verify(self, request: Request, source: str, now_ns: int) -> Verdict:
        """Whoever sent `request` knows the password of a user of ours, and says so for the first time."""
        given_ones = request.headers.get_all("Authorization")[:MAX_CHALLENGES]
        own = [p for value in given_ones if (p := parse_parameters(value)) and p.get("realm") == self.realm]
        if not own:
            return Verdict("absent")
        given = own[0]
        name, algorithm = given.get("username", ""), base_algorithm(given.get("algorithm", ""))
        nonce, nc, cnonce, qop = (given.get(key, "") for key in ("nonce", "nc", "cnonce", "qop"))
        made_ns = self._made_ns(nonce, source)
        if algorithm not in self.algorithms or not calls_the_same(given.get("uri", ""), request.uri) or qop not in ("", "auth"):
            return Verdict("refused", name, made_ns is not None)
        user = self.users.get(name)
        expected = digest_response(
            STRENGTH[algorithm], (user or self.nobody).ha1(algorithm), request.method, given["uri"], nonce,
            qop=qop, nc=nc, cnonce=cnonce, is_session=given.get("algorithm", "").upper().endswith("-SESS"),
        )  # fmt: skip
        is_right = hmac.compare_digest(expected.encode(), _octets(given.get("response", "").lower()))
        if not is_right or user is None:
            return Verdict("refused", name, made_ns is not None)
        count = parse_hex(nc) if qop else 1
        if made_ns is None or count is None or not self._is_first_use(nonce, count, made_ns, now_ns):
            return Verdict("stale", name)
        return Verdict("passed", user.name)

    def _is_first_use(self, nonce: str, count: int, made_ns: int, now_ns: int) -> bool:
        if made_ns <= self.oldest_ns or not -CLOCK_NS <= now_ns - made_ns <= NONCE_LIFE_NS or count <= self.used.get(nonce, 0):
            return False
        self.used[nonce] = count
        while len(self.used) > MAX_NONCES:
            first = next(iter(self.used))
            del self.used[first]
            self.oldest_ns = max(self.oldest_ns, int.from_bytes(base64.b64decode(first)[:8], "big"))
        return True

    def _made_ns(self, nonce: str, source: str) -> int | None:
        """None: it is none of ours, or was given to somebody else."""
        try:
            octets = base64.b64decode(_octets(nonce), validate=True)
        except ValueError:
            return None
        head, proof = octets[:16], octets[16:]
        return int.from_bytes(head[:8], "big") if hmac.compare_digest(proof, self._proof(head, source)) else None

    def _proof(self, head: bytes, source: str) -> bytes:
        return hmac.digest(self.secret, head + source.encode("utf-8", "surrogateescape"), "sha256")[:16]


def calls_the_same(signed: str, requested: str) -> bool:
    """The number that was signed is the one called. A proxy on the way may have changed the host (RFC 3261 22.4), never the number."""
    if signed == requested:
        return True
    try:
        return bool(parse_uri(signed).user) and parse_uri(signed).user == parse_uri(requested).user
    except BadUri:
        return False


def parse_hex(text: str) -> int | None:
    """nc: eight hexadecimal digits."""
    return int(text, 16) if len(text) == 8 and all(c in "0123456789abcdefABCDEF" for c in text) else None
