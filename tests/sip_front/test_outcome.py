"""What became of a call, in one word: from the final response, and from who ended it."""

import pytest

from control_plane.messages import CallChanged, CallFacts, HangUp, MediaClosed, Originate, Watch
from sip_front.outcome import OUTCOMES, outcome_of
from tests.sip_front.simulation import CALLER, Machine, Phone

WATCHER = b"watcher"


def call_out(machine: Machine) -> None:
    machine.tell(WATCHER, Watch(what="calls"))
    machine.tell(b"operator", Originate("out", f"sip:+491@{CALLER}", "echo"))
    machine.network.run()


def seen(machine: Machine) -> list[CallFacts]:
    return [message.call for message in machine.told(CallChanged, WATCHER)]


ROWS = [
    (486, "busy"), (600, "busy"), (480, "no answer"), (603, "rejected"), (404, "rejected"), (401, "rejected"), (503, "failed"),
    (380, "failed"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "word"), ROWS)
def test_a_final_response_is_a_word(machine: Machine, phone: Phone, status: int, word: str) -> None:
    call_out(machine)
    (invite,) = phone.requests("INVITE")
    phone.respond(invite, 180, "Ringing")
    phone.respond(invite, status, "No")
    last = seen(machine)[-1]
    assert (last.state, last.outcome, last.status) == ("ended", word, status)
    assert last.started_at < last.rang_at < last.ended_at and last.answered_at == 0


def test_an_answered_call_stays_answered_and_says_when(machine: Machine, phone: Phone) -> None:
    call_out(machine)
    (invite,) = phone.requests("INVITE")
    machine.network.run(1)
    phone.respond(invite, 180, "Ringing")
    phone.respond(invite, 180, "Ringing")
    machine.network.run(2)
    phone.respond(invite, 200, body=phone.sdp())
    machine.network.run(4)
    machine.tell(b"operator", HangUp("out"))
    facts = seen(machine)
    assert [f.outcome for f in facts][:4] == ["queued", "queued", "ringing", "answered"], "ringing is told once"
    assert facts[-1].outcome == "answered" and facts[-1].status == 200
    rings_s, talks_s = facts[-1].answered_at - facts[-1].rang_at, facts[-1].ended_at - facts[-1].answered_at
    assert 2 < rings_s < 3 and 4 <= talks_s < 5


def test_nobody_answers(machine: Machine, phone: Phone) -> None:
    call_out(machine)
    phone.respond(phone.requests("INVITE")[0], 180, "Ringing")
    machine.network.run(121)
    assert (machine.front.ended or machine.front.calls) and seen(machine)[-1].outcome == "no answer"


def test_nobody_is_there(machine: Machine) -> None:
    call_out(machine)
    machine.network.run(33)
    assert (seen(machine)[-1].outcome, seen(machine)[-1].status) == ("failed", 408)


def test_hung_up_before_the_answer(machine: Machine, phone: Phone) -> None:
    call_out(machine)
    phone.respond(phone.requests("INVITE")[0], 180, "Ringing")
    machine.tell(b"operator", HangUp("out"))
    machine.network.run()
    assert (seen(machine)[-1].outcome, seen(machine)[-1].status) == ("cancelled", 487)


def test_a_caller_that_gives_up_has_cancelled_and_one_that_we_turn_away_is_rejected(machine: Machine, phone: Phone) -> None:
    machine.tell(WATCHER, Watch(what="calls"))
    machine.deaf |= {b"bridge-0", b"bridge-1"}
    phone.invite()
    phone.request("CANCEL", cseq=1, tag="", branch="call-1-1-INVITE")
    assert (seen(machine)[-1].outcome, seen(machine)[-1].status) == ("cancelled", 487)
    phone.invite(call_id="two", cseq=7, tag="")
    machine.tell(b"operator", HangUp(next(iter(machine.front.calls))))
    machine.network.run()
    assert (seen(machine)[-1].outcome, seen(machine)[-1].status) == ("rejected", 603)


def test_what_the_media_counted_comes_with_the_end(machine: Machine, phone: Phone) -> None:
    machine.tell(WATCHER, Watch(what="calls"))
    phone.call()
    (call_id,) = machine.front.calls
    machine.silent.add(b"worker-0")
    phone.request("BYE")
    machine.tell(b"worker-0", MediaClosed(call_id, {"lost": 3}))
    assert seen(machine)[-1].state == "ended" and seen(machine)[-1].counters == {"lost": 3}


def test_every_status_has_a_word() -> None:
    for status in range(300, 700):
        word, shown = outcome_of("outbound", False, True, "FAR_END_ENDED", status)
        assert shown == status and word == OUTCOMES.get(status, "rejected" if status // 100 == 4 else "failed")
