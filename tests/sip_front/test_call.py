"""A call between SIP, a worker and a bridge: what happens when one of them is late, dies, or says no."""

import time

import pytest

from control_plane.messages import (
    AgentFailed,
    Alive,
    CloseMedia,
    Failed,
    FrontStarted,
    HangUp,
    MediaOpened,
    MediaRefused,
    MediaSilent,
    MediaUpdated,
    OpenMedia,
    Originate,
    StartAgent,
    StopAgent,
    UpdateMedia,
)
from sip_front.call import LIMITS_NS, TRANSITIONS, Cause, State
from sip_front.message import Response
from sip_front.transport import Address
from tests.sip_front.simulation import CALLER, SERVER, Machine, Network, Phone

BRIDGES, WORKERS = {b"bridge-0", b"bridge-1"}, {b"worker-0", b"worker-1"}


def test_every_state_can_be_left_and_reached() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State) - {State.ENDED}
    assert {state for state, _ in TRANSITIONS.values()} == set(State)
    for state in set(State) - {State.CLOSING, State.ENDED}:
        for cause in (Cause.FAR_END_ENDED, Cause.HANG_UP, Cause.FAILED):
            assert TRANSITIONS[state, cause][0] is State.CLOSING
    for state in LIMITS_NS:
        assert (state, Cause.STEP_TIMEOUT) in TRANSITIONS, f"{state.name} has a limit, and nothing happens then"


def test_the_order_of_a_call_that_comes_in(machine: Machine, phone: Phone) -> None:
    phone.call(to="4711", headers="X-Account: 7\r\nP-Asserted-Identity: <sip:+49@x>\r\nAuthorization: secret\r\n")
    (opened,), (started,) = machine.told(OpenMedia), machine.told(StartAgent)
    assert (opened.media.format, opened.media.remote_host, opened.media.remote_port) == ("PCMU", CALLER, 40_000)
    assert opened.media.dtmf_payload_type == 101
    assert (started.row, started.generation, started.sample_rate_hz, started.agent) == (0, 7, 8_000, "echo")
    assert (started.caller, started.callee, started.direction, started.arguments) == ("+491", "4711", "inbound", {"tone": "high"})
    assert started.headers == {"X-Account": "7", "P-Asserted-Identity": "<sip:+49@x>"} and not started.resumed
    phone.request("BYE")
    assert [type(m) for _, m in machine.said] == [FrontStarted, FrontStarted, OpenMedia, StartAgent, StopAgent, CloseMedia]
    assert machine.said[3][0] == b"bridge-0" and all(not peer.calls for peer in machine.front.peers.peers.values())


def test_calls_are_spread_over_workers_and_bridges(machine: Machine, phone: Phone) -> None:
    for i in range(6):
        phone.call(call_id=f"c{i}", tag="", cseq=1)
    assert {len(peer.calls) for peer in machine.front.peers.peers.values()} == {3}


# ---- a step that does not come -----------------------------------------------------------------------------------


def test_open_media_is_repeated_until_it_is_answered(network: Network, machine: Machine, phone: Phone) -> None:
    machine.silent.add(b"worker-0")
    phone.invite(run_s=1.1)
    assert len(machine.told(OpenMedia, b"worker-0")) == 5, "at once, and every 250 ms"
    machine.silent.discard(b"worker-0")
    network.run(0.3)
    assert machine.states == ["ANSWERED"] and machine.front.calls[machine.told(OpenMedia)[0].call_id].worker == 0


def test_a_silent_worker_is_passed_over_once(network: Network, machine: Machine, phone: Phone, caplog: pytest.LogCaptureFixture) -> None:
    machine.silent.add(b"worker-0")
    phone.invite(run_s=2.2)
    assert phone.statuses()[-1] == 200 and len(machine.told(OpenMedia, b"worker-1")) == 1
    assert "worker 0 was silent for 2 s; trying worker 1" in caplog.text
    call_id = machine.told(OpenMedia)[0].call_id
    said = len(machine.told(CloseMedia, b"worker-0"))
    machine.tell(b"worker-0", MediaOpened(call_id, 0, 5, 7, 10_010, 8_000))
    assert len(machine.told(CloseMedia, b"worker-0")) == said + 1, "a port that is opened too late is closed again"
    assert machine.states == ["ANSWERED"]


