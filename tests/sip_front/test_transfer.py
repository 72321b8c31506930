"""Blind and attended transfer: the table row by row, and with a far end that says all that far ends say."""

import pytest

from control_plane.messages import Done, Failed, Noted, Originate, StopAgent, Transfer, TransferEnded, Watch
from sip_front.dialog import Dialog
from sip_front.header import NameAddress
from sip_front.message import Request, Response
from sip_front.transfer import TRANSITIONS, Cause, State, read_sipfrag, replacing, target_uri
from sip_front.uri import BadUri
from tests.sip_front.simulation import CALLER, SERVER, Machine, Network, Phone

OPERATOR, BRIDGE = b"operator", b"bridge-0"
DESK = "sip:desk@198.51.100.9"


@pytest.fixture
def phone(network: Network, machine: Machine) -> Phone:
    phone = Phone(network)
    phone.call()
    return phone


def transfer(machine: Machine, phone: Phone, to: str = DESK, who: bytes = OPERATOR, **more: str) -> Request:
    call_id = next(iter(machine.front.calls))
    machine.tell(who, Transfer(call_id, to, **more))
    machine.network.run()
    return phone.requests("REFER")[-1]


def notify(phone: Phone, fragment: str, state: str = "active;expires=60", event: str = "refer") -> Response:
    headers = f"Event: {event}\r\nSubscription-State: {state}\r\n"
    answer = phone.request("NOTIFY", headers=headers, body=fragment, kind="message/sipfrag;version=2.0")[0]
    assert isinstance(answer, Response)
    return answer


def outcomes(machine: Machine, who: bytes = OPERATOR) -> list[tuple[bool, int, str]]:
    return [(m.was_accepted, m.status, m.why) for m in machine.told(TransferEnded, who)]


def test_every_state_can_be_left_and_reached() -> None:
    assert {state for state, _ in TRANSITIONS} == {State.ASKED, State.ACCEPTED}
    for state in (State.ASKED, State.ACCEPTED):
        for cause in (Cause.SUCCESS, Cause.FAILURE, Cause.BYE):
            assert TRANSITIONS[state, cause][0] is State.OVER and TRANSITIONS[state, cause][1] is not None
    assert all((state is State.OVER) == (has_gone is not None) for state, has_gone in TRANSITIONS.values())


def test_a_transfer_that_is_answered_ends_the_call_with_bye(machine: Machine, phone: Phone, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    machine.tell(b"watcher", Watch())
    refer = transfer(machine, phone)
    assert refer.headers.get("Refer-To") == f"<{DESK}>" and refer.headers.get("Referred-By") == f"<sip:100@{SERVER}>"
    assert machine.told(Done, OPERATOR) and refer.to.tag == "caller" and refer.uri == f"sip:me@{CALLER}:5060"
    phone.respond(refer, 202, "Accepted")
    assert notify(phone, "SIP/2.0 100 Trying\r\n").status == 200
    assert notify(phone, "SIP/2.0 180 Ringing\r\n").status == 200
    assert machine.states == ["UP"] and not outcomes(machine)
    assert notify(phone, "SIP/2.0 200 OK\r\n", "terminated;reason=noresource").status == 200
    assert outcomes(machine) == outcomes(machine, BRIDGE) == [(True, 200, "200 OK")]
    assert len(phone.requests("BYE")) == 1 and machine.last_cause == f"transferred to {DESK} (200 OK)"
    assert [m.text for m in machine.told(Noted, b"watcher") if m.kind == "transfer"] == [
        f"transfer to {DESK}: 100 Trying",
        f"transfer to {DESK}: 180 Ringing",
    ]
    told = [type(m) for to, m in machine.said if to == BRIDGE]
    assert told.index(TransferEnded) < told.index(StopAgent), "the agent hears that it went well before it is stopped"


@pytest.mark.parametrize(("status", "reason"), [(603, "Decline"), (405, "Method Not Allowed"), (500, "Server Error")])
def test_a_refused_transfer_leaves_the_call_up(
    machine: Machine, phone: Phone, status: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    phone.respond(transfer(machine, phone), status, reason)
    assert outcomes(machine, BRIDGE) == [(False, status, f"{status} {reason}")] and machine.states == ["UP"]
    assert f"not transferred to {DESK}: {status} {reason}; the call goes on" in caplog.text
    phone.respond(transfer(machine, phone), 202, "Accepted")
    assert len({request.cseq for request in phone.requests("REFER")}) == 2, "another try is another REFER"


def test_a_target_that_is_busy_leaves_the_call_up(machine: Machine, phone: Phone) -> None:
    phone.respond(transfer(machine, phone), 202, "Accepted")
    notify(phone, "SIP/2.0 486 Busy Here\r\n", "terminated;reason=noresource")
    assert outcomes(machine) == [(False, 486, "486 Busy Here")] and machine.states == ["UP"]
    assert notify(phone, "SIP/2.0 486 Busy Here\r\n").status == 481, "nothing is subscribed any more"


def test_a_notify_may_overtake_the_202(machine: Machine, phone: Phone) -> None:
    refer = transfer(machine, phone)
    notify(phone, "SIP/2.0 100 Trying\r\n")
    phone.respond(refer, 202, "Accepted")
    notify(phone, "SIP/2.0 200 OK\r\n", "terminated")
    assert outcomes(machine) == [(True, 200, "200 OK")]


def test_without_a_subscription_the_202_is_the_outcome(machine: Machine, phone: Phone) -> None:
    phone.respond(transfer(machine, phone), 202, "Accepted", headers="Refer-Sub: false\r\n")
    (outcome,) = outcomes(machine)
    assert outcome[:2] == (True, 202) and len(phone.requests("BYE")) == 1


def test_a_far_end_that_hangs_up_once_it_accepted_has_gone(machine: Machine, phone: Phone) -> None:
    phone.respond(transfer(machine, phone), 202, "Accepted")
    phone.request("BYE")
    assert outcomes(machine, BRIDGE)[0][:2] == (True, 200) and not phone.requests("BYE") and machine.states == []
    assert machine.last_cause.startswith(f"transferred to {DESK}")


def test_a_far_end_that_hangs_up_instead_has_not(machine: Machine, phone: Phone) -> None:
    transfer(machine, phone)
    phone.request("BYE")
    assert outcomes(machine, BRIDGE) == [(False, 487, "the far end hung up instead")] and machine.last_cause == "the far end hung up"


def test_no_answer_to_the_refer(network: Network, machine: Machine, phone: Phone) -> None:
    transfer(machine, phone)
    network.run(33)
    assert outcomes(machine) == [(False, 408, "no answer to our REFER")] and machine.states == ["UP"]


def test_a_far_end_that_never_says_how_it_went(network: Network, machine: Machine, phone: Phone) -> None:
    phone.respond(transfer(machine, phone), 202, "Accepted")
    network.run(170)
    notify(phone, "SIP/2.0 180 Ringing\r\n")
    network.run(170)
    assert not outcomes(machine)
    network.run(11)
    assert outcomes(machine) == [(False, 408, "the far end has not said for 180 s how its call went")] and machine.states == ["UP"]


def test_a_report_that_ends_without_an_outcome(machine: Machine, phone: Phone) -> None:
    phone.respond(transfer(machine, phone), 202, "Accepted")
    notify(phone, "SIP/2.0 100 Trying\r\n", "terminated;reason=giveup")
    assert outcomes(machine)[0][0] is False and "without saying how its call went (last: 100 Trying)" in outcomes(machine)[0][2]


def test_notifies_of_other_events_are_not_ours(machine: Machine, phone: Phone) -> None:
    assert notify(phone, "SIP/2.0 200 OK\r\n").status == 481
    transfer(machine, phone)
    assert notify(phone, "x", event="message-summary").status == 481


def test_one_at_a_time(machine: Machine, phone: Phone) -> None:
    transfer(machine, phone)
    transfer(machine, phone, to="sip:other@198.51.100.9")
    (failed,) = machine.told(Failed, OPERATOR)
    assert failed.why == f"its transfer to {DESK} is under way" and len({r.cseq for r in phone.requests("REFER")}) == 1


def test_an_agent_is_told_of_what_cannot_be_done(machine: Machine, phone: Phone) -> None:
    machine.tell(BRIDGE, Transfer(next(iter(machine.front.calls)), "not a target"))
    (outcome,) = outcomes(machine, BRIDGE)
    assert outcome[:2] == (False, 422) and "neither a SIP URI nor a number" in outcome[2] and not machine.told(Failed)


def test_a_number_is_completed_with_the_far_ends_domain(machine: Machine, phone: Phone) -> None:
    assert transfer(machine, phone, to="+4930123").headers.get("Refer-To") == f"<sip:+4930123@{CALLER}>"


def test_attended_it_joins_both_far_ends(network: Network, machine: Machine, phone: Phone) -> None:
    other = Phone(network, "192.0.2.20")
    machine.tell(OPERATOR, Originate("out", "sip:bob@192.0.2.20", "echo"))
    network.run()
    (invite,) = other.requests("INVITE")
    other.respond(invite, 200, body=other.sdp(), tag="bob")
    refer = transfer(machine, phone, to="", with_call="out")
    replaces = f"{invite.call_id}%3Bto-tag%3Dbob%3Bfrom-tag%3D{invite.from_.tag}".replace("@", "%40")
    assert refer.headers.get("Refer-To") == f"<sip:me@192.0.2.20:5060?Replaces={replaces}>"
    machine.tell(OPERATOR, Transfer(next(iter(machine.front.calls)), "", "nobody"))
    assert "no other call that is up" in machine.told(Failed, OPERATOR)[-1].why


# ---- small parts -----------------------------------------------------------------------------------------------------


def dialog(remote: str = "sip:+491@carrier.example.com") -> Dialog:
    return Dialog("c", NameAddress("", "sip:us@x", {"tag": "1"}), NameAddress("", remote, {"tag": "2"}), remote_target=remote, routes=[])


@pytest.mark.parametrize(
    ("to", "uri"),
    [
        ("sip:bob@x", "sip:bob@x"),
        (" tel:+4930 ", "tel:+4930"),
        ("+4930", "sip:+4930@carrier.example.com"),
        ("*55#", "sip:*55%23@carrier.example.com"),
    ],
)
def test_targets(to: str, uri: str) -> None:
    assert target_uri(to, dialog()) == uri


@pytest.mark.parametrize("to", ["", "a b", "sip:bob@x>;a=<b", "http://x", "sip:a\r\nBcc: b@c", "sip:" + "a" * 2000 + "@x", "é é"])
def test_what_is_no_target(to: str) -> None:
    with pytest.raises(BadUri):
        target_uri(to, dialog())


def test_replaces_is_added_to_what_a_uri_has() -> None:
    assert replacing("sip:a@b?Subject=x", dialog()).startswith("sip:a@b?Subject=x&Replaces=c%3Bto-tag%3D2%3Bfrom-tag%3D1")


@pytest.mark.parametrize(
    ("body", "kind", "found"),
    [
        (b"SIP/2.0 200 OK\r\nContact: <sip:a@b>\r\n", "message/sipfrag;version=2.0", (200, "200 OK")),
        (b"SIP/2.0 503", "message/sipfrag", (503, "503")),
        (b"SIP/2.0 200 OK", "text/plain", (0, "")),
        (b"INVITE sip:a@b SIP/2.0", "message/sipfrag", (0, "")),
        (b"", "message/sipfrag", (0, "")),
    ],
)
def test_fragments(body: bytes, kind: str, found: tuple[int, str]) -> None:
    request = Request("NOTIFY", "sip:a@b", body=body)
    request.headers.add("Content-Type", kind)
    assert read_sipfrag(request) == found
