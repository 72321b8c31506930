"""The agent that is a bot on Genesys AudioHook: the clockwork of its session, for which audiohook.py has no clock."""

import asyncio
import contextlib
import time
from collections.abc import Callable

import numpy as np

from ai_bridge.call import Answer, Call
from ai_bridge.frame import Pcm
from ai_bridge.wires.audiohook import RATE_HZ, AudioHook, Before
from ai_bridge.wires.bot import DrainedBot
from ai_bridge.wires.socket import Broken, Connection
from ai_bridge.wires.wire import Action, BotViolation, Finish

OPEN_S = 5.0
"""What a bot may take from open to opened."""
CLOSE_S = 2.0
"""And from close to closed. Genesys gives it 10, but a call that is over should not linger."""
FIRST_PING_S, PING_S = 1.0, 5.0
FRAME_SAMPLES = RATE_HZ // 50
MOST_WAITING_BYTES = 2 * 60 * RATE_HZ


class AudioHookBot(DrainedBot):
    def on_start(self, call: Call) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._pinged_at = 0.0
        self._closed = asyncio.Event()
        self._reason = "end"
        self._before: Before | None = None
        self._said = Said(call)
        super().on_start(call)

    def _new_wire(self) -> AudioHook:
        wire = AudioHook(self._about, self._before)
        if self.call.is_held:
            wire.hold(True)
        return wire

    @property
    def _hook(self) -> AudioHook:
        assert isinstance(self._wire, AudioHook)
        return self._wire

    # ---- the session ------------------------------------------------------------------------------------------

    def connected(self, socket: Connection) -> None:
        self._socket = socket
        self._send(self._wire.start())
        late = BotViolation(f"the bot did not answer open with opened within {OPEN_S:g} s")
        self._at(OPEN_S, lambda: self._break_off(408, late))

    @property
    def _can_send(self) -> bool:
        return self._hook.is_open and super()._can_send

    def _begin(self) -> None:
        super()._begin()
        self._said = Said(self.call)
        self._at(FIRST_PING_S, self._ping, 0)

    def _ping(self, round_trip_ms: int) -> None:
        if self._hook.ping_seq:
            self._break_off(408, Broken(f"the bot did not answer a ping within {PING_S:g} s: it is stuck, or the network is"))
            return
        self._pinged_at = time.monotonic()
        self._send(self._hook.ping(round_trip_ms))
        self._at(PING_S, self._ping, 0)

    def _ponged(self) -> None:
        """The next one tells how long the way was."""
        self._at(PING_S, self._ping, max(1, round((time.monotonic() - self._pinged_at) * 1000)))

    def _at(self, seconds: float, act: Callable[..., object], *values: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, act, *values)

    def _break_off(self, code: int, failure: Exception) -> None:
        if self._socket is not None:
            self._send(self._hook.complain(code, str(failure)))
            self._socket.fail(failure)

    def _lost(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._before = self._hook.before()
        super()._lost()

    # ---- from the line to the bot -----------------------------------------------------------------------------

    def _send_frame(self, bot: Connection, pcm: Pcm, position_ms: int) -> None:
        hook = self._hook
        lost_ms = position_ms - hook.position_ms
        self._send(hook.skip(position_ms))
        message = hook.audio(pcm, position_ms)
        if hook.channels != ("external",):
            self._said.take(max(0, lost_ms) * RATE_HZ // 1000)
            said = self._said.take(pcm.size)
            message = hook.both(message, said) if message else b""
        if message:
            bot.send_binary(message)

    def on_end(self, cause: str) -> Answer:
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is None or not self._hook.is_open:
            return super().on_end(cause)
        self._send((self._hook.close(self._reason),))
        return self._say_goodbye(cause)

    async def _say_goodbye(self, cause: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._closed.wait()
        super().on_end(cause)

    # ---- from the bot to the line -----------------------------------------------------------------------------

    def receive_text(self, message: bytes) -> None:
        was_pinged = self._hook.ping_seq
        try:
            super().receive_text(message)
        except BotViolation as violation:
            self._send(self._hook.complain(400, str(violation)))
            raise
        if was_pinged and not self._hook.ping_seq:
            self._ponged()
        if self._hook.is_closed:
            self._closed.set()

    def _do(self, action: Action) -> None:
        if isinstance(action, Finish):
            self._reason = "disconnect"
        super()._do(action)

    def _say(self, pcm: Pcm, rate_hz: int) -> None:
        super()._say(pcm, rate_hz)
        if self._hook.channels != ("external",) and not self.call.is_held:
            self._said.add(pcm)

    def _end_stream(self) -> None:
        super()._end_stream()
        self._said.fill_up()


class Said:
    """What the caller hears of the bot, for the second channel: what was said, as far as it is on the wire, to 20 ms."""

    def __init__(self, call: Call) -> None:
        self._call, self._turn = call, call.turn
        self._taken = self._added = call.speech.said * RATE_HZ // call.line_rate_hz  # of the turn: what somebody else said is not here
        self._waiting = bytearray()

    def add(self, pcm: Pcm) -> None:
        self._follow()
        if len(self._waiting) < MOST_WAITING_BYTES:  # as the line: it drops what is beyond
            self._waiting += pcm.tobytes()
            self._added += pcm.size

    def fill_up(self) -> None:
        """As the line does with silence, where speech ends within a frame."""
        self._follow()
        self.add(np.zeros(-self._added % FRAME_SAMPLES, np.int16))

    def take(self, samples: int) -> Pcm:
        """So many more, with silence where nothing was heard."""
        self._follow()
        played = round(self._call.played_ms * RATE_HZ / 1000) - self._taken
        heard = np.frombuffer(bytes(self._waiting[: 2 * max(0, min(samples, played))]), np.int16)
        del self._waiting[: 2 * heard.size]
        self._taken += heard.size
        return np.concatenate((heard, np.zeros(samples - heard.size, np.int16)))

    def _follow(self) -> None:
        if self._call.turn != self._turn:
            self._turn, self._taken, self._added = self._call.turn, 0, 0
            self._waiting.clear()
