"""A machine broken on purpose, one way at a time: each is found, named, and has a remedy. A machine that is well has no findings."""

import pathlib
import socket
import subprocess
import threading
import time

import msgspec
import pytest

from control_plane.config import Config, Media, Route, Sip
from control_plane.doctor import examine
from control_plane.doctor.machine import Machine
from control_plane.doctor.patient import CallSound, Finding, Patient
from control_plane.messages import PeerFacts, Status
from control_plane.trunk_config import Trunk
from tests.conftest import require_peer

GOOD = {
    "proc/sys/net/core/rmem_max": "8388608",
    "proc/sys/net/ipv4/ip_local_port_range": "32768\t60999",
    "proc/meminfo": "MemTotal: 32000000 kB\nMemAvailable: 30000000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB",
    "proc/stat": "cpu  100 0 100 9800 0 0 0 0 0 0",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance",
    "proc/net/udp": "  sl  local_address rem_address   st tx_queue rx_queue\n 10: 0100007F:2710 00000000:0000 07 0:0 00:0 0 0 0 1 2 0 0",
}
CONFIG = Config(sip=Sip(listen="127.0.0.1:0"), media=Media(rtp_ports="10000-10199", workers=1), routes=(Route(agent="echo"),))
WELL = Status("1", "127.0.0.1:5060", 1.0, False, 0, 0, 0, (PeerFacts("worker", 0, 7, 1, 0, 100, 5), PeerFacts("bridge", 0, 8, 0, 0, 0, 5)))


class Described(Machine):
    limit = 65_536

    def descriptor_limit(self) -> int:
        return self.limit


@pytest.fixture(name="machine")
def _machine(tmp_path: pathlib.Path) -> Described:
    for name, text in GOOD.items():
        write(tmp_path, name, text)
    return Described(tmp_path)


def write(root: pathlib.Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text + "\n")


def findings(patient: Patient) -> dict[str, list[Finding]]:
    return {name: found for name, found in examine(patient) if found}


def test_a_machine_that_is_well(machine: Described) -> None:
    assert findings(Patient(machine, CONFIG, None)) == {}
    assert findings(Patient(machine, CONFIG, WELL, (CallSound("a", 60.0, 3000, 3000, 10),))) == {}


@pytest.mark.parametrize(
    ("name", "text", "check", "word"),
    [
        ("proc/sys/net/core/rmem_max", "212992", "socket buffers", "rmem_max=4194304"),
        ("proc/sys/net/ipv4/ip_local_port_range", "9000 60999", "RTP ports", "ip_local_reserved_ports=10000-10199"),
        ("proc/meminfo", "MemAvailable: 100000 kB", "memory", "more memory"),
        ("proc/stat", "cpu  100 0 100 9000 0 0 0 800 0 0", "stolen time", "dedicated cores"),
        ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet", "clock", "clocksource=tsc"),
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave", "core frequency", "cpupower"),
        ("sys/devices/system/cpu/isolated", "90-95", "isolated cores", "media.cores"),
    ],
)
def test_each_way_a_host_is_broken_is_found(machine: Described, name: str, text: str, check: str, word: str) -> None:
    write(machine.root, name, text)
    found = findings(Patient(machine, CONFIG, None))
    assert list(found) == [check] and word in found[check][0].remedy


def test_swapping(machine: Described) -> None:
    write(machine.root, "proc/meminfo", "MemAvailable: 9000000 kB\nSwapTotal: 2000000 kB\nSwapFree: 1000000 kB")
    assert "swaps" in findings(Patient(machine, CONFIG, None))["memory"][0].what


def test_too_few_descriptors(machine: Described) -> None:
    machine.limit = 256
    found = findings(Patient(machine, CONFIG, None))
    assert found["descriptors"] == [
        ("broken", "712 descriptors are needed for 200 RTP ports, and 256 are allowed", "LimitNOFILE=712 (ulimit -n)")
    ]


def test_a_firewall_that_is_full(machine: Described) -> None:
    write(machine.root, "proc/sys/net/netfilter/nf_conntrack_count", "60000")
    write(machine.root, "proc/sys/net/netfilter/nf_conntrack_max", "65536")
    assert findings(Patient(machine, CONFIG, None))["connection tracking"][0].weight == "broken"


def test_datagrams_lost_on_our_ports_only(machine: Described) -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue"
    rows = [f" 1: 0100007F:{port:04X} 00000000:0000 07 0:0 00:0 0 0 0 1 2 0 {lost}" for port, lost in ((10_000, 3), (10_002, 4), (53, 100))]
    write(machine.root, "proc/net/udp", "\n".join((head, *rows)))
    assert findings(Patient(machine, CONFIG, WELL))["lost datagrams"][0].what.startswith("7 RTP datagrams on 2 ports")


