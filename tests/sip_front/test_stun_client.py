"""The real process and a STUN server of ours: what far ends are told, at the start and after a change."""

import pathlib
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from control_plane import stun
from control_plane.doctor.network import ask_stun
from tests.pki import Authority
from tests.sip_front.front_process import HOST, ROOT, Front, Staff

pytestmark = pytest.mark.system
INVITE = (
    "INVITE sip:1@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK{n};rport\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:1@b>\r\n"
    "Call-ID: {n}\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContact: <sip:a@127.0.0.1>\r\nContent-Type: application/sdp\r\n\r\n"
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"
)


class StunServer:
    """Answers with the address that the test wants it to see."""

    def __init__(self, host: str) -> None:
        self.host, self.asked, self.is_silent = host, 0, False
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((HOST, 0))
        self.port = int(self.socket.getsockname()[1])
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while True:
            octets, source = self.socket.recvfrom(2_048)
            if not octets:
                return
            assert octets[:2] == b"\0\1"
            self.asked += 1
            if self.asked > 1 and not self.is_silent:  # the first question is lost
                value = bytes((0, 1)) + (source[1] ^ 0x2112).to_bytes(2, "big") + bytes(
                    a ^ b for a, b in zip(socket.inet_aton(self.host), octets[4:8], strict=True)
                )
                self.socket.sendto(stun.encode(stun.SUCCESS, octets[8:20], ((stun.XOR_MAPPED_ADDRESS, value),)), source)

    def stop(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b"", (HOST, self.port))
        self.thread.join()
        self.socket.close()


@pytest.fixture(name="server")
def _server() -> Iterator[StunServer]:
    server = StunServer("198.51.100.7")
    yield server
    server.stop()


def check_answer(front: Front, name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.settimeout(5)
        phone.connect((HOST, front.sip))
        phone.send(INVITE.format(n=name).encode())
        while not (answer := phone.recv(4_096)).startswith(b"SIP/2.0 200"):
            pass
    assert f"<sip:bellframe@198.51.100.7:{front.sip}>".encode() in answer and b"c=IN IP4 198.51.100.7" in answer


def test_far_ends_are_told_what_the_stun_server_sees(tmp_path: pathlib.Path, server: StunServer) -> None:
    front = Front(
        tmp_path / "front", Authority(tmp_path), after='[[routes]]\nagent = "echo"\n', public_address=f"stun:{HOST}:{server.port}"
    )  # fmt: skip
    staff = Staff(front.folder)
    try:
        front.wait_for("worker and bridge", lambda: "bridge 0 has reported" in front.log() and "worker 0 has" in front.log())
        assert f"our public address is 198.51.100.7, says {HOST}:{server.port}" in front.log()
        check_answer(front, "one")
        server.is_silent = True
        front.process.kill()
        front.process.wait()
        before = len(front.log())
        with front.log_path.open("ab") as log:
            front.process = subprocess.Popen(front.process.args, stderr=log, cwd=ROOT)
        front.wait_for("its successor listens", lambda: "listening for SIP" in front.log()[before:])
        front.wait_for("worker and bridge", lambda: "bridge 0 has" in front.log()[before:] and "worker 0 has" in front.log()[before:])
        check_answer(front, "two")  # without a word from the server: the front before knew
    finally:
        staff.stop()
        front.stop()


def test_a_server_that_is_not_there_is_a_line_and_no_obstacle(tmp_path: pathlib.Path) -> None:
    front = Front(tmp_path / "front", Authority(tmp_path), public_address="stun:127.0.0.1:9")
    front.wait_for("the line", lambda: "sip.public_address: no answer of stun:127.0.0.1:9" in front.log(), limit_s=20)
    assert "let UDP out to it, or write the address itself" in front.log()
    front.stop()


def test_the_doctor_asks_it_too(server: StunServer) -> None:
    assert ask_stun(HOST, server.port, HOST)[0] == "198.51.100.7"
    with pytest.raises(OSError):  # nobody listens there
        ask_stun(HOST, 9, HOST)
