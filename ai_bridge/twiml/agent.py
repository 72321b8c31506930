"""The agent that does what a webhook says, in TwiML.

A document's verbs are done one after the other; some end with another document, which takes their place. What the
document cannot have ends the call, with the reason, or hands it to the route's `fallback`.
"""

import functools
import logging
import time
import urllib.parse
from collections import deque
from collections.abc import Coroutine
from typing import Any, ClassVar

from ai_bridge import arguments
from ai_bridge.agent import Agent
from ai_bridge.arguments import Arguments
from ai_bridge.awaited import Utterance
from ai_bridge.call import Answer, Call
from ai_bridge.frame import Frame
from ai_bridge.twiml import TWIML
from ai_bridge.twiml.streams import StreamBot
from ai_bridge.twiml.verbs import VERBS, Dialled, Finished, Following, Goto, Keys, Taking, keep, method_of
from ai_bridge.twiml.web import TwimlFailed, Web
from ai_bridge.wires.bot import address_of
from ai_bridge.wires.options import Options
from control_plane.call_sid import call_sid
from control_plane.errors import ConfigurationError
from control_plane.twiml import Element, Unreadable, parse

log = logging.getLogger(__name__)

AT_ONCE, AT_ONCE_S = 20, 10.0
"""So many documents in so short a time are a circle."""
BEFORE_ANSWER = ("Pause", "Redirect", "Reject")
"""Verbs that leave a call unanswered that came with `answer = "early"`."""
NO_ACCOUNT = "AC" + 32 * "0"


class TwimlArguments(Arguments, frozen=True):
    method: str = "POST"
    """How the first document is asked for."""
    status_callback: str = ""
    """Where the call's end is posted."""
    voice: str = "en-us"
    """Of <Say> without a language, as espeak-ng calls it."""
    recordings: str = ""
    """The folder for what <Record> records."""
    recordings_url: str = ""
    """What stands before a recording's name in RecordingUrl; a web server of yours has the folder there. Empty: file://."""
    document: str = ""
    """A document instead of the first one; for calls that are told over HTTP what to do."""
    document_url: str = ""
    """And its address, or where to ask for it."""


