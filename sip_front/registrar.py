"""Where the phones of [[users]] are: their REGISTERs kept as bindings, RFC 3261 10.3. No I/O: messages and time in, answers out.

A binding leads back to where its REGISTER came from, on the flow that it came on, and never to what a Contact says: a phone behind
a NAT is reached, and nobody can make us call a third party. Digest is not here: `user` has shown its password already.
"""

import logging
import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from control_plane.logs import clean
from control_plane.messages import PhoneFacts
from sip_front.message import BadMessage, Request, parse_name_address
from sip_front.redirection import plain
from sip_front.transport import TRANSPORTS, Address
from sip_front.uri import BadUri, Uri, parse_number, parse_uri, quoted

log = logging.getLogger("registrar")
SECOND = 1_000_000_000
MAX_BINDINGS = 8  # of one user: a phone that is restarted often leaves old ones behind, and the oldest makes room
MAX_CONTACT = 1024  # octets
DEFAULT_EXPIRES_S = 3600  # 10.2.1.1 leaves it to us; also what is malformed (20.19)
MAX_EXPIRES = 2**32 - 1
Q_VALUE = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
Headers = tuple[tuple[str, str], ...]
OUTBOUND: Headers = (("Require", "outbound"), ("Flow-Timer", "120"))  # 120 s: how often its NAT must hear of it (RFC 5626 4.4.1, 6)


class Binding(msgspec.Struct, frozen=True):
    contact: str
    """Its URI: what a call to this phone asks for."""
    source: Address
    """Where its REGISTER came from, and where a call goes."""
    expires_ns: int
    updated_ns: int
    q: float
    call_id: bytes
    cseq: int
    identity: str
    """What makes it the same phone when it comes again (19.1.4; RFC 5626 6)."""
    user_agent: str


class Answer(NamedTuple):
    status: int
    headers: Headers = ()
    why: str = ""
    """For the operator, with the remedy; empty: all is well."""


class Asked(NamedTuple):
    """One Contact of a REGISTER, read."""

    contact: str
    identity: str
    expires_s: int
    q: float


