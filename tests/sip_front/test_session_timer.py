"""Session timers: the table row by row, the headers of RFC 4028, and hours of calls in both roles in simulated time."""

import pytest

from control_plane.messages import HoldCall, Originate
from sip_front.message import Request, Response
from sip_front.session_timer import DEAD, OFF, REFRESHING, RESTING, TRANSITIONS, WATCHING, Cause, SessionTimer, State, read
from tests.sip_front.simulation import CALLER, SERVER, Machine, Network, Phone

S = 1_000_000_000
HOUR_S = 3600.0


def request(**headers: str) -> Request:
    message = Request("INVITE", "sip:a@b")
    for name, value in headers.items():
        message.headers.add(name.replace("_", "-"), value)
    return message


def response(**headers: str) -> Response:
    message = Response(200, "OK")
    message.headers = request(**headers).headers
    return message


# ---- the table ---------------------------------------------------------------------------------------------------------


def test_every_state_can_be_left_and_reached_but_death() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State) - {DEAD}
    assert {state for state, _ in TRANSITIONS.values()} == set(State)
    for state in (WATCHING, RESTING, REFRESHING):
        assert TRANSITIONS[state, Cause.EXPIRED][0] is DEAD


def test_the_refresher_refreshes_halfway_and_gives_up_before_the_far_end_does() -> None:
    timer = SessionTimer(1800)
    timer.receive_2xx(response(Session_Expires="1800;refresher=uac"), 0)
    assert timer.state is RESTING and timer.deadline_ns == 900 * S
    timer.expire(900 * S)
    assert timer.state is REFRESHING and timer.deadline_ns == (1800 - 32) * S
    timer.expire(1768 * S)
    assert timer.state is DEAD and timer.deadline_ns is None


def test_who_watches_gives_up_a_third_before_the_end_of_a_short_interval() -> None:
    timer = SessionTimer(1800)
    timer.receive_2xx(response(Session_Expires="90;refresher=uas"), 0)
    assert timer.state is WATCHING and timer.deadline_ns == 60 * S
    timer.expire(60 * S - 1)
    assert timer.state is WATCHING
    timer.expire(60 * S)
    assert timer.state is DEAD


def test_a_refused_refresh_is_tried_again_while_there_is_time() -> None:
    timer = SessionTimer(1800)
    timer.receive_2xx(response(Session_Expires="1800;refresher=uac"), 0)
    tries, now_ns = 0, 0
    while timer.state is not DEAD:
        now_ns = timer.deadline_ns or 0
        timer.expire(now_ns)
        if timer.state is REFRESHING:
            tries += 1
            timer.step(Cause.REFUSED, now_ns)
    assert 5 < tries < 40 and now_ns == 1768 * S


def test_a_refresh_of_either_side_begins_the_interval_anew() -> None:
    timer = SessionTimer(1800)
    timer.receive_2xx(response(Session_Expires="1800;refresher=uac"), 0)
    timer.answer(request(Supported="timer", Session_Expires="600;refresher=uac"), 100 * S)
    assert timer.state is WATCHING and timer.deadline_ns == (100 + 600 - 32) * S
    timer.answer(request(Supported="timer", Session_Expires="600;refresher=uas"), 200 * S)
    assert timer.state is RESTING and timer.deadline_ns == 500 * S
    timer.receive_2xx(response(), 300 * S)
    assert timer.state is OFF and timer.deadline_ns is None


# ---- headers -------------------------------------------------------------------------------------------------------------


ANSWERS = [
    # what the request says                                             what the answer says, and who refreshes (table 2)
    ({"Supported": "timer", "Session_Expires": "1800"},                 "1800;refresher=uac", WATCHING),
    ({"Supported": "timer", "Session_Expires": "1800;refresher=uac"},   "1800;refresher=uac", WATCHING),
    ({"Supported": "timer", "Session_Expires": "1800;refresher=uas"},   "1800;refresher=uas", RESTING),
    ({"Supported": "timer", "Session_Expires": "120;refresher=uas"},    "120;refresher=uas",  RESTING),
    ({"Supported": "timer", "Session_Expires": "7200"},                 "1800;refresher=uac", WATCHING),
    ({"Supported": "timer", "Session_Expires": "7200", "Min_SE": "3600"}, "3600;refresher=uac", WATCHING),
    ({"Supported": "timer"},                                            "1800;refresher=uas", RESTING),
    ({"Session_Expires": "1800"},                                       "1800;refresher=uas", RESTING),
    ({"Session_Expires": "60"},                                         "60;refresher=uas",   RESTING),
    ({"k": "timer", "x": "1800 ; Refresher=UAS"},                       "1800;refresher=uas", RESTING),
    ({},                                                                None,                 OFF),
    ({"Session_Expires": "soon"},                                       None,                 OFF),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "answered", "state"), ANSWERS)
