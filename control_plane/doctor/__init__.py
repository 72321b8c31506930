"""What usually breaks, and what to do about it. A check is a row and a function: it looks, and gives what it finds."""

from collections.abc import Callable, Iterator

from control_plane.doctor import calls, host, network
from control_plane.doctor.patient import Finding, Patient

Check = Callable[[Patient], Iterator[Finding]]
CHECKS: tuple[tuple[str, Check], ...] = (
    ("descriptors",         host.descriptors),
    ("memory",              host.memory),
    ("socket buffers",      host.socket_buffers),
    ("lost datagrams",      host.lost_in_buffers),
    ("core frequency",      host.governor),
    ("shared cores",        host.shared_cores),
    ("isolated cores",      host.isolation),
    ("stolen time",         host.steal),
    ("clock",               host.clock),
    ("RTP ports",           host.ports_in_reach_of_others),
    ("connection tracking", host.connection_tracking),
    ("NAT",                 host.behind_nat),
    ("certificate",         host.certificate),
    ("public address",      network.public_address),
    ("names",               network.names),
    ("SIP port",            network.sip_port),
    ("gateways",            network.gateways),
    ("processes",           calls.processes),
    ("one-way audio",       calls.one_way_audio),
    ("loss",                calls.loss),
)


def examine(patient: Patient) -> Iterator[tuple[str, list[Finding]]]:
    """Each check's name with what it found, as soon as it has looked."""
    for name, check in CHECKS:
        yield name, list(check(patient))
