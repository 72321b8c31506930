"""Does a bot speak Bellframe's wire (docs/wire.md)? For whoever writes one.

    python -m ai_bridge.wires.conformance ws://127.0.0.1:8765/ [--secret S] [--argument shop=12]

Dials the bot as Bellframe does, with a caller who speaks, interrupts, presses a key, holds the line and loses the
connection, in real time: ten seconds or so. Prints what was asked of the bot and whether it did so. What a bot gave no
occasion to see is said to be so, and is no fault. The exit code is 0 if there was none, else 1.
"""

import argparse
import asyncio
import enum
import sys
import time
from typing import ClassVar

import numpy as np

from ai_bridge.frame import Pcm
from ai_bridge.wires import bellframe_messages as wire
from ai_bridge.wires.bellframe import CALL, READY_S, SIGNATURE, TIMESTAMP, begins_turn, read_audio, read_text, sign
from ai_bridge.wires.bellframe_messages import HEADER, SUBPROTOCOL, encode
from ai_bridge.wires.encoding import L16
from ai_bridge.wires.socket import Broken, Connection, Socket, Unreachable
from ai_bridge.wires.wire import BotViolation
from control_plane.errors import ConfigurationError

FRAME_S, FRAME_MS = 0.02, 20.0
SPEECH_S, ANSWER_S = 1.5, 6.0
"""How long the caller speaks, and what a bot may take until it answers; one that does not answer is asked nothing about speech."""
PAUSE_S = 0.5
"""Between one thing and the next."""
REACTION_S = 1.0
"""What a bot may take to notice that its turn is over, or the queue full."""


class Asked(enum.Enum):
    """What is asked of a bot, in plain words."""

    SIGNATURE = "refuses a connection without signature, with a wrong one, and with one of an hour ago"
    ACCEPTS = f"accepts the connection, with the subprotocol {SUBPROTOCOL}"
    READY = f"answers start with a good ready, before anything else, within {READY_S:g} s"
    MESSAGES = "sends what is of the wire, and nothing else"
    FORWARD = "never goes back to a turn that it has left, and never skips one"
    INTERRUPTED = f"stops within {REACTION_S:g} s when its turn was ended"
    FULL = f"stops within {REACTION_S:g} s when the queue is full"
    LATER = "goes on after a message that it does not know"
    KEYS = "goes on after a key"
    HOLD = "goes on after a hold"
    RETURNS = "comes back to the same call when its connection broke"
    GOODBYE = "closes the connection once it was told that the call is over"


class Verdicts:
    """`None` until there was an occasion; then empty, or what was wrong first."""

    def __init__(self) -> None:
        self.of: dict[Asked, str | None] = dict.fromkeys(Asked)

    def good(self, asked: Asked) -> None:
        if self.of[asked] is None:
            self.of[asked] = ""

    def wrong(self, asked: Asked, why: str) -> None:
        self.of[asked] = self.of[asked] or why

    def report(self) -> str:
        words = {None: "not seen", "": "pass"}
        return "\n".join(f"{words.get(why, 'FAIL'):8}  {asked.value}{': ' + why if why else ''}" for asked, why in self.of.items())

    @property
    def are_good(self) -> bool:
        return not any(self.of.values())


