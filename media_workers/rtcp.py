"""RTCP (RFC 3550 section 6): what both ends say of how they hear each other, every few seconds, and goodbye.

A report is a compound packet: SR or RR, the CNAME, BYE at the end. It comes and goes on the port after RTP's, or on
RTP's own (RFC 5761). It is believed only from the host that the call's audio comes from, or under the call's keys,
and it never moves the audio. Every packet passes `srtp.protect_rtcp` or `srtp.unprotect_rtcp`.
"""

import numpy as np

from media_workers import capture, quality, sockets, source, srtp
from media_workers.rtp import MAX_PACKET_BYTES, VERSION_BITS, read_u16, read_u32, write_u16, write_u32
from shm import ring
from shm.counters import CALL_COLUMN, WORKER
from shm.jit import njit
from shm.layout import QUALITY

SENDER_REPORT, RECEIVER_REPORT, SOURCE_DESCRIPTION, BYE = 200, 201, 202, 203
FIRST_TYPE, LAST_TYPE = 192, 223  # RFC 5761 4
SENDER_BYTES, BLOCK_BYTES = 20, 24
CNAME, CNAME_BYTES = 1, 16
"""96 random bits in base64, another for each call (RFC 7022 4.2): a name that follows nobody around."""
NTP_EPOCH_S = 2_208_988_800  # from 1900 to 1970
SECOND_NS = 1_000_000_000
REMEMBERED = 4  # of our sender reports: an echo of an older one measures nothing
NEVER = np.iinfo(np.int64).max
LONGEST_RTT_NS = 30 * SECOND_NS
MAX_LOST, MIN_LOST = 0x7FFFFF, -0x800000  # a signed number of 24 bits

RTCP = np.dtype(
    [
        ("interval_ns", "i8"),  # between our reports on average
        ("next_ns", "i8"),  # when the next is due, or is to be thought about again; NEVER: none are sent
        ("last_ns", "i8"),  # when the last was sent
        ("has_reported", "i8"),
        ("seed", "i8"),
        ("cname", "u1", CNAME_BYTES),
        ("is_muxed", "i8"),
        ("port", "i8"),  # the far end's, where it has not shown another
        ("shown", "i8", 3),  # where its RTCP last came from, as in source.py; zeros: none came
        ("sockaddr", "u1", sockets.SOCKADDR_BYTES),
        ("sockaddr_bytes", "i8"),
        ("sent", "i8", 2),  # RTP packets sent by the last report, and by the one before
        ("reports", "i8"),  # sender reports of ours
        ("ntp_middle", "i8", REMEMBERED),  # and the middle of their NTP time, by which the far end names them
        ("sent_ns", "i8", REMEMBERED),
        ("their_ntp_middle", "i8"),  # of the last sender report that came
        ("their_ns", "i8"),
        ("their_ssrc", "i8"),
    ]
)
HEARD = np.dtype(
    [
        ("ssrc", "i8"),  # whose
        ("is_sender", "i8"),
        ("ntp_middle", "i8"),
        ("is_about_us", "i8"),  # it has a block about our stream: the rest
        ("lost", "i8"),
        ("jitter", "i8"),
        ("last_report", "i8"),  # NTP time's middle of our report that it had last; 0: none
        ("delay", "i8"),  # since then, in 1/65536 s
        ("is_bye", "i8"),
    ]
)
"""What a compound packet says, as far as it concerns us."""

RECEIVED, SENT = CALL_COLUMN["rtcp_received"], CALL_COLUMN["rtcp_sent"]
RTT_US, REMOTE_LOST, REMOTE_JITTER_US = (CALL_COLUMN[n] for n in ("rtt_us", "remote_lost", "remote_jitter_us"))
MOS, MOS_MEAN, MOS_WORST = (CALL_COLUMN[n] for n in ("mos_x100", "mos_mean_x100", "mos_worst_x100"))
RTP_RECEIVED, RTP_SENT, LOST, LATE = (CALL_COLUMN[n] for n in ("packets_received", "packets_sent", "lost", "late"))
JITTER_US, CALL_MALFORMED, CALL_WRONG_SOURCE = (CALL_COLUMN[n] for n in ("jitter_us", "malformed", "wrong_source"))
MALFORMED, WRONG_SOURCE, SEND_FAILURES = (WORKER[n] for n in ("malformed", "wrong_source", "send_failures"))


# ---- what comes --------------------------------------------------------------------------------------------------


