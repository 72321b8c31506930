"""A registration through its life: kept, lost, refused, moved to another gateway, given back."""

import random

import pytest

from sip_front.message import Headers, Response
from sip_front.registration import SECOND, TRANSITIONS, Cause, Order, Registration, State, given_expiry

OURS = "sip:alice@192.0.2.9:5060"


def made(gateways: int = 1, expires_s: int = 600) -> Registration:
    one = Registration("carrier", gateways, expires_s, random.Random(1))
    one.step(Cause.START, 0)
    return one


def reply(status: int, *headers: tuple[str, str], reason: str = "R") -> Response:
    return Response(status, reason, Headers(headers))


def ok(expires_s: int = 600) -> Response:
    return reply(200, ("Contact", f"<{OURS}>;expires={expires_s}"))


def registered(gateways: int = 1) -> Registration:
    one = made(gateways)
    one.take_outbox()
    one.receive(ok(), OURS, 0)
    assert one.state is State.REGISTERED
    return one


def test_a_new_address_of_ours_is_told_at_once() -> None:
    one = registered()
    one.renew(7 * SECOND)
    assert one.deadline_ns == 7 * SECOND
    one.expire(7 * SECOND)
    assert one.state is State.REFRESHING and one.take_outbox() == [Order(0, 600)]
    one.renew(8 * SECOND)
    assert one.take_outbox() == [], "one that is under way is not hurried"


def test_it_registers_and_refreshes_before_the_time_is_over() -> None:
    one = made()
    assert one.take_outbox() == [Order(0, 600)] and not one.is_known(0)
    one.receive(ok(100), OURS, 0)
    assert one.is_known(99 * SECOND) and not one.is_known(100 * SECOND)
    assert one.deadline_ns is not None and 75 * SECOND <= one.deadline_ns <= 90 * SECOND
    one.expire(one.deadline_ns)
    assert one.state is State.REFRESHING and one.take_outbox() == [Order(0, 600)]
    one.receive(ok(100), OURS, 90 * SECOND)
    assert one.is_known(189 * SECOND)


def test_refreshes_are_spread() -> None:
    def at(seed: int) -> int | None:
        one = Registration("t", 1, 600, random.Random(seed))
        one.step(Cause.START, 0)
        one.receive(ok(), OURS, 0)
        return one.deadline_ns

    assert len({at(seed) for seed in range(20)}) == 20


def test_a_short_time_is_not_refreshed_without_pause() -> None:
    one = made()
    one.receive(ok(2), OURS, 0)
    assert one.deadline_ns is not None and one.deadline_ns >= SECOND


def test_423_is_answered_with_the_time_wanted_and_only_if_it_is_longer() -> None:
    one = made()
    one.take_outbox()
    one.receive(reply(423, ("Min-Expires", "3600")), OURS, 0)
    assert one.take_outbox() == [Order(0, 3600)]
    one.receive(reply(423, ("Min-Expires", "3600")), OURS, 0)
    assert one.state is State.WAITING and one.take_outbox() == [] and "raise register_seconds" in one.why


def test_a_dead_gateway_is_left_for_the_next_at_once_and_after_the_last_there_is_a_pause() -> None:
    one = made(gateways=2)
    assert one.take_outbox() == [Order(0, 600)]
    one.receive(None, OURS, 0)
    assert one.take_outbox() == [Order(1, 600)]
    one.receive(reply(503), OURS, 0)
    assert one.state is State.WAITING and one.take_outbox() == []
    one.expire(one.deadline_ns or 0)
    assert one.take_outbox() == [Order(0, 600)]
    one.receive(ok(), OURS, 0)
    assert one.state is State.REGISTERED and one.why == ""


def test_pauses_grow_up_to_a_limit() -> None:
    one, waits, now_ns = made(), [], 0
    for _ in range(12):
        one.receive(None, OURS, now_ns)
        assert one.deadline_ns is not None
        waits.append((one.deadline_ns - now_ns) / SECOND)
        now_ns = one.deadline_ns
        one.expire(now_ns)
    assert 2 <= waits[0] <= 4 and 150 <= waits[-1] <= 300


def test_a_refusal_is_not_repeated_for_a_minute_and_says_why() -> None:
    one = made(gateways=3)
    one.take_outbox()
    one.receive(reply(403, reason="Forbidden"), OURS, 0)
    assert one.state is State.WAITING and one.deadline_ns is not None and one.deadline_ns >= 30 * SECOND and one.take_outbox() == []
    assert one.why.startswith("403 Forbidden from the registrar of trunk carrier: the account may not register")
    one = made()
    one.receive(reply(401), OURS, 0, why="401: it refuses the credentials")
    assert one.why == "401: it refuses the credentials"


def test_a_registrar_that_restarts_is_found_again_while_calls_may_still_come() -> None:
    one = registered()
    one.expire(one.deadline_ns or 0)
    lost_ns = 500 * SECOND
    one.receive(None, OURS, lost_ns)
    assert one.state is State.WAITING and one.is_known(lost_ns)
    one.expire(one.deadline_ns or 0)
    one.receive(ok(), OURS, lost_ns + 4 * SECOND)
    assert one.state is State.REGISTERED


@pytest.mark.parametrize("answer", [ok(0), reply(403), None])
def test_it_leaves_once_whatever_the_answer(answer: Response | None) -> None:
    one = registered()
    one.step(Cause.LEAVE, 0)
    assert one.take_outbox() == [Order(0, 0)] and not one.is_known(0)
    one.receive(answer, OURS, 0)
    assert one.state is State.GONE and one.deadline_ns is None


def test_nobody_to_leave_while_nothing_is_registered() -> None:
    one = made()
    one.receive(None, OURS, 0)
    one.take_outbox()
    one.step(Cause.LEAVE, 0)
    assert one.state is State.GONE and one.take_outbox() == []


@pytest.mark.parametrize(
    ("headers", "given_s"),
    [
        ([("Contact", f"<{OURS}>;expires=120")], 120),
        ([("Contact", "<sip:alice@192.0.2.9>;expires=120")], 120),
        ([("Contact", "<sip:bob@x>;expires=1"), ("Contact", f"<{OURS}>;expires=120")], 120),
        ([("Contact", f"<{OURS}>"), ("Expires", "300")], 300),
        ([("Contact", f"<{OURS}>")], 600),
        ([("Expires", "300")], 300),
        ([], 600),
        ([("Contact", "<sip:alice@203.0.113.1:1024>;expires=60")], 60),
        ([("Contact", "<sip:bob@x>;expires=1, <sip:carol@y>;expires=2")], 0),
        ([("Contact", "<sip:bad"), ("Expires", "9")], 9),
    ],
)
def test_the_time_given_is_that_of_our_contact(headers: list[tuple[str, str]], given_s: int) -> None:
    assert given_expiry(reply(200, *headers), OURS, 600) == given_s


def test_a_200_that_keeps_nothing_of_ours_is_a_refusal() -> None:
    one = made()
    one.receive(ok(0), OURS, 0)
    assert one.state is State.WAITING and "keeps no registration of ours" in one.why


def test_every_state_but_the_last_can_be_left() -> None:
    for state in State:
        assert state is State.GONE or state is State.LEAVING or (state, Cause.LEAVE) in TRANSITIONS
