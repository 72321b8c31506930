import pytest

from control_plane.errors import ConfigurationError
from control_plane.route_config import Route, check_routes
from control_plane.secret import Secret
from control_plane.trunk_config import Trunk, User

USERS = (User("anna", password=Secret("secret")),)


@pytest.mark.parametrize(
    ("route", "reason"),
    [
        (Route(), "routes[1]: name one who takes the call"),
        (Route(agent="echo", refuse=603), "routes[1]: name one who takes the call"),
        (Route(refuse=200), "routes[1].refuse: 200 is no status that refuses a call"),
        (Route(agent="echo", trunk="pbx"), 'routes[1].trunk: "pbx" fits no trunk; there are "carrier", "inbound"'),
        (Route(agent="echo", headers={"X-A:": "1"}), 'routes[1].headers: "X-A:" is no name of a header'),
        (Route(agent="echo", hours=("08:00-18:00",)), "routes[1]: hours and time_zone go together"),
        (Route(agent="echo", time_zone="UTC"), "routes[1]: hours and time_zone go together"),
        (Route(agent="echo", hours=("all day",), time_zone="UTC"), 'routes[1].hours: "all day" is not hours'),
        (Route(agent="echo", ring_seconds=0), "routes[1].ring_seconds: 0 is not from 1 to 600"),
        (Route(agent="echo", max_minutes=-1), "routes[1].max_minutes: -1 is not from 0 to 1440"),
        (Route(phones=("anna",), agent="echo"), "routes[1]: name one who takes the call"),
        (Route(phones=("nobody",)), 'routes[1].phones: there is no user "nobody"; [[users]] has anna'),
        (Route(via="inbound"), 'routes[1].via: "inbound" is no trunk with gateways; there are carrier'),
        (Route(agent="echo", number="+49"), "routes[1].number: name the trunk that it is called through too"),
        (Route(phones=("anna",), answer="early"), "routes[1].answer: phones say nothing before they are answered"),
        (Route(phones=("anna",), meanwhile="music"), "routes[1].meanwhile: nobody hears it without"),
        (Route(agent="twilio+wss://bot.example/", answer="early"), 'routes[1].answer: "early" needs an agent in Python'),
    ],
)
def test_what_is_wrong_is_said_with_the_place(route: Route, reason: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check_routes((Route(agent="echo"), route), (Trunk("carrier", gateways=("192.0.2.1",)), Trunk("inbound")), USERS)
    assert str(refused.value).startswith(reason)


def test_a_route_with_everything_is_right() -> None:
    everything = Route(
        agent="bots:Desk", to="+49*", trunk="carrier", tenant="acme", headers={"X-Language": "de*"}, hours=("Mon-Fri 08:00-18:00",),
        time_zone="Europe/Berlin", answer="early", ring_seconds=20, max_minutes=30,
    )  # fmt: skip
    rung = Route(phones=("anna",), via="carrier")
    check_routes((everything, Route(refuse=603), rung), (Trunk("carrier", gateways=("192.0.2.1",)),), USERS)
