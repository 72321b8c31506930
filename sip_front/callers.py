"""Who a request comes from: a trunk's network, a user with a password, or a stranger. Default deny.

Only the address of the socket's peer and a password count: Via, Contact and From are written by whoever sends them.
Strangers leave nothing behind but a place in a bounded table, and that only where they can receive what we send.
"""

import ipaddress
import logging
from typing import NamedTuple

from control_plane import trunk_config
from control_plane.config import Sip
from control_plane.logs import clean
from control_plane.sources import Sources
from sip_front.admission import MAX_KNOWN_HOSTS, Refusal, fold
from sip_front.challenged import Challenged
from sip_front.digest import Server, User, Verdict
from sip_front.message import Request
from sip_front.uri import number_of

log = logging.getLogger("sip")
SECOND = 1_000_000_000
STRANGER_RATE, STRANGER_BURST = 20.0, 40.0  # answers a second to one address that may not call; more is silence
STRANGERS_RATE, STRANGERS_BURST = 500.0, 1000.0  # messages a second of all strangers that are read: sources can be forged
WRONG_LIMIT, WRONG_WINDOW_NS, BAN_NS = 10, 60 * SECOND, 600 * SECOND
NAME_LIFE_NS = 60 * SECOND  # of a host name's addresses: providers rotate theirs


class Admitted(NamedTuple):
    trunk: str
    """Empty: no trunk in particular."""
    refusal: Refusal | None
    """None: it may come. With status 0 it gets no answer."""
    user: str = ""
    """Who has shown its password."""


class Misses:
    """Wrong passwords of one address, given with a nonce that it received from us: nobody can be banned by a forged address."""

    __slots__ = ("banned_until_ns", "count", "since_ns")

    def __init__(self, now_ns: int) -> None:
        self.count, self.since_ns, self.banned_until_ns = 0, now_ns, 0


def make_server(sip: Sip, users: tuple[trunk_config.User, ...]) -> Server | None:
    """None: there are no users, so nobody is asked. Raises ConfigurationError for a password that cannot be read."""
    found: dict[str, User] = {}
    for user in users:
        if user.ha1:
            ha1 = user.ha1.reveal()
            found[user.name] = User(user.name, {"MD5" if len(ha1) == 32 else "SHA-256": ha1})
        else:
            found[user.name] = User.with_password(user.name, sip.realm, trunk_config.read_password(user))
    return Server(sip.realm, found, sip.digest_algorithms) if found else None


