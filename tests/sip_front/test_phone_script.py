import json
from typing import Any

import numpy as np
import pytest

from control_plane.errors import ConfigurationError
from sip_front.phone_line import PTIME_NS, Line
from sip_front.phone_script import STEPS, AnyStep, Progress, Step, parse, recordings
from tests.sip_front.test_phone_line import LOUD, QUIET, make_line, packet

MS = 1_000_000


class Play:
    """A script, a line, and a far end that is loud in some of the frames."""

    def __init__(self, *steps: dict[str, Any]) -> None:
        self.line: Line = make_line()
        self.hung_up = False
        self.progress = Progress(parse(json.dumps(steps)), {"a.wav": np.tile(LOUD, 10)}, self.hang_up)
        self.number = 0

    def hang_up(self, now_ns: int) -> None:
        self.hung_up = True

    def run(self, frames: int, *, loud: bool = False) -> None:
        for _ in range(frames):
            now_ns = self.number * PTIME_NS
            self.line.poll(now_ns)
            self.line.receive(packet(self.number, LOUD if loud else QUIET), now_ns)
            self.progress.poll(self.line, now_ns, has_ended=self.hung_up)
            self.number += 1

    def done(self) -> list[str]:
        return [event["do"] for event in self.progress.events if event["event"] == "step"]


def test_every_kind_of_step_has_its_row() -> None:
    assert set(STEPS) == set(Step.__subclasses__()) == set(AnyStep.__args__)


def test_a_whole_script() -> None:
    play = Play(
        {"do": "wait_speech"}, {"do": "wait_quiet", "quiet_ms": 200}, {"do": "say", "wav": "a.wav"}, {"do": "wait", "ms": 100},
        {"do": "press", "key": "5"}, {"do": "hang_up"},
    )  # fmt: skip
    play.run(10)
    assert play.done() == ["wait_speech"]
    play.run(10, loud=True)
    play.run(8)
    assert play.done() == ["wait_speech", "wait_quiet"]
    play.run(4)
    assert play.done()[-1] == "say" and play.line.is_busy
    play.run(40)
    assert play.hung_up and play.progress.is_done and not play.progress.failure
    assert [key for _, key in play.line.keys] == ["5"]


def test_an_interruption_is_timed_from_our_first_loud_packet_to_the_silence_that_stays() -> None:
    play = Play({"do": "interrupt", "wav": "a.wav", "text": "stop", "after_ms": 200})
    play.run(5)
    play.run(20, loud=True)
    onset_ns = play.line.onset_ns
    assert onset_ns
    play.run(1)  # a gap between two words is not yet silence
    play.run(3, loud=True)
    play.run(2)
    assert not play.progress.is_done
    silent_ns = (play.number - 2) * PTIME_NS
    play.run(12)
    assert play.progress.is_done
    (event,) = [event for event in play.progress.events if event["event"] == "interruption"]
    assert (event["at_ns"], event["silent_ns"]) == (onset_ns, silent_ns)
    assert event["to_silence_ms"] == (silent_ns - onset_ns) / MS


def test_a_step_that_does_not_come_about_fails_with_its_name() -> None:
    play = Play({"do": "wait", "ms": 20}, {"do": "wait_speech", "within_ms": 500})
    play.run(40)
    assert play.progress.failure == "step 1 (wait_speech) did not come to its end within 500 ms"


def test_a_call_that_ends_early_fails_the_step_that_it_ended_in() -> None:
    play = Play({"do": "wait_speech"})
    play.run(3)
    play.hung_up = True
    play.run(1)
    assert play.progress.failure == "the call ended during step 0 (wait_speech)"


def test_quiet_that_was_there_before_the_far_end_spoke_does_not_count() -> None:
    play = Play({"do": "wait_quiet", "quiet_ms": 100})
    play.run(50)
    assert not play.progress.is_done


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "script"),
        ("{}", "Expected `array`"),
        ('[{"do": "dance"}]', "dance"),
        ('[{"do": "wait"}]', "ms"),
        ('[{"do": "wait", "ms": 1, "seconds": 2}]', "seconds"),
        ('[{"do": "press", "key": "x"}]', "step 0: 'x' is not one of the keys"),
    ],
)
def test_a_bad_script_is_refused_with_the_place(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        parse(text)


def test_the_files_of_a_script() -> None:
    steps = parse('[{"do": "say", "wav": "a.wav"}, {"do": "wait", "ms": 1}, {"do": "interrupt", "wav": "b.wav"}]')
    assert recordings(steps) == ["a.wav", "b.wav"]
