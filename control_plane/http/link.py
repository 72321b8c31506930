"""Lines to the front: one for each question under way, one for each who watches.

Messages carry no number, so a line has one question at a time; a line whose answer did not come in time is thrown away,
and a late answer with it.
"""

import asyncio
import itertools
import os
import pathlib
import secrets

import zmq

from control_plane.channel import Channel
from control_plane.errors import BellframeError
from control_plane.messages import Failed, HoldEnded, Message, TransferEnded

ANSWER_LIMIT_S = 2.0
MAX_LINES = 16
"""Questions under way at once. The front answers within milliseconds, so more of them would only wait there."""


class FrontAway(BellframeError):
    """The front does not answer."""


class Line:
    """One DEALER in the event loop. Used by one task at a time."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], directory: pathlib.Path, identity: str) -> None:
        self.channel = Channel(context, directory, identity)
        self.loop = asyncio.get_running_loop()
        self.readable = asyncio.Event()
        self.loop.add_reader(self.channel.fileno(), self.readable.set)

    def send(self, message: Message) -> bool:
        return self.channel.send(message)

    async def receive(self, limit_s: float) -> list[Message]:
        """Everything that is there; empty if nothing came in time."""
        self.readable.clear()
        messages = list(self.channel.receive())  # the descriptor is edge-triggered: first drain, then wait
        if messages:
            return messages
        try:
            async with asyncio.timeout(limit_s):
                await self.readable.wait()
        except TimeoutError:
            pass
        return list(self.channel.receive())

    def close(self) -> None:
        self.loop.remove_reader(self.channel.fileno())
        self.channel.close()


class Link:
    """Asks the front. Also opens lines for those who watch."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], directory: pathlib.Path) -> None:
        self.context, self.directory = context, directory
        self.idle: list[Line] = []
        self.room = asyncio.Semaphore(MAX_LINES)
        self.numbers = itertools.count()

    def open_line(self) -> Line:
        return Line(self.context, self.directory, f"http-{os.getpid()}-{next(self.numbers)}-{secrets.token_hex(4)}")

    async def ask(self, question: Message, limit_s: float = ANSWER_LIMIT_S) -> Message:
        """The answer, which may be Failed. Raises FrontAway if none comes in time."""
        line: Line | None = None
        try:
            async with asyncio.timeout(limit_s), self.room:
                line = self.idle.pop() if self.idle else self.open_line()
                answer = await self._ask(line, question)
                self.idle.append(line)
                line = None
                return answer
        except TimeoutError as failure:
            remedy = "`bellframe status` says which process is missing"
            raise FrontAway(f"the front did not answer {type(question).__name__} within {limit_s:g} s; {remedy}") from failure
        finally:
            if line is not None:
                line.close()

    async def _ask(self, line: Line, question: Message) -> Message:
        list(line.channel.receive())  # what an order before left behind
        line.send(question)
        while True:
            for message in await line.receive(ANSWER_LIMIT_S):
                if not is_outcome(message):
                    return message

    def close(self) -> None:
        for line in self.idle:
            line.close()
        self.idle.clear()


def is_outcome(message: Message) -> bool:
    """What became of an order that was taken before: it comes when the far end has answered, and may come amid another question."""
    return isinstance(message, HoldEnded | TransferEnded) or (isinstance(message, Failed) and bool(message.call_id))