def test_when_both_workers_are_silent_the_caller_gets_503(machine: Machine, phone: Phone) -> None:
    machine.silent |= WORKERS
    phone.invite(run_s=4.5)
    refused = phone.got[-1]
    assert isinstance(refused, Response) and refused.status == 503 and refused.headers.get("Retry-After")
    (call,) = machine.front.calls.values()
    assert call.cause.startswith("503: worker 1 was silent for 2 s") and "log" in call.cause


def test_the_only_worker_is_waited_for_while_its_keeper_is_started_again(network: Network, phone: Phone) -> None:
    machine = Machine(network, workers=1)
    machine.silent.add(b"worker-0")
    phone.invite(run_s=4.0)
    assert phone.statuses() == [100]
    machine.silent.discard(b"worker-0")
    network.run(2.5)
    assert phone.statuses()[-1] == 200 and machine.states == ["ANSWERED"]


def test_the_only_worker_is_not_waited_for_forever(network: Network, phone: Phone) -> None:
    machine = Machine(network, workers=1)
    machine.silent.add(b"worker-0")
    phone.invite(run_s=9.0)
    assert phone.statuses()[-1] == 503
    (call,) = machine.front.calls.values()
    assert call.cause.startswith("503: worker 0 was silent for 8 s, and there is no other with room")


def test_a_worker_without_ports_is_passed_over(network: Network, machine: Machine, phone: Phone) -> None:
    machine.silent.add(b"worker-0")
    phone.invite()
    machine.tell(b"worker-0", MediaRefused(machine.told(OpenMedia)[0].call_id, "all ports are taken"))
    network.run()
    assert phone.statuses()[-1] == 200


def test_a_silent_bridge_means_503_after_eight_seconds(machine: Machine, phone: Phone) -> None:
    machine.silent |= BRIDGES
    phone.invite(run_s=8.5)
    assert phone.statuses()[-1] == 503
    assert machine.last_cause == "503: bridge 0 did not start the agent echo within 8 s; see its log"
    assert 21 <= len(machine.told(StartAgent)) <= 23, "every 250 ms, and after five seconds every two"


