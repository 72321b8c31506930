"""A call, as its agent holds it: who calls, and everything one may do to it."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
import numpy.typing as npt

from ai_bridge.at_work import AtWork
from ai_bridge.awaited import Mark, Press, Utterance
from ai_bridge.barge_in import BargeIn, Interruption, from_arguments
from ai_bridge.frame import Pcm
from ai_bridge.headers import Headers
from ai_bridge.keys import as_frames
from ai_bridge.resample import resample
from ai_bridge.speech import SpeechQueue, SpeechStream, as_pcm16
from control_plane.messages import (
    AgentRole,
    AnswerCall,
    ConnectCall,
    ConnectEnded,
    EnterRoom,
    Failed,
    HangUp,
    HoldCall,
    HoldEnded,
    JoinCalls,
    LeaveRoom,
    Meanwhile,
    Message,
    Noted,
    Party,
    RecordCall,
    Recording,
    Role,
    RoomChanged,
    StartAgent,
    Transfer,
    TransferEnded,
)
from shm import ring
from shm.layout import DUCK_DB, ECHO_GUARD, FRAME_MS, MAX_DUCK_DB, PAUSED


class Listener(Protocol):
    """Whoever takes a call's events in order: a task for one call, or for all calls of a batch agent."""

    def post(self, call: "Call", handler: str, *values: object) -> None: ...


class Outcome(NamedTuple):
    """Of a hold or a transfer. True where the far end did it; else the call goes on as it was."""

    was_accepted: bool
    status: int
    """SIP's: 200, 603, ..."""
    why: str
    """In plain words, for the log."""

    def __bool__(self) -> bool:
        return self.was_accepted


class Connection(NamedTuple):
    """Of `connect`. True where somebody answered: the caller speaks with him now. Else the agent has its caller again."""

    was_accepted: bool
    status: int
    """SIP's: 200, 486, ..."""
    why: str
    call_id: str
    """The other call's."""

    def __bool__(self) -> bool:
        return self.was_accepted


