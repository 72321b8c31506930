"""What each verb of TwiML does. One row and one function each; `None` goes on with the verb behind it."""

import asyncio
import contextlib
import functools
import os
import pathlib
import socket
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from ai_bridge import twiml
from ai_bridge.awaited import Utterance
from ai_bridge.frame import Frame, Pcm
from ai_bridge.offline_speech import SpeechFailed, Voice
from ai_bridge.offline_speech.synthesis import MAX_TEXT
from ai_bridge.twiml.sound import beep, decode_wav, encode_wav
from ai_bridge.twiml.streams import StreamBot
from ai_bridge.twiml.web import TwimlFailed
from control_plane.call_sid import call_sid
from control_plane.twiml import Element

if TYPE_CHECKING:
    from ai_bridge.twiml.agent import TwimlAgent

MOST_LOOPS = 1000
MOST_TEXT = 4_096
"""Characters of a <Say>, as Twilio has it."""
MOST_PAUSE_S, MOST_KEYS = 600, 256
MOST_RECORDED_S = 600
"""Twilio allows an hour: here it is in memory until it is written."""
MOST_LISTENERS = 4
MOST_DIALLED_S = 14_400
"""Four hours, as Twilio has it."""
KEYS = "0123456789*#"
DIAL_STATUS = {200: "completed", 486: "busy", 600: "busy", 408: "no-answer", 480: "no-answer", 487: "no-answer", 603: "busy"}


class Goto(NamedTuple):
    """Another document takes this one's place."""

    url: str
    method: str
    form: Mapping[str, str]


class Finished(NamedTuple):
    """Nothing is to be done any more."""

    cause: str


Following = Goto | Finished | None


