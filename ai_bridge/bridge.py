"""The bridge between rings and agents: one loop that is woken by a bell, takes what is new, and hands it out.

It needs rings, a bell and a channel to the front, wherever they come from: process.py asks the keeper, tests make
their own. The doorbell protocol is shm/doorbell.py's; a timer of 20 ms refills the rings and mends a bell unheard.
"""

import asyncio
import logging
import os
import time
import traceback
from typing import Literal

import msgspec
import numpy as np

from ai_bridge import arguments, loader, silero
from ai_bridge.agent import Agent, BatchAgent
from ai_bridge.agents import BUILT_IN
from ai_bridge.at_work import at_work, take_marks
from ai_bridge.awaited import Mark, Utterance
from ai_bridge.call import Call
from ai_bridge.intake import BRIEF_FRAME, Intake, Record
from ai_bridge.models import MODELS
from ai_bridge.quality import Quality
from ai_bridge.runner import AGENT_RAISES, BatchRunner, CallRunner, own_trace
from ai_bridge.speech import SpeechQueue
from ai_bridge.twiml import TWIML
from control_plane.channel import Channel
from control_plane.errors import BellframeError, ConfigurationError
from control_plane.messages import (
    AgentFailed,
    AgentStarted,
    Alive,
    CallAnswered,
    ConnectEnded,
    Failed,
    HoldEnded,
    InstructCall,
    Message,
    PressKeys,
    RoomChanged,
    StartAgent,
    StopAgent,
    TransferEnded,
)
from shm import doorbell, ring
from shm.layout import AUDIO, CLOSED, DRAINED, DTMF, FRAME_MS, GENERATION, HELD, MARK_PLAYED, QUALITY, TURN_ENDED, Rings

log = logging.getLogger(__name__)

FRAMES_AT_ONCE = 1024
TICK_S = FRAME_MS / 1000
ALIVE_EVERY_NS = 1_000_000_000
BLOCKED_NS = 250_000_000
"""A loop that comes back this late was blocked by an agent: worth a line in the log."""
GATHER_S = 0.008
"""How long windows of calls are gathered for one inference: voices are told so much later, and cost a third less."""
CLOSED_GRACE_S = 1.0
"""Media has closed; StopAgent, which knows why, is on its way."""


class EchoGuard(arguments.Arguments, frozen=True):
    echo_guard: Literal["on", "off"] = "off"
    """Of a route: as Agent.echo_guard."""


