"""What is wrong with the machine: limits, cores, clock, ports, firewall, addresses, certificate."""

import ipaddress
import itertools
import pathlib
import ssl
import subprocess
import time
from collections.abc import Iterator

from control_plane.doctor.machine import Machine, parse_cores
from control_plane.doctor.patient import Finding, Patient

DESCRIPTORS_FOR_THE_REST = 512
CALL_BYTES, BASE_BYTES = 300_000, 300_000_000
RECEIVE_BUFFER_BYTES = 4 << 20
"""What the front asks for: a second of stall at full load."""
STEAL_LIMIT, CONNTRACK_LIMIT = 0.01, 0.8
EXPIRY_WARNING_DAYS = 21
SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies")
ANSWER_LIMIT_S = 3.0


def descriptors(patient: Patient) -> Iterator[Finding]:
    ports = 2 * len(patient.config.rtp_port_pairs())
    needed, allowed = ports + DESCRIPTORS_FOR_THE_REST, patient.machine.descriptor_limit()
    if allowed < needed:
        yield Finding(
            "broken", f"{needed} descriptors are needed for {ports} RTP ports, and {allowed} are allowed",
            f"LimitNOFILE={needed} (ulimit -n)",
        )  # fmt: skip


def memory(patient: Patient) -> Iterator[Finding]:
    needed, there = BASE_BYTES + CALL_BYTES * patient.config.most_calls(), patient.machine.memory_bytes()
    free = there.get("MemAvailable", needed)
    if free < needed and not patient.is_running:
        yield Finding(
            "broken", f"{needed >> 20} MiB are needed for all calls, and {free >> 20} are free",
            "fewer media.rtp_ports, or more memory",
        )  # fmt: skip
    if there.get("SwapTotal", 0) - there.get("SwapFree", 0) > needed // 10:
        yield Finding("risky", "this machine swaps: a page that is fetched from disk is a gap in the audio", "swapoff -a, or more memory")


def socket_buffers(patient: Patient) -> Iterator[Finding]:
    allowed = patient.machine.number("proc/sys/net/core/rmem_max")
    if allowed is not None and allowed < RECEIVE_BUFFER_BYTES:
        is_shared = patient.config.shared_port_calls() > 0
        what = "audio on the RTP port that calls share may be lost while its worker is busy" if is_shared else ""
        yield Finding(
            "risky" if is_shared else "hint",
            f"net.core.rmem_max is {allowed}: {what or 'a burst of SIP may be lost while the front is busy'}",
            f"sysctl -w net.core.rmem_max={RECEIVE_BUFFER_BYTES}",
        )  # fmt: skip


def lost_in_buffers(patient: Patient) -> Iterator[Finding]:
    if not patient.is_running:
        return
    pairs, drops = patient.config.rtp_port_pairs(), patient.machine.udp_drops()
    ours = {port: lost for port, lost in drops.items() if lost and pairs.start <= port <= pairs.stop}
    if ours:
        text = f"{sum(ours.values())} RTP datagrams on {len(ours)} ports came faster than the workers read"
        yield Finding(
            "risky", text,
            "more or quieter cores for the workers (media.workers, media.cores); `bellframe top` shows their lateness",
        )  # fmt: skip


def governor(patient: Patient) -> Iterator[Finding]:
    slow = sorted(core for core, name in patient.machine.governors().items() if name not in ("performance", "schedutil"))
    if slow:
        name = patient.machine.governors()[slow[0]]
        yield Finding("risky", f"{len(slow)} cores are ruled by {name}: they wake slowly", "cpupower frequency-set -g performance")


def shared_cores(patient: Patient) -> Iterator[Finding]:
    cores = set(patient.config.cores())
    for core in sorted(cores):
        rivals = sorted((patient.machine.siblings(core) & cores) - {core})
        if rivals and core < rivals[0]:
            yield Finding("hint", f"workers on cores {core} and {rivals[0]} share one physical core", "media.cores: name one of each pair")


def isolation(patient: Patient) -> Iterator[Finding]:
    isolated = set(parse_cores(patient.machine.text("sys/devices/system/cpu/isolated")))
    open_cores = sorted(set(patient.config.cores()) - isolated)
    if isolated and open_cores:
        yield Finding(
            "hint", f"cores are isolated ({sorted(isolated)}), but workers run on {open_cores}",
            "media.cores: name the isolated ones",
        )  # fmt: skip