@njit
def take(worker, row, size, is_on_rtp_port, now_ns):
    """The datagram in `own["packet"]`, from `own["address"]`, that may be RTCP of this call."""
    own, call, counters = worker.own[0], worker.calls[row], worker.shown[row]["counters"]
    is_clear = call["srtp"]["suite"] == srtp.CLEAR
    if is_clear and not source.is_host_of_call(call["source"], own["address"]):
        worker.totals[0, WRONG_SOURCE] += 1
        counters[CALL_WRONG_SOURCE] += 1
        return
    size = srtp.unprotect_rtcp(worker, row, size)
    if size < 0:
        return
    capture.write_received(worker, row, size, not is_on_rtp_port, capture.CLEAR, now_ns)
    if not parse(own["packet"], size, call["tx"]["ssrc"], own["heard"]):
        worker.totals[0, MALFORMED] += 1
        counters[CALL_MALFORMED] += 1
        return
    counters[RECEIVED] += 1
    if call["may_send"] == 0 or call["may_receive"] == 0:
        call["last_rx_ns"] = now_ns  # on hold this is the only sign of life
    rtcp = call["rtcp"]
    if not is_on_rtp_port:
        for i in range(own["sockaddr_bytes"][0]):
            rtcp["sockaddr"][i] = own["sockaddr"][i]
        rtcp["sockaddr_bytes"] = own["sockaddr_bytes"][0]
        for i in range(3):
            rtcp["shown"][i] = own["address"][i]
    _use(worker, row, now_ns)


@njit
def parse(packet, size, our_ssrc, heard):
    """What a compound packet says into `heard`. False: a length in it lies, or it is not RTCP (RFC 3550 A.2)."""
    heard["is_sender"] = heard["is_about_us"] = heard["is_bye"] = 0
    if size < 8 or size > MAX_PACKET_BYTES or size % 4 != 0:
        return False
    heard["ssrc"] = read_u32(packet, 4)
    at = 0
    while at < size:
        if size - at < 4 or packet[at] & 0xC0 != VERSION_BITS or not FIRST_TYPE <= packet[at + 1] <= LAST_TYPE:
            return False
        end = at + 4 + 4 * read_u16(packet, at + 2)
        if end > size:
            return False
        if not _parse_one(packet, at, end, our_ssrc, heard):
            return False
        at = end
    return True


@njit
def _parse_one(packet, at, end, our_ssrc, heard):
    kind, count = np.int64(packet[at + 1]), np.int64(packet[at]) & 0x1F
    if kind == BYE:
        heard["is_bye"] = 1
        return at + 4 + 4 * count <= end
    if kind != SENDER_REPORT and kind != RECEIVER_REPORT:
        return True
    block = at + 8 + (SENDER_BYTES if kind == SENDER_REPORT else 0)
    if block + count * BLOCK_BYTES > end:
        return False
    if kind == SENDER_REPORT:
        heard["is_sender"] = 1
        heard["ssrc"] = read_u32(packet, at + 4)
        heard["ntp_middle"] = read_u32(packet, at + 10)
    for _ in range(count):
        if read_u32(packet, block) == our_ssrc:
            heard["is_about_us"] = 1
            lost = read_u32(packet, block + 4) & 0xFFFFFF
            heard["lost"] = lost - 0x1000000 if lost > MAX_LOST else lost
            heard["jitter"] = read_u32(packet, block + 12)
            heard["last_report"] = read_u32(packet, block + 16)
            heard["delay"] = read_u32(packet, block + 20)
        block += BLOCK_BYTES
    return True


@njit
def _use(worker, row, now_ns):
    """Note what was heard: when their report came, and how they hear us."""
    call, heard, counters = worker.calls[row], worker.own[0]["heard"], worker.shown[row]["counters"]
    rtcp = call["rtcp"]
    if heard["is_sender"] != 0:
        rtcp["their_ntp_middle"] = heard["ntp_middle"]
        rtcp["their_ssrc"] = heard["ssrc"]
        rtcp["their_ns"] = now_ns
    if heard["is_about_us"] == 0:
        return
    counters[REMOTE_LOST] = heard["lost"]
    counters[REMOTE_JITTER_US] = heard["jitter"] * 1_000_000 // call["rtp_clock_hz"]
    for i in range(min(REMEMBERED, rtcp["reports"])):
        # By our own clock since then, not by NTP time: that may be set at any moment.
        if heard["last_report"] != 0 and rtcp["ntp_middle"][i] == heard["last_report"]:
            rtt_ns = now_ns - rtcp["sent_ns"][i] - heard["delay"] * SECOND_NS // 65536
            if rtt_ns < LONGEST_RTT_NS:
                counters[RTT_US] = max(0, rtt_ns) // 1000


# ---- what goes ---------------------------------------------------------------------------------------------------


@njit
def report(worker, row, now_ns):
    """Send a report, if it is time: called when `next_ns` has come."""
    call = worker.calls[row]
    if not is_time(call["rtcp"], now_ns):
        return
    measure_quality(worker, row, now_ns)
    if call["source"]["sockaddr_bytes"] != 0:
        _send(worker, row, build(worker, row, False, now_ns, sockets.realtime_ns(worker.own[0]["clock"])), now_ns)


