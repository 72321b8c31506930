import struct

import numpy as np
import numpy.typing as npt
import pytest

from control_plane import g711
from sip_front.phone_line import LOUD_DBOV, PTIME_NS, Line, Talk, level_dbov

MS = 1_000_000
LOUD = np.full(160, 4_000, np.int16)
QUIET = np.zeros(160, np.int16)


def make_line(now_ns: int = 0) -> Line:
    return Line(codec_id=0, payload_type=0, key_payload_type=101, ssrc=7, now_ns=now_ns)


def packet(number: int, pcm: npt.NDArray[np.int16] = LOUD, ssrc: int = 9, payload_type: int = 0) -> bytes:
    """Number 0, 1, 2, ... of a stream whose counters wrap after its third packet."""
    seq, timestamp = (65_533 + number) & 0xFFFF, (2**32 - 480 + 160 * number) & 0xFFFFFFFF
    return struct.pack("!BBHII", 0x80, payload_type, seq, timestamp, ssrc) + g711.encode(0, pcm)


def header(rtp: bytes) -> tuple[int, int, int, int, int]:
    return struct.unpack("!BBHII", rtp[:12])


# ---- sending


def test_packets_leave_on_the_grid_and_late_ones_are_made_up_for() -> None:
    line = make_line()
    assert len(line.poll(0)) == 1 and line.poll(19 * MS) == []
    packets = line.poll(100 * MS)
    assert len(packets) == 5 and line.next_ns == 120 * MS
    seqs, timestamps = zip(*[header(p)[2:4] for p in packets], strict=True)
    assert np.diff(seqs).tolist() == [1] * 4 and np.diff(timestamps).tolist() == [160] * 4
    assert {len(p) for p in packets} == {172}


def test_after_a_long_sleep_the_grid_stays_and_nothing_is_sent_in_a_burst() -> None:
    line = make_line()
    first = header(line.poll(0)[0])
    packets = line.poll(10_007 * MS)
    assert len(packets) == 1 and line.next_ns % PTIME_NS == 0
    assert header(packets[0])[3] - first[3] == 160 * 500 and header(packets[0])[2] - first[2] == 1


def test_what_is_said_goes_out_and_then_the_room_is_quiet_but_not_dead() -> None:
    line = make_line()
    line.say(np.concatenate((QUIET, LOUD, LOUD[:80])))
    pcm = [g711.decode(0, p[12:]) for p in line.poll(80 * MS)]
    levels = [level_dbov(frame) for frame in pcm]
    assert levels[0] < LOUD_DBOV < min(levels[1], levels[2])
    assert -85 < levels[4] < -55 and np.abs(pcm[2][80:]).max() < 30
    assert line.onset_ns == 80 * MS and not line.is_busy


def test_a_key_is_one_event_with_three_ends() -> None:
    line = make_line()
    line.press("#")
    packets = line.poll(200 * MS)
    keys = [p for p in packets if header(p)[1] & 0x7F == 101]
    assert [header(p)[1] >> 7 for p in keys] == [1] + [0] * 8
    assert len({header(p)[3] for p in keys}) == 1, "one timestamp for the whole event (RFC 4733 2.5.1.1)"
    events = [struct.unpack("!BBH", p[12:]) for p in keys]
    assert {event for event, _, _ in events} == {11}
    assert [duration for _, _, duration in events] == [160, 320, 480, 640, 800, 960, 1120, 1120, 1120]
    assert [flags >> 7 for _, flags, _ in events] == [0] * 6 + [1] * 3
    after = next(p for p in packets[len(keys) :])
    assert header(after)[3] == header(keys[0])[3] + 9 * 160
    assert line.keys[0][1] == "#" and not line.is_busy


@pytest.mark.parametrize("key", ["", "12", "E", "a"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="is not a key"):
        make_line().press(key)


# ---- receiving


def test_loss_order_and_duplicates_are_counted_over_the_wrap() -> None:
    line = make_line()
    for number in (0, 1, 3, 2, 2, 6, 7):
        line.receive(packet(number), number * PTIME_NS)
    quality = line.quality()
    assert (quality.received, quality.lost, quality.duplicates, quality.reordered) == (6, 2, 1, 1)


def test_lateness_counts_from_the_fastest_packet_not_from_the_first() -> None:
    line = make_line()
    for number, delay_ms in enumerate((30, 5, 5, 40, 5)):
        line.receive(packet(number), number * PTIME_NS + delay_ms * MS)
    quality = line.quality()
    assert quality.late == 2 and quality.latest_ms == 35.0


def test_a_new_stream_is_not_taken_for_loss() -> None:
    line = make_line()
    for number in range(5):
        line.receive(packet(number), number * PTIME_NS)
    for number in range(5):
        line.receive(packet(1_000 + number, ssrc=10), (5 + number) * PTIME_NS)
    assert line.quality().lost == 0 and line.quality().received == 10


@pytest.mark.parametrize("junk", [b"", b"\x80", bytes(12), bytes(200), packet(0, payload_type=13), packet(0)[:12], b"\xbf\x00" + bytes(12)])
def test_what_is_not_our_audio_is_ignored(junk: bytes) -> None:
    line = make_line()
    line.receive(junk, 0)
    assert line.quality().received == 0


def test_both_directions_lie_on_one_time_line() -> None:
    line = make_line(now_ns=1_000 * MS)
    for tick in range(50):
        if tick == 20:
            line.say(LOUD)
        now_ns = 1_000 * MS + tick * PTIME_NS
        line.poll(now_ns)
        if tick >= 10:
            jitter_ns = 7 * MS * (tick % 3)
            line.receive(packet(tick, LOUD if tick == 30 else QUIET), now_ns + jitter_ns)
    stereo = line.recording()
    assert stereo.shape == (50 * 160, 2)
    loud = [np.flatnonzero(np.abs(stereo[:, side].astype(int)) > 1_000) for side in (0, 1)]
    assert (loud[0][0], loud[0][-1]) == (20 * 160, 21 * 160 - 1)
    assert (loud[1][0], loud[1][-1]) == (30 * 160, 31 * 160 - 1)


# ---- who speaks


def test_a_talk_spurt_begins_with_two_loud_frames_and_ends_after_silence() -> None:
    talk = Talk()
    frames = [QUIET, LOUD, QUIET, LOUD, LOUD, QUIET, LOUD, *[QUIET] * 25]
    for number, pcm in enumerate(frames):
        talk.add(pcm, (number + 1) * PTIME_NS)
    assert talk.spurts == [(4 * PTIME_NS, 8 * PTIME_NS)]
    assert talk.began_ns == 0 and talk.quiet_ns(10 * PTIME_NS) == 2 * PTIME_NS


def test_quiet_is_not_silent() -> None:
    talk, murmur = Talk(), np.full(160, 60, np.int16)
    for number, pcm in enumerate([LOUD, LOUD, murmur, murmur, QUIET, QUIET], 1):
        talk.add(pcm, number)
    assert (talk.quiet_since_ns, talk.silent_since_ns) == (3, 5)