def test_a_public_trunk_and_only_a_private_address(machine: Described) -> None:
    trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- {}\n        /32 host LOCAL"
    config = msgspec.structs.replace(CONFIG, sip=Sip(listen="127.0.0.1:0", allow=("54.172.60.0/30",)))
    write(machine.root, "proc/net/fib_trie", trie.format("10.0.0.5"))
    assert "sip.public_address" in findings(Patient(machine, config, None))["NAT"][0].remedy
    write(machine.root, "proc/net/fib_trie", trie.format("54.1.2.3"))
    assert "NAT" not in findings(Patient(machine, config, None))


def test_a_sip_port_that_another_program_has(machine: Described) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        config = msgspec.structs.replace(CONFIG, sip=Sip(listen=f"127.0.0.1:{port}"))
        found = findings(Patient(machine, config, None))["SIP port"][0]
        assert found.weight == "broken" and f"sport = {port}" in found.remedy
        assert "SIP port" not in findings(Patient(machine, config, WELL))  # it is our own


def trunk(host: str) -> Config:
    return msgspec.structs.replace(CONFIG, trunks=(Trunk(name="carrier", gateways=(host,)),))


def test_a_gateway_that_answers_and_one_that_does_not(machine: Described, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control_plane.doctor.network.ANSWER_LIMIT_S", 0.5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gateway:
        gateway.bind(("127.0.0.1", 0))
        gateway.settimeout(5)
        config = trunk(f"127.0.0.1:{gateway.getsockname()[1]}")
        assert "does not answer OPTIONS" in findings(Patient(machine, config, None))["gateways"][0].what
        gateway.recv(4096)

        def answer() -> None:
            request, source = gateway.recvfrom(4096)
            gateway.sendto(request.replace(request.partition(b"\r\n")[0], b"SIP/2.0 200 OK"), source)

        answering = threading.Thread(target=answer)
        answering.start()
        assert "gateways" not in findings(Patient(machine, config, None))
        answering.join()


def test_a_name_without_address(machine: Described, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control_plane.doctor.network.has_srv", lambda host: False)
    found = findings(Patient(machine, trunk("sip.nowhere.invalid"), None))["names"][0]
    assert "trunk carrier: sip.nowhere.invalid has no address" in found.what


@pytest.mark.parametrize(
    ("call", "check", "word"),
    [
        (CallSound("a", 60.0, 0, 3000, 0), "one-way audio", "firewall"),
        (CallSound("a", 60.0, 3000, 0, 0), "one-way audio", "hold"),
        (CallSound("a", 60.0, 2900, 3000, 100), "loss", "mtr"),
    ],
)
def test_what_is_wrong_in_a_call(machine: Described, call: CallSound, check: str, word: str) -> None:
    found = findings(Patient(machine, CONFIG, WELL, (call,)))
    assert list(found) == [check] and word in found[check][0].remedy


def test_a_process_that_is_silent_or_has_never_come(machine: Described) -> None:
    silent = msgspec.structs.replace(WELL, peers=(msgspec.structs.replace(WELL.peers[0], silent_ms=9000),))
    found = findings(Patient(machine, CONFIG, silent))["processes"]
    assert [finding.what for finding in found] == [
        "worker 0 has not reported for 9 s", "no bridge has ever reported: calls are refused with 503",
    ]  # fmt: skip


@pytest.mark.peer
@pytest.mark.parametrize(("days", "weight"), [(60, None), (80, "risky"), (91, "broken")])
def test_a_certificate_that_ends(
    machine: Described, tmp_path: pathlib.Path, days: int, weight: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of ninety days, looked at so many days later."""
    file, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = [require_peer("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=t"]
    subprocess.run([*make, "-keyout", str(key), "-out", str(file), "-days", "90"], check=True, capture_output=True)
    now = time.time()
    monkeypatch.setattr("control_plane.doctor.host.time.time", lambda: now + days * 86_400)
    config = msgspec.structs.replace(CONFIG, sip=Sip(listen="127.0.0.1:0", tls_certificate=str(file), tls_key=str(key)))
    found = findings(Patient(machine, config, None)).get("certificate", [])
    assert [finding.weight for finding in found] == ([weight] if weight else [])


def test_a_certificate_that_is_not_there(machine: Described) -> None:
    config = msgspec.structs.replace(CONFIG, sip=Sip(listen="127.0.0.1:0", tls_certificate="/nowhere/cert.pem", tls_key="/nowhere/key.pem"))
    assert "is not there" in findings(Patient(machine, config, None))["certificate"][0].what
