"""What is wrong between this machine and the far ends: names, ports, gateways."""

import contextlib
import ipaddress
import secrets
import socket
from collections.abc import Iterator

from control_plane import stun
from control_plane.config import Config
from control_plane.doctor.patient import Finding, Patient
from control_plane.listen_config import listeners, parse_stun
from control_plane.stun import BadStun
from control_plane.trunk_config import Gateway, parse_gateway

ANSWER_LIMIT_S = 2.0
SIP_PORT = 5060


def hosts(config: Config) -> list[tuple[str, Gateway]]:
    """(trunk, gateway) of every trunk."""
    return [(trunk.name, parse_gateway(text, f"trunk {trunk.name}")) for trunk in config.trunks for text in trunk.gateways]


def names(patient: Patient) -> Iterator[Finding]:
    for trunk, gateway in hosts(patient.config):
        host = gateway.host.strip("[]")
        try:
            socket.getaddrinfo(host, None)
        except OSError as failure:
            if not has_srv(host):
                remedy = f"spell it as the carrier does, and look whether `getent hosts {host}` answers"
                yield Finding("broken", f"trunk {trunk}: {host} has no address ({failure.strerror})", remedy)


def has_srv(host: str) -> bool:
    """Carriers' domains often have SRV records and no address of their own (RFC 3263 4.2)."""
    import dns.exception
    import dns.resolver

    for service in ("_sip._udp", "_sip._tcp", "_sips._tcp"):
        try:
            dns.resolver.resolve(f"{service}.{host}", "SRV", lifetime=ANSWER_LIMIT_S)
            return True
        except dns.exception.DNSException:
            continue
    return False


def sip_port(patient: Patient) -> Iterator[Finding]:
    """Another program on our port: only seen while we do not run."""
    if patient.is_running:
        return
    for place in listeners(patient.config.sip):
        kind = socket.SOCK_DGRAM if place.transport == "udp" else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET6 if ":" in place.host else socket.AF_INET, kind) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind == socket.SOCK_STREAM))
            try:
                one.bind((place.host, place.port))
            except OSError as failure:
                yield Finding(
                    "broken", f"sip.listen: {place.transport} port {place.port} cannot be had: {failure.strerror}",
                    f"`ss -lnp 'sport = {place.port}'` shows who has it",
                )  # fmt: skip


def public_address(patient: Patient) -> Iterator[Finding]:
    """What the STUN servers of sip.public_address say, asked from here."""
    for server, own in {place.stun: place.host for place in listeners(patient.config.sip) if place.stun}.items():
        try:
            host, _ = ask_stun(*parse_stun(server), own)
        except (OSError, BadStun) as failure:
            yield Finding(
                "broken", f"sip.public_address: no answer of stun:{server}: {failure or 'silence'}",
                "let UDP out to it in the firewall, name another server, or write the address itself",
            )  # fmt: skip
        else:
            if ipaddress.ip_address(host).is_private and not ipaddress.ip_address(host).is_loopback:
                yield Finding("risky", f"stun:{server} sees us as {host}, which is private: it is in the same network", "ask one outside")


def ask_stun(host: str, port: int, own: str) -> tuple[str, int]:
    """Raises OSError and BadStun."""
    family = socket.AF_INET6 if ":" in own else socket.AF_INET
    address = socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM)[0][4]
    with socket.socket(family, socket.SOCK_DGRAM) as ours:
        ours.bind((own, 0))
        ours.connect(address)
        ours.settimeout(ANSWER_LIMIT_S / 4)
        transaction_id = secrets.token_bytes(stun.TRANSACTION_ID_BYTES)
        for _ in range(4):
            ours.send(stun.encode(stun.REQUEST, transaction_id))
            with contextlib.suppress(TimeoutError):
                found = stun.read_answer(ours.recv(2048), transaction_id)
                if found:
                    return found
    raise BadStun(f"it does not answer within {ANSWER_LIMIT_S:g} s")


def gateways(patient: Patient) -> Iterator[Finding]:
    """OPTIONS over UDP. Any answer is a good one: it says that datagrams go there and come back."""
    for trunk, gateway in hosts(patient.config):
        if gateway.transport not in ("", "udp"):
            yield from _connect(trunk, gateway)
        elif not answers_options(gateway.host.strip("[]"), gateway.port or SIP_PORT):
            text = f"trunk {trunk}: {gateway.host} does not answer OPTIONS over UDP within {ANSWER_LIMIT_S:g} s"
            yield Finding(
                "risky", text,
                "let UDP out and back in the firewall; some carriers answer only addresses that they know: register yours there",
            )  # fmt: skip


def _connect(trunk: str, gateway: Gateway) -> Iterator[Finding]:
    port = gateway.port or (SIP_PORT + 1 if gateway.transport == "tls" else SIP_PORT)
    try:
        socket.create_connection((gateway.host.strip("[]"), port), ANSWER_LIMIT_S).close()
    except OSError as failure:
        yield Finding(
            "broken", f"trunk {trunk}: {gateway.host}:{port} cannot be connected to ({failure})",
            "the carrier's port and our firewall",
        )  # fmt: skip


def answers_options(host: str, port: int) -> bool:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    except OSError:
        return False
    with socket.socket(family, socket.SOCK_DGRAM) as ours:
        ours.settimeout(ANSWER_LIMIT_S)
        try:
            ours.connect(address)
            name = ours.getsockname()[0]
            local = f"{f'[{name}]' if ':' in name else name}:{ours.getsockname()[1]}"
            ours.send(_options(host, local))
            return ours.recv(4096).startswith(b"SIP/2.0 ")
        except OSError:
            return False


def _options(host: str, local: str) -> bytes:
    lines = (
        f"OPTIONS sip:{host} SIP/2.0",
        f"Via: SIP/2.0/UDP {local};branch=z9hG4bK{secrets.token_hex(8)};rport",
        f"From: <sip:doctor@{local}>;tag={secrets.token_hex(4)}",
        f"To: <sip:{host}>",
        f"Call-ID: {secrets.token_hex(12)}",
        "CSeq: 1 OPTIONS",
        "Max-Forwards: 1",
        "Content-Length: 0",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()
