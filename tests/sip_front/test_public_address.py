"""Learning our address, in simulated time."""

import logging

import pytest

from control_plane import stun
from sip_front.public_address import FIRST_WAIT_NS, QUESTIONS, RECHECK_NS, SECOND, PublicAddress


def answer(question: bytes, host: tuple[int, int, int, int]) -> bytes:
    return stun.encode(stun.SUCCESS, question[8:20], ((stun.MAPPED_ADDRESS, bytes((0, 1, 0, 9, *host))),))


def test_it_is_asked_and_asked_again_and_told_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    one, now_ns = PublicAddress("stun.example.com:3478"), 10 * SECOND
    for host in ((198, 51, 100, 7), (198, 51, 100, 7), (198, 51, 100, 8)):
        question = one.take(now_ns)
        assert question is not None and one.is_asking and one.take(now_ns) is None
        one.receive(answer(question, host), now_ns)
        assert one.address == ".".join(map(str, host)) and not one.is_asking
        assert one.take(now_ns + RECHECK_NS - 1) is None
        now_ns += RECHECK_NS
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "our public address is 198.51.100.7, says stun.example.com:3478",
        "our public address is 198.51.100.8, says stun.example.com:3478; it was 198.51.100.7: calls that are up keep the old one",
    ]


def test_a_server_that_is_away_is_asked_five_times_and_leaves_what_is_known(caplog: pytest.LogCaptureFixture) -> None:
    one, now_ns = PublicAddress("stun.example.com:3478"), 10 * SECOND
    question = one.take(now_ns)
    assert question is not None
    one.receive(answer(question, (198, 51, 100, 7)), now_ns)
    for _ in range(2):
        now_ns = began_ns = one.deadline_ns
        times = []
        while (question := one.take(now_ns)) is not None:
            times.append((now_ns - began_ns) // FIRST_WAIT_NS)
            now_ns = one.deadline_ns
        assert times == [0, 1, 3, 7, 15] and len(times) == QUESTIONS
        assert one.address == "198.51.100.7" and not one.is_asking and one.deadline_ns == now_ns + RECHECK_NS
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "no answer of stun:stun.example.com:3478: it does not answer within 15.5 s; 198.51.100.7 stays in use" in line


def test_answers_that_were_not_asked_for_change_nothing() -> None:
    one = PublicAddress("s:1")
    one.receive(answer(bytes(20), (1, 2, 3, 4)), 0)
    question = one.take(SECOND)
    assert question is not None
    one.receive(b"noise", SECOND)
    one.receive(answer(bytes(20), (1, 2, 3, 4)), SECOND)
    assert one.address == "" and one.is_asking
