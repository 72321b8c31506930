"""Where a far end may send a call of ours."""

import pytest

from control_plane.messages import Noted, Originate, Watch
from control_plane.trunk_config import Trunk
from sip_front.message import Request, Response
from sip_front.redirection import contacts
from tests.sip_front.simulation import CALLER, Machine, Network, Phone

ELSEWHERE = "192.0.2.77"


def call(machine: Machine, phone: Phone, to: str = f"sip:1@{CALLER}", **more: str) -> Request:
    machine.tell(b"watcher", Watch())
    machine.tell(b"operator", Originate("out", to, "echo", **more))  # type: ignore[arg-type]
    machine.network.run()
    return phone.requests("INVITE")[-1]


def moved(phone: Phone, invite: Request, *targets: str, status: int = 302) -> None:
    """A 302 whose only contacts are these."""
    head = "".join(f"{name}: {value}\r\n" for name, value in invite.headers.items() if name in ("Via", "From", "Call-ID", "CSeq"))
    lines = "".join(f"Contact: {target}\r\n" for target in targets)
    phone.send(f"SIP/2.0 {status} Moved\r\n{head}To: {invite.headers.get('To')};tag=x\r\n{lines}Content-Length: 0\r\n\r\n")
    phone.network.run()


def test_a_target_at_its_own_host_is_asked(network: Network) -> None:
    machine, phone = Machine(network), Phone(network)
    first = call(machine, phone)
    moved(phone, first, f"<sip:2@{CALLER}>")
    second = phone.requests("INVITE")[-1]
    assert second.uri == f"sip:2@{CALLER}" and second.cseq == (2, "INVITE") and second.call_id == first.call_id
    assert second.from_.tag == first.from_.tag and second.to.tag is None and len(phone.requests("ACK")) == 1
    assert [m.text for m in machine.told(Noted, b"watcher")] == [f"302 Moved: trying sip:2@{CALLER}"]
    phone.respond(second, 200, body=phone.sdp())
    assert machine.states == ["UP"]


def test_the_best_comes_first_and_none_twice(network: Network) -> None:
    machine, phone = Machine(network), Phone(network)
    first = call(machine, phone)
    moved(phone, first, f"<sip:low@{CALLER}>;q=0.1", f"<sip:1@{CALLER}>", f"<sip:high@{CALLER}>;q=0.7")
    assert phone.requests("INVITE")[-1].uri == f"sip:high@{CALLER}"
    moved(phone, phone.requests("INVITE")[-1], f"<sip:1@{CALLER}>", f"<sip:high@{CALLER}>")
    assert machine.states == [] and machine.last_cause.startswith("302 Moved"), "in a circle"


def test_redirections_are_bounded(network: Network) -> None:
    machine, phone = Machine(network), Phone(network)
    invite = call(machine, phone)
    for number in range(9):
        moved(phone, invite, f"<sip:n{number}@{CALLER}>")
        invite = phone.requests("INVITE")[-1]
    assert len({m.uri for m in phone.requests("INVITE")}) == 5 and machine.states == []


def test_another_host_is_not_dialled_unless_it_is_meant(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    machine, phone, other = Machine(network), Phone(network), Phone(network, ELSEWHERE)
    moved(phone, call(machine, phone), f"<sip:2@{ELSEWHERE}>")
    assert machine.states == [] and not other.requests("INVITE")
    assert f"is not followed: sip:2@{ELSEWHERE} is outside of the far end's own host; add a pattern to sip.follow" in caplog.text
    machine = Machine(network, follow=(f"*@{ELSEWHERE}",))
    moved(phone, call(machine, phone), f"<sip:2@{ELSEWHERE};method=BYE?Subject=x>")
    (invite,) = other.requests("INVITE")
    assert invite.uri == f"sip:2@{ELSEWHERE}" and "Subject" not in invite.headers
    other.respond(invite, 200, body=other.sdp())
    assert machine.states == ["UP"]


@pytest.mark.parametrize("target", ["<tel:+900>", "<sip:x@example.com>", "nonsense", "*", "<sips:x@[::1>", "<sip:a@b@c>"])
def test_what_is_no_target(network: Network, target: str) -> None:
    machine, phone = Machine(network, follow=("*",)), Phone(network)
    moved(phone, call(machine, phone), target)
    assert machine.states == []


def test_through_a_trunk_only_numbers_that_it_may_call(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    trunk = Trunk(name="carrier", gateways=(f"sip:{CALLER}",), allow_numbers=("+49*",))
    machine, phone = Machine(network, more={"trunks": (trunk,)}), Phone(network)
    moved(phone, call(machine, phone, "+4930", trunk="carrier"), f"<sip:+900666@{CALLER}>")
    assert machine.states == [] and "trunk carrier may not call +900666" in caplog.text
    machine.tell(b"operator", Originate("two", "+4930", "echo", trunk="carrier"))
    network.run()
    moved(phone, phone.requests("INVITE")[-1], f"<sip:+4940@{CALLER}>")
    assert phone.requests("INVITE")[-1].uri == f"sip:+4940@{CALLER}"


def test_contacts_that_cannot_be_read_are_left_out() -> None:
    response = Response(302, "Moved")
    for value in ("<sip:a@b>;q=0.2", "<sip:c@d>;q=high", "<sip:", "<sip:e@f>"):
        response.headers.add("Contact", value)
    assert [uri.encode() for uri in contacts(response)] == ["sip:e@f", "sip:a@b"]
