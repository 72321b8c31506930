"""All trunks of the configuration at work: registered, asked whether they are there, and chosen for calls that go out.

No I/O: requests go through the user agent, and names are resolved by the process (`take_lookups`, `resolved`).
"""

import logging
import secrets
from typing import NamedTuple

from control_plane import trunk_config
from control_plane.logs import clean
from control_plane.messages import Originate, TrunkFacts
from sip_front.message import Headers, Request, Response
from sip_front.registration import Cause, Order, Registration
from sip_front.registration import State as RegistrationState
from sip_front.session import Session
from sip_front.session_state import State
from sip_front.transport import Address, address_of
from sip_front.trunk import ADDRESS_LIFE_NS, Caller, Gateway, Trunk, explain, user_part
from sip_front.uri import BadUri, Uri, parse_uri
from sip_front.user_agent import UserAgent

log = logging.getLogger("trunks")
SECOND = 1_000_000_000
QUICK_LOOKUP_NS = 5 * SECOND  # while a name has no address at all


class Leg(NamedTuple):
    """One way that a call may take: what its INVITE asks for, and where it goes."""

    uri: Uri
    destination: Address
    gateway: Gateway


class Plan(NamedTuple):
    """How a call goes out: the ways in the order in which they are tried, one at least."""

    trunk: Trunk
    number: str
    legs: list[Leg]
    caller: Caller
    headers: dict[str, str]