def test_what_we_answer(asked: dict[str, str], answered: str | None, state: State) -> None:
    timer = SessionTimer(1800)
    headers = dict(timer.answer(request(**asked), 0))
    assert headers.get("Session-Expires") == answered and timer.state is state
    assert headers.get("Require") == ("timer" if {"Supported", "k"} & set(asked) else None)


def test_only_who_knows_timers_is_refused() -> None:
    timer = SessionTimer(1800)
    assert timer.refuses(request(Supported="timer", Session_Expires="89"))
    assert not timer.refuses(request(Supported="timer", Session_Expires="90"))
    assert not timer.refuses(request(Session_Expires="89")), "section 9: it would not know what 422 means"
    assert not SessionTimer(0).refuses(request(Supported="timer", Session_Expires="1"))


def test_what_we_ask() -> None:
    timer = SessionTimer(1800)
    assert timer.request_headers() == () and timer.request_headers(is_first=True) == (("Session-Expires", "1800"),)
    assert timer.raise_minimum(response(Min_SE="3600"))
    assert timer.request_headers(is_first=True) == (("Session-Expires", "3600"), ("Min-SE", "3600"))
    for value in ("3600", "60", "4000000000", "x"):
        assert not timer.raise_minimum(response(Min_SE=value)), "no more than it got, or nonsense"
    timer.receive_2xx(response(Session_Expires="3600;refresher=uas"), 0)
    assert timer.request_headers()[0] == ("Session-Expires", "3600;refresher=uas")
    timer.receive_2xx(response(Session_Expires="3600"), 0)
    assert timer.request_headers()[0] == ("Session-Expires", "3600;refresher=uac")
    assert SessionTimer(0).request_headers(is_first=True) == ()


def test_nonsense_is_read_as_nothing() -> None:
    assert read(request(Session_Expires=";;refresher", Min_SE="-1")) == (None, None, 0, False)


# ---- hours of calls ------------------------------------------------------------------------------------------------------


def call_between(network: Network, **sip: object) -> tuple[Machine, Machine]:
    caller, server = Machine(network, CALLER, **sip), Machine(network, SERVER, **sip)
    caller.tell(b"operator", Originate("out", f"sip:100@{SERVER}", "echo"))
    network.run(1)
    assert caller.states == server.states == ["UP"]
    return caller, server


def sent(machine: Machine, method: str) -> int:
    return len({octets for octets, _ in machine.datagrams if octets.startswith(f"{method} ".encode())})


