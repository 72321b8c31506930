"""The agent that is a model somewhere else: it joins a call and a session.

What the model says comes faster than it is spoken, so it waits here, and is given to the line `ahead_ms` before the
caller's ear: reading never waits for speaking, so "the caller speaks" is read at once however much there is to say.
An item belongs to the turn in which it began. After an interruption nothing of it is said any more, and the model is
told how much of each item was heard, which the media worker has counted on the wire.
"""

import asyncio
import functools
import importlib
import logging
import time
import urllib.parse
from collections import deque
from collections.abc import Sequence
from typing import ClassVar

from ai_bridge import arguments, models
from ai_bridge.awaited import Utterance
from ai_bridge.call import Answer, Call
from ai_bridge.frame import Frame, Pcm
from ai_bridge.models import MODELS, settings
from ai_bridge.models.model import (
    About,
    CallerSpeaks,
    CallerStopped,
    Deed,
    Model,
    Ready,
    Reply,
    Request,
    Speak,
    Spoken,
    Told,
    Trouble,
    Use,
)
from ai_bridge.models.tools import Toolbox
from ai_bridge.models.web import Asker, fetch
from ai_bridge.speech import SpeechStream
from ai_bridge.turn_times import TurnTimes
from ai_bridge.wires import options
from ai_bridge.wires.bot import Bot, address_of
from ai_bridge.wires.socket import Broken, Connection
from ai_bridge.wires.wire import Finish, Ignored, Wire
from control_plane.errors import ConfigurationError

log = logging.getLogger(__name__)

MOST_WAITING_S = 240.0
"""Speech of a model that may wait: more than its longest answer has."""
MOST_REMEMBERED = 100
"""Words told to a session that follows one that broke."""
MOST_COMPLAINTS = 10
KEYS_PAUSE_S = 1.5
"""Keys that come one after the other are one input."""
KEEP_ALIVE_S = 5.0
PAUSE_S = 0.3
"""What ends an item of a model that does not tell. Speech comes faster than it is said, so nothing is cut in two by it."""
WATCH_S = 0.25
STEADY_S = 60.0
"""A session that held so long was a good one: what breaks it counts as the first failure again."""
PREROLL_FRAMES = 15  # 300 ms: speech is found after its soft beginning


class Item:
    """Something that the model says, from its first sample to what became of it."""

    def __init__(self, item_id: str, turn: int, model: Model, rate_hz: int) -> None:
        self.item_id, self.turn, self.model, self.rate_hz = item_id, turn, model, rate_hz
        self.samples = 0  # that came, at `rate_hz`
        self.is_complete = False  # nothing more comes of it
        self.is_stopped = False  # it was too long
        self.is_answer = False  # the first after the caller has spoken
        self.is_dropped = False  # the model was told that nothing of it was heard
        self.stream: SpeechStream | None = None  # once it is being said


