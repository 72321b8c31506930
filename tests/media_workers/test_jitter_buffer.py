"""Order: at once what is in order, a gap only as long as it pays, and a timeline that is never wrong."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from control_plane import g711
from media_workers import jitter_buffer
from media_workers.jitter_buffer import MAX_CONCEALED_MS, MAX_HOLD_NS, MIN_HOLD_NS, MISORDER_STEP, RESTART_STEP, SLOTS
from shm.jit import IS_COMPILED
from shm.layout import AUDIO, COMFORT_NOISE_FLAG, CONCEALED_FLAG, DISCONTINUITY_FLAG, DTMF, SPEECH_FLAG, VOICED_FLAG
from tests.media_workers.call_under_test import COMFORT_NOISE_TYPE, DTMF_TYPE, MS, SILENCE, CallUnderTest, Told, loud, ulaw
from tests.reference import jitter_buffer as reference
from tests.reference import packet_index as reference_index

SPEECH = SPEECH_FLAG | VOICED_FLAG

EXAMPLES = 150 if IS_COMPILED else 25
PTIME_NS = 20 * MS


def value(number: int) -> int:
    """A sample value that a packet carries throughout, and that G.711 does not change."""
    return int(g711.decode(0, bytes([number % 120]))[0])


def payload(number: int, samples: int = 160) -> bytes:
    return bytes([number % 120]) * samples


def send(call: CallUnderTest, *numbers: int, spacing_ns: int = PTIME_NS, seq0: int = 0, timestamp0: int = 0) -> None:
    """Packets of 20 ms by their place in the stream."""
    for number in numbers:
        call.now_ns += spacing_ns
        call.receive(seq0 + number, timestamp0 + 160 * number, payload(number))


def kinds(frames: list[Told]) -> list[int]:
    """Flags without the voice activity's."""
    return [frame.flags & ~SPEECH for frame in frames]


def first_samples(frames: list[Told]) -> list[int]:
    return [int(frame.pcm[0]) for frame in frames]


def positions(frames: list[Told]) -> list[int]:
    return [frame.position for frame in frames]


# ---- in order ---------------------------------------------------------------------------------------------


def test_a_packet_in_sequence_is_told_at_once(call: CallUnderTest) -> None:
    for number in range(5):
        send(call, number)
        (frame,) = call.frames()
        assert (frame.position, frame.timestamp, frame.samples, frame.captured_ns) == (160 * number, 160 * number, 160, call.now_ns)
        assert (frame.pcm == value(number)).all() and frame.flags & ~SPEECH == 0
    assert call.counter("frames_to_ai") == call.total("frames_to_ai") == 5 and call.counter("lost") == 0


def test_what_came_early_waits_for_what_is_missing_and_both_are_told_in_order(call: CallUnderTest) -> None:
    send(call, 0, 1)
    call.take()
    send(call, 3, 4, spacing_ns=2 * MS)
    assert call.take() == []
    send(call, 2, spacing_ns=2 * MS)
    frames = call.frames()
    assert first_samples(frames) == [value(2), value(3), value(4)] and positions(frames) == [320, 480, 640]
    assert (call.counter("reordered"), call.counter("lost"), call.counter("concealed_frames")) == (1, 0, 0)


def test_a_packet_that_comes_twice_is_told_once(call: CallUnderTest) -> None:
    send(call, 0, 1, 1, 0, 2)
    assert first_samples(call.frames()) == [value(0), value(1), value(2)]
    send(call, 4, 4, spacing_ns=MS)
    send(call, 3, spacing_ns=MS)
    assert first_samples(call.frames()) == [value(3), value(4)] and call.counter("duplicates") == 3


@pytest.mark.parametrize("first_seq", [65_530, 65_535, 0])
@pytest.mark.parametrize("first_timestamp", [0, 2**32 - 800, 2**32 - 80])
def test_sequence_numbers_and_timestamps_wrap(call: CallUnderTest, first_seq: int, first_timestamp: int) -> None:
    send(call, 0, 1, 2, 4, 3, 5, 6, 8, 9, 7, spacing_ns=MS, seq0=first_seq, timestamp0=first_timestamp)
    frames = call.frames()
    assert first_samples(frames) == [value(n) for n in range(10)] and positions(frames) == [160 * n for n in range(10)]
    assert call.counter("lost") == call.counter("concealed_frames") == 0
    assert frames[9].timestamp == (first_timestamp + 1440) % 2**32


