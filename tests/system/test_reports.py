"""RTCP between us and phones that nobody here wrote, read by tshark."""

import json
import pathlib

import pytest

from tests.system import tshark
from tests.system.baresip import Baresip
from tests.system.conftest import StartServer
from tests.system.server import HOST, Server, wait_for

pytestmark = pytest.mark.peer
SENDER_REPORT, DESCRIPTION, BYE = "200", "202", "203"


def figures(server: Server) -> dict[str, float]:
    [call] = json.loads(server.command("top", "--once", "--json").stdout)["calls"]
    return dict(call)


def test_a_phone_reads_our_reports_and_we_read_the_phone_s(start_server: StartServer, tmp_path: pathlib.Path) -> None:
    server = start_server(agent="echo", media={"rtcp_interval_seconds": 1.0})
    file = tmp_path / "reports.pcapng"
    ports = f"udp port {server.sip_port} or udp portrange {server.rtp_ports.start}-{server.rtp_ports.stop + 1}"
    with tshark.Capture(file, ports), Baresip(tmp_path) as phone:
        phone.dial(f"sip:echo@{HOST}:{server.sip_port}")
        wait_for("the phone has reported", lambda: figures(server)["rtt_ms"] > 0, 20)
        seen = figures(server)
        phone.hang_up()
        server.wait_until_quiet()
    assert seen["remote_lost"] == 0 and 0 < seen["rtt_ms"] < 100 and 4.2 < seen["mos_worst"] <= seen["mos"] <= 4.5
    rows = tshark.fields(file, server.sip_port, "rtcp", "rtcp.pt", "udp.srcport", "rtcp.ssrc.fraction", "rtcp.sdes.type")
    ours = [row for row in rows if int(row[1]) in range(server.rtp_ports.start, server.rtp_ports.stop + 2)]
    kinds = [row[0].split(",") for row in ours]
    assert len(ours) >= 3 and all(kind[:2] == [SENDER_REPORT, DESCRIPTION] for kind in kinds), rows
    assert BYE in kinds[-1] and all(BYE not in kind for kind in kinds[:-1])
    assert {row[2] for row in ours[1:] if row[2]} == {"0"}, "nothing was lost"
    complaints = tshark.fields(file, server.sip_port, "_ws.malformed || rtcp.length_check == 0", "frame.number", "_ws.expert.message")
    assert complaints == []
    assert len(rows) > len(ours), "the phone's own"
