"""Time and frames are arguments: what is done to the agent's speech, frame by frame."""

import pytest

from ai_bridge.barge_in import FLUSH, MS, OFF, TRANSITIONS, BargeIn, Cause, Interruption, State, from_arguments
from control_plane.errors import ConfigurationError


class Said:
    """The agent's speech, as a list of what was done to it."""

    def __init__(self) -> None:
        self.can_be_interrupted = True
        self.done: list[str] = []

    def drop_rest(self) -> None:
        self.done.append("dropped")
        self.can_be_interrupted = False

    def duck(self, lowered_db: int) -> None:
        self.done.append(f"lowered {lowered_db}")

    def set_paused(self, is_paused: bool) -> None:
        self.done.append("paused" if is_paused else "resumed")


class Scene:
    """Frames by letter: v has sound, p is a pause within speech, . is silence."""

    def __init__(self, settings: Interruption) -> None:
        self.said, self.settings, self.frame = Said(), settings, 0
        self.barge_in = BargeIn(self.said)
        self.asked_at: list[int] = []

    def hear(self, frames: str) -> list[str]:
        for letter in frames:
            self.frame += 1
            if self.barge_in.hear(letter != ".", 20 * (letter == "v"), self.frame * 20 * MS, self.settings):
                self.asked_at.append(self.frame)
        return self.said.done


def test_off_does_nothing() -> None:
    assert Scene(OFF).hear("...vvvvvv...") == []


def test_flush_acts_at_the_first_frame_and_once_a_talk_spurt() -> None:
    scene = Scene(FLUSH)
    assert scene.hear("..v") == ["dropped"]
    scene.said.can_be_interrupted = True  # the agent says more while he still speaks
    assert scene.hear("vvvpppvv") == ["dropped"]
    assert scene.hear("...v") == ["dropped", "dropped"] and scene.asked_at == []


@pytest.mark.parametrize(("frames", "is_cut"), [("vvvv....", False), ("vvvvpppp...", False), ("vvvvppv", True), ("vvvvv", True)])
def test_a_minimum_of_speech_counts_sound_and_not_the_pauses(frames: str, is_cut: bool) -> None:
    assert Scene(Interruption("flush", min_speech_ms=100)).hear(frames) == (["dropped"] if is_cut else [])


def test_sound_of_two_talk_spurts_does_not_add_up() -> None:
    assert Scene(Interruption("flush", min_speech_ms=100)).hear("vvvv...vvvv...") == []


def test_who_began_before_the_agent_did_not_interrupt() -> None:
    scene = Scene(FLUSH)
    scene.said.can_be_interrupted = False
    scene.hear(".v")
    scene.said.can_be_interrupted = True
    assert scene.hear("vvvv") == []


def test_duck_lowers_and_is_taken_back_when_the_caller_stops_early() -> None:
    scene = Scene(Interruption("duck", duck_db=12, decide_ms=200))
    assert scene.hear(".v") == ["lowered 12"] and scene.asked_at == [2]
    assert scene.hear("vvvpp") == ["lowered 12"]
    assert scene.hear(".") == ["lowered 12", "lowered 0"]
    assert scene.hear(".....") == ["lowered 12", "lowered 0"]


def test_duck_drops_the_rest_when_the_caller_goes_on() -> None:
    assert Scene(Interruption("duck", decide_ms=200)).hear("." + 10 * "v") == ["lowered 15"]
    assert Scene(Interruption("duck", decide_ms=200)).hear("." + 11 * "v") == ["lowered 15", "dropped", "lowered 0"]


def test_duck_may_stay_soft_for_as_long_as_the_caller_speaks() -> None:
    scene = Scene(Interruption("duck", decide_ms=200, undecided="resume"))
    assert scene.hear(50 * "v") == ["lowered 15"] and scene.hear(".") == ["lowered 15", "lowered 0"]


@pytest.mark.parametrize("undecided", ["flush", "resume"])
def test_pause_waits_for_the_agent_and_then_decides_itself(undecided: str) -> None:
    scene = Scene(Interruption("pause", min_speech_ms=40, decide_ms=100, undecided=undecided))  # type: ignore[arg-type]
    assert scene.hear(".vv") == ["paused"] and scene.asked_at == [3]
    assert scene.hear("v...") == ["paused"], "silence decides nothing: what was said may have been yes"
    assert scene.hear(".") == ["paused", *(["dropped"] if undecided == "flush" else []), "resumed"]


def test_what_the_agent_decides_stands() -> None:
    scene = Scene(Interruption("pause", decide_ms=100))
    scene.hear("vv")
    scene.barge_in.decide()
    assert scene.hear(10 * "v") == ["paused", "resumed"] and scene.barge_in.state is State.IDLE


def test_the_agent_may_change_its_mind_between_talk_spurts_not_within_one() -> None:
    scene = Scene(Interruption("duck", decide_ms=10_000))
    scene.hear("vv")
    scene.settings = FLUSH
    assert scene.hear("vv.") == ["lowered 15", "lowered 0"]
    assert scene.hear("v") == ["lowered 15", "lowered 0", "dropped"]


def test_no_state_is_left_without_a_way_back() -> None:
    for state in (State.LOWERED, State.PAUSED):
        assert TRANSITIONS[state, Cause.DECIDED][0] is State.IDLE and TRANSITIONS[state, Cause.OVERDUE_FLUSH][0] is State.IDLE


def test_a_route_may_choose() -> None:
    assert from_arguments({"other": "1"}) is None
    found = from_arguments({"interruption": "duck", "interruption_duck_db": "20", "interruption_min_speech_ms": "300", "voice": "x"})
    assert found == Interruption("duck", min_speech_ms=300, duck_db=20)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"interruption": "loud"}, "'loud'.*off, flush, duck, pause"),
        ({"interruption_duck_db": "20"}, "missing"),
        ({"interruption": "duck", "interruption_duck_db": "-1"}, "duck_db is -1, not from 1 to 60"),
        ({"interruption": "duck", "interruption_duck_dB": "3"}, "There are interruption_min_speech_ms"),
        ({"interruption": "pause", "interruption_decide_ms": "soon"}, "decide_ms|int"),
    ],
)
def test_a_route_that_is_wrong_is_told_what_there_is(arguments: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        from_arguments(arguments)