@pytest.mark.parametrize("by", ["UPDATE", "INVITE"])
@pytest.mark.parametrize("refresher", ["caller", "callee"])
def test_an_hour_drops_nobody_whoever_refreshes_and_however(by: str, refresher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if by == "INVITE":
        monkeypatch.setattr("sip_front.session.ALLOW", "INVITE, ACK, BYE, CANCEL")
        monkeypatch.setattr("sip_front.user_agent.ALLOW", "INVITE, ACK, BYE, CANCEL")
        monkeypatch.setattr("sip_front.renegotiation.ALLOW", "INVITE, ACK, BYE, CANCEL")
    if refresher == "callee":
        monkeypatch.setattr(SessionTimer, "_whose_turn", lambda *_: "uas")
    network = Network(loss=0.05, delay_ms=30, seed=3)
    caller, server = call_between(network, session_expires_seconds=90)
    before = sent(caller, by), sent(server, by)
    network.run(HOUR_S)
    assert caller.states == server.states == ["UP"]
    counts = sent(caller, by) - before[0], sent(server, by) - before[1]
    ours, theirs = counts if refresher == "caller" else counts[::-1]
    assert 75 <= ours <= 85 and theirs == 0, "every 45 s, and by one side only"
    other = "INVITE" if by == "UPDATE" else "UPDATE"
    assert sent(caller, other) + sent(server, other) <= 1


@pytest.mark.parametrize("refresher", ["caller", "callee"])
def test_a_far_end_that_is_lost_does_not_keep_a_call(refresher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if refresher == "callee":
        monkeypatch.setattr(SessionTimer, "_whose_turn", lambda *_: "uas")
    network = Network(delay_ms=5)
    caller, server = call_between(network, session_expires_seconds=180)
    network.run(600)
    network.loss = 1.0
    network.run(180)
    assert caller.states == server.states == []
    causes = {machine.last_cause for machine in (caller, server)}
    assert any("is not answered: the far end is gone" in cause for cause in causes)
    assert any("was not refreshed within 180 s (RFC 4028)" in cause for cause in causes)


def test_a_hold_counts_as_a_refresh() -> None:
    network = Network()
    caller, server = call_between(network, session_expires_seconds=90)
    for is_held in (True, False) * 40:
        server.tell(b"operator", HoldCall(next(iter(server.front.calls)), is_held))
        network.run(30)
    assert caller.states == server.states == ["UP"] and sent(caller, "UPDATE") == 0


def test_a_422_is_answered_with_a_longer_interval() -> None:
    network = Network()
    machine, phone = Machine(network), Phone(network)
    machine.tell(b"operator", Originate("out", f"sip:1@{CALLER}", "echo"))
    network.run()
    (first,) = phone.requests("INVITE")
    assert first.headers.get("Session-Expires") == "1800" and "timer" in first.headers.get_all("Supported")
    phone.respond(first, 422, "Session Interval Too Small", headers="Min-SE: 3600\r\n")
    second = phone.requests("INVITE")[-1]
    assert (second.headers.get("Session-Expires"), second.headers.get("Min-SE")) == ("3600", "3600")
    assert second.cseq == (2, "INVITE") and second.call_id == first.call_id and second.top_via.branch != first.top_via.branch
    phone.respond(second, 422, "Session Interval Too Small", headers="Min-SE: 3600\r\n")
    assert machine.states == [] and machine.last_cause.startswith("422"), "the same again makes no sense"


def test_our_answer_names_the_timer_and_a_short_one_gets_422() -> None:
    network = Network()
    machine, phone = Machine(network), Phone(network)
    refused = phone.invite(headers="Supported: timer\r\nSession-Expires: 60\r\n")[-1]
    assert isinstance(refused, Response) and refused.status == 422 and refused.headers.get("Min-SE") == "90"
    assert not machine.front.user_agent.served
    phone.invite(headers="Supported: timer\r\nSession-Expires: 90;refresher=uas\r\n", call_id="two", tag="")
    ok = phone.got[-1]
    assert ok.headers.get("Session-Expires") == "90;refresher=uas" and ok.headers.get_all("Require") == ["timer"]
    phone.request("ACK", call_id="two")
    network.run(46)
    refresh = phone.requests("INVITE")[-1]
    assert refresh.body == ok.body, "unchanged, its version too (section 7.4)"
    assert refresh.headers.get("Session-Expires") == "90;refresher=uac"
    phone.respond(refresh, 200, body=phone.sdp(), headers="Session-Expires: 90;refresher=uac\r\n")
    network.run(40)
    assert machine.states == ["UP"] and len(phone.requests("ACK")) == 1


def test_a_far_end_that_takes_no_update_is_refreshed_by_reinvite() -> None:
    network = Network()
    machine, phone = Machine(network), Phone(network)
    phone.call(headers="Allow: INVITE, ACK, BYE, UPDATE\r\nSupported: timer\r\nSession-Expires: 90;refresher=uas\r\n")
    network.run(46)
    (update,) = {m.cseq: m for m in phone.requests("UPDATE")}.values()
    assert not update.body
    phone.respond(update, 501, "Not Implemented")
    assert len(phone.requests("INVITE")) == 1
    phone.respond(phone.requests("INVITE")[0], 200, body=phone.sdp(), headers="Session-Expires: 90;refresher=uac\r\n")
    network.run(46)
    assert len({m.cseq for m in phone.requests("INVITE")}) == 2 and machine.states == ["UP"]


def test_a_refresh_that_is_refused_is_said_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    network = Network()
    machine, phone = Machine(network), Phone(network)
    phone.call(headers="Supported: timer\r\nSession-Expires: 90;refresher=uas\r\n")
    for _ in range(4):
        network.run(46)
        for invite in {m.cseq: m for m in phone.requests("INVITE")}.values():
            phone.respond(invite, 488, "Not Acceptable Here")
    assert machine.states == [] and "was not refreshed within 90 s" in machine.last_cause
    assert caplog.text.count("refuses our session refresh with 488") == 1


def test_without_timers_nobody_is_asked_to() -> None:
    network = Network()
    machine, phone = Machine(network, session_expires_seconds=0), Phone(network)
    phone.call(headers="Supported: timer\r\nSession-Expires: 60\r\n")
    assert phone.got[-1].headers.get("Session-Expires") is None and machine.states == ["UP"]
    network.run(HOUR_S)
    assert machine.states == ["UP"] and phone.requests("INVITE") == []