class TwimlAgent(Agent):
    url: ClassVar[str] = ""

    def on_start(self, call: Call) -> None:
        self.options, rest = arguments.read(Options, call.arguments)
        self.settings, self._told = arguments.read(TwimlArguments, rest)
        if self.settings.method not in ("GET", "POST"):
            raise ConfigurationError(f'the route\'s arguments: method is "{self.settings.method}": GET or POST will do')
        self.web = Web(self.options, self.url)
        self.account_sid = self.options.account or NO_ACCOUNT
        self.base = self.settings.document_url or self.url
        """Addresses in the document are relative to where it came from."""
        self.is_own = not (self.settings.document or self.settings.document_url)
        """The document is of the route's own application, which may name whatever it likes."""
        self.connected: StreamBot | None = None
        self.listeners: dict[str, StreamBot] = {}
        self.keys: Keys | None = None
        self.taking: Taking | None = None
        self.dialled: Dialled | None = None
        self._began_at = time.monotonic()
        self._asked: deque[float] = deque(maxlen=AT_ONCE)
        if self.settings.document:
            self._begin(self._run(self.settings.document))
        else:
            self._begin(self._go(Goto(self.base, self.settings.method, {"Resumed": "true"} if call.resumed else {})))

    def instruct(self, document: str, url: str, method: str) -> None:
        """Do this instead of what is being done: the document, or what is at the address. Audio of before is dropped."""
        self._running.cancel()
        self.interrupt_on_key, self.keys, self.taking = False, None, None
        if self.connected is not None:
            self.connected.leave("another document takes its place")
            self.connected = None
        self.call.new_turn()
        self.is_own = False
        self._begin(self._run(document) if document else self._go(Goto(url, method, {})))

    # ---- documents --------------------------------------------------------------------------------------------

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._running = self.call.spawn(work)

    async def _go(self, goto: Goto) -> None:
        try:
            await self._run(await self._fetch(goto))
        except TwimlFailed as failure:
            self._fail(str(failure))

    async def _run(self, document: str | bytes) -> None:
        try:
            following = await self._execute(document)
            while isinstance(following, Goto):
                following = await self._execute(await self._fetch(following))
        except (TwimlFailed, Unreadable) as failure:
            self._fail(str(failure))
            return
        await self.call.drained()
        self.call.hang_up(following.cause)

    async def _execute(self, document: str | bytes) -> Goto | Finished:
        for verb in parse(document):
            following = await self.do(verb)
            if following is not None:
                return following
        return Finished("the TwiML has ended")

    async def do(self, verb: Element) -> Following:
        """One verb. Raises TwimlFailed."""
        act = VERBS.get(verb.tag)
        if act is None:
            raise TwimlFailed(f"<{verb.tag[:40]}> is not done here: there are {', '.join(VERBS)}")
        if verb.tag not in BEFORE_ANSWER:
            self.call.answer()
        self.call.note("twiml", f"<{verb.tag}> {verb.text[:100]}".strip())
        return await act(self, verb)

    async def _fetch(self, goto: Goto) -> bytes:
        now = time.monotonic()
        if len(self._asked) == AT_ONCE and now - self._asked[0] < AT_ONCE_S:
            raise TwimlFailed(f"{AT_ONCE} documents were asked for within {AT_ONCE_S:g} s: they go in a circle")
        self._asked.append(now)
        self.base = self.address(goto.url)
        document = await self.web.ask(self.base, goto.method, {**self.facts(), **goto.form}, self.is_own)
        self.is_own = self.web.is_home(self.base)
        return document

    def address(self, url: str) -> str:
        """Of what a document names."""
        return urllib.parse.urljoin(self.base, url)

    def _fail(self, why: str) -> None:
        call, fallback = self.call, self.options.fallback
        if fallback:
            log.warning("%s: %s takes the call", why, fallback, extra={"call_id": call.call_id})
            call.hand_over(fallback)
        else:
            what = "the call is ended; the route's argument fallback would name an agent to take it"
            log.warning("%s: %s", why, what, extra={"call_id": call.call_id})
            call.hang_up(why)

    # ---- what webhooks are told -------------------------------------------------------------------------------

    def facts(self, status: str = "") -> dict[str, str]:
        call = self.call
        return {
            **{f"SipHeader_{name}": value for name, value in call.headers.items()},
            **self._told,
            "CallSid": call_sid(call.call_id),
            "AccountSid": self.account_sid,
            "ApiVersion": "2010-04-01",
            "From": call.caller,
            "To": call.callee,
            "Caller": call.caller,
            "Called": call.callee,
            "Direction": "inbound" if call.direction == "inbound" else "outbound-api",
            "CallStatus": status or ("ringing" if call.is_early else "in-progress"),
        }

    async def report(self, url: str, form: dict[str, str], method: str = "POST", status: str = "", is_own: bool | None = None) -> None:
        """A status callback, if there is one: nothing depends on it. `is_own`: of what named it; None: the present document did."""
        if not url:
            return
        try:
            own = self.is_own if is_own is None else is_own
            await self.web.ask(self.address(url), method, {**self.facts(status), **form}, own)
        except TwimlFailed as failure:
            log.warning("a status callback failed: %s", failure, extra={"call_id": self.call.call_id})

    # ---- what happens on the line -----------------------------------------------------------------------------

    def on_audio(self, frame: Frame) -> Answer:
        if self.taking is not None:
            self.taking.hear(frame)
        for listener in self.listeners.values():
            listener.hear(frame)
        return self.connected.on_audio(frame) if self.connected is not None else None

    def on_dtmf(self, key: str) -> Answer:
        if self.taking is not None:
            self.taking.press(key)
        if self.keys is not None:
            self.keys.press(key)
        if self.dialled is not None:
            self.dialled.press(key)
        for bot in self._bots():
            bot.on_dtmf(key)
        return None

    def on_mark(self, name: str) -> Answer:
        return self.connected.on_mark(name) if self.connected is not None else None

    def on_room(self, room: str) -> None:
        if not room and self.dialled is not None:
            self.dialled.returned()

    def on_interrupted(self, utterance: Utterance) -> None:
        self.call.note("interrupted", "", heard_ms=round(utterance.heard_ms), of_ms=round(utterance.duration_ms))

    def on_hold(self, is_held: bool) -> Answer:
        for bot in self._bots():
            bot.on_hold(is_held)
        return None

    async def on_end(self, cause: str) -> None:
        for bot in self._bots():
            bot.on_end(cause)
        if self.taking is not None:
            await self._keep(self.taking)
        form = {"CallDuration": str(round(time.monotonic() - self._began_at))}
        await self.report(self.settings.status_callback, form, status="completed", is_own=True)

    async def _keep(self, taking: Taking) -> None:
        """The caller hung up while being recorded: that is how messages end."""
        verb = taking.verb
        try:
            form = await keep(self, taking)
        except TwimlFailed as failure:
            log.warning("%s", failure, extra={"call_id": self.call.call_id})
            return
        if form:
            await self.report(verb.attributes.get("action", ""), {**form, "Digits": "hangup"}, method_of(verb), "completed")

    def _bots(self) -> list[StreamBot]:
        return [*self.listeners.values(), *([self.connected] if self.connected is not None else [])]


@functools.cache
def twiml_at(reference: str) -> type[TwimlAgent]:
    """The agent class for "twiml+https://app.example/answer". Raises ConfigurationError."""
    if reference == TWIML:
        return TwimlAgent
    return type("TwimlAt", (TwimlAgent,), {"url": address_of(reference, (TWIML,))[1]})
