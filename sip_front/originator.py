"""Calls that we make: an order becomes a call to a phone that is logged in, through a trunk, or straight to a URI."""

import logging
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from control_plane.logs import clean
from control_plane.messages import CallFacts, Failed, Originate
from sip_front.transport import TRANSPORTS, Address, address_of, transport_of
from sip_front.trunks import Plan
from sip_front.uri import BadUri, Uri, number_of, parse_uri

if TYPE_CHECKING:
    from sip_front.front import Front

log = logging.getLogger("front")
DRAINING = "this server is draining and makes no new calls"
MAX_CALL_ID = 40  # octets that a row in shared memory has for it


class Lookup(NamedTuple):
    """A name to be resolved for a call that we make. The process answers with `Originator.dial_out`."""

    identity: bytes
    order: Originate
    uri: Uri


class Originator:
    def __init__(self, front: "Front") -> None:
        self.front = front
        self.lookups: list[Lookup] = []
        self.resolving: dict[str, CallFacts] = {}
        """Calls whose name is being looked up: the same order again is the same call."""

    def take_lookups(self) -> list[Lookup]:
        lookups, self.lookups = self.lookups, []
        return lookups

    def originate(self, identity: bytes, order: Originate, now_ns: int) -> str:
        """Returns why not, or nothing. The same order again is the same call."""
        if order.call_id in self.front.calls or order.call_id in self.front.ended or order.call_id in self.resolving:
            return ""
        if not 0 < len(order.call_id) <= MAX_CALL_ID or not all("!" <= c <= "~" for c in order.call_id):
            return f"cannot call as {clean(order.call_id, 80)!r}: an id has 1 to {MAX_CALL_ID} printable ASCII characters and no space"
        if not order.agent and not order.beside:
            return f"who is to talk to {clean(order.to, 80)}? Name an agent, or with beside the call that it is to be joined with"
        why_not_agent = self.front.staff.why_not_agent(order.agent)
        if why_not_agent:
            return why_not_agent
        if self.front.admission.is_draining:
            return DRAINING
        if order.tenant and order.tenant not in self.front.tenants:
            return f"there is no tenant {clean(order.tenant, 80)!r}; [[tenants]] of the configuration has others"
        user = "" if order.trunk else self.front.phones.name_in(order.to)
        if user:
            return self.front.phones.originate(order, user, now_ns)
        if order.trunk or not is_direct(order.to):
            return self._originate_by_trunk(order, now_ns)
        try:
            uri = parse_uri(order.to)
        except BadUri as failure:
            return f"cannot call {clean(order.to, 80)}: {failure}"
        if uri.scheme == "tel" or transport_of(uri) is None:
            return f"cannot call {clean(order.to, 80)}: it asks for a transport that we do not speak; there are {', '.join(TRANSPORTS)}"
        address = address_of(uri)
        if address is None:
            self.lookups.append(Lookup(identity, order, uri))
            self.resolving[order.call_id] = facts_of(order, time.time())
            return ""
        return self.dial_out(order, uri, [address], now_ns)

    def _originate_by_trunk(self, order: Originate, now_ns: int) -> str:
        plan = self._plan(order, now_ns)
        if isinstance(plan, str):
            if self.front.admission.is_worth_a_line(f"trunk {order.trunk}", plan[:3], now_ns):
                log.warning("not calling out: %s", plan, extra={"call_id": order.call_id})
            return plan
        session = self.front.user_agent.call(order.call_id, plan.legs[0].uri, [leg.destination for leg in plan.legs], "")
        self.front.trunks.prepare(session, plan)
        tenant, number = order.tenant or plan.trunk.config.tenant, plan.trunk.complete(plan.number)
        why_not = self.front.call_out(order, session, plan.number, plan.trunk.name, tenant, now_ns)
        if not why_not:
            self.front.toll_guard.begin(order.call_id, plan.trunk, tenant, number, now_ns, time.time())
        return why_not

    def _plan(self, order: Originate, now_ns: int) -> Plan | str:
        """How it goes out, or why it does not."""
        plan = self.front.trunks.plan(order, now_ns)
        if isinstance(plan, str):
            return plan
        tenant, number = order.tenant or plan.trunk.config.tenant, plan.trunk.complete(plan.number)
        return self.front.toll_guard.why_not(plan.trunk, tenant, number, now_ns, time.time()) or plan

    def dial_out(self, order: Originate, uri: Uri, addresses: list[Address], now_ns: int) -> str:
        """`addresses`: one at least; the others are tried in their order if it cannot be reached."""
        self.resolving.pop(order.call_id, None)
        if self.front.admission.is_draining:
            return DRAINING
        session = self.front.user_agent.call(order.call_id, uri, addresses, order.caller)
        return self.front.call_out(order, session, uri.number or uri.host, "", order.tenant, now_ns)

    def fail_order(self, lookup: Lookup, why: str) -> None:
        """It was taken, and cannot be carried out: who asked is told, and so is whoever looks at the call."""
        order, now = lookup.order, time.time()
        begun = self.resolving.pop(order.call_id, facts_of(order, now))
        self.front.messages.append((lookup.identity, Failed(why, 422, order.call_id)))
        failed = msgspec.structs.replace(begun, state="ended", cause=clean(why, 300), outcome="failed", ended_at=now)
        self.front.remember(failed)
        self.front.operators.show_call(failed)
        self.front.connecting.fail(failed, time.monotonic_ns())


def facts_of(order: Originate, now: float) -> CallFacts:
    """Of a call whose name is being looked up."""
    return CallFacts(order.call_id, "preparing", "outbound", clean(order.caller, 80), number_of(order.to), order.agent, now, 0.0)


def is_direct(to: str) -> bool:
    """A SIP URI names its host itself; a number, also as tel:, needs a trunk."""
    return to.lower().startswith(("sip:", "sips:"))
