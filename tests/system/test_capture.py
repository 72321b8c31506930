"""A capture of a call, looked at by tshark: nothing malformed, nothing lost, nothing to complain of."""

import pathlib

import pytest

from tests.system import tshark
from tests.system.caller import Caller
from tests.system.server import Server

WARNING = 0x600000
"""Wireshark's severity; an error is 0x800000."""
LONGEST_DELTA_MS = 200
pytestmark = pytest.mark.peer


def test_tshark_has_nothing_to_complain_of(server: Server, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "call.pcapng"
    ports = f"udp port {server.sip_port} or udp portrange {server.rtp_ports.start}-{server.rtp_ports.stop}"
    with tshark.Capture(file, ports), Caller(server.sip_port) as caller:
        caller.wait_for_packets(75)
        caller.press("7")
        caller.wait_for_packets(75)
    sip = tshark.fields(file, server.sip_port, "sip", "sip.Method", "sip.Status-Code")
    found = ["/".join(part for part in row if part) for row in sip]
    assert [one for one in found if one not in ("100", "180")] == ["INVITE", "200", "ACK", "BYE", "200"]
    assert len(tshark.fields(file, server.sip_port, "rtp && !rtpevent", "rtp.ssrc")) > 250
    assert len(tshark.fields(file, server.sip_port, "rtpevent", "rtp.ssrc")) == 8, "the key"
    complaints = tshark.fields(
        file, server.sip_port, f"_ws.malformed || _ws.expert.severity >= {WARNING}", "frame.number", "_ws.expert.message"
    )
    assert complaints == []
    streams = stream_table(tshark.read(file, server.sip_port, "-q", "-z", "rtp,streams"))
    assert {stream["from"] for stream in streams} == {caller.media[1], caller.rtp_port}, "one each way"
    for stream in streams:
        print(f"{stream['packets']:.0f} packets, {stream['lost']:.0f} lost, longest delta {stream['delta_ms']:.1f} ms")
        assert stream["lost"] == 0 and stream["packets"] > 140
        assert stream["delta_ms"] < LONGEST_DELTA_MS


def stream_table(text: str) -> list[dict[str, float]]:
    """The rows of `-z rtp,streams`.

    Start, end, source address, port, destination address, port, SSRC, payload, packets, lost, (percent), min, mean, max delta, ...
    """
    found = []
    for line in text.splitlines():
        words = line.split()
        percent = next((place for place, word in enumerate(words) if word.endswith("%)")), 0)
        if percent:
            packets, lost, longest_delta_ms = words[percent - 2], words[percent - 1], words[percent + 3]
            found.append({"from": int(words[3]), "packets": float(packets), "lost": float(lost), "delta_ms": float(longest_delta_ms)})
    return found
