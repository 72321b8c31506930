import numpy as np

from ai_bridge.call import Call
from ai_bridge.intake import BRIEF_FRAME, Intake
from ai_bridge.speech import SpeechQueue
from control_plane.messages import StartAgent
from shm.layout import DISCONTINUITY_FLAG
from tests.ai_bridge.line import Line, make_rings, tone


def make(calls: int) -> tuple[Intake, list[Line], list[Call]]:
    rings = make_rings(calls)
    lines = [Line(rings, row, generation=7 + row) for row in range(calls)]
    made = []
    for line in lines:
        start = StartAgent(call_id=str(line.row), row=line.row, generation=line.generation, sample_rate_hz=8_000, agent="echo")
        speech = SpeechQueue(rings, line.row, line.generation, np.zeros(calls, np.int64), lambda queue: None, lambda awaited: None)
        made.append(Call(start, speech, 8_000, lambda message: None))
    return Intake(rings, seats=2, limit=8), lines, made


def test_frames_name_the_seat_of_their_call():
    intake, lines, calls = make(3)
    seats = [intake.add(call) for call in calls]
    assert seats == [0, 1, 2] and intake.collect(most=4) == 0
    lines[2].caller_says(tone(320, 500))
    lines[0].caller_says(tone(160, 100))
    assert intake.collect(most=1) == 2
    assert intake.frames["sequence"][:2].tolist() == [0, 2] and intake.pcm[:2, 0].tolist() == [100, 500]
    assert intake.collect(most=1) == 1 and intake.frames[:1].view(BRIEF_FRAME).tolist()[0][:3:2] == (2, 160)


def test_a_seat_that_was_left_is_silent_and_given_again():
    intake, lines, calls = make(2)
    for call in calls:
        intake.add(call)
    intake.remove(0)
    lines[0].caller_says(tone(160))
    assert intake.collect(most=4) == 0
    assert intake.add(calls[0]) == 0 and intake.collect(most=4) == 1


def test_what_was_overwritten_is_counted_for_its_call_and_flagged_once():
    intake, lines, calls = make(2)
    for call in calls:
        intake.add(call)
    lines[1].caller_says(tone(160 * 300))
    assert intake.collect(most=1) == 1
    frames = intake.frames[:1]
    intake.flag_lost(frames)
    assert frames["flags"][0] & DISCONTINUITY_FLAG and intake.take_lost(1) == 0
    assert intake.collect(most=1) == 1 and not intake.frames["flags"][0] & DISCONTINUITY_FLAG


def test_no_more_is_taken_than_there_is_room_for():
    intake, lines, calls = make(2)
    for call, line in zip(calls, lines, strict=True):
        intake.add(call)
        line.caller_says(tone(160 * 6))
    assert [intake.collect(most=16) for _ in range(3)] == [8, 4, 0]
