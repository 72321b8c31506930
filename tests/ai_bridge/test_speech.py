import asyncio

import numpy as np
import pytest

from ai_bridge.awaited import Awaited
from ai_bridge.keys import as_frames
from ai_bridge.resample import resample
from ai_bridge.speech import SpeechQueue, as_pcm16
from control_plane.errors import Misuse
from shm import ring
from shm.layout import KEY_GAP, TO_AI_READ, TURN
from tests.ai_bridge.line import Line, make_rings, tone

MS = 1_000_000


class Desk:
    """A speech queue, the line it speaks on, and what came of it. `now_ns` is ours."""

    def __init__(self, rate_hz: int = 8_000) -> None:
        self.rings = make_rings()
        self.line = Line(self.rings, 1, rate_hz=rate_hz)
        self.said = np.zeros(4, np.int64)
        self.settled: list[Awaited] = []
        self.now_ns = 0
        self.queue = self.new_queue()

    def new_queue(self) -> SpeechQueue:
        return SpeechQueue(self.rings, 1, 7, self.said, lambda queue: None, self.settled.append)

    def tick(self, times: int = 1) -> None:
        """20 ms pass: the worker sends, its events arrive, the queue is polled."""
        for _ in range(times):
            self.line.tick()
            self.deliver()
            self.now_ns += 20 * MS
            self.queue.poll(self.now_ns)

    def deliver(self) -> None:
        from shm.layout import FRAME, MARK_PLAYED, TURN_ENDED

        frames, pcm = np.zeros(64, FRAME), np.zeros((64, 960), np.int16)
        taken = ring.collect(self.rings, np.array([1]), np.array([7]), np.zeros(1, np.int64), frames, pcm, 64)
        for frame in frames[:taken]:
            if frame["kind"] == MARK_PLAYED:
                self.queue.receive_mark(int(frame["turn"]), int(frame["value"]), int(frame["captured_ns"]))
            elif frame["kind"] == TURN_ENDED:
                self.queue.receive_turn_ended(int(frame["turn"]), int(frame["value"]))


def test_an_utterance_is_filled_up_to_a_frame_and_counts_its_own_samples_only():
    desk = Desk()
    utterance = desk.queue.say(tone(250))
    desk.tick(2)
    assert utterance.is_done and not utterance.was_interrupted
    assert (utterance.samples, utterance.heard_samples, utterance.heard_ms) == (250, 250, 31.25)
    assert np.array_equal(desk.line.heard(), np.concatenate((tone(250), np.zeros(70, np.int16))))


def test_a_long_utterance_goes_through_a_full_ring_without_a_gap():
    desk = Desk()
    pcm = tone(160 * 1000)
    utterance = desk.queue.say(pcm)
    assert ring.room(desk.rings, 1) == 0
    desk.tick(1000)
    assert utterance.heard_samples == pcm.size and not desk.queue.has_work
    assert np.array_equal(desk.line.heard(), pcm)


def test_when_an_utterance_begins_on_the_wire_is_told_by_the_worker():
    desk = Desk()
    first, second, third = desk.queue.say(tone(500)), desk.queue.stream(8_000, 1000), None
    assert second.write_nowait(tone(80)) and second.write_nowait(tone(400))
    before_ns = desk.line.now_ns
    desk.tick()
    assert before_ns < first.began_ns <= desk.line.now_ns and second.began_ns == 0
    desk.tick(3)
    assert second.began_ns == 0
    desk.tick()
    assert second.began_ns > first.began_ns
    second.end()
    desk.tick(5)
    third = desk.queue.say(tone(160))
    desk.tick()
    assert third.began_ns > second.began_ns and third.is_done
    cut = desk.queue.say(tone(800))
    desk.queue.new_turn(desk.now_ns)
    desk.tick(2)
    assert cut.began_ns == 0 and asyncio.run(cut.begun()) == 0
    assert np.array_equal(desk.line.heard()[:500], tone(500)), "not a sample is lost for it"


def test_chunks_of_any_size_make_one_stream_without_gaps():
    desk = Desk()
    pcm = tone(5_000)
    stream = desk.queue.stream(8_000, 1000)
    at = 0
    for size in (1, 159, 160, 161, 7, 900, 2_000, 1, 1_611):
        assert stream.write_nowait(pcm[at : at + size])
        at += size
    assert at == 5_000
    stream.end()
    desk.tick(40)
    assert np.array_equal(desk.line.heard()[:5_000], pcm) and not desk.line.heard()[5_000:].any()
    assert stream.is_done and stream.heard_samples == 5_000


