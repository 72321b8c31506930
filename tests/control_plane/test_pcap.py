"""A capture that a program which nobody here wrote can read."""

import pathlib
import subprocess

import pytest

from control_plane import pcap
from tests.conftest import require_peer

INVITE = (
    b"INVITE sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5070;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n"
    b"To: <sip:100@192.0.2.1>\r\nCall-ID: abc\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.0.2.1:5060", "192.0.2.1", 5060),
        ("tcp:192.0.2.1:5061", "192.0.2.1", 5061),
        ("[2001:db8::1]:5060", "2001:db8::1", 5060),
        ("tls:[2001:db8::1]:443", "2001:db8::1", 443),
        ("192.0.2.1", "192.0.2.1", 0),
        ("", "0.0.0.0", 0),
        ("phone.example.com:5060", "0.0.0.0", 0),
    ],
)
def test_endpoints_are_read_as_they_are_shown(text: str, address: str, port: int) -> None:
    found = pcap.parse_endpoint(text)
    assert (str(found.address), found.port) == (address, port)


ENDS = [("192.0.2.10:5070", "192.0.2.1:15060"), ("[2001:db8::1]:5070", "[2001:db8::2]:5060"), ("", "[::1]:5060")]


@pytest.mark.peer
@pytest.mark.parametrize(("here", "there"), ENDS)
def test_tshark_finds_sip_and_nothing_wrong(tmp_path: pathlib.Path, here: str, there: str) -> None:
    file = tmp_path / "call.pcap"
    source, destination = pcap.parse_endpoint(here), pcap.parse_endpoint(there)
    odd = INVITE.replace(b"Call-ID: abc", b"Call-ID: abcd")
    file.write_bytes(pcap.header() + b"".join(pcap.packet(1.5e9 + 0.25, source, destination, octets) for octets in (INVITE, odd)))
    fields = ["sip.Method", "udp.srcport", "udp.dstport", "frame.time_epoch", "udp.checksum.status", "ip.checksum.status", "_ws.malformed"]
    command = [require_peer("tshark"), "-r", str(file), "-T", "fields", "-E", "separator=|", "-o", "udp.check_checksum:TRUE"]
    command += ["-o", "ip.check_checksum:TRUE", *(word for field in fields for word in ("-e", field))]
    done = subprocess.run(command, capture_output=True, text=True)
    rows = [line.split("|") for line in done.stdout.splitlines()]
    assert len(rows) == 2, done
    for method, from_port, to_port, at, udp, ip, malformed in rows:
        assert (method, from_port, to_port) == ("INVITE", str(source.port), str(destination.port))
        assert at == "1500000000.250000000" and udp in ("1", "Good") and ip in ("1", "Good", "") and malformed == ""


@pytest.mark.peer
def test_sngrep_makes_a_call_of_it(tmp_path: pathlib.Path) -> None:
    """It writes the dialogs that it has understood, and nothing else."""
    file, understood = tmp_path / "call.pcap", tmp_path / "sngrep.pcap"
    here, there = pcap.parse_endpoint("192.0.2.10:5070"), pcap.parse_endpoint("192.0.2.1:15060")
    trying = INVITE.replace(b"INVITE sip:100@192.0.2.1 SIP/2.0", b"SIP/2.0 100 Trying")
    sent = ((here, there, INVITE), (there, here, trying), (here, there, b"\r\n\r\n"))
    file.write_bytes(pcap.header() + b"".join(pcap.packet(1.5e9 + n, *one) for n, one in enumerate(sent)))
    command = [require_peer("sngrep"), "-N", "-q", "-F", "-c", "-I", str(file), "-O", str(understood)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done
    keepalive = 16 + 20 + 8 + 4  # with the heads of its record, of IP and of UDP
    assert understood.read_bytes() == file.read_bytes()[:-keepalive], "the two messages, each as it was"
