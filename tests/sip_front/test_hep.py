"""HEP by the book, and as sngrep reads it."""

import json
import pathlib
import socket
import struct
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip_front.hep import CAPTURE_ID, CORRELATION_ID, KIND, MAX_DATAGRAM, PASSWORD, PAYLOAD, RTP_REPORT, Collector, Place, encode, report
from tests.conftest import require_peer
from tests.system.server import wait_for

FAR, NEAR = Place("192.0.2.7", 5060), Place("198.51.100.1", 5061)
OPTIONS = (
    b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: hep-1\r\n"
    b"CSeq: 7 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


def chunks(octets: bytes) -> dict[int, bytes]:
    """Read by the book: every length is right, and nothing is left over."""
    magic, length = struct.unpack_from(">4sH", octets)
    assert magic == b"HEP3" and length == len(octets)
    found, at = {}, 6
    while at < len(octets):
        vendor, kind, size = struct.unpack_from(">HHH", octets, at)
        assert vendor == 0 and size >= 6
        found[kind] = octets[at + 6 : at + size]
        at += size
    assert at == len(octets)
    return found


HOSTS = st.sampled_from(["192.0.2.1", "2001:db8::1"])


@given(st.binary(max_size=70_000), st.text(max_size=30), HOSTS, HOSTS)
def test_all_of_it_is_chunks(payload: bytes, password: str, source: str, destination: str) -> None:
    octets = encode(Collector(7, password), Place(source, 1), Place(destination, 65_535), payload, 1_700_000_000.25)
    found = chunks(octets)
    assert len(octets) <= MAX_DATAGRAM + 100 < 65_508 and payload.startswith(found[PAYLOAD])
    assert found[CAPTURE_ID] == b"\0\0\0\7" and found.get(PASSWORD, b"") == password.encode()
    assert found[9] == struct.pack(">I", 1_700_000_000) and found[10] == struct.pack(">I", 250_000)


def test_a_report_of_the_audio_is_json_with_the_call_s_id() -> None:
    payload = report("a@b", "inbound", {"packets_received": 500, "lost": 3, "jitter_us": 1_500, "mos_mean_x100": 421, "rtt_us": 20_000})
    found = chunks(encode(Collector(1), FAR, NEAR, payload, 1.0, kind=RTP_REPORT, correlation_id="a@b"))
    values = json.loads(found[PAYLOAD])
    assert found[KIND] == b"\x22" and found[CORRELATION_ID] == b"a@b" == values["CORRELATION_ID"].encode()
    assert (values["MOS"], values["JITTER"], values["PACKET_LOSS"], values["RTT"]) == (4.21, 1.5, 3, 20.0)


@pytest.mark.peer
def test_sngrep_takes_it_and_tshark_reads_what_it_wrote(tmp_path: pathlib.Path) -> None:
    """sngrep is a collector; tshark of Debian 12 has no HEP of its own."""
    file, port = tmp_path / "sngrep.pcap", free_udp_port()
    command = [require_peer("sngrep"), "-N", "-q", "-L", f"udp:127.0.0.1:{port}", "-O", str(file)]
    collector = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for("sngrep listens", lambda: f":{port:04X} " in pathlib.Path("/proc/net/udp").read_text())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(encode(Collector(2001, "secret"), FAR, NEAR, OPTIONS, 1_700_000_000.5), ("127.0.0.1", port))
        wait_for("it has written it", lambda: file.exists() and b"hep-1" in file.read_bytes())
    finally:
        collector.terminate()
        collector.wait(10)
    names = ("frame.time_epoch", "ip.src", "ip.dst", "udp.srcport", "udp.dstport", "sip.Call-ID", "sip.CSeq.seq")
    wanted = [word for name in names for word in ("-e", name)]
    command = [require_peer("tshark"), "-r", str(file), "-n", "-T", "fields", "-E", "separator=|", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.strip() == "1700000000.500000000|192.0.2.7|198.51.100.1|5060|5061|hep-1|7"


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