@settings(max_examples=EXAMPLES * 3, deadline=None)
@given(st.integers(0x10000, 1 << 40), st.integers(0, 0xFFFF))
def test_the_packet_index_agrees_with_the_reference(expected: int, seq: int) -> None:
    assert jitter_buffer.packet_index(expected, seq) == reference_index.packet_index(expected, seq)


@pytest.mark.parametrize("older", [0, 1, 2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("step", [-(2**31), -160, -1, 0, 1, 160, 2**31 - 1])
def test_the_timestamp_step_agrees_with_the_reference(older: int, step: int) -> None:
    newer = (older + step) % 2**32
    assert jitter_buffer.timestamp_step(newer, older) == reference_index.timestamp_step(newer, older) == step


# ---- loss -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_exactly_what_was_lost_is_concealed_and_flagged(call: CallUnderTest, lost: int) -> None:
    send(call, 0, 1, 2, 3)
    send(call, 4 + lost)
    call.take()
    call.now_ns += MIN_HOLD_NS - 1
    call.expire()
    assert call.take() == []
    call.now_ns += MAX_HOLD_NS
    call.expire()
    frames = call.frames()
    assert kinds(frames) == [CONCEALED_FLAG] * lost + [0] and positions(frames) == [160 * n for n in range(4, 5 + lost)]
    assert first_samples(frames)[-1] == value(4 + lost)
    assert (call.counter("lost"), call.counter("concealed_frames")) == (lost, lost)


def test_beyond_60_ms_made_up_speech_is_comfort_noise(call: CallUnderTest) -> None:
    send(call, 0, 1)
    send(call, 9)
    call.now_ns += MAX_HOLD_NS
    call.expire()
    frames = call.frames()[2:]
    assert kinds(frames) == [CONCEALED_FLAG] * 3 + [COMFORT_NOISE_FLAG] * 4 + [0] and MAX_CONCEALED_MS == 60
    assert positions(frames) == [160 * n for n in range(2, 10)] and not any(frame.pcm.any() for frame in frames[3:7])


def test_a_full_buffer_does_not_wait_for_the_deadline(call: CallUnderTest) -> None:
    send(call, 0)
    send(call, *range(2, 2 + SLOTS), spacing_ns=0)
    assert first_samples(call.frames())[2:] == [value(n) for n in range(2, 2 + SLOTS)] and call.counter("lost") == 1


def test_a_great_jump_within_the_stream_is_loss_and_the_position_keeps_up(call: CallUnderTest) -> None:
    send(call, 0, 1)
    far = RESTART_STEP - 1
    send(call, far)
    call.now_ns += MAX_HOLD_NS
    call.expire()
    frames = call.frames()
    assert frames[-1].position == 160 * far and frames[-1].flags & DISCONTINUITY_FLAG
    assert call.counter("lost") == far - 2


def test_each_gap_waits_from_when_it_was_seen_so_that_several_do_not_add_up(call: CallUnderTest) -> None:
    send(call, 0, 2)
    seen_ns = call.now_ns
    call.now_ns += 5 * MS
    send(call, 4, spacing_ns=0)
    call.now_ns = int(call.call["rx"]["gap_deadline_ns"])
    call.expire()
    assert positions(call.frames()) == [0, 160, 320] and call.call["rx"]["gap_since_ns"] == seen_ns + 5 * MS
    call.now_ns = int(call.call["rx"]["gap_deadline_ns"])
    call.expire()
    assert positions(call.frames()) == [480, 640] and call.counter("lost") == 2


def test_gaps_of_one_burst_are_given_up_together(call: CallUnderTest) -> None:
    send(call, 0, 2, 4, 6, spacing_ns=0)
    call.now_ns += MAX_HOLD_NS
    call.expire()
    assert positions(call.frames()) == [160 * n for n in range(7)] and call.counter("lost") == 3


def test_a_straggler_is_counted_late_not_lost_and_teaches_to_wait_longer(call: CallUnderTest) -> None:
    def gap_is_held_ns(number: int) -> int:
        send(call, number)
        rx = call.call["rx"]
        return int(rx["gap_deadline_ns"] - rx["gap_since_ns"])

    send(call, 0)
    before = gap_is_held_ns(2)
    assert before == MIN_HOLD_NS
    call.now_ns += before
    call.expire()
    assert call.counter("lost") == 1
    send(call, 1, spacing_ns=MS)
    assert (call.counter("late"), call.counter("lost"), call.counter("duplicates")) == (1, 0, 0)
    assert gap_is_held_ns(4) > before
    send(call, 3)
    assert (call.counter("reordered"), call.counter("lost")) == (1, 0)


def test_a_repeat_after_a_loss_is_a_duplicate_and_the_loss_stays_counted(call: CallUnderTest) -> None:
    send(call, 0, 1, 3)
    call.now_ns += MAX_HOLD_NS
    call.expire()
    send(call, 3, 1, 4, 4, spacing_ns=MS)
    assert (call.counter("lost"), call.counter("late"), call.counter("duplicates")) == (1, 0, 3)
    send(call, 2, 2, spacing_ns=MS)
    assert (call.counter("lost"), call.counter("late"), call.counter("duplicates")) == (0, 1, 4)


def test_what_was_lost_before_a_key_or_is_unknown_does_not_stop_the_stream(call: CallUnderTest) -> None:
    send(call, 0)
    call.receive(1, 160, b"\x00" * 50, payload_type=77)
    send(call, 2)
    frames = call.frames()
    assert kinds(frames) == [0, COMFORT_NOISE_FLAG, 0] and positions(frames) == [0, 160, 320]
    assert call.counter("unknown_payload") == call.total("unknown_payload") == 1


# ---- pauses -----------------------------------------------------------------------------------------------


def test_silence_suppression_is_filled_with_comfort_noise_of_the_same_length(call: CallUnderTest) -> None:
    send(call, 0)
    call.receive(1, 160 * 11, payload(1))
    frames = call.frames()
    assert kinds(frames) == [0] + [COMFORT_NOISE_FLAG] * 10 + [0] and positions(frames) == [160 * n for n in range(12)]
    assert call.counter("lost") == call.counter("concealed_frames") == 0


def test_comfort_noise_packets_are_silence_until_speech_comes(call: CallUnderTest) -> None:
    send(call, 0)
    call.receive(1, 160, bytes([60]), payload_type=COMFORT_NOISE_TYPE)
    assert len(call.frames()) == 1
    call.receive(2, 160 * 5, payload(2))
    frames = call.frames()
    assert kinds(frames) == [COMFORT_NOISE_FLAG] * 4 + [0] and frames[-1].position == 800
    assert call.counter("unknown_payload") == 0


def pass_by(call: CallUnderTest, duration_ms: int) -> None:
    """Time in which nothing comes, in the 10 ms in which rows are served."""
    for _ in range(duration_ms // 10):
        call.now_ns += 10 * MS
        if call.now_ns >= call.call["rx"]["fill_at_ns"]:
            jitter_buffer.fill_silence(call.worker, call.row, call.now_ns)


def test_who_falls_silent_is_filled_on_the_clock_so_that_the_agent_notices(call: CallUnderTest) -> None:
    send(call, 0)
    pass_by(call, 280)
    assert len(call.frames()) == 1, "it may only be late"
    pass_by(call, 1_020)
    frames = call.frames()
    assert set(kinds(frames)) == {COMFORT_NOISE_FLAG} and len(frames) == 51
    assert positions(frames) == [160 * n for n in range(1, 52)] and [f.timestamp for f in frames] == positions(frames)
    call.receive(1, 160 * 65, payload(1))
    frames = call.frames()
    assert positions(frames) == [160 * n for n in range(52, 66)] and kinds(frames) == [COMFORT_NOISE_FLAG] * 13 + [0]


def test_who_says_that_it_falls_silent_is_believed_sooner(call: CallUnderTest) -> None:
    send(call, 0)
    call.receive(1, 160, bytes([60]), payload_type=COMFORT_NOISE_TYPE)
    pass_by(call, 200)
    assert len(call.frames()) == 1 + 6


@pytest.mark.parametrize(("level", "expected"), [(30, -30), (45, -45), (60, -60), (5, -30), (127, -127)])
def test_the_noise_is_as_loud_as_the_far_end_s(call: CallUnderTest, level: int, expected: int) -> None:
    send(call, 0)
    call.receive(1, 160, bytes([level]), payload_type=COMFORT_NOISE_TYPE)
    pass_by(call, 1_000)
    levels = {frame.level_dbov for frame in call.frames()[1:]}
    assert max(abs(found - expected) for found in levels) <= 4


def test_on_hold_silence_is_not_filled() -> None:
    call = CallUnderTest(direction="sendonly")
    call.call["rx"]["is_started"] = 1
    pass_by(call, 1_000)
    assert call.frames() == []


def test_a_stall_of_the_network_is_filled_and_what_comes_after_it_is_heard_whole(call: CallUnderTest) -> None:
    send(call, 0)
    pass_by(call, 500)
    assert len(call.frames()) == 12
    send(call, *range(1, 26), spacing_ns=0)
    frames = call.frames()
    assert [int(frame.pcm[0]) for frame in frames] == [value(n) for n in range(1, 26)] and call.counter("lost") == 0
    assert frames[0].flags & DISCONTINUITY_FLAG and not any(frame.flags & DISCONTINUITY_FLAG for frame in frames[1:])


@pytest.mark.parametrize("ppm", [-300, 300])
def test_an_hour_with_a_far_end_s_clock_that_is_off(call: CallUnderTest, ppm: int) -> None:
    """Its packets come ever earlier or later, 1.08 s in the end: every one is told at once, and nothing is made up. Meanwhile the
    sequence numbers wrap, three times if the hour is a whole one, and the timestamps once."""
    heard, step_ns, first_timestamp = 0, 20 * MS * (1_000_000 + ppm) // 1_000_000, 2**32 - 400_000
    for number in range(180_000 if IS_COMPILED else 5_000):
        call.now_ns += step_ns
        call.receive(64_000 + number, first_timestamp + 160 * number, payload(number))
        if number % 64 == 63:
            frames = call.frames()
            assert kinds(frames) == [0] * 64 and frames[-1].position == 160 * number and frames[-1].captured_ns == call.now_ns
            assert frames[-1].timestamp == (first_timestamp + 160 * number) % 2**32
            heard += len(frames)
    assert heard >= 4_900 and all(call.counter(name) == 0 for name in ("lost", "late", "concealed_frames", "duplicates"))
    assert call.counter("jitter_us") <= 125, "one tick of the clock"


@pytest.mark.parametrize("pause", [8_000, 8_001, 80_000, 2**31 - 1])
def test_a_long_pause_moves_the_position_and_is_flagged(call: CallUnderTest, pause: int) -> None:
    send(call, 0)
    call.receive(1, 160 + pause, payload(1))
    frames = call.frames()
    assert frames[-1].position == 160 + pause and int(frames[-1].pcm[0]) == value(1)
    assert (frames[-1].flags & DISCONTINUITY_FLAG != 0) == (pause > 8_000)
    assert len(frames) == (2 if pause > 8_000 else 52)


def test_before_a_long_pause_a_started_frame_is_completed_with_silence(call: CallUnderTest) -> None:
    """Samples of before and after do not share a frame, or the frame's position would be true for one of them only."""
    call.receive(0, 0, payload(3, 240))
    call.receive(1, 240 + 80_000, payload(5, 160))
    first, second, third = call.frames()
    assert (first.position, second.position, third.position) == (0, 160, 80_240)
    assert (second.pcm[:80] == value(3)).all() and not second.pcm[80:].any() and second.flags & COMFORT_NOISE_FLAG
    assert (third.pcm == value(5)).all() and third.flags & DISCONTINUITY_FLAG


def test_timestamps_that_step_back_are_flagged_and_the_position_goes_on(call: CallUnderTest) -> None:
    send(call, 0, 1, 2)
    call.receive(3, 5, payload(3))
    frames = call.frames()
    assert positions(frames) == [0, 160, 320, 480] and kinds(frames)[-1] == DISCONTINUITY_FLAG


# ---- keys -------------------------------------------------------------------------------------------------


def test_a_key_comes_in_its_place_and_the_time_it_took_is_filled(call: CallUnderTest) -> None:
    send(call, 0, 1)
    for number, duration in enumerate((160, 320, 480, 640, 640, 640), 2):
        call.receive(number, 320, bytes((5, 10 | (0x80 if number > 4 else 0), duration >> 8, duration & 255)), payload_type=DTMF_TYPE)
    call.receive(8, 320 + 640, payload(8))
    told = call.take()
    assert [t.kind for t in told] == [AUDIO, AUDIO, DTMF] + [AUDIO] * 5
    key = told[2]
    assert (key.value, key.position, key.samples) == (ord("5"), 320, 0)
    assert kinds(told[3:]) == [COMFORT_NOISE_FLAG] * 4 + [0] and told[-1].position == 960
    assert (call.counter("keys_received"), call.counter("lost"), call.counter("unknown_payload")) == (1, 0, 0)


def test_keys_are_put_in_order_as_audio_is(call: CallUnderTest) -> None:
    send(call, 0)
    call.receive(3, 2000, bytes((2, 10, 0, 160)), payload_type=DTMF_TYPE)
    call.receive(2, 480, bytes((1, 10, 0, 160)), payload_type=DTMF_TYPE)
    call.receive(1, 160, payload(1))
    assert [chr(t.value) if t.kind == DTMF else t.kind for t in call.take()] == [AUDIO, AUDIO, "1", "2"]


def test_keys_are_heard_after_a_restart_though_its_timestamps_are_lower(call: CallUnderTest) -> None:
    call.receive(0, 3_000_000_000, bytes((1, 10, 0, 160)), payload_type=DTMF_TYPE)
    call.now_ns += 1000 * MS
    call.receive(900, 2_000_000_000, bytes((2, 10, 0, 160)), payload_type=DTMF_TYPE, ssrc=99)
    assert [chr(t.value) for t in call.take()] == ["1", "2"]


# ---- restarts ---------------------------------------------------------------------------------------------


def test_another_ssrc_is_believed_with_its_second_packet(call: CallUnderTest) -> None:
    send(call, 0, 1)
    call.take()
    call.receive(5000, 77_000, payload(20), ssrc=8)
    assert call.take() == []
    call.receive(5001, 77_160, payload(21), ssrc=8)
    (frame,) = call.frames()
    assert (int(frame.pcm[0]), frame.position, frame.flags & DISCONTINUITY_FLAG) == (value(21), 320, DISCONTINUITY_FLAG)
    call.receive(5002, 77_320, payload(22), ssrc=8)
    assert [(frame.position, frame.flags & DISCONTINUITY_FLAG) for frame in call.frames()] == [(480, 0)]


def test_single_packets_of_others_change_nothing(call: CallUnderTest) -> None:
    send(call, 0)
    for number in range(1, 20):
        call.receive(number * 7, 12, payload(99), ssrc=1000 + number % 3)
        send(call, number)
    assert first_samples(call.frames()) == [value(n) for n in range(20)]


def test_another_ssrc_is_believed_at_once_after_60_ms_of_silence(call: CallUnderTest) -> None:
    send(call, 0)
    call.now_ns += 61 * MS
    call.receive(5000, 77_000, payload(20), ssrc=8)
    assert first_samples(call.frames()) == [value(0), value(20)]


@pytest.mark.parametrize("jump", [RESTART_STEP, 20_000, -RESTART_STEP, -MISORDER_STEP - 1])
def test_a_sender_that_restarts_is_followed_with_its_second_packet(call: CallUnderTest, jump: int) -> None:
    send(call, *range(3), seq0=10_000)
    call.take()
    call.receive(10_003 + jump, 9_000_000, payload(30))
    assert call.take() == []
    call.receive(10_004 + jump, 9_000_160, payload(31))
    (frame,) = call.frames()
    assert frame.flags & DISCONTINUITY_FLAG and int(frame.pcm[0]) == value(31) and call.counter("lost") == 0


def test_what_was_held_for_the_stream_before_is_not_told_in_the_new_one(call: CallUnderTest) -> None:
    send(call, 0, 2, 3, seq0=100, spacing_ns=MS)
    for number in range(1, 20):
        call.now_ns += 61 * MS if number == 1 else MS
        call.receive(99 + number, 50_000 + 160 * number, payload(60 + number), ssrc=8)
    assert first_samples(call.frames()) == [value(0)] + [value(60 + n) for n in range(1, 20)]


# ---- frames of 20 ms, whatever came -----------------------------------------------------------------------


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
def test_any_packet_length_becomes_frames_of_20_ms(call: CallUnderTest, ptime_ms: int) -> None:
    samples = 8 * ptime_ms
    pcm = np.arange(24 * 160) // 8 % 100
    stream = bytes(pcm.astype(np.uint8))
    for number, start in enumerate(range(0, len(stream), samples)):
        call.receive(number, start, stream[start : start + samples])
    frames = call.frames()
    assert len(frames) == 24 and positions(frames) == [160 * n for n in range(24)] == [frame.timestamp for frame in frames]
    assert (np.concatenate([frame.pcm for frame in frames]) == g711.decode(0, stream)).all()


def test_the_packet_length_may_change_in_the_stream(call: CallUnderTest) -> None:
    timestamp = 0
    for number, samples in enumerate((80, 240, 160, 480, 1, 159, 320, 0, 80, 80)):
        call.receive(number, timestamp, payload(number, samples))
        timestamp += samples
    assert positions(call.frames()) == [160 * n for n in range(timestamp // 160)]


@pytest.mark.parametrize("size", [0, 1, 1487, 1488])
def test_the_shortest_and_the_longest_payload_are_taken_whole(call: CallUnderTest, size: int) -> None:
    call.receive(0, 0, payload(9, size))
    call.receive(2, 2 * size, payload(9, size))
    call.receive(1, size, payload(9, size))
    frames = call.frames()
    assert len(frames) == 3 * size // 160 and all((frame.pcm == value(9)).all() for frame in frames)


def test_a_law_calls_are_decoded_as_such() -> None:
    call = CallUnderTest(format="PCMA")
    call.receive(0, 0, bytes([0x2A]) * 160)
    assert int(call.frames()[0].pcm[0]) == int(g711.decode(1, b"\x2a")[0])


def test_the_bridge_of_the_call_is_noted_for_its_bell(call: CallUnderTest) -> None:
    assert not call.worker.own[0]["rung"].any()
    send(call, 0)
    assert call.worker.own[0]["rung"].tolist()[:2] == [1, 0]


def test_jitter_is_that_of_rfc_3550(call: CallUnderTest) -> None:
    late_ms = [0, 5, 0, 9, 3, 0, 14, 0, 2]
    jitter, transit_before = 0.0, None
    start = call.now_ns
    for number, late in enumerate(late_ms):
        call.now_ns = start + (20 * number + late) * MS
        call.receive(number, 160 * number, SILENCE * 160)
        if transit_before is not None:
            jitter += (abs(late - transit_before) - jitter) / 16
        transit_before = late
    assert call.counter("jitter_us") == pytest.approx(1000 * jitter, abs=130)  # whole clock ticks are 125 us


def test_a_machine_that_has_been_up_for_years_measures_the_same_jitter(call: CallUnderTest) -> None:
    call.now_ns = 5 * 365 * 86_400 * 1000 * MS
    send(call, *range(20))
    assert call.counter("jitter_us") == 0 and len(call.frames()) == 20


def test_loud_frames_are_flagged_as_speech_and_their_level_told(call: CallUnderTest) -> None:
    for number in range(4):
        call.receive(number, 160 * number, ulaw(8_000 if number else 0))
    frames = call.frames()
    assert [frame.flags & SPEECH_FLAG for frame in frames] == [0, SPEECH_FLAG, SPEECH_FLAG, SPEECH_FLAG]
    assert frames[-1].level_dbov == call.counter("level_rx_dbov") == -9


# ---- everything at once -----------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.sampled_from(["send"] * 12 + ["lose"] * 3 + ["delay"] * 3 + ["again", "expire", "expire", "pause", "long pause"]),
        st.integers(0, 7),
        st.integers(0, 30),
    ),
    max_size=120 if IS_COMPILED else 40,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(steps, st.sampled_from([0, 65_500]), st.sampled_from([0, 2**32 - 3_000]), st.sampled_from([80, 160, 240]))
def test_agrees_with_the_reference_whatever_the_network_does(
    todo: list[tuple[str, int, int]], seq0: int, timestamp0: int, samples: int
) -> None:
    call, model = CallUnderTest(), reference.JitterBuffer()
    number, timestamp, delayed, sent = 0, timestamp0, [], []

    def arrive(packet: tuple[int, int, int]) -> None:
        index, stamp, code = packet
        pcm = (value(code),) * samples
        call.receive(seq0 + index, stamp, payload(code, samples))
        model.insert((seq0 + index) & 0xFFFF, reference.Packet(stamp % 2**32, pcm), call.now_ns)
        sent.append(packet)

    def compare() -> None:
        told, expected = call.frames(), model.frames
        model.frames = []
        assert [(t.position, t.flags & ~SPEECH) for t in told] == [(e.position, e.flags) for e in expected]
        for one, other in zip(told, expected, strict=True):
            assert all(b is None or a == b for a, b in zip(one.pcm.tolist(), other.pcm, strict=True))
        names = ("lost", "late", "duplicates", "reordered")
        assert [call.counter(n) for n in names] == [len(model.lost), model.late, model.duplicates, model.reordered]

    arrive((0, timestamp, 0))
    for what, detail, spent_ms in todo:
        call.now_ns += spent_ms * MS
        if what in ("send", "lose", "delay"):
            number, timestamp = number + 1, timestamp + samples
            packet = (number, timestamp, number)
            if what == "send":
                arrive(packet)
            elif what == "delay":
                delayed.append(packet)
        elif what == "again" and sent:
            arrive(sent[-1 - detail % len(sent)])
        elif what in ("pause", "long pause"):
            timestamp += 80 * detail if what == "pause" else 40_000
        else:
            call.expire()
            model.expire(call.now_ns)
        if delayed and detail % 3 == 0:
            arrive(delayed.pop(detail % len(delayed)))
        compare()
    for index in range(number + 1, number + 4):  # never stuck: the next packets and the deadline bring all that is held
        call.now_ns += MAX_HOLD_NS
        timestamp += samples
        call.expire()
        model.expire(call.now_ns)
        arrive((index, timestamp, index))
    call.now_ns += MAX_HOLD_NS
    call.expire()
    model.expire(call.now_ns)
    compare()
    assert call.call["rx"]["held"] == 0 == len(model.early)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 25)), min_size=1, max_size=60))
def test_frames_are_never_out_of_order_and_positions_follow_the_timeline(arrivals: list[tuple[int, int]]) -> None:
    """Packets of one stream in any order at all: a frame's position is where its audio lies in the stream."""
    call = CallUnderTest()
    first = arrivals[0][0]
    for number, spent_ms in arrivals:
        call.now_ns += spent_ms * MS
        call.expire()
        call.receive(100 + number, 160 * number, payload(number))
    call.now_ns += MAX_HOLD_NS
    call.expire()
    frames = call.frames()
    assert positions(frames) == [160 * n for n in range(len(frames))]
    for frame in frames:
        number = frame.position // 160 + first
        if frame.flags & (CONCEALED_FLAG | COMFORT_NOISE_FLAG) == 0:
            assert (frame.pcm == value(number)).all() and frame.timestamp == 160 * number


def test_the_helpers_loud_value_survives_the_codec() -> None:
    pcm = loud(160)
    assert (g711.decode(0, g711.encode(0, pcm)) == pcm).all()