@njit
def is_time(rtcp, now_ns):
    """RFC 3550 6.3.6: the interval is drawn anew when it seems to be over, and it may not be over yet."""
    drawn_ns = rtcp["last_ns"] + _draw_interval(rtcp, rtcp["has_reported"] == 0)
    if drawn_ns > now_ns:
        rtcp["next_ns"] = drawn_ns
        return False
    rtcp["has_reported"] = 1
    rtcp["last_ns"] = now_ns
    rtcp["next_ns"] = now_ns + _draw_interval(rtcp, False)
    return True


@njit
def say_bye(worker, row, now_ns):
    """The last packet of a call. Who has never sent anything says nothing (RFC 3550 6.3.7)."""
    call, counters = worker.calls[row], worker.shown[row]["counters"]
    if call["rtcp"]["next_ns"] == NEVER or call["source"]["sockaddr_bytes"] == 0 or counters[SENT] + counters[RTP_SENT] == 0:
        return
    _send(worker, row, build(worker, row, True, now_ns, sockets.realtime_ns(worker.own[0]["clock"])), now_ns)


@njit
def _draw_interval(rtcp, is_first):
    """RFC 3550 6.3.1: half to one and a half times the interval, so that ends do not fall into step; the first is half as long."""
    rtcp["seed"] = (rtcp["seed"] * 1_103_515_245 + 12_345) & 0x7FFFFFFF
    interval_ns = rtcp["interval_ns"] // 2 if is_first else rtcp["interval_ns"]
    return interval_ns * (500_000 + (rtcp["seed"] * 1_000_000 >> 31)) // 1_218_282  # e - 3/2 makes up for drawing again


