"""Barge-in: what becomes of the agent's speech when the caller speaks over it, decided here without asking the agent.

    IDLE --flush--> IDLE                    cut off at the next packet
    IDLE --duck---> LOWERED --silent--> IDLE   he stopped early: as loud as before
                            --overdue-> IDLE   he goes on: cut off
    IDLE --pause--> PAUSED --decided--> IDLE   the agent said `resume` or `new_turn`
                           --overdue--> IDLE   it did not: what `undecided` says

Nothing that was lowered or paused is lost before it is cut, and what was heard is counted by the media worker to the sample.
The caller's own frames are the clock: one comes every 20 ms, whatever the network does.
"""

import enum
from typing import Literal, Protocol, get_args

import msgspec

from control_plane.errors import ConfigurationError
from shm.layout import FRAME_MS, MAX_DUCK_DB

Mode = Literal["off", "flush", "duck", "pause"]
MS = 1_000_000


class Interruption(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the caller's voice does to what the agent says. Frozen: put another in its place to change it."""

    mode: Mode = "flush"
    """flush: the rest is dropped. duck: it is lowered, and dropped if he goes on. pause: it waits for the agent to decide."""
    min_speech_ms: int = 0
    """Sound that the caller must have made before anything happens; pauses between words do not count. 0: his first frame. More lets
    "mhm" and coughs pass, and is heard as an agent that talks on for as long."""
    duck_db: int = 15
    """How much softer "duck" is. 6 is half as loud, 15 lets him hear himself, 40 is hardly there."""
    decide_ms: int = 1000
    """"duck" and "pause": speech is held back for so long; then what `undecided` says is done."""
    undecided: Literal["flush", "resume"] = "flush"
    """What is done then. "duck" with "resume" stays soft until the caller is silent."""

    def __post_init__(self) -> None:
        for name, low, high in (("min_speech_ms", 0, 10_000), ("duck_db", 1, MAX_DUCK_DB), ("decide_ms", FRAME_MS, 60_000)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}, not from {low} to {high}")


OFF, FLUSH = Interruption("off"), Interruption("flush")
ARGUMENT = "interruption"


def from_arguments(arguments: dict[str, str]) -> Interruption | None:
    """What a route says: `interruption = "duck"`, `interruption_duck_db = "20"`. None: nothing. Raises ConfigurationError."""
    given = {name.removeprefix(f"{ARGUMENT}_"): value for name, value in arguments.items() if name.startswith(f"{ARGUMENT}_")}
    if ARGUMENT in arguments:
        given["mode"] = arguments[ARGUMENT]
    if not given:
        return None
    if "mode" not in given or given["mode"] not in get_args(Mode):
        what = repr(given["mode"]) if "mode" in given else "missing"
        raise ConfigurationError(f"the route's arguments: {ARGUMENT} is {what}: give one of {', '.join(get_args(Mode))}")
    try:
        return msgspec.convert(given, Interruption, strict=False)
    except msgspec.ValidationError as failure:
        names = ", ".join(f"{ARGUMENT}_{name}" for name in Interruption.__struct_fields__[1:])
        raise ConfigurationError(f"the route's arguments: {ARGUMENT}: {failure}. There are {names}".replace("$.", "")) from None


class Speech(Protocol):
    """What is being said, and what may be done to it (ai_bridge/call.py)."""

    @property
    def can_be_interrupted(self) -> bool: ...
    def drop_rest(self) -> None: ...
    def duck(self, lowered_db: int) -> None: ...
    def set_paused(self, is_paused: bool) -> None: ...


class State(enum.Enum):
    IDLE, LOWERED, PAUSED = range(3)


class Cause(enum.Enum):
    FLUSH, DUCK, PAUSE, SILENT, OVERDUE_FLUSH, OVERDUE_RESUME, DECIDED = range(7)


def flush(speech: Speech, settings: Interruption) -> None:
    speech.drop_rest()


def lower(speech: Speech, settings: Interruption) -> None:
    speech.duck(settings.duck_db)


def restore(speech: Speech, settings: Interruption) -> None:
    speech.duck(0)


def pause(speech: Speech, settings: Interruption) -> None:
    speech.set_paused(True)


def resume(speech: Speech, settings: Interruption) -> None:
    speech.set_paused(False)


IDLE, LOWERED, PAUSED = State
TRANSITIONS = {  # a pair that is absent changes nothing
    (IDLE, Cause.FLUSH): (IDLE, (flush,)),
    (IDLE, Cause.DUCK): (LOWERED, (lower,)),
    (IDLE, Cause.PAUSE): (PAUSED, (pause,)),
    (LOWERED, Cause.SILENT): (IDLE, (restore,)),
    (LOWERED, Cause.OVERDUE_FLUSH): (IDLE, (flush, restore)),
    (LOWERED, Cause.DECIDED): (IDLE, (restore,)),
    (PAUSED, Cause.OVERDUE_FLUSH): (IDLE, (flush, resume)),
    (PAUSED, Cause.OVERDUE_RESUME): (IDLE, (resume,)),
    (PAUSED, Cause.DECIDED): (IDLE, (resume,)),
}
ACTS = {"flush": Cause.FLUSH, "duck": Cause.DUCK, "pause": Cause.PAUSE}
OVERDUE = {"flush": Cause.OVERDUE_FLUSH, "resume": Cause.OVERDUE_RESUME}


class BargeIn:
    """For one call. Give it what comes of the caller: whether he speaks, how much sound came with it, and when that was."""

    def __init__(self, speech: Speech) -> None:
        self.speech, self.settings = speech, OFF
        self.state = State.IDLE
        self._spoken_ms: int | None = None  # of a talk-spurt that began over the agent's speech, until something was done about it
        self._was_speech = False
        self._since_ns = 0

    def hear(self, is_speech: bool, voiced_ms: int, now_ns: int, settings: Interruption) -> bool:
        """True: speech is lowered or paused from here on, and the agent may decide. `settings` count where a talk-spurt begins."""
        began, self._was_speech = is_speech and not self._was_speech, is_speech
        if began and self.state is State.IDLE:
            self.settings = settings
            self._spoken_ms = 0 if settings.mode != "off" and self.speech.can_be_interrupted else None
        if not is_speech:
            self._spoken_ms = None
            self.step(Cause.SILENT)
        if self.state is not State.IDLE and now_ns - self._since_ns >= self.settings.decide_ms * MS:
            self.step(OVERDUE[self.settings.undecided])
        if self._spoken_ms is None or not (voiced_ms or began):
            return False
        self._spoken_ms += voiced_ms or FRAME_MS
        if self._spoken_ms < self.settings.min_speech_ms or not self.speech.can_be_interrupted:
            return False
        self._spoken_ms, self._since_ns = None, now_ns
        self.step(ACTS[self.settings.mode])
        return self.state is not State.IDLE

    def decide(self) -> None:
        """The agent resumed, began a new turn, or paused by itself."""
        self.step(Cause.DECIDED)

    def step(self, cause: Cause) -> None:
        if (self.state, cause) in TRANSITIONS:
            self.state, actions = TRANSITIONS[self.state, cause]
            for action in actions:
                action(self.speech, self.settings)
