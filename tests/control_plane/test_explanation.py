from control_plane.config import Config, Sip
from control_plane.explanation import describe, explain
from control_plane.http_config import Http
from control_plane.route_config import Route
from control_plane.secret import Secret
from control_plane.trunk_config import Trunk, User


def test_a_route_in_words() -> None:
    everything = Route(
        agent="bots:Desk", to="+49*", caller="+1*", trunk="carrier", headers={"X-A": "1"}, hours=("Mon-Fri 08:00-18:00",),
        time_zone="Europe/Berlin", tenant="acme", answer="early", ring_seconds=20, max_minutes=5, record=True,
    )  # fmt: skip
    assert describe(everything) == (
        "calls to +49* from +1* over trunk carrier with X-A: 1, Mon-Fri 08:00-18:00 (Europe/Berlin), tenant acme: "
        "agent bots:Desk, speaks as early media until it answers, for 20 s at most, ended after 5 min, recorded"
    )
    assert describe(Route(refuse=603, trunk="")) == "all calls over no trunk: refused with 603"
    assert describe(Route(agent="echo")) == "all calls: agent echo, answered once it is ready"


def test_a_configuration_in_words() -> None:
    trunks = (
        Trunk("carrier", allow=("192.0.2.0/24",), gateways=("sip.example.com",), allow_numbers=("+49*",), max_calls=10, tenant="acme"),
        Trunk("phones", users=("desk",)),
    )
    users = (User("desk", password=Secret("very secret")), User("mobile", password=Secret("very secret")))
    http, routes = Http(listen="127.0.0.1:8080"), (Route(agent="echo", to="1*"),)
    config = Config(sip=Sip(allow=()), trunks=trunks, users=users, routes=routes, http=http)
    text = "\n".join(explain(config))
    for line in (
        'trunk "carrier" of tenant acme: 192.0.2.0/24 may call; at most 10 calls at a time',
        'trunk "phones": users desk call with their password, from anywhere',
        "nobody else may call: sip.allow is empty",
        "users mobile call with their password from anywhere, as no trunk in particular",
        "routes[0]: calls to 1*: agent echo, answered once it is ready",
        "calls that fit none of them are refused with 404",
        'calls go out over trunk "carrier" to +49*, by sip.example.com',
        "phones of desk, mobile can be called while they are registered",
        "HTTP API on 127.0.0.1:8080, for programs of this machine",
    ):
        assert line in text.splitlines(), text
    assert "very secret" not in text


def test_an_empty_one_says_so() -> None:
    text = "\n".join(explain(Config()))
    assert "there are no routes: every call is refused with 404" in text and "no number can be called" in text
