"""Handlers, one after the other: a task for each call of an `Agent`, one task for all calls of a `BatchAgent`."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType

import numpy as np
import numpy.typing as npt

from ai_bridge.agent import Agent, BatchAgent
from ai_bridge.at_work import AtWork, Rows, at_work
from ai_bridge.awaited import Utterance
from ai_bridge.barge_in import FLUSH, IDLE, OFF, Interruption
from ai_bridge.call import Call
from ai_bridge.energy import Energy
from ai_bridge.frame import Frame, Pcm
from ai_bridge.intake import Intake, Record
from ai_bridge.resample import Resampler
from ai_bridge.silero import WINDOW_MS, Voice
from ai_bridge.turn_times import TurnTimes
from shm.layout import AUDIO, DISCONTINUITY_FLAG, ECHO_FLAG, FRAME_MS, MAX_FRAME_SAMPLES, SPEECH_FLAG, VOICED_FLAG, Rings

log = logging.getLogger(__name__)

END_GRACE_S = 5.0
"""What a handler may still take once its call is over, and `on_end` after it."""
OPTIONAL = ("on_speech_started", "on_speech_stopped", "on_barge_in", "on_drained", "on_dead_air", "on_quality")
"""Handlers that nothing is queued for where the agent has none."""
BATCH_OPTIONAL = ("on_barge_in", "on_interrupted")
"""The same of a batch agent."""
AT_A_STRETCH = 16
"""Events that one call may handle before the others get their turn."""

NOTHING = np.zeros(MAX_FRAME_SAMPLES, np.int16)
Said = npt.NDArray[np.int64]
Failed = Callable[[Call, str, BaseException], None]
"""Told of what an agent's code raised, and in which handler."""


AGENT_RAISES = (Exception, asyncio.CancelledError, SystemExit, KeyboardInterrupt)
"""What may come out of an agent's code and is its failure: `exit()` in one call is not the end of all others."""


