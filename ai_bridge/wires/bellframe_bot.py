"""The agent that is a bot on our own wire (docs/wire.md).

Turns have the same numbers on the wire and in the rings, so that they outlive connections and this process. What waits
for a bot that is away waits in the runner's queue, in order: audio as long as `backlog_ms`, everything else for good.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from ai_bridge.awaited import Utterance
from ai_bridge.call import Answer, Call, Outcome
from ai_bridge.frame import Frame
from ai_bridge.wires import bellframe_messages as wire
from ai_bridge.wires.bellframe import READY_S, Bellframe, begins_turn, read_audio, read_text
from ai_bridge.wires.bellframe_messages import HEADER, VERSION, encode
from ai_bridge.wires.bot import MOST_NOTED, Bot
from ai_bridge.wires.encoding import L16
from ai_bridge.wires.socket import Connection
from ai_bridge.wires.spoken import QualityCounts, Spoken
from ai_bridge.wires.wire import BotViolation, Finish, Pause, Resume

MOST_AWAITED = 8
"""Transfers and holds that a bot may wait for at a time."""
FLAGS = wire.SPEECH | wire.CONCEALED | wire.COMFORT_NOISE | wire.DISCONTINUITY


class BellframeBot(Bot):
    def on_start(self, call: Call) -> None:
        self._ready: wire.Ready | None = None
        self._resumed = "process" if call.resumed else ""
        self._away_since = time.monotonic() if call.resumed else None
        self._spoken = Spoken(call)
        self._was_speech = False
        self._awaited = 0
        self._reported: tuple[int, float] = (0, 0.0)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._quality = QualityCounts()
        super().on_start(call)

    # ---- the connection ---------------------------------------------------------------------------------------

    def connected(self, socket: Connection) -> None:
        call, about, spoken = self.call, self._about, self._present()
        away_ms = 0.0 if self._away_since is None else (time.monotonic() - self._away_since) * 1000
        self._socket, self._ready = socket, None
        start = wire.Start(
            version=VERSION,
            call_id=call.call_id,
            caller=call.caller,
            callee=call.callee,
            direction=call.direction,
            headers=call.headers,
            arguments={name: value for name, value in about.parameters.items() if name not in call.headers},
            line_rate_hz=call.line_rate_hz,
            is_held=call.is_held,
            turn=spoken.turn,
            said_ms=spoken.said_ms,
            heard_ms=spoken.heard_ms,
            resumed=self._resumed,
            away_ms=away_ms,
        )
        self._send((encode(start),))
        self._at("ready", READY_S, lambda: socket.fail(BotViolation(f"the bot did not answer start with ready within {READY_S:g} s")))

    def _lost(self) -> None:
        """What was said goes on, and is told of when the bot comes back."""
        if self._away_since is None:
            self._away_since = time.monotonic()
        self._ready = None
        for name in list(self._timers):
            self._timers.pop(name).cancel()

    def _may_retry(self) -> bool:
        if self._away_since is None or not self._resumed:  # it never was there
            return super()._may_retry()
        return time.monotonic() - self._away_since < self._options.resume_seconds

    @property
    def _can_send(self) -> bool:
        return self._ready is not None and super()._can_send

    def _begin_with(self, ready: wire.Ready) -> None:
        self._timers.pop("ready").cancel()
        self._ready, self._resumed, self._away_since, self._retries = ready, "connection", None, 0
        self.interrupt_on_speech, self.interrupt_on_key = ready.interrupt_on_speech, ready.interrupt_on_key
        self._wire.sample_rate_hz = ready.rate_hz
        self._was_speech = False
        assert isinstance(self._wire, Bellframe)
        self._wire.allow(ready.ahead_ms)
        self._begin()
        if ready.report_ms:
            self._report(ready.report_ms / 1000)
        if ready.quality_ms:
            self._report_quality(ready.quality_ms / 1000)

    def _at(self, name: str, seconds: float, act: Callable[[], object]) -> None:
        self._timers[name] = asyncio.get_running_loop().call_later(seconds, act)

    # ---- from the line to the bot -----------------------------------------------------------------------------

    def _tell(self, message: wire.Message) -> Answer:
        """In order: while the bot is away, what comes later waits behind this."""
        if self._can_send:
            self._send((encode(message),))
            return None
        return self._tell_later(message)

    async def _tell_later(self, message: wire.Message) -> None:
        if await self._until_can_send():
            self._send((encode(message),))

    def _send_audio(self, bot: Connection, frame: Frame) -> None:
        spoken, ready = self._present(), self._ready
        assert ready is not None
        position = frame.position * ready.rate_hz // self.call.line_rate_hz
        if frame.is_speech != self._was_speech:
            self._was_speech = frame.is_speech
            self._send((encode(wire.SpeechStarted(position) if frame.is_speech else wire.SpeechStopped(position)),))
        self._quality.count(frame, position)
        pcm = self._resampler.convert(frame.pcm) if self._resampler else frame.pcm
        bot.send_binary(HEADER.pack(spoken.turn, frame.flags & FLAGS, position) + L16.encode(pcm))

    def on_dtmf(self, key: str) -> Answer:
        return self._tell(wire.Key(key))

    def on_mark(self, name: str) -> Answer:
        theirs = self._marks.pop(name, None)
        return None if theirs is None else self._tell(wire.MarkPlayed(theirs))

    def on_drained(self) -> Answer:
        spoken = self._present()
        return self._tell(wire.Drained(spoken.turn, spoken.heard_ms))

    def on_interrupted(self, utterance: Utterance) -> None:
        self._present()

    def on_hold(self, is_held: bool) -> Answer:
        if is_held:
            self._end_turn("hold")
        return self._tell(wire.Hold(is_held))

    def on_end(self, cause: str) -> Answer:
        for timer in self._timers.values():
            timer.cancel()
        if self._ready is not None:
            self._send((encode(wire.Stop(cause, self._spoken.turn, self._spoken.heard_ms)),))
        return super().on_end(cause)

    # ---- turns ------------------------------------------------------------------------------------------------

    def _present(self) -> Spoken:
        """What is said in the present turn: another one, if the engine has ended that of before."""
        if self.call.turn != self._spoken.turn:
            self._turn_ended("caller")
        return self._spoken

    def _end_turn(self, cause: str) -> None:
        """Drop what was not heard yet, and begin the next turn."""
        self._present()
        self._silence()
        self._turn_ended(cause)

    def _turn_ended(self, cause: str) -> None:
        ended, names = self._spoken, list(self._marks.values())
        self._spoken = Spoken(self.call)
        self._speech = None
        self._marks.clear()
        self.call.spawn(self._tell_turn_ended(ended, cause, names))

    async def _tell_turn_ended(self, ended: Spoken, cause: str, names: list[str]) -> None:
        await ended.settled()
        for name in names:
            await self._tell_later(wire.MarkCleared(name))
        await self._tell_later(wire.TurnEnded(ended.turn, cause, ended.said_ms, ended.heard_ms))

    def _is_present(self, turn: int) -> bool:
        """False: it belongs to a turn that is over. The next number begins the next turn."""
        present = self._present().turn
        if begins_turn(turn, present):
            self._end_turn("bot")
        return turn >= present

    # ---- from the bot to the line -----------------------------------------------------------------------------

    def receive_binary(self, message: bytes) -> None:
        ready = self._ready
        turn, pcm = read_audio(message, ready)
        if ready is None or self._is_over or not self._is_present(turn) or self.call.is_held:
            return
        rate_hz = ready.say_rate_hz or ready.rate_hz
        self._say(pcm, rate_hz)
        if self._speech is not None:
            self._spoken.add(self._speech, pcm.size * 1000 / rate_hz)

    def receive_text(self, message: bytes) -> None:
        told = read_text(message, self._ready)
        if isinstance(told, wire.Ready):
            self._begin_with(told)
        elif not self._is_over:
            self._obey(told)

    @property
    def _is_over(self) -> bool:
        return self._is_finishing or self.call.has_ended

    def _obey(self, told: wire.FromBot) -> None:
        call = self.call
        match told:
            case wire.Turn(turn):
                self._is_present(turn)
            case wire.Mark(turn, name):
                if self._is_present(turn):
                    self._mark(name)
                else:
                    self._send((encode(wire.MarkCleared(name)),))
            case wire.Press(keys):
                self._press(keys)
            case wire.Pause():
                self._do(Pause())
            case wire.Resume():
                self._do(Resume())
            case wire.HoldCall():
                self._ask(call.hold(), lambda outcome: wire.HoldEnded(True, *outcome))
            case wire.Unhold():
                self._ask(call.unhold(), lambda outcome: wire.HoldEnded(False, *outcome))
            case wire.Transfer(to, with_call):
                self._ask(call.transfer(to, with_call=with_call), lambda outcome: wire.TransferEnded(*outcome))
            case wire.Note(kind, text, values):
                call.note(kind[:MOST_NOTED], text[:MOST_NOTED], **values)
            case wire.HangUp(cause, at_once):
                self._do(Finish(cause, at_once))

    def _ask(self, request: Coroutine[Any, Any, Outcome], answer: Callable[[Outcome], wire.Message]) -> None:
        if self._awaited >= MOST_AWAITED:
            request.close()
            raise BotViolation(f"the bot waits for {MOST_AWAITED} transfers and holds already: wait for what became of them")
        self._awaited += 1

        async def ask() -> None:
            outcome = await request
            self._awaited -= 1
            await self._tell_later(answer(outcome))

        self.call.spawn(ask())

    # ---- what it asked to be told ------------------------------------------------------------------------------

    def _report(self, seconds: float) -> None:
        """How far the caller is, and so on every so often."""
        spoken = self._present()
        there = spoken.turn, spoken.heard_ms
        if there != self._reported and self._can_send:
            self._reported = there
            self._send((encode(wire.Played(*there, self.call.queued_ms)),))
        self._at("played", seconds, lambda: self._report(seconds))

    def _report_quality(self, seconds: float) -> None:
        if self._quality.frames and self._can_send:
            self._send((encode(self._quality.take()),))
        self._at("quality", seconds, lambda: self._report_quality(seconds))
