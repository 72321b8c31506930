"""What an agent's author subclasses: `Agent` for one call, `BatchAgent` for all calls at once."""

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from ai_bridge.awaited import Utterance
from ai_bridge.barge_in import Interruption
from ai_bridge.call import Answer, Call
from ai_bridge.frame import Frame, Pcm
from ai_bridge.kernels import say_batch
from ai_bridge.quality import Quality
from shm.layout import TURN, Rings


class Agent:
    """One instance for each call. Write the handlers that you need, with `async def` or plain `def`.

    A call's handlers run one at a time, in the order of what happened on the line. One that awaits for long holds up
    the events behind it: give long work to `call.spawn`. Audio that waits longer than `backlog_ms` is dropped, oldest
    first, and the next frame says how much (`frame.lost`). A handler that raises ends its own call, no other.
    """

    sample_rate_hz: ClassVar[int] = 0
    """Ask for frames at this rate, a multiple of 50. 0: the codec's own, which costs nothing."""
    voice_activity: ClassVar[Literal["energy", "silero"]] = "energy"
    """Who says that the caller speaks. energy: the media worker, by loudness over the line's noise; it costs nothing. silero: a network
    that knows voices from noise, for about 0.1 ms of this process for each 32 ms of a call; the extra `vad`."""
    echo_guard: ClassVar[bool] = False
    """Callers may use a speakerphone that returns what the agent says: the media worker learns the way and takes it out, so that the agent
    does not interrupt itself, nor hear itself. Costs the worker some 50 us for each 20 ms that the agent speaks. At 8 and 16 kHz."""
    interrupt_on_speech: bool = False
    """Barge-in: as soon as the caller speaks over the agent, drop what was not heard yet. No handler is waited for.

    Of the class, or of one call: `self.interrupt_on_speech = True`, at any time.
    """
    interruption: Interruption | None = None
    """The same with a choice: `Interruption("duck")` lowers the agent's voice first, `Interruption("pause")` lets it wait for the agent's
    decision, and either may want some speech before anything is done. Of the class, of one call, of a route (`arguments`), or
    `call.interruption = ...` at any time, which goes before all others.
    """
    interrupt_on_key: bool = False
    """The same when the caller presses a key."""
    backlog_ms: ClassVar[int] = 5000
    dead_air_ms: int = 5000
    """`on_dead_air` comes when nobody has spoken for so long, and again after as long."""

    call: Call
    """Set before the first handler runs, not yet in `__init__`."""

    def on_start(self, call: Call) -> Answer:
        """The agent has the call. `call.resumed`: another process had it before."""

    def on_answered(self) -> Answer:
        """The far end has answered a call of ours that the agent hears since its early media (`call.is_early` until now)."""

    def on_audio(self, frame: Frame) -> Answer:
        """20 ms of the caller."""

    def on_dtmf(self, key: str) -> Answer:
        """The caller pressed a key: 0-9, *, #, A-D."""

    def on_speech_started(self) -> Answer:
        """The caller began to speak. Comes before the frame it was found in."""

    def on_speech_stopped(self) -> Answer:
        """The caller has been silent for a while."""

    def on_barge_in(self) -> Answer:
        """The caller speaks over the agent, whose speech was lowered or paused (`interruption`): `call.resume()` takes that back,
        `call.new_turn()` drops the rest. Without either the bridge decides after `decide_ms`."""

    def on_interrupted(self, utterance: Utterance) -> Answer:
        """This was cut off by a new turn. `utterance.heard_ms` is what the caller got of it."""

    def on_mark(self, name: str) -> Answer:
        """Everything said before `call.mark(name)` was heard."""

    def on_drained(self) -> Answer:
        """Everything said is on the wire: the line falls silent now."""

    def on_hold(self, is_held: bool) -> Answer:
        """The far end put us on hold, or took us back. While it lasts nothing that is said is sent: it waits."""

    def on_room(self, room: str) -> Answer:
        """The call is with others now, or its part there has changed: `call.role`, `call.agent_role`. Empty: the caller is ours again."""

    def on_dead_air(self) -> Answer:
        """For `dead_air_ms` neither the caller nor the agent has said anything."""

    def on_quality(self, quality: Quality) -> Answer:
        """How the line is, every five seconds on average while the caller is heard."""

    def on_end(self, cause: str) -> Answer:
        """The call is over. Last of all handlers."""


class BatchAgent:
    """One instance for all calls of its process: a tick of many calls is one array, no Python loop.

    Keep what you know of each call in arrays, at `call.index`: it is the call's own until `on_end`, then given anew.
    """

    echo_guard: ClassVar[bool] = False
    """As an Agent's."""
    gather_ms: ClassVar[float] = 20.0
    """Hand over at most one array in this time. 20: about one frame of every call. 0: whatever is there, at once."""

    interrupt_on_speech: bool = False
    """As an Agent's, and so is `interruption`; a route or `call.interruption` may say otherwise for one call. The line's energy decides."""
    interruption: Interruption | None = None

    calls: list[Call | None]
    """By `call.index`; None where there is none."""

    def on_start(self, call: Call) -> Answer:
        """A call more. Its frames come after this has returned."""

    def on_end(self, call: Call, cause: str) -> Answer:
        """A call less."""

    def on_dtmf(self, call: Call, key: str) -> Answer:
        """A caller pressed a key."""

    def on_hold(self, call: Call, is_held: bool) -> Answer:
        """A far end put us on hold, or took us back."""

    def on_room(self, call: Call, room: str) -> Answer:
        """A call is with others now, or has come back."""

    def on_barge_in(self, call: Call) -> Answer:
        """As an Agent's: the caller speaks over what is said, which was lowered or paused."""

    def on_interrupted(self, call: Call, utterance: Utterance) -> Answer:
        """As an Agent's, of what was said with `call.say`."""

    def on_batch(self, indexes: npt.NDArray[np.int64], frames: npt.NDArray[np.void], samples: Pcm) -> Answer:
        """A frame each of many calls.

        indexes (n,), each call at most once: `self.level[indexes] = ...` is safe. frames (n,) shm.layout.FRAME with
        position, captured_ns, flags, level_dbov. samples (n, samples of a frame) int16, zeros behind a shorter frame.
        All three are reused afterwards: copy what you keep.
        """

    def say_batch(
        self, indexes: npt.NDArray[np.int64], samples: Pcm, turns: npt.NDArray[np.int64] | None = None
    ) -> npt.NDArray[np.bool_]:
        """Say one frame in each of these calls, in one compiled call. (n,): False where the ring is full or the call over.

        `samples` (n, samples of a frame) int16 at the calls' own rate. `turns` (n,): the `call.turn` in which each call's speech began:
        what belongs to a turn that is over, because the caller interrupted, is not said (False). Do not mix with an unfinished `call.say`.
        """
        was_taken = np.zeros(len(indexes), np.bool_)
        pcm = np.ascontiguousarray(samples, np.int16)
        wanted = np.ascontiguousarray(indexes, np.int64)
        if turns is None:
            say_batch(self._rings, self._rows, self._generations, wanted, self._said, pcm, was_taken)
            return was_taken
        is_current = self._rings.words[self._rows[wanted], TURN] == np.asarray(turns)  # turns are raised in this thread only
        taken = np.zeros(np.count_nonzero(is_current), np.bool_)
        say_batch(self._rings, self._rows, self._generations, wanted[is_current], self._said, pcm[is_current], taken)
        was_taken[is_current] = taken
        return was_taken

    _rings: Rings
    _rows: npt.NDArray[np.int64]
    _generations: npt.NDArray[np.int64]
    _said: npt.NDArray[np.int64]
