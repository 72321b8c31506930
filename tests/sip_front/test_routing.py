import pytest

from control_plane.config import Route
from sip_front.routing import Routing

ROUTES = Routing((
    Route(agent="menu", to="+4930*", arguments={"language": "de"}),
    Route(agent="bots:Support", to="10[0-9]"),
    Route(agent="echo", to="+49??"),
))


@pytest.mark.parametrize(
    ("number", "agent"),
    [("+4930123", "menu"), ("+4930", "menu"), ("105", "bots:Support"), ("+4940", "echo"), ("10", None), ("1055", None), ("", None)],
)
def test_the_first_route_that_fits_is_taken(number: str, agent: str | None) -> None:
    chosen = ROUTES.choose(number)
    assert (chosen.agent if chosen else None) == agent


def test_arguments_come_along() -> None:
    chosen = ROUTES.choose("+49301")
    assert chosen is not None and chosen.arguments == {"language": "de"}


def test_a_refusal_says_what_to_do() -> None:
    assert "fits none of the 3 routes (from nobody over no trunk)" in ROUTES.why_not("999")
    assert "no [[routes]]" in Routing(()).why_not("")


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
    chosen = BY_ORIGIN.choose("100", caller, trunk)
    assert (chosen.agent if chosen else None) == agent


def test_a_refusal_names_the_origin_where_only_that_does_not_fit() -> None:
    assert "100 has routes, but none for a call from +4930 over trunk pbx" in BY_ORIGIN.why_not("100", "+4930", "pbx")
