"""A spoken menu that needs nothing but this machine: say one of a few phrases, or press a key.

It is what `bellframe demo` calls, and an example of an agent with barge-in: the bridge stops the speech as soon as the
caller speaks or presses a key, and this file only decides what to say next. It understands phrases from a closed
list, no others, and says so when it did not.
"""

import asyncio
import contextlib
import enum
import functools
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ai_bridge.agent import Agent
from ai_bridge.agents.spoken import synthesize
from ai_bridge.awaited import Utterance
from ai_bridge.call import Call
from ai_bridge.frame import Frame, Pcm
from ai_bridge.offline_speech import Recognizer, SpeechFailed

PATIENCE_S = 7.0  # of silence before we ask again
ATTEMPTS = 3  # not understood, or silent: then we say goodbye
PREROLL_FRAMES = 15  # 300 ms: speech is found after its soft beginning
MAX_UTTERANCE_FRAMES = 50 * 10
MAX_DIGITS = 20
AGES = 3_000  # a minute of frames to take the latency from


class Place(enum.Enum):
    MAIN, CALLBACK, NUMBER, CONFIRM = range(4)


class Choice(NamedTuple):
    """What the caller may say or press somewhere. `leads_to` None: we hang up once it is said."""

    key: str
    phrases: tuple[str, ...]
    reply: str | Callable[[], str]
    leads_to: Place | None


def tell_time() -> str:
    return f"It is {time.strftime('%I:%M %p').lstrip('0')}."


PROMPTS = {
    Place.MAIN: "Say: opening hours, what time is it, or operator. Or press 1, 2 or 0.",
    Place.CALLBACK: "Shall somebody call you back? Say yes or no, or press 1 or 2.",
    Place.NUMBER: "Enter your number, then press the hash key.",
    Place.CONFIRM: "Is that right? Say yes or no, or press 1 or 2.",
}
HOURS = "We are open on weekdays from nine in the morning to five in the afternoon, and on Saturdays until noon."
FAREWELL = "Thank you for calling. Goodbye."
PROMISE = "Thank you. This is a demonstration, so nobody will really call. Goodbye."
MENU = {
    Place.MAIN: (
        #      key  phrases                                         reply                                       leads to
        Choice("1", ("opening hours", "what are your opening hours"), HOURS, Place.MAIN),
        Choice("2", ("what time is it", "tell me the time"), tell_time, Place.MAIN),
        Choice("0", ("operator", "speak to an agent"), "I am sorry, only machines work here.", Place.CALLBACK),
        Choice("*", ("help",), "Say one of these words, also while I speak, or press its key. To end the call, say goodbye.", Place.MAIN),
        Choice("9", ("goodbye",), FAREWELL, None),
    ),
    Place.CALLBACK: (
        Choice("1", ("yes", "yes please"), "Very well.", Place.NUMBER),
        Choice("2", ("no", "no thank you"), "As you like.", Place.MAIN),
        Choice("9", ("goodbye",), FAREWELL, None),
    ),
    Place.NUMBER: (Choice("", ("goodbye",), FAREWELL, None),),
    Place.CONFIRM: (
        Choice("1", ("yes", "yes please"), PROMISE, None),
        Choice("2", ("no", "no thank you"), "Then once more.", Place.NUMBER),
        Choice("9", ("goodbye",), FAREWELL, None),
    ),
}
GREETING = "Welcome to Bellframe."
AGAIN = "Sorry, I was away for a moment."
NOT_UNDERSTOOD = "I am sorry, I did not understand."
STILL_THERE = "Are you still there?"


@functools.cache
def recognizer(place: Place) -> Recognizer:
    return Recognizer([phrase for choice in MENU[place] for phrase in choice.phrases])


