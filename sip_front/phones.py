"""Calls to the phones that have registered with us: which user is meant, and where its phones are."""

from typing import TYPE_CHECKING
from urllib.parse import unquote

from control_plane.listen_config import listeners
from control_plane.logs import clean
from control_plane.messages import Originate, PhoneFacts
from sip_front.invitation import PEER_FAILURES
from sip_front.registrar import Binding, Registrar
from sip_front.session import Session
from sip_front.uri import BadUri, parse_uri
from sip_front.user_agent import NO_TCP_NS

if TYPE_CHECKING:
    from sip_front.front import Front

PATIENCE_NS = 5_000_000_000  # of a phone that says nothing at all, while the user has another one
ELSEWHERE = (*PEER_FAILURES, 404, 410, 480, 486)  # of one phone: another one of the same user may be there, or free
SCHEME = "user:"


class Phones:
    def __init__(self, front: "Front") -> None:
        self.front = front
        sip = front.config.sip
        self.registrar = Registrar((user.name for user in front.config.users), sip.register_min_seconds, sip.register_max_seconds)
        self.listeners = listeners(sip)
        self.places = {(place.public_address or place.host, place.port) for place in self.listeners}
        if self.registrar.users:
            front.user_agent.registrar = self.registrar

    def learn_address(self, stun: str, address: str) -> None:
        """What that STUN server sees of us is a name of ours, too."""
        self.places |= {(address, place.port) for place in self.listeners if place.stun == stun}

    def name_in(self, to: str) -> str:
        """The user that is called: user:NAME, the name alone, or sip:NAME@ with our realm or one of our places. Empty: no user."""
        if to.lower().startswith(SCHEME):
            return to[len(SCHEME) :]
        if to in self.registrar.users:
            return to
        try:
            uri = parse_uri(to) if to.lower().startswith("sip:") else None
        except BadUri:
            return ""
        if uri is None or unquote(uri.user) not in self.registrar.users:
            return ""
        is_ours = uri.host.lower() == self.front.config.sip.realm.lower() or (uri.host.strip("[]"), uri.port or 5060) in self.places
        return unquote(uri.user) if is_ours else ""

    def originate(self, order: Originate, name: str, now_ns: int) -> str:
        """Returns why not, or nothing."""
        return self.call(order, name, self.registrar.of(name, now_ns), now_ns)

    def call(self, order: Originate, name: str, bindings: list[Binding], now_ns: int) -> str:
        """One call, to the first of them that takes it. Returns why not, or nothing."""
        owner = self._owner_of(name)
        if order.tenant and owner not in ("", order.tenant):
            return f"404: user {clean(name, 80)!r} is not of tenant {order.tenant}"
        if not bindings:
            return self._why_absent(name)
        trunk = self.front.trunks.get(self.front.callers.trunk_of_user.get(name, ""))
        why_full = trunk.limit.why_full() if trunk else ""
        if why_full:
            return why_full
        session = self._session(order, bindings, trunk.name if trunk else "", now_ns)
        return self.front.call_out(order, session, name, session.trunk, order.tenant or owner, now_ns)

    def _owner_of(self, name: str) -> str:
        """The tenant whose user it is."""
        trunk = self.front.trunks.get(self.front.callers.trunk_of_user.get(name, ""))
        return self.front.arrivals.tenant_of_user.get(name, "") or (trunk.config.tenant if trunk else "")

    def _session(self, order: Originate, bindings: list[Binding], trunk: str, now_ns: int) -> Session:
        agent, first = self.front.user_agent, bindings[0]
        session = agent.call(order.call_id, parse_uri(first.contact), list(dict.fromkeys(b.source for b in bindings)), order.caller)
        session.uris = {binding.source: binding.contact for binding in reversed(bindings)}
        session.patience_ns, session.moves_on = PATIENCE_NS, ELSEWHERE
        session.is_behind_nat = True  # whether or not it is: the way that it registered on is the one that is open
        session.trunk = trunk
        session.negotiation = agent.new_negotiation(session.local_host, first.source.host, trunk)
        for binding in bindings:
            if not binding.source.is_reliable:  # nobody else's port leads there
                agent.no_tcp[binding.source.host, binding.source.port] = now_ns + NO_TCP_NS
        return session

    def _why_absent(self, name: str) -> str:
        shown = clean(name, 80)
        if name not in self.registrar.users:
            there_are = ", ".join(sorted(self.registrar.users)[:10]) or "none"
            return f"404: there is no user {shown!r}; [[users]] has {there_are}"
        where = ", ".join(sorted({f"{host}:{port}" for host, port in self.places}))
        return f"480: {shown} is not registered; a phone must log in as {shown}, with the password of [[users]], at {where}"

    def facts(self, now_ns: int) -> tuple[PhoneFacts, ...]:
        return self.registrar.facts(now_ns)