class Caller:
    """The other side of a bot: one call, on one connection after the other, with a queue that is played in real time."""

    title: ClassVar[str] = "bot"

    def __init__(self, url: str, secret: str, arguments: dict[str, str], verdicts: Verdicts) -> None:
        self.url, self.secret, self.arguments, self.verdicts = url, secret.encode(), arguments, verdicts
        self.call_id = f"conformance-{time.time_ns():x}"
        self.ready: wire.Ready | None = None
        self.turn = self.position = 0
        self.bots_turn = 0
        self.said_ms = self.heard_ms = 0.0
        self.is_held = self.is_full = self.is_over = False
        self.marks: list[tuple[float, str]] = []
        self.ended_at: float | None = None
        self.full_at = 0.0
        self._is_ready = asyncio.Event()
        self._socket: Connection | None = None

    # ---- the connection ---------------------------------------------------------------------------------------

    def headers(self, age_s: int = 0) -> dict[str, str]:
        at = str(int(time.time()) - age_s)
        signed = {TIMESTAMP: at, SIGNATURE: sign(self.secret, at, self.call_id, self.url)} if self.secret else {}
        return {CALL: self.call_id, **signed}

    async def dial(self, headers: dict[str, str], resumed: str = "", ca_file: str = "") -> Socket:
        """Raises Unreachable."""
        self.ready, self._resumed = None, resumed
        self._is_ready.clear()
        return await Socket.dial(self, self.url, headers, SUBPROTOCOL, 5.0, 10.0, ca_file)

    def connected(self, socket: Connection) -> None:
        self._socket = socket
        self.tell(
            wire.Start(
                version=wire.VERSION,
                call_id=self.call_id,
                caller="+4930123456",
                callee="100",
                direction="inbound",
                headers={},
                arguments=self.arguments,
                line_rate_hz=8_000,
                is_held=self.is_held,
                turn=self.turn,
                said_ms=self.said_ms,
                heard_ms=self.heard_ms,
                resumed=self._resumed,
                away_ms=500.0 if self._resumed else 0.0,
            )
        )

    async def until_ready(self) -> bool:
        try:
            async with asyncio.timeout(READY_S):
                await self._is_ready.wait()
        except TimeoutError:
            self.verdicts.wrong(Asked.READY, "it did not")
            return False
        return self.ready is not None

    def writable_changed(self) -> None:
        pass

    def tell(self, message: wire.Message) -> None:
        if self._socket is not None:
            self._socket.send_text(encode(message))

    # ---- what the bot sends -----------------------------------------------------------------------------------

    def receive_text(self, message: bytes) -> None:
        try:
            told = read_text(message, self.ready)
        except BotViolation as violation:
            self._wrong(Asked.MESSAGES if self.ready else Asked.READY, violation)
        match told:
            case wire.Ready():
                self.ready = told
                self.verdicts.good(Asked.READY)
                self._is_ready.set()
            case wire.Turn(turn):
                self._follow(turn)
            case wire.Mark(turn, name):
                if self._follow(turn):
                    self.marks.append((self.said_ms, name))
                else:
                    self.tell(wire.MarkCleared(name))
            case wire.HoldCall() | wire.Unhold():
                self.tell(wire.HoldEnded(isinstance(told, wire.HoldCall), False, 488, "there is no telephone in this test"))
            case wire.Transfer():
                self.tell(wire.TransferEnded(False, 603, "there is no telephone in this test"))
            case wire.HangUp():
                self.is_over = True
        self.verdicts.good(Asked.MESSAGES)

    def receive_binary(self, message: bytes) -> None:
        try:
            turn, pcm = read_audio(message, self.ready)
        except BotViolation as violation:
            self._wrong(Asked.MESSAGES if self.ready else Asked.READY, violation)
        if not self._follow(turn) or self.is_held or self.ready is None:
            return
        now = time.monotonic()
        if self.is_full and now - self.full_at > REACTION_S:
            self.verdicts.wrong(Asked.FULL, f"it still sent {now - self.full_at:.1f} s after queue_full")
        self.said_ms += pcm.size * 1000 / (self.ready.say_rate_hz or self.ready.rate_hz)
        if not self.is_full and self.queued_ms > self.ready.ahead_ms:
            self.is_full, self.full_at = True, now
            self.tell(wire.QueueFull(self.queued_ms))
        self.verdicts.good(Asked.MESSAGES)

    def _follow(self, turn: int) -> bool:
        """False: it belongs to a turn that is over."""
        try:
            begins = begins_turn(turn, self.turn)
        except BotViolation as violation:
            self._wrong(Asked.FORWARD, violation)
        if turn < self.bots_turn:
            self.verdicts.wrong(Asked.FORWARD, f"it sent turn {turn} after turn {self.bots_turn}")
        self.verdicts.good(Asked.FORWARD)
        self.bots_turn = max(turn, self.bots_turn)
        if begins:
            self.end_turn("bot")
            self.ended_at = None
        elif turn < self.turn and self.ended_at is not None and time.monotonic() - self.ended_at > REACTION_S:
            self.verdicts.wrong(Asked.INTERRUPTED, f"it still spoke {time.monotonic() - self.ended_at:.1f} s after turn_ended")
        return turn >= self.turn

    def _wrong(self, asked: Asked, violation: BotViolation) -> None:
        """As Bellframe does: the connection is closed, with the reason."""
        self.verdicts.wrong(asked, str(violation))
        self.is_over = True
        self._is_ready.set()
        raise violation

    # ---- what happens on the line -----------------------------------------------------------------------------

    @property
    def queued_ms(self) -> float:
        return self.said_ms - self.heard_ms

    def end_turn(self, cause: str) -> None:
        for _, name in self.marks:
            self.tell(wire.MarkCleared(name))
        self.marks.clear()
        self.tell(wire.TurnEnded(self.turn, cause, self.said_ms, self.heard_ms))
        self.turn, self.said_ms, self.heard_ms, self.ended_at = self.turn + 1, 0.0, 0.0, time.monotonic()

    async def run(self, seconds: float, is_speech: bool = False, until_it_speaks: bool = False) -> None:
        """Let time pass, or until the bot speaks. Returns at once when the connection is over."""
        began = time.monotonic()
        for n in range(round(seconds / FRAME_S)):
            if self.is_over or self._socket is None or not self._socket.is_writable or (until_it_speaks and self.queued_ms):
                return
            self._tick(is_speech)
            await asyncio.sleep(max(0.0, began + (n + 1) * FRAME_S - time.monotonic()))

    def _tick(self, is_speech: bool) -> None:
        ready, socket = self.ready, self._socket
        if ready is None or socket is None:
            return
        size = ready.rate_hz // 50
        pcm: Pcm = syllables(self.position, size, ready.rate_hz) if is_speech else np.zeros(size, np.int16)
        socket.send_binary(HEADER.pack(self.turn, wire.SPEECH if is_speech else 0, self.position) + L16.encode(pcm))
        self.position += size
        was_queued = self.queued_ms > 0
        self.heard_ms = min(self.said_ms, self.heard_ms + FRAME_MS)
        while self.marks and self.marks[0][0] <= self.heard_ms:
            self.tell(wire.MarkPlayed(self.marks.pop(0)[1]))
        if was_queued and not self.queued_ms:
            self.tell(wire.Drained(self.turn, self.heard_ms))
        if self.is_full and self.queued_ms <= ready.ahead_ms / 2:
            self.is_full = False
            self.verdicts.good(Asked.FULL)
            self.tell(wire.QueueLow(self.queued_ms))

    async def speak(self) -> None:
        self.tell(wire.SpeechStarted(self.position))
        await self.run(SPEECH_S, is_speech=True)
        self.tell(wire.SpeechStopped(self.position))

    def drop(self) -> None:
        """The connection breaks, as when a cable is pulled."""
        if self._socket is not None:
            self._socket.drop()
            self._socket = None