def test_a_stream_at_another_rate_gives_the_samples_of_one_conversion():
    desk = Desk()
    pcm = (8_000 * np.sin(np.arange(24_000) * 2 * np.pi * 440 / 24_000)).astype(np.int16)
    stream = desk.queue.stream(24_000, 5000)
    for start in range(0, pcm.size, 777):
        stream.write_nowait(pcm[start : start + 777].tobytes())
    stream.end()
    desk.tick(51)
    assert np.array_equal(desk.line.heard()[:8_000], resample(pcm, 24_000, 8_000))


@pytest.mark.parametrize("ticks", [0, 1, 3, 9])
def test_an_interruption_tells_what_was_heard_to_the_sample(ticks):
    desk = Desk()
    first = desk.queue.say(tone(3 * 160 - 10))
    second = desk.queue.say(tone(6 * 160, 5_000))
    desk.tick(ticks)
    assert desk.queue.new_turn(desk.now_ns) == 1
    third = desk.queue.say(tone(160, 20_000))
    desk.tick(2)
    assert first.heard_samples == min(470, ticks * 160) and first.was_interrupted == (ticks < 3)
    assert second.heard_samples == max(0, ticks - 3) * 160 and second.was_interrupted == (ticks < 9)
    assert third.heard_samples == 160 and not third.was_interrupted
    assert desk.line.turns == [0] * ticks + [1] and desk.settled == [first, second, third]


def test_what_was_heard_is_known_while_it_is_said():
    desk = Desk()
    utterance = desk.queue.say(tone(1_600))
    desk.tick(4)
    assert utterance.heard_ms == 80 and not utterance.is_done and desk.queue.backlog() == 960 and desk.queue.is_speaking


def test_turns_that_never_reached_the_wire_are_settled_as_unheard():
    desk = Desk()
    said = []
    for _ in range(4):
        said.append(desk.queue.say(tone(320)))
        desk.queue.new_turn(desk.now_ns)
    said.append(desk.queue.say(tone(320)))
    desk.tick(5)
    assert [u.heard_samples for u in said] == [0, 0, 0, 0, 320]
    assert [u.was_interrupted for u in said] == [True] * 4 + [False]


def test_a_turn_cut_while_nothing_is_sent_is_settled_all_the_same():
    """On hold the worker sends nothing, so it does not end turns either."""
    desk = Desk()
    utterance = desk.queue.say(tone(320))
    desk.tick(1)
    desk.queue.new_turn(desk.now_ns)
    desk.queue.poll(desk.now_ns + 400 * MS)
    assert not utterance.is_done
    desk.queue.poll(desk.now_ns + 501 * MS)
    assert utterance.was_interrupted and utterance.heard_samples == 160


def test_a_lost_turn_ended_does_not_leave_anybody_waiting():
    desk = Desk()
    utterance = desk.queue.say(tone(320))
    desk.tick(1)
    desk.queue.new_turn(desk.now_ns)
    desk.line.tick()
    desk.rings.words[1, TO_AI_READ] += 10  # lapped: the event was overwritten
    desk.queue.poll(desk.now_ns + 41 * MS)
    assert utterance.is_done and utterance.heard_samples == 160


def test_a_mark_is_reached_with_what_was_said_before_it():
    desk = Desk()
    desk.queue.say(tone(320))
    mark = desk.queue.mark("here")
    desk.queue.say(tone(320))
    later = desk.queue.mark("there")
    desk.tick(1)
    assert not mark.is_done
    desk.tick(1)
    assert mark.is_done and not mark.was_interrupted and not later.is_done
    desk.queue.new_turn(desk.now_ns)
    desk.tick(1)
    assert later.is_done and later.was_interrupted
    assert desk.queue.mark("nothing said").is_done


def test_a_row_that_is_another_calls_by_now_keeps_its_turn():
    desk = Desk()
    ring.open_row(desk.rings, 1, 8, 8_000, 0)
    desk.queue.say(tone(800))
    assert desk.queue.new_turn(desk.now_ns) == 1 and not desk.queue.has_row
    assert desk.rings.words[1, TURN] == 0, "else nothing that its agent says would be heard"


def test_whoever_waits_for_silence_does_not_wait_for_the_rest_of_an_open_stream():
    desk = Desk()
    stream = desk.queue.stream(8_000, 1000)
    stream.write_nowait(tone(200))
    behind, drained = desk.queue.mark("behind all of it"), desk.queue.mark("", with_rest=False)
    desk.tick(2)
    assert drained.is_done and not drained.was_interrupted and not behind.is_done, "40 samples wait for more"
    stream.end()
    desk.tick(2)
    assert behind.is_done


