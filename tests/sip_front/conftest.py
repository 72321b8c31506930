"""What most tests of the front begin with: a network, the front on it, and a phone that calls it. A file may have others of its own."""

import pytest

from tests.sip_front.simulation import Machine, Network, Phone


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def machine(network: Network) -> Machine:
    return Machine(network)


@pytest.fixture
def phone(machine: Machine) -> Phone:
    return Phone(machine.network)
