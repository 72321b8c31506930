"""What comes, as whoever sent it sees it, in simulated time: where the answer goes, and what is refused."""


import pytest

from control_plane.messages import Originate
from sip_front.message import Request, Response, parse
from sip_front.reception import mark_received
from sip_front.transport import Address
from tests.sip_front.simulation import CALLER, SERVER, STRANGER, Machine, Network, Phone


def only(messages: list[Request | Response]) -> Response:
    assert len(messages) == 1 and isinstance(messages[0], Response), messages
    return messages[0]


# ---- received, rport ---------------------------------------------------------------------------------------------


def test_a_response_goes_where_the_request_came_from_if_rport_is_there(machine: Machine, phone: Phone) -> None:
    text = (
        "OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bKo;rport\r\n"
        "Via: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKp\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:100@192.0.2.1>\r\nCall-ID: o\r\n"
        "CSeq: 1 OPTIONS\r\nMax-Forwards: 1\r\n\r\n"
    )
    phone.send(text, port=34567)
    phone.network.run()
    via = phone.got[0].headers.get_all("Via")
    assert machine.datagrams[-1][1] == Address(CALLER, 34567)
    assert "received=192.0.2.10" in via[0] and "rport=34567" in via[0] and via[1] == "SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKp"


def test_without_rport_it_goes_to_the_port_that_the_via_names() -> None:
    request = parse(b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP trunk.example.com:5070;branch=z9hG4bKo\r\n\r\n")
    assert isinstance(request, Request)
    assert mark_received(request, Address("192.0.2.10", 9999)) == Address("192.0.2.10", 5070)
    assert request.headers.get("Via") == "SIP/2.0/UDP trunk.example.com:5070;branch=z9hG4bKo;received=192.0.2.10"


def test_record_route_is_given_back_and_followed(machine: Machine, phone: Phone, network: Network) -> None:
    proxy = Phone(network, "192.0.2.99")
    phone.call(headers="Record-Route: <sip:192.0.2.99;lr>\r\n")
    assert phone.got[-1].headers.get_all("Record-Route") == ["<sip:192.0.2.99;lr>"]
    machine.front.hang_up_all("test", network.now_ns)
    machine.pump()
    network.run()
    bye = proxy.requests("BYE")[0]
    assert bye.uri == f"sip:me@{CALLER}:5060" and bye.headers.get_all("Route") == ["<sip:192.0.2.99;lr>"]


def test_behind_a_nat_requests_go_to_where_the_invite_came_from(machine: Machine, network: Network) -> None:
    phone = Phone(network)
    private = phone.sdp()
    text = (
        "INVITE sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bKn;rport\r\nFrom: <sip:a@10.0.0.5>;tag=1\r\n"
        "To: <sip:100@192.0.2.1>\r\nCall-ID: n\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContact: <sip:a@10.0.0.5:5060>\r\n"
        f"Content-Type: application/sdp\r\nContent-Length: {len(private)}\r\n\r\n{private}"
    )
    phone.send(text, port=40123)
    network.run()
    ack = text.partition("Content-Type")[0].replace("INVITE", "ACK").replace("bKn", "bKa")
    ack = ack.replace("To: <sip:100@192.0.2.1>", f"To: <sip:100@192.0.2.1>;tag={phone.to_tag}")
    phone.send(ack + "Content-Length: 0\r\n\r\n", port=40123)
    network.run()
    assert machine.states == ["UP"]
    machine.front.hang_up_all("test", network.now_ns)
    machine.pump()
    assert machine.datagrams[-1][0].startswith(b"BYE sip:a@10.0.0.5:5060") and machine.datagrams[-1][1] == Address(CALLER, 40123)


# ---- what is refused -----------------------------------------------------------------------------------------------


def test_a_number_without_agent_gets_404(machine: Machine, phone: Phone, caplog: pytest.LogCaptureFixture) -> None:
    phone.invite(to="nobody")
    assert phone.statuses() == [100, 404] and machine.states == []
    assert "nobody fits none of the 1 routes" in caplog.text


def test_an_offer_that_we_cannot_do_gets_488_with_the_reason(phone: Phone) -> None:
    phone.invite(body=phone.sdp(formats="18"))
    assert phone.statuses() == [100, 488]
    assert "no audio format in common" in (phone.got[-1].headers.get("Warning") or "")


def test_media_to_this_very_machine_is_not_sent_for_others(phone: Phone) -> None:
    phone.invite(body=phone.sdp().replace(CALLER, "127.0.0.1"))
    assert phone.statuses() == [100, 488]


def test_required_extensions_get_420(phone: Phone) -> None:
    answer = only(phone.invite(headers="Require: 100rel, timer, precondition, gruu\r\n"))
    assert answer.status == 420 and answer.headers.get_all("Unsupported") == ["precondition", "gruu"]


def test_another_body_gets_415(phone: Phone) -> None:
    answer = only(phone.invite(kind="multipart/mixed"))
    assert answer.status == 415 and answer.headers.get("Accept") == "application/sdp"


def test_a_merged_request_gets_482(phone: Phone) -> None:
    phone.invite(cseq=1, branch="one")
    assert only(phone.invite(cseq=1, branch="two", tag="")).status == 482


def test_a_malformed_request_gets_400_and_one_line(phone: Phone, caplog: pytest.LogCaptureFixture) -> None:
    head = f"Via: SIP/2.0/UDP {CALLER};branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: m\r\n"
    phone.send(f"INVITE sip:100@{SERVER} SIP/2.0\r\n{head}CSeq: INVITE 1\r\n\r\n")
    phone.network.run()
    assert phone.statuses() == [400]
    assert len(caplog.records) == 1 and "400" in caplog.text


NOISE = ["", "\r\n\r\n", "\0", "hello", "SIP/2.0 200 OK\r\n\r\n", "INVITE\r\n\r\n", "ACK sip:a@b SIP/2.0\r\n\r\n"]


@pytest.mark.parametrize("octets", NOISE)
def test_noise_is_met_with_silence(phone: Phone, octets: str) -> None:
    phone.send(octets)
    phone.network.run()
    assert phone.got == []


def test_too_many_calls_a_second_get_503(network: Network) -> None:
    machine = Machine(network, max_calls_per_second=2.0)
    phone = Phone(network)
    machine.front.admission.tokens = 2.0
    for i in range(4):
        phone.invite(call_id=f"c{i}", tag="", cseq=1, run_s=0)
    network.run(0.1)
    assert phone.statuses().count(503) == 2
    refused = next(m for m in phone.got if isinstance(m, Response) and m.status == 503)
    assert refused.headers.get("Retry-After") == "1"
    assert len(machine.front.user_agent.served) == 2, "nothing is kept of the refused"


def test_a_stranger_gets_one_403_and_leaves_nothing(network: Network, machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    stranger = Phone(network, STRANGER)
    before = len(machine.datagrams)
    for _ in range(3):
        stranger.invite(cseq=1, tag="", headers="X-Padding: " + "x" * 100 + "\r\n")
    network.run(60)
    assert stranger.statuses() == [403] * 3 and len(machine.datagrams) - before == 3, "one out for one in, nothing again"
    agent = machine.front.user_agent
    assert not agent.served and not agent.sessions and not agent.invites and not machine.front.calls
    assert caplog.text.count("is not in sip.allow; add its network there") == 1, "a flood does not fill the log"
    assert agent.refused_calls == 3


def test_a_far_end_of_a_call_is_read_when_strangers_flood_us(network: Network, machine: Machine) -> None:
    """We called it: it is in no list of those who may call."""
    far_end, agent = Phone(network, STRANGER), machine.front.user_agent
    machine.tell(b"operator", Originate("out", f"sip:1@{STRANGER}", "echo"))
    network.run()
    far_end.respond(far_end.requests("INVITE")[0], 200, body=far_end.sdp())
    network.run(2)
    while agent.callers.is_worth_reading(STRANGER, b"BYE", network.now_ns):
        pass
    far_end.send("NONSENSE")
    assert agent.known_hosts == {STRANGER} and agent.admission.unlogged == 0
    agent.reception.receive(b"NONSENSE", Address("203.0.113.77", 5060), network.now_ns)
    assert agent.admission.unlogged == 1, "of others, not even that it is nonsense is found out"


def test_a_stranger_gets_no_more_octets_than_it_sent(network: Network, machine: Machine) -> None:
    stranger = Phone(network, STRANGER)
    text = f"OPTIONS sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP {STRANGER};branch=z9hG4bK1;rport\r\nf: <sip:a@b>\r\nt: <sip:a@b>\r\ni: 1\r\n\r\n"
    stranger.send(text)
    network.run()
    assert sum(len(octets) for octets, _ in machine.datagrams) <= 1.5 * len(text)


@pytest.mark.parametrize("method", ["ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER"])
def test_a_stranger_learns_nothing_from_any_method(network: Network, machine: Machine, method: str) -> None:
    stranger = Phone(network, STRANGER)
    stranger.request(method, cseq=1, headers="X-Padding: " + "x" * 100 + "\r\n")
    assert stranger.statuses() == ([] if method == "ACK" else [403])


def test_a_stranger_may_not_end_another_ones_call(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    stranger = Phone(network, STRANGER)
    stranger.to_tag = phone.to_tag
    stranger.request("BYE", cseq=9, headers="X-Padding: " + "x" * 100 + "\r\n")
    assert stranger.statuses() == [403] and machine.states == ["UP"]