class Refused(Exception):
    """Nothing of the request is carried out (10.3, at the end)."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


class Registrar:
    def __init__(self, users: Iterable[str], min_s: int, max_s: int) -> None:
        self.users, self.min_s, self.max_s = frozenset(users), min_s, max_s
        self.bindings: dict[str, list[Binding]] = {}
        """By user, those only that have one."""
        self.changed: set[str] = set()
        """Users whose bindings the journal does not know yet."""

    def receive(self, request: Request, user: str, source: Address, now_ns: int) -> Answer:
        """A REGISTER of `user`. All of it is done, or nothing."""
        try:
            self._check_owner(request, user)
            fresh = self._update(request, user, source, now_ns)
        except Refused as refused:
            return refused.answer
        except (BadMessage, BadUri) as failure:
            return Answer(400, why=f"400: a REGISTER of user {quoted(user)}: {failure}")
        before = self.of(user, now_ns)
        if fresh != before:
            self._keep(user, fresh)
            self._tell(user, before, fresh, now_ns)
        listed = tuple(("Contact", encode(binding, now_ns)) for binding in fresh)
        return Answer(200, listed + (OUTBOUND if is_outbound(request, source) else ()))

    def of(self, user: str, now_ns: int) -> list[Binding]:
        """The phones of a user in the order in which they are called: as they wish it (q), then the one that was heard last."""
        alive = [binding for binding in self.bindings.get(user, ()) if binding.expires_ns > now_ns]
        return sorted(alive, key=lambda binding: (-binding.q, -binding.updated_ns))

    def restore(self, user: str, bindings: list[Binding], now_ns: int) -> None:
        """Of the front before us. Connections did not outlive it, so neither do phones behind them: they come back by themselves."""
        if user in self.users:
            self._keep(user, [b for b in bindings if b.expires_ns > now_ns and not b.source.is_reliable])

    def expire(self, now_ns: int) -> None:
        """Once a second is enough: `of` looks at the time by itself."""
        for user, bindings in list(self.bindings.items()):
            left = [binding for binding in bindings if binding.expires_ns > now_ns]
            if len(left) < len(bindings):
                gone = ", ".join(str(binding.source) for binding in bindings if binding.expires_ns <= now_ns)
                log.info("the phone of %s at %s did not register again", clean(user, 80), gone)
                self._keep(user, left)

    def lose(self, lost: Address) -> None:
        """That connection has gone, and nothing else leads to the phone behind it."""
        for user, bindings in list(self.bindings.items()):
            left = [b for b in bindings if not b.source.is_reliable or b.source.flow != lost.flow]
            if len(left) < len(bindings):
                log.info("the phone of %s at %s has gone with its connection", clean(user, 80), lost)
                self._keep(user, left)

    def sources(self) -> list[Address]:
        return [binding.source for bindings in self.bindings.values() for binding in bindings]

    def facts(self, now_ns: int) -> tuple[PhoneFacts, ...]:
        return tuple(
            PhoneFacts(user, clean(b.contact, 200), str(b.source), b.source.transport, (b.expires_ns - now_ns) // SECOND, b.user_agent)
            for user in sorted(self.bindings)
            for b in self.of(user, now_ns)
        )

    # ---- one REGISTER ----------------------------------------------------------------------------------------------

    def _check_owner(self, request: Request, user: str) -> None:
        """10.3, steps 4 and 5: nobody but the user itself. Which host it names is nobody's business: it found us."""
        named = parse_uri(request.to.uri)
        if named.scheme == "tel" or unquote(named.user) != user:
            remedy = "its user name, registration name and authentication name must be the same"
            raise Refused(Answer(403, why=f"403: user {quoted(user)} may not register {quoted(request.to.uri)}; in the phone, {remedy}"))

    def _update(self, request: Request, user: str, source: Address, now_ns: int) -> list[Binding]:
        """The bindings as they will be: 10.3, steps 6 and 7."""
        values = request.headers.get_all("Contact")
        found = {binding.identity: binding for binding in self.of(user, now_ns)}
        call_id, cseq = request.call_id.encode("utf-8", "surrogateescape"), request.cseq[0]
        is_star = "*" in (value.strip() for value in values)
        if is_star and (len(values) != 1 or (request.headers.get("Expires") or "").strip() != "0"):
            raise BadMessage('"Contact: *" stands alone, with "Expires: 0" (10.2.2)')
        if len(values) > MAX_BINDINGS:
            raise BadMessage(f"{len(values)} Contacts; {MAX_BINDINGS} phones of one user are kept")
        asked = [] if is_star else [self._read(value, request) for value in values]
        for identity in found if is_star else [one.identity for one in asked]:
            known = found.get(identity)
            if known and known.call_id == call_id and known.cseq >= cseq:
                late = f"with CSeq {cseq} came after one with {known.cseq}"
                raise Refused(Answer(500, why=f"500: a REGISTER of user {quoted(user)} {late}; it was late, or is a replay"))
        if is_star:
            return []
        name = clean((request.headers.get("User-Agent") or "").strip(), 80)
        for one in asked:
            found.pop(one.identity, None)
            if one.expires_s:
                until_ns = now_ns + one.expires_s * SECOND
                found[one.identity] = Binding(one.contact, source, until_ns, now_ns, one.q, call_id, cseq, one.identity, name)
        newest = sorted(found.values(), key=lambda binding: -binding.updated_ns)[:MAX_BINDINGS]
        return sorted(newest, key=lambda binding: (-binding.q, -binding.updated_ns))

    def _read(self, value: str, request: Request) -> Asked:
        """Raises BadMessage, BadUri, or Refused with 423."""
        address = parse_name_address(value)
        uri = parse_uri(address.uri)
        if uri.scheme not in ("sip", "sips") or len(address.uri) > MAX_CONTACT or not address.uri.isascii():
            raise BadMessage(f"the Contact {quoted(address.uri)} is no sip: URI of {MAX_CONTACT} ASCII characters at most")
        asked_s = expiry(address.params.get("expires"), request.headers.get("Expires"))
        if 0 < asked_s < self.min_s:
            why = f"423: a phone wants to register for {asked_s} s; sip.register_min_seconds is {self.min_s}"
            raise Refused(Answer(423, (("Min-Expires", str(self.min_s)),), why))
        q = address.params.get("q") or "1"
        instance, reg_id = address.params.get("+sip.instance"), address.params.get("reg-id")
        identity = f"{instance} {reg_id}" if instance and reg_id and instance.isascii() and reg_id.isascii() else place(uri)
        return Asked(plain(uri).encode(), identity, min(asked_s, self.max_s), float(q) if Q_VALUE.fullmatch(q) else 1.0)

    # ---- what is kept ----------------------------------------------------------------------------------------------

    def _keep(self, user: str, bindings: list[Binding]) -> None:
        self.changed.add(user)
        if bindings:
            self.bindings[user] = bindings
        else:
            self.bindings.pop(user, None)

    def _tell(self, user: str, before: list[Binding], fresh: list[Binding], now_ns: int) -> None:
        """A refresh is no news."""
        known, left = {(b.identity, b.source) for b in before}, {b.identity for b in fresh}
        for binding in fresh:
            if (binding.identity, binding.source) not in known:
                kept_s = (binding.expires_ns - now_ns) // SECOND
                log.info("a phone of %s has registered from %s for %d s (%s)", clean(user, 80), binding.source, kept_s, binding.user_agent)
        for binding in before:
            if binding.identity not in left:
                log.info("the phone of %s at %s has logged out", clean(user, 80), binding.source)


def is_outbound(request: Request, source: Address) -> bool:
    """RFC 5626 6: it wants to be called over the connection that it has opened, and there is nobody between us."""
    supported = [name.lower() for name in request.headers.get_all("Supported")]
    params = request.contact.params if request.contact else {}
    asks = "outbound" in supported and "reg-id" in params and "+sip.instance" in params
    return asks and source.is_reliable and len(request.headers.get_all("Via")) < 2


def expiry(own: str | None, overall: str | None) -> int:
    """Seconds: of the Contact, else of the request, else ours. What is malformed is as if it were not there."""
    for text in (own, overall):
        found = parse_number((text or "").strip(), MAX_EXPIRES)
        if found is not None:
            return found
    return DEFAULT_EXPIRES_S


def place(uri: Uri) -> str:
    """What makes two Contacts the same (19.1.4, as far as phones keep to it)."""
    transport = "tls" if uri.scheme == "sips" else (uri.params.get("transport") or "udp").lower()
    port = uri.port or (TRANSPORTS[transport].default_port if transport in TRANSPORTS else 5060)
    return f"{unquote(uri.user)}@{uri.host.lower()}:{port};{transport}"


def encode(binding: Binding, now_ns: int) -> str:
    """As the 200 lists it. Rounded up: a phone must see the time that it asked for."""
    q = "" if binding.q == 1.0 else f";q={binding.q:g}"
    return f"<{binding.contact}>;expires={max(1, -(-(binding.expires_ns - now_ns) // SECOND))}{q}"
