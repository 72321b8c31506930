"""`bellframe capture` and its HTTP twin, of calls by telephones that nobody here wrote; read by tshark."""

import base64
import functools
import os
import pathlib
import signal
import subprocess
import time
import urllib.request

import numpy as np
import pytest
from pylibsrtp import Policy, Session

from control_plane import g711
from tests.system import tshark
from tests.system.baresip import PITCH_HZ, Baresip
from tests.system.caller import Caller
from tests.system.conftest import StartServer
from tests.system.server import HOST, Server, free_tcp_port, wait_for
from tests.system.sound import pitch_and_level
from tests.system.test_capture import WARNING, stream_table

pytestmark = pytest.mark.peer
PROFILES = {
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
}
TOKEN = "the-token-of-this-test"




@pytest.fixture(scope="module", name="traced")
def _traced(start_server: StartServer) -> tuple[Server, int]:
    port = free_tcp_port()
    http = {"listen": f"{HOST}:{port}", "tokens": [TOKEN]}
    media = {"srtp": "preferred", "rtcp_interval_seconds": 1.0}
    return start_server("echo", calls=8, media=media, sip={"trace": True}, http=http), port


def complaints(file: pathlib.Path, port: int) -> list[list[str]]:
    wrong = f"_ws.malformed || _ws.expert.severity >= {WARNING}"
    return tshark.fields(file, port, wrong, "frame.number", "_ws.expert.message")


def test_a_call_is_captured_from_the_command_and_over_http(traced: tuple[Server, int], tmp_path: pathlib.Path) -> None:
    server, http_port = traced
    file, streamed = tmp_path / "call.pcap", tmp_path / "http.pcap"
    with Caller(server.sip_port) as caller:
        [call] = server.calls()
        url = f"http://{HOST}:{http_port}/v1/calls/{call.call_id}/capture?seconds=60"
        response = urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"}), timeout=10)
        command = server.command_line("capture", call.call_id, "--file", str(file))
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            while not file.exists():
                assert process.poll() is None, process.communicate()
                time.sleep(0.02)
            caller.wait_for_packets(40)
            caller.press("7")
            caller.wait_for_packets(40)
            sent_to = caller.media[1]
            caller.hang_up()
            caller.is_over.set()
            assert process.wait(10) == 0, process.communicate()
            assert "packets and" in process.stdout.read() if process.stdout else False
    streamed.write_bytes(response.read())
    assert file.stat().st_mode & 0o077 == 0, "what both said is nobody else's to read"
    for one in (file, streamed):
        assert complaints(one, server.sip_port) == []
        sip = ["/".join(filter(None, row)) for row in tshark.fields(one, server.sip_port, "sip", "sip.Method", "sip.Status-Code")]
        assert [word for word in sip if word not in ("100", "180")] == ["INVITE", "200", "ACK", "BYE", "200"]
        streams = stream_table(tshark.read(one, server.sip_port, "-q", "-z", "rtp,streams"))
        assert {stream["from"] for stream in streams} == {sent_to, caller.rtp_port}, "one each way, with the ports that they had"
        assert all(stream["lost"] == 0 and stream["packets"] >= 75 for stream in streams), streams
        assert tshark.fields(one, server.sip_port, "rtpevent && udp.srcport == " + str(caller.rtp_port), "rtpevent.event_id")
        assert tshark.fields(one, server.sip_port, f"rtcp && udp.srcport == {sent_to + 1}", "rtcp.senderssrc")
        times = [float(row[0]) for row in tshark.fields(one, server.sip_port, "frame", "frame.time_epoch")]
        assert times == sorted(times) and abs(times[-1] - time.time()) < 60


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_protected_call_is_readable_or_comes_with_its_keys(
    traced: tuple[Server, int], tmp_path: pathlib.Path, is_encrypted: bool
) -> None:
    server, file = traced[0], tmp_path / "call.pcap"
    with Baresip(tmp_path, srtp="srtp-mand") as phone:
        phone.dial(f"sip:echo@{HOST}:{server.sip_port}")
        call_id = server.calls()[0].call_id
        words = ["capture", call_id, "--file", str(file), "--seconds", "1.5", *(["--encrypted"] if is_encrypted else [])]
        done = server.command(*words)
        assert done.returncode == 0, done
        phone.hang_up()
    server.wait_until_quiet()
    said = {row[1] for row in complaints(file, server.sip_port)}
    assert said == ({"Encrypted RTCP Payload - not dissected"} if is_encrypted else set())
    rows = tshark.fields(file, server.sip_port, "udp.length > 100", "udp.dstport", "udp.payload")
    to_us = [bytes.fromhex(payload) for port, payload in rows if int(port) in server.rtp_ports]
    heard = [octets for octets in to_us if not 192 <= octets[1] <= 223]  # RFC 5761 4: not RTCP
    assert len(heard) > 50
    if is_encrypted:
        keys_file = file.with_name("call.pcap.keys")
        assert keys_file.stat().st_mode & 0o077 == 0
        (which, suite, inline), (other, _, _) = (line.split() for line in keys_file.read_text().splitlines()[1:])
        assert (which, other) == ("received", "sent")
        key = base64.b64decode(inline.removeprefix("inline:"))
        session = Session(Policy(key, Policy.SSRC_ANY_INBOUND, PROFILES[suite]))
        assert np.abs(g711.decode(0, heard[10][12:172]).astype(int)).mean() > 5_000, "noise, on the wire"
        payloads = [session.unprotect(octets)[12:] for octets in heard]
    else:
        payloads = [octets[12:] for octets in heard]
    assert len(payloads) == len(heard)
    pitch, _ = pitch_and_level(np.concatenate([g711.decode(0, payload) for payload in payloads]))
    assert abs(pitch - PITCH_HZ) < 5
    server.check_log()


def test_ctrl_c_ends_it_with_a_whole_file(traced: tuple[Server, int], tmp_path: pathlib.Path) -> None:
    server, file = traced[0], tmp_path / "call.pcap"
    with Caller(server.sip_port) as caller:
        [call] = server.calls()
        command = server.command_line("capture", call.call_id, "--file", str(file))
        listens = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # it is ignored in whatever runs in the background
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=listens) as process:
            try:
                wait_for("the capture has begun", file.exists)
                caller.wait_for_packets(40)
                os.kill(process.pid, signal.SIGINT)
                assert process.wait(10) == 0
            finally:
                process.kill()
        unknown = server.command("capture", "no-such-call")
    assert unknown.returncode == 1 and "no call no-such-call" in unknown.stderr
    assert complaints(file, server.sip_port) == [] and len(tshark.fields(file, server.sip_port, "rtp", "rtp.seq")) > 40
