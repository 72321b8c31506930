"""What goes out: never nothing, never late by design, and never one sample of a turn that was cut."""

import itertools
import random
import struct
from typing import NamedTuple

import numpy as np
import pytest

from control_plane import g711
from control_plane.dtmf import KEYS
from media_workers import playout
from media_workers.comfort_noise import COMFORT_NOISE_AMPLITUDE
from media_workers.playout import MAX_CATCH_UP_NS, WAS_CUT
from shm import layout, ring
from shm.layout import DRAINED, KEY_GAP, MARK_PLAYED, PAUSED, TURN_ENDED
from tests.media_workers.call_under_test import DTMF_TYPE, MS, START, CallUnderTest, Told, heard
from tests.reference import telephone_event as reference_event
from tests.reference.rtp import Packet

NOISE_CEILING = 16  # what G.711 makes of the noise
PTIMES_MS = [10, 20, 30, 40, 60]


def level(number: int) -> int:
    """A sample value for each turn that G.711 keeps and no noise comes near."""
    return int(g711.decode(0, bytes([number % 100]))[0])


def speech(number: int, samples: int = 160) -> np.ndarray:
    return np.full(samples, level(number), np.int16)


def spoken(packet: Packet) -> list[int]:
    """The distinct loud values in a packet, in order."""
    found: list[int] = []
    for sample in heard(packet).tolist():
        if abs(sample) > NOISE_CEILING and sample not in found:
            found.append(sample)
    return found


def spoken_samples(packet: Packet) -> int:
    return int((np.abs(heard(packet).astype(int)) > NOISE_CEILING).sum())


def events(call: CallUnderTest, *kinds: int) -> list[Told]:
    return [told for told in call.take() if not kinds or told.kind in kinds]


# ---- RTP never stops --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ptime_ms", PTIMES_MS)
def test_when_nothing_is_said_comfort_noise_goes_out_at_every_tick(ptime_ms: int) -> None:
    call = CallUnderTest(ptime_ms)
    packets = [call.next_packet() for _ in range(12)]
    assert [len(packet.payload) for packet in packets] == [8 * ptime_ms] * 12
    steps = {((b.seq - a.seq) % 65536, (b.timestamp - a.timestamp) % 2**32) for a, b in itertools.pairwise(packets)}
    assert steps == {(1, 8 * ptime_ms)} and len({packet.ssrc for packet in packets}) == 1
    assert [packet.marker for packet in packets] == [True] + [False] * 11
    noise = np.concatenate([heard(packet) for packet in packets])
    assert 0 < np.abs(noise.astype(int)).max() <= NOISE_CEILING and len(set(noise[:160].tolist())) > 2
    assert call.counter("silence_frames") == call.counter("packets_sent") == 12 and call.take() == []


def test_noise_does_not_repeat_from_packet_to_packet() -> None:
    call = CallUnderTest()
    assert len({call.next_packet().payload for _ in range(50)}) == 50 and COMFORT_NOISE_AMPLITUDE < NOISE_CEILING


def test_two_calls_are_told_apart_by_ssrc_and_begin_anywhere() -> None:
    packets = [CallUnderTest().next_packet() for _ in range(4)]
    assert len({p.ssrc for p in packets}) == len({p.timestamp for p in packets}) == 4
    assert all(packet.seq < 2**15 for packet in packets)


def test_a_law_calls_get_a_law() -> None:
    call = CallUnderTest(format="PCMA")
    call.say(np.full(160, 8_064, np.int16))
    packet = call.next_packet()
    assert packet.payload_type == 8 and set(g711.decode(1, packet.payload).tolist()) == {8_064}


@pytest.mark.parametrize("field", ["seq", "timestamp"])
def test_numbers_wrap(call: CallUnderTest, field: str) -> None:
    limit = 2**16 if field == "seq" else 2**32
    call.call["tx"][field] = limit - 1
    assert [getattr(call.next_packet(), field) for _ in range(2)] == [limit - 1, 0 if field == "seq" else 159]


