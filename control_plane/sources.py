"""Which addresses belong to which trunk: `allow` of each, its registrars, and sip.allow. Names are looked up elsewhere."""

import ipaddress
from collections.abc import Mapping

from control_plane.trunk_config import Trunk, is_network, parse_gateway

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def sources_of(trunk: Trunk) -> tuple[str, ...]:
    """Where its calls come from: `allow`, and the registrars that we tell to send them to us."""
    registrars = (trunk.gateways + ((trunk.outbound_proxy,) if trunk.outbound_proxy else ())) if trunk.register else ()
    return trunk.allow + tuple(parse_gateway(text, trunk.name).host.strip("[]") for text in registrars)


class Sources:
    def __init__(self, trunks: tuple[Trunk, ...], allow: tuple[str, ...]) -> None:
        self.networks: list[tuple[Network, str]] = []
        self.names: dict[str, set[str]] = {}
        """Host names, and the trunks they belong to; "" is sip.allow."""
        for trunk, sources in [*((trunk.name, sources_of(trunk)) for trunk in trunks), ("", allow)]:
            for source in sources:
                if is_network(source):
                    self.networks.append((ipaddress.ip_network(source), trunk))
                else:
                    self.names.setdefault(source, set()).add(trunk)

    def find(self, address: IPAddress, addresses: Mapping[str, frozenset[str]]) -> dict[str, str]:
        """The trunks that it belongs to, in the order of the configuration, "" last, and what says so. `addresses`: of the host names."""
        found = [(trunk, str(network)) for network, trunk in self.networks if network.version == address.version and address in network]
        found += [(trunk, name) for name, trunks in self.names.items() if str(address) in addresses.get(name, ()) for trunk in trunks]
        by_trunk: dict[str, str] = {}
        for trunk, source in sorted(found, key=lambda row: row[0] == ""):
            by_trunk.setdefault(trunk, source)
        return by_trunk
