"""A call over IPv6 from end to end: SIP, RTP and RTCP, with a telephone that nobody here wrote, and what tshark says of it."""

import pathlib
import socket
import time

import pytest

from tests.system import tshark
from tests.system.baresip import PITCH_HZ, Baresip
from tests.system.conftest import StartServer
from tests.system.server import Server, free_ports
from tests.system.test_capture import WARNING, stream_table
from tests.system.test_two_way_audio import check_tone

HERE = "::1"
pytestmark = pytest.mark.peer


@pytest.fixture(scope="module", name="server")
def _server(start_server: StartServer) -> Server:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind((HERE, 0))
    except OSError as failure:
        pytest.skip(f"there is no IPv6 here: {failure}")
    port = free_ports(2)
    server = start_server("echo", calls=8, sip={"listen": f"[{HERE}]:{port}", "trace": True}, media={"rtcp_interval_seconds": 1.0})
    server.sip_port = port
    return server


def test_both_hear_each_other_and_tshark_has_nothing_to_complain_of(server: Server, tmp_path: pathlib.Path) -> None:
    wire, ours = tmp_path / "wire.pcapng", tmp_path / "ours.pcap"
    ports = f"udp port {server.sip_port} or udp portrange {server.rtp_ports.start}-{server.rtp_ports.stop}"
    with tshark.Capture(wire, ports), Baresip(tmp_path, host=HERE) as phone:
        phone.dial(f"sip:echo@[{HERE}]:{server.sip_port}")
        [call] = server.calls()
        done = server.command("capture", call.call_id, "--seconds", "2", "--file", str(ours))
        assert done.returncode == 0, done
        time.sleep(0.5)
        phone.hang_up()
    for side in ("enc", "dec"):
        check_tone(phone.recording(side), PITCH_HZ)
    for file in (wire, ours):
        complaints = tshark.fields(file, server.sip_port, f"_ws.malformed || _ws.expert.severity >= {WARNING}", "_ws.expert.message")
        assert complaints == []
        assert {row[0] for row in tshark.fields(file, server.sip_port, "sip || rtp || rtcp", "ipv6.addr")} == {f"{HERE},{HERE}"}
        streams = stream_table(tshark.read(file, server.sip_port, "-q", "-z", "rtp,streams"))
        assert len(streams) == 2 and all(stream["lost"] == 0 and stream["packets"] > 75 for stream in streams), streams
        assert tshark.fields(file, server.sip_port, "rtcp.senderssrc", "rtcp.pt")
    methods = {row[0] for row in tshark.fields(wire, server.sip_port, "sip.Method", "sip.Method")}
    assert methods == {"INVITE", "ACK", "BYE"}
    server.wait_until_quiet()
    shown = server.command("call", "show", call.call_id, "--json").stdout
    assert f"[{HERE}]" in shown and '"lost": 0' in shown and '"wrong_source": 0' in shown
    server.check_log()
