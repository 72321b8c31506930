"""A process that does one kind of work: requests go in through a pipe, answers come out, each with its length before it.

    0        4
    +--------+----------------------------+
    | length | msgpack of a struct below  |      length: unsigned, little-endian, of what follows
    +--------+----------------------------+

It ends when its input ends, so it never outlives the process that started it, however that one died.
"""

import asyncio
import os
import signal
import struct
import sys
from collections.abc import Callable
from typing import BinaryIO, TypeVar

import msgspec

from control_plane.errors import BellframeError

LENGTH = struct.Struct("<I")
MAX_BYTES = 1 << 25  # ten minutes of speech at 22,050 Hz; more is not speech, but a broken pipe
NICENESS = 5  # whoever carries audio on this core goes first
NOT_INHERITED = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")  # the supervisor knows our parent, not us


class SpeechFailed(BellframeError):
    """This one request failed. The helper is there again for the next."""


class Request(msgspec.Struct, frozen=True, tag=True):
    pass


class Say(Request, frozen=True, tag=True):
    text: str
    voice: str
    words_per_minute: int


class Recognize(Request, frozen=True, tag=True):
    phrases: tuple[str, ...]
    rate_hz: int
    pcm: bytes


class Answer(msgspec.Struct, frozen=True, tag=True):
    pass


class Speech(Answer, frozen=True, tag=True):
    rate_hz: int
    pcm: bytes
    """int16, little-endian."""


class Heard(Answer, frozen=True, tag=True):
    phrase: str
    """Empty: nothing that could be a phrase."""
    score: float


class Refused(Answer, frozen=True, tag=True):
    why: str


AnswerType = TypeVar("AnswerType", bound=Answer)
encode = msgspec.msgpack.Encoder().encode
decode_request = msgspec.msgpack.Decoder(Say | Recognize).decode
decode_answer = msgspec.msgpack.Decoder(Speech | Heard | Refused).decode


def _frame(message: Request | Answer) -> bytes:
    octets = encode(message)
    return LENGTH.pack(len(octets)) + octets


# ---- in the helper ----------------------------------------------------------------------------------------


def serve(handle: Callable[[Say | Recognize], Answer]) -> None:
    """Answer requests on stdin until it ends. What a library prints on stdout goes to stderr."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; our input ends when the bridge does
    os.nice(NICENESS)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    try:
        while octets := _read(sys.stdin.buffer):
            answers.write(_frame(_handle(handle, octets)))
    except BrokenPipeError:
        return  # nobody waits for it any more


def _handle(handle: Callable[[Say | Recognize], Answer], octets: bytes) -> Answer:
    try:
        return handle(decode_request(octets))
    except (ValueError, RuntimeError, OSError, ImportError) as failure:
        return Refused(f"{type(failure).__name__}: {failure}")


def _read(stream: BinaryIO) -> bytes:
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return b""
    (length,) = LENGTH.unpack(head)
    return stream.read(length) if length <= MAX_BYTES else b""


# ---- in the process that wants something said or recognised --------------------------------------------------


class Helper:
    """One helper process and the queue in front of it. Started when first asked, and anew when it is gone."""

    def __init__(self, job: str) -> None:
        self.job = job
        """`synthesis` or `recognition`: what __main__.py is started with."""
        self.pid = 0
        self._process: asyncio.subprocess.Process | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()
        self._under_way: set[asyncio.Task[Answer]] = set()

    async def ask(self, request: Request, kind: type[AnswerType], timeout_s: float) -> AnswerType:
        """Raises SpeechFailed if the helper refuses, dies or takes too long. Who gives up waiting disturbs nobody else."""
        if self._loop is not asyncio.get_running_loop():
            self._process, self._loop, self._turn = None, asyncio.get_running_loop(), asyncio.Lock()
        exchange = self._loop.create_task(self._take_turn(request, timeout_s))
        self._under_way.add(exchange)
        exchange.add_done_callback(self._forget)
        answer = await asyncio.shield(exchange)
        if isinstance(answer, kind):
            return answer
        raise SpeechFailed(f"{self.job}: {answer.why if isinstance(answer, Refused) else type(answer).__name__}")

    def _forget(self, exchange: asyncio.Task[Answer]) -> None:
        self._under_way.discard(exchange)
        if not exchange.cancelled():
            exchange.exception()  # whoever asked may be gone: nobody else looks at it

    async def _take_turn(self, request: Request, timeout_s: float) -> Answer:
        async with self._turn:
            process = await self._running()
            try:
                return await asyncio.wait_for(self._exchange(process, request), timeout_s)
            except TimeoutError as failure:
                await self.close()
                raise SpeechFailed(f"{self.job}: no answer within {timeout_s:g} s; its process was ended") from failure
            except (asyncio.IncompleteReadError, OSError, ValueError) as failure:
                await self.close()
                raise SpeechFailed(f"{self.job}: its process ended during a request; the next one starts it anew") from failure

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
            pipe = asyncio.subprocess.PIPE
            command = (sys.executable, "-m", "ai_bridge.offline_speech", self.job)
            self._process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env=environment)
            self.pid = self._process.pid
        return self._process

    async def _exchange(self, process: asyncio.subprocess.Process, request: Request) -> Answer:
        assert process.stdin and process.stdout
        process.stdin.write(_frame(request))
        await process.stdin.drain()
        (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
        if length > MAX_BYTES:
            raise ValueError(f"an answer of {length} bytes")
        return decode_answer(await process.stdout.readexactly(length))

    async def close(self) -> None:
        """End the process. The next request starts another."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
