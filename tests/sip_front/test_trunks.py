"""Trunks at work, in simulated time: calls out with digest, registration, pings, and what is refused."""

import logging
import random
from typing import Any

import pytest

from control_plane.messages import Failed, HoldCall, Originate, Transfer
from control_plane.secret import Secret
from control_plane.trunk_config import Trunk
from sip_front.digest import Server, User
from sip_front.message import Request, Response
from sip_front.registration import State
from sip_front.transport import Address
from tests.sip_front.simulation import Machine, Network, Phone

GATEWAY, OTHER, BACKUP = "203.0.113.10", "203.0.113.20", "203.0.113.30"
SECOND = 1_000_000_000
CARRIER = {
    "name": "carrier",
    "gateways": (GATEWAY,),
    "username": "acct",
    "password": Secret("hush"),
    "allow_numbers": ("+49*",),
    "ping_seconds": 0,
}


def machine_with(network: Network, **settings: Any) -> Machine:
    return Machine(network, more={"trunks": (Trunk(**{**CARRIER, **settings}),)})


class Carrier(Phone):
    """Asks for a password before it does anything but ACK and CANCEL, as carriers do, and says whether it was right."""

    def __init__(self, network: Network, host: str = GATEWAY, password: str = "hush", realm: str = "carrier.example") -> None:
        super().__init__(network, host)
        self.digest = Server(realm, {"acct": User.with_password("acct", realm, password)})
        self.passed: list[Request] = []
        self.answers = {"BYE": 200, "REGISTER": 200, "OPTIONS": 200}

    def receive(self, octets: bytes, source: tuple[str, int]) -> None:
        super().receive(octets, source)
        request = self.got[-1]
        if not isinstance(request, Request) or request.method in ("ACK", "CANCEL"):
            return
        verdict = self.digest.verify(request, source[0], self.network.now_ns)
        if verdict.kind != "passed":
            lines = "".join(f"{n}: {v}\r\n" for n, v in self.digest.challenge(source[0], self.network.now_ns, verdict.kind == "stale"))
            self.later(request, 401, lines)
            return
        self.passed.append(request)
        if request.method == "INVITE":
            self.later(request, 100)
        if request.method in self.answers:
            contact = f"Contact: {request.headers.get('Contact')};expires=100\r\n" if request.method == "REGISTER" else ""
            self.later(request, self.answers[request.method], contact)

    def later(self, request: Request, status: int, headers: str = "") -> None:
        """Like `respond`, without running the network while it delivers."""
        head = "".join(f"{n}: {v}\r\n" for n, v in request.headers.items() if n in ("Via", "From", "Call-ID", "CSeq"))
        to = (request.headers.get("To") or "") + (";tag=carrier" if request.to.tag is None else "")
        self.send(f"SIP/2.0 {status} X\r\n{head}To: {to}\r\n{headers}Content-Length: 0\r\n\r\n")


def call(machine: Machine, to: str = "+4930123", call_id: str = "out-1", **more: Any) -> None:
    machine.tell(b"command", Originate(call_id, to, "echo", **more))
    machine.network.run()


def refusal(machine: Machine) -> str:
    return next(reversed(machine.told(Failed))).why  # type: ignore[no-any-return]


def answer_call(carrier: Carrier) -> Request:
    """Ring and answer the INVITE that passed. Returns it."""
    invite = carrier.passed[-1]
    assert invite.method == "INVITE"
    carrier.respond(invite, 200, body=carrier.sdp())
    return invite


def test_a_call_passes_with_the_password_and_so_does_its_bye(network: Network) -> None:
    machine, carrier = machine_with(network), Carrier(network)
    call(machine)
    invites = carrier.requests("INVITE")
    assert [i.cseq[0] for i in invites] == [1, 2] and len({i.top_via.branch for i in invites}) == 2
    assert len({(i.call_id, i.from_.tag) for i in invites}) == 1 and invites[0].body == invites[1].body
    assert [a.cseq[0] for a in carrier.requests("ACK")] == [1], "the 401 is acknowledged by its own transaction"
    answer_call(carrier)
    assert machine.states == ["UP"] and carrier.requests("ACK")[-1].cseq[0] == 2
    machine.front.hang_up_all("test", network.now_ns)
    machine.pump()
    network.run()
    assert [r.method for r in carrier.passed] == ["INVITE", "BYE"] and len(carrier.requests("BYE")) == 1, "the nonce is used again"
    assert carrier.passed[-1].cseq[0] == 3