class Keys:
    """The keys of a <Gather>."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str] = asyncio.Queue(MOST_KEYS)

    def press(self, key: str) -> None:
        if not self.queue.full():
            self.queue.put_nowait(key)


class Dialled:
    """Who a <Dial> has rung, while the caller is with him."""

    def __init__(self, hangs_up_on_star: bool) -> None:
        self._hangs_up_on_star = hangs_up_on_star
        self.over = asyncio.Event()

    def press(self, key: str) -> None:
        if self._hangs_up_on_star and key == "*":
            self.over.set()

    def returned(self) -> None:
        """The caller is ours again."""
        self.over.set()


class Taking:
    """What a <Record> takes: until a key, a silence, or as much as it may have."""

    def __init__(self, verb: Element, silent_s: float, longest_s: float, rate_hz: int) -> None:
        self.verb = verb
        self._finish_on = verb.attributes.get("finishOnKey", KEYS)
        self._silent, self._longest = silent_s * rate_hz, longest_s * rate_hz
        self._parts: list[Pcm] = []
        self._samples = self._silence = 0
        self.has_speech = False
        self.key = ""
        self.done = asyncio.Event()

    def hear(self, frame: Frame) -> None:
        if self.done.is_set():
            return
        self._parts.append(frame.pcm)
        self._samples += frame.pcm.size
        self._silence = 0 if frame.is_speech else self._silence + frame.pcm.size
        self.has_speech |= frame.is_speech
        if self._samples >= self._longest or self._silence >= self._silent:
            self.done.set()

    def press(self, key: str) -> None:
        if key in self._finish_on:
            self.key = key
            self.done.set()

    @property
    def pcm(self) -> Pcm:
        return np.concatenate(self._parts) if self._parts else np.zeros(0, np.int16)


# ---- attributes ---------------------------------------------------------------------------------------------------


def number(verb: Element, name: str, default: float, low: float, high: float) -> float:
    """Raises TwimlFailed."""
    text = verb.attributes.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise TwimlFailed(f'<{verb.tag} {name}="{text[:40]}">: {low:g} to {high:g} will do')
    return value


def is_true(verb: Element, name: str, default: bool) -> bool:
    return verb.attributes.get(name, str(default)).lower() == "true"


def method_of(verb: Element, name: str = "method") -> str:
    """Raises TwimlFailed."""
    method = verb.attributes.get(name, "POST").upper()
    if method not in ("GET", "POST"):
        raise TwimlFailed(f'<{verb.tag} {name}="{method[:20]}">: GET or POST will do')
    return method


def loops(verb: Element) -> int:
    """0 is for ever, as long as somebody may mean it."""
    return int(number(verb, "loop", 1, 0, MOST_LOOPS)) or MOST_LOOPS


def only(verb: Element, *tags: str) -> None:
    """Raises TwimlFailed for other children."""
    for child in verb.children:
        if child.tag not in tags:
            raise TwimlFailed(f"<{child.tag[:40]}> within <{verb.tag}> is not done here: there is {', '.join(tags) or 'nothing'}")


# ---- speaking -----------------------------------------------------------------------------------------------------


@functools.cache
def voice_for(voice: str) -> Voice:
    """One for all calls of this process."""
    return Voice(voice)


VOICES = {"en-gb": "en", "en-au": "en", "no-no": "nb", "nb-no": "nb", "zh-cn": "cmn", "zh-tw": "cmn", "cmn-cn": "cmn"}
REGIONAL = ("en-us", "pt-br", "es-419", "fr-be", "fr-ch")


def voice_name(language: str) -> str:
    """What espeak-ng calls the voice of a language tag."""
    tag = language.lower()
    return tag if tag in REGIONAL else VOICES.get(tag) or tag.partition("-")[0]


async def say(agent: "TwimlAgent", verb: Element) -> None:
    text, language = verb.text, verb.attributes.get("language", "")
    if len(text) > MOST_TEXT:
        raise TwimlFailed(f"<Say> has {len(text)} characters: {MOST_TEXT} are the most")
    voice = voice_for(voice_name(language) if language else agent.settings.voice)
    for _ in range(loops(verb) if text else 0):
        spoken: Utterance | None = None
        for part in parts_of(text, MAX_TEXT):
            try:
                pcm, rate_hz = await voice.speak(part)
            except SpeechFailed as failure:
                raise TwimlFailed(f"<Say> cannot be said: {failure}") from None
            spoken = agent.call.say(pcm, rate_hz)
        if spoken is not None:
            await spoken


def parts_of(text: str, most: int) -> list[str]:
    """Cut between words."""
    parts: list[str] = []
    while text:
        cut = len(text) if len(text) <= most else text.rfind(" ", 1, most) if " " in text[1:most] else most
        parts.append(text[:cut])
        text = text[cut:].lstrip()
    return parts


async def play(agent: "TwimlAgent", verb: Element) -> None:
    digits = verb.attributes.get("digits", "").replace("w", ",")
    if digits:
        try:
            await agent.call.press(digits)
        except ValueError as failure:
            raise TwimlFailed(f"<Play digits>: {failure}") from None
    if not verb.text:
        return
    url = agent.address(verb.text)
    content, _ = await agent.web.sound(url, agent.is_own)
    try:
        pcm, rate_hz = decode_wav(content)
    except TwimlFailed as failure:
        raise TwimlFailed(f"<Play>{verb.text[:200]}</Play>: {failure}") from None
    for _ in range(loops(verb)):
        await agent.call.say(pcm, rate_hz)


async def pause(agent: "TwimlAgent", verb: Element) -> None:
    await asyncio.sleep(number(verb, "length", 1, 0, MOST_PAUSE_S))


# ---- hearing ------------------------------------------------------------------------------------------------------


async def gather(agent: "TwimlAgent", verb: Element) -> Goto | None:
    only(verb, "Say", "Play", "Pause")
    if "dtmf" not in verb.attributes.get("input", "dtmf").split():
        raise TwimlFailed('<Gather input="speech">: nobody recognises speech here; let it have dtmf too, or <Connect> a bot')
    most, timeout_s = int(number(verb, "numDigits", MOST_KEYS, 1, MOST_KEYS)), number(verb, "timeout", 5, 0, MOST_PAUSE_S)
    finish_on = verb.attributes.get("finishOnKey", "#")
    agent.keys = keys = Keys()
    agent.interrupt_on_key = True
    try:
        first = await _first_key(agent, verb, keys, timeout_s)
        digits, finished = await _more_keys(keys, first, finish_on, most, timeout_s)
    finally:
        agent.keys, agent.interrupt_on_key = None, False
    if not digits and not finished and not is_true(verb, "actionOnEmptyResult", False):
        return None
    form = {"Digits": digits, "FinishedOnKey": finished, "msg": "Gather End"}
    return Goto(verb.attributes.get("action", ""), method_of(verb), form)


async def _first_key(agent: "TwimlAgent", verb: Element, keys: Keys, timeout_s: float) -> str:
    """Empty: none came in time. The prompts are cut off by it."""

    async def prompt() -> None:
        for child in verb.children:
            await agent.do(child)

    speaking, pressed = asyncio.ensure_future(prompt()), asyncio.ensure_future(keys.queue.get())
    try:
        await asyncio.wait((speaking, pressed), return_when=asyncio.FIRST_COMPLETED)
        if speaking.done():
            speaking.result()
            await asyncio.wait((pressed,), timeout=timeout_s)
        elif agent.call.is_speaking:
            agent.call.new_turn()
        return pressed.result() if pressed.done() else ""
    finally:
        speaking.cancel()
        pressed.cancel()


async def _more_keys(keys: Keys, first: str, finish_on: str, most: int, timeout_s: float) -> tuple[str, str]:
    digits, key = "", first
    while key:
        if key in finish_on:
            return digits, key
        digits += key
        if len(digits) == most:
            break
        try:
            async with asyncio.timeout(timeout_s):
                key = await keys.queue.get()
        except TimeoutError:
            break
    return digits, ""


async def record(agent: "TwimlAgent", verb: Element) -> Goto | None:
    if not agent.settings.recordings:
        raise TwimlFailed("<Record>: there is nowhere to keep it: name a folder with the route's argument recordings")
    call = agent.call
    if is_true(verb, "playBeep", True):
        await call.say(beep(call.sample_rate_hz))
    longest_s = min(number(verb, "maxLength", MOST_RECORDED_S, 1, 3_600), MOST_RECORDED_S)
    silent_s = number(verb, "timeout", 5, 1, MOST_RECORDED_S)
    agent.taking = taking = Taking(verb, silent_s, longest_s, call.sample_rate_hz)
    await taking.done.wait()  # who hangs up has done so: the agent keeps what there is
    agent.taking = None
    form = await keep(agent, taking)
    return Goto(verb.attributes.get("action", ""), method_of(verb), form) if form else None


def write_private(path: pathlib.Path, content: bytes) -> None:
    """Somebody's voice: others on this machine need not hear it. Raises OSError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(content)


