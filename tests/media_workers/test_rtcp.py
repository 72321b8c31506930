"""Reports: what we say, what we believe, and when (RFC 3550 section 6)."""

import random
import socket
import time

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from media_workers import rtcp
from media_workers.call_table import SCRATCH
from media_workers.rows import Rows
from media_workers.rtcp import NEVER
from shm.jit import IS_COMPILED
from shm.layout import QUALITY
from tests.media_workers.call_under_test import MS, MUTATIONS, SECOND, SSRC, START, CallUnderTest, make_views
from tests.media_workers.line import LoopbackWorker
from tests.reference import rtcp as reference
from tests.reference.rtcp import Block, Part, bye, description, receiver_report, sender_report

REALTIME = 1_700_000_000 * SECOND + 250 * MS
EXAMPLES = 400 if IS_COMPILED else 60


def build(call: CallUnderTest, is_bye: bool = False, realtime_ns: int = REALTIME) -> list[Part]:
    size = rtcp.build(call.worker, call.row, is_bye, call.now_ns, realtime_ns)
    parts = reference.parse(call.worker.own[0]["packet"][:size].tobytes())
    assert parts is not None
    return parts


def parsed(datagram: bytes, our_ssrc: int) -> np.void | None:
    packet, heard = np.zeros(2048, np.uint8), np.zeros(1, SCRATCH)[0]["heard"]
    packet[: len(datagram)] = np.frombuffer(datagram, np.uint8)
    packet[len(datagram) :] = 0xC8  # what a longer datagram left behind
    return heard if rtcp.parse(packet, len(datagram), our_ssrc, heard) else None


def hear(call: CallUnderTest, datagram: bytes, is_from_call: bool = True, is_on_rtp_port: bool = False) -> None:
    """A datagram that was read off the RTCP socket at `now_ns`."""
    own = call.worker.own[0]
    own["packet"][: len(datagram)] = np.frombuffer(datagram, np.uint8)
    own["address"] = call.call["source"]["signalled"]
    own["address"][0] += 1
    own["address"][1] += 0 if is_from_call else 1
    own["sockaddr_bytes"] = 16
    rtcp.take(call.worker, call.row, len(datagram), is_on_rtp_port, call.now_ns)


def our_ssrc(call: CallUnderTest) -> int:
    return int(call.call["tx"]["ssrc"])


# ---- what we say ------------------------------------------------------------------------------------------


def test_who_sends_reports_as_a_sender_and_names_the_time_on_both_clocks(call: CallUnderTest) -> None:
    for _ in range(5):
        packet = call.next_packet()
    call.now_ns += 10 * MS
    report, names = build(call)
    assert (report.kind, report.count, report.ssrc) == (200, 0, our_ssrc(call))
    seconds, fraction, timestamp, packets, octets = report.sender
    assert (seconds, fraction >> 30) == (1_700_000_000 + 2_208_988_800, 1), "a quarter of a second"
    assert (timestamp - packet.timestamp) % 2**32 == 80, "10 ms after the last packet's first sample"
    assert (packets, octets) == (5, 800)
    assert (names.kind, names.ssrc, names.body[4:6], names.body[22:]) == (202, our_ssrc(call), b"\x01\x10", b"\0\0")
    assert names.body[6:22] == call.call["rtcp"]["cname"].tobytes() and names.body[6:22].isascii()


def test_who_only_listens_reports_as_a_receiver(call: CallUnderTest) -> None:
    call.receive(1, 0)
    report, _ = build(call)
    assert (report.kind, report.count, report.ssrc) == (201, 1, our_ssrc(call))


def test_a_sender_who_stops_is_one_for_two_reports_more(call: CallUnderTest) -> None:
    call.next_packet()
    assert [build(call)[0].kind for _ in range(4)] == [200, 200, 201, 201]


def test_no_two_calls_have_the_same_name() -> None:
    assert len({CallUnderTest().call["rtcp"]["cname"].tobytes() for _ in range(20)}) == 20


