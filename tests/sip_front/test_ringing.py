"""Phones that are rung for a call that comes in, through the whole front in simulated time: who rings, who has it, and who comes next."""

import logging

import msgspec
import pytest

from control_plane.config import Route
from control_plane.messages import HangUp, OpenMedia, Party, SetRoom, StartAgent
from control_plane.secret import Secret
from control_plane.tenant_config import Tenant
from control_plane.trunk_config import Trunk, User
from sip_front.message import Request, Response
from sip_front.registrar import Binding
from sip_front.transport import Address
from tests.sip_front.simulation import CALLER, SECOND, Machine, Network, Phone

DESK, SOFTPHONE, MOBILE, CARRIER = "203.0.113.1", "203.0.113.2", "203.0.113.3", "192.0.2.50"
USERS = tuple(User(name, password=Secret("secret")) for name in ("anna", "bert"))
TRUNKS = (Trunk("carrier", gateways=(CARRIER,), allow_numbers=("+49*",), ping_seconds=0),)
BOTH = Route(phones=("anna", "bert"), ring_seconds=20)
MAILBOX = Route(agent="menu", arguments={"why": "nobody"})


class House:
    """Anna has a desk phone and a softphone, Bert a mobile one."""

    def __init__(self, *routes: Route, registered: bool = True, **more: object) -> None:
        self.network = Network()
        self.machine = Machine(self.network, workers=1, more={"users": USERS, "trunks": TRUNKS, "routes": routes, **more})
        self.caller = Phone(self.network, CALLER)
        self.phones = {host: Phone(self.network, host) for host in (DESK, SOFTPHONE, MOBILE, CARRIER)}
        if registered:
            self.register("anna", DESK, SOFTPHONE)
            self.register("bert", MOBILE)

    def register(self, user: str, *hosts: str) -> None:
        bindings = [
            Binding(f"sip:{user}@{host}:5060", Address(host, 5060), 600 * SECOND, SECOND, 1.0, host.encode(), 1, host, "")
            for host in hosts
        ]
        self.machine.front.phones.registrar.restore(user, bindings, self.network.now_ns)

    def call(self, to: str = "100") -> None:
        self.caller.invite(to=to, run_s=0.2)

    @property
    def rung(self) -> set[str]:
        return {host for host, phone in self.phones.items() if phone.requests("INVITE")}

    def answer(self, host: str, status: int = 200) -> None:
        phone = self.phones[host]
        (invite,) = phone.requests("INVITE")
        phone.respond(invite, status, body=phone.sdp() if status == 200 else "", tag=f"t{host}")

    def cancelled(self, host: str) -> bool:
        return bool(self.phones[host].requests("CANCEL"))

    @property
    def agents(self) -> list[str]:
        return [start.agent for start in self.machine.told(StartAgent)]


def ringing(house: House) -> None:
    """All phones say that they ring, so that they can be cancelled."""
    for phone in house.phones.values():
        for invite in phone.requests("INVITE"):
            phone.respond(invite, 180, "Ringing", tag=f"t{phone.host}")


def test_all_phones_ring_and_the_first_to_answer_has_the_call() -> None:
    house = House(BOTH, MAILBOX)
    house.call()
    assert house.rung == {DESK, SOFTPHONE, MOBILE} and house.caller.statuses() == [100, 180]
    assert "+491" in str(house.phones[DESK].requests("INVITE")[0].from_.uri), "who calls is shown"
    ringing(house)
    house.answer(SOFTPHONE)
    house.network.run(0.3)
    assert house.caller.statuses()[:3] == [100, 180, 200] and house.cancelled(DESK) and house.cancelled(MOBILE)
    house.caller.request("ACK")
    room = [message for _, message in house.machine.said if isinstance(message, SetRoom)][-1]
    call_id, leg_id = (party.call_id for party in room.parties)
    assert room.parties == (Party(call_id), Party(leg_id)) and leg_id.startswith(call_id) and house.agents == []
    assert {message.bridge for _, message in house.machine.said if isinstance(message, OpenMedia)} and house.machine.states.count("UP") == 2


@pytest.mark.parametrize("who", ["caller", "phone"])
def test_when_one_hangs_up_the_other_is_hung_up_too(who: str) -> None:
    house = House(BOTH)
    house.call()
    house.answer(MOBILE)
    house.caller.request("ACK")
    if who == "caller":
        house.caller.request("BYE")
    else:
        invite = house.phones[MOBILE].requests("INVITE")[0]
        house.machine.tell(b"operator", HangUp(next(call_id for call_id in house.machine.front.calls if "." in call_id)))
        assert invite
    house.network.run(0.5)
    other = house.phones[MOBILE] if who == "caller" else house.caller
    assert other.requests("BYE")


