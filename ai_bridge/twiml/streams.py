"""The bots of <Connect><Stream>, which have the call, and of <Start><Stream>, which listen to it."""

import asyncio
from collections.abc import Callable, Mapping

from ai_bridge.call import Answer, Call
from ai_bridge.frame import Frame
from ai_bridge.wires.bot import Bot
from ai_bridge.wires.options import Options
from ai_bridge.wires.socket import Connection
from ai_bridge.wires.twilio import Twilio
from ai_bridge.wires.wire import Action

Report = Callable[[str, str], None]
"""Told "stream-started", "stream-stopped" or "stream-error", and why."""


class StreamBot(Bot):
    """On Twilio's wire, within a call that goes on when it has ended."""

    wire_class = Twilio

    def __init__(self, call: Call, url: str, options: Options, parameters: Mapping[str, str], is_listener: bool, report: Report) -> None:
        self.call, self.url, self.is_listener = call, url, is_listener
        self._given, self._parameters, self._report = options, dict(parameters), report
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why, if it was a failure; else empty."""
        self.on_start(call)

    @property
    def stream_sid(self) -> str:
        wire = self._wire
        assert isinstance(wire, Twilio)
        return wire.stream_sid

    def _arguments(self, call: Call) -> tuple[Options, dict[str, str]]:
        return self._given, self._parameters

    def connected(self, socket: Connection) -> None:
        super().connected(socket)
        self._report("stream-started", "")

    async def _finish(self, cause: str) -> None:
        self._is_finishing = True
        await self._last_words_in_time()
        self._end("")

    def _give_up(self, why: str) -> None:
        self._silence()
        self._end(why)

    def _end(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_result(why)
            self._report("stream-error" if why else "stream-stopped", why)

    def leave(self, cause: str) -> None:
        """The call goes on without it."""
        if not self.ended.done():
            super().on_end(cause)
            self._end("")
        self._serving.cancel()

    def hear(self, frame: Frame) -> None:
        """As a listener: what it is too slow for it misses."""
        if self._socket is not None and self._can_send:
            self._send_audio(self._socket, frame)

    # A listener is told of the caller, and what it says is nobody's business.

    def _do(self, action: Action) -> None:
        if not self.is_listener:
            super()._do(action)

    def _silence(self) -> None:
        if not self.is_listener:
            super()._silence()

    async def _last_words(self) -> None:
        if not self.is_listener:
            await super()._last_words()

    def on_end(self, cause: str) -> Answer:
        if not self.ended.done():
            self._end("")
            return super().on_end(cause)
        return None