class Menu(Agent):
    interrupt_on_speech = True
    interrupt_on_key = True

    def __init__(self) -> None:
        self.place = Place.MAIN
        self.digits = ""
        self.attempts = 0
        self._before: deque[Pcm] = deque(maxlen=PREROLL_FRAMES)
        self._utterance: list[Pcm] | None = None  # while the caller speaks
        self._speaking: asyncio.Task[Any] | None = None
        self._understanding: asyncio.Task[Any] | None = None
        self._ages_ns: deque[int] = deque(maxlen=AGES)

    def on_start(self, call: Call) -> None:
        self._say(f"{AGAIN if call.resumed else GREETING} {PROMPTS[self.place]}")
        call.spawn(_warm_up())

    # ---- hearing ----------------------------------------------------------------------------------------------

    def on_audio(self, frame: Frame) -> None:
        self._ages_ns.append(time.monotonic_ns() - frame.captured_ns)
        if self._utterance is None:
            self._before.append(frame.pcm)
        elif len(self._utterance) < MAX_UTTERANCE_FRAMES:
            self._utterance.append(frame.pcm)

    def on_speech_started(self) -> None:
        self.call.note("speech", "the caller speaks")
        self._utterance = list(self._before)
        self._stop()

    def on_speech_stopped(self) -> None:
        if self._utterance is not None:
            pcm = np.concatenate(self._utterance) if self._utterance else np.zeros(0, np.int16)
            self._utterance = None
            self._before.clear()
            self._understanding = self.call.spawn(self._understand(pcm))

    def on_dtmf(self, key: str) -> None:
        self.call.note("key", key, **self._latency())
        self._stop()
        if self._understanding is not None:
            self._understanding.cancel()  # who presses a key has made up their mind
        if self.place is Place.NUMBER:
            self._enter(key)
            return
        choice = next((choice for choice in MENU[self.place] if choice.key == key), None)
        if choice:
            self._choose(choice)
        else:
            self._ask_again(f"There is nothing on {'hash' if key == '#' else 'star' if key == '*' else key}.")

    def on_interrupted(self, utterance: Utterance) -> None:
        self.call.note("interrupted", "", heard_ms=round(utterance.heard_ms), of_ms=round(utterance.duration_ms))

    async def _understand(self, pcm: Pcm) -> None:
        began_ns = time.monotonic_ns()
        place = self.place
        try:
            found = await recognizer(place).recognize(pcm, self.call.sample_rate_hz)
        except SpeechFailed as failure:
            self.call.note("failed", str(failure))
            found = None
        if self._utterance is not None:
            return  # they go on speaking: what they say then counts
        took_ms = (time.monotonic_ns() - began_ns) / 1e6
        if found is None:
            self.call.note("not understood", "", took_ms=took_ms, **self._latency())
            self._ask_again(NOT_UNDERSTOOD)
            return
        phrase, score = found
        self.call.note("heard", phrase, score=score, took_ms=took_ms, **self._latency())
        self._choose(next(choice for choice in MENU[place] if phrase in choice.phrases))

    def _latency(self) -> dict[str, float]:
        """From the arrival of a packet to our handler, for the frames of the last minute."""
        if not self._ages_ns:
            return {}
        median, p99 = np.percentile(self._ages_ns, [50, 99])
        return {"packet_to_agent_ms": round(float(median) / 1e6, 3), "packet_to_agent_p99_ms": round(float(p99) / 1e6, 3)}

    # ---- deciding ---------------------------------------------------------------------------------------------

    def _choose(self, choice: Choice) -> None:
        self.attempts = 0
        reply = choice.reply if isinstance(choice.reply, str) else choice.reply()
        if choice.leads_to is None:
            self._say(reply, hangs_up=True)
            return
        self.place, self.digits = choice.leads_to, ""
        self._say(f"{reply} {PROMPTS[self.place]}")

    def _enter(self, key: str) -> None:
        """A digit of the number that we asked for."""
        if key == "#" and self.digits:
            self.place, self.attempts = Place.CONFIRM, 0
            self._say(f"You entered {' '.join(self.digits)}. {PROMPTS[Place.CONFIRM]}")
        elif key.isdecimal() and len(self.digits) < MAX_DIGITS:
            self.digits += key
            self._speaking = self.call.spawn(self._wait())
        else:
            self.digits = ""
            self._ask_again("Once more, please.")

    def _ask_again(self, why: str) -> None:
        self.attempts += 1
        if self.attempts >= ATTEMPTS:
            self._say(f"{why} {FAREWELL}", hangs_up=True)
        else:
            self._say(f"{why} {PROMPTS[self.place]}")

    # ---- speaking ---------------------------------------------------------------------------------------------

    def _say(self, text: str, *, hangs_up: bool = False) -> None:
        self._stop()
        self._speaking = self.call.spawn(self._speak(text, hangs_up))

    def _stop(self) -> None:
        if self._speaking is not None:
            self._speaking.cancel()

    async def _speak(self, text: str, hangs_up: bool) -> None:
        pcm, rate_hz = await synthesize(text)
        self.call.note("said", text, duration_ms=pcm.size * 1000 / rate_hz)
        utterance = self.call.say(pcm, rate_hz=rate_hz)
        await utterance
        if utterance.was_interrupted:
            return  # whoever interrupted goes on from here
        if hangs_up:
            self.call.hang_up("the menu said goodbye")
        else:
            await self._wait()

    async def _wait(self) -> None:
        """The caller's turn. Without an answer we ask again, and at last give up."""
        await asyncio.sleep(PATIENCE_S)
        self._speaking = None  # it is us: do not cancel ourselves
        self._ask_again(STILL_THERE)


async def _warm_up() -> None:
    """While we greet the first caller."""
    with contextlib.suppress(SpeechFailed):  # it is told when somebody has said something
        await recognizer(Place.MAIN).warm_up()