def test_nobody_answers_and_the_next_route_takes_the_call(caplog: pytest.LogCaptureFixture) -> None:
    house = House(BOTH, MAILBOX)
    with caplog.at_level(logging.INFO):
        house.call()
        ringing(house)
        house.network.run(19)
        assert house.agents == [] and not house.cancelled(DESK)
        house.network.run(2)
    assert house.agents == ["menu"] and all(house.cancelled(host) for host in (DESK, SOFTPHONE, MOBILE))
    assert [m.status for m in house.caller.got if isinstance(m, Response)][:3] == [100, 180, 200]
    assert "routes[0] rings anna, bert" in caplog.text and "nobody answered within 20 s; the next route" in caplog.text


@pytest.mark.parametrize(("statuses", "final"), [((486, 486, 486), 486), ((486, 603, 480), 480)])
def test_without_another_route_the_caller_hears_why(statuses: tuple[int, int, int], final: int) -> None:
    house = House(BOTH)
    house.call()
    for host, status in zip((DESK, SOFTPHONE, MOBILE), statuses, strict=True):
        assert house.caller.statuses() == [100, 180]
        house.answer(host, status)
    house.network.run(0.2)
    assert house.caller.statuses()[2] == final and f"anna: {statuses[0]}" in house.machine.last_cause


def test_busy_phones_make_room_for_the_next_route_at_once() -> None:
    house = House(Route(phones=("bert",)), Route(phones=("anna",)), Route(refuse=603))
    house.call()
    assert house.rung == {MOBILE}
    house.answer(MOBILE, 486)
    house.network.run(0.2)
    assert house.rung == {MOBILE, DESK, SOFTPHONE} and house.caller.statuses() == [100, 180, 180][: len(house.caller.statuses())]
    for host in (DESK, SOFTPHONE):
        house.answer(host, 603)
    house.network.run(0.2)
    assert house.caller.statuses()[-1] == 603


def test_phones_that_are_not_registered_are_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    house = House(BOTH, MAILBOX, registered=False)
    with caplog.at_level(logging.INFO):
        house.call()
    assert house.agents == ["menu"] and "routes[0]: anna is not registered; bert is not registered; the next route" in caplog.text


def test_a_caller_who_gives_up_stops_the_ringing() -> None:
    house = House(BOTH, MAILBOX)
    house.call()
    ringing(house)
    house.caller.request("CANCEL", branch="call-1-1-INVITE", cseq=1, tag="", run_s=0.3)
    assert 487 in house.caller.statuses() and all(house.cancelled(host) for host in (DESK, SOFTPHONE, MOBILE))
    house.network.run(40)
    assert house.agents == [] and not house.machine.front.ringing.hunts and not house.machine.front.ringing.by_leg


def test_two_that_answer_at_once_one_has_it_and_the_other_is_hung_up() -> None:
    house = House(Route(phones=("anna",)))
    house.call()
    for host in (DESK, SOFTPHONE):
        phone = house.phones[host]
        invite = phone.requests("INVITE")[0]
        head = "".join(f"{n}: {v}\r\n" for n, v in invite.headers.items() if n in ("Via", "From", "Call-ID", "CSeq"))
        to = f"{invite.headers.get('To')};tag=t{host}"
        body = phone.sdp()
        contact = f"Contact: <sip:me@{host}:5060>\r\nContent-Type: application/sdp\r\n"
        phone.send(f"SIP/2.0 200 OK\r\n{head}To: {to}\r\n{contact}Content-Length: {len(body)}\r\n\r\n{body}")
    house.network.run(0.5)
    assert [bool(house.phones[host].requests("BYE")) for host in (DESK, SOFTPHONE)].count(True) == 1
    house.caller.request("ACK")
    assert house.machine.states.count("UP") == 2


def test_a_number_is_called_through_a_trunk_beside_the_phones() -> None:
    house = House(Route(phones=("bert",), via="carrier", number="+49170"), MAILBOX)
    house.call()
    assert house.rung == {MOBILE, CARRIER}
    (invite,) = house.phones[CARRIER].requests("INVITE")
    assert invite.uri == f"sip:+49170@{CARRIER}"
    house.answer(CARRIER)
    house.network.run(0.2)
    assert house.caller.statuses()[-1] == 200 and [call.trunk for call in house.machine.front.calls.values()][-1] == "carrier"


def test_without_a_number_it_is_the_one_that_was_called_and_policy_counts(caplog: pytest.LogCaptureFixture) -> None:
    house = House(Route(via="carrier"), MAILBOX)
    house.call("+4930")
    assert house.phones[CARRIER].requests("INVITE")[0].uri == f"sip:+4930@{CARRIER}"
    other = House(Route(via="carrier"), MAILBOX)
    with caplog.at_level(logging.INFO):
        other.call("+1900")
    assert other.agents == ["menu"] and "403: trunk carrier may not call +1900" in caplog.text


