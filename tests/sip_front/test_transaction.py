import pytest

from control_plane.errors import Misuse
from sip_front import transaction
from sip_front.message import Request, Response, parse
from sip_front.transaction import (
    INVITE_CLIENT,
    INVITE_SERVER,
    NON_INVITE_CLIENT,
    NON_INVITE_SERVER,
    T1_NS,
    T2_NS,
    Cause,
    ClientTransaction,
    ServerTransaction,
    State,
    Transaction,
    client_key,
    make_ack,
    make_cancel,
    server_key,
)

SECOND = 1_000_000_000
INVITE = (
    "INVITE sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKabc\r\n"
    "Route: <sip:192.0.2.9;lr>\r\nMax-Forwards: 70\r\nFrom: <sip:a@192.0.2.10>;tag=1\r\nTo: <sip:100@192.0.2.1>\r\n"
    "Call-ID: x\r\nCSeq: 7 INVITE\r\nContact: <sip:a@192.0.2.10>\r\n\r\n"
)

# What every row does: state, cause, next state, what is sent ("last", "ack"), is the user told, which timers run then.
ROWS = {
    "INVITE client, 17.1.1.2 and RFC 6026": (
        INVITE_CLIENT,
        """
        CALLING    SEND             CALLING    last -    A,B
        CALLING    TIMER_A          CALLING    last -    A
        CALLING    TIMER_B          TERMINATED -    told -
        CALLING    RESPONSE_1XX     PROCEEDING -    told -
        CALLING    RESPONSE_2XX     ACCEPTED   -    told M
        CALLING    RESPONSE_FAILURE COMPLETED  ack  told D
        CALLING    TRANSPORT_ERROR  TERMINATED -    told -
        PROCEEDING RESPONSE_1XX     PROCEEDING -    told -
        PROCEEDING RESPONSE_2XX     ACCEPTED   -    told M
        PROCEEDING RESPONSE_FAILURE COMPLETED  ack  told D
        PROCEEDING TRANSPORT_ERROR  TERMINATED -    told -
        COMPLETED  RESPONSE_1XX     COMPLETED  -    -    -
        COMPLETED  RESPONSE_2XX     COMPLETED  -    -    -
        COMPLETED  RESPONSE_FAILURE COMPLETED  ack  -    -
        COMPLETED  TIMER_D          TERMINATED -    -    -
        COMPLETED  TRANSPORT_ERROR  TERMINATED -    told -
        ACCEPTED   RESPONSE_1XX     ACCEPTED   -    -    -
        ACCEPTED   RESPONSE_2XX     ACCEPTED   -    told -
        ACCEPTED   RESPONSE_FAILURE ACCEPTED   -    -    -
        ACCEPTED   TRANSPORT_ERROR  ACCEPTED   -    -    -
        ACCEPTED   TIMER_M          TERMINATED -    -    -
        """,
    ),
    "non-INVITE client, 17.1.2.2": (
        NON_INVITE_CLIENT,
        """
        TRYING     SEND             TRYING     last -    E,F
        TRYING     TIMER_E          TRYING     last -    E
        TRYING     TIMER_F          TERMINATED -    told -
        TRYING     RESPONSE_1XX     PROCEEDING -    told -
        TRYING     RESPONSE_2XX     COMPLETED  -    told K
        TRYING     RESPONSE_FAILURE COMPLETED  -    told K
        TRYING     TRANSPORT_ERROR  TERMINATED -    told -
        PROCEEDING TIMER_E          PROCEEDING last -    E
        PROCEEDING TIMER_F          TERMINATED -    told -
        PROCEEDING RESPONSE_1XX     PROCEEDING -    told -
        PROCEEDING RESPONSE_2XX     COMPLETED  -    told K
        PROCEEDING RESPONSE_FAILURE COMPLETED  -    told K
        PROCEEDING TRANSPORT_ERROR  TERMINATED -    told -
        COMPLETED  RESPONSE_1XX     COMPLETED  -    -    -
        COMPLETED  RESPONSE_2XX     COMPLETED  -    -    -
        COMPLETED  RESPONSE_FAILURE COMPLETED  -    -    -
        COMPLETED  TRANSPORT_ERROR  COMPLETED  -    -    -
        COMPLETED  TIMER_K          TERMINATED -    -    -
        """,
    ),
    "INVITE server, 17.2.1 and RFC 6026": (
        INVITE_SERVER,
        """
        PROCEEDING REQUEST          PROCEEDING last -    -
        PROCEEDING ACK              PROCEEDING -    -    -
        PROCEEDING SEND_1XX         PROCEEDING last -    -
        PROCEEDING SEND_2XX         ACCEPTED   last -    L
        PROCEEDING SEND_FAILURE     COMPLETED  last -    G,H
        PROCEEDING TRANSPORT_ERROR  PROCEEDING -    told -
        COMPLETED  REQUEST          COMPLETED  last -    -
        COMPLETED  ACK              CONFIRMED  -    -    I
        COMPLETED  TIMER_G          COMPLETED  last -    G
        COMPLETED  TIMER_H          TERMINATED -    told -
        COMPLETED  TRANSPORT_ERROR  COMPLETED  -    told -
        CONFIRMED  REQUEST          CONFIRMED  -    -    -
        CONFIRMED  ACK              CONFIRMED  -    -    -
        CONFIRMED  TIMER_I          TERMINATED -    -    -
        CONFIRMED  TRANSPORT_ERROR  CONFIRMED  -    -    -
        ACCEPTED   REQUEST          ACCEPTED   -    -    -
        ACCEPTED   ACK              ACCEPTED   -    told -
        ACCEPTED   SEND_2XX         ACCEPTED   last -    -
        ACCEPTED   TRANSPORT_ERROR  ACCEPTED   -    told -
        ACCEPTED   TIMER_L          TERMINATED -    -    -
        """,
    ),
    "non-INVITE server, 17.2.2": (
        NON_INVITE_SERVER,
        """
        TRYING     REQUEST          TRYING     -    -    -
        TRYING     SEND_1XX         PROCEEDING last -    -
        TRYING     SEND_2XX         COMPLETED  last -    J
        TRYING     SEND_FAILURE     COMPLETED  last -    J
        TRYING     TRANSPORT_ERROR  TERMINATED -    told -
        PROCEEDING REQUEST          PROCEEDING last -    -
        PROCEEDING SEND_1XX         PROCEEDING last -    -
        PROCEEDING SEND_2XX         COMPLETED  last -    J
        PROCEEDING SEND_FAILURE     COMPLETED  last -    J
        PROCEEDING TRANSPORT_ERROR  TERMINATED -    told -
        COMPLETED  REQUEST          COMPLETED  last -    -
        COMPLETED  TRANSPORT_ERROR  TERMINATED -    told -
        COMPLETED  TIMER_J          TERMINATED -    -    -
        """,
    ),
}
LINES = [(name, table, line.split()) for name, (table, text) in ROWS.items() for line in text.strip().splitlines()]


