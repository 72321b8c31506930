import pytest

from control_plane.route_config import Route
from control_plane.routing import Asked, Routing
from tests.control_plane.test_hours import at

ROUTES = Routing((
    Route(agent="menu", to="+4930*", arguments={"language": "de"}),
    Route(agent="bots:Support", to="10[0-9]"),
    Route(agent="echo", to="+49??"),
))


def agent_of(routing: Routing, asked: Asked) -> str | None:
    row = routing.choose(asked)
    return row.route.agent if row else None


@pytest.mark.parametrize(
    ("number", "agent"),
    [("+4930123", "menu"), ("+4930", "menu"), ("105", "bots:Support"), ("+4940", "echo"), ("10", None), ("1055", None), ("", None)],
)
def test_the_first_route_that_fits_is_taken(number: str, agent: str | None) -> None:
    assert agent_of(ROUTES, Asked(number)) == agent


def test_the_others_that_fit_come_after_it() -> None:
    assert [row.name for row in ROUTES.fitting(Asked("+4930"))] == ["routes[0]", "routes[2]"]


def test_a_refusal_says_what_to_do() -> None:
    assert "fits none of the 3 routes (from nobody over no trunk)" in ROUTES.why_none(Asked("999"))
    assert "no [[routes]]" in Routing(()).why_none(Asked(""))


BY_ORIGIN = Routing((
    Route(agent="vip", caller="+49170*"),
    Route(agent="sales", to="100", trunk="carrier-*"),
    Route(agent="desk", to="100", trunk=""),
))


@pytest.mark.parametrize(
    ("caller", "trunk", "agent"),
    [("+4917012", "carrier-a", "vip"), ("+4930", "carrier-a", "sales"), ("+4930", "", "desk"), ("+4930", "pbx", None)],
)
def test_the_caller_and_the_trunk_decide_too(caller: str, trunk: str, agent: str | None) -> None:
    assert agent_of(BY_ORIGIN, Asked("100", caller, trunk)) == agent


def test_a_refusal_names_the_condition_where_only_that_does_not_fit() -> None:
    why = BY_ORIGIN.why_none(Asked("100", "+4930", "pbx"))
    assert why.startswith("404: 100 has routes, but none for a call from +4930 over trunk pbx; routes[0] does not fit: ")
    assert 'caller is "+49170*"' in why


class Lines(dict[str, str]):
    """Headers as an INVITE has them: names in any case."""

    def get(self, name: str, /) -> str | None:  # type: ignore[override]
        return next((value for known, value in self.items() if known.lower() == name.lower()), None)


@pytest.mark.parametrize(
    ("headers", "agent"),
    [({"x-language": "de-AT"}, "deutsch"), ({"X-Language": " de "}, "deutsch"), ({"X-Language": "fr"}, "echo"), ({}, "echo")],
)
def test_headers_decide(headers: dict[str, str], agent: str) -> None:
    routing = Routing((Route(agent="deutsch", headers={"X-Language": "de*"}), Route(agent="echo")))
    assert agent_of(routing, Asked("100", headers=Lines(headers))) == agent


@pytest.mark.parametrize(("when", "agent"), [("2026-11-20T10:00", "day"), ("2026-11-20T20:00", "night"), ("2026-11-21T10:00", "night")])
def test_the_time_decides(when: str, agent: str) -> None:
    day = Route(agent="day", hours=("Mon-Fri 08:00-18:00",), time_zone="Europe/Berlin")
    assert agent_of(Routing((day, Route(agent="night"))), Asked("100", at=at(when))) == agent


@pytest.mark.parametrize(("tenant", "agent"), [("acme", "acme's"), ("globex", "everybody's"), ("", "acme's")])
def test_a_tenants_route_is_for_its_calls_and_for_those_of_nobody(tenant: str, agent: str) -> None:
    routing = Routing((Route(agent="acme's", tenant="acme"), Route(agent="everybody's")))
    assert agent_of(routing, Asked("100", tenant=tenant)) == agent


def test_why_a_route_does_not_fit() -> None:
    closed = Route(agent="day", hours=("Mon-Fri 08:00-18:00",), time_zone="Europe/Berlin", headers={"X-Line": "1"}, tenant="acme")
    (row,) = Routing((closed,)).rows
    when = at("2026-11-20T20:00")
    assert row.why_not(Asked("1", tenant="globex")) == 'tenant is "acme", and the trunk belongs to "globex"'
    assert row.why_not(Asked("1")) == 'the header X-Line should be "1", and is absent'
    assert row.why_not(Asked("1", headers=Lines({"X-Line": "2"}))) == "the header X-Line should be \"1\", and is '2'"
    why = row.why_not(Asked("1", headers=Lines({"X-Line": "1"}), at=when))
    assert why == "hours are Mon-Fri 08:00-18:00, and it is Fri 20:00 (Europe/Berlin)"