def is_cancelled() -> bool:
    """Our own task is to end. Else a CancelledError came from something that the agent's code has awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def overrides(agent: Agent | BatchAgent, handler: str) -> bool:
    return getattr(type(agent), handler) is not getattr(Agent if isinstance(agent, Agent) else BatchAgent, handler)


def interruption_of(agent: Agent | BatchAgent) -> Interruption:
    """As the agent has it. A call may have another."""
    return agent.interruption or (FLUSH if agent.interrupt_on_speech else OFF)


class CallRunner:
    """Takes the events of one call in order. What waits is bounded: the oldest audio is dropped and counted."""

    def __init__(self, call: Call, agent: Agent, seat: int, failed: Failed, voice: Voice | None = None) -> None:
        """`voice` judges whether the caller speaks; without one the worker's energy does."""
        self.call, self.agent, self.seat = call, agent, seat
        self._failed = failed
        self._queue: deque[Frame | tuple[str, tuple[object, ...]]] = deque()
        self._audio_waiting = 0
        self._most_audio = max(1, agent.backlog_ms // FRAME_MS)
        self._lost = 0
        self._energy = Energy(call.line_rate_hz)
        self.voice = voice
        self._quiet_since_ns = 0  # nobody has spoken since
        self.times: TurnTimes | None = None
        self._answer: Utterance | None = None  # to what the caller said last
        self._sleeper: asyncio.Future[None] | None = None
        self._wants_audio = overrides(agent, "on_audio")
        self._wants = {name for name in OPTIONAL if overrides(agent, name)}
        is_same = call.sample_rate_hz == call.line_rate_hz
        self._resampler = None if is_same else Resampler(call.line_rate_hz, call.sample_rate_hz, is_realtime=True)
        self._position_scale = call.sample_rate_hz / call.line_rate_hz
        work: AtWork[None] = AtWork(self._run(), call.speech.rings, call.row, call.generation)
        self.task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work, name=f"agent of call {call.call_id}")

    # ---- what happens on the line -----------------------------------------------------------------------------

    def receive_audio(self, record: Record, pcm: Pcm, lost: int) -> bool:
        """A frame of the caller. `pcm` is copied; `lost` frames before it were overwritten in the ring. True: `voice` can be judged."""
        flags = record[8]
        has_window = False
        if self.voice is not None:
            has_window = self.voice.feed(NOTHING[: pcm.size] if flags & ECHO_FLAG else pcm, record[2])
            heard = self.voice.heard
            flags = flags & ~(SPEECH_FLAG | VOICED_FLAG) | (SPEECH_FLAG if heard.is_speech else 0) | (VOICED_FLAG if heard.is_voiced else 0)
        elif flags & (SPEECH_FLAG | VOICED_FLAG) or self._energy.is_speech or self.call.barge_in.state is not IDLE:
            self._hear_energy(flags, record)
        if "on_dead_air" in self._wants:
            self._listen_for_dead_air(record[1])
        if not self._wants_audio:
            return has_window
        lost += self._lost
        self._lost = 0
        position = record[2]
        if self._resampler is not None:
            pcm = self._resampler.convert(pcm)
            position = round(position * self._position_scale)
        else:
            pcm = pcm.copy()
        self._queue.append(Frame(pcm, position, record[1], record[5], flags | DISCONTINUITY_FLAG if lost else flags, record[9], lost))
        self._audio_waiting += 1
        if self._audio_waiting > self._most_audio:
            self._drop_oldest_audio()
        self._wake()
        return has_window

    def _hear_energy(self, flags: int, record: Record) -> None:
        """By the worker's voice activity: frames that are loud, and whether they are speech."""
        energy, position = self._energy, record[2]
        voiced_ms = energy.voiced_ms(flags, position, record[6])
        if flags & SPEECH_FLAG or energy.is_speech or self.call.barge_in.state is not IDLE:
            started_at = position if energy.since is None else energy.since
            self._hear(bool(flags & SPEECH_FLAG), voiced_ms, record[1], started_at, energy.until)

    def time_turns(self) -> None:
        """From now on each turn's parts are noted, from the caller's last sound to the answer's first on the wire."""
        self.times = TurnTimes()
        self.call.speech.on_first, self.call.speech.on_begun = self._first, self._begun

    def _first(self, utterance: Utterance) -> None:
        if self.times is not None and self.times.first_audio(time.monotonic_ns()):
            self._answer = utterance

    def _begun(self, utterance: Utterance) -> None:
        if self.times is not None and utterance is self._answer:
            self._answer = None
            self.times.on_wire(utterance.began_ns)
            parts = self.times.take()
            if parts:
                self.call.note("turn", f"answered {parts['total_ms']:.0f} ms after the caller's last sound", **parts)

    def _listen_for_dead_air(self, at_ns: int) -> None:
        if self._energy.is_speech or self.call.is_speaking or not self._quiet_since_ns:
            self._quiet_since_ns = at_ns
        elif at_ns - self._quiet_since_ns >= self.agent.dead_air_ms * 1_000_000:
            self._quiet_since_ns = at_ns
            self.post(self.call, "on_dead_air")

    def judged(self, now_ns: int) -> None:
        """`voice` has judged a window."""
        voice = self.voice
        assert voice is not None
        heard = voice.heard
        if heard.is_speech or self._energy.is_speech or self.call.barge_in.state is not IDLE:
            self._hear(heard.is_speech, WINDOW_MS if heard.is_voiced else 0, now_ns, heard.started_at, heard.stopped_at)

    def _hear(self, is_speech: bool, voiced_ms: int, at_ns: int, started_at: int, stopped_at: int) -> None:
        """Does the caller speak, since which sample of the line? What that does to what is said comes before the agent is told."""
        agent, call = self.agent, self.call
        settings = call.interruption or interruption_of(agent)
        may_decide = call.barge_in.hear(is_speech, voiced_ms, at_ns, settings)
        if is_speech != self._energy.is_speech:
            self._energy.is_speech = is_speech
            if self.times is not None:
                if is_speech:
                    self.times.caller_speaks()
                else:
                    self.times.caller_is_silent(at_ns)
                    self.times.detected(time.monotonic_ns())
            if is_speech:
                call.speech_started_at = round(started_at * self._position_scale)
            else:
                call.speech_stopped_at = round(stopped_at * self._position_scale)
            handler = "on_speech_started" if is_speech else "on_speech_stopped"
            if handler in self._wants:
                self.post(call, handler)
        if may_decide and "on_barge_in" in self._wants:
            self.post(call, "on_barge_in")

    def _drop_oldest_audio(self) -> None:
        for n, item in enumerate(self._queue):
            if isinstance(item, Frame):
                lost = item.lost + 1
                del self._queue[n]
                break
        self._audio_waiting -= 1
        for later in self._queue:
            if isinstance(later, Frame):
                later.lost += lost
                return
        self._lost += lost

    def post(self, call: Call, handler: str, *values: object) -> None:
        """Queue an event. What tells of keys, marks and ends is never dropped."""
        if handler in ("on_drained", "on_quality") and handler not in self._wants:
            return
        if handler == "on_dtmf" and self.agent.interrupt_on_key and call.is_speaking and not call.speech.is_pressing:
            call.new_turn()
        self._queue.append((handler, values))
        self._wake()

    def end(self) -> None:
        """The call is over (`call.has_ended`): what waits is still handled, then `on_end`."""
        self._wake()
        asyncio.get_running_loop().call_later(END_GRACE_S, self.task.cancel)

    def _wake(self) -> None:
        if self._sleeper is not None:
            if not self._sleeper.done():
                self._sleeper.set_result(None)
            self._sleeper = None

    # ---- the agent's task -------------------------------------------------------------------------------------

    async def _run(self) -> None:
        handler = "on_start"
        try:
            answer = self.agent.on_start(self.call)
            if answer is not None:
                await answer
            while self._queue or not self.call.has_ended:
                for _ in range(min(AT_A_STRETCH, len(self._queue))):
                    item = self._queue.popleft()
                    if isinstance(item, Frame):
                        handler = "on_audio"
                        self._audio_waiting -= 1
                        answer = self.agent.on_audio(item)
                    else:
                        handler, values = item
                        answer = getattr(self.agent, handler)(*values)
                    if answer is not None:
                        await answer
                if self._queue:
                    await asyncio.sleep(0)
                elif not self.call.has_ended:
                    self._sleeper = asyncio.get_running_loop().create_future()
                    await self._sleeper
        except AGENT_RAISES as failure:
            if not isinstance(failure, asyncio.CancelledError):
                self._report(handler, failure)
            elif is_cancelled():
                if not self.call.has_ended:
                    raise  # the process stops; the call goes on with its successor
                log.warning("%s of %s was still busy %g s after its call ended: cancelled", handler, type(self.agent).__name__, END_GRACE_S)
            elif not self.call.has_ended:  # else it awaited a spawned task, which has ended with the call
                self._report(handler, failure)
        await self._end()

    async def _end(self) -> None:
        self._queue.clear()
        task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0  # a handler that was busy for too long has been cancelled
        try:
            answer = self.agent.on_end(self.call.cause or "the agent failed")
            if answer is not None:
                async with asyncio.timeout(END_GRACE_S):
                    await answer
        except AGENT_RAISES as failure:
            if isinstance(failure, asyncio.CancelledError) and task is not None and task.cancelling() > before:
                raise
            self._report("on_end", failure)

    def _report(self, handler: str, failure: BaseException) -> None:
        self._failed(self.call, f"{type(self.agent).__name__}.{handler}", failure)


