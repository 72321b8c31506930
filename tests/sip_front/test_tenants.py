"""Whose calls are whose, through the whole front: by trunk, by route and by user; limits over all trunks of a tenant."""

import logging

import pytest

from control_plane.config import Route
from control_plane.messages import Done, Failed, Figures, GetFigures, HangUp, Message, Originate, TenantFigures, decode, encode
from control_plane.secret import Secret
from control_plane.tenant_config import Tenant
from control_plane.trunk_config import Trunk, User
from sip_front.message import Response
from tests.sip_front.simulation import Machine, Network, Phone
from tests.sip_front.test_front_trunks import credentials

OPERATOR = b"operator"
ACME, GLOBEX = Tenant("acme", max_calls=2), Tenant("globex")
TRUNKS = (
    Trunk("a", allow=("192.0.2.10",), tenant="acme", gateways=("192.0.2.50",), allow_numbers=("+49*",), ping_seconds=0),
    Trunk("b", allow=("192.0.2.11",), tenant="acme"),
    Trunk("g", allow=("192.0.2.12",), tenant="globex", gateways=("192.0.2.51",), allow_numbers=("+49*",), ping_seconds=0),
    Trunk("shared", allow=("192.0.2.13",)),
)
ROUTES = (Route(agent="globex", to="2*", tenant="globex"), Route(agent="echo"))


@pytest.fixture
def machine() -> Machine:
    return machine_with()


def machine_with(**more: object) -> Machine:
    return Machine(Network(), more={"trunks": TRUNKS, "routes": ROUTES, "tenants": (ACME, GLOBEX), **more}, allow=())


def call(machine: Machine, host: str, to: str = "100") -> tuple[Phone, int]:
    phone = machine.network.hosts.get(host) or Phone(machine.network, host)
    assert isinstance(phone, Phone)
    number = f"call-{host}-{phone.cseq}"
    phone.to_tag = ""
    phone.invite(to=to, call_id=number, from_tag=number, run_s=0.3)
    status = [m.status for m in phone.got if isinstance(m, Response) and m.call_id == number][-1]
    if status == 200:
        phone.request("ACK", call_id=number, from_tag=number)
    return phone, status


def tenants(machine: Machine) -> list[str]:
    return [facts.tenant for facts in (up.facts(0) for up in machine.front.calls.values())]


def ask(machine: Machine, question: Message) -> Message:
    machine.tell(OPERATOR, question)
    return decode(encode(machine.told(Message, OPERATOR)[-1]))


def test_a_call_belongs_to_its_trunks_tenant_or_to_that_of_its_route(machine: Machine) -> None:
    for host, to in (("192.0.2.10", "100"), ("192.0.2.12", "200"), ("192.0.2.13", "200"), ("192.0.2.13", "100"), ("192.0.2.10", "200")):
        assert call(machine, host, to)[1] == 200
    assert tenants(machine) == ["acme", "globex", "globex", "", "acme"]
    assert [up.agent for up in machine.front.calls.values()] == ["echo", "globex", "globex", "echo", "echo"]


def test_its_limit_counts_over_all_its_trunks_and_no_other_tenants(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert [call(machine, host)[1] for host in ("192.0.2.10", "192.0.2.11", "192.0.2.11", "192.0.2.12")] == [200, 200, 503, 200]
    assert "503: tenant acme has 2 calls up, its max_calls" in caplog.text
    refused = ask(machine, Originate("out", "+4930", "echo", trunk="a"))
    assert isinstance(refused, Failed) and refused.status == 503 and "tenant acme has 2 calls up" in refused.why
    machine.tell(OPERATOR, HangUp(next(iter(machine.front.calls))))
    machine.network.run()
    assert call(machine, "192.0.2.10")[1] == 200


def test_its_rate_is_its_own() -> None:
    machine = machine_with(tenants=(Tenant("acme", max_calls_per_second=1), GLOBEX))
    assert [call(machine, host)[1] for host in ("192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.13")] == [200, 503, 200, 200]


@pytest.mark.parametrize(
    ("tenant", "trunk", "why"),
    [
        ("acme", "g", "there is no trunk 'g'; the configuration has a, b, shared"),
        ("globex", "a", "there is no trunk 'a'; the configuration has g, shared"),
        ("nobody", "a", "there is no tenant 'nobody'"),
        ("acme", "shared", "trunk shared has no gateways"),
    ],
)
def test_a_tenant_calls_out_through_its_own_trunks_only(machine: Machine, tenant: str, trunk: str, why: str) -> None:
    refused = ask(machine, Originate("out", "+4930", "echo", trunk=trunk, tenant=tenant))
    assert isinstance(refused, Failed) and why in refused.why


@pytest.mark.parametrize(("tenant", "trunk"), [("acme", "a"), ("globex", "g"), ("", "a")])
def test_without_a_trunk_it_is_one_of_its_own(machine: Machine, tenant: str, trunk: str) -> None:
    Phone(machine.network, "192.0.2.50")
    Phone(machine.network, "192.0.2.51")
    assert ask(machine, Originate("out", "+4930", "echo", tenant=tenant)) == Done("out")
    (made,) = machine.front.calls.values()
    assert (made.trunk, made.tenant) == (trunk, tenant or "acme")


def test_a_user_calls_as_its_tenant_and_no_other_tenant_calls_it() -> None:
    machine = machine_with(users=(User("desk", tenant="globex", password=Secret("secret")),))
    phone = Phone(machine.network, "198.51.100.7")
    challenge = next(m for m in phone.invite(to="200") if isinstance(m, Response) and m.status == 401)
    phone.request("ACK")
    phone.invite(to="200", headers=credentials(challenge, uri="sip:200@192.0.2.1"), tag="", run_s=0.3)
    assert tenants(machine) == ["globex"]
    refused = ask(machine, Originate("out", "user:desk", "echo", tenant="acme"))
    assert isinstance(refused, Failed) and refused.why == "404: user 'desk' is not of tenant acme"
    absent = ask(machine, Originate("out", "user:desk", "echo", tenant="globex"))
    assert isinstance(absent, Failed) and "is not registered" in absent.why


def test_another_front_knows_whose_call_it_is(machine: Machine) -> None:
    for host in ("192.0.2.10", "192.0.2.11"):
        call(machine, host)
    machine.kill_front()
    machine.start_front()
    assert tenants(machine) == ["acme", "acme"] and len(machine.front.tenants["acme"].calls) == 2
    assert len(machine.front.trunks.by_name["a"].limit.calls) == 1


def test_figures_by_tenant(machine: Machine) -> None:
    call(machine, "192.0.2.10")
    machine.tell(OPERATOR, HangUp(next(iter(machine.front.calls))))
    machine.network.run()
    call(machine, "192.0.2.10")
    figures = ask(machine, GetFigures())
    assert isinstance(figures, Figures)
    assert figures.tenants == (TenantFigures("acme", 1, {"answered": 1}), TenantFigures("globex", 0, {}))