class ModelAgent(Bot):
    """Subclassed for each address, by `model_at`."""

    title = "model"
    model_class: ClassVar[type[Model]]

    def on_start(self, call: Call) -> None:
        given, rest = arguments.read(options.Options, call.arguments)
        self._settings, _ = arguments.read(settings.Settings, rest)
        self._key = models.credentials.find(self._settings.key or self.model_class.key_name, "the route's arguments: key")
        self._toolbox = self._new_toolbox(given)
        self.interrupt_on_speech = self._settings.barge_in == "line"
        self._waiting: asyncio.Queue[tuple[Item, Pcm | None]] = asyncio.Queue()
        self._waiting_s = 0.0
        self._item: Item | None = None  # the one that comes in
        self._said_items: deque[Item] = deque(maxlen=64)
        self._history: deque[Told] = deque(maxlen=MOST_REMEMBERED)
        self._preroll: deque[Frame] = deque(maxlen=PREROLL_FRAMES)
        self._times = TurnTimes()
        self._memory: dict[str, str] = {}
        self._kept_alive_at = 0.0
        self._pause: asyncio.TimerHandle | None = None  # that ends an item
        self._keys = ""
        self._keys_timer: asyncio.TimerHandle | None = None
        self._complaints = self._sessions = self._tools_at_work = 0
        clock = asyncio.get_running_loop().time
        self._clock = clock
        self._started_at = self._active_at = self._told_at = self._stopped_at = self._dialled_at = clock()
        self._is_ready = self._was_probed = self._hears_speech = False
        super().on_start(call)
        call.spawn(self._speak())
        call.spawn(self._watch())

    def _new_toolbox(self, given: options.Options) -> Toolbox:
        mine = self._settings
        ask = Asker(mine.tools_url, options.secret("tools_secret_file", "", mine.tools_secret_file), given.ca_file)
        return Toolbox(mine, ask if mine.tools_url else None)

    def _new_wire(self) -> Wire:
        call, about = self.call, self._about
        values = {**about.parameters, "caller": call.caller, "callee": call.callee, "call_id": call.call_id}
        line = about.options.encoding.upper() or (call.start.format if call.start.format == "PCMA" else "PCMU")
        if line not in ("PCMU", "PCMA", "L16"):
            raise ConfigurationError(f'the route\'s arguments: encoding is "{line}": models have PCMU, PCMA and L16')
        if call.line_rate_hz != 8_000:
            line = "L16"  # more than G.711 holds
        instructions = settings.instructions_of(self._settings, values)
        return self.model_class(About(about, self._settings, self._key, instructions, self._toolbox.descriptions, line, self._memory))

    # ---- the session ------------------------------------------------------------------------------------------

    @property
    def _model(self) -> Model:
        assert isinstance(self._wire, Model)
        return self._wire

    async def _address(self) -> str:
        where = self._model.address(self.url)
        if not isinstance(where, Request):
            return where
        return self._model.joined(await fetch(where, self._options.ca_file))

    async def _converse(self) -> None:
        try:
            await super()._converse()
        finally:
            self._is_ready = False
        if not self._model.goodbye_ends_call:
            self._silence()
            raise Broken("the model closed the connection")

    def connected(self, socket: Connection) -> None:
        self._told_at = self._dialled_at = self._clock()
        self._socket = socket
        self._send(self._wire.start())
        if self._model.is_ready_at_start:
            self._begin()

    def _may_retry(self) -> bool:
        if self._sessions and self._clock() - self._dialled_at > STEADY_S:
            self._retries = 0
        return super()._may_retry()

    @property
    def _can_send(self) -> bool:
        return self._is_ready and super()._can_send

    def _begin(self) -> None:
        self._is_ready = True
        self._sessions += 1
        super()._begin()
        if self._history:
            self._send(self._model.recall(list(self._history)))
        elif self._settings.greeting and self._sessions == 1 and not self.call.resumed:
            self._send(self._model.greet())

    async def _watch(self) -> None:
        """What does not come is not told by anybody: silence of the model, of the caller, of both."""
        given = self._settings
        while True:
            await asyncio.sleep(WATCH_S)
            now, call = self._clock(), self.call
            if call.is_speaking or call.is_held or self._hears_speech or self._tools_at_work or not self._waiting.empty():
                self._active_at = now
            if now - self._started_at > given.max_seconds:
                return await self._finish(f"the call has lasted max_seconds ({given.max_seconds:g})")
            if now - self._active_at > given.idle_seconds:
                return await self._finish(f"nobody has spoken for idle_seconds ({given.idle_seconds:g})")
            if self._is_ready and now - self._kept_alive_at > KEEP_ALIVE_S:
                self._kept_alive_at = now
                self._send(self._model.keep_alive())
            if self._socket is not None and self._is_stuck(now):
                self._told_at = now
                self._socket.fail(Broken(f"the model owes an answer and has said nothing for {given.answer_seconds:g} s: it is stuck"))

    def _is_stuck(self, now: float) -> bool:
        """A caller who only coughed is owed nothing; so a model that is silent after that is asked for a sign of life."""
        limit_s = self._settings.answer_seconds
        if not self._is_ready or self._model.is_busy:
            return now - self._told_at > limit_s
        waited_s = now - self._stopped_at
        if self._told_at > self._stopped_at or self._hears_speech or waited_s < limit_s / 2:
            self._was_probed = False
        elif not self._was_probed:
            self._was_probed = True
            self._send(probe := self._model.probe())
            if not probe:
                self._told_at = now
        return self._was_probed and waited_s > limit_s

    # ---- from the line to the model ---------------------------------------------------------------------------

    def on_audio(self, frame: Frame) -> Answer:
        if self._hears_speech != frame.is_speech:
            self._hears_speech = frame.is_speech
            self._time_caller(frame)
        if self.call.is_held:
            return None  # music of theirs, if anything
        if self._settings.turns != "line" or frame.is_speech:
            return super().on_audio(frame)
        self._preroll.append(frame)
        return None

    def _send_audio(self, bot: Connection, frame: Frame) -> None:
        while self._preroll:
            super()._send_audio(bot, self._preroll.popleft())
        super()._send_audio(bot, frame)

    def _time_caller(self, frame: Frame) -> None:
        if frame.is_speech:
            self._times.caller_speaks()
        else:
            self._times.caller_is_silent(frame.captured_ns)
            self._tell_times()

    def on_speech_started(self) -> None:
        if self._settings.barge_in == "line":
            self._interrupt()
            self._send(self._model.cancel())
        if self._settings.turns == "line" and self._is_ready:
            self._send(self._model.start_of_speech())

    def on_speech_stopped(self) -> None:
        self._stopped_at = self._clock()
        if self._settings.turns == "line" and self._is_ready:
            self._times.detected(time.monotonic_ns())
            self._send(self._model.end_of_speech())

    def on_dtmf(self, key: str) -> None:
        self._active_at = self._clock()
        self._keys += key
        if self._keys_timer is not None:
            self._keys_timer.cancel()
        self._keys_timer = asyncio.get_running_loop().call_later(KEYS_PAUSE_S, self._pass_keys)

    def _pass_keys(self) -> None:
        keys, self._keys = self._keys, ""
        if self._is_ready and not self.call.has_ended:
            self._send(self._model.pressed(keys))

    def on_hold(self, is_held: bool) -> None:
        if is_held:
            self._interrupt()
            self._send(self._model.cancel())

    def on_end(self, cause: str) -> None:
        for timer in (self._keys_timer, self._pause):
            if timer is not None:
                timer.cancel()
        super().on_end(cause)

    # ---- from the model to the line ---------------------------------------------------------------------------

    def receive_text(self, message: bytes) -> None:
        self._told_at = self._clock()
        self._do_all(self._model.receive(message))

    def receive_binary(self, message: bytes) -> None:
        self._told_at = self._clock()
        self._do_all(self._model.receive_audio(message))

    def _do_all(self, deeds: Sequence[Deed]) -> None:
        uses: list[Use] = []
        for deed in deeds:
            if isinstance(deed, Use):
                uses.append(deed)
            elif not self.call.has_ended:
                self._react(deed)
        if uses and not self._is_finishing and not self.call.has_ended:
            self.call.spawn(self._use(uses, self._wire))

    def _react(self, deed: Deed) -> None:
        match deed:
            case Speak(item, pcm, rate_hz):
                self._take_speech(item, pcm, rate_hz)
            case Spoken(item):
                self._complete(item)
            case CallerSpeaks():
                if self._settings.barge_in != "off":
                    self._interrupt()
            case CallerStopped():
                self._times.detected(time.monotonic_ns())
            case Told(kind, text):
                if text.strip():
                    self._history.append(deed)
                    self.call.note(kind, text)
            case Reply(messages):
                self._send(messages)
            case Ready():
                self._begin()
            case Trouble(what):
                self._complain(what)
            case Finish(cause):
                self.call.spawn(self._finish(cause))
            case Ignored(what):
                self._complain(f"ignored: {what}")

    def _complain(self, what: str) -> None:
        self._complaints += 1
        if self._complaints <= MOST_COMPLAINTS:
            log.warning("the model says: %s", what[:500], extra={"call_id": self.call.call_id})

    def _take_speech(self, item_id: str, pcm: Pcm, rate_hz: int) -> None:
        item = self._item
        is_same = item is not None and (item.item_id, item.model) == (item_id, self._wire)
        if item is None or not is_same or (item.is_complete and item.turn == self.call.turn and not item.is_stopped):
            if item is not None:
                self._complete(item.item_id)
            item = self._item = Item(item_id, self.call.turn, self._model, rate_hz)
        if item.is_complete or item.turn != self.call.turn or self.call.is_held or self._is_finishing:
            return
        if self._waiting_s > MOST_WAITING_S:
            self._stop_at_limit(item)
            return
        if not item.samples and self._times.first_audio(time.monotonic_ns()):
            item.is_answer = True
        item.samples += pcm.size
        self._waiting_s += pcm.size / rate_hz
        self._waiting.put_nowait((item, pcm))
        if not self._model.tells_end:
            self._end_after_pause(item_id)

    def _end_after_pause(self, item_id: str) -> None:
        if self._pause is not None:
            self._pause.cancel()
        self._pause = asyncio.get_running_loop().call_later(PAUSE_S, self._complete, item_id)

    def _stop_at_limit(self, item: Item) -> None:
        """Whoever says so much is stopped there, and told so."""
        self._complain(f"more than {MOST_WAITING_S:g} s of speech wait to be heard: the rest is not said")
        self._send(self._model.cancel())
        self._send(self._model.cut(item.item_id, item.samples * 1000 // item.rate_hz))
        item.is_stopped = True
        self._complete(item.item_id)

    def _complete(self, item_id: str) -> None:
        item = self._item
        if item is not None and item.item_id == item_id and not item.is_complete:
            item.is_complete = True
            self._waiting.put_nowait((item, None))

    async def _speak(self) -> None:
        """Give the line what waits, `ahead_ms` before it is heard. Of an older turn nothing is said; what never began was not heard."""
        while True:
            item, pcm = await self._waiting.get()
            if pcm is not None:
                self._waiting_s -= pcm.size / item.rate_hz
            if item.turn == self.call.turn:
                await self._say_part(item, pcm)
            elif item.stream is None and not item.is_dropped:
                item.is_dropped = True
                self._tell_heard(item, 0)
            self._waiting.task_done()

    async def _say_part(self, item: Item, pcm: Pcm | None) -> None:
        if item.stream is None:
            item.stream = self.call.stream(item.rate_hz, self._settings.ahead_ms)
            self._said_items.append(item)
            if item.is_answer:
                self.call.spawn(self._time_answer(item.stream))
        if pcm is None:
            item.stream.end()
        else:
            await item.stream.write(pcm)

    async def _time_answer(self, stream: SpeechStream) -> None:
        self._times.on_wire(await stream.begun())
        self._tell_times()

    def _tell_times(self) -> None:
        parts = self._times.take()
        if parts:
            self.call.note("turn", "", **parts)

    # ---- interruptions ----------------------------------------------------------------------------------------

    def _interrupt(self) -> None:
        """Nothing of what was said so far goes out any more, from the line's next packet on."""
        item = self._item
        has_more = item is not None and item.turn == self.call.turn and not (item.is_complete and self._waiting.empty())
        if not self.call.speech.is_pressing and (has_more or self.call.is_speaking):
            self.call.new_turn()

    def on_interrupted(self, utterance: Utterance) -> None:
        heard_ms = int(utterance.heard_ms)
        self.call.note("interrupted", "", heard_ms=heard_ms, of_ms=round(utterance.duration_ms))
        for item in self._said_items:
            if item.stream is utterance:
                self._tell_heard(item, heard_ms)

    def _tell_heard(self, item: Item, heard_ms: int) -> None:
        if item.model is self._wire and self._is_ready:
            self._send(self._model.cut(item.item_id, heard_ms))

    # ---- tools ------------------------------------------------------------------------------------------------

    async def _use(self, uses: list[Use], model: Wire) -> None:
        results: dict[str, str] = {}
        self._tools_at_work += 1
        try:
            for use in uses:
                began = self._clock()
                results[use.use_id] = await self._toolbox.use(self, use.name, use.arguments)
                self.call.note("tool", use.name[:64], took_ms=(self._clock() - began) * 1000)
        finally:
            self._tools_at_work -= 1
        if self._wire is model and self._is_ready and not self._is_finishing:
            self._send(self._model.used(results))

    async def said(self) -> None:
        await self._waiting.join()
        await self.call.drained()

    async def part(self, cause: str) -> None:
        await self._finish(cause)

    async def _last_words(self) -> None:
        if self._item is not None:
            self._complete(self._item.item_id)
        await self.said()


@functools.cache
def model_at(reference: str) -> type[ModelAgent]:
    """The agent class for a model such as "openai+wss://api.openai.com/v1/realtime?model=gpt-realtime". Raises ConfigurationError."""
    name, url = address_of(reference, tuple(MODELS))
    module_name, _, class_name = MODELS[name].partition(":")
    model_class = getattr(importlib.import_module(module_name), class_name)
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
    if {"key", "api_key", "api-key", "token"} & set(query):
        why = "a key in an address is shown to whoever lists calls: name it with the argument key"
        raise ConfigurationError(f'agent "{name}+...": {why}')
    return type(f"{class_name}Agent", (ModelAgent,), {"model_class": model_class, "url": url})