class BatchRunner:
    """Takes ticks of all calls of one batch agent. While it is busy the rings keep what comes: 2.56 s."""

    def __init__(self, agent: BatchAgent, rings: Rings, said: Said, on_event: Callable[[Call, Record], None], failed: Failed) -> None:
        self.agent = agent
        self.intake = Intake(rings, seats=64, limit=4096)
        self._on_event, self._failed = on_event, failed
        self._events: deque[tuple[str, tuple[object, ...]]] = deque()
        self._calls_wake = asyncio.Event()
        self.has_failed = False
        self._energies: dict[int, Energy] = {}  # by seat
        self._is_attentive = np.zeros(0, np.bool_)  # by seat: what the caller's voice began has not ended
        self._wants = {name for name in BATCH_OPTIONAL if overrides(agent, name)}
        self._share(said)
        self.task = asyncio.get_running_loop().create_task(self._run(), name=f"batch agent {type(agent).__name__}")

    def _share(self, said: Said) -> None:
        """Give the agent the arrays of its calls. They are other ones after the intake has grown."""
        agent, intake = self.agent, self.intake
        agent.calls, agent._rings, agent._said = intake.calls, intake.rings, said
        agent._rows, agent._generations = intake.rows, intake.generations
        self._is_attentive = np.concatenate((self._is_attentive, np.zeros(len(intake.calls) - self._is_attentive.size, np.bool_)))

    def add(self, call: Call) -> None:
        call.index = self.intake.add(call)
        self._share(self.agent._said)
        self._energies[call.index], self._is_attentive[call.index] = Energy(call.line_rate_hz), False
        self.post(call, "on_start")

    def remove(self, call: Call) -> None:
        """The call's place is free once `on_end` has been told."""
        self.intake.generations[call.index] = -1
        self.post(call, "on_end", call.cause)

    def post(self, call: Call, handler: str, *values: object) -> None:
        if handler in ("on_start", "on_dtmf", "on_hold", "on_room", "on_end") or handler in self._wants:
            self._events.append((handler, (call, *values)))
            self._calls_wake.set()

    def wake(self) -> None:
        """There may be frames."""
        self._calls_wake.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self.has_failed:
            await self._calls_wake.wait()
            self._calls_wake.clear()
            began = loop.time()
            while await self._handle_events() and await self._take_tick():  # noqa: ASYNC110  (gives others their turn)
                await asyncio.sleep(0)
            left = self.agent.gather_ms / 1000 - (loop.time() - began)
            if left > 0 and not self._events:
                await asyncio.sleep(left)

    async def _handle_events(self) -> bool:
        """False: the agent has failed."""
        while self._events:
            handler, values = self._events.popleft()
            call = values[0]
            assert isinstance(call, Call)
            try:
                await self._do(call.row, call.generation, getattr(self.agent, handler), *values)
            except AGENT_RAISES as failure:
                if isinstance(failure, asyncio.CancelledError) and is_cancelled():
                    raise
                self._failed(call, f"{type(self.agent).__name__}.{handler}", failure)
            if handler == "on_end":
                self.intake.remove(call.index)
        return not self.has_failed

    async def _do(self, rows: Rows, generations: Rows, handler: Callable[..., Awaitable[None] | None], *values: object) -> None:
        with at_work(self.intake.rings.words, rows, generations):
            answer = handler(*values)
        if answer is not None:
            await AtWork(_awaiting(answer), self.intake.rings, rows, generations)

    async def _take_tick(self) -> bool:
        """Hand over one frame of every call that has one. False: there was none."""
        intake = self.intake
        taken = intake.collect(most=1)
        if taken == 0:
            return False
        frames, samples = intake.frames[:taken], intake.pcm[:taken]
        intake.flag_lost(frames)
        is_audio = frames["kind"] == AUDIO
        if not is_audio.all():
            for record in frames[~is_audio].tolist():
                call = intake.calls[record[0]]
                if call is not None:
                    self._on_event(call, record)
            frames, samples = frames[is_audio], samples[is_audio]
        if frames.size:
            self._listen(frames)
            await self._hand_over(frames, samples)
        return not self.has_failed

    def _listen(self, frames: npt.NDArray[np.void]) -> None:
        """What the callers' voices do to what is said to them comes before the agent is told. Only where one speaks: no loop over all."""
        seats, of_agent = frames["sequence"], interruption_of(self.agent)
        concerned = frames[(frames["flags"] & (SPEECH_FLAG | VOICED_FLAG) != 0) | self._is_attentive[seats]]
        heard = (concerned[name].tolist() for name in ("sequence", "flags", "position", "samples", "captured_ns"))
        for seat, flags, position, samples, at_ns in zip(*heard, strict=True):
            call, energy = self.intake.calls[seat], self._energies[seat]
            if call is None:
                continue
            voiced_ms, is_speech = energy.voiced_ms(flags, position, samples), bool(flags & SPEECH_FLAG)
            energy.is_speech = is_speech
            may_decide = call.barge_in.hear(is_speech, voiced_ms, at_ns, call.interruption or of_agent)
            self._is_attentive[seat] = is_speech or energy.since is not None or call.barge_in.state is not IDLE
            if may_decide:
                self.post(call, "on_barge_in")

    async def _hand_over(self, frames: npt.NDArray[np.void], samples: Pcm) -> None:
        narrow = np.flatnonzero(frames["samples"] != samples.shape[1])
        for n in narrow:  # only where calls of several rates share one agent
            samples[n, frames["samples"][n] :] = 0
        seats = frames["sequence"]
        try:
            await self._do(self.intake.rows[seats], self.intake.generations[seats], self.agent.on_batch, seats, frames, samples)
        except AGENT_RAISES as failure:
            if isinstance(failure, asyncio.CancelledError) and is_cancelled():
                raise
            self.has_failed = True
            for call in list(self.intake.calls):
                if call is not None and not call.has_ended:
                    self._failed(call, f"{type(self.agent).__name__}.on_batch", failure)


async def _awaiting(answer: Awaitable[None]) -> None:
    await answer


def own_trace(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the agent's own code on: what lies above it is ours, and of no use to its author."""
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace
