"""The core as a phone sees it, in simulated time."""

import gc
import logging
import weakref

import pytest

from control_plane.messages import Originate, UpdateMedia
from sip_front.message import Request, Response, parse
from sip_front.reception import mark_received
from sip_front.transport import Address
from sip_front.uri import parse_uri
from sip_front.user_agent import summarize
from tests.sip_front.simulation import CALLER, SERVER, Machine, Network, Phone


def only(messages: list[Request | Response]) -> Response:
    assert len(messages) == 1 and isinstance(messages[0], Response), messages
    return messages[0]


def test_a_call_is_answered_and_ends(machine: Machine, phone: Phone) -> None:
    phone.call()
    assert phone.statuses() == [100, 180, 200] and machine.states == ["UP"]
    ok = phone.got[-1]
    assert ok.body and ok.headers.get("Content-Type") == "application/sdp" and ok.contact is not None
    assert ok.contact.uri == f"sip:bellframe@{SERVER}:5060"
    assert only(phone.request("BYE")).status == 200
    assert machine.states == [] and not machine.front.user_agent.sessions


def test_nothing_is_left_behind_once_all_timers_have_fired(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    phone.request("BYE")
    network.run(60)
    agent = machine.front.user_agent
    assert not agent.served and not agent.sent and not agent.sessions and not agent.invites and not machine.front.calls
    assert not agent.deadlines.heap


def test_a_call_that_is_over_waits_for_no_collector(machine: Machine, phone: Phone) -> None:
    """At 300 calls a second the collector would take thousands apart in one go, and stop every set-up meanwhile."""
    agent = machine.front.user_agent
    gc.disable()
    try:
        phone.call(headers="Supported: timer\r\n")
        session, call = (weakref.ref(next(iter(those.values()))) for those in (agent.sessions, machine.front.calls))
        assert session() and call()
        phone.request("BYE")
        machine.said.clear()
        assert len(agent.served) == 2, "both are repeated to whoever asks again"
        assert session() is None and call() is None
    finally:
        gc.enable()


# ---- retransmission ----------------------------------------------------------------------------------------------


def test_a_200_is_repeated_until_the_ack(network: Network, machine: Machine, phone: Phone) -> None:
    phone.invite(run_s=3.6)
    assert phone.statuses() == [100, 180, 200, 200, 200, 200], "at 0, 0.5, 1.5 and 3.5 s"
    phone.request("ACK")
    network.run(40)
    assert phone.statuses().count(200) == 4 and machine.states == ["UP"]


def test_a_200_that_nobody_acknowledges_ends_with_bye(network: Network, machine: Machine, phone: Phone) -> None:
    phone.invite(run_s=33)
    assert phone.statuses().count(200) == 11 and len(phone.requests("BYE")) >= 1
    assert machine.last_cause == "the far end never acknowledged our 200"


def test_a_repeated_invite_is_one_call(machine: Machine, phone: Phone) -> None:
    machine.silent.add(b"bridge-0")
    machine.silent.add(b"bridge-1")
    phone.invite(cseq=1)
    phone.invite(cseq=1, tag="")
    assert phone.statuses() == [100, 180, 180] and len(machine.states) == 1


@pytest.mark.parametrize("seed", range(1, 7))
def test_a_call_is_answered_and_ended_over_a_lossy_link(seed: int) -> None:
    network = Network(loss=0.2, delay_ms=40, seed=seed)
    caller, server = Machine(network, CALLER), Machine(network)
    caller.tell(b"operator", Originate("out", f"sip:100@{SERVER}", "echo"))
    assert network.run_until(lambda: caller.states == ["UP"] and server.states == ["UP"], within_s=32)
    for call in list(caller.front.calls.values()):
        call.session.hang_up("enough", network.now_ns)
    caller.pump()
    assert network.run_until(lambda: not server.states, within_s=32)
    network.run(70)
    for machine in (caller, server):
        agent = machine.front.user_agent
        assert not machine.front.calls and not agent.sessions and not agent.served and not agent.sent
    assert network.lost > 0


# ---- CANCEL --------------------------------------------------------------------------------------------------------


def test_cancel_before_the_answer_gets_487(machine: Machine, phone: Phone) -> None:
    machine.silent |= {b"bridge-0", b"bridge-1"}
    phone.invite(branch="one", cseq=1)
    phone.request("CANCEL", branch="one", cseq=1, tag="")
    assert phone.statuses() == [100, 180, 200, 487]
    cancelled, terminated = phone.got[-2], phone.got[-1]
    assert cancelled.cseq == (1, "CANCEL") and terminated.cseq == (1, "INVITE") and cancelled.to.tag == terminated.to.tag
    phone.request("ACK", branch="one", cseq=1)
    assert machine.states == [] and machine.last_cause == "the caller hung up before we answered"


def test_cancel_that_crosses_the_200_changes_nothing(machine: Machine, phone: Phone) -> None:
    phone.invite(branch="one", cseq=1)
    assert only(phone.request("CANCEL", branch="one", cseq=1, tag="")).status == 200
    phone.request("ACK", cseq=1)
    assert machine.states == ["UP"]


def test_cancel_of_nothing_gets_481(phone: Phone) -> None:
    assert only(phone.request("CANCEL", branch="nothing", cseq=1)).status == 481


# ---- re-INVITE -----------------------------------------------------------------------------------------------------


def media_lines(message: Request | Response) -> list[str]:
    """The origin and the direction."""
    starts = ("o=", "a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive")
    return [line for line in message.body.decode().split("\r\n") if line.startswith(starts)]


def test_hold_and_resume(machine: Machine, phone: Phone) -> None:
    phone.call()
    origin, _ = media_lines(phone.got[-1])
    for offered, answered in (("sendonly", "recvonly"), ("inactive", "inactive"), ("sendrecv", "sendrecv")):
        ok = only(phone.invite(body=phone.sdp(offered)))
        phone.request("ACK")
        assert ok.status == 200 and media_lines(ok)[1] == f"a={answered}"
    assert [m.media.direction for m in machine.told(UpdateMedia)] == ["recvonly", "inactive", "sendrecv"]
    version = int(media_lines(ok)[0].split()[2])
    assert version == int(origin.split()[2]) + 3, "each answer differs from the one before"


def test_a_reinvite_that_changes_nothing_keeps_the_version_and_leaves_the_worker_alone(machine: Machine, phone: Phone) -> None:
    phone.call()
    first = phone.got[-1].body
    assert only(phone.invite()).body == first
    phone.request("ACK")
    assert machine.told(UpdateMedia) == []


def test_a_reinvite_moves_the_media(machine: Machine, phone: Phone) -> None:
    phone.call()
    phone.invite(body=phone.sdp(port=50_000, formats="8 101"))
    (update,) = machine.told(UpdateMedia)
    assert (update.media.remote_port, update.media.format) == (50_000, "PCMA")


def test_a_reinvite_without_offer_gets_ours(machine: Machine, phone: Phone) -> None:
    phone.call()
    ok = only(phone.invite(body=""))
    assert b"m=audio 10000 RTP/AVP 0 8 9 101" in ok.body
    phone.request("ACK", body=phone.sdp(port=41_000))
    (update,) = machine.told(UpdateMedia)
    assert update.media.remote_port == 41_000 and machine.states == ["UP"]


def test_an_invite_without_offer_gets_ours(machine: Machine, phone: Phone) -> None:
    phone.invite(body="")
    assert b"m=audio" in phone.got[-1].body
    phone.request("ACK", body=phone.sdp(port=41_000))
    (update,) = machine.told(UpdateMedia)
    assert update.media.remote_port == 41_000 and machine.states == ["UP"]


def test_an_invite_without_offer_and_without_answer_ends(machine: Machine, phone: Phone) -> None:
    phone.invite(body="")
    phone.request("ACK")
    assert len(phone.requests("BYE")) == 1 and machine.states == []
    assert machine.last_cause.startswith("the answer in the ACK cannot be used")


def test_glare_gets_491_while_our_offer_is_open(machine: Machine, phone: Phone) -> None:
    phone.call()
    phone.invite(body="")  # our offer is in the 200
    assert only(phone.invite()).status == 491
    phone.request("ACK", cseq=2, body=phone.sdp())
    phone.request("ACK", cseq=3, branch="call-1-3-INVITE")
    assert only(phone.invite()).status == 200


def test_a_reinvite_that_we_cannot_do_gets_488_and_the_call_goes_on(machine: Machine, phone: Phone) -> None:
    phone.call()
    refused = only(phone.invite(body=phone.sdp(formats="18")))
    assert refused.status == 488 and "305" in (refused.headers.get("Warning") or "")
    phone.request("ACK", branch="call-1-2-INVITE")
    assert machine.states == ["UP"]


def test_a_second_invite_before_the_answer_gets_500_with_retry_after(machine: Machine, phone: Phone) -> None:
    machine.silent |= {b"bridge-0", b"bridge-1"}
    phone.invite()
    answer = only(phone.invite())
    assert answer.status == 500 and answer.headers.get("Retry-After")


def test_an_older_cseq_gets_500(machine: Machine, phone: Phone) -> None:
    phone.cseq = 9
    phone.call()
    assert only(phone.request("INFO", cseq=9)).status == 500
    assert machine.states == ["UP"]


# ---- BYE, INFO, OPTIONS and what does not exist -----------------------------------------------------------------------


def test_a_bye_of_ours_carries_the_reason(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    machine.front.hang_up_all("closing time", network.now_ns)
    machine.pump()
    network.run()
    (bye,) = phone.requests("BYE")
    assert bye.headers.get("Reason") == 'Q.850;cause=31;text="closing time"'
    phone.respond(bye, 200)
    assert machine.front.is_quiet


def test_a_hang_up_before_the_ack_waits_for_it(network: Network, machine: Machine, phone: Phone) -> None:
    phone.invite()
    machine.front.hang_up_all("closing time", network.now_ns)
    machine.pump()
    network.run()
    assert not phone.requests("BYE")
    phone.request("ACK")
    assert len(phone.requests("BYE")) == 1


def test_both_hang_up_at_once(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    machine.front.hang_up_all("closing time", network.now_ns)
    machine.pump()
    assert [m.status for m in phone.request("BYE") if isinstance(m, Response)] == [200]


@pytest.mark.parametrize("method", ["BYE", "INFO", "INVITE", "OPTIONS"])
def test_an_unknown_dialog_gets_481(phone: Phone, method: str) -> None:
    assert only(phone.request(method, tag="nobody")).status == 481


def test_an_ack_for_nothing_is_ignored(phone: Phone) -> None:
    assert phone.request("ACK", tag="nobody", cseq=1) == []


def test_the_right_call_id_with_a_wrong_tag_gets_481(machine: Machine, phone: Phone) -> None:
    phone.call()
    assert only(phone.request("BYE", from_tag="somebody-else")).status == 481
    assert machine.states == ["UP"]


@pytest.mark.parametrize(
    ("kind", "status"), [("application/dtmf-relay", 200), ("application/dtmf", 200), ("text/plain", 415), ("application/xml", 415)]
)
def test_info(machine: Machine, phone: Phone, kind: str, status: int) -> None:
    phone.call()
    answer = only(phone.request("INFO", body="Signal=5\r\n", kind=kind))
    assert answer.status == status and (status == 200 or answer.headers.get_all("Accept"))


@pytest.mark.parametrize(("method", "status"), [("MESSAGE", 405), ("REGISTER", 405), ("SUBSCRIBE", 405), ("PUBLISH", 405), ("FOO", 501)])
def test_what_we_do_not_do_is_refused_with_allow(phone: Phone, method: str, status: int) -> None:
    answer = only(phone.request(method))
    assert answer.status == status and "INVITE" in answer.headers.get_all("Allow")


def test_options_says_what_we_can(phone: Phone, machine: Machine) -> None:
    answer = only(phone.request("OPTIONS"))
    assert answer.status == 200 and answer.headers.get("Accept") == "application/sdp" and "BYE" in answer.headers.get_all("Allow")
    machine.front.drain(machine.network.now_ns)
    answer = only(phone.request("OPTIONS"))
    assert answer.status == 503 and answer.headers.get("Retry-After") == "30"
    assert not machine.front.user_agent.served


# ---- small parts -----------------------------------------------------------------------------------------------------


def test_summaries_are_for_people() -> None:
    assert summarize(b"INVITE sip:a@b SIP/2.0\r\nVia: x\r\n\r\n") == "INVITE"
    assert summarize(b"SIP/2.0 200 OK\r\nVia: x\r\nCSeq: 1 BYE\r\n\r\n") == "200 OK (BYE)"


def test_no_line_of_the_log_holds_a_traceback(network: Network, machine: Machine, phone: Phone, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for text in ("INVITE sip:100@x SIP/2.0\r\nVia: ;;\r\n\r\n", "BYE sip:\xff SIP/2.0\r\n\r\n", "INVITE tel: SIP/2.0\r\nv:x\r\n\r\n"):
            phone.send(text)
        network.run()
    assert all(record.exc_info is None for record in caplog.records)


def test_what_is_refused_inside_a_call_is_said_once_with_its_cause(
    network: Network, machine: Machine, phone: Phone, caplog: pytest.LogCaptureFixture
) -> None:
    phone.call()
    for _ in range(2):
        phone.request("INFO", body="x", kind="text/plain")
        phone.invite(headers="Require: precondition\r\n")
        phone.request("INFO", cseq=1, branch=f"old-{_}")
        phone.request("BYE", tag="wrong", call_id="other")
        phone.request("MESSAGE")
    lines = [r.message for r in caplog.records if r.message.startswith("refused 192.0.2.10:5060 with ")]
    assert [line.partition(" with ")[2][:3] for line in lines] == ["415", "420", "500", "481", "405"]
    assert machine.states == ["UP"] and machine.front.user_agent.refused_calls == 0
    network.run(1.1)
    rest = [r.message.split()[0] for r in caplog.records if r.message.endswith(" more refused like these")]
    assert sum(map(int, rest)) == 5


def test_cancel_of_nothing_is_said(phone: Phone, caplog: pytest.LogCaptureFixture) -> None:
    phone.request("CANCEL", call_id="none")
    assert "with 481: CANCEL for a call that we do not have" in caplog.text


def test_one_line_for_a_caller_that_dials_many_numbers(network: Network, phone: Phone, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(5):
        phone.invite(to=f"nobody{i}", call_id=f"n{i}", tag="", cseq=1)
    network.run(1.1)
    assert caplog.text.count("refused the call from") == 1 and "4 more refused like these" in caplog.text


# ---- over a stream ---------------------------------------------------------------------------------------------------


def tcp_phone(network: Network, flow: int = 7, transport: str = "tcp") -> Phone:
    return Phone(network, transport=transport, flow=flow)


def test_a_call_over_a_stream_stays_on_its_connection(network: Network, machine: Machine) -> None:
    phone = tcp_phone(network)
    phone.call()
    assert machine.states == ["UP"] and phone.statuses() == [100, 180, 200]
    assert phone.got[-1].contact and phone.got[-1].contact.uri == f"sip:bellframe@{SERVER}:5060;transport=tcp"
    machine.front.hang_up_all("test", network.now_ns)
    machine.pump()
    network.run()
    (bye,) = phone.requests("BYE")
    assert bye.top_via.protocol == "TCP", "though the Contact of the phone has no transport parameter"
    assert {address for _, address in machine.datagrams} == {Address(CALLER, 5060, "tcp", 7)}
    phone.respond(bye, 200)
    network.run(60)
    assert not machine.front.user_agent.sent and not machine.front.user_agent.sessions


def test_over_tls_the_contact_says_so_and_sips_stays_sips(network: Network, machine: Machine) -> None:
    phone = tcp_phone(network, transport="tls")
    phone.invite()
    assert phone.got[-1].contact and phone.got[-1].contact.uri == f"sip:bellframe@{SERVER}:5061;transport=tls"
    octets = machine.datagrams[0][0]
    assert b"Via: SIP/2.0/TLS" in octets
    other = tcp_phone(network, transport="tls")
    text = (
        f"INVITE sips:100@{SERVER} SIP/2.0\r\nVia: SIP/2.0/TLS {CALLER}:5061;branch=z9hG4bKs\r\nFrom: <sips:a@{CALLER}>;tag=1\r\n"
        f"To: <sips:100@{SERVER}>\r\nCall-ID: s\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContact: <sips:a@{CALLER}:5061>\r\n"
        f"Content-Length: {len(other.sdp())}\r\nContent-Type: application/sdp\r\n\r\n{other.sdp()}"
    )
    other.send(text)
    network.run()
    assert other.got[-1].contact and other.got[-1].contact.uri == f"sips:bellframe@{SERVER}:5061"


def test_transactions_repeat_nothing_over_a_stream_and_leave_at_once(network: Network, machine: Machine) -> None:
    phone = tcp_phone(network)
    phone.invite(to="nobody")
    network.run(20)
    assert phone.statuses() == [100, 404], "not again without the ACK (17.2.1)"
    phone.request("ACK", branch="call-1-1-INVITE", to="nobody")
    assert not machine.front.user_agent.served, "timer I is zero"
    phone.call(call_id="two", tag="")
    phone.request("INFO", call_id="two", body="x", kind="application/dtmf")
    assert [served.transaction.is_invite for served in machine.front.user_agent.served.values()] == [True], "timer J is zero, L is not"


def test_a_200_is_repeated_even_over_a_stream(network: Network, machine: Machine) -> None:
    """13.3.1.4: a proxy may go on over UDP."""
    phone = tcp_phone(network)
    phone.invite(run_s=3.6)
    assert phone.statuses() == [100, 180, 200, 200, 200, 200]


def test_without_rport_a_stream_is_answered_on_its_connection_or_else_on_the_port_of_the_via() -> None:
    request = parse(b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP trunk.example.com:5070;branch=z9hG4bKo;rport\r\n\r\n")
    assert isinstance(request, Request)
    assert mark_received(request, Address("192.0.2.10", 9999, "tcp", 7)) == Address("192.0.2.10", 5070, "tcp", 7)
    assert request.headers.get("Via") == "SIP/2.0/TCP trunk.example.com:5070;branch=z9hG4bKo;rport=9999;received=192.0.2.10"


def test_a_message_without_content_length_is_none_on_a_stream(network: Network, machine: Machine) -> None:
    phone = tcp_phone(network)
    head = f"Via: SIP/2.0/TCP {CALLER};branch=z9hG4bKo\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: o\r\n"
    phone.send(f"OPTIONS sip:a@b SIP/2.0\r\n{head}CSeq: 1 OPTIONS\r\nMax-Forwards: 1\r\n\r\n")
    network.run()
    assert phone.statuses() == [400]


def test_a_peer_that_comes_back_on_another_connection_is_answered_there(network: Network, machine: Machine) -> None:
    phone = tcp_phone(network)
    phone.call()
    phone.flow = 8
    phone.request("OPTIONS")
    machine.front.hang_up_all("test", network.now_ns)
    machine.pump()
    assert machine.datagrams[-1][0].startswith(b"BYE ") and machine.datagrams[-1][1].flow == 8


def test_what_was_sent_on_a_connection_that_broke_goes_out_once_more(network: Network, machine: Machine) -> None:
    phone = tcp_phone(network)
    phone.call()
    machine.front.hang_up_all("test", network.now_ns)
    machine.pump()
    lost = machine.datagrams[-1][1]
    machine.front.lose_connection(lost, "reset", network.now_ns)
    machine.pump()
    network.run()
    first, second = phone.requests("BYE")
    assert first.top_via.branch == second.top_via.branch and machine.datagrams[-1][1] == Address(CALLER, 5060, "tcp")
    machine.front.lose_connection(Address(CALLER, 5060, "tcp", 9), "reset", network.now_ns)
    assert not machine.front.user_agent.sent, "no third time"


def test_a_long_request_goes_over_tcp_and_if_that_is_refused_over_udp(network: Network, machine: Machine) -> None:
    phone, long = Phone(network), "sip:100@192.0.2.10;x=" + "y" * 1300
    machine.tell(b"operator", Originate("one", long, "echo"))
    network.run()
    assert [m.top_via.protocol for m in phone.requests("INVITE")] == ["TCP"] and machine.datagrams[0][1] == Address(CALLER, 5060, "tcp")
    machine.refuses_tcp.add(CALLER)
    machine.tell(b"operator", Originate("two", long, "echo"))
    network.run()
    assert [m.top_via.protocol for m in phone.requests("INVITE")] == ["TCP", "UDP"]
    phone.respond(phone.requests("INVITE")[1], 200, body=phone.sdp())
    assert "UP" in machine.states and phone.requests("ACK")[0].top_via.protocol == "UDP"
    sent = len(machine.datagrams)
    machine.tell(b"operator", Originate("three", long, "echo"))
    network.run()
    tried = [address.transport for octets, address in machine.datagrams[sent:] if octets.startswith(b"INVITE")]
    assert tried == ["udp"], "it is remembered"


def test_the_next_server_is_tried_after_503_or_no_way(network: Network, machine: Machine) -> None:
    second, third = Phone(network, "192.0.2.12"), Phone(network, "192.0.2.13")
    machine.refuses_tcp.add("192.0.2.11")
    addresses = [Address(f"192.0.2.{n}", 5060, "tcp") for n in (11, 12, 13)]
    order = Originate("out", "sip:100@example.com", "echo")
    assert machine.front.originator.dial_out(order, parse_uri(order.to), addresses, network.now_ns) == ""
    machine.pump()
    network.run()
    (invite,) = second.requests("INVITE")
    second.respond(invite, 503, "Service Unavailable")
    assert second.requests("ACK")[0].top_via == invite.top_via
    (again,) = third.requests("INVITE")
    assert again.top_via.branch != invite.top_via.branch and again.body == invite.body and again.call_id == invite.call_id
    third.respond(again, 200, body=third.sdp())
    assert machine.states == ["UP"] and len(third.requests("ACK")) == 1


def test_a_server_that_says_nothing_is_left_for_the_next_within_4_s(network: Network, machine: Machine) -> None:
    first, second = Phone(network, "192.0.2.11"), Phone(network, "192.0.2.12")
    order = Originate("out", "sip:100@example.com", "echo")
    machine.front.originator.dial_out(order, parse_uri(order.to), [Address(f"192.0.2.{n}", 5060) for n in (11, 12)], network.now_ns)
    machine.pump()
    network.run(3.9)
    assert len(first.requests("INVITE")) == 4 and not second.requests("INVITE"), "three of them may be lost"
    network.run(0.2)
    assert len(first.requests("INVITE")) == 4 and len(second.requests("INVITE")) == 1
    second.respond(second.requests("INVITE")[0], 200, body=second.sdp())
    assert machine.states == ["UP"]


def test_the_last_server_s_failure_is_the_call_s(network: Network, machine: Machine) -> None:
    machine.refuses_tcp |= {"192.0.2.11", "192.0.2.12"}
    order = Originate("out", "sip:100@example.com", "echo")
    machine.front.originator.dial_out(order, parse_uri(order.to), [Address(f"192.0.2.{n}", 5060, "tcp") for n in (11, 12)], network.now_ns)
    machine.pump()
    network.run()
    assert machine.states == [] and machine.last_cause == "cannot connect to tcp:192.0.2.12:5060"
