import pytest

from control_plane.errors import ConfigurationError
from control_plane.reach import Reach, Unreachable

INSIDE = (
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1", "64:ff9b::7f00:1", "2002:7f00:1::",
)  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_not_of_the_internet_is_out_of_reach(address: str) -> None:
    with pytest.raises(Unreachable, match="reachable_networks"):
        Reach().check(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_what_is_of_it_is_in_reach(address: str) -> None:
    Reach().check(address)


def test_networks_of_the_configuration_are_in_reach_and_no_others() -> None:
    reach = Reach(("10.1.0.0/16", "::1/128"))
    for address in ("10.1.255.1", "::ffff:10.1.0.1", "::1"):
        reach.check(address)
    with pytest.raises(Unreachable, match=r"app\.example is 10\.2\.0\.1, which"):
        reach.check("10.2.0.1", "app.example")


def test_a_host_is_judged_at_once_only_if_it_is_an_address() -> None:
    Reach().check_host("localhost")  # which is resolved, and judged then
    with pytest.raises(Unreachable):
        Reach().check_host("127.0.0.1")


def test_what_is_no_network_is_refused_with_its_setting() -> None:
    with pytest.raises(ConfigurationError, match=r"reachable_networks: .*10\.0\.0\.1/8"):
        Reach(("10.0.0.1/8",))