def steal(patient: Patient) -> Iterator[Finding]:
    share = patient.machine.steal_share()
    if share > STEAL_LIMIT:
        yield Finding("risky", f"the hypervisor gave {share:.1%} of this machine's time to others", "dedicated cores, or bare metal")


def clock(patient: Patient) -> Iterator[Finding]:
    source = patient.machine.text("sys/devices/system/clocksource/clocksource0/current_clocksource")
    if source in SLOW_CLOCKS:
        yield Finding(
            "risky", f"the clock is read from {source}, which costs microseconds each time",
            "clocksource=tsc on the kernel's command line",
        )  # fmt: skip


def ports_in_reach_of_others(patient: Patient) -> Iterator[Finding]:
    ephemeral, pairs = patient.machine.numbers("proc/sys/net/ipv4/ip_local_port_range"), patient.config.rtp_port_pairs()
    reserved = set(parse_cores(patient.machine.text("proc/sys/net/ipv4/ip_local_reserved_ports")))
    if len(ephemeral) == 2 and not reserved.issuperset(pairs):
        shared = range(max(ephemeral[0], pairs.start), min(ephemeral[1], pairs.stop) + 1)
        if shared:
            ports = f"{pairs.start}-{pairs.stop}"
            yield Finding(
                "risky", f"the kernel may give RTP ports {shared[0]}-{shared[-1]} to any program of this machine",
                f"sysctl -w net.ipv4.ip_local_reserved_ports={ports}, or media.rtp_ports below {ephemeral[0]}",
            )  # fmt: skip


def connection_tracking(patient: Patient) -> Iterator[Finding]:
    held = patient.machine.number("proc/sys/net/netfilter/nf_conntrack_count")
    limit = patient.machine.number("proc/sys/net/netfilter/nf_conntrack_max")
    if held is not None and limit and held > CONNTRACK_LIMIT * limit:
        yield Finding(
            "broken", f"the firewall tracks {held} of {limit} connections at most: beyond that it drops packets",
            f"sysctl -w net.netfilter.nf_conntrack_max={2 * limit}, or do not track RTP (nft: notrack)",
        )  # fmt: skip


def behind_nat(patient: Patient) -> Iterator[Finding]:
    """A private address that nobody was told to replace, and a far end that is not in the same network."""
    config = patient.config
    if config.sip.public_address:
        return
    sources = (*config.sip.allow, *(source for trunk in config.trunks for source in trunk.allow))
    far = [network for network in map(as_network, sources) if network]
    if any(not (network.is_private or network.is_loopback) for network in far) and not has_public_address(patient.machine):
        yield Finding(
            "broken", "callers come from the Internet, and this machine has private addresses only: they would send audio nowhere",
            "sip.public_address: the address that the Internet sees; forward the SIP port and media.rtp_ports to this machine",
        )  # fmt: skip


def certificate(patient: Patient) -> Iterator[Finding]:
    file = patient.config.sip.tls_certificate
    if not file:
        return
    if not pathlib.Path(file).is_file():
        yield Finding("broken", f"sip.tls_certificate: {file} is not there", "write it, or take the tls: listener out")
        return
    asked = subprocess.run(("openssl", "x509", "-noout", "-enddate", "-in", file), capture_output=True, text=True, timeout=ANSWER_LIMIT_S)
    if asked.returncode:
        yield Finding("broken", f"sip.tls_certificate: {file} holds no certificate", "a PEM file: first the certificate, then its chain")
        return
    days = (ssl.cert_time_to_seconds(asked.stdout.strip().removeprefix("notAfter=")) - time.time()) / 86_400
    if days < 0:
        yield Finding(
            "broken", f"the certificate {file} expired {-days:.0f} days ago: peers refuse it",
            "renew it; it is read again without a restart",
        )  # fmt: skip
    elif days < EXPIRY_WARNING_DAYS:
        yield Finding("risky", f"the certificate {file} expires in {days:.0f} days", "renew it; it is read again without a restart")


def as_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """None: a host name."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def has_public_address(machine: Machine) -> bool:
    """Whether one of our own addresses can be reached from the Internet, as the kernel's local routes say."""
    words = machine.text("proc/net/fib_trie").split()
    found = [as_network(word) for word, following in itertools.pairwise(words) if following == "/32"]
    return any(network is not None and network.is_global for network in found)