class Call:
    """One conversation. Use it from the event loop's thread only."""

    def __init__(self, start: StartAgent, speech: SpeechQueue, sample_rate_hz: int, send: Callable[[Message], object]) -> None:
        self.start = start
        """As the front told it."""
        self.call_id = start.call_id
        self.caller = start.caller
        """Who calls, as the far end says."""
        self.callee = start.callee
        """The number called."""
        self.direction: Literal["inbound", "outbound"] = start.direction
        self.headers = Headers(start.headers)
        """Headers of the INVITE that were passed on, their names in any case."""
        self.arguments = dict(start.arguments)
        """What the route, or whoever dialled, gave this agent."""
        self.resumed = start.resumed
        """The call had an agent before, whose process died: the caller has been talking already."""
        self.sample_rate_hz = sample_rate_hz
        """Of the frames that the agent gets, and of what it says unless it names another rate."""
        self.line_rate_hz = start.sample_rate_hz
        """Of the codec: what heard samples are counted in."""
        self.frame_samples = sample_rate_hz * FRAME_MS // 1000
        self.speech_started_at = self.speech_stopped_at = 0
        """Where the caller last began to speak, and had last spoken: `frame.position`. Exact, however late it was found out."""
        self.is_early = start.is_early
        """It is not answered. Inbound, the caller hears the agent as early media, and pays nothing until `answer`. Outbound, the agent
        hears what rings or is announced, until `on_answered`."""
        self.is_held = False
        """The far end has put us on hold."""
        self.is_holding = False
        """We have put the far end on hold."""
        self.is_paused = False
        """What is said waits for `resume`: `pause` was called, or the caller's voice did it."""
        self.room = ""
        """The room that the call is in, with others; empty: in none, it is the agent's alone."""
        self.role: Role = "talk"
        """The far end's part there."""
        self.agent_role: AgentRole = "talk"
        """Our own. "out": nothing is heard, and what is said waits; keys come all the same."""
        self.has_ended = False
        self.cause = ""
        """Why it ended."""
        self.row, self.generation = start.row, start.generation
        self.index = -1
        """Batch agents: this call's place in every array, for as long as it lasts."""
        self.speech = speech
        speech.call_id = start.call_id
        self.interruption: Interruption | None = from_arguments(self.arguments)
        """What the caller's voice does to the agent's; set it at any time. None: as the agent's class says."""
        self.barge_in = BargeIn(self)
        self.listener: Listener | None = None
        self._send = send
        self._tasks: set[asyncio.Task[Any]] = set()
        self._awaited: dict[str, list[asyncio.Future[Outcome]]] = {}
        self.on_task_failed: Callable[[Call, str, BaseException], None] | None = None
        self.on_hand_over: Callable[[Call, str], None] | None = None

    # ---- speaking ---------------------------------------------------------------------------------------------

    def say(
        self,
        pcm: "Pcm | npt.NDArray[np.floating[Any]] | bytes",
        rate_hz: int | None = None,
        text: str = "",
        word_ends_ms: Sequence[tuple[float, int]] = (),
    ) -> Utterance:
        """Say this, after what is being said. Returns at once; `heard_ms = await call.say(pcm)` waits until it was heard.

        `pcm` is int16 samples, little-endian bytes of them, or floats within -1 to 1, of any length, at `rate_hz` or
        else at `sample_rate_hz`. Raises ValueError for anything else. Speech in chunks belongs into `stream`, which
        leaves no gap between them: an utterance is filled up to whole 20 ms with silence. When a minute of speech waits
        already, it is not said: it resolves at once, as interrupted, with 0 ms heard.

        `text`: what it says, so that `utterance.heard_text` tells what the caller got of it. `word_ends_ms`: (milliseconds from
        its beginning, characters of `text` said by then), as speech synthesis tells them; without, words last as long as they are written.
        """
        samples = as_pcm16(pcm)
        rate_hz = rate_hz or self.sample_rate_hz
        utterance = self.speech.say(resample(samples, rate_hz, self.line_rate_hz) if rate_hz != self.line_rate_hz else samples)
        at, said = 0, 0
        for end_ms, characters in (*word_ends_ms, (utterance.duration_ms, len(text))) if text else ():
            end = round(end_ms * self.line_rate_hz / 1000)
            utterance.texts.append((at, end, text[said:characters]))
            at, said = end, characters
        return utterance

    def stream(self, rate_hz: int | None = None, ahead_ms: int = 1000) -> SpeechStream:
        """Speech that comes in chunks: `async with call.stream() as speech: await speech.write(pcm)`.

        `ahead_ms`: how far writing may run ahead of the caller's ear. Less is less to throw away at an interruption,
        more survives a longer pause of whoever writes. The next `say` or `stream` ends it.
        """
        return self.speech.stream(rate_hz or self.sample_rate_hz, ahead_ms)

    def new_turn(self) -> int:
        """Stop speaking: drops everything that is not on the wire yet, and gives the number of the new turn.

        One store in shared memory. What is said from now on can neither be dropped with the old nor mixed with it.
        Utterances that were cut resolve with the milliseconds heard. A pause of yours is not lifted: `resume` does that.
        """
        turn = self.speech.new_turn(time.monotonic_ns())
        self.barge_in.decide()
        return turn

    def clear(self) -> None:
        """Be silent: `new_turn` for whoever has nothing else to say."""
        self.new_turn()

    def pause(self) -> None:
        """Stop speaking where we are; `resume` goes on there, or with what a new turn says. A successor process resumes."""
        self.barge_in.decide()
        self.set_paused(True)

    def resume(self) -> None:
        """Go on after a pause, or at full loudness: whatever the caller's voice did to our speech is taken back."""
        self.barge_in.decide()
        self.set_paused(False)

    def duck(self, lowered_db: int) -> None:
        """Say what is being said, and what comes, softer by so many decibels (0 to 60), from the next packet on; 0: as it is."""
        if not 0 <= lowered_db <= MAX_DUCK_DB:
            raise ValueError(f"lowered_db is {lowered_db}, not from 0 to {MAX_DUCK_DB}")
        self._store(DUCK_DB, lowered_db)

    def guard_echo(self, is_on: bool = True) -> None:
        """Take our own voice out of what the caller sends, as a speakerphone returns it: it does not interrupt us then. At 8 and 16 kHz."""
        self._store(ECHO_GUARD, int(is_on))

    def drop_rest(self) -> None:
        """`new_turn`, by the caller's voice."""
        self.speech.new_turn(time.monotonic_ns())

    def set_paused(self, is_paused: bool) -> None:
        self.is_paused = is_paused
        self._store(PAUSED, int(is_paused))

    @property
    def can_be_interrupted(self) -> bool:
        """Is something being said that a voice may cut off? Half a number of keys would be another number."""
        return self.is_speaking and not self.is_paused and not self.speech.is_pressing

    def _store(self, word: int, value: int) -> None:
        if self.speech.has_row:
            ring.store_word(self.speech.rings.words, self.row, word, value)

    def mark(self, name: str = "") -> Mark:
        """A mark behind everything said so far. `await` it, or wait for `on_mark(name)`."""
        return self.speech.mark(name)

    def press(self, keys: str, tone_ms: int = 100, gap_ms: int = 60) -> Press:
        """Press these keys (0-9, *, #, A-D; "," waits half a second), after what is being said.

        Returns at once; `await call.press("12#")` waits until they went out: True, or False if a new turn cut them off.
        Times are rounded up to 20 ms. The caller's voice does not cut keys off, whatever `interrupt_on_speech` says.
        Raises ValueError for what is no key, and for times that no receiver would understand.
        """
        return self.speech.press(as_frames(keys, tone_ms, gap_ms, self.line_rate_hz))

    async def drained(self) -> bool:
        """Until everything said so far is on the wire. False: it was interrupted. The last samples of a stream that is open, less than
        20 ms, wait for more of it, and are not waited for."""
        return await self.speech.mark("", with_rest=False)

    @property
    def turn(self) -> int:
        """How often the agent began anew. What is said belongs to the present turn."""
        return self.speech.turn

    @property
    def is_speaking(self) -> bool:
        """Something that the agent said is not on the wire yet."""
        return self.speech.is_speaking

    @property
    def played_ms(self) -> float:
        """What the caller got of the present turn, in milliseconds, exact."""
        return self.speech.played_of(self.speech.turn) * 1000 / self.line_rate_hz

    @property
    def queued_ms(self) -> float:
        """What was said in this turn and is not on the wire yet."""
        return self.speech.backlog() * 1000 / self.line_rate_hz

    # ---- everything else --------------------------------------------------------------------------------------

    def hang_up(self, cause: str = "") -> None:
        """End the call now. To finish a sentence first: `await call.say(goodbye); call.hang_up()`."""
        if not self.has_ended:
            self._send(HangUp(call_id=self.call_id, cause=cause or "the agent hung up"))

    def answer(self) -> None:
        """Answer a call that came with `answer = "early"` of its route. On one that is answered it does nothing."""
        if self.is_early and not self.has_ended and self.direction == "inbound":
            self.is_early = False
            self._send(AnswerCall(self.call_id))

    def note_answered(self) -> None:
        """The far end answered a call of ours that the agent has been hearing."""
        if self.is_early and self.direction == "outbound":
            self.is_early = False
            self.post("on_answered")

    def record(self, state: Recording = "on") -> None:
        """Record the call, "pause" while something is said that nobody may keep, go on with "on", or end with "off".

        Needs `[recording] directory`. What is said during a pause is written nowhere.
        """
        if state not in get_args(Recording):
            raise ValueError(f"{state!r} is none of {', '.join(get_args(Recording))}")
        if not self.has_ended:
            self._send(RecordCall(self.call_id, state))

    def hand_over(self, agent: str) -> None:
        """Another agent takes the call: named as in a route. This one's part ends as if the call were over.

        Nothing queued is said any more than `drained` was waited for. One that cannot be had fails the call.
        """
        if not self.has_ended and self.on_hand_over is not None:
            self.on_hand_over(self, agent)

    async def hold(self) -> Outcome:
        """Put the far end on hold: nothing of it is heard, and what the agent says it may hear, such as music."""
        return await self._ask("hold", HoldCall(self.call_id, True))

    async def unhold(self) -> Outcome:
        """Take the far end back."""
        return await self._ask("unhold", HoldCall(self.call_id, False))

    async def transfer(self, to: str = "", *, with_call: str = "") -> Outcome:
        """Send the far end elsewhere, and wait for what becomes of it: phones ring for long, so `spawn` it if there is more to do.

        `to`: a SIP URI or a number. `with_call`: the id of another call instead, whose far end it is joined with. After
        success the call ends; otherwise it goes on as it was.
        """
        return await self._ask("transfer", Transfer(self.call_id, to, with_call))

    # ---- others -----------------------------------------------------------------------------------------------

    async def connect(
        self, to: str, *, caller: str = "", trunk: str = "", headers: dict[str, str] | None = None, meanwhile: Meanwhile = "music",
        ring_seconds: int = 60, agent: AgentRole = "out", back: bool = False,
    ) -> Connection:  # fmt: skip
        """Ring somebody, and let the caller speak with him once he answers; wait for what becomes of it.

        `to`: a SIP URI, user:NAME of a phone, or a number that `trunk` (or the first that may) completes. `meanwhile`: what the caller
        hears while it rings; with "agent" it goes on with this one. `agent`: our part once they are joined: "out", "listen", "talk", or
        "whisper" to the one who was rung. `back`: when he hangs up the caller is ours again (`on_room("")`); else the call ends.
        """
        leg_id = f"out-{secrets.token_hex(12)}"
        order = ConnectCall(
            self.call_id, to, leg_id, caller, trunk, headers or {}, meanwhile, ring_seconds, agent, "return" if back else "end"
        )
        return Connection(*await self._ask(f"connect {leg_id}", order), leg_id)

    async def join(self, with_call: str, *, agent: AgentRole = "out", back: bool = False) -> Outcome:
        """Let the caller speak with the far end of another call on the same media worker. `agent`, `back`: as for `connect`."""
        return await self._ask("room", JoinCalls(self.call_id, with_call, agent, "return" if back else "end"))

    async def enter(self, room: str, *, role: Role = "talk", agent: AgentRole = "talk", to: str = "", back: bool = True) -> Outcome:
        """Bring the call into a conference, or change its part there. `role`: the caller's, `agent`: ours; who whispers, whispers to the
        far end of the call `to`, or to its agent: "CALL_ID/agent". `back`: who is left there alone comes back; else it waits for others."""
        party = Party(self.call_id, role, agent, to if role == "whisper" else "", to if agent == "whisper" else "")
        return await self._ask("room", EnterRoom(room, party, "return" if back else "stay"))

    async def leave(self) -> Outcome:
        """Have the caller back, out of its room, or from waiting for somebody who is being rung."""
        return await self._ask("room", LeaveRoom(self.call_id))

    def change_room(self, changed: RoomChanged) -> None:
        """The front tells where the call is, whoever asked for it."""
        self.room, self.role = changed.room, changed.role
        self.agent_role = changed.agent if changed.room else "talk"
        self._settle("room", Outcome(True, 200, changed.why))
        self.post("on_room", changed.room)

    async def _ask(self, what: str, order: Message) -> Outcome:
        if self.has_ended:
            return Outcome(False, 481, "the call has ended")
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._awaited.setdefault(what, []).append(answer)
        self._send(order)
        return await answer

    def settle(self, outcome: HoldEnded | TransferEnded | ConnectEnded | Failed) -> None:
        """The front tells what became of an order, whoever gave it."""
        if isinstance(outcome, ConnectEnded | Failed):
            what = "room" if isinstance(outcome, Failed) else f"connect {outcome.leg_id}"
            self._settle(what, Outcome(isinstance(outcome, ConnectEnded) and outcome.was_accepted, outcome.status, outcome.why))
            return
        what = "transfer" if isinstance(outcome, TransferEnded) else "hold" if outcome.is_held else "unhold"
        if isinstance(outcome, HoldEnded) and outcome.was_accepted:
            self.is_holding = outcome.is_held
        self._settle(what, Outcome(outcome.was_accepted, outcome.status, outcome.why))

    def _settle(self, what: str, outcome: Outcome) -> None:
        for answer in self._awaited.pop(what, ()):
            if not answer.done():
                answer.set_result(outcome)

    def note(self, kind: str, text: str, /, **values: float) -> None:
        """Tell whoever watches this call: what was understood, what is said, how long something took."""
        numbers = {name: float(value) for name, value in values.items()}  # numpy's floats are not msgpack's
        self._send(Noted(call_id=self.call_id, at_ns=time.monotonic_ns(), kind=kind, text=text, values=numbers))

    def spawn(self, work: Coroutine[Any, Any, object]) -> "asyncio.Task[Any]":
        """Do this beside the handlers, for as long as the call lasts. A handler that awaits holds up the next event.

        If it raises, the agent has failed, as if a handler had.
        """
        marked: AtWork[Any] = AtWork(_as_failure(work), self.speech.rings, self.row, self.generation)
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(marked)
        task.add_done_callback(lambda _: work.close())  # one that was cancelled before it began
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        if self.has_ended:
            task.cancel()
        return task

    def post(self, handler: str, *values: object) -> None:
        """Queue an event for the agent's handler of this name."""
        if self.listener is not None:
            self.listener.post(self, handler, *values)

    def end(self, cause: str) -> None:
        """The call is over: settle what is awaited, end what runs beside the handlers."""
        self.has_ended, self.cause = True, cause
        self.speech.close()
        for what in list(self._awaited):
            self._settle(what, Outcome(False, 481, f"the call has ended: {cause}"))
        for task in self._tasks:
            task.cancel()

    def _task_done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if failure is not None and self.on_task_failed is not None:
            self.on_task_failed(self, "a spawned task", failure)

    def __repr__(self) -> str:
        return f"Call({self.call_id!r}, caller={self.caller!r}, callee={self.callee!r})"


async def _as_failure(work: Coroutine[Any, Any, Any]) -> Any:
    """An agent's exit() would end the loop, and with it all calls of the process, if it left a task."""
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as failure:
        raise RuntimeError(f"{type(failure).__name__}: to end the call use call.hang_up()") from failure


Answer = Awaitable[None] | None
"""What a handler returns: `async def` and plain `def` are both fine."""