class Callers:
    def __init__(self, sip: Sip, trunks: tuple[trunk_config.Trunk, ...] = (), users: tuple[trunk_config.User, ...] = ()) -> None:
        self.sources = Sources(trunks, sip.allow)
        self.addresses: dict[str, frozenset[str]] = {}
        """Of host names, as they were resolved last."""
        self.resolve_ns = 0
        self.server = make_server(sip, users)
        self.with_users = {trunk.name for trunk in trunks if trunk.users}
        self.with_networks = {trunk.name for trunk in trunks if trunk.allow}
        self.trunk_of_user = {user: trunk.name for trunk in trunks for user in trunk.users}
        self.verdicts: dict[str, tuple[str, ...]] = {}
        self.misses: dict[str, Misses] = {}
        self.budgets: dict[str, tuple[float, int]] = {}
        self.challenged = Challenged()
        self.tokens, self.filled_at_ns = STRANGERS_BURST, 0
        """Of all strangers together."""

    # ---- by address ----------------------------------------------------------------------------------------------

    def trunks_of(self, host: str) -> tuple[str, ...]:
        """Those whose networks hold this address, in the order of the configuration; "" is sip.allow. Empty: a stranger."""
        found = self.verdicts.get(host)
        if found is None:
            address = fold(host)
            found = () if address is None else self._look_up(address)
            if len(self.verdicts) >= MAX_KNOWN_HOSTS:
                self.verdicts.clear()
            self.verdicts[host] = found
        return found

    def _look_up(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> tuple[str, ...]:
        return tuple(self.sources.find(address, self.addresses))

    def may_connect(self, host: str, now_ns: int) -> bool:
        """Whether a connection from there is worth a handshake: with [[users]], a stranger may turn out to be one."""
        if self.trunks_of(host):
            return True
        misses = self.misses.get(host)
        return self.server is not None and not (misses and now_ns < misses.banned_until_ns)

    def is_worth_reading(self, host: str, octets: bytes, now_ns: int) -> bool:
        """Before anything is parsed: what a flood of strangers costs is decided here. It takes a token of all strangers' budget.

        A password is read even so, and so is a response, which has to fit a request of ours.
        """
        if self.trunks_of(host):
            return True
        self.tokens = min(STRANGERS_BURST, self.tokens + (now_ns - self.filled_at_ns) * STRANGERS_RATE / SECOND)
        self.filled_at_ns = now_ns
        spent = self.budgets.get(host)
        if self.tokens >= 1.0 and (spent is None or spent[0] + (now_ns - spent[1]) * STRANGER_RATE / SECOND >= 1.0):
            self.tokens -= 1.0
            return True
        return octets.startswith(b"SIP/2.0 ") or (self.server is not None and b"uthorization" in octets)

    def take_names(self, now_ns: int) -> list[str]:
        """Host names whose addresses should be asked for now."""
        if not self.sources.names or now_ns < self.resolve_ns:
            return []
        self.resolve_ns = now_ns + NAME_LIFE_NS
        return list(self.sources.names)

    def resolved(self, name: str, addresses: frozenset[str]) -> None:
        """Nothing found leaves the old ones: a name server that is away must not lock a trunk out."""
        folded = frozenset(str(address) for text in addresses if (address := fold(text)) is not None)
        if not folded:
            log.warning("allow: %s has no address; %d known before stay allowed", name, len(self.addresses.get(name, ())))
        elif folded != self.addresses.get(name):
            self.addresses[name] = folded
            self.verdicts.clear()

    # ---- of a request --------------------------------------------------------------------------------------------

    def admit(self, request: Request, host: str, now_ns: int) -> Admitted:
        """For a request outside of what is under way. Default deny."""
        if self.server is not None and request.method == "REGISTER":  # from trusted networks too: it says where somebody's calls go
            return self._authenticate(self.server, request, host, now_ns)
        trunks = self.trunks_of(host)
        trusted = next((trunk for trunk in trunks if trunk not in self.with_users or request.method != "INVITE"), None)
        if trusted is not None and not (self.server and request.headers.get("Authorization")):
            return Admitted(trusted, None)
        if self.server is not None and request.method == "INVITE":
            admitted = self._authenticate(self.server, request, host, now_ns)
            return Admitted(trusted, None) if admitted.refusal and trusted is not None else admitted
        return Admitted("", self._refuse_stranger(host, now_ns)) if trusted is None else Admitted(trusted, None)

    def _authenticate(self, server: Server, request: Request, host: str, now_ns: int) -> Admitted:
        misses = self.misses.get(host)
        if misses and now_ns < misses.banned_until_ns:
            return Admitted("", Refusal(0, f"silence: {host} is banned for wrong passwords, {_left(misses, now_ns)} s more"))
        verdict = server.verify(request, host, now_ns)
        if verdict.kind != "absent":
            self.challenged.hear(host)
        elif request.method == "INVITE":
            self.challenged.ask(host, number_of(request.uri), now_ns)
        if verdict.kind == "passed":
            self.misses.pop(host, None)
            return self._admit_user(verdict.user, host)
        if not self.may_answer(host, now_ns):
            return Admitted("", Refusal(0, f"{host} asks more than {STRANGER_RATE:g} times a second and is not answered"))
        if verdict.kind == "refused" and verdict.is_own_nonce:
            self._count_miss(host, verdict, now_ns)
        headers = server.challenge(host, now_ns, verdict.kind == "stale")
        why = _why_unauthorized(verdict, host, verdict.user in server.users)
        return Admitted("", Refusal(401, why, more_headers=headers, is_expected=verdict.kind != "refused"))

    def _admit_user(self, user: str, host: str) -> Admitted:
        trunk = self.trunk_of_user.get(user, "")
        if trunk in self.with_networks and trunk not in self.trunks_of(host):
            text = f"403: user {user!r} calls from {host}, which is not in allow of trunk {trunk}; add its network there"
            return Admitted("", Refusal(403, text))
        return Admitted(trunk, None, user)

    def _refuse_stranger(self, host: str, now_ns: int) -> Refusal:
        if not self.may_answer(host, now_ns):
            return Refusal(0, f"{host} asks more than {STRANGER_RATE:g} times a second and is not answered")
        return Refusal(403, f"403: {host} is not in sip.allow; add its network there if it is your trunk, or to allow of its [[trunks]]")

    def may_answer(self, host: str, now_ns: int) -> bool:
        """Takes a token of this stranger's."""
        tokens, at_ns = self.budgets.get(host, (STRANGER_BURST, now_ns))
        tokens = min(STRANGER_BURST, tokens + (now_ns - at_ns) * STRANGER_RATE / SECOND)
        if host not in self.budgets and len(self.budgets) >= MAX_KNOWN_HOSTS:
            self.budgets.clear()
        self.budgets[host] = (tokens - 1.0 if tokens >= 1.0 else tokens), now_ns
        return tokens >= 1.0

    def _count_miss(self, host: str, verdict: Verdict, now_ns: int) -> None:
        misses = self.misses.pop(host, None)
        if misses is None or now_ns - misses.since_ns > WRONG_WINDOW_NS:
            misses = Misses(now_ns)
        misses.count += 1
        self.misses[host] = misses
        while len(self.misses) > MAX_KNOWN_HOSTS:
            del self.misses[next(iter(self.misses))]
        if misses.count >= WRONG_LIMIT:
            misses.banned_until_ns, misses.count = now_ns + BAN_NS, 0
            log.warning(
                "banned %s for %d s: %d wrong passwords within %d s, the last one for user %s",
                host, BAN_NS // SECOND, WRONG_LIMIT, WRONG_WINDOW_NS // SECOND, clean(verdict.user, 80),
            )  # fmt: skip


def _left(misses: Misses, now_ns: int) -> int:
    return -(-(misses.banned_until_ns - now_ns) // SECOND)


def _why_unauthorized(verdict: Verdict, host: str, is_known: bool) -> str:
    """For the log: the far end does not learn whether there is such a user."""
    if verdict.kind == "absent":
        return f"401: {host} is asked for a user name and a password; it is in no allow list either"
    if verdict.kind == "stale":
        return f"401: {host} used an old nonce and is asked again"
    user = clean(verdict.user, 80)
    if is_known:
        return f"401: {host} gave a wrong password for user {user!r}; mend it in the phone, or in [[users]]"
    return f"401: {host} calls itself {user!r}, and [[users]] has no such user; mend the user name in the phone, or add it"