def syllables(position: int, samples: int, rate_hz: int) -> Pcm:
    """Something with the loudness of speech: four syllables a second."""
    seconds = np.arange(position, position + samples) / rate_hz
    voice = np.sin(2 * np.pi * 150 * seconds) + np.sin(2 * np.pi * 750 * seconds) / 2 + np.sin(2 * np.pi * 1_500 * seconds) / 4
    return np.asarray(4_000 * voice * np.abs(np.sin(4 * np.pi * seconds)), np.int16)


class Ended(Exception):
    """The bot has ended the call, as it may; or broke the wire, which was noted."""


async def examine(url: str, secret: str = "", arguments: dict[str, str] | None = None, ca_file: str = "") -> Verdicts:
    """All that is asked of a bot, one after the other."""
    verdicts = Verdicts()
    caller = Caller(url, secret, arguments or {}, verdicts)
    if secret:
        await _ask_for_signatures(caller, ca_file)
    try:
        socket = await caller.dial(caller.headers(), ca_file=ca_file)
    except Unreachable as failure:
        verdicts.wrong(Asked.ACCEPTS, str(failure))
        return verdicts
    verdicts.good(Asked.ACCEPTS)
    ending = asyncio.ensure_future(socket.closed())
    try:
        if not await caller.until_ready():
            return verdicts
        await _converse(caller)
        caller.drop()
        await asyncio.gather(ending, return_exceptions=True)
        socket = await _return(caller, ca_file)
        ending = asyncio.ensure_future(socket.closed())
        await caller.run(2 * PAUSE_S)
        await _say_goodbye(caller, socket, ending)
    except Ended:
        pass
    finally:
        socket.close()
        await asyncio.gather(ending, return_exceptions=True)
    return verdicts