# ---- speech -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ptime_ms", PTIMES_MS)
def test_frames_of_20_ms_fill_packets_of_any_length_without_a_seam(ptime_ms: int) -> None:
    call = CallUnderTest(ptime_ms)
    pcm = g711.decode(0, bytes(np.arange(12 * 160).astype(np.uint8) % 100))
    assert call.say(pcm, mark=7) == 12
    sent: list[np.ndarray] = []
    for _ in range(240 // ptime_ms):
        assert call.played() == (0, sum(piece.size for piece in sent))
        sent.append(heard(call.next_packet()))
    assert (np.concatenate(sent) == pcm).all() and call.played() == (0, pcm.size)
    call.next_packet()
    assert [(t.kind, t.value, t.position) for t in call.take()] == [(MARK_PLAYED, 7, pcm.size), (DRAINED, pcm.size, pcm.size)]


def test_what_does_not_fill_a_packet_is_filled_with_noise_and_counted_exactly(call: CallUnderTest) -> None:
    call.say(speech(3, 100))
    packet = call.next_packet()
    assert spoken_samples(packet) == 100 and (heard(packet)[:100] == level(3)).all() and call.played() == (0, 100)
    assert [(t.kind, t.value) for t in call.take()] == [(DRAINED, 100)]


def test_a_frame_that_becomes_shorter_while_it_is_played_ends_there() -> None:
    """An agent's process may write where it should not: the worker must not copy a negative number of samples."""
    call = CallUnderTest(10)
    call.say(speech(3))
    call.next_packet()
    call.worker.rings.from_ai[call.row, 0]["samples"] = 20
    call.say(speech(4))
    assert spoken(call.next_packet()) == [level(4)] and call.played() == (0, 160)


def test_drained_is_told_once_and_again_after_more_speech(call: CallUnderTest) -> None:
    for total in (160, 320):
        call.say(speech(1))
        told = [call.next_packet() and events(call) for _ in range(5)]
        assert [[(t.kind, t.value) for t in some] for some in told] == [[], [(DRAINED, total)], [], [], []]


def test_marks_are_told_in_order_with_the_packet_that_ends_their_frame() -> None:
    call = CallUnderTest(60)
    for mark in (1, 2, 3, 4):
        call.say(speech(mark), mark=mark)
    call.next_packet()
    assert [(t.value, t.position) for t in events(call, MARK_PLAYED)] == [(1, 160), (2, 320), (3, 480)]
    call.next_packet()
    assert [(t.value, t.position) for t in events(call, MARK_PLAYED)] == [(4, 640)]


def test_while_the_agent_is_paused_its_speech_waits(call: CallUnderTest) -> None:
    call.say(speech(1, 480))
    assert spoken(call.next_packet()) == [level(1)]
    ring.store_word(call.worker.rings.words, call.row, PAUSED, 1)
    assert [spoken(call.next_packet()) for _ in range(3)] == [[]] * 3 and events(call) == [] and call.played() == (0, 160)
    ring.store_word(call.worker.rings.words, call.row, PAUSED, 0)
    assert [spoken(call.next_packet()) for _ in range(3)] == [[level(1)], [level(1)], []] and call.played() == (0, 320 + 160)


def test_the_level_that_was_sent_is_shown(call: CallUnderTest) -> None:
    call.say(np.full(160, -32124, np.int16))
    call.next_packet()
    assert call.counter("level_tx_dbov") == 0
    call.next_packet()
    assert -80 < call.counter("level_tx_dbov") < -70


def test_what_was_meant_for_the_call_before_is_never_heard(call: CallUnderTest) -> None:
    call.say(speech(1))
    call.worker.rings.words[call.row, layout.GENERATION] += 1
    assert spoken(call.next_packet()) == [] and call.played() == (0, 0)


# ---- turns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ptime_ms", PTIMES_MS)
def test_a_new_turn_is_heard_with_the_next_packet_and_what_was_heard_of_the_old_is_exact(ptime_ms: int) -> None:
    call = CallUnderTest(ptime_ms)
    call.say(speech(1, 160 * 50))
    played = sum(spoken_samples(call.next_packet()) for _ in range(3))
    assert played == 24 * ptime_ms and call.played() == (0, played)
    call.set_turn(1)
    call.say(speech(2, 160 * 3), turn=1)
    packet = call.next_packet()
    assert spoken(packet) == [level(2)] and call.played()[0] == 1
    (ended,) = events(call, TURN_ENDED)
    assert (ended.turn, ended.value, ended.position, ended.flags) == (0, played, played, WAS_CUT)
    assert (call.counter("turns"), call.counter("interruptions")) == (1, 1)


def test_an_interruption_without_new_speech_is_silence_at_once(call: CallUnderTest) -> None:
    call.say(speech(1, 160 * 50), mark=9)
    call.next_packet()
    call.set_turn(1)
    assert [spoken(call.next_packet()) for _ in range(3)] == [[]] * 3
    assert [(t.kind, t.turn, t.value) for t in call.take()] == [(TURN_ENDED, 0, 160)]  # neither the mark nor DRAINED
    assert ring.room(call.worker.rings, call.row) == layout.FROM_AI_SLOTS


def test_a_turn_that_was_heard_to_its_end_was_not_cut(call: CallUnderTest) -> None:
    call.say(speech(1))
    call.next_packet(), call.next_packet()
    call.set_turn(1)
    call.next_packet()
    assert [(t.kind, t.flags, t.value) for t in call.take()] == [(DRAINED, 0, 160), (TURN_ENDED, 0, 160)]
    assert (call.counter("turns"), call.counter("interruptions")) == (1, 0)


def test_a_turn_of_which_nothing_was_heard_tells_zero(call: CallUnderTest) -> None:
    call.say(speech(1))
    call.set_turn(1)
    call.next_packet()
    call.set_turn(2)
    call.next_packet()
    assert [(t.turn, t.value) for t in events(call, TURN_ENDED)] == [(0, 0), (1, 0)]


def test_a_turn_that_begins_between_two_looks_at_the_ring_counts_as_an_interruption(call: CallUnderTest) -> None:
    rings, row = call.worker.rings, call.row
    call.say(speech(1), turn=0)
    call.say(speech(1), turn=0)
    call.next_packet()
    ring.set_turn(rings.words, row, 1)
    ring.try_take(rings, row)  # the packet's loop had asked for the turn before, and drops the frame here
    call.next_packet()
    assert [(t.turn, t.value, t.flags) for t in events(call, TURN_ENDED)] == [(0, 160, WAS_CUT)]
    assert (call.counter("turns"), call.counter("interruptions")) == (1, 1)


def test_turns_may_be_passed_over(call: CallUnderTest) -> None:
    call.say(speech(1), turn=0)
    call.say(speech(2), turn=3)
    call.set_turn(9)
    call.say(speech(4), turn=9)
    assert spoken(call.next_packet()) == [level(4)] and call.played() == (9, 160)


@pytest.mark.parametrize("ptime_ms", [30, 40, 60])
def test_two_turns_never_share_a_packet(ptime_ms: int) -> None:
    """Speech of the next turn is there before its turn is announced: it waits for the next packet."""
    call = CallUnderTest(ptime_ms)
    call.say(speech(1), turn=0)
    call.say(speech(2), turn=1)
    packets = [call.next_packet(), call.next_packet()]
    assert [spoken(packet) for packet in packets] == [[level(1)], [level(2)]]
    assert [(t.turn, t.value) for t in events(call, TURN_ENDED)] == [(0, 160)]


def test_half_a_frame_of_an_older_turn_is_not_finished() -> None:
    call = CallUnderTest(10)
    call.say(speech(1, 320))
    call.next_packet()
    call.set_turn(1)
    call.say(speech(2, 320), turn=1)
    assert [spoken(call.next_packet()) for _ in range(5)] == [[level(2)]] * 4 + [[]]
    assert call.played() == (1, 320)


@pytest.mark.compiled
def test_ten_thousand_times_flush_and_speak_not_one_sample_of_the_old_turn() -> None:
    """Random turns, lengths, pauses between packets, packet times: after the store only the new turn is on the wire."""
    dice = random.Random(20)
    calls = [CallUnderTest(ptime_ms) for ptime_ms in PTIMES_MS]
    turns, heard_of = [0] * len(calls), [0] * len(calls)
    for _ in range(10_000):
        which = dice.randrange(len(calls))
        call = calls[which]
        for _ in range(dice.choice((0, 1, 1, 2, 5))):
            packet = call.next_packet()
            assert spoken(packet) in ([], [level(turns[which])])
            heard_of[which] += spoken_samples(packet)
            assert call.played() == (turns[which], heard_of[which])
        call.take()
        turns[which] += 1
        call.set_turn(turns[which])
        call.say(speech(turns[which], dice.choice((1, 80, 160, 163, 800, 1600))), turns[which])
        heard_of[which] = 0


def test_what_is_told_of_turns_adds_up_to_what_was_on_the_wire() -> None:
    dice = random.Random(7)
    call = CallUnderTest(30)
    on_wire: dict[int, int] = {}
    for turn in range(40):
        call.set_turn(turn)
        call.say(speech(turn, dice.choice((1, 100, 160, 700, 1500))), turn)
        for _ in range(dice.randrange(6)):
            on_wire[turn] = on_wire.get(turn, 0) + spoken_samples(call.next_packet())
    call.set_turn(99)
    call.next_packet()
    told = {t.turn: t.value for t in events(call, TURN_ENDED)}
    assert {turn: count for turn, count in told.items() if count} == {turn: count for turn, count in on_wire.items() if count}


# ---- the grid ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ptime_ms", PTIMES_MS)
def test_the_grid_is_absolute_a_late_tick_does_not_shift_it(ptime_ms: int) -> None:
    call = CallUnderTest(ptime_ms)
    first = int(call.call["tx"]["next_tx_ns"])
    assert START < first <= START + 21 * MS
    for number in range(30):
        call.now_ns = first + number * ptime_ms * MS + (number % 7) * MS
        assert len(call.tick()) == 1
    assert call.call["tx"]["next_tx_ns"] == first + 30 * ptime_ms * MS


def test_before_its_time_nothing_is_sent(call: CallUnderTest) -> None:
    call.now_ns = int(call.call["tx"]["next_tx_ns"]) - 1
    assert call.tick() == []


def test_a_late_worker_catches_up_packet_by_packet(call: CallUnderTest) -> None:
    before = call.next_packet()
    call.say(speech(1, 160 * 20))
    call.now_ns += MAX_CATCH_UP_NS
    packets = call.tick()
    assert [(packet.seq - before.seq) % 65536 for packet in packets] == [*range(1, 11)]
    assert [(packet.timestamp - before.timestamp) % 2**32 for packet in packets] == [160 * n for n in range(1, 11)]
    assert not any(packet.marker for packet in packets) and call.total("ticks_skipped") == 0
    assert call.counter("sent_late") == call.total("sent_late") == 8 and call.total("worst_lateness_ns") == 180 * MS
    assert call.total("lateness_ns") == 900 * MS, "20 ms and 40 and so on up to 180"


def test_one_that_is_too_late_skips_with_the_timestamp_moved_on_and_the_marker_set(call: CallUnderTest) -> None:
    before = call.next_packet()
    call.say(speech(1, 160 * 20))
    call.now_ns += 1_000 * MS
    (packet,) = call.tick()
    assert (packet.seq - before.seq) % 65536 == 1 and (packet.timestamp - before.timestamp) % 2**32 == 50 * 160
    assert packet.marker and spoken(packet) == [level(1)] and call.total("ticks_skipped") == 49
    after = call.next_packet()
    assert (after.seq - packet.seq) % 65536 == 1 and (after.timestamp - packet.timestamp) % 2**32 == 160 and not after.marker


@pytest.mark.parametrize("late_ms", [201, 205, 219, 220, 221, 999])
def test_after_a_skip_the_stream_is_on_its_old_grid(call: CallUnderTest, late_ms: int) -> None:
    first = int(call.call["tx"]["next_tx_ns"])
    call.now_ns = first + late_ms * MS
    assert len(call.tick()) == 1
    next_ns = int(call.call["tx"]["next_tx_ns"])
    assert (next_ns - first) % (20 * MS) == 0 and 0 < next_ns - call.now_ns <= 20 * MS


def test_lateness_is_counted_in_powers_of_two(call: CallUnderTest) -> None:
    for late_us in (0, 0.5, 1, 3, 1000, 16_000):
        call.now_ns = int(call.call["tx"]["next_tx_ns"]) + int(late_us * 1000)
        call.tick()
    buckets = {bucket: int(count) for bucket, count in enumerate(call.worker.lateness) if count}
    assert buckets == {0: 2, 1: 1, 2: 1, 10: 1, 14: 1} and call.counter("longest_gap_ns") < 40 * MS


def test_on_hold_time_passes_without_packets_and_speech_waits(call: CallUnderTest) -> None:
    before = call.next_packet()
    call.say(speech(1, 320))
    for _ in range(10):
        playout.stay_silent(call.worker, call.row, call.now_ns)
    packet = call.next_packet()
    assert (packet.seq - before.seq) % 65536 == 1 and (packet.timestamp - before.timestamp) % 2**32 == 11 * 160 and packet.marker
    assert spoken(packet) == [level(1)]


def test_on_hold_a_new_turn_is_followed_all_the_same(call: CallUnderTest) -> None:
    call.say(speech(1, 320))
    call.set_turn(1)
    playout.stay_silent(call.worker, call.row, call.now_ns)
    assert [(t.kind, t.turn, t.value) for t in call.take()] == [(TURN_ENDED, 0, 0)]


def test_a_worker_that_dies_before_sending_never_uses_a_number_twice(call: CallUnderTest) -> None:
    """The stream moves on before the packet is sent: the successor builds the next one."""
    call.now_ns = int(call.call["tx"]["next_tx_ns"])
    playout.build(call.worker, call.row, call.now_ns)  # and killed here: neither sent nor accounted for
    died_at = int(call.call["tx"]["seq"])
    (packet,) = call.tick()
    assert packet.seq == died_at


# ---- keys -------------------------------------------------------------------------------------------------


class SentEvent(NamedTuple):
    """A telephone-event packet, taken apart as RFC 4733 2.3 draws it."""

    marker: bool
    timestamp: int
    event: int
    is_end: bool
    volume: int
    duration: int


def press(call: CallUnderTest, keys: str, tone_ms: int = 100, gap_ms: int = 60, mark: int = 0) -> None:
    """As the bridge says them: each key's tone, then the silence behind it."""
    frame_samples = int(call.call["sample_rate_hz"]) // 50
    for key in keys:
        parts = [(ord(key), level(7))] * (tone_ms // 20) + [(KEY_GAP, 0)] * (gap_ms // 20)
        for n, (code, value) in enumerate(parts):
            pcm = np.full(frame_samples, value, np.int16)
            told = mark if n == len(parts) - 1 else 0
            assert ring.try_say(call.worker.rings, call.row, call.generation, 0, told, pcm, 0, frame_samples, code)


def event_of(packet: Packet) -> SentEvent:
    assert packet.payload_type == DTMF_TYPE and len(packet.payload) == 4
    event, flags, duration = struct.unpack("!BBH", packet.payload)
    assert flags & 0x40 == 0, "reserved"
    return SentEvent(packet.marker, packet.timestamp, event, bool(flags & 0x80), flags & 0x3F, duration)


def kinds(packets: list[Packet]) -> str:
    """A letter for each packet: a key, E for an end, - for audio."""
    return "".join("-" if p.payload_type != DTMF_TYPE else "E" if event_of(p).is_end else KEYS[event_of(p).event] for p in packets)


def test_a_key_is_one_event_with_a_growing_duration_and_three_ends(call: CallUnderTest) -> None:
    call.next_packet()
    call.say(speech(1))
    press(call, "5")
    call.say(speech(2), mark=9)
    packets = [call.next_packet() for _ in range(11)]
    assert kinds(packets) == "-55555EEE--" and spoken(packets[0]) == [level(1)] and spoken(packets[9]) == [level(2)]
    events = [event_of(p) for p in packets[1:9]]
    assert [e.marker for e in events] == [True] + [False] * 7
    assert {(e.timestamp, e.event, e.volume) for e in events} == {(packets[1].timestamp, 5, 10)}
    assert [e.duration for e in events] == [160, 320, 480, 640, 800, 800, 800, 800]
    assert {(b.seq - a.seq) % 65536 for a, b in itertools.pairwise(packets)} == {1}
    assert (packets[9].timestamp - packets[0].timestamp) % 2**32 == 9 * 160, "the audio's timestamps pass by under the key"
    assert packets[1].timestamp == (packets[0].timestamp + 160) % 2**32 and not packets[9].marker
    assert [(t.kind, t.value) for t in call.take()] == [(MARK_PLAYED, 9), (DRAINED, 10 * 160)]


def test_keys_one_after_the_other_are_apart_by_their_gap(call: CallUnderTest) -> None:
    press(call, "12#", tone_ms=60, gap_ms=80)
    packets = [call.next_packet() for _ in range(22)]
    assert kinds(packets) == "111EEE-222EEE-###EEE--"
    starts = [event_of(p).timestamp for p in packets if p.payload_type == DTMF_TYPE and p.marker]
    assert [b - a for a, b in itertools.pairwise(starts)] == [140 * 8] * 2 and call.counter("keys_sent") == 3
    assert sum(abs(int(s)) > NOISE_CEILING for p in packets if p.payload_type == 0 for s in heard(p)) == 0


@pytest.mark.parametrize("ptime_ms", PTIMES_MS)
@pytest.mark.parametrize(("tone_ms", "gap_ms"), [(40, 40), (100, 60), (60, 20), (240, 0)])
def test_whatever_the_ptime_a_far_end_hears_every_key_once(ptime_ms: int, tone_ms: int, gap_ms: int) -> None:
    call = CallUnderTest(ptime_ms)
    sent = "1124#"
    if gap_ms == 0:
        sent = "1214#"  # without a gap the same key twice is one long press
    told, packets = "", []
    for key in sent:
        press(call, key, tone_ms, gap_ms)
    packets = [call.next_packet() for _ in range(5 * (tone_ms + gap_ms + 4 * ptime_ms) // ptime_ms)]
    events = [event_of(p) for p in packets if p.payload_type == DTMF_TYPE]
    told = reference_event.keys([reference_event.Event(e.timestamp, e.event, e.duration, e.is_end) for e in events])
    assert told == sent
    for timestamp in {e.timestamp for e in events}:
        of_press = [e for e in events if e.timestamp == timestamp]
        assert [e.is_end for e in of_press[-3:]] == [True] * 3 and not any(e.is_end for e in of_press[:-3])
        assert {e.duration for e in of_press[-4:]} == {tone_ms * 8}
    assert kinds(packets[-2:]) == "--" and call.played()[1] == 5 * (tone_ms + gap_ms) * 8


def test_without_telephone_event_the_tones_themselves_go_out() -> None:
    call = CallUnderTest(dtmf_payload_type=-1)
    press(call, "5")
    packets = [call.next_packet() for _ in range(8)]
    assert {p.payload_type for p in packets} == {0} and [spoken(p) for p in packets] == [[level(7)]] * 5 + [[]] * 3


def test_a_new_turn_ends_a_key_at_once_and_speaks_after_its_ends(call: CallUnderTest) -> None:
    press(call, "55")
    assert kinds([call.next_packet() for _ in range(2)]) == "55"
    call.set_turn(1)
    call.say(speech(2), turn=1)
    packets = [call.next_packet() for _ in range(5)]
    assert kinds(packets) == "EEE--" and {event_of(p).duration for p in packets[:3]} == {320}
    assert spoken(packets[3]) == [level(2)] and spoken(packets[4]) == []


def test_a_key_whose_bridge_died_is_ended(call: CallUnderTest) -> None:
    press(call, "5", 60, 0)
    assert kinds([call.next_packet() for _ in range(8)]) == "555EEE--"


def test_on_hold_a_key_stops_and_goes_on_as_the_same(call: CallUnderTest) -> None:
    press(call, "5")
    before = [call.next_packet() for _ in range(2)]
    for _ in range(10):
        playout.stay_silent(call.worker, call.row, call.now_ns)
    after = [call.next_packet() for _ in range(6)]
    assert kinds(before + after) == "55555EEE" and len({p.timestamp for p in before + after}) == 1


@pytest.mark.parametrize("key", [-1, 1, 255, ord("E"), 2**31 - 1])
def test_a_key_that_there_is_not_is_sent_as_what_it_sounds_like(call: CallUnderTest, key: int) -> None:
    call.say(speech(4), key=key)
    assert spoken(call.next_packet()) == [level(4)]


def test_a_key_longer_than_its_duration_can_say_stays_at_the_most(call: CallUnderTest) -> None:
    packets = []
    for _ in range(430):  # 8.6 s, which no bridge of ours presses
        call.say(speech(7), key=ord("5"))
        packets.append(call.next_packet())
    assert kinds(packets) == "5" * 430 and event_of(packets[-1]).duration == 0xFFFF
