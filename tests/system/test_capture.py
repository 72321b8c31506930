"""A capture of a call, looked at by tshark: nothing malformed, nothing lost, nothing to complain of."""

import itertools
import json
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


def test_tshark_reads_the_keys_that_we_press(server: Server, tmp_path: pathlib.Path) -> None:
    """RFC 4733 2.5.1: the marker once, one timestamp a key, a duration that grows, the end three times."""
    file = tmp_path / "keys.pcapng"
    ports = f"udp port {server.sip_port} or udp portrange {server.rtp_ports.start}-{server.rtp_ports.stop}"
    with tshark.Capture(file, ports), Caller(server.sip_port) as caller:
        caller.wait_for_packets(25)
        [call] = json.loads(server.command("calls", "--json").stdout)
        done = server.command("keys", call["call_id"], "15#")
        assert (done.returncode, done.stdout) == (0, f"3 keys to {call['call_id']}\n"), done
        caller.wait_for_packets(75)
    names = ("rtp.timestamp", "rtp.marker", "rtpevent.event_id", "rtpevent.end_of_event", "rtpevent.duration", "rtpevent.volume")
    packets = tshark.fields(file, server.sip_port, f"rtpevent && udp.srcport == {caller.media[1]}", *names)
    truth = {"1": True, "True": True, "0": False, "False": False}
    by_key = {row[0]: [other for other in packets if other[0] == row[0]] for row in packets}
    assert [[int(event) for event in {row[2] for row in rows}] for rows in by_key.values()] == [[1], [5], [11]]
    for rows in by_key.values():
        assert [truth[row[1]] for row in rows] == [True] + [False] * 7
        assert [truth[row[3]] for row in rows] == [False] * 5 + [True] * 3
        assert [int(row[4]) for row in rows] == [160, 320, 480, 640, 800, 800, 800, 800] and {row[5] for row in rows} == {"10"}
    starts = [int(timestamp) for timestamp in by_key]
    assert [(b - a) % 2**32 for a, b in itertools.pairwise(starts)] == [1280, 1280], "100 ms of tone, 60 ms of silence"
    complaints = tshark.fields(file, server.sip_port, f"_ws.malformed || _ws.expert.severity >= {WARNING}", "_ws.expert.message")
    assert complaints == []
