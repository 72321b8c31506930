"""Calls of ours: early media, reliable ringing, forks. Failures and CANCEL are in test_call.py."""

import pytest

from control_plane.messages import MediaRefused, Noted, Originate, StartAgent, UpdateMedia, Watch
from sip_front.message import Request
from tests.sip_front.simulation import CALLER, Machine, Network, Phone

RELIABLE = "Require: 100rel\r\nRSeq: {}\r\n"


@pytest.fixture
def invite(network: Network, machine: Machine, phone: Phone) -> Request:
    machine.tell(b"watcher", Watch())
    machine.tell(b"operator", Originate("out", f"sip:1@{CALLER}", "echo"))
    network.run()
    (found,) = phone.requests("INVITE")
    return found


def test_we_say_what_we_can(invite: Request) -> None:
    assert invite.headers.get_all("Supported") == ["100rel", "norefersub", "replaces", "timer"]
    assert {"PRACK", "UPDATE", "REFER", "NOTIFY"} <= set(invite.headers.get_all("Allow"))


def test_early_media_opens_the_way_and_waits_for_the_answer(machine: Machine, phone: Phone, invite: Request) -> None:
    phone.respond(invite, 183, "Session Progress", body=phone.sdp(port=42_000))
    (early,) = machine.told(UpdateMedia)
    assert (early.media.remote_port, early.media.direction) == (42_000, "sendonly"), "ringing is not kept for the agent"
    assert machine.states == ["CALLING"] and not machine.told(StartAgent)
    phone.respond(invite, 200, body=phone.sdp(port=42_000))
    assert [m.media.direction for m in machine.told(UpdateMedia)] == ["sendonly", "sendrecv"] and machine.states == ["UP"]


def test_the_answer_is_the_last_word_on_unreliable_early_media(machine: Machine, phone: Phone, invite: Request) -> None:
    phone.respond(invite, 183, "Session Progress", body=phone.sdp(port=42_000))
    phone.respond(invite, 200, body=phone.sdp(port=43_000))
    assert machine.told(UpdateMedia)[-1].media.remote_port == 43_000


def test_a_200_without_sdp_means_that_of_the_183(machine: Machine, phone: Phone, invite: Request) -> None:
    phone.respond(invite, 183, "Session Progress", body=phone.sdp(port=42_000))
    phone.respond(invite, 200)
    assert machine.states == ["UP"] and machine.told(UpdateMedia)[-1].media.remote_port == 42_000


def test_early_media_that_cannot_be_used_changes_nothing(
    machine: Machine, phone: Phone, invite: Request, caplog: pytest.LogCaptureFixture
) -> None:
    phone.respond(invite, 183, "Session Progress", body=phone.sdp(formats="18"))
    assert not machine.told(UpdateMedia) and "early media cannot be used: no audio format in common" in caplog.text
    phone.respond(invite, 200, body=phone.sdp())
    assert machine.states == ["UP"]


def test_early_media_that_the_worker_refuses_changes_nothing(machine: Machine, phone: Phone, invite: Request) -> None:
    machine.deaf |= {b"worker-0", b"worker-1"}
    phone.respond(invite, 183, "Session Progress", body=phone.sdp())
    machine.tell(b"worker-0", MediaRefused("out", "not that rate"))
    machine.deaf.clear()
    phone.respond(invite, 200, body=phone.sdp())
    assert machine.states == ["UP"]


def test_reliable_ringing_gets_its_prack(machine: Machine, phone: Phone, invite: Request) -> None:
    phone.respond(invite, 180, "Ringing", headers=RELIABLE.format(7))
    (prack,) = phone.requests("PRACK")
    assert prack.headers.get("RAck") == "7 1 INVITE" and prack.cseq == (2, "PRACK") and prack.to.tag == "callee"
    phone.respond(prack, 200)
    phone.respond(invite, 180, "Ringing", headers=RELIABLE.format(7))
    phone.respond(invite, 183, "Session Progress", headers=RELIABLE.format(9))
    assert len(phone.requests("PRACK")) == 1, "a repeat, and one whose predecessor is missing (RFC 3262 4)"
    phone.respond(invite, 183, "Session Progress", headers=RELIABLE.format(8), body=phone.sdp(port=42_000))
    assert phone.requests("PRACK")[-1].headers.get("RAck") == "8 1 INVITE" and phone.requests("PRACK")[-1].cseq[0] == 3
    phone.respond(phone.requests("PRACK")[-1], 200)
    phone.respond(invite, 200)
    assert machine.states == ["UP"] and phone.requests("ACK")[0].cseq == (1, "ACK")
    machine.front.hang_up_all("done", machine.network.now_ns)
    machine.pump()
    machine.network.run()
    assert phone.requests("BYE")[0].cseq == (4, "BYE"), "numbers go on after the PRACKs"


def test_a_reliable_answer_settles_it_for_its_phone_only(machine: Machine, phone: Phone, invite: Request) -> None:
    phone.respond(invite, 183, "Session Progress", headers=RELIABLE.format(1), body=phone.sdp(port=42_000), tag="one")
    phone.respond(phone.requests("PRACK")[0], 200)
    phone.respond(invite, 180, "Ringing", tag="two")
    phone.respond(invite, 200, body=phone.sdp(port=43_000), tag="two")
    assert machine.states == ["UP"] and machine.told(UpdateMedia)[-1].media.remote_port == 43_000


def test_watchers_see_what_rings(machine: Machine, phone: Phone, invite: Request) -> None:
    for status, reason in ((180, "Ringing"), (181, "Call Is Being Forwarded"), (183, "Session Progress")):
        phone.respond(invite, status, reason)
    assert [m.text for m in machine.told(Noted, b"watcher")] == ["180 Ringing", "181 Call Is Being Forwarded", "183 Session Progress"]


def test_a_failure_says_why_the_carrier_says_it_failed(machine: Machine, phone: Phone, invite: Request) -> None:
    phone.respond(invite, 480, "Temporarily Unavailable", headers="Reason: Q.850;cause=27\r\n")
    assert "480 Temporarily Unavailable (Q.850 27: destination out of order)" in machine.last_cause