async def keep(agent: "TwimlAgent", taking: Taking) -> dict[str, str]:
    """Write it, and report it. Empty: nobody has said anything. Raises TwimlFailed."""
    if not taking.has_speech:
        return {}
    verb, rate_hz, prefix = taking.verb, agent.call.sample_rate_hz, agent.settings.recordings_url
    name = f"{agent.call.call_id}-{time.time_ns() // 1_000_000}.wav".replace("/", "_")
    path = pathlib.Path(agent.settings.recordings) / name
    try:
        await asyncio.to_thread(write_private, path, encode_wav(taking.pcm, rate_hz))
    except OSError as failure:
        raise TwimlFailed(f"<Record>: {path} cannot be written: {failure.strerror}") from None
    form = {
        "RecordingUrl": f"{prefix.rstrip('/')}/{name}" if prefix else path.absolute().as_uri(),
        "RecordingDuration": str(round(taking.pcm.size / rate_hz)),
        "Digits": taking.key,
    }
    status = {**form, "RecordingStatus": "completed"}
    await agent.report(verb.attributes.get("recordingStatusCallback", ""), status, method_of(verb, "recordingStatusCallbackMethod"))
    return form


# ---- bots ---------------------------------------------------------------------------------------------------------


async def in_reach(url: str) -> None:
    """Raises TwimlFailed for a bot that only the route's own application may name."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
        for *_, address in await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM):
            twiml.reach.check(str(address[0]), host)
    except (OSError, ValueError) as failure:
        raise TwimlFailed(f"<Stream>: {failure}") from None


async def stream(agent: "TwimlAgent", verb: Element, is_listener: bool) -> tuple[str, StreamBot]:
    """The bot of the one <Stream> in here, and its name."""
    only(verb, "Stream")
    if len(verb.children) != 1:
        raise TwimlFailed(f"<{verb.tag}> has {len(verb.children)} streams: it has one")
    (inner,) = verb.children
    only(inner, "Parameter")
    url, track = inner.attributes.get("url", ""), inner.attributes.get("track", "inbound_track")
    if not url.startswith(("ws://", "wss://")):
        raise TwimlFailed(f'<Stream url="{url[:200]}">: it begins with wss://')
    if track != "inbound_track":
        raise TwimlFailed(f'<Stream track="{track[:40]}">: there is inbound_track here, what the caller says')
    if not agent.is_own:
        await in_reach(url)
    name, is_own = inner.attributes.get("name", url), agent.is_own  # another document may be there when it stops

    def report(event: str, why: str) -> None:
        form = {"StreamEvent": event, "StreamName": name, "StreamSid": bot.stream_sid, **({"StreamError": why} if why else {})}
        callback, method = inner.attributes.get("statusCallback", ""), method_of(inner, "statusCallbackMethod")
        agent.call.spawn(agent.report(callback, form, method, is_own=is_own))

    parameters = {child.attributes.get("name", ""): child.attributes.get("value", "") for child in inner.children}
    options = msgspec.structs.replace(agent.options, authorization="", authorization_file="")  # which is for the webhook
    bot = StreamBot(agent.call, url, options, parameters, is_listener, report)
    return name, bot


async def connect(agent: "TwimlAgent", verb: Element) -> Goto | None:
    _, agent.connected = await stream(agent, verb, is_listener=False)
    try:
        why = await agent.connected.ended
    finally:
        agent.connected = None
    if why:
        raise TwimlFailed(f"<Connect>: {why}")
    return Goto(verb.attributes["action"], method_of(verb), {}) if "action" in verb.attributes else None


async def start(agent: "TwimlAgent", verb: Element) -> None:
    if len(agent.listeners) >= MOST_LISTENERS:
        raise TwimlFailed(f"<Start>: {MOST_LISTENERS} streams listen already")
    name, bot = await stream(agent, verb, is_listener=True)
    agent.listeners[name] = bot
    bot.ended.add_done_callback(lambda _: agent.listeners.pop(name, None))


async def stop(agent: "TwimlAgent", verb: Element) -> None:
    only(verb, "Stream")
    for child in verb.children:
        bot = agent.listeners.get(child.attributes.get("name", ""))
        if bot is not None:
            bot.leave("it was stopped")


# ---- the call -----------------------------------------------------------------------------------------------------


async def dial(agent: "TwimlAgent", verb: Element) -> Goto | None:
    """Ring somebody, and let the caller speak with him until one of them hangs up, or the caller has enough of it."""
    to = _target(verb, "Number", "Sip")
    ring_s, longest_s = int(number(verb, "timeout", 30, 5, 600)), number(verb, "timeLimit", MOST_DIALLED_S, 1, MOST_DIALLED_S)
    call, caller, is_over = agent.call, verb.attributes.get("callerId", ""), False
    try:
        leg = await call.connect(to, caller=caller, meanwhile="ringback", ring_seconds=ring_s, back=True)
        began_at = time.monotonic()
        if leg and call.room:
            agent.dialled = dialled = Dialled(is_true(verb, "hangupOnStar", False))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(longest_s):
                    await dialled.over.wait()
        is_over = not call.room
    finally:
        agent.dialled = None
        if not is_over:  # too long, a star, or another document takes this one's place
            call.spawn(call.leave())
    if not leg:
        call.note("not connected", leg.why)
    if "action" not in verb.attributes:
        return None
    status = "completed" if leg else DIAL_STATUS.get(leg.status, "failed")
    form = {"DialCallStatus": status, "DialCallSid": call_sid(leg.call_id)}
    duration = {"DialCallDuration": str(round(time.monotonic() - began_at))} if leg else {}
    return Goto(verb.attributes["action"], method_of(verb), {**form, **duration})


def _target(verb: Element, *tags: str) -> str:
    """The one number or address within. Raises TwimlFailed."""
    only(verb, *tags)
    targets = [child.text for child in verb.children] or [verb.text]
    if len(targets) != 1 or not targets[0]:
        raise TwimlFailed(f"<{verb.tag}> has {len(verb.children)} targets: it has one, {' or '.join(f'<{tag}>' for tag in tags)}")
    return targets[0].replace(" ", "")


async def refer(agent: "TwimlAgent", verb: Element) -> Following:
    """Send the caller's own provider to somebody else: the call leaves us."""
    to = _target(verb, "Sip")
    outcome = await agent.call.transfer(to)
    if not outcome:
        agent.call.note("not transferred", outcome.why)
    if "action" in verb.attributes:
        status = "completed" if outcome else DIAL_STATUS.get(outcome.status, "failed")
        form = {"ReferCallStatus": status, "NotifySipResponseCode": str(outcome.status)}
        return Goto(verb.attributes["action"], method_of(verb), form)
    return Finished(f"sent to {to[:100]}") if outcome else None


async def redirect(agent: "TwimlAgent", verb: Element) -> Goto:
    return Goto(verb.text, method_of(verb), {})


async def hang_up(agent: "TwimlAgent", verb: Element) -> Finished:
    return Finished("the TwiML hung up")


async def reject(agent: "TwimlAgent", verb: Element) -> Finished:
    return Finished(f"the TwiML rejected the call: {verb.attributes.get('reason', 'rejected')[:40]}")


VERBS: dict[str, Callable[["TwimlAgent", Element], Awaitable[Following]]] = {
    "Say": say,
    "Play": play,
    "Pause": pause,
    "Gather": gather,
    "Record": record,
    "Connect": connect,
    "Start": start,
    "Stop": stop,
    "Dial": dial,
    "Refer": refer,
    "Redirect": redirect,
    "Hangup": hang_up,
    "Reject": reject,
}