@pytest.mark.parametrize(("name", "table", "line"), LINES, ids=[f"{n.split(',')[0]}-{line[0]}-{line[1]}" for n, _, line in LINES])
def test_each_row_does_what_the_rfc_draws(name: str, table: transaction.Table, line: list[str]) -> None:
    state, cause, next_state, sent, told, timers = line
    tx = Transaction(table, State[state], False)
    tx.last_sent, tx.ack = b"last", b"ack"
    tx.step(Cause[cause], 1000)
    assert tx.state is State[next_state]
    assert list(tx.outbox) == ([] if sent == "-" else [sent.encode()])
    assert tx.told == (told == "told")
    assert set(tx.timers) == ({f"TIMER_{t}" for t in timers.split(",")} if timers != "-" else set())
    assert tx.deadline_ns == (min(tx.timers.values()) if tx.timers else None)


@pytest.mark.parametrize("name", ROWS)
def test_the_tables_have_no_other_rows(name: str) -> None:
    table, text = ROWS[name]
    assert {(s.name, c.name) for s, c in table} == {tuple(line.split()[:2]) for line in text.strip().splitlines()}


@pytest.mark.parametrize("table", [INVITE_CLIENT, NON_INVITE_CLIENT, INVITE_SERVER, NON_INVITE_SERVER])
def test_what_is_absent_is_refused_but_a_dead_transaction_ignores_the_network(table: transaction.Table) -> None:
    states = {state for state, _ in table} | {State.TERMINATED}
    for state in states:
        for cause in Cause:
            if (state, cause) in table:
                continue
            tx = Transaction(table, state, False)
            if state is State.TERMINATED and cause.name in ("REQUEST", "ACK", "RESPONSE_1XX", "RESPONSE_2XX", "RESPONSE_FAILURE"):
                tx.step(cause, 0)
                assert not tx.outbox and not tx.told
            else:
                with pytest.raises(Misuse):
                    tx.step(cause, 0)


