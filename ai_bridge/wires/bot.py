"""The agent that is a bot somewhere else: it joins a call and a wire.

The caller's frames go out as they come, what the bot says goes into the call as it comes, and Bellframe keeps the
pace. A bot that is away, stalls, dies or sends nonsense ends or hands over its own call and nothing else: audio for it
waits `backlog_ms`, its socket's memory is bounded, and so is what it may say ahead.
"""

import asyncio
import contextlib
import datetime
import functools
import importlib
import logging
import urllib.parse
from collections.abc import Sequence
from typing import ClassVar

from ai_bridge import arguments
from ai_bridge.agent import Agent
from ai_bridge.call import Answer, Call
from ai_bridge.frame import Frame, Pcm
from ai_bridge.models import MODELS
from ai_bridge.resample import Resampler
from ai_bridge.speech import SpeechStream
from ai_bridge.twiml import TWIML
from ai_bridge.wires import OVER_TCP, WIRES
from ai_bridge.wires.encoding import LINE, as_the_line
from ai_bridge.wires.options import Options
from ai_bridge.wires.socket import Broken, Connection, Socket, Unreachable, without_secrets
from ai_bridge.wires.tcp_socket import TcpSocket
from ai_bridge.wires.wire import (
    About,
    Action,
    Begin,
    BotViolation,
    Clear,
    Finish,
    Ignored,
    Look,
    Mark,
    Messages,
    Note,
    Pause,
    Press,
    Reply,
    Resume,
    Say,
    Wire,
)
from control_plane.errors import ConfigurationError

log = logging.getLogger(__name__)

MOST_MARKS, LONGEST_NAME = 1000, 1000
"""A bot that sets more marks than are ever played must not fill the memory."""
MOST_NOTED = 10_000
"""Characters of a note."""
LAST_WORDS_S = 20.0
"""A bot that closes its connection has nothing more to say: what it said is played for at most this long."""
RETRY_S = 0.25
"""Before the bot is dialled anew; twice as long each time, up to LONGEST_RETRY_S."""
LONGEST_RETRY_S = 2.0
FRAME_S = 0.02