@pytest.mark.parametrize(("answer", "statuses"), [("ready", [100, 180, 200]), ("at once", [100, 180, 200]), ("early", [100, 180, 183])])
def test_the_agent_that_comes_after_phones_answers_as_its_route_says(answer: str, statuses: list[int]) -> None:
    house = House(BOTH, Route(agent="menu", answer=answer), registered=False)  # type: ignore[arg-type]
    house.call()
    assert house.caller.statuses() == statuses and house.agents == ["menu"]


def test_a_phone_of_another_tenant_is_not_rung() -> None:
    users = (User("anna", tenant="globex", password=Secret("secret")), User("bert", tenant="acme", password=Secret("secret")))
    tenants = (Tenant("acme"), Tenant("globex"))
    house = House(Route(phones=("anna", "bert"), tenant="acme"), users=users, tenants=tenants)
    house.call()
    assert house.rung == {MOBILE}


def test_the_call_ends_after_its_minutes() -> None:
    house = House(Route(phones=("bert",), max_minutes=1))
    house.call()
    house.answer(MOBILE)
    house.caller.request("ACK")
    house.network.run(62)
    assert house.caller.requests("BYE") and house.phones[MOBILE].requests("BYE")


def test_another_front_goes_on_with_both() -> None:
    house = House(BOTH)
    house.call()
    house.answer(DESK)
    house.caller.request("ACK")
    house.network.run(0.5)
    house.machine.kill_front()
    house.machine.start_front()
    house.network.run(1)
    assert house.machine.states == ["UP", "UP"] and len(house.machine.front.rooms.rooms) == 1
    house.caller.request("BYE")
    house.network.run(0.5)
    assert house.phones[DESK].requests("BYE") and isinstance(house.phones[DESK].requests("BYE")[0], Request)


def room_of(house: House) -> tuple[Party, ...]:
    return next((message.parties for _, message in reversed(house.machine.said) if isinstance(message, SetRoom)), ())


@pytest.mark.parametrize("meanwhile", ["ringback", "music"])
def test_a_caller_who_is_answered_at_once_hears_ringing_until_somebody_answers(meanwhile: str) -> None:
    house = House(msgspec.structs.replace(BOTH, answer="at once", meanwhile=meanwhile), MAILBOX)
    house.call()
    house.caller.request("ACK")
    assert house.rung == {DESK, SOFTPHONE, MOBILE} and house.caller.statuses() == [100, 200]
    (waiting,) = room_of(house)
    assert waiting.role == meanwhile
    ringing(house)
    house.answer(SOFTPHONE)
    house.network.run(0.3)
    assert [party.role for party in room_of(house)] == ["talk", "talk"] and room_of(house)[0].call_id == waiting.call_id
    assert house.cancelled(DESK) and house.machine.states.count("UP") == 2
    house.caller.request("BYE")
    house.network.run(0.5)
    assert house.phones[SOFTPHONE].requests("BYE") and room_of(house) == ()


@pytest.mark.parametrize("first", ["ready", "at once"])
def test_a_caller_who_was_answered_goes_on_to_the_next_route(first: str) -> None:
    """Phones, other phones, and an agent, which takes the place of the ringing."""
    anna, bert = Route(phones=("anna",), ring_seconds=10, answer=first), Route(phones=("bert",), ring_seconds=10, answer="at once")  # type: ignore[arg-type]
    house = House(anna, bert, MAILBOX)
    house.call()
    house.caller.request("ACK") if first == "at once" else None
    ringing(house)
    house.network.run(10.5)
    assert house.rung == {DESK, SOFTPHONE, MOBILE} and house.caller.statuses()[-1] == 200 and house.agents == []
    house.caller.request("ACK")
    ringing(house)
    house.network.run(8.0)
    assert [party.role for party in room_of(house)] == ["ringback"] and house.agents == []
    house.network.run(2.5)
    assert house.agents == ["menu"] and room_of(house) == () and house.machine.states == ["UP"]


def test_a_caller_who_was_answered_is_hung_up_on_where_nobody_answers() -> None:
    house = House(Route(phones=("bert",), answer="at once"))
    house.call()
    house.caller.request("ACK")
    house.answer(MOBILE, 486)
    house.network.run(0.3)
    assert house.caller.requests("BYE") and "bert: 486" in house.machine.last_cause and room_of(house) == ()


def test_who_waits_for_phones_is_not_left_ringing_for_ever_by_a_front_that_died() -> None:
    house = House(msgspec.structs.replace(BOTH, answer="at once"))
    house.call()
    house.caller.request("ACK")
    house.machine.kill_front()
    house.machine.start_front()
    house.network.run(3)
    assert house.caller.requests("BYE") and "the front was restarted" in house.machine.last_cause