def test_a_bye_that_is_challenged_anew_is_sent_again(network: Network) -> None:
    machine, carrier = machine_with(network), Carrier(network)
    call(machine)
    answer_call(carrier)
    carrier.digest.secret = b"restarted"
    machine.front.hang_up_all("test", network.now_ns)
    machine.pump()
    network.run()
    byes = carrier.requests("BYE")
    assert [b.cseq[0] for b in byes] == [3, 4] and carrier.passed[-1].method == "BYE" and machine.front.is_quiet


@pytest.mark.parametrize(
    ("method", "order"), [("INVITE", HoldCall("out-1", True)), ("REFER", Transfer("out-1", "sip:200@203.0.113.10"))]
)
def test_hold_and_transfer_pass_a_challenge_too(network: Network, method: str, order: HoldCall | Transfer) -> None:
    machine, carrier = machine_with(network), Carrier(network)
    call(machine)
    answer_call(carrier)
    carrier.digest.secret = b"restarted"
    before = len(carrier.requests(method))
    machine.tell(b"command", order)
    network.run()
    tries = carrier.requests(method)[before:]
    assert [t.cseq[0] for t in tries] == [3, 4] and carrier.passed[-1].method == method and machine.states == ["UP"]


def test_a_401_that_comes_again_is_acknowledged_again_and_changes_nothing(network: Network) -> None:
    machine, carrier = machine_with(network), Carrier(network)
    call(machine)
    first = carrier.requests("INVITE")[0]
    carrier.later(first, 401, "".join(f"{n}: {v}\r\n" for n, v in carrier.digest.challenge("192.0.2.1", network.now_ns)))
    network.run()
    assert [a.cseq[0] for a in carrier.requests("ACK")] == [1, 1] and len(carrier.requests("INVITE")) == 2


def test_a_wrong_password_ends_the_call_after_one_try_and_says_what_to_look_at(network: Network) -> None:
    machine, carrier = machine_with(network), Carrier(network, password="other")
    call(machine)
    assert len(carrier.requests("INVITE")) == 2 and machine.states == []
    assert machine.last_cause == (
        "401 X from trunk carrier: the user name 'acct' is not known on trunk carrier, or the password is wrong; "
        "carriers want the credential's user name, not the display name"
    )


def test_another_realm_gets_no_credentials(network: Network) -> None:
    machine, carrier = machine_with(network, realm="carrier.example"), Carrier(network, realm="thief.example")
    call(machine)
    assert len(carrier.requests("INVITE")) == 1
    assert "asks in the realm 'thief.example', and credentials are for 'carrier.example' only" in machine.last_cause


def test_without_credentials_a_challenge_says_so(network: Network) -> None:
    machine, _ = machine_with(network, username="", password=Secret()), Carrier(network)
    call(machine)
    assert "the trunk has none; write username and password" in machine.last_cause


def test_a_call_cancelled_while_it_is_challenged_is_not_tried_again(network: Network) -> None:
    machine, carrier = machine_with(network), Carrier(network)
    machine.tell(b"command", Originate("out-1", "+4930123", "echo"))
    network.run_until(lambda: machine.states == ["CALLING"])
    machine.front.hang_up_all("never mind", network.now_ns)
    machine.pump()
    network.run(1)
    assert len(carrier.requests("INVITE")) == 1 and machine.last_cause == "never mind"


def test_the_invite_is_written_as_the_trunk_wants_it(network: Network) -> None:
    settings = {"number_format": "e164", "prefix": "77", "from_user": "acct", "from_domain": "carrier.example"}
    machine = machine_with(network, **settings, caller_header="P-Asserted-Identity", send_headers=("X-Campaign",))
    carrier = Carrier(network)
    call(machine, caller="+49 30 999", headers={"X-Campaign": "autumn"})
    invite = carrier.passed[-1]
    assert invite.uri == f"sip:774930123@{GATEWAY}" and invite.from_.uri == "sip:acct@carrier.example"
    assert invite.headers.get("P-Asserted-Identity") == "<sip:+4930999@carrier.example>"
    assert invite.headers.get("X-Campaign") == "autumn"


