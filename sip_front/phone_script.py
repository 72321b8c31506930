"""What the scripted phone does, one step after the other. A kind of step is a struct and a row of STEPS.

A script is a JSON list: [{"do": "wait_quiet"}, {"do": "say", "wav": "hours.wav"}, {"do": "press", "key": "2"}, {"do": "hang_up"}].
"""

import json
from collections.abc import Callable
from typing import Any

import msgspec

from control_plane.errors import ConfigurationError
from sip_front.phone_line import KEYS, Line, Pcm

SETTLED_NS = 100_000_000  # so much silence makes an interruption one


class Step(msgspec.Struct, frozen=True, tag_field="do", forbid_unknown_fields=True):
    pass


class WaitSpeech(Step, frozen=True, tag="wait_speech"):
    """Until the far end speaks."""

    within_ms: int = 15_000


class WaitQuiet(Step, frozen=True, tag="wait_quiet"):
    """Until the far end has spoken, and then been quiet for so long."""

    quiet_ms: int = 800
    within_ms: int = 30_000


class Wait(Step, frozen=True, tag="wait"):
    ms: int
    within_ms: int = 3_600_000


class Say(Step, frozen=True, tag="say"):
    """`wav`: 16 bits, one channel, 8 kHz. `text` is for those who watch."""

    wav: str
    text: str = ""
    within_ms: int = 60_000


class Interrupt(Step, frozen=True, tag="interrupt"):
    """Say it while the far end speaks: once it has for `after_ms`. Done when it has fallen silent, and that is timed."""

    wav: str
    text: str = ""
    after_ms: int = 1_000
    within_ms: int = 20_000


class Press(Step, frozen=True, tag="press"):
    key: str
    within_ms: int = 5_000


class HangUp(Step, frozen=True, tag="hang_up"):
    within_ms: int = 40_000


class WaitEnd(Step, frozen=True, tag="wait_end"):
    """Until the far end hangs up."""

    within_ms: int = 20_000


AnyStep = WaitSpeech | WaitQuiet | Wait | Say | Interrupt | Press | HangUp | WaitEnd


def parse(text: str) -> tuple[AnyStep, ...]:
    """Raises ConfigurationError with the place."""
    try:
        steps = msgspec.convert(json.loads(text), tuple[AnyStep, ...])
    except (ValueError, msgspec.ValidationError) as failure:
        raise ConfigurationError(f"the script: {failure}") from failure
    for number, step in enumerate(steps):
        if isinstance(step, Press) and (len(step.key) != 1 or step.key not in KEYS):
            raise ConfigurationError(f"the script, step {number}: {step.key!r} is not one of the keys {KEYS}")
    return steps


def recordings(steps: tuple[AnyStep, ...]) -> list[str]:
    """The files that the steps name."""
    return [step.wav for step in steps if isinstance(step, Say | Interrupt)]


class Progress:
    """Where a call is in its script. `poll` it; what happened comes out of `events`."""

    def __init__(self, steps: tuple[AnyStep, ...], speech: dict[str, Pcm], hang_up: Callable[[int], None]) -> None:
        """`speech` has the PCM, 8 kHz, for each `wav` of the steps."""
        self.steps, self.speech, self.hang_up = steps, speech, hang_up
        self.number = -1
        self.began_ns = 0
        self.is_done = not steps
        self.failure = ""
        self.events: list[dict[str, Any]] = []
        self.has_interrupted = False

    @property
    def step(self) -> AnyStep:
        return self.steps[self.number]

    def poll(self, line: Line, now_ns: int, *, has_ended: bool) -> None:
        """Go on as far as can be gone. `has_ended`: the call is over, whoever ended it."""
        if self.number < 0 and not self.is_done:
            self._begin(0, line, now_ns)
        while not self.is_done and not self.failure:
            if STEPS[type(self.step)][1](self, self.step, line, now_ns, has_ended):
                self._begin(self.number + 1, line, now_ns)
            elif has_ended:
                self.failure = f"the call ended during step {self.number} ({self._name()})"
            elif now_ns - self.began_ns > self.step.within_ms * 1_000_000:
                self.failure = f"step {self.number} ({self._name()}) did not come to its end within {self.step.within_ms} ms"
            else:
                return

    def _begin(self, number: int, line: Line, now_ns: int) -> None:
        self.number, self.began_ns, self.has_interrupted = number, now_ns, False
        if number >= len(self.steps):
            self.is_done = True
            return
        self.events.append({"event": "step", "at_ns": now_ns, "number": number, **msgspec.to_builtins(self.step)})
        STEPS[type(self.step)][0](self, self.step, line, now_ns)

    def _name(self) -> str:
        return str(type(self.step).__struct_config__.tag)

    def interrupt(self, step: Interrupt, line: Line, now_ns: int) -> bool:
        """Both phases: wait until the far end has been speaking, then speak until it is silent."""
        theirs = line.theirs
        if not self.has_interrupted:
            is_speaking = bool(theirs.began_ns) and not theirs.quiet_since_ns
            if is_speaking and now_ns - max(theirs.began_ns, self.began_ns) >= step.after_ms * 1_000_000:
                line.say(self.speech[step.wav])
                self.has_interrupted = True
            return False
        if line.is_busy or not line.onset_ns or theirs.silent_ns(now_ns) < SETTLED_NS:
            return False
        # the silence that stayed: a pause between two words, before it, does not count
        silence_ns = max(0, theirs.silent_since_ns - line.onset_ns)
        self.events.append(
            {
                "event": "interruption",
                "at_ns": line.onset_ns,
                "silent_ns": theirs.silent_since_ns,
                "to_silence_ms": round(silence_ns / 1e6, 2),
                "text": step.text,
            }
        )
        return True


Begin = Callable[[Progress, Any, Line, int], object]
IsDone = Callable[[Progress, Any, Line, int, bool], bool]


def _nothing(_run: Progress, _step: Any, _line: Line, _now_ns: int) -> None:
    return None


def _has_spoken(run: Progress, line: Line) -> bool:
    """During this step, or when it began. A spurt that ended before has been waited for already."""
    return bool(line.theirs.began_ns) or bool(line.theirs.spurts and line.theirs.spurts[-1].ended_ns > run.began_ns)


STEPS: dict[type[Step], tuple[Begin, IsDone]] = {
    # kind        when it begins, and whether it is done
    WaitSpeech: (_nothing, lambda run, step, line, now_ns, ended: bool(line.theirs.began_ns)),
    WaitQuiet: (
        _nothing,
        lambda run, step, line, now_ns, ended: _has_spoken(run, line) and line.theirs.quiet_ns(now_ns) >= step.quiet_ms * 1_000_000,
    ),
    Wait: (_nothing, lambda run, step, line, now_ns, ended: now_ns - run.began_ns >= step.ms * 1_000_000),
    Say: (lambda run, step, line, now_ns: line.say(run.speech[step.wav]), lambda run, step, line, now_ns, ended: not line.is_busy),
    Interrupt: (_nothing, lambda run, step, line, now_ns, ended: run.interrupt(step, line, now_ns)),
    Press: (lambda run, step, line, now_ns: line.press(step.key), lambda run, step, line, now_ns, ended: not line.is_busy),
    HangUp: (lambda run, step, line, now_ns: run.hang_up(now_ns), lambda run, step, line, now_ns, ended: ended),
    WaitEnd: (_nothing, lambda run, step, line, now_ns, ended: ended),
}