class Bot(Agent):
    """Subclassed for each address, by `bot_at`."""

    wire_class: ClassVar[type[Wire]]
    url: str
    title: ClassVar[str] = "bot"
    """What the far end of the connection is called in logs."""

    def on_start(self, call: Call) -> None:
        options, parameters = self._arguments(call)
        self._options = as_the_line(options, call.start.format, call.line_rate_hz) if options.encoding.lower() == LINE else options
        if call.resumed:
            parameters = {**parameters, "resumed": "true"}
        parameters = {**call.headers, **parameters}
        self._about = About(call.call_id, call.caller, call.callee, call.direction, parameters, self._options, self.url, utc_now)
        self._wire = self._new_wire()
        self._wire.headers(), self._options.headers()  # a secret that cannot be read is told before anything else
        self._resampler: Resampler | None = None
        self._socket: Connection | None = None
        self._may_send = asyncio.Event()
        self._speech: SpeechStream | None = None
        self._speech_rate_hz = 0
        self._flush: asyncio.TimerHandle | None = None
        self._marks: dict[str, str] = {}  # ours: the bot's
        self._marks_set = 0
        self._began_at: int | None = None
        self._retries = 0
        self._is_finishing = False
        self._is_left = False
        self._is_full = self._is_paused = False
        self._queue_timer: asyncio.TimerHandle | None = None
        self._was_ignored = False
        self._serving = call.spawn(self._serve())

    def _arguments(self, call: Call) -> tuple[Options, dict[str, str]]:
        """What is for us, and what the bot is told."""
        return arguments.read(Options, call.arguments)

    def _new_wire(self) -> Wire:
        """For each connection."""
        return self.wire_class(self._about)

    # ---- the connection ---------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Dial, and dial anew, until the call is over or the bot is given up."""
        try:
            while True:
                try:
                    await self._converse()
                    await self._finish(f"the {self.title} closed the connection")
                    return
                except (Unreachable, Broken, BotViolation) as failure:
                    if isinstance(failure, BotViolation) or not self._may_retry():  # a violation would come again
                        self._give_up(str(failure))
                        return
                    log.warning("%s: it is dialled anew", failure, extra={"call_id": self.call.call_id})
                await asyncio.sleep(min(RETRY_S * 2**self._retries, LONGEST_RETRY_S))
                self._retries += 1
        finally:
            self._is_left = True
            self._may_send.set()

    def _may_retry(self) -> bool:
        return self._retries < self._options.retries

    async def _address(self) -> str:
        """Where to dial."""
        return self.url

    async def _converse(self) -> None:
        """One connection, from dialling to its end."""
        self._wire = self._new_wire()
        bot = await self._dial()
        try:
            await bot.closed()
        except BaseException:
            if not self.call.has_ended:
                self._lost()
            raise
        finally:
            if not self.call.has_ended:  # else on_end says goodbye
                self._socket = None
                self._may_send.clear()

    async def _dial(self) -> Connection:
        """Raises Unreachable."""
        given, wire = self._options, self._wire
        kind = TcpSocket if self.url.startswith("tcp:") else Socket
        return await kind.dial(
            self,
            await self._address(),
            {**given.headers(), **wire.headers()},
            wire.subprotocol,
            given.connect_seconds,
            given.silent_seconds,
            given.ca_file,
        )

    def connected(self, socket: Connection) -> None:
        """It may speak from now on: before whoever dialled gets his turn."""
        self._socket = socket
        self._send(self._wire.start())
        self._begin()

    def _begin(self) -> None:
        """The bot hears from now on."""
        rate_hz = self._wire.sample_rate_hz
        is_same = rate_hz == self.call.line_rate_hz
        self._resampler = None if is_same else Resampler(self.call.line_rate_hz, rate_hz, is_realtime=True)
        self._began_at, self._is_full = None, False
        self._may_send.set()

    def _lost(self) -> None:
        """The connection broke. What the bot said last, and its marks, are of no use to the next."""
        self._silence()
        self._marks.clear()

    async def _finish(self, cause: str) -> None:
        """Let the caller hear what was said, and end the call."""
        self._is_finishing = True
        await self._last_words_in_time()
        self.call.hang_up(cause)

    async def _last_words_in_time(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await self._last_words()

    async def _last_words(self) -> None:
        self._end_stream()
        await self.call.drained()

    def _give_up(self, why: str) -> None:
        call, fallback = self.call, self._options.fallback
        self._silence()
        if fallback:
            log.warning("%s: %s takes the call", why, fallback, extra={"call_id": call.call_id})
            call.hand_over(fallback)
        else:
            what = "the call is ended; the route's argument fallback would name an agent to take it"
            log.warning("%s: %s", why, what, extra={"call_id": call.call_id})
            call.hang_up(why)

    def writable_changed(self) -> None:
        if self._can_send:
            self._may_send.set()

    @property
    def _can_send(self) -> bool:
        return self._socket is not None and self._socket.is_writable

    async def _until_can_send(self) -> bool:
        """The bot is being dialled, or does not read. False: it is not dialled any more, as the call is over, or soon will be."""
        while not self._is_left and not self._can_send:
            self._may_send.clear()
            await self._may_send.wait()
        return self._can_send

    # ---- from the line to the bot -----------------------------------------------------------------------------

    def on_audio(self, frame: Frame) -> Answer:
        bot = self._socket
        if bot is not None and self._can_send:
            self._send_audio(bot, frame)
            return None
        return self._send_later(frame)

    async def _send_later(self, frame: Frame) -> None:
        """What comes meanwhile waits in the runner's queue."""
        if await self._until_can_send() and self._socket is not None:
            self._send_audio(self._socket, frame)

    def _send_audio(self, bot: Connection, frame: Frame) -> None:
        if self._began_at is None:
            self._began_at = frame.position
        position_ms = (frame.position - self._began_at) * 1000 // self.call.line_rate_hz
        pcm: Pcm = self._resampler.convert(frame.pcm) if self._resampler else frame.pcm
        self._send_frame(bot, pcm, position_ms)

    def _send_frame(self, bot: Connection, pcm: Pcm, position_ms: int) -> None:
        message = self._wire.audio(pcm, position_ms)
        if self._wire.has_binary_audio:
            bot.send_binary(message)
        else:
            bot.send_text(message)

    def _send(self, messages: Messages) -> None:
        if self._socket is not None:
            for message in messages:
                self._socket.send_text(message)

    def on_dtmf(self, key: str) -> Answer:
        self._send(self._wire.key(key))
        return None

    def on_mark(self, name: str) -> Answer:
        theirs = self._marks.pop(name, None)
        if theirs is not None:
            self._send(self._wire.played(theirs))
        return None

    def on_hold(self, is_held: bool) -> Answer:
        """What would be said into a line on hold would wait there, and be stale."""
        if is_held:
            self._silence()
            self._play_marks()
        self._send(self._wire.hold(is_held))
        return None

    def on_end(self, cause: str) -> Answer:
        for timer in (self._flush, self._queue_timer):
            if timer is not None:
                timer.cancel()
        if self._socket is not None:
            self._send(self._wire.stop(cause))
            self._socket.close()
        return None

    # ---- from the bot to the line -----------------------------------------------------------------------------

    def receive_text(self, message: bytes) -> None:
        for action in self._wire.receive_text(message):
            self._do(action)

    def receive_binary(self, message: bytes) -> None:
        for action in self._wire.receive_binary(message):
            self._do(action)

    def _do(self, action: Action) -> None:
        if self._is_finishing or self.call.has_ended:
            return
        match action:
            case Say(pcm, rate_hz):
                self._say(pcm, rate_hz)
            case Mark(name):
                self._mark(name)
            case Clear():
                self._silence()
                names = list(self._marks.values())
                self._marks.clear()
                self._send(self._wire.cleared(names))
            case Press(keys):
                self._press(keys)
            case Pause() | Resume():
                self._is_paused = isinstance(action, Pause)
                self.call.pause() if self._is_paused else self.call.resume()
            case Look():
                self._send(self._wire.queue(self.call.queued_ms, self._is_paused))
            case Finish(cause, at_once):
                if at_once:
                    self.call.hang_up(cause)
                else:
                    self.call.spawn(self._finish(cause))
            case Begin():
                self._begin()
            case Reply(messages):
                self._send(messages)
            case Note(kind, text):
                self.call.note(kind, text[:MOST_NOTED])
            case Ignored(what):
                if not self._was_ignored:
                    self._was_ignored = True
                    log.warning("the bot sent %s. It is ignored", what, extra={"call_id": self.call.call_id})

    def _say(self, pcm: Pcm, rate_hz: int) -> None:
        if self.call.is_held:
            return
        speech = self._speech
        if speech is None or rate_hz != self._speech_rate_hz:
            speech = self._speech = self.call.stream(rate_hz)
            self._speech_rate_hz = rate_hz
        speech.write_nowait(pcm)
        if speech.rest_samples and self._flush is None:
            self._flush_later()
        high_ms = self._wire.queue_high_ms
        if high_ms and not self._is_full and self.call.queued_ms > high_ms:
            self._is_full = True
            self._send(self._wire.queue_full(self.call.queued_ms))
            self._look_at_queue()

    def _look_at_queue(self) -> None:
        """Until there is room again: tell the bot, and look no more."""
        queued_ms, low_ms = self.call.queued_ms, self._wire.queue_low_ms
        if queued_ms > low_ms:
            wait_s = max(FRAME_S, (queued_ms - low_ms) / 1000)
            self._queue_timer = asyncio.get_running_loop().call_later(wait_s, self._look_at_queue)
        elif self._is_full:
            self._is_full = False
            self._send(self._wire.queue_low(queued_ms))

    def _flush_later(self) -> None:
        """Less than a frame waits for more: it goes out with the last frame before it, when nothing more has come."""
        wait_s = max(FRAME_S, self.call.queued_ms / 1000 - FRAME_S)
        self._flush = asyncio.get_running_loop().call_later(wait_s, self._flush_rest)

    def _flush_rest(self) -> None:
        self._flush = None
        if self._speech is None or not self._speech.rest_samples:
            return
        if self.call.queued_ms > 2000 * FRAME_S:
            self._flush_later()
        else:
            self._end_stream()

    def _end_stream(self) -> None:
        if self._speech is not None:
            self._speech.end()
            self._speech = None

    def _silence(self) -> None:
        self._speech = None
        self.call.new_turn()

    def _mark(self, name: str) -> None:
        if len(self._marks) >= MOST_MARKS or len(name) > LONGEST_NAME:
            there = f"a mark with a name of {len(name)} characters, and {len(self._marks)} are not played yet"
            raise BotViolation(f"the bot set {there}: {LONGEST_NAME} characters and {MOST_MARKS} marks are the most")
        self._marks_set += 1
        ours = str(self._marks_set)
        self._marks[ours] = name
        self.call.mark(ours)

    def _press(self, keys: str) -> None:
        self._end_stream()
        try:
            self.call.press(keys)
        except ValueError as failure:
            raise BotViolation(f"the bot sent keys that no telephone has: {failure}") from None

    def _play_marks(self) -> None:
        """On hold nothing is played: whoever waits for a mark would wait for ever."""
        names = list(self._marks.values())
        self._marks.clear()
        for name in names:
            self._send(self._wire.played(name))


class DrainedBot(Bot):
    """Of a wire that tells when the line falls silent: for an echo that is every frame, so nobody else is asked."""

    def on_drained(self) -> Answer:
        self._send(self._wire.drained())
        return None


def utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@functools.cache
def bot_at(reference: str) -> type[Bot]:
    """The agent class for a bot such as "twilio+wss://bot.example/media". Raises ConfigurationError."""
    name, url = address_of(reference, (*WIRES, *MODELS))
    module_name, _, class_name = WIRES[name].partition(":")
    wire_class = getattr(importlib.import_module(module_name), class_name)
    home, _, kind = wire_class.bot_class.partition(":")
    return type(f"{class_name}Bot", (getattr(importlib.import_module(home), kind),), {"wire_class": wire_class, "url": url})


def address_of(reference: str, known: Sequence[str]) -> tuple[str, str]:
    """Name and URL of NAME+wss://HOST/PATH. Raises ConfigurationError."""
    scheme, _, _ = reference.partition("://")
    name, _, transport = scheme.partition("+")
    if name not in known:
        raise ConfigurationError(f'agent "{without_secrets(reference)}": there is no wire "{name}"; there are {", ".join(known)}')
    transports = ("tcp",) if name in OVER_TCP else ("http", "https") if name == TWIML else ("ws", "wss")
    if transport not in transports:
        raise ConfigurationError(f'agent "{without_secrets(reference)}": "{transport}" is not {" or ".join(transports)}')
    url = reference.removeprefix(f"{name}+")
    try:
        parts = urllib.parse.urlsplit(url)
        is_good = bool(parts.hostname) and not parts.fragment and (parts.port is None or parts.port > 0)
        has_password = "@" in parts.netloc
    except ValueError:
        is_good = has_password = False
    if has_password:
        why = "a password in an address is shown to whoever lists calls: give it with the argument authorization or authorization_file"
        raise ConfigurationError(f'agent "{without_secrets(reference)}": {why}')
    if not is_good:
        raise ConfigurationError(f'agent "{without_secrets(reference)}": this is not an address such as {name}+{transport}://bot.example/media')
    return name, url