def test_the_next_utterance_ends_an_open_stream():
    desk = Desk()
    stream = desk.queue.stream(8_000, 1000)
    stream.write_nowait(tone(100))
    desk.queue.say(tone(160, 500))
    with pytest.raises(Misuse, match=r"call\.stream"):
        stream.write_nowait(tone(1))
    desk.tick(2)
    assert stream.heard_samples == 100 and np.array_equal(desk.line.heard()[160:], tone(160, 500))


def test_writing_after_an_interruption_says_so_and_nothing_is_sent():
    desk = Desk()
    stream = desk.queue.stream(8_000, 1000)
    stream.write_nowait(tone(320))
    desk.queue.new_turn(desk.now_ns)
    assert stream.write_nowait(tone(320)) is False
    stream.end()
    desk.tick(3)
    assert stream.was_interrupted and desk.line.heard().size == 0


def test_a_writer_waits_until_the_caller_is_near_enough():
    async def scenario() -> None:
        desk = Desk()
        stream = desk.queue.stream(8_000, 200)
        written = []

        async def write() -> None:
            while len(written) < 20:
                written.append(await stream.write(tone(800)))

        task = asyncio.get_running_loop().create_task(write())
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(written) == 2  # 200 ms ahead, and the third one waits
        for _ in range(20):
            desk.tick(1)
            for _ in range(3):
                await asyncio.sleep(0)
        assert len(written) == 6
        desk.queue.new_turn(desk.now_ns)
        for _ in range(100):
            await asyncio.sleep(0)
        assert task.done() and written[6:] == [False] * 14

    asyncio.run(scenario())


def test_what_waits_is_bounded_and_the_remedy_is_told_once(caplog):
    desk = Desk()
    desk.queue.call_id = "c"
    music = desk.queue.say(np.ones(8_000 * 90, np.int16))
    after = desk.queue.say(tone(8_000))
    assert not after.is_done, "a piece of any length is one piece"
    said = [desk.queue.say(tone(8_000)) for _ in range(70)]
    assert 58 <= sum(not utterance.is_done for utterance in said) <= 60
    assert said[-1].is_done and said[-1].was_interrupted and said[-1].heard_ms == 0 and not desk.settled
    waiting = desk.queue.backlog()
    stream = desk.queue.stream(16_000, 1000)
    assert not stream.write_nowait(tone(320)) and desk.queue.backlog() == waiting and stream.samples == 0
    (record,) = caplog.records
    assert "await call.drained()" in record.message and record.call_id == "c"
    desk.tick(50 * 90)
    assert music.heard_samples == music.samples and stream.write_nowait(tone(320))


def test_a_writer_waits_even_for_what_was_said_before():
    async def scenario() -> None:
        desk = Desk()
        while not desk.queue.is_full:
            desk.queue.say(tone(8_000))
        stream = desk.queue.stream(8_000, 100_000)
        task = asyncio.get_running_loop().create_task(stream.write(tone(160, 9_000)))
        for _ in range(150):
            await asyncio.sleep(0)
            desk.tick(1)
        assert await task is True and stream.samples == 160

    asyncio.run(scenario())