class Trunks:
    def __init__(self, configs: tuple[trunk_config.Trunk, ...], agent: UserAgent, now_ns: int) -> None:
        """Raises ConfigurationError for a password that cannot be read."""
        self.agent = agent
        self.by_name = {config.name: Trunk(config) for config in configs}
        self.registrations = {
            trunk.name: Registration(trunk.name, len(trunk.gateways), trunk.config.register_seconds)
            for trunk in self.by_name.values()
            if trunk.config.register
        }
        self.call_ids = {name: secrets.token_hex(16) for name in self.registrations}
        self.cseqs = dict.fromkeys(self.registrations, 0)
        self.addresses: dict[Gateway, list[Address]] = {}
        self.looking_up: set[Gateway] = set()
        for trunk in self.by_name.values():
            for gateway in trunk.hops:
                address = address_of(parse_uri(gateway.gateway.uri()))
                gateway.asked_ns = now_ns
                if address:
                    self.addresses[gateway] = [address]

    def get(self, name: str) -> Trunk | None:
        return self.by_name.get(name)

    # ---- names -----------------------------------------------------------------------------------------------------

    def take_lookups(self, now_ns: int) -> list[Gateway]:
        """Those whose names should be looked up now. `resolved` is told for each."""
        found = [
            gateway
            for trunk in self.by_name.values()
            for gateway in trunk.hops
            if gateway.is_named and gateway not in self.looking_up and now_ns >= gateway.asked_ns
        ]
        self.looking_up.update(found)
        return found

    def resolved(self, gateway: Gateway, addresses: list[Address], why: str, now_ns: int) -> None:
        """`addresses` in the order in which they are tried; empty: `why` not, and the old ones stay."""
        self.looking_up.discard(gateway)
        if addresses:
            self.addresses[gateway] = addresses
        elif not gateway.why:
            trunk = next((trunk.name for trunk in self.by_name.values() if gateway in trunk.hops), "")
            log.warning("trunk %s: gateway %s cannot be called: %s", trunk, gateway.name, clean(why, 200))
        gateway.why = "" if addresses or self.addresses.get(gateway) else "its name has no address"
        gateway.asked_ns = now_ns + (ADDRESS_LIFE_NS if addresses else QUICK_LOOKUP_NS)

    def destination(self, trunk: Trunk, gateway: Gateway) -> Address | None:
        found = self.addresses.get(trunk.proxy or gateway)
        return found[0] if found else None

    # ---- calls that go out -----------------------------------------------------------------------------------------

    def plan(self, order: Originate, now_ns: int) -> Plan | str:
        """Or why not, with the remedy. For an order that names a trunk, or a number without one."""
        number = number_in(order.to)
        if not number:
            return f"cannot call {clean(order.to, 80)!r}: it is neither a SIP URI nor a number"
        trunk = self._choose(order.trunk, number, order.tenant)
        if isinstance(trunk, str):
            return trunk
        why_not = trunk.why_not_headers(order.headers) or trunk.why_not(number, now_ns)
        if why_not:
            return why_not
        legs = [leg for gateway in trunk.candidates() for leg in self._legs(trunk, gateway, number)]
        if not legs:
            return f"503: no gateway of trunk {trunk.name} has an address yet; look at its spelling and at DNS"
        return Plan(trunk, number, legs, trunk.identity(order.caller, legs[0].gateway.gateway.host), order.headers)

    def prepare(self, session: Session, plan: Plan) -> None:
        """Write into its INVITE what this trunk wants to read."""
        headers = session.invite.headers
        session.trunk, session.credentials = plan.trunk.name, plan.trunk.client
        session.uris = {leg.destination: leg.uri.encode() for leg in reversed(plan.legs)}
        session.patience_ns = round(plan.trunk.config.answer_seconds * SECOND)
        session.negotiation.formats = plan.trunk.config.formats or session.negotiation.formats
        session.negotiation.srtp = plan.trunk.config.srtp or session.negotiation.srtp
        session.is_offer_delayed = plan.trunk.config.delayed_offer
        headers.set("From", f"{plan.caller.from_value};tag={session.local_tag}")
        if plan.trunk.proxy:
            headers.add("Route", f"<{plan.trunk.proxy.gateway.uri()};lr>")
        for name, value in (*plan.caller.headers, *plan.headers.items()):
            headers.add(name, value)

    def _choose(self, name: str, number: str, tenant: str) -> Trunk | str:
        """`tenant`: for whom; its own trunks, and those that are nobody's."""
        found = {trunk.name: trunk for trunk in self.by_name.values() if not tenant or trunk.config.tenant in ("", tenant)}
        if name:
            there_are = ", ".join(found) or "none"
            return found.get(name) or f"there is no trunk {clean(name, 80)!r}; the configuration has {there_are}"
        for trunk in found.values():
            if trunk.gateways and trunk.may_call(number):
                return trunk
        if not found:
            return f"cannot call {clean(number, 80)}: a number needs one of [[trunks]], and there is none; or call a sip: URI"
        return f"403: no trunk may call {clean(number, 80)}: no allow_numbers of any [[trunks]] has a pattern that fits"

    def _legs(self, trunk: Trunk, gateway: Gateway, number: str) -> list[Leg]:
        uri = parse_uri(gateway.gateway.uri(trunk.written(number)))
        return [Leg(uri, address, gateway) for address in self.addresses.get(trunk.proxy or gateway, [])]

    # ---- time ------------------------------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> None:
        """Once a second is enough."""
        for name, registration in self.registrations.items():
            trunk = self.by_name[name]
            if registration.state is RegistrationState.IDLE and any(self.destination(trunk, gateway) for gateway in trunk.gateways):
                registration.step(Cause.START, now_ns)
            registration.expire(now_ns)
            self._send_registers(trunk, registration, now_ns)
        for trunk in self.by_name.values():
            for gateway in trunk.gateways:
                if trunk.config.ping_seconds and not gateway.pinged and now_ns >= gateway.ping_ns:
                    self._ping(trunk, gateway, now_ns)

    def renew(self, now_ns: int) -> None:
        """Every registration, now: our address is another one."""
        for registration in self.registrations.values():
            registration.renew(now_ns)

    def leave(self, now_ns: int) -> None:
        """Take our registrations away: new calls go elsewhere."""
        for name, registration in self.registrations.items():
            registration.step(Cause.LEAVE, now_ns)
            self._send_registers(self.by_name[name], registration, now_ns)

    def _ping(self, trunk: Trunk, gateway: Gateway, now_ns: int) -> None:
        destination = self.destination(trunk, gateway)
        if destination is None:
            return
        session = self._errand(trunk, destination)
        uri = gateway.gateway.uri()
        request = self._request("OPTIONS", uri, f"<{uri}>", trunk.identity("", gateway.gateway.host).from_value, session)
        request.headers.add("Accept", "application/sdp")

        def on_response(response: Response | None, at_ns: int) -> None:
            if response is None or response.status >= 200:
                gateway.pinged, gateway.ping_ns = False, at_ns + trunk.config.ping_seconds * SECOND
                self._note_ping(trunk, gateway, response, session.transport_failure)

        gateway.pinged = True
        self.agent.request(request, destination, session, on_response, now_ns)

    def _note_ping(self, trunk: Trunk, gateway: Gateway, response: Response | None, failure: str) -> None:
        """Whatever it answers, it is there; 503 says that it wants no calls now (RFC 3261 21.5.4)."""
        was_down = gateway.is_down
        gateway.is_down = response is None or response.status == 503
        gateway.why = "" if not gateway.is_down else failure or ("no answer" if response is None else f"503 {clean(response.reason, 80)}")
        if gateway.is_down and not was_down:
            text = "trunk %s: gateway %s is down: %s; it is tried last until it answers OPTIONS"
            log.warning(text, trunk.name, gateway.name, gateway.why)
        elif was_down and not gateway.is_down:
            log.info("trunk %s: gateway %s is up again", trunk.name, gateway.name)

    # ---- registrations ---------------------------------------------------------------------------------------------

    def _send_registers(self, trunk: Trunk, registration: Registration, now_ns: int) -> None:
        orders = registration.take_outbox()
        while orders:
            for order in orders:
                self._register(trunk, registration, order, now_ns)
            orders = registration.take_outbox()

    def _register(self, trunk: Trunk, registration: Registration, order: Order, now_ns: int) -> None:
        gateway = trunk.gateways[order.gateway]
        destination = self.destination(trunk, gateway)
        if destination is None:
            registration.receive(None, "", now_ns, f"gateway {gateway.name} has no address")
            return
        session = self._errand(trunk, destination)
        user = user_part(trunk.config.from_user or trunk.config.username)
        domain = trunk.config.from_domain or gateway.gateway.host
        uri = f"sip:{domain}" if trunk.config.from_domain else gateway.gateway.uri()
        contact = self.agent.contact(destination, user)
        who = f"<sip:{user}@{domain}>"
        request = self._request("REGISTER", uri, who, who, session)
        request.headers.set("Call-ID", self.call_ids[trunk.name])
        request.headers.set("CSeq", f"{self._next_cseq(trunk.name)} REGISTER")
        request.headers.add("Contact", contact)
        request.headers.add("Expires", str(order.expires_s))

        def on_response(response: Response | None, at_ns: int) -> None:
            if response is not None and response.status < 200:
                return
            self.cseqs[trunk.name] = max(self.cseqs[trunk.name], session.invite.cseq[0])  # a challenge took numbers
            why = session.transport_failure
            if response is not None and response.status in (401, 407):
                why = explain(trunk.name, response.status, response.reason, session.why_unauthorized)
            self._note_registration(trunk, registration, response, contact.strip("<>"), why, at_ns)

        self.agent.request(request, destination, session, on_response, now_ns)

    def _note_registration(
        self, trunk: Trunk, registration: Registration, response: Response | None, contact: str, why: str, now_ns: int
    ) -> None:  # fmt: skip
        was_known, before = registration.is_known(now_ns), registration.why
        registration.receive(response, contact, now_ns, why)
        if registration.state is RegistrationState.REGISTERED and (before or not was_known):
            gateway = trunk.gateways[registration.gateway].name
            log.info("trunk %s is registered at %s for %d s", trunk.name, gateway, registration.given_s)
        elif registration.why and registration.why != before:
            log.warning("trunk %s is not registered: %s", trunk.name, registration.why)
        self._send_registers(trunk, registration, now_ns)

    def _next_cseq(self, name: str) -> int:
        """RFC 3261 10.2: one Call-ID for all registrations of ours there, and a number that only grows."""
        self.cseqs[name] += 1
        return self.cseqs[name]

    # ---- requests outside of calls ---------------------------------------------------------------------------------

    def _errand(self, trunk: Trunk, destination: Address) -> Session:
        """What a request of ours belongs to that is no call: it has credentials and a peer, and nobody finds it by a dialog."""
        session = Session(self.agent, "", State.ENDED, self.agent.place_towards(destination).host, destination)
        session.trunk, session.credentials = trunk.name, trunk.client
        return session

    def _request(self, method: str, uri: str, to: str, from_value: str, session: Session) -> Request:
        request = Request(method, uri, Headers())
        request.headers.lines.append(("Via", self.agent.new_via(session.peer)))
        proxy = self.by_name[session.trunk].proxy
        if proxy:
            request.headers.lines.append(("Route", f"<{proxy.gateway.uri()};lr>"))
        request.headers.lines += [
            ("Max-Forwards", "70"),
            ("From", f"{from_value};tag={secrets.token_hex(6)}"),
            ("To", to),
            ("Call-ID", secrets.token_hex(12)),
            ("CSeq", f"1 {method}"),
        ]
        session.invite = request  # what a challenge is answered for
        return request

    # ---- for people ------------------------------------------------------------------------------------------------

    def facts(self, now_ns: int, spent: dict[str, float] | None = None) -> tuple[TrunkFacts, ...]:
        """`spent`: today, by whom (toll_guard.py)."""
        return tuple(self._facts(trunk, now_ns, (spent or {}).get(f"trunk {trunk.name}", 0.0)) for trunk in self.by_name.values())

    def _facts(self, trunk: Trunk, now_ns: int, spent: float) -> TrunkFacts:
        registration = self.registrations.get(trunk.name)
        return TrunkFacts(
            name=trunk.name,
            calls=len(trunk.limit.calls),
            max_calls=trunk.config.max_calls,
            registration=registration.state.name.lower() if registration else "",
            registered_s=max(0, (registration.expires_ns - now_ns) // SECOND) if registration and registration.is_known(now_ns) else 0,
            why=clean(registration.why, 300) if registration else "",
            spent_today=spent,
            max_spend_per_day=trunk.config.max_spend_per_day,
            gateways={gateway.name: f"down: {gateway.why}" if gateway.is_down else gateway.why or "up" for gateway in trunk.gateways},
        )


def number_in(to: str) -> str:
    """The number, of a URI or as it stands. Empty: there is none."""
    if not to.lower().startswith(("sip:", "sips:", "tel:")):
        return to.strip()
    try:
        return parse_uri(to).number
    except BadUri:
        return ""