@pytest.mark.parametrize(
    ("order", "why"),
    [
        ({"to": "+900123"}, "403: no trunk may call +900123"),
        ({"to": "+900123", "trunk": "carrier"}, "403: trunk carrier may not call +900123: allow_numbers has +49*"),
        ({"to": "sip:+900123@203.0.113.10", "trunk": "carrier"}, "403: trunk carrier may not call +900123"),
        ({"trunk": "carier"}, "there is no trunk 'carier'; the configuration has carrier"),
        ({"headers": {"Route": "<sip:x>"}}, "not among send_headers"),
    ],
)
def test_what_no_rule_allows_is_not_called_and_the_log_says_so(
    network: Network, caplog: pytest.LogCaptureFixture, order: dict[str, Any], why: str
) -> None:
    machine, carrier = machine_with(network), Carrier(network)
    with caplog.at_level(logging.WARNING):
        call(machine, **order)
    assert why in refusal(machine) and why in caplog.text and carrier.got == []


@pytest.mark.parametrize(
    ("srtp", "profile", "has_keys"), [("off", "RTP/AVP", False), ("preferred", "RTP/AVP", True), ("required", "RTP/SAVP", True)]
)
def test_the_trunk_says_whether_its_calls_are_protected(network: Network, srtp: str, profile: str, has_keys: bool) -> None:
    machine, carrier = machine_with(network, srtp=srtp), Carrier(network)
    call(machine)
    body = carrier.passed[-1].body
    assert f" {profile} 0 ".encode() in body and (b"a=crypto:1 " in body) == has_keys


def test_calls_of_a_trunk_are_counted_both_ways(network: Network) -> None:
    machine, carrier = machine_with(network, max_calls=1), Carrier(network)
    call(machine)
    answer_call(carrier)
    call(machine, call_id="out-2")
    assert "its max_calls" in refusal(machine)
    assert [(facts.calls, facts.max_calls) for facts in machine.front.trunks.facts(network.now_ns)] == [(1, 1)]


# ---- another gateway ------------------------------------------------------------------------------------------------


def test_a_gateway_that_is_silent_is_left_for_the_next_after_the_time_given(network: Network) -> None:
    machine = machine_with(network, gateways=(GATEWAY, OTHER), answer_seconds=3.0)
    other = Carrier(network, OTHER)
    call(machine)
    network.run(2.5)
    assert other.got == []
    network.run(1)
    assert {i.uri for i in other.requests("INVITE")} == {f"sip:+4930123@{OTHER}"} and len(other.passed) == 1
    answer_call(other)
    assert machine.states == ["UP"]


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_a_gateway_that_fails_is_left_for_the_next_at_once(network: Network, status: int) -> None:
    machine = machine_with(network, gateways=(GATEWAY, OTHER))
    first, other = Carrier(network), Carrier(network, OTHER)
    first.answers["INVITE"] = status
    call(machine)
    assert len(first.passed) == 1 and other.passed[-1].uri == f"sip:+4930123@{OTHER}"
    assert f'uri="sip:+4930123@{OTHER}"' in (other.passed[-1].headers.get("Authorization") or "")


def test_calls_are_shared_by_weight_and_each_one_that_fails_goes_on_to_the_backup(network: Network) -> None:
    machine = machine_with(network, gateways=(f"{BACKUP};priority=2", f"{GATEWAY};weight=70", f"{OTHER};weight=30"))
    machine.front.trunks.by_name["carrier"].chance = random.Random(4)
    carriers = {host: Carrier(network, host) for host in (GATEWAY, OTHER, BACKUP)}
    for carrier in carriers.values():
        carrier.answers["INVITE"] = 503
    tried: list[tuple[str, ...]] = []
    for n in range(60):
        call(machine, call_id=f"out-{n}")
        at = {host: machine.datagrams.index(next(d for d in machine.datagrams if d[1].host == host)) for host in carriers}
        tried.append(tuple(sorted(at, key=lambda host: at[host])))
        machine.datagrams.clear()
    assert {order[2] for order in tried} == {BACKUP} and 30 <= sum(order[0] == GATEWAY for order in tried) <= 52
    assert [len(carrier.passed) for carrier in carriers.values()] == [60, 60, 60]