def test_loss_is_told_since_the_last_report_and_since_the_beginning(call: CallUnderTest) -> None:
    for number in (*range(10), 11, 12, 13, 15):
        call.receive(65_530 + number, 160 * number)
    (block,) = build(call)[0].blocks
    assert (block.ssrc, block.lost, block.fraction, block.highest) == (SSRC, 2, 2 * 256 // 16, 65_545)
    for number in range(16, 32):
        call.receive(65_530 + number, 160 * number)
    (block,) = build(call)[0].blocks
    assert (block.lost, block.fraction, block.highest) == (2, 0, 65_561)
    assert build(call)[0].blocks == [], "nothing came since"


def test_what_comes_twice_counts_twice_as_the_rfc_has_it(call: CallUnderTest) -> None:
    for number in (0, 1, 1, 1):
        call.receive(number, 160 * number)
    (block,) = build(call)[0].blocks
    assert (block.lost, block.fraction) == (-2, 0)


def test_another_stream_is_counted_anew(call: CallUnderTest) -> None:
    for number in (0, 5):
        call.receive(number, 160 * number)
    build(call)
    call.now_ns += SECOND
    for number in range(3):
        call.receive(1_000 + number, 160 * number, ssrc=99)
    (block,) = build(call)[0].blocks
    assert block[:4] == (99, 0, 0, 1_002)


def test_jitter_is_told_in_clock_ticks(call: CallUnderTest) -> None:
    for number in range(200):
        call.now_ns += (30 if number % 2 else 10) * MS
        call.receive(number, 160 * number)
    (block,) = build(call)[0].blocks
    assert block.jitter == pytest.approx(80, abs=3) and call.counter("jitter_us") == pytest.approx(10_000, abs=400)


def test_their_report_is_echoed_with_the_time_that_passed(call: CallUnderTest) -> None:
    call.receive(1, 0)
    hear(call, sender_report(SSRC, (0x11112222, 0x33334444)) + description(SSRC))
    call.now_ns += 1500 * MS
    (block,) = build(call)[0].blocks
    assert (block.last_report, block.delay) == (0x22223333, 3 * 65536 // 2)


def test_the_report_of_another_source_is_not_echoed(call: CallUnderTest) -> None:
    call.receive(1, 0)
    hear(call, sender_report(99) + description(99))
    (block,) = build(call)[0].blocks
    assert (block.last_report, block.delay) == (0, 0)


def test_goodbye_comes_last(call: CallUnderTest) -> None:
    call.next_packet()
    parts = build(call, is_bye=True)
    assert [part.kind for part in parts] == [200, 202, 203] and (parts[2].count, parts[2].body) == (1, parts[0].body[:4])


# ---- what we believe --------------------------------------------------------------------------------------


def test_round_trip_loss_and_jitter_come_from_their_report(call: CallUnderTest) -> None:
    call.next_packet()
    seconds, fraction, *_ = build(call)[0].sender
    middle = (seconds & 0xFFFF) << 16 | fraction >> 16
    call.now_ns += 2_080 * MS
    hear(call, receiver_report(SSRC, Block(77, 1, 1, 1, 1, 1, 1), Block(our_ssrc(call), 3, 7, 100, 40, middle, 2 * 65536)))
    assert call.counter("rtt_us") == 80_000 and call.counter("rtcp_received") == 1
    assert (call.counter("remote_lost"), call.counter("remote_jitter_us")) == (7, 5_000)


def test_a_clock_that_is_set_does_not_change_the_round_trip(call: CallUnderTest) -> None:
    call.next_packet()
    seconds, fraction, *_ = build(call)[0].sender
    build(call, realtime_ns=REALTIME - 3_600 * SECOND)
    call.now_ns += 40 * MS
    hear(call, receiver_report(SSRC, Block(our_ssrc(call), 0, 0, 0, 0, (seconds & 0xFFFF) << 16 | fraction >> 16, 0)))
    assert call.counter("rtt_us") == 40_000


@pytest.mark.parametrize(("last_report", "delay"), [(0, 0), (12_345, 0), (None, 2**32 - 1)])
def test_an_echo_of_what_we_never_sent_measures_nothing(call: CallUnderTest, last_report: int | None, delay: int) -> None:
    call.next_packet()
    seconds, fraction, *_ = build(call)[0].sender
    call.now_ns += 40 * MS
    middle = (seconds & 0xFFFF) << 16 | fraction >> 16
    hear(call, receiver_report(SSRC, Block(our_ssrc(call), 0, 0, 0, 0, middle if last_report is None else last_report, delay)))
    assert call.counter("rtt_us") == 0


def test_negative_loss_is_read_as_such(call: CallUnderTest) -> None:
    hear(call, receiver_report(SSRC, Block(our_ssrc(call), 0, -5, 0, 0, 0, 0)))
    assert call.counter("remote_lost") == -5


def test_a_stranger_s_report_changes_nothing(call: CallUnderTest) -> None:
    before = call.call["rtcp"].tobytes()
    hear(call, receiver_report(SSRC, Block(our_ssrc(call), 9, 9, 9, 9, 9, 9)), is_from_call=False)
    assert call.counter("wrong_source") == 1 and call.counter("remote_lost") == call.counter("rtcp_received") == 0
    assert call.call["rtcp"].tobytes() == before


def test_once_the_audio_is_locked_only_its_host_is_believed(call: CallUnderTest) -> None:
    for n in range(3):
        call.call["source"]["locked"][n] = call.call["source"]["signalled"][n] + (n == 1)
    hear(call, receiver_report(SSRC))
    assert call.counter("wrong_source") == 1
    hear(call, receiver_report(SSRC), is_from_call=False)
    assert call.counter("rtcp_received") == 1


def test_a_goodbye_ends_nothing(call: CallUnderTest) -> None:
    call.receive(1, 0)
    hear(call, receiver_report(SSRC) + bye(SSRC))
    call.receive(2, 160)
    assert len(call.frames()) == 2 and call.counter("rtcp_received") == 1


def test_on_hold_reports_are_a_sign_of_life() -> None:
    for direction, is_renewed in (("sendrecv", False), ("sendonly", True), ("recvonly", True), ("inactive", True)):
        call = CallUnderTest(direction=direction)
        call.now_ns += 60 * SECOND
        hear(call, receiver_report(SSRC))
        assert (call.call["last_rx_ns"] == call.now_ns) == is_renewed, direction


GOOD = sender_report(SSRC, (1, 2), (Block(5, 1, 2, 3, 4, 5, 6),)) + description(SSRC) + bye(SSRC)


@pytest.mark.parametrize("size", range(len(GOOD)))
def test_a_packet_cut_short_is_refused(size: int) -> None:
    whole = {32 + 20, 32 + 20 + len(description(SSRC))}  # between two packets of the compound
    assert (parsed(GOOD[:size], 5) is None) == (size not in whole)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_agrees_with_the_reference_on_any_octets(data: st.DataObject) -> None:
    datagram = bytearray(data.draw(st.one_of(st.binary(max_size=200), st.just(GOOD), st.just(GOOD + GOOD))))
    for _ in range(data.draw(st.integers(0, 4))):
        if datagram:
            datagram[data.draw(st.integers(0, len(datagram) - 1))] = data.draw(st.integers(0, 255))
    parts, heard = reference.parse(bytes(datagram)), parsed(bytes(datagram), 5)
    assert (parts is None) == (heard is None)
    if parts is None or heard is None:
        return
    senders = [part for part in parts if part.kind == 200]
    about_us = [block for part in parts if part.kind in (200, 201) for block in part.blocks if block.ssrc == 5]
    assert (heard["is_sender"], heard["is_about_us"]) == (bool(senders), bool(about_us))
    assert heard["is_bye"] == any(part.kind == 203 for part in parts)
    if senders:
        seconds, fraction, *_ = senders[-1].sender
        assert (heard["ssrc"], heard["ntp_middle"]) == (senders[-1].ssrc, (seconds & 0xFFFF) << 16 | fraction >> 16)
    if about_us:
        last = about_us[-1]
        assert tuple(int(heard[n]) for n in ("lost", "jitter", "last_report", "delay")) == (last.lost, *last[4:])


def test_mutated_reports_disturb_nobody() -> None:
    dice, call = random.Random(3550), CallUnderTest()
    call.receive(1, 0)
    block = Block(our_ssrc(call), 0, 0, 0, 0, 0, 0)
    seeds = [sender_report(SSRC, (1, 2), (block,)) + description(SSRC), receiver_report(SSRC, block, block) + bye(SSRC), GOOD]
    for number in range(MUTATIONS):
        datagram = bytearray(seeds[number % 3])
        for _ in range(dice.randrange(1, 4)):
            datagram[dice.randrange(len(datagram))] = dice.randrange(256)
        hear(call, bytes(datagram[: dice.randrange(8, len(datagram)) if number % 4 == 0 else None]))
        call.now_ns += MS
    assert call.counter("rtcp_received") + call.counter("malformed") == MUTATIONS
    assert call.counter("rtcp_received") > 100 and call.counter("malformed") > 100
    call.receive(2, 160)
    assert len(call.frames()) == 2 and build(call)[0].count == 1


# ---- when -------------------------------------------------------------------------------------------------


def times(seed: int, until_s: float, interval_ns: int = 5 * SECOND) -> list[float]:
    """When reports go, in seconds since the start, on the 10 ms grid on which rows are served."""
    row = CallUnderTest(rows=None).call["rtcp"]
    row["seed"], row["interval_ns"] = seed, interval_ns
    sent, now_ns = [], START
    while now_ns < START + until_s * SECOND:
        now_ns += 10 * MS
        if now_ns >= row["next_ns"] and rtcp.is_time(row, now_ns):
            sent.append((now_ns - START) / SECOND)
    return sent


def test_reports_go_every_five_seconds_on_average_and_never_in_step() -> None:
    first, apart = [], []
    for seed in range(1, 40):
        sent = times(seed * 7_919, 100)
        first.append(sent[0])
        apart += np.diff(sent).tolist()
    assert min(apart) >= 0.5 * 5 / 1.2183 and max(apart) <= 1.5 * 5 / 1.2183 + 0.02
    assert np.mean(apart) == pytest.approx(5, rel=0.05) and np.mean(first) == pytest.approx(2.5, rel=0.15)
    assert len({round(gap, 2) for gap in apart}) > 200


def test_without_an_interval_nothing_is_sent() -> None:
    call = CallUnderTest(rows=Rows(make_views(), 0, 2, 0, rtcp_interval_ns=0))
    assert call.call["rtcp"]["next_ns"] == NEVER


# ---- how good ---------------------------------------------------------------------------------------------


def test_a_clean_call_is_as_good_as_a_telephone_gets(call: CallUnderTest) -> None:
    rtcp.measure_quality(call.worker, call.row, call.now_ns)
    assert call.counter("mos_x100") == 0, "nothing came yet"
    count(call, received=250)
    rtcp.measure_quality(call.worker, call.row, call.now_ns)
    scores = [call.counter(name) for name in ("mos_x100", "mos_worst_x100", "mos_mean_x100")]
    assert 438 <= scores[0] <= 441 and len(set(scores)) == 1


def test_loss_counts_in_its_interval_and_the_worst_is_remembered(call: CallUnderTest) -> None:
    seen = []
    for lost, late in ((0, 0), (25, 0), (0, 25), (0, 0)):
        count(call, received=250 - lost, lost=lost, late=late)
        rtcp.measure_quality(call.worker, call.row, call.now_ns)
        seen.append(call.counter("mos_x100"))
    assert seen[0] == seen[3] > 438 and seen[1] == pytest.approx(seen[2], abs=1) and seen[1] < 345
    assert call.counter("mos_worst_x100") == min(seen) and call.counter("mos_mean_x100") == pytest.approx(sum(seen) / 4, abs=2)


def test_the_agent_is_told(call: CallUnderTest) -> None:
    counters = call.worker.shown[call.row]["counters"]
    counters[rtcp.RTT_US], counters[rtcp.JITTER_US] = 80_000, 3_000
    count(call, received=98, lost=2)
    rtcp.measure_quality(call.worker, call.row, call.now_ns)
    (told,) = call.take()
    assert (told.kind, told.position, told.turn, told.timestamp) == (QUALITY, 80_000, 200, 3_000)
    assert told.value == call.counter("mos_x100") and call.worker.own[0]["rung"][0]
    rtcp.measure_quality(call.worker, call.row, call.now_ns)
    assert call.take() == [], "nothing came since"


def count(call: CallUnderTest, received: int, lost: int = 0, late: int = 0) -> None:
    counters = call.worker.shown[call.row]["counters"]
    for column, value in ((rtcp.RTP_RECEIVED, received), (rtcp.LOST, lost), (rtcp.LATE, late)):
        counters[column] += value


# ---- on real sockets --------------------------------------------------------------------------------------


@pytest.mark.compiled
@pytest.mark.parametrize("is_muxed", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_reports_go_both_ways_and_goodbye_is_said(is_muxed: bool, host: str) -> None:
    worker = LoopbackWorker(host=host)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as own:
            own.bind((host, 0))
            caller = worker.call(has_rtcp_mux=is_muxed, remote_rtcp_port=own.getsockname()[1])
            listener = caller.socket if is_muxed else own
            target = (host, caller.target[1] + (not is_muxed))
            caller.speak()
            worker.run(1)  # which may compile for a while
            worker.run(45)
            worker.views.calls[caller.row]["rtcp"]["next_ns"] = 1
            worker.views.calls[caller.row]["rtcp"]["last_ns"] = 1
            worker.run(25)
            report = first_report(listener)
            assert report[0].kind == 200 and [block.ssrc for block in report[0].blocks] == [7] and caller.counter("rtcp_sent") == 1
            seconds, fraction, *_ = report[0].sender
            assert abs(seconds + fraction / 2**32 - 2_208_988_800 - time.time()) < 5
            echo = Block(report[0].ssrc, 0, 1, 0, 8, (seconds & 0xFFFF) << 16 | fraction >> 16, 0)
            listener.sendto(receiver_report(7, echo) + description(7), target)
            worker.run(5)
            assert caller.counter("rtcp_received") == 1 and 0 < caller.counter("rtt_us") < 5_000_000
            assert caller.counter("remote_jitter_us") == 1000 and caller.counter("malformed") == caller.counter("wrong_source") == 0
            worker.rows.close(caller.call_id, time.monotonic_ns())
            assert [part.kind for part in first_report(listener)] == [200, 202, 203]
    finally:
        worker.close()


def first_report(listener: socket.socket) -> list[Part]:
    while True:
        datagram = listener.recv(2048, socket.MSG_DONTWAIT)
        if 192 <= datagram[1] <= 223:
            parts = reference.parse(datagram)
            assert parts is not None
            return parts


@pytest.mark.compiled
def test_where_their_reports_come_from_is_where_ours_go() -> None:
    """Behind a NAT the port after RTP's is another one outside."""
    worker = LoopbackWorker()
    try:
        caller = worker.call()
        caller.speak()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
            outside.bind(("127.0.0.1", 0))
            outside.sendto(receiver_report(7), ("127.0.0.1", caller.target[1] + 1))
            worker.run(45)
            worker.rows.close(caller.call_id, time.monotonic_ns())
            assert [part.kind for part in first_report(outside)] == [200, 202, 203]
    finally:
        worker.close()

