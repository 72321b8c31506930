import pytest

from control_plane.config import Config, check
from control_plane.errors import ConfigurationError
from control_plane.route_config import Route
from control_plane.secret import Secret
from control_plane.tenant_config import Tenant, why_not_agent
from control_plane.trunk_config import Trunk, User

ACME = Tenant("acme", max_calls=10, tokens=(Secret("a-token-of-our-own-1"),))
DESK = User("desk", tenant="acme", password=Secret("secret"))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (Config(tenants=(ACME, ACME)), 'tenants "acme": each tenant needs a name of its own'),
        (Config(tenants=(Tenant("acme", max_calls=-1),)), 'tenants "acme".max_calls: -1 is not from 0'),
        (Config(tenants=(Tenant("acme", max_calls_per_second=float("nan")),)), 'tenants "acme".max_calls_per_second: nan'),
        (Config(tenants=(Tenant("acme", tokens=(Secret("short"),)),)), 'tenants "acme".tokens: a token is too short'),
        (Config(tenants=(ACME,), trunks=(Trunk("a", tenant="amce"),)), 'trunks "a".tenant: there is no "amce"; add it to [[tenants]]'),
        (Config(routes=(Route(agent="echo", tenant="acme"),)), 'routes[0].tenant: there is no "acme"; add it to [[tenants]]'),
        (Config(users=(DESK,)), 'users "desk".tenant: there is no "acme"'),
        (
            Config(tenants=(ACME, Tenant("globex")), users=(DESK,), trunks=(Trunk("phones", users=("desk",), tenant="globex"),)),
            'trunks "phones".users: "desk" is of tenant "acme", and the trunk of "globex"',
        ),
    ],
)
def test_what_is_wrong_is_said_with_the_place(config: Config, reason: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check(config)
    assert reason in str(refused.value)


def test_what_belongs_to_a_tenant_that_is_there() -> None:
    trunks = (Trunk("phones", users=("desk",), tenant="acme"),)
    check(Config(tenants=(ACME,), users=(DESK,), trunks=trunks, routes=(Route(agent="echo", tenant="acme"),)))


def test_a_tenant_has_the_agents_of_its_routes_and_those_that_are_named() -> None:
    routes = (Route(agent="sales:Desk", tenant="acme"), Route(agent="echo"), Route(agent="wav", tenant="globex"))
    acme = Tenant("acme", agents=("menu",))
    assert [why_not_agent(acme, routes, agent) for agent in ("sales:Desk", "menu", "")] == ["", "", ""]
    for agent in ("echo", "wav", "twilio+wss://collector.example/"):
        assert "tenant acme has no such agent: it has sales:Desk, menu, of its routes" in why_not_agent(acme, routes, agent)
    assert "it has none" in why_not_agent(Tenant("acme"), (), "echo")