async def _ask_for_signatures(caller: Caller, ca_file: str) -> None:
    wrong = {**caller.headers(), SIGNATURE: "v1=" + 64 * "0"}
    for what, headers in (("no", {CALL: caller.call_id}), ("a wrong", wrong), ("an old", caller.headers(age_s=3600))):
        try:
            socket = await caller.dial(headers, ca_file=ca_file)
        except Unreachable:
            caller.verdicts.good(Asked.SIGNATURE)
            continue
        caller.verdicts.wrong(Asked.SIGNATURE, f"it accepted a connection with {what} signature")
        socket.close()
        await asyncio.gather(socket.closed(), return_exceptions=True)


async def _converse(caller: Caller) -> None:
    async def goes_on(asked: Asked) -> None:
        await caller.run(REACTION_S)
        _check_there(caller, asked)

    await caller.run(PAUSE_S)
    assert caller._socket is not None
    caller._socket.send_text(b'{"type":"a_later_release_may_send_this","turn":"not a number"}')
    await goes_on(Asked.LATER)
    caller.tell(wire.Key("5"))
    await goes_on(Asked.KEYS)
    await caller.speak()
    await caller.run(ANSWER_S, until_it_speaks=True)
    _check_there(caller, Asked.LATER)
    if caller.queued_ms:
        caller.end_turn("caller")
        await caller.speak()
        await caller.run(REACTION_S)
        caller.verdicts.good(Asked.INTERRUPTED)
    caller.is_held = True
    caller.end_turn("hold")
    caller.tell(wire.Hold(True))
    await caller.run(PAUSE_S)
    caller.is_held = False
    caller.tell(wire.Hold(False))
    await goes_on(Asked.HOLD)


def _check_there(caller: Caller, asked: Asked) -> None:
    """Raises Ended if the bot is gone."""
    if caller.is_over:
        raise Ended
    if caller._socket is None or not caller._socket.is_writable:
        caller.verdicts.wrong(asked, "the connection was closed")
        raise Ended
    caller.verdicts.good(asked)


async def _return(caller: Caller, ca_file: str) -> Socket:
    try:
        socket = await caller.dial(caller.headers(), "connection", ca_file)
    except Unreachable as failure:
        caller.verdicts.wrong(Asked.RETURNS, str(failure))
        raise Ended from None
    if not await caller.until_ready():
        caller.verdicts.wrong(Asked.RETURNS, "it was not ready again")
        raise Ended
    caller.verdicts.good(Asked.RETURNS)
    return socket


async def _say_goodbye(caller: Caller, socket: Socket, ending: "asyncio.Future[None]") -> None:
    _check_there(caller, Asked.RETURNS)
    caller.tell(wire.Stop("the test is over", caller.turn, caller.heard_ms))
    socket.close()
    try:
        await ending
        caller.verdicts.good(Asked.GOODBYE)
    except (Broken, BotViolation) as failure:
        caller.verdicts.wrong(Asked.GOODBYE, str(failure))


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ai_bridge.wires.conformance", description="Does a bot speak Bellframe's wire?")
    parser.add_argument("url", help="ws://HOST:PORT/PATH or wss://")
    parser.add_argument("--secret", default="", help="signs the connections, as the route's argument of this name")
    parser.add_argument("--ca-file", default="", help="certificates to trust instead of the system's, PEM")
    parser.add_argument("--argument", action="append", default=[], metavar="NAME=VALUE", help="of the route, for the bot")
    given = parser.parse_args(words)
    arguments = dict(text.partition("=")[::2] for text in given.argument)
    try:
        verdicts = asyncio.run(examine(given.url, given.secret, arguments, given.ca_file))
    except ConfigurationError as failure:
        parser.error(str(failure))
    print(verdicts.report())
    return 0 if verdicts.are_good else 1


if __name__ == "__main__":
    sys.exit(main())