def test_awaiting_gives_the_milliseconds_and_may_be_given_up_by_one_of_several():
    async def scenario() -> None:
        desk = Desk()
        utterance = desk.queue.say(tone(320))

        async def wait() -> float:
            return await utterance

        first, second = (asyncio.get_running_loop().create_task(wait()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        desk.tick(3)
        assert await second == 40.0 and await utterance == 40.0
        assert first.cancelled() or first.cancelling()

    asyncio.run(scenario())


def test_a_closed_queue_settles_everything_and_says_nothing_more():
    desk = Desk()
    utterance, mark = desk.queue.say(tone(800)), desk.queue.mark("end")
    desk.tick(2)
    desk.queue.close()
    assert utterance.was_interrupted and utterance.heard_samples == 320 and mark.was_interrupted
    assert desk.queue.say(tone(160)).was_interrupted and not desk.queue.has_work


def test_a_successor_counts_on_where_its_predecessor_stopped():
    desk = Desk()
    desk.queue.new_turn(0)
    desk.queue.say(tone(10 * 160))
    desk.tick(4)
    desk.queue = desk.new_queue()
    assert (desk.queue.turn, desk.queue.said, desk.queue.backlog()) == (1, 1_600, 960)
    utterance = desk.queue.say(tone(320))
    desk.tick(7)
    assert utterance.heard_samples == 160
    desk.queue.new_turn(desk.now_ns)
    desk.tick(1)
    assert utterance.heard_samples == 160 and utterance.was_interrupted


def test_random_interruptions_are_exact_against_the_wire():
    random = np.random.default_rng(4)
    desk = Desk()
    utterances = []
    for n in range(300):
        pcm = np.full(int(random.integers(1, 3_000)), n + 1, np.int16)
        utterances.append(desk.queue.say(pcm))
        desk.tick(int(random.integers(0, 12)))
        if random.random() < 0.7:
            desk.queue.new_turn(desk.now_ns)
    desk.queue.new_turn(desk.now_ns)
    desk.tick(2)
    wire = desk.line.heard()
    for n, utterance in enumerate(utterances):
        assert utterance.is_done and utterance.heard_samples == np.count_nonzero(wire == n + 1)
    assert desk.line.turns == sorted(desk.line.turns), "never a frame of an old turn after a new one began"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b"\x01\x00\xff\xff", [1, -1]),
        (np.array([5, -5], np.int16), [5, -5]),
        (np.array([0.5, -1.0, 2.0, np.nan]), [16384, -32768, 32767, 0]),
        (np.array([0.25], np.float32), [8192]),
    ],
)
def test_audio_comes_as_bytes_int16_or_floats(given, expected):
    assert as_pcm16(given).tolist() == expected


@pytest.mark.parametrize(
    ("given", "why"), [(b"123", "odd byte"), (np.zeros((2, 2), np.int16), "one channel"), (np.zeros(3, np.int32), "int32")]
)
def test_other_audio_is_refused_with_the_remedy(given, why):
    with pytest.raises(ValueError, match=why):
        as_pcm16(given)


# ---- keys -------------------------------------------------------------------------------------------------


def test_keys_go_out_between_what_is_said_before_and_after():
    desk = Desk()
    desk.queue.say(tone(160))
    press = desk.queue.press(as_frames("12", 40, 40, 8_000))
    desk.queue.say(tone(160))
    assert desk.queue.is_pressing and press.turn == 0
    keys = desk.rings.from_ai[1]["key"][:10].tolist()
    assert keys == [0, ord("1"), ord("1"), KEY_GAP, KEY_GAP, ord("2"), ord("2"), KEY_GAP, KEY_GAP, 0]
    desk.tick(8)
    assert not press.is_done
    desk.tick(1)
    assert press.is_done and not press.was_interrupted and not desk.queue.is_pressing


def test_more_keys_than_the_ring_holds_wait_as_speech_does():
    desk = Desk()
    press = desk.queue.press(as_frames("1234567890" * 6, 100, 60, 8_000))
    utterance = desk.queue.say(tone(320))
    desk.tick(60 * 8)
    assert press.is_done and not press.was_interrupted and not utterance.is_done
    desk.tick(2)
    assert utterance.heard_samples == 320


def test_keys_amid_a_stream_leave_it_open_and_are_no_part_of_what_is_heard_of_it():
    desk = Desk()
    stream = desk.queue.stream(8_000, 1_000)
    stream.write_nowait(tone(200))
    press = desk.queue.press(as_frames("1", 40, 40, 8_000))
    stream.write_nowait(tone(280, first=201))
    for expected in (160, 160, 160, 160, 160, 320, 480):
        desk.tick()
        assert stream.heard_samples == expected
    stream.end()
    desk.tick()
    assert press.is_done and stream.heard_samples == 480 and not stream.was_interrupted
    wire = desk.line.heard()
    assert np.array_equal(np.concatenate((wire[:160], wire[800:])), tone(480))


def test_a_new_turn_cuts_keys():
    desk = Desk()
    press = desk.queue.press(as_frames("1", 100, 60, 8_000))
    desk.tick(2)
    desk.queue.new_turn(desk.now_ns)
    assert not desk.queue.is_pressing
    desk.tick(2)
    assert press.is_done and press.was_interrupted


def test_keys_in_a_call_that_is_over_are_cut_at_once():
    desk = Desk()
    desk.queue.close()
    press = desk.queue.press(as_frames("1", 100, 60, 8_000))
    assert press.is_done and press.was_interrupted


def test_keys_are_awaited():
    async def scenario() -> bool:
        desk = Desk()
        press = desk.queue.press(as_frames("1", 40, 40, 8_000))
        desk.tick(4)
        return await press

    assert asyncio.run(scenario())