def test_without_staff_the_caller_gets_503_at_once(network: Network, phone: Phone, caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(network)
    machine.silent |= set(machine.pids)
    network.run(4)  # a front that has just begun waits for its staff: test_succession.py
    machine.front.peers.peers.clear()
    phone.invite()
    assert phone.statuses() == [100, 503] and "no worker has ever reported" in caplog.text


def test_full_workers_mean_503(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    Machine(network, workers=1, capacity=1)
    phone = Phone(network)
    phone.call(call_id="one", tag="", cseq=1)
    phone.invite(call_id="two", tag="", cseq=1)
    assert phone.statuses()[-1] == 503 and "all 1 calls that the workers can carry are taken" in caplog.text


def test_close_media_is_repeated_until_it_is_confirmed(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    machine.silent |= WORKERS
    phone.request("BYE", run_s=1.1)
    assert machine.states == ["CLOSING"] and len(machine.told(CloseMedia)) == 5
    machine.silent -= WORKERS
    network.run(0.3)
    assert machine.states == []


def test_a_worker_that_never_confirms_does_not_keep_the_call(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    machine.silent |= WORKERS
    phone.request("BYE", run_s=11)
    assert machine.states == []


# ---- what ends a call ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fact", "who", "cause"),
    [
        (lambda c: MediaSilent(c, 60_000), b"worker-0", "the far end sent no audio for 60 s"),
        (lambda c: AgentFailed(c, "ValueError: no"), b"bridge-0", "the agent echo failed: ValueError: no"),
        (lambda c: MediaRefused(c, "no such call"), b"worker-0", "worker 0 refused: no such call"),
        (lambda c: HangUp(c, "enough"), b"operator", "enough"),
        (lambda c: HangUp(c, "the agent is done"), b"bridge-0", "the agent is done"),
    ],
)
def test_it_ends_with_bye_and_the_reason(  # type: ignore[no-untyped-def]
    network: Network, machine: Machine, phone: Phone, caplog: pytest.LogCaptureFixture, fact, who: bytes, cause: str
) -> None:
    caplog.set_level("INFO")
    phone.call()
    (call_id,) = machine.front.calls
    network.run(31)  # a far end that is silent from the answer on is one that has been silent for 30 s
    machine.tell(who, fact(call_id))
    network.run()
    (bye,) = phone.requests("BYE")
    assert cause in (bye.headers.get("Reason") or "")
    assert machine.states == [] and machine.last_cause.startswith(cause)
    lines = [record for record in caplog.records if cause in record.message]
    assert len(lines) == 1 and lines[0].call_id == call_id  # type: ignore[attr-defined]


def test_a_fact_from_another_process_is_not_believed(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    (call_id,) = machine.front.calls
    for who in (b"worker-1", b"bridge-0", b"operator"):
        machine.tell(who, MediaSilent(call_id, 60_000))
    machine.tell(b"bridge-1", AgentFailed(call_id, "no"))
    network.run()
    assert machine.states == ["UP"]


def test_facts_about_calls_that_are_over_free_the_port(machine: Machine) -> None:
    machine.said.clear()
    machine.tell(b"worker-0", MediaSilent("gone", 1000))
    machine.tell(b"worker-1", MediaOpened("gone", 1, 2, 3, 10_004, 8_000))
    assert [(to, type(m)) for to, m in machine.said] == [(b"worker-0", CloseMedia), (b"worker-1", CloseMedia)]


def test_a_refusal_before_the_answer_is_a_status(machine: Machine, phone: Phone) -> None:
    machine.silent |= BRIDGES
    phone.invite()
    machine.tell(b"bridge-0", AgentFailed(machine.told(StartAgent)[0].call_id, "cannot be loaded"))
    phone.network.run()
    assert phone.statuses()[-1] == 500


# ---- processes are replaced under a call ---------------------------------------------------------------------------


def test_a_bridge_that_comes_back_gets_its_calls_again(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    before = len(machine.told(StartAgent))
    machine.replace(b"bridge-1")
    assert len(machine.told(StartAgent)) == before, "not its call"
    machine.replace(b"bridge-0")
    (resumed,) = machine.told(StartAgent)[before:]
    assert resumed.resumed and resumed.row == 0
    network.run(40)
    assert machine.states == ["UP"] and len(machine.told(StartAgent)) == before + 1


def test_a_pause_of_the_same_bridge_changes_nothing(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    machine.silent.add(b"bridge-0")
    network.run(5)
    machine.silent.discard(b"bridge-0")
    network.run(5)
    assert machine.states == ["UP"] and len(machine.told(StartAgent)) == 1


def test_a_bridge_replaced_while_it_starts_an_agent_starts_it_afresh(network: Network, machine: Machine, phone: Phone) -> None:
    machine.silent.add(b"bridge-0")
    phone.invite()
    machine.replace(b"bridge-0")
    network.run()
    assert phone.statuses()[-1] == 200 and not any(m.resumed for m in machine.told(StartAgent))


def test_a_bridge_that_stays_away_ends_its_calls(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    machine.silent.add(b"bridge-0")
    network.run(32)
    assert machine.states == [] and machine.last_cause.startswith("bridge 0 has been away for 30 s")


def test_a_new_bridge_that_gives_no_agent_ends_its_calls(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    machine.deaf.add(b"bridge-0")
    machine.replace(b"bridge-0")
    network.run(29)
    assert machine.states == ["UP"], "comfort noise meanwhile"
    network.run(2)
    assert machine.states == [] and machine.last_cause.startswith("bridge 0 was replaced, but gave no agent back for 30 s")


def test_a_worker_that_is_replaced_keeps_its_calls(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    said = len(machine.said)
    machine.replace(b"worker-0")
    network.run(5)
    assert machine.states == ["UP"] and [type(m) for _, m in machine.said[said:]] == [FrontStarted]


def test_a_worker_that_stays_away_ends_its_calls(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    machine.silent.add(b"worker-0")
    network.run(14)
    assert machine.states == ["UP"]
    network.run(3)
    assert machine.states == ["CLOSING"] and len(phone.requests("BYE")) >= 1
    network.run(11)
    assert machine.states == [] and machine.last_cause.startswith("worker 0 has been away for 15 s; look into its log")


def test_nobody_is_missed_while_the_front_itself_slept(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    machine.front.expire(network.now_ns + 60 * 10**9)
    assert machine.states == ["UP"], "what they said meanwhile was not read yet"


def test_what_is_not_answered_is_asked_more_slowly_after_a_while(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    machine.deaf.add(b"worker-0")
    phone.invite(body=phone.sdp(port=50_000))
    phone.request("ACK")
    network.run(5)
    before = len(machine.told(UpdateMedia))
    network.run(10)
    assert before >= 19 and 4 <= len(machine.told(UpdateMedia)) - before <= 6, "every 2 s"
    machine.deaf.discard(b"worker-0")
    network.run(2.1)
    said = len(machine.told(UpdateMedia))
    network.run(5)
    assert machine.states == ["UP"] and len(machine.told(UpdateMedia)) == said


def test_a_call_ends_when_its_worker_and_its_bridge_stay_away(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    machine.silent |= {b"bridge-0", b"worker-0"}
    network.run(60)
    assert machine.states == []


def test_an_update_is_repeated_to_the_worker_in_its_place(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    machine.silent.add(b"worker-0")
    phone.invite(body=phone.sdp(port=50_000))
    phone.request("ACK", run_s=0.6)
    assert len(machine.told(UpdateMedia)) >= 3
    machine.replace(b"worker-0")
    network.run(0.6)
    said = len(machine.told(UpdateMedia))
    network.run(2)
    assert len(machine.told(UpdateMedia)) == said
    (call_id,) = machine.front.calls
    machine.tell(b"worker-0", MediaUpdated(call_id))
    assert machine.states == ["UP"]


# ---- the front itself is replaced ------------------------------------------------------------------------------------


def test_every_worker_process_hears_once_which_front_it_has(network: Network, machine: Machine, phone: Phone) -> None:
    front = machine.front.front_id
    network.run(5)
    assert [(to, m.front) for to, m in machine.said if isinstance(m, FrontStarted)] == [(b"worker-0", front), (b"worker-1", front)]
    machine.replace(b"worker-1")
    machine.replace(b"bridge-1")
    network.run(5)
    assert [to for to, m in machine.said if isinstance(m, FrontStarted)] == [b"worker-0", b"worker-1", b"worker-1"]
    phone.call()
    assert [m.front for m in machine.told(OpenMedia)] == [front] and 0 < front < 2**63


def test_a_call_that_goes_to_another_worker_names_the_same_front(machine: Machine, phone: Phone) -> None:
    machine.silent.add(b"worker-0")
    phone.invite(run_s=2.2)
    assert {m.front for m in machine.told(OpenMedia)} == {machine.front.front_id}


def test_a_front_that_takes_over_has_another_id_and_says_so_before_it_opens_anything(network: Network, machine: Machine) -> None:
    successor = Machine(network)
    phone = Phone(network)
    phone.call()
    told = [type(m) for to, m in successor.said if to == b"worker-0"]
    assert told == [FrontStarted, OpenMedia] and successor.front.front_id != machine.front.front_id


# ---- calls that we make ------------------------------------------------------------------------------------------------


def originate(machine: Machine, network: Network, to: str = f"sip:+491@{CALLER}", **more: object) -> None:
    machine.tell(b"operator", Originate("out", to, "echo", **more))  # type: ignore[arg-type]
    network.run()


def test_a_call_of_ours_is_answered(network: Network, machine: Machine, phone: Phone) -> None:
    originate(machine, network, caller="+4930", arguments={"play": "x"})
    (invite,) = phone.requests("INVITE")
    assert invite.from_.uri == f"sip:+4930@{SERVER}" and b"m=audio 10000 RTP/AVP 0 8 9 101" in invite.body
    phone.respond(invite, 180, "Ringing")
    assert machine.states == ["CALLING"] and not machine.told(StartAgent), "the agent speaks to people, not to ringing"
    phone.respond(invite, 200, body=phone.sdp(formats="8 101"))
    assert machine.states == ["UP"]
    (ack,) = phone.requests("ACK")
    assert ack.uri == f"sip:me@{CALLER}:5060" and ack.cseq == (1, "ACK") and ack.to.tag == "callee"
    (update,), (started,) = machine.told(UpdateMedia), machine.told(StartAgent)
    assert (update.media.format, update.media.remote_port) == ("PCMA", 40_000)
    assert (started.direction, started.callee, started.arguments) == ("outbound", "+491", {"play": "x"})
    phone.respond(invite, 200, body=phone.sdp(formats="8 101"))
    assert len(phone.requests("ACK")) == 2, "a 200 that comes again gets its ACK again"


FAILURES = [(486, "Busy Here"), (404, "Not Found"), (603, "Decline"), (401, "Unauthorized"), (380, "Alternative Service")]


@pytest.mark.parametrize(("status", "reason"), FAILURES)
def test_a_failure_is_acknowledged_and_named(network: Network, machine: Machine, phone: Phone, status: int, reason: str) -> None:
    originate(machine, network)
    (invite,) = phone.requests("INVITE")
    phone.respond(invite, status, reason)
    assert len(phone.requests("ACK")) == 1
    assert machine.states == [] and machine.last_cause.startswith(f"{status} {reason}")


def test_an_agent_that_is_not_there_rings_nobody(network: Network, machine: Machine, phone: Phone) -> None:
    machine.tell(b"bridge-0", Alive("bridge", 0, machine.pids[b"bridge-0"], agents=("echo", "menu")))
    for agent in ("ehco", "echo"):
        machine.tell(b"operator", Originate(agent, "sip:bob@192.0.2.10", agent))
    network.run()
    (failed,) = machine.told(Failed, b"operator")
    assert failed.why == "there is no agent 'ehco': built in are echo, menu; your own is named MODULE:CLASS"
    assert len(phone.requests("INVITE")) == 1


def test_nobody_there(network: Network, machine: Machine) -> None:
    originate(machine, network, to="sip:100@203.0.113.1")
    network.run(33)
    assert machine.last_cause.startswith("no response from 203.0.113.1:5060 for 32 s; look at its address and port")


def test_a_call_of_ours_that_rings_is_cancelled(network: Network, machine: Machine, phone: Phone) -> None:
    originate(machine, network)
    (invite,) = phone.requests("INVITE")
    machine.tell(b"operator", HangUp("out", "changed my mind"))
    network.run()
    assert not phone.requests("CANCEL"), "not before a provisional response (9.1)"
    phone.respond(invite, 180, "Ringing")
    (cancel,) = phone.requests("CANCEL")
    assert cancel.top_via.branch == invite.top_via.branch and cancel.cseq == (1, "CANCEL")
    phone.respond(cancel, 200)
    phone.respond(invite, 487, "Request Terminated")
    assert machine.last_cause == "changed my mind" and not machine.front.user_agent.sessions


def test_an_invite_without_final_response_is_given_up_after_its_cancel(network: Network, machine: Machine, phone: Phone) -> None:
    originate(machine, network)
    (invite,) = phone.requests("INVITE")
    phone.respond(invite, 180, "Ringing")
    machine.tell(b"operator", HangUp("out", "changed my mind"))
    network.run()
    phone.respond(phone.requests("CANCEL")[0], 200)
    network.run(31)
    assert machine.front.user_agent.sessions, "its final response may still come"
    network.run(2)
    agent = machine.front.user_agent
    assert not agent.sessions and not agent.sent and machine.front.is_quiet
    assert machine.last_cause == "changed my mind"
    phone.respond(invite, 200, body=phone.sdp())
    assert not agent.sessions and not machine.front.calls


def test_a_cancel_that_lost_against_the_answer_gives_nothing_up(network: Network, machine: Machine, phone: Phone) -> None:
    originate(machine, network)
    (invite,) = phone.requests("INVITE")
    phone.respond(invite, 180, "Ringing")
    machine.tell(b"operator", HangUp("out"))
    phone.respond(invite, 200, body=phone.sdp())
    phone.respond(phone.requests("BYE")[0], 200)
    network.run(70)
    agent = machine.front.user_agent
    assert not agent.sessions and not agent.sent and not agent.deadlines.heap and len(phone.requests("ACK")) == 1


def test_a_call_that_cannot_even_be_sent_fails_at_once(network: Network, machine: Machine) -> None:
    originate(machine, network, to="sip:100@203.0.113.1")
    (octets,) = [octets for octets, _ in machine.datagrams if octets.startswith(b"INVITE")]
    machine.front.fail_to_send(octets, "cannot send to 203.0.113.1:5060: Network is unreachable", network.now_ns)
    machine.pump()
    network.run()
    assert machine.states == [] and machine.last_cause.startswith("cannot send to 203.0.113.1:5060: Network is unreachable")
    assert not machine.front.user_agent.sent and not machine.front.user_agent.sessions
    machine.front.fail_to_send(octets, "again", network.now_ns)


def test_a_bye_that_cannot_be_sent_now_is_repeated(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    machine.tell(b"operator", HangUp(next(iter(machine.front.calls))))
    (bye,) = [octets for octets, _ in machine.datagrams if octets.startswith(b"BYE")]
    machine.front.fail_to_send(bye, "cannot send", network.now_ns)
    network.run(1)
    assert len(phone.requests("BYE")) == 2


def test_a_cancel_that_crosses_the_answer_ends_with_bye(network: Network, machine: Machine, phone: Phone) -> None:
    originate(machine, network)
    (invite,) = phone.requests("INVITE")
    phone.respond(invite, 180, "Ringing")
    machine.tell(b"operator", HangUp("out"))
    phone.respond(invite, 200, body=phone.sdp())
    assert len(phone.requests("ACK")) == len(phone.requests("BYE")) == 1


def test_nobody_answers_for_two_minutes(network: Network, machine: Machine, phone: Phone) -> None:
    originate(machine, network)
    phone.respond(phone.requests("INVITE")[0], 180, "Ringing")
    network.run(121)
    assert phone.requests("CANCEL") and machine.last_cause == "nobody answered within 120 s"
    network.run(70)
    assert not machine.front.user_agent.sessions and not machine.front.user_agent.sent


def test_the_second_phone_of_a_fork_is_thanked_and_sent_away(network: Network, machine: Machine, phone: Phone) -> None:
    originate(machine, network)
    (invite,) = phone.requests("INVITE")
    phone.respond(invite, 200, body=phone.sdp(), tag="one")
    phone.respond(invite, 200, body=phone.sdp(), tag="two")
    assert [ack.to.tag for ack in phone.requests("ACK")] == ["one", "two"]
    assert [bye.to.tag for bye in phone.requests("BYE")] == ["two"]
    assert machine.states == ["UP"]


def test_an_answer_that_we_cannot_use_ends_with_bye(network: Network, machine: Machine, phone: Phone) -> None:
    originate(machine, network)
    phone.respond(phone.requests("INVITE")[0], 200, body=phone.sdp(formats="18"))
    assert len(phone.requests("BYE")) == 1 and machine.last_cause.startswith("the answer cannot be used: no audio format in common")


def test_an_invite_of_theirs_while_ours_is_open_is_glare(network: Network, machine: Machine, phone: Phone) -> None:
    originate(machine, network)
    (invite,) = phone.requests("INVITE")
    phone.respond(invite, 180, "Ringing")
    answer = phone.request("INVITE", call_id=invite.call_id, tag=invite.from_.tag, from_tag="callee", body=phone.sdp())[-1]
    assert isinstance(answer, Response) and answer.status == 491


def test_the_callee_may_hang_up_though_it_may_not_call(network: Network) -> None:
    machine = Machine(network, allow=())
    phone = Phone(network)
    originate(machine, network)
    (invite,) = phone.requests("INVITE")
    phone.respond(invite, 200, body=phone.sdp())
    phone.request("BYE", call_id=invite.call_id, tag=invite.from_.tag, from_tag="callee")
    assert phone.statuses() == [200] and machine.states == []


def test_the_same_order_twice_is_one_call(network: Network, machine: Machine, phone: Phone) -> None:
    originate(machine, network)
    originate(machine, network)
    assert len(phone.requests("INVITE")) == 1


def test_durations_are_counted_to_the_end(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    network.run(10)
    phone.request("BYE")
    facts = next(iter(machine.front.ended.values()))
    assert facts.duration_s == pytest.approx(10.2, abs=0.2) and facts.state == "ended"


def test_a_call_that_ends_its_agents_process_again_and_again_is_ended(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    (guilty,) = machine.rows.values()
    for _ in range(2):
        machine.replace(b"bridge-0", suspects=(guilty,))
        network.run(5)
    assert machine.states == ["UP"]
    network.run(60)
    machine.replace(b"bridge-0", suspects=(guilty,))
    network.run(1)
    assert machine.states == ["UP"], "three times, but not within a minute"
    machine.replace(b"bridge-0", suspects=(guilty,))
    network.run(1)
    started = len(machine.told(StartAgent))
    machine.replace(b"bridge-0", suspects=(guilty,))
    network.run(1)
    assert machine.last_cause == "its agent echo ended its process 3 times within 60 s; look into the log of bridge 0"
    assert len(phone.requests("BYE")) >= 1 and len(machine.told(StartAgent)) == started


def test_a_call_outlives_its_bridge_however_often_that_is_ended_by_others(network: Network, machine: Machine, phone: Phone) -> None:
    phone.call()
    (row,) = machine.rows.values()
    for _ in range(100):
        machine.replace(b"bridge-0", suspects=(row + 1,))
        network.run(0.5)
    assert machine.states == ["UP"] and len(machine.told(StartAgent)) == 101


def test_a_name_that_is_found_while_draining_is_not_dialled(network: Network, machine: Machine, phone: Phone) -> None:
    machine.tell(b"operator", Originate("out", "sip:bob@phones.example.com", "echo"))
    (lookup,) = machine.front.originator.take_lookups()
    machine.front.drain(network.now_ns)
    why_not = machine.front.originator.dial_out(lookup.order, lookup.uri, [Address(CALLER, 5060)], network.now_ns)
    assert why_not == "this server is draining and makes no new calls" and machine.states == []


def test_a_far_end_that_offers_nonsense_again_and_again_fills_no_log(
    network: Network, machine: Machine, phone: Phone, caplog: pytest.LogCaptureFixture
) -> None:
    phone.call()
    for _ in range(20):
        phone.invite(body=phone.sdp(formats="18"))
        phone.request("ACK", branch=f"call-1-{phone.cseq}-INVITE")
    assert caplog.text.count("re-INVITE refused with 488") == 1 and machine.states == ["UP"]


@pytest.mark.parametrize("step_s", [3600, -3600, 86_400, -86_400])
def test_a_clock_that_is_set_changes_neither_durations_nor_timers(
    network: Network, machine: Machine, phone: Phone, monkeypatch: pytest.MonkeyPatch, step_s: int
) -> None:
    """R11. The wall clock is for people; everything that is counted is on the monotonic one."""
    phone.call()
    network.run(5)
    before = time.time
    monkeypatch.setattr(time, "time", lambda: before() + step_s)
    network.run(5)
    assert machine.states == ["UP"] and next(iter(machine.front.calls.values())).deadline_ns is None
    phone.request("BYE")
    network.run(1)
    facts = next(iter(machine.front.ended.values()))
    assert facts.ended_at - facts.started_at == pytest.approx(facts.duration_s, abs=0.02)
    assert facts.duration_s == pytest.approx(10.2, abs=0.3) and facts.ended_at - facts.answered_at == pytest.approx(10, abs=0.4)