class Bridge:
    def __init__(self, rings: Rings, bell_fd: int, channel: Channel, index: int, is_after_failure: bool = False) -> None:
        """`is_after_failure`: the process before us ended by what it did itself, so somebody's agent may have done it."""
        self.rings, self.bell_fd, self.channel, self.index = rings, bell_fd, channel, index
        marked = take_marks(rings, index)
        self.suspects = marked if is_after_failure else ()
        self.calls: dict[str, Call] = {}
        self._runners: dict[int, CallRunner] = {}  # by seat
        self._ears = silero.Ears()
        self._runner_of: dict[silero.Voice, CallRunner] = {}
        self._is_judging_due = False
        self._batches: dict[str, BatchRunner] = {}  # by agent
        self._stopped: set[asyncio.Task[None]] = set()
        self._intake = Intake(rings, seats=64, limit=FRAMES_AT_ONCE)
        self._said = np.zeros(rings.words.shape[0], np.int64)
        self._active: set[SpeechQueue] = set()
        self._alive_ns = 0
        self._tick_ns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_pass_due = False
        self._is_control_due = False

    def start(self) -> None:
        """Begin to serve, in the running loop. Raises OSError if the descriptors are not good."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.bell_fd, self._pass)
        self._loop.add_reader(self.channel.fileno(), self._receive_control)
        self._tick_ns = time.monotonic_ns()
        self._tick()

    async def stop(self) -> None:
        """Let go of everything without ending a call: the next process goes on with them."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        self._loop.remove_reader(self.bell_fd)
        self._loop.remove_reader(self.channel.fileno())
        tasks = {r.task for r in self._runners.values()} | {b.task for b in self._batches.values()} | self._stopped
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)

    # ---- the rings --------------------------------------------------------------------------------------------

    def _pass(self) -> None:
        """Take what is new; sleep only after having looked once more since saying so."""
        self._is_pass_due = False
        doorbell.answer(self.bell_fd)
        if self._take() == FRAMES_AT_ONCE:
            self._pass_again()  # the agents' turn before more is taken
            return
        doorbell.fall_asleep(self.rings.bells, self.index)
        if self._take():
            doorbell.wake_up(self.rings.bells, self.index)
            self._pass_again()

    def _pass_again(self) -> None:
        if not self._is_pass_due:
            self._is_pass_due = True
            self._loop.call_soon(self._pass)

    def _take(self) -> int:
        for batch in self._batches.values():
            batch.wake()
        intake = self._intake
        taken = intake.collect(most=16)
        if taken == 0:
            return 0
        has_lost = intake.lost.any()
        for n, record in enumerate(intake.frames[:taken].view(BRIEF_FRAME).tolist()):
            runner = self._runners.get(record[0])
            if runner is None:
                continue  # its call ended with an event before this one
            if record[7] == AUDIO:
                lost = intake.take_lost(record[0]) if has_lost else 0
                if runner.receive_audio(record, intake.pcm[n, : record[6]], lost) and not self._is_judging_due:
                    self._is_judging_due = True
                    self._loop.call_later(GATHER_S, self._judge)
            else:
                self._receive_event(runner.call, record)
        return taken

    def _judge(self) -> None:
        """Does the caller speak? One inference for many calls; those beyond it after everybody else had their turn."""
        self._is_judging_due = False
        judged, has_more = self._ears.judge()
        now_ns = time.monotonic_ns()
        for voice in judged:
            self._runner_of[voice].judged(now_ns)
        if has_more:
            self._is_judging_due = True
            self._loop.call_soon(self._judge)

    def _receive_event(self, call: Call, record: Record) -> None:
        _, at_ns, _, turn, value, _, _, kind, *_ = record
        if kind == DTMF:
            call.post("on_dtmf", chr(value))
        elif kind == MARK_PLAYED:
            call.speech.receive_mark(turn, value, at_ns)
        elif kind == TURN_ENDED:
            call.speech.receive_turn_ended(turn, value)
        elif kind == DRAINED:
            call.speech.receive_mark(turn, value, at_ns)
            if turn == call.turn and not call.is_speaking:
                call.post("on_drained")
        elif kind == HELD:
            call.is_held = bool(value)
            call.post("on_hold", call.is_held)
        elif kind == QUALITY:
            call.post("on_quality", Quality(value / 100, turn / 100, record[5] / 1000, record[2] / 1000))
        elif kind == CLOSED:
            self._loop.call_later(CLOSED_GRACE_S, self._end, call, "the media was closed")

    # ---- the timer --------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now_ns = time.monotonic_ns()
        late_ns = now_ns - self._tick_ns - FRAME_MS * 1_000_000
        if late_ns > BLOCKED_NS:
            log.warning("an agent blocked this process for %d ms, and all its calls. Use await, or asyncio.to_thread", late_ns // 1_000_000)
        self._tick_ns = now_ns
        self._timer = self._loop.call_later(TICK_S, self._tick)
        self._pass()
        for speech in list(self._active):
            speech.poll(now_ns)
            if not speech.has_work:
                self._active.discard(speech)
        if now_ns - self._alive_ns >= ALIVE_EVERY_NS:
            self._alive_ns = now_ns
            agents, calls = tuple(BUILT_IN), len(self.calls)
            self.send(Alive("bridge", self.index, os.getpid(), calls=calls, agents=agents, suspects=self.suspects))
        self._receive_control()

    # ---- the front --------------------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Tell the front. While it is away messages wait; beyond thousands of them they are dropped."""
        if not self.channel.send(message):
            log.warning("the front does not take messages: dropped %s", type(message).__name__)
        if not self._is_control_due:  # zmq's descriptor tells of news once, and sending may have used that up
            self._is_control_due = True
            self._loop.call_soon(self._receive_control)

    def _receive_control(self) -> None:
        self._is_control_due = False
        for message in self.channel.receive():
            if isinstance(message, StartAgent):
                self._start_agent(message)
            elif isinstance(message, HoldEnded | TransferEnded | ConnectEnded | Failed) and message.call_id in self.calls:
                self.calls[message.call_id].settle(message)
            elif isinstance(message, CallAnswered) and message.call_id in self.calls:
                self.calls[message.call_id].note_answered()
            elif isinstance(message, RoomChanged) and message.call_id in self.calls:
                self._take()  # what the caller said before is heard before
                self.calls[message.call_id].change_room(message)
            elif isinstance(message, StopAgent) and message.call_id in self.calls:
                self._take()  # what the caller said before the end is heard
                self._end(self.calls[message.call_id], message.cause)
            elif isinstance(message, PressKeys) and message.call_id in self.calls:
                self.calls[message.call_id].press(message.keys)
            elif isinstance(message, InstructCall) and message.call_id in self.calls:
                self._instruct(self.calls[message.call_id], message)

    def _start_agent(self, start: StartAgent) -> None:
        known = self.calls.get(start.call_id)
        if known is not None and (known.row, known.generation) == (start.row, start.generation):
            if not start.is_early:
                known.note_answered()  # since the order that this one repeats
            self.send(AgentStarted(call_id=start.call_id))
            return
        if known is not None:
            self._end(known, "the call's media was opened anew")
        if self._try_attach(start):
            self.send(AgentStarted(call_id=start.call_id))

    def _try_attach(self, start: StartAgent) -> bool:
        """False: the agent cannot be had, and the front was told why."""
        try:
            self._attach(start)
        except AGENT_RAISES as failure:
            why = str(failure) if isinstance(failure, BellframeError) else f"{type(failure).__name__}: {failure}"
            cause = failure.__cause__ if isinstance(failure, BellframeError) else failure
            log.error("%s", why, exc_info=cause, extra={"call_id": start.call_id})
            self.send(AgentFailed(call_id=start.call_id, why=why))
            return False
        self._pass_again()
        return True

    def _instruct(self, call: Call, order: InstructCall) -> None:
        """One that takes no instructions makes room for one that does."""
        agent = call.listener.agent if isinstance(call.listener, CallRunner) else None
        if instruct := getattr(agent, "instruct", None):
            instruct(order.document, order.url, order.method)
            return
        told = {"document": order.document, "document_url": order.url, "method": order.method}
        arguments = {**call.start.arguments, **{name: value for name, value in told.items() if value}}
        self._end(call, "it is told what to do instead")
        self._try_attach(msgspec.structs.replace(call.start, agent=TWIML, arguments=arguments, resumed=True))

    def _hand_over(self, call: Call, agent: str) -> None:
        """Another agent takes the call, in the next round of the loop: this one is in the midst of a handler."""

        def hand_over() -> None:
            if self.calls.get(call.call_id) is call:
                self._end(call, f"{agent} takes the call")
                if self._try_attach(msgspec.structs.replace(call.start, agent=agent, resumed=True)):
                    heir = self.calls[call.call_id]
                    heir.room, heir.role, heir.agent_role = call.room, call.role, call.agent_role

        self._loop.call_soon(hand_over)

    def _attach(self, start: StartAgent) -> None:
        words = self.rings.words
        if not 0 <= start.row < words.shape[0] or ring.load_word(words, start.row, GENERATION) != start.generation:
            raise BellframeError(
                f"row {start.row} does not carry generation {start.generation} of this call: its media was closed meanwhile"
            )
        kind = loader.load(start.agent)

        def settled(awaited: Utterance | Mark) -> None:
            self._settled(call, awaited)

        speech = SpeechQueue(self.rings, start.row, start.generation, self._said, self._active.add, settled)
        wanted_hz = kind.sample_rate_hz if issubclass(kind, Agent) else 0
        if wanted_hz % 50:
            raise BellframeError(f"{kind.__name__}.sample_rate_hz is {wanted_hz}: 20 ms must be whole samples, so give a multiple of 50")
        call = Call(start, speech, wanted_hz or start.sample_rate_hz, self.send)
        call.on_task_failed = self._agent_failed
        call.on_hand_over = self._hand_over
        if kind.echo_guard or arguments.read(EchoGuard, call.arguments)[0].echo_guard == "on":
            call.guard_echo()
        if issubclass(kind, BatchAgent):
            self._batch_for(start.agent, kind).add(call)
            call.listener = self._batches[start.agent]
        else:
            with at_work(words, start.row, start.generation):
                agent = kind()
            agent.call = call
            seat = self._intake.add(call)
            voice = self._ears.add(call.line_rate_hz) if agent.voice_activity == "silero" and silero.is_there() else None
            self._runners[seat] = call.listener = CallRunner(call, agent, seat, self._agent_failed, voice)
            if start.agent.partition("+")[0] not in MODELS:  # a model's agent knows itself when its model took the caller's turn as over
                call.listener.time_turns()
            if voice is not None:
                self._runner_of[voice] = call.listener
        self.calls[call.call_id] = call

    def _batch_for(self, reference: str, kind: type[BatchAgent]) -> BatchRunner:
        batch = self._batches.get(reference)
        if batch is None or batch.has_failed:
            batch = self._batches[reference] = BatchRunner(kind(), self.rings, self._said, self._receive_event, self._agent_failed)
        return batch

    # ---- what becomes of calls --------------------------------------------------------------------------------

    def _settled(self, call: Call, awaited: Utterance | Mark) -> None:
        if isinstance(awaited, Utterance):
            if awaited.was_interrupted and not call.has_ended:
                call.post("on_interrupted", awaited)
        elif awaited.name and not awaited.was_interrupted:
            call.post("on_mark", awaited.name)

    def _end(self, call: Call, cause: str) -> None:
        if self.calls.get(call.call_id) is not call:
            return
        del self.calls[call.call_id]
        call.end(cause)
        self._active.discard(call.speech)
        if isinstance(call.listener, CallRunner):
            runner = self._runners.pop(call.listener.seat)
            self._intake.remove(runner.seat)
            if runner.voice is not None:
                self._ears.remove(runner.voice)
                del self._runner_of[runner.voice]
            self._stopped.add(runner.task)
            runner.task.add_done_callback(self._stopped.discard)
            runner.end()
        elif isinstance(call.listener, BatchRunner):
            call.listener.remove(call)

    def _agent_failed(self, call: Call, where: str, failure: BaseException) -> None:
        """The agent's own code raised. Its call is told to the front, which ends it; nothing else is touched."""
        if isinstance(failure, ConfigurationError):  # it says what to change, and no line of code would help
            why = str(failure)
            log.error("%s", why, extra={"call_id": call.call_id})
        else:
            trace = own_trace(failure.__traceback__)
            last = traceback.extract_tb(trace)[-1:]
            place = f", {os.path.basename(last[0].filename)} line {last[0].lineno}" if last else ""
            why = f"{where} raised {type(failure).__name__}: {failure}{place}"
            log.error("%s", why, exc_info=(type(failure), failure, trace), extra={"call_id": call.call_id})
        if self.calls.get(call.call_id) is call:
            self.send(AgentFailed(call_id=call.call_id, why=why))
            self._end(call, f"the agent failed: {why}")