@pytest.mark.parametrize("status", [404, 486, 603])
def test_what_is_wrong_with_the_number_is_not_tried_elsewhere(network: Network, status: int) -> None:
    machine = machine_with(network, gateways=(GATEWAY, OTHER))
    first, other = Carrier(network), Carrier(network, OTHER)
    first.answers["INVITE"] = status
    call(machine)
    assert machine.states == [] and other.got == [] and machine.last_cause.startswith(f"{status} X from trunk carrier")


def test_when_all_gateways_fail_the_last_failure_is_the_cause(network: Network) -> None:
    machine = machine_with(network, gateways=(GATEWAY, OTHER))
    for host in (GATEWAY, OTHER):
        Carrier(network, host).answers["INVITE"] = 503
    call(machine)
    assert machine.states == [] and "503 X from trunk carrier: the carrier is overloaded" in machine.last_cause


def test_a_slow_gateway_that_answers_after_all_is_hung_up(network: Network) -> None:
    machine = machine_with(network, gateways=(GATEWAY, OTHER), answer_seconds=3.0, username="", password=Secret())
    slow, other = Phone(network, GATEWAY), Phone(network, OTHER)
    call(machine)
    network.run(4)
    other.respond(other.requests("INVITE")[0], 200, body=other.sdp())
    slow.respond(slow.requests("INVITE")[0], 200, body=slow.sdp(), tag="late")
    assert machine.states == ["UP"] and not other.requests("BYE")
    assert len(slow.requests("ACK")) == 1 and len(slow.requests("BYE")) == 1


def test_the_ack_of_an_answer_carries_the_credentials_of_its_invite(network: Network) -> None:
    machine, carrier = machine_with(network), Carrier(network)
    call(machine)
    invite = answer_call(carrier)
    assert machine.states == ["UP"] and carrier.requests("ACK")[-1].headers.get("Authorization") == invite.headers.get("Authorization")


# ---- registration ---------------------------------------------------------------------------------------------------


def test_a_trunk_registers_with_its_password_and_refreshes(network: Network) -> None:
    machine, carrier = machine_with(network, register=True), Carrier(network)
    network.run(2)
    first = carrier.passed[0]
    assert first.method == "REGISTER" and first.uri == f"sip:{GATEWAY}" and first.to.uri == f"sip:acct@{GATEWAY}"
    assert first.contact is not None and first.contact.uri == "sip:acct@192.0.2.1:5060"
    facts = machine.front.trunks.facts(network.now_ns)[0]
    assert facts.registration == "registered" and 95 <= facts.registered_s <= 100
    network.run(95)
    registers = carrier.passed
    assert len(registers) == 2 and len({r.call_id for r in registers}) == 1
    numbers = [r.cseq[0] for r in carrier.requests("REGISTER")]
    assert numbers == sorted(set(numbers)), "a number is never used twice"


def test_a_registrar_may_call_without_more(network: Network) -> None:
    machine, carrier = machine_with(network, register=True), Carrier(network)
    network.run(2)
    carrier.invite(to="100")
    assert carrier.statuses()[-3:] == [100, 180, 200]
    assert [c.trunk for c in machine.front.calls.values()] == ["carrier"]


def test_a_wrong_password_is_not_tried_again_at_once_and_is_explained(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        machine, carrier = machine_with(network, register=True), Carrier(network, password="other")
        network.run(25)
    assert len(carrier.requests("REGISTER")) == 2
    assert caplog.text.count("carriers want the credential's user name, not the display name") == 1
    assert machine.front.trunks.facts(network.now_ns)[0].registration == "waiting"


def test_a_registrar_that_restarts_is_found_again(network: Network) -> None:
    machine, carrier = machine_with(network, register=True), Carrier(network)
    network.run(2)
    del network.hosts[GATEWAY]
    registration = machine.front.trunks.registrations["carrier"]
    assert network.run_until(lambda: registration.state is State.WAITING, 200)
    network.hosts[GATEWAY] = carrier
    assert network.run_until(lambda: registration.state is State.REGISTERED, 400)


def test_draining_takes_the_registration_away(network: Network) -> None:
    machine, carrier = machine_with(network, register=True), Carrier(network)
    network.run(2)
    machine.front.drain(network.now_ns)
    machine.pump()
    network.run(1)
    assert carrier.passed[-1].headers.get("Expires") == "0"
    assert machine.front.trunks.registrations["carrier"].state is State.GONE
    network.run(300)
    assert carrier.passed[-1].headers.get("Expires") == "0"


# ---- pings ----------------------------------------------------------------------------------------------------------


def test_a_gateway_that_is_silent_is_down_and_tried_last_until_it_answers(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    machine = machine_with(network, gateways=(GATEWAY, OTHER), ping_seconds=30)
    first, _ = Carrier(network), Carrier(network, OTHER)
    del network.hosts[GATEWAY]
    with caplog.at_level(logging.WARNING):
        network.run(40)
    trunk = machine.front.trunks.by_name["carrier"]
    assert [gateway.name for gateway in trunk.candidates()] == [OTHER, GATEWAY]
    assert caplog.text.count(f"gateway {GATEWAY} is down: no answer") == 1
    network.hosts[GATEWAY] = first
    network.run(60)
    assert [gateway.name for gateway in trunk.candidates()] == [GATEWAY, OTHER]
    assert machine.front.trunks.facts(network.now_ns)[0].gateways == {GATEWAY: "up", OTHER: "up"}


def test_a_gateway_that_refuses_options_is_there(network: Network) -> None:
    machine, carrier = machine_with(network, ping_seconds=30), Carrier(network)
    carrier.answers["OPTIONS"] = 405
    network.run(40)
    assert not machine.front.trunks.by_name["carrier"].gateways[0].is_down
    carrier.answers["OPTIONS"] = 503
    network.run(40)
    assert machine.front.trunks.by_name["carrier"].gateways[0].is_down


# ---- names ----------------------------------------------------------------------------------------------------------


def test_a_name_is_looked_up_and_kept_when_it_is_found_no_more(network: Network) -> None:
    machine = machine_with(network, gateways=("sip.carrier.example",))
    trunks = machine.front.trunks
    gateway = trunks.take_lookups(network.now_ns)[0]
    assert trunks.take_lookups(network.now_ns) == [], "one question at a time"
    call(machine)
    assert "no gateway of trunk carrier has an address yet" in refusal(machine)
    trunks.resolved(gateway, [Address(GATEWAY, 5060)], "", network.now_ns)
    carrier = Carrier(network)
    call(machine, call_id="out-2")
    assert carrier.passed[-1].uri == "sip:+4930123@sip.carrier.example"
    network.run(70)
    again = trunks.take_lookups(network.now_ns)
    trunks.resolved(again[0], [], "timed out", network.now_ns)
    assert trunks.addresses[gateway] == [Address(GATEWAY, 5060)]


def test_everything_goes_through_the_outbound_proxy(network: Network) -> None:
    machine = machine_with(network, gateways=("sip.carrier.example",), outbound_proxy=OTHER)
    proxy = Carrier(network, OTHER)
    call(machine)
    invite = proxy.passed[-1]
    assert invite.uri == "sip:+4930123@sip.carrier.example" and invite.headers.get_all("Route") == [f"<sip:{OTHER};lr>"]


def test_responses_are_not_taken_for_something_else(network: Network) -> None:
    machine, carrier = machine_with(network, register=True, ping_seconds=5), Carrier(network)
    network.run(30)
    assert {m.method for m in carrier.got if isinstance(m, Request)} == {"REGISTER", "OPTIONS"}
    assert not any(isinstance(m, Response) for m in carrier.got) and machine.states == []
