"""Who may call as whom: networks, names, passwords, and both together."""

import itertools
import logging

import pytest

from control_plane import trunk_config
from control_plane.config import Sip
from control_plane.secret import Secret
from sip_front.admission import MAX_KNOWN_HOSTS
from sip_front.callers import BAN_NS, NAME_LIFE_NS, STRANGER_BURST, STRANGERS_BURST, WRONG_LIMIT, Admitted, Callers
from sip_front.digest import Attempt, Client, Credentials
from sip_front.message import Headers, Request, Response

SECOND = 1_000_000_000
NOW = 1_000 * SECOND
CARRIER, ELSEWHERE = "192.0.2.10", "198.51.100.7"


@pytest.mark.parametrize("order", list(itertools.permutations(["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"])))
@pytest.mark.parametrize(
    ("host", "may"),
    [
        ("192.0.2.200", True),
        ("::ffff:192.0.2.200", True),
        ("10.255.255.255", True),
        ("2001:db8::1", True),
        ("192.0.3.1", False),
        ("11.0.0.1", False),
        ("2001:db9::1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("trunk.example.com", False),
        ("", False),
    ],
)
def test_only_networks_that_are_named_may_send_in_any_order(order: tuple[str, ...], host: str, may: bool) -> None:
    callers = Callers(Sip(allow=order))
    assert [callers.trunks_of(host), callers.trunks_of(host)] == [("",) if may else ()] * 2


def test_nothing_named_means_nobody() -> None:
    assert Callers(Sip(allow=())).trunks_of("127.0.0.1") == ()


OPTIONS = b"OPTIONS sip:a@b SIP/2.0\r\n\r\n"


def test_a_flood_of_strangers_is_read_in_part_only_and_who_may_call_always() -> None:
    callers = Callers(Sip(allow=(CARRIER,)))
    forged = [callers.is_worth_reading(f"198.51.{n // 250}.{n % 250}", OPTIONS, NOW) for n in range(10_000)]
    assert forged == [True] * int(STRANGERS_BURST) + [False] * (10_000 - int(STRANGERS_BURST))
    assert callers.is_worth_reading(CARRIER, OPTIONS, NOW)
    assert callers.is_worth_reading(ELSEWHERE, b"SIP/2.0 200 OK\r\n\r\n", NOW), "it has to fit a request of ours"
    assert not callers.is_worth_reading(ELSEWHERE, OPTIONS, NOW)
    assert callers.is_worth_reading(ELSEWHERE, OPTIONS, NOW + SECOND // 100), "five more"


def test_a_stranger_that_gets_no_answer_is_not_read_either_until_it_would_get_one() -> None:
    callers = Callers(Sip(allow=(CARRIER,)))
    while callers.may_answer(ELSEWHERE, NOW):
        pass
    assert not callers.is_worth_reading(ELSEWHERE, OPTIONS, NOW)
    assert callers.is_worth_reading(ELSEWHERE, OPTIONS, NOW + SECOND)


def test_a_password_is_read_in_any_flood() -> None:
    callers = Callers(Sip(allow=()), users=(trunk_config.User("desk", Secret("secret")),))
    while callers.is_worth_reading(ELSEWHERE, OPTIONS, NOW):
        pass
    assert callers.is_worth_reading(ELSEWHERE, b"INVITE sip:a@b SIP/2.0\r\nAuthorization: Digest\r\n\r\n", NOW)


def trunk(name: str, *allow: str, users: tuple[str, ...] = ()) -> trunk_config.Trunk:
    return trunk_config.Trunk(name, allow=allow, users=users)


def user(name: str = "desk", password: str = "secret") -> trunk_config.User:
    return trunk_config.User(name, password=Secret(password))


def callers(*trunks: trunk_config.Trunk, users: tuple[trunk_config.User, ...] = (), allow: tuple[str, ...] = ()) -> Callers:
    return Callers(Sip(allow=allow), trunks, users)


def request(method: str = "INVITE") -> Request:
    return Request(method, "sip:100@192.0.2.1", Headers())


def authorized(ours: Callers, host: str, name: str = "desk", password: str = "secret", now_ns: int = NOW) -> Request:
    refusal = ours.admit(request(), host, now_ns).refusal
    assert refusal is not None and refusal.status == 401, refusal
    sent = request()
    assert Client(Credentials(name, password)).answer(sent, Response(401, "", Headers(refusal.headers)), Attempt()) == ""
    return sent


def test_a_call_belongs_to_the_trunk_whose_network_it_comes_from() -> None:
    ours = callers(trunk("a", "192.0.2.0/28"), trunk("b", "192.0.2.0/24"), allow=("10.0.0.0/8",))
    assert [ours.admit(request(), host, NOW) for host in ("192.0.2.1", "192.0.2.99", "10.1.1.1")] == [
        Admitted("a", None), Admitted("b", None), Admitted("", None)
    ]  # fmt: skip


def test_a_trunk_comes_before_the_short_form() -> None:
    assert callers(trunk("a", "192.0.2.0/24"), allow=("0.0.0.0/0",)).admit(request(), CARRIER, NOW).trunk == "a"


def test_a_stranger_gets_403_with_the_remedy() -> None:
    refusal = callers(trunk("a", "192.0.2.0/24")).admit(request(), ELSEWHERE, NOW).refusal
    assert refusal is not None and refusal.status == 403 and refusal.headers == ()
    assert refusal.text == (
        "403: 198.51.100.7 is not in sip.allow; add its network there if it is your trunk, or to allow of its [[trunks]]"
    )


def test_a_user_may_call_from_anywhere_with_the_password() -> None:
    ours = callers(trunk("phones", users=("desk",)), users=(user(),))
    assert ours.admit(authorized(ours, ELSEWHERE), ELSEWHERE, NOW) == Admitted("phones", None, "desk")


def test_the_first_challenge_is_no_line_in_the_log_and_a_wrong_password_is() -> None:
    ours = callers(users=(user(),))
    first = ours.admit(request(), ELSEWHERE, NOW).refusal
    wrong = ours.admit(authorized(ours, ELSEWHERE, password="x"), ELSEWHERE, NOW).refusal
    assert first is not None and first.is_expected and wrong is not None and not wrong.is_expected
    assert "198.51.100.7 gave a wrong password for user 'desk'" in wrong.text


def test_known_and_unknown_users_get_the_same_answer() -> None:
    ours = callers(users=(user(),))
    answers = [ours.admit(authorized(ours, ELSEWHERE, name, "x"), ELSEWHERE, NOW).refusal for name in ("desk", "nobody")]
    shapes = [(r.status, [(n, v.partition("nonce=")[0]) for n, v in r.headers]) for r in answers if r]
    assert len(shapes) == 2 and shapes[0] == shapes[1]


def test_with_a_network_and_users_both_are_asked_for() -> None:
    ours = callers(trunk("both", "192.0.2.0/24", users=("desk",)), users=(user(),))
    assert ours.admit(authorized(ours, CARRIER), CARRIER, NOW) == Admitted("both", None, "desk")
    refusal = ours.admit(authorized(ours, ELSEWHERE), ELSEWHERE, NOW).refusal
    assert refusal is not None and refusal.status == 403 and "not in allow of trunk both" in refusal.text
    assert ours.admit(request("OPTIONS"), CARRIER, NOW).refusal is None, "a ping of the carrier needs no password"


def test_users_do_not_open_other_methods_to_strangers() -> None:
    refusal = callers(users=(user(),)).admit(request("OPTIONS"), ELSEWHERE, NOW).refusal
    assert refusal is not None and refusal.status == 403


def test_credentials_meant_for_somebody_else_do_not_lock_a_network_out() -> None:
    ours, sent = callers(trunk("a", "192.0.2.0/24"), users=(user(),)), request()
    sent.headers.add("Authorization", 'Digest realm="elsewhere", username="x"')
    assert ours.admit(sent, CARRIER, NOW) == Admitted("a", None)


def test_guessing_is_banned_with_one_line_and_for_a_time(caplog: pytest.LogCaptureFixture) -> None:
    ours = callers(users=(user(),))
    with caplog.at_level(logging.WARNING):
        for n in range(WRONG_LIMIT):
            at_ns = NOW + n * SECOND
            ours.admit(authorized(ours, ELSEWHERE, password=str(n), now_ns=at_ns), ELSEWHERE, at_ns)
    banned_ns = NOW + WRONG_LIMIT * SECOND
    refusal = ours.admit(request(), ELSEWHERE, banned_ns).refusal
    assert refusal is not None and refusal.status == 0
    assert [r.getMessage().partition(":")[0] for r in caplog.records] == ["banned 198.51.100.7 for 600 s"]
    over_ns = banned_ns + BAN_NS
    assert ours.admit(authorized(ours, ELSEWHERE, now_ns=over_ns), ELSEWHERE, over_ns).refusal is None


def test_nobody_is_banned_by_who_forges_an_address() -> None:
    ours = callers(users=(user(),))
    for n in range(10 * WRONG_LIMIT):
        sent = request()
        asked = Response(401, "", Headers([("WWW-Authenticate", f'Digest realm="bellframe", nonce="{n}", qop="auth"')]))
        Client(Credentials("desk", "x")).answer(sent, asked, Attempt())
        ours.admit(sent, ELSEWHERE, NOW + n * SECOND)
    assert ours.misses == {}


def test_a_stranger_that_asks_too_often_gets_no_answer() -> None:
    ours = callers(users=(user(),))
    statuses = [r.status for _ in range(100) if (r := ours.admit(request(), ELSEWHERE, NOW).refusal)]
    assert statuses.count(401) == STRANGER_BURST and statuses.count(0) == 100 - STRANGER_BURST
    later = ours.admit(request(), ELSEWHERE, NOW + SECOND).refusal
    assert later is not None and later.status == 401


def test_what_is_kept_of_hosts_is_bounded() -> None:
    ours = callers(users=(user(),))
    for i in range(MAX_KNOWN_HOSTS + 100):
        ours.admit(request(), f"10.0.{i >> 8}.{i & 255}", NOW)
    assert max(len(ours.verdicts), len(ours.budgets), len(ours.misses)) <= MAX_KNOWN_HOSTS


def test_a_host_name_is_asked_for_again_and_its_addresses_change() -> None:
    ours = callers(trunk("a", "sbc.example.com"))
    assert ours.take_names(NOW) == ["sbc.example.com"] and ours.take_names(NOW + 1) == []
    ours.resolved("sbc.example.com", frozenset({CARRIER}))
    assert ours.trunks_of(CARRIER) == ("a",)
    assert ours.take_names(NOW + NAME_LIFE_NS) == ["sbc.example.com"]
    ours.resolved("sbc.example.com", frozenset({"192.0.2.20"}))
    assert ours.trunks_of(CARRIER) == () and ours.trunks_of("192.0.2.20") == ("a",)
    ours.resolved("sbc.example.com", frozenset())
    assert ours.trunks_of("192.0.2.20") == ("a",), "a name server that is away locks nobody out"