def times_of_sending(tx: Transaction) -> list[float]:
    """Lets all timers fire, to the end; seconds at which something was sent."""
    times = [0.0] * len(tx.take_outbox())
    while tx.deadline_ns is not None:
        now_ns = tx.deadline_ns
        tx.expire(now_ns)
        times += [now_ns / SECOND] * len(tx.take_outbox())
    return times


def test_an_invite_without_response_is_sent_seven_times_in_32_seconds() -> None:
    tx = ClientTransaction("INVITE", b"invite", 0)
    assert times_of_sending(tx) == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert tx.told and tx.is_over


def test_another_request_is_sent_eleven_times_in_32_seconds() -> None:
    tx = ClientTransaction("BYE", b"bye", 0)
    assert times_of_sending(tx) == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert tx.told and tx.is_over


def test_a_failure_is_repeated_until_its_ack() -> None:
    tx = ServerTransaction("INVITE")
    tx.respond(486, b"busy", 0)
    assert times_of_sending(tx) == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert tx.told, "nobody acknowledged"

    tx = ServerTransaction("INVITE")
    tx.respond(486, b"busy", 0)
    tx.receive("ACK", T1_NS // 2)
    assert times_of_sending(tx) == [0]
    assert not tx.told and tx.is_over


def test_a_repeated_request_gets_the_same_answer_until_timer_j() -> None:
    tx = ServerTransaction("BYE")
    tx.respond(200, b"ok", 0)
    tx.receive("BYE", 1)
    assert tx.outbox == [b"ok", b"ok"] and tx.deadline_ns == 32 * SECOND
    tx.expire(32 * SECOND)
    assert tx.is_over


def test_a_1xx_slows_the_repeats_of_a_request_to_t2() -> None:
    tx = ClientTransaction("BYE", b"bye", 0)
    tx.receive(100, T1_NS // 2)
    tx.take_outbox()
    tx.expire(T1_NS)
    assert tx.take_outbox() == [b"bye"] and tx.deadline_ns == T1_NS + T2_NS


@pytest.mark.parametrize("method", ["INVITE", "BYE"])
def test_a_reliable_transport_repeats_nothing_and_ends_at_once(method: str) -> None:
    client = ClientTransaction(method, b"request", 0, is_reliable=True)
    assert times_of_sending(client) == [0] and client.told
    client = ClientTransaction(method, b"request", 0, is_reliable=True)
    client.receive(404, 5, b"ack")
    client.expire(5)
    assert client.is_over
    server = ServerTransaction(method, is_reliable=True)
    server.respond(404, b"no", 0)
    server.receive("ACK" if method == "INVITE" else method, 7)
    server.expire(7)
    assert server.is_over


def test_a_long_sleep_makes_no_burst() -> None:
    tx = ClientTransaction("BYE", b"bye", 0)
    tx.take_outbox()
    tx.expire(10 * SECOND)
    assert len(tx.take_outbox()) == 1


def test_an_ack_has_the_key_of_its_invite_and_a_cancel_finds_it() -> None:
    invite = parse(INVITE.encode())
    assert isinstance(invite, Request)
    busy = Response(486, "Busy Here")
    for name, value in invite.headers.items():
        busy.headers.add(name, value if name != "To" else value + ";tag=9")
    ack, cancel = make_ack(invite, busy), make_cancel(invite)
    assert server_key(ack) == server_key(invite) and ack.to.tag == "9" and ack.cseq == (7, "ACK")
    assert ack.headers.get_all("Route") == ["<sip:192.0.2.9;lr>"]
    assert server_key(cancel)[:2] == server_key(invite)[:2] and server_key(cancel)[2] == "CANCEL" and cancel.cseq == (7, "CANCEL")
    assert client_key(cancel) != client_key(invite)


def test_a_peer_of_rfc_2543_is_told_apart_without_a_branch() -> None:
    old = INVITE.replace("branch=z9hG4bKabc", "branch=1")
    one, other = parse(old.encode()), parse(old.replace("Call-ID: x", "Call-ID: y").encode())
    assert isinstance(one, Request) and isinstance(other, Request)
    assert server_key(one) != server_key(other)
    again = parse(old.encode())
    assert isinstance(again, Request) and server_key(one) == server_key(again)


def test_what_is_asked_no_more_may_still_answer_until_it_times_out() -> None:
    tx = ClientTransaction("INVITE", b"invite", 0)
    tx.stop_repeating()
    tx.expire(transaction.TIMEOUT_NS - 1)
    assert tx.take_outbox() == [b"invite"] and tx.state is transaction.State.CALLING
    tx.receive(200, transaction.TIMEOUT_NS - 1)
    assert tx.told and tx.state is transaction.State.ACCEPTED
