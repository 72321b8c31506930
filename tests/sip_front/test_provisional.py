"""Reliable ringing towards callers that require it (RFC 3262)."""


from control_plane.messages import UpdateMedia
from sip_front.message import Response
from tests.sip_front.simulation import Machine, Network, Phone

REQUIRED = "Require: 100rel\r\n"
BRIDGES = {b"bridge-0", b"bridge-1"}


def ringing(phone: Phone) -> Response:
    return next(m for m in phone.got if isinstance(m, Response) and m.status == 180)


def prack(phone: Phone, rack: str | None = None, body: str = "") -> Response:
    rseq = ringing(phone).headers.get("RSeq")
    answer = phone.request("PRACK", headers=f"RAck: {rack or f'{rseq} 1 INVITE'}\r\n", body=body)[0]
    assert isinstance(answer, Response)
    return answer


def test_ringing_is_repeated_until_its_prack(network: Network, machine: Machine, phone: Phone) -> None:
    machine.silent |= BRIDGES
    phone.invite(headers=REQUIRED, run_s=3.6)
    assert phone.statuses() == [100, 180, 180, 180, 180], "at 0, 0.5, 1.5 and 3.5 s"
    first = ringing(phone)
    assert first.headers.get_all("Require") == ["100rel"] and first.contact is not None
    assert 1 <= int(first.headers.get("RSeq") or 0) < 2**31
    assert prack(phone).status == 200
    network.run(1)
    assert phone.statuses().count(180) == 4


def test_without_require_it_is_sent_once(machine: Machine, phone: Phone) -> None:
    machine.silent |= BRIDGES
    phone.invite(headers="Supported: 100rel\r\n", run_s=4)
    assert phone.statuses() == [100, 180] and "RSeq" not in ringing(phone).headers


def test_a_prack_for_something_else_gets_481(machine: Machine, phone: Phone) -> None:
    machine.silent |= BRIDGES
    phone.invite(headers=REQUIRED)
    for rack in ("1 1 INVITE", "x", ""):
        assert prack(phone, rack or " ").status == 481
    assert prack(phone).status == 200


def test_a_prack_that_the_200_overtook_is_answered(network: Network, machine: Machine, phone: Phone) -> None:
    phone.invite(headers=REQUIRED)
    assert phone.statuses() == [100, 180, 200]
    assert prack(phone).status == 200
    phone.request("ACK", cseq=1)
    network.run(2)
    assert machine.states == ["UP"] and phone.statuses().count(180) == 1


def test_who_never_acknowledges_is_refused(network: Network, machine: Machine, phone: Phone) -> None:
    phone.invite(headers=REQUIRED, body="", run_s=33)
    assert phone.statuses()[-1] == 504 and "never acknowledged ours" in machine.last_cause


def test_an_invite_without_offer_gets_ours_with_the_ringing(machine: Machine, phone: Phone) -> None:
    phone.invite(headers=REQUIRED, body="")
    assert phone.statuses() == [100, 180] and b"m=audio 10000" in ringing(phone).body, "the 200 waits for the PRACK (section 3)"
    assert machine.states == ["ANSWERED"]
    prack(phone, body=phone.sdp(port=41_000))
    assert phone.statuses() == [100, 180, 200, 200]
    ok = phone.got[-1]
    assert ok.cseq == (1, "INVITE") and not ok.body
    assert [m.media.remote_port for m in machine.told(UpdateMedia)] == [41_000]
    phone.request("ACK", cseq=1)
    assert machine.states == ["UP"]


def test_an_answer_in_the_prack_that_is_none(machine: Machine, phone: Phone) -> None:
    phone.invite(headers=REQUIRED, body="")
    assert prack(phone, body=phone.sdp(formats="18")).status == 488
    assert phone.statuses()[-1] == 488 and machine.last_cause.startswith("the answer in the PRACK cannot be used")


def test_an_update_before_the_answer(machine: Machine, phone: Phone) -> None:
    machine.silent |= BRIDGES
    phone.invite(headers=REQUIRED)
    answer = phone.request("UPDATE", body=phone.sdp())[0]
    assert isinstance(answer, Response) and answer.status == 500 and answer.headers.get("Retry-After"), "RFC 3311 5.2"
    answer = phone.request("UPDATE")[0]
    assert isinstance(answer, Response) and answer.status == 200


def test_an_update_moves_the_media_without_an_ack(machine: Machine, phone: Phone) -> None:
    phone.call()
    answer = phone.request("UPDATE", body=phone.sdp("sendonly", port=50_000))[0]
    assert isinstance(answer, Response) and answer.status == 200 and b"a=recvonly" in answer.body
    (update,) = machine.told(UpdateMedia)
    assert (update.media.remote_port, update.media.direction) == (50_000, "recvonly")
    refused = phone.request("UPDATE", body=phone.sdp(formats="18"))[0]
    assert isinstance(refused, Response) and refused.status == 488 and machine.states == ["UP"]
