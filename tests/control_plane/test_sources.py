import ipaddress

import pytest

from control_plane.sources import Sources, sources_of
from control_plane.trunk_config import Trunk

PBX, CARRIER = Trunk("pbx", allow=("192.0.2.0/25",)), Trunk("carrier", allow=("192.0.2.64/26", "sbc.example.com"))
REGISTERED = Trunk("registered", gateways=("[2001:db8::1]:5061", "198.51.100.9"), register=True, username="us")


def test_a_trunk_that_registers_is_called_by_its_gateways() -> None:
    assert sources_of(REGISTERED) == ("2001:db8::1", "198.51.100.9")
    assert sources_of(Trunk("out", gateways=("198.51.100.9",))) == ()


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("192.0.2.1", {"pbx": "192.0.2.0/25", "": "192.0.0.0/16"}),
        ("192.0.2.70", {"pbx": "192.0.2.0/25", "carrier": "192.0.2.64/26", "": "192.0.0.0/16"}),
        ("198.51.100.1", {"carrier": "sbc.example.com"}),
        ("2001:db8::1", {"registered": "2001:db8::1/128"}),
        ("203.0.113.1", {}),
    ],
)
def test_whose_an_address_is_in_the_order_of_the_configuration(address: str, found: dict[str, str]) -> None:
    sources = Sources((PBX, CARRIER, REGISTERED), ("192.0.0.0/16",))
    names = {"sbc.example.com": frozenset({"198.51.100.1"})}
    assert list(sources.find(ipaddress.ip_address(address), names).items()) == list(found.items())
