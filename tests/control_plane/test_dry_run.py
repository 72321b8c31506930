"""A call that is only thought of: the verdict that the front would come to (test_agrees_with_the_front)."""

from typing import Any

import pytest

from control_plane.config import Config, Media, Sip
from control_plane.dry_run import Question, run
from control_plane.route_config import Route
from control_plane.secret import Secret
from control_plane.trunk_config import Trunk, User
from sip_front.message import Response
from tests.control_plane.test_hours import at
from tests.sip_front.simulation import CALLER, Machine, Network, Phone

CARRIER = Trunk("carrier", allow=("192.0.2.0/24",), tenant="acme", formats=("PCMA",), srtp="required", max_calls=10)
DAY = Route(agent="day", hours=("Mon-Fri 08:00-18:00",), time_zone="Europe/Berlin", trunk="carrier", max_minutes=30)
ROUTES = (Route(refuse=603, caller="+49900*"), DAY, Route(agent="night", to="+49*"))
CONFIG = Config(sip=Sip(allow=("127.0.0.0/8",)), trunks=(CARRIER,), routes=ROUTES)
NIGHT = at("2026-11-20T22:00")


def asked(**values: Any) -> Question:
    return Question(**{"number": "+4930", "at": at("2026-11-20T10:00"), **values})


def test_a_call_of_a_trunk_by_day() -> None:
    answer = run(CONFIG, asked(trunk="carrier"))
    assert (answer.route, answer.agent, answer.tenant, answer.formats, answer.srtp) == ("routes[1]", "day", "acme", ("PCMA",), "required")
    assert [(row.route, row.why) for row in answer.passed_over] == [("routes[0]", 'caller is "+49900*"')]
    assert "10 calls at a time (max_calls of trunk carrier)" in answer.limits and "30 min (max_minutes)" in answer.limits


def test_the_same_by_night_says_why_the_other_was_not_taken() -> None:
    answer = run(CONFIG, asked(trunk="carrier", at=NIGHT))
    assert answer.agent == "night" and "it is Fri 22:00 (Europe/Berlin)" in answer.passed_over[1].why


def test_a_route_that_refuses() -> None:
    answer = run(CONFIG, asked(caller="+499001"))
    assert (answer.route, answer.status, answer.outcome) == ("routes[0]", 603, "refused with 603")


def test_what_comes_after_phones() -> None:
    config = Config(routes=(Route(phones=("anna",), ring_seconds=20), Route(agent="sales", to="1*"), Route(agent="mailbox")))
    answer = run(config, asked())
    assert answer.outcome.startswith("rings phones of anna for 20 s") and "20 s until somebody answers (ring_seconds)" in answer.limits
    assert answer.otherwise == ("routes[2]: agent mailbox, answered once it is ready",)
    assert run(config, asked(number="100")).otherwise[0].startswith("routes[1]: agent sales")


def test_nobody_there() -> None:
    answer = run(CONFIG, asked(number="100", trunk=""))
    assert (answer.route, answer.status, len(answer.passed_over)) == ("", 404, 3)


@pytest.mark.parametrize(
    ("source", "admitted", "why"),
    [
        ("192.0.2.7", True, '192.0.2.7 is in 192.0.2.0/24, allow of trunk "carrier"'),
        ("127.0.0.1", True, "127.0.0.1 is in 127.0.0.0/8, sip.allow"),
        ("198.51.100.1", False, "403: 198.51.100.1 is not in sip.allow, nor in allow of any trunk; add its network there"),
    ],
)
def test_who_lets_it_in(source: str, admitted: bool, why: str) -> None:
    answer = run(CONFIG, asked(source=source))
    assert (answer.admitted, answer.why) == (admitted, why)


def test_phones_from_anywhere_are_asked_for_a_password() -> None:
    phones = Trunk("phones", users=("desk",))
    config = Config(trunks=(phones,), users=(User("desk", password=Secret("secret")),), routes=(Route(agent="echo"),))
    answer = run(config, asked(source="198.51.100.1"))
    assert (answer.admitted, answer.trunk) == (True, "phones") and "a password of desk is asked for" in answer.why


def test_a_trunk_that_is_not_there() -> None:
    assert run(CONFIG, asked(trunk="pbx")).why == 'there is no trunk "pbx"; there are carrier'


@pytest.mark.parametrize("language", ["de", "fr", ""])
@pytest.mark.parametrize("number", ["100", "101", "200"])
@pytest.mark.parametrize("host", [CALLER, "198.51.100.7"])
def test_agrees_with_the_front(language: str, number: str, host: str) -> None:
    routes = (Route(refuse=486, to="101"), Route(agent="echo", headers={"X-Language": "d*"}), Route(agent="menu", to="1*"))
    machine = Machine(Network(), more={"routes": routes, "media": Media(formats=("PCMA",))})
    phone = Phone(machine.network, host)
    phone.invite(to=number, headers=f"X-Language: {language}\r\n" if language else "")
    said = [m.status for m in phone.got if isinstance(m, Response) and m.status >= 200]
    headers = {"x-language": language} if language else {}
    answer = run(machine.config, Question(number, 0.0, "+491", source=host, headers=headers))
    assert said == [answer.status or 200]
    agents = [call.agent for call in machine.front.calls.values()]
    assert agents == ([answer.agent] if answer.agent else [])
