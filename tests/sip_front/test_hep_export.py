"""The real process and a collector of ours: what it gets, and what it must not."""

import pathlib
import socket

import pytest

from tests.pki import Authority
from tests.sip_front.front_process import HOST, Front, Staff
from tests.sip_front.test_hep import CORRELATION_ID, KIND, PASSWORD, PAYLOAD, chunks

pytestmark = pytest.mark.system
CALL = (
    "{method} sip:1@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK{cseq}{method};rport\r\nFrom: <sip:a@b>;tag=1\r\n"
    "To: <sip:1@b>{tag}\r\nCall-ID: call-1\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContact: <sip:a@127.0.0.1>\r\n"
    'Authorization: Digest username="a", response="0123456789"\r\n{kind}Content-Length: {length}\r\n\r\n{body}'
)
SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"


def request(method: str, cseq: int, tag: str = "", body: str = "") -> bytes:
    kind = "Content-Type: application/sdp\r\n" if body else ""
    return CALL.format(method=method, cseq=cseq, tag=tag, kind=kind, length=len(body), body=body).encode()


def receive(one: socket.socket, start: bytes) -> bytes:
    while not (octets := one.recv(65_535)).startswith(start):
        pass
    return octets


def test_both_ways_and_a_report_at_the_end_without_secrets(tmp_path: pathlib.Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        collector.bind((HOST, 0))
        front = Front(
            tmp_path / "front", Authority(tmp_path), after='[[routes]]\nagent = "echo"\n',
            hep=f"udp:{HOST}:{collector.getsockname()[1]}", hep_capture_id=77, hep_password="letmein",
        )  # fmt: skip
        staff = Staff(front.folder)
        front.wait_for("worker and bridge", lambda: "bridge 0 has reported" in front.log() and "worker 0 has" in front.log())
        for one in (collector, phone):
            one.settimeout(10)
        phone.connect((HOST, front.sip))
        phone.send(request("INVITE", 1, body=SDP))
        answer = receive(phone, b"SIP/2.0 200")
        tag = ";tag=" + answer.partition(b"To: <sip:1@b>;tag=")[2].partition(b"\r\n")[0].decode()
        phone.send(request("ACK", 1, tag))
        phone.send(request("BYE", 2, tag))
        receive(phone, b"SIP/2.0 200")
        seen: list[tuple[int, bytes]] = []
        while not seen or seen[-1][0] != 0x22:
            found = chunks(collector.recv(65_535))
            assert found[PASSWORD] == b"letmein" and found[12] == b"\0\0\0M"
            seen.append((found[KIND][0], found[PAYLOAD]))
            if found[KIND] == b"\x22":
                assert found[CORRELATION_ID] == b"call-1"
            else:
                ports = (front.sip, phone.getsockname()[1])
                is_ours = found[PAYLOAD].startswith(b"SIP/2.0 ")
                assert (int.from_bytes(found[7], "big"), int.from_bytes(found[8], "big")) == (ports if is_ours else ports[::-1])
        firsts = [octets.partition(b" sip:")[0][:11] for _, octets in seen[:-1]]
        assert firsts == [b"INVITE", b"SIP/2.0 100", *firsts[2:-4], b"SIP/2.0 200", b"ACK", b"BYE", b"SIP/2.0 200"]
        assert b"0123456789" not in b"".join(octets for _, octets in seen) and b"Digest *" in seen[0][1]
        assert b'"MOS": 4.2' in seen[-1][1]
        collector.close()  # nobody listens any more: calls do not notice
        phone.send(request("OPTIONS", 3))
        assert receive(phone, b"SIP/2.0 200")
        staff.stop()
        front.stop()