@njit
def build(worker, row, is_bye, now_ns, realtime_ns):
    """A compound packet in `own["packet"]`; returns its size."""
    call, packet = worker.calls[row], worker.own[0]["packet"]
    rtcp, sent = call["rtcp"], worker.shown[row]["counters"][RTP_SENT]
    is_sender = sent != rtcp["sent"][1]
    rtcp["sent"][1] = rtcp["sent"][0]
    rtcp["sent"][0] = sent
    blocks = 1 if call["rx"]["is_started"] != 0 and call["rx"]["received"] != call["rx"]["received_prior"] else 0
    _write_head(packet, 0, blocks, SENDER_REPORT if is_sender else RECEIVER_REPORT, call["tx"]["ssrc"])
    at = 8
    if is_sender:
        _write_sender(packet, at, call, sent, now_ns, realtime_ns)
        at += SENDER_BYTES
    if blocks != 0:
        _write_block(packet, at, call, now_ns)
        at += BLOCK_BYTES
    write_u16(packet, 2, at // 4 - 1)
    _write_head(packet, at, 1, SOURCE_DESCRIPTION, call["tx"]["ssrc"])
    packet[at + 8] = CNAME
    packet[at + 9] = CNAME_BYTES
    for i in range(CNAME_BYTES):
        packet[at + 10 + i] = rtcp["cname"][i]
    packet[at + 26] = packet[at + 27] = 0  # the end of the list, up to a whole word
    write_u16(packet, at + 2, 6)
    at += 28
    if is_bye:
        _write_head(packet, at, 1, BYE, call["tx"]["ssrc"])
        write_u16(packet, at + 2, 1)
        at += 8
    return at


@njit
def _write_head(packet, at, count, kind, ssrc):
    packet[at] = VERSION_BITS | count
    packet[at + 1] = kind
    write_u32(packet, at + 4, ssrc)


@njit
def _write_sender(packet, at, call, sent, now_ns, realtime_ns):
    """The time now on both clocks, the wall's and the stream's, and how much was sent; the time is remembered for the echo."""
    tx, rtcp = call["tx"], call["rtcp"]
    seconds, fraction = realtime_ns // SECOND_NS + NTP_EPOCH_S, (realtime_ns % SECOND_NS << 32) // SECOND_NS
    write_u32(packet, at, seconds)
    write_u32(packet, at + 4, fraction)
    write_u32(packet, at + 8, tx["timestamp"] + (now_ns - tx["next_tx_ns"]) * call["rtp_clock_hz"] // SECOND_NS)
    write_u32(packet, at + 12, sent)
    write_u32(packet, at + 16, tx["octets"])
    place = rtcp["reports"] % REMEMBERED
    rtcp["ntp_middle"][place] = (seconds & 0xFFFF) << 16 | fraction >> 16
    rtcp["sent_ns"][place] = now_ns
    rtcp["reports"] += 1


@njit
def _write_block(packet, at, call, now_ns):
    """How we hear them: RFC 3550 6.4.1 and A.3."""
    rx, rtcp = call["rx"], call["rtcp"]
    expected = rx["highest"] - rx["first"] + 1
    new_expected, new_received = expected - rx["expected_prior"], rx["received"] - rx["received_prior"]
    rx["expected_prior"] = expected
    rx["received_prior"] = rx["received"]
    new_lost = new_expected - new_received
    fraction = min(255, (new_lost << 8) // new_expected) if new_expected > 0 and new_lost > 0 else 0
    lost = min(MAX_LOST, max(MIN_LOST, expected - rx["received"])) & 0xFFFFFF
    is_known = rtcp["their_ns"] != 0 and rtcp["their_ssrc"] == rx["ssrc"]
    write_u32(packet, at, rx["ssrc"])
    write_u32(packet, at + 4, fraction << 24 | lost)
    write_u32(packet, at + 8, rx["highest"] - 0x10000)  # the index begins at one turn of the number
    write_u32(packet, at + 12, rx["jitter_x16"] >> 4)
    write_u32(packet, at + 16, rtcp["their_ntp_middle"] if is_known else 0)
    write_u32(packet, at + 20, (now_ns - rtcp["their_ns"]) * 65536 // SECOND_NS if is_known else 0)


@njit
def _send(worker, row, size, now_ns):
    """To where the audio goes: its own port there, the one that the far end's RTCP comes from, or the one that was signalled."""
    own, call = worker.own[0], worker.calls[row]
    rtcp, target = call["rtcp"], call["source"]
    is_muxed = rtcp["is_muxed"] != 0
    fd, sockaddr, sockaddr_bytes = call["rtp_fd"], target["sockaddr"], target["sockaddr_bytes"]
    if not is_muxed:
        fd = call["rtcp_fd"]
        if rtcp["sockaddr_bytes"] != 0 and source.is_host_of_call(target, rtcp["shown"]):
            sockaddr, sockaddr_bytes = rtcp["sockaddr"], rtcp["sockaddr_bytes"]
        else:
            sockaddr = own["sockaddr"]
            for i in range(sockaddr_bytes):
                sockaddr[i] = target["sockaddr"][i]
            is_signalled = target["locked"][0] == 0 or source.is_same(target["locked"], target["signalled"])
            write_u16(sockaddr, 2, rtcp["port"] if is_signalled else read_u16(target["sockaddr"], 2) + 1)
    capture.write_sent(worker, row, size, not is_muxed, sockaddr, capture.CLEAR, now_ns)
    size = srtp.protect_rtcp(worker, row, own["packet"], size)
    capture.write_sent(worker, row, size, not is_muxed, sockaddr, capture.WIRE, now_ns)
    if size < 0:
        return
    if sockets.send(fd, own["packet"], size, sockaddr, sockaddr_bytes) < 0:
        worker.totals[0, SEND_FAILURES] += 1
    else:
        worker.shown[row]["counters"][SENT] += 1


@njit
def measure_quality(worker, row, now_ns):
    """The E-model for what came since the last time, which the agent is told too. Nothing came: it stays as it was."""
    call, counters = worker.calls[row], worker.shown[row]["counters"]
    state = call["quality"]
    missed = counters[LOST] + counters[LATE]  # late is as good as lost
    expected = counters[RTP_RECEIVED] + counters[LOST]
    new_expected, new_missed = expected - state["expected"], missed - state["missed"]
    if new_expected <= 0:
        return
    state["expected"] = expected
    state["missed"] = missed
    packet_ms = call["packet_samples"] * 1000 / call["sample_rate_hz"]
    delay_ms = counters[RTT_US] / 2000 + 2 * counters[JITTER_US] / 1000 + packet_ms
    lost_percent = 100.0 * min(max(0, new_missed), new_expected) / new_expected
    r = quality.rating(lost_percent, delay_ms, state["impairment"], state["robustness"])
    mos_x100 = np.int64(round(100 * quality.mos(r)))
    counters[MOS] = mos_x100
    counters[MOS_WORST] = min(counters[MOS_WORST], mos_x100) if state["intervals"] > 0 else mos_x100
    mean_x100 = (counters[MOS_MEAN] * state["intervals"] + mos_x100) / (state["intervals"] + 1)
    counters[MOS_MEAN] = np.int64(round(mean_x100))
    state["intervals"] += 1
    lost_x100 = np.int64(round(100 * lost_percent))
    pcm, rtt_us, jitter_us = worker.own[0]["pcm"], counters[RTT_US], counters[JITTER_US]
    ring.publish(worker.rings, row, QUALITY, 0, 0, pcm, 0, 0, rtt_us, jitter_us, lost_x100, mos_x100, now_ns)
    worker.own[0]["rung"][call["bridge"]] = 1
