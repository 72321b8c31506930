"""What an agent says: from `say` to the ring, and back as "this much was heard".

Speech is counted in samples of its turn at the call's line rate, whole frames only. The worker counts what it put
on the wire the same way (shm/layout.py, PLAYED), so what a caller heard of an utterance is a subtraction. The mark
on an utterance's last frame is its end in that count: MARK_PLAYED explains itself, to a successor process as well.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from ai_bridge.awaited import Mark, Press, Utterance
from ai_bridge.frame import Pcm
from ai_bridge.kernels import say_frames
from ai_bridge.resample import Resampler
from control_plane.errors import Misuse
from shm import ring
from shm.layout import (
    DUCK_DB,
    ECHO_GUARD,
    FRAME_SAMPLES,
    FROM_AI_READ,
    FROM_AI_SLOTS,
    FROM_AI_WRITE,
    GENERATION,
    PAUSED,
    PLAYED,
    PLAYED_SAMPLES_BITS,
    PLAYED_SAMPLES_MASK,
    SAMPLE_RATE_HZ,
    TURN,
    Rings,
)

log = logging.getLogger(__name__)

MOST_WAITING_S = 60
"""Speech that may wait behind the piece that is going into the ring. A caller who holds for an hour must not fill the memory."""
PASSED_GRACE_NS = 40_000_000
"""The worker plays a later turn already: its TURN_ENDED for this one lies in the ring, unless we were lapped."""
UNTOUCHED_GRACE_NS = 500_000_000
"""The worker says nothing of a turn that was cut. It never began it, or it died and its successor (250 ms) will tell."""


def as_pcm16(samples: "Pcm | npt.NDArray[np.floating[Any]] | bytes | bytearray | memoryview") -> Pcm:
    """One dimension of int16, from int16, little-endian bytes, or floats within -1 to 1. Raises ValueError for the rest."""
    if isinstance(samples, bytes | bytearray | memoryview):
        if len(samples) % 2:
            raise ValueError(f"{len(samples)} bytes are not whole 16-bit samples: pass PCM16, and keep an odd byte for the next chunk")
        return np.frombuffer(samples, "<i2")
    pcm = np.asarray(samples)
    if pcm.ndim == 1 and pcm.dtype == np.int16:
        return pcm
    if pcm.ndim != 1:
        raise ValueError(f"audio of shape {pcm.shape}: the telephone has one channel, pass one dimension")
    if np.issubdtype(pcm.dtype, np.floating):
        return np.asarray(np.clip(np.nan_to_num(pcm) * 32768.0, -32768, 32767), np.int16)
    raise ValueError(f"audio of type {pcm.dtype}: pass int16, or floats within -1 to 1")


class SpeechStream(Utterance):
    """An utterance in chunks of any size, without gaps between them. What is less than a frame waits for more.

    async with call.stream(rate_hz=24_000) as speech:
        async for chunk in model.speak(text):
            if not await speech.write(chunk):
                break                           # interrupted: nobody hears the rest
    print(await speech)                         # milliseconds heard
    """

    def __init__(self, queue: "SpeechQueue", rate_hz: int, ahead_ms: int) -> None:
        super().__init__(queue, queue.said)
        self._rate_hz = rate_hz
        self._resampler = Resampler(rate_hz, queue.rate_hz) if rate_hz != queue.rate_hz else None
        self._ahead_samples = queue.rate_hz * min(ahead_ms, 1000 * MOST_WAITING_S) // 1000
        self._rest: Pcm = np.zeros(0, np.int16)
        self._keys_within: list[tuple[int, int]] = []

    def make_room(self, begins_at: int, samples: int) -> None:
        """Keys are pressed amid the stream: they are not part of what is heard of it."""
        self._keys_within.append((begins_at, samples))

    def own_samples(self, played: int) -> int:
        return played - self.begins_at - sum(max(0, min(played - begins_at, samples)) for begins_at, samples in self._keys_within)

    @property
    def rest_samples(self) -> int:
        """What is less than a frame, and waits for more."""
        return self._rest.size

    async def write(self, pcm: Pcm | bytes, text: str = "") -> bool:
        """Say more; waits while the caller is more than `ahead_ms` behind. False: it was interrupted. `text`: what these samples say."""
        while not self.is_cut and self.queue.is_full:  # of what was said before
            await self.queue.some_played()
        self.write_nowait(pcm, text)
        while not self.is_cut and self.queue.backlog() > self._ahead_samples:
            await self.queue.some_played()
        return not self.is_cut

    def write_nowait(self, pcm: Pcm | bytes, text: str = "") -> bool:
        """Say more without waiting. False: it was interrupted, or a minute waits already and this was dropped."""
        if self.is_cut:
            return False
        if self.ends_at is not None:
            raise Misuse("this stream was ended, by end() or by the next say() or stream(): open another with call.stream()")
        chunk = as_pcm16(pcm)
        if self.queue.refuses():
            return False
        if text:
            self.texts.append((self.samples, self.samples + round(chunk.size * self.queue.rate_hz / self._rate_hz), text))
        self._add(self._resampler.convert(chunk) if self._resampler else chunk)
        return True

    def end(self) -> None:
        """Nothing more comes. What is less than a frame goes out, filled up with silence."""
        if self.ends_at is None and not self.is_cut:
            if self._resampler:
                self._add(self._resampler.finish())
            self.queue.end(self, self._rest)

    def _add(self, pcm: Pcm) -> None:
        self.samples += pcm.size
        if self._rest.size:
            pcm = np.concatenate((self._rest, pcm))
            self._rest = pcm[:0]
        rest = pcm.size % self.queue.frame_samples
        if rest:
            self._rest = pcm[-rest:].copy()
            pcm = pcm[:-rest]
        if pcm.size:
            self.queue.push(pcm, mark=0)

    async def __aenter__(self) -> "SpeechStream":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None) -> None:
        self.end()


class SpeechQueue:
    """The agent's side of one call's `from_ai` ring, with what does not fit into it yet.

    No clock and no task: after `has_work`, call `poll` every 20 ms or so. `on_change` tells that work has come up,
    `on_settled` what was played, or cut.
    """

    def __init__(
        self,
        rings: Rings,
        row: int,
        generation: int,
        said: npt.NDArray[np.int64],
        on_change: Callable[["SpeechQueue"], None],
        on_settled: Callable[[Utterance | Mark], None],
    ) -> None:
        """`said` (calls,) holds each row's samples published or queued in its turn; say_batch counts there too."""
        self.rings, self.row, self.generation = rings, row, generation
        self._said, self._on_change, self._on_settled = said, on_change, on_settled
        self.rate_hz = int(rings.words[row, SAMPLE_RATE_HZ])
        self.frame_samples = int(rings.words[row, FRAME_SAMPLES])
        self.is_closed = False
        self.call_id = ""  # for the log
        self._has_warned = False
        self._chunks: deque[tuple[Pcm, int, int]] = deque()
        self._start = 0  # samples of the first chunk that are in the ring already
        self._pending: deque[Utterance | Mark] = deque()
        self._open: SpeechStream | None = None
        self._starting: Utterance | None = None  # nothing of it was said yet
        self.on_first: Callable[[Utterance], None] | None = None  # the first of an utterance is said
        self.on_begun: Callable[[Utterance], None] | None = None  # and on the wire
        self._writers: list[asyncio.Future[None]] = []
        self._played = (0, 0)
        self.turn, said[row] = self._take_over()

    def _take_over(self) -> tuple[int, int]:
        """The turn as whoever spoke before left it, and how many samples of it are on the wire or in the ring.

        A pause of theirs, and speaking softly, end here: nobody is left who knows of it, and would resume.
        """
        words = self.rings.words
        ring.store_word(words, self.row, PAUSED, 0)
        ring.store_word(words, self.row, DUCK_DB, 0)
        ring.store_word(words, self.row, ECHO_GUARD, 0)
        turn = ring.load_word(words, self.row, TURN)
        while True:
            read, played = ring.load_word(words, self.row, FROM_AI_READ), ring.load_word(words, self.row, PLAYED)
            slots = np.arange(read, ring.load_word(words, self.row, FROM_AI_WRITE)) & (FROM_AI_SLOTS - 1)
            waiting = self.rings.from_ai[self.row][slots]
            frames = int(np.count_nonzero((waiting["turn"] == turn) & (waiting["generation"] == self.generation)))
            if (read, played) == (ring.load_word(words, self.row, FROM_AI_READ), ring.load_word(words, self.row, PLAYED)):
                break  # else the worker took a frame meanwhile, which it does every 20 ms
        self._played = played >> PLAYED_SAMPLES_BITS, played & PLAYED_SAMPLES_MASK
        sent = self.played_of(turn) // self.frame_samples  # a frame that is partly sent is still in the ring
        return turn, (sent + frames) * self.frame_samples

    @property
    def said(self) -> int:
        """Samples of the turn that were published or are queued."""
        return int(self._said[self.row])

    @property
    def has_row(self) -> bool:
        """It is still ours: once a call's media is closed, its row may be another's before we hear of it."""
        return not self.is_closed and ring.load_word(self.rings.words, self.row, GENERATION) == self.generation

    @property
    def has_work(self) -> bool:
        """An open stream is none: nothing is to be found out about it before it ends or is cut."""
        return bool(self._chunks or self._writers or len(self._pending) > (self._open is not None))

    @property
    def is_speaking(self) -> bool:
        """Something said is not on the wire yet."""
        return not self.is_closed and self.backlog() > 0

    def played_of(self, turn: int) -> int:
        """Samples of this turn that are on the wire, as far as the worker's word still tells."""
        if not self.is_closed:
            played = ring.load_word(self.rings.words, self.row, PLAYED)
            if ring.load_word(self.rings.words, self.row, GENERATION) == self.generation:
                self._played = played >> PLAYED_SAMPLES_BITS, played & PLAYED_SAMPLES_MASK
        return self._played[1] if self._played[0] == turn else 0

    def backlog(self) -> int:
        """Samples said that are not on the wire."""
        return self.said - self.played_of(self.turn)

    @property
    def is_full(self) -> bool:
        """As much waits as may. The piece under way does not count: what is said after an hour of music is said."""
        if not self._chunks:
            return False
        under_way = self._chunks[0][0].size - self._start
        return self.backlog() - under_way > self.rate_hz * MOST_WAITING_S

    def refuses(self) -> bool:
        """True if what is to be said now must be dropped; warns of the first time."""
        if not self.is_full:
            return False
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "%d s of speech wait to be heard: what is said beyond is dropped. Wait with `await call.drained()` or"
                " `await stream.write()`, and be silent while on hold (on_hold)",
                MOST_WAITING_S,
                extra={"call_id": self.call_id},
            )
        return True

    # ---- saying ---------------------------------------------------------------------------------------------

    def say(self, pcm: Pcm) -> Utterance:
        """A complete utterance at the line rate, filled up to a whole frame."""
        self.end_open_stream()
        utterance = Utterance(self, self.said)
        utterance.samples = pcm.size
        if self.refuses():
            utterance.settle(0)  # on_interrupted is not told: an agent that answers it by saying more would never end
            return utterance
        self._add_pending(utterance)
        if not utterance.is_done:
            self.end(utterance, pcm)
        return utterance

    def stream(self, rate_hz: int, ahead_ms: int) -> SpeechStream:
        self.end_open_stream()
        self._open = SpeechStream(self, rate_hz, ahead_ms)
        self._add_pending(self._open)
        return self._open

    def mark(self, name: str, *, with_rest: bool = True) -> Mark:
        """A mark behind everything said so far. `with_rest`: also behind what is less than a frame, and waits for more of its stream."""
        rest = self._open.rest_samples if self._open and with_rest else 0
        ends_at = self.said + rest
        mark = Mark(self, name, ends_at)
        if self.played_of(self.turn) >= ends_at and not self.is_closed:
            mark.settle(ends_at)
            self._on_settled(mark)
        else:
            self._add_pending(mark)
        return mark

    def press(self, frames: list[tuple[int, Pcm]]) -> Press:
        """Keys and the silences behind them, in whole frames, after everything said so far (ai_bridge/keys.py).

        A stream that is open goes on behind them: whoever presses need not be the one who speaks.
        """
        samples = sum(pcm.size for _, pcm in frames)
        press = Press(self, "", self.said + samples)
        if self.refuses():
            press.settle(0)
            return press
        self._add_pending(press)
        if not press.is_done:
            if self._open is not None:
                self._open.make_room(self.said, samples)
            for key, pcm in frames[:-1]:
                self.push(pcm, 0, key)
            self.push(frames[-1][1], press.ends_at or 0, frames[-1][0])
        return press

    @property
    def is_pressing(self) -> bool:
        """Keys are on their way out: nobody's voice cuts them off by itself."""
        return any(isinstance(awaited, Press) and not awaited.is_cut for awaited in self._pending)

    def new_turn(self, now_ns: int) -> int:
        """Drop what is not on the wire. Returns the new turn; nothing of an older one is sent after the worker's next tick.

        A pause is not lifted.
        """
        turn = self.turn + 1
        if self.has_row:
            ring.set_turn(self.rings.words, self.row, turn)
        self.turn = turn
        self._said[self.row] = 0
        self._chunks.clear()
        self._start = 0
        self._open = self._starting = None
        for awaited in self._pending:
            if awaited.cut_ns is None:
                awaited.cut_ns = now_ns
        if self._pending:
            self._on_change(self)
        self._wake_writers()
        return turn

    def push(self, pcm: Pcm, mark: int, key: int = 0) -> None:
        """Whole frames of speech or of a key, in order. What the ring has no room for waits here.

        The first frame of an utterance has a mark of its own: the worker tells when it went out.
        """
        starting = self._starting
        if starting is not None and key == 0:
            self._starting = None
            starting.first_ends_at = self.said + self.frame_samples
            if self.on_first is not None:
                self.on_first(starting)
            if pcm.size > self.frame_samples:
                self._put(pcm[: self.frame_samples], starting.first_ends_at, 0)
                pcm = pcm[self.frame_samples :]
            else:
                mark = starting.first_ends_at
        self._put(pcm, mark, key)

    def _put(self, pcm: Pcm, mark: int, key: int) -> None:
        self._said[self.row] += pcm.size
        if not pcm.flags.c_contiguous:
            pcm = np.ascontiguousarray(pcm)
        if not self._chunks:
            self._start = say_frames(self.rings, self.row, self.generation, self.turn, mark, key, pcm, 0)
            if self._start == pcm.size:
                self._start = 0
                return
        # The caller's array may change before it is sent.
        self._chunks.append((pcm.copy(), mark, key))
        self._on_change(self)

    def end(self, utterance: Utterance, rest: Pcm) -> None:
        """The utterance ends with these samples, and silence up to a whole frame."""
        if self._open is utterance:
            self._open = None
        missing = -rest.size % self.frame_samples
        utterance.ends_at = ends_at = self.said + rest.size + missing
        if rest.size:
            self.push(np.concatenate((rest, np.zeros(missing, np.int16))) if missing else rest, ends_at)
        elif self._chunks and self._chunks[-1][1] == 0:
            self._chunks[-1] = (self._chunks[-1][0], ends_at, 0)
        self._progress(0)
        self._on_change(self)

    def end_open_stream(self) -> None:
        if self._open is not None:
            self._open.end()
            self._open = None

    def _add_pending(self, awaited: Utterance | Mark) -> None:
        if self.is_closed:
            awaited.settle(0)
            return
        self._pending.append(awaited)
        if isinstance(awaited, Utterance):
            self._starting = awaited
        self._on_change(self)

    def _pump(self) -> None:
        """Move what fits into the ring."""
        while self._chunks:
            pcm, mark, key = self._chunks[0]
            self._start = say_frames(self.rings, self.row, self.generation, self.turn, mark, key, pcm, self._start)
            if self._start < pcm.size:
                break
            self._chunks.popleft()
            self._start = 0

    # ---- what became of it ------------------------------------------------------------------------------------

    def poll(self, now_ns: int) -> None:
        """Refill the ring, and see what was played."""
        if self._chunks:
            self._pump()
        self._progress(now_ns)
        if self._writers:
            self._wake_writers()

    def receive_mark(self, turn: int, mark: int, at_ns: int) -> None:
        """MARK_PLAYED: `mark` samples of the turn are on the wire, the last of them since `at_ns`."""
        for awaited in self._pending:
            if isinstance(awaited, Utterance) and awaited.turn == turn and awaited.first_ends_at == mark:
                awaited.begin(at_ns)
                if self.on_begun is not None:
                    self.on_begun(awaited)
                break
        self._settle_played(turn, mark)

    def receive_turn_ended(self, turn: int, heard_samples: int) -> None:
        """TURN_ENDED: what is still open of this turn is settled; turns before it were never begun."""
        for awaited in [a for a in self._pending if a.turn <= turn]:
            self._settle(awaited, heard_samples if awaited.turn == turn else awaited.played)

    def close(self) -> None:
        """The call is over: everything is settled with what is known."""
        if not self.is_closed:
            self._progress(0)
            for awaited in list(self._pending):
                self._settle(awaited, self.played_of(awaited.turn) or awaited.played)
            self.is_closed = True
            self._chunks.clear()
            self._wake_writers()

    def _progress(self, now_ns: int) -> None:
        if not self._pending:
            return
        self.played_of(self.turn)
        turn, samples = self._played
        self._settle_played(turn, samples)
        for awaited in list(self._pending):
            grace_ns = PASSED_GRACE_NS if awaited.turn < turn else UNTOUCHED_GRACE_NS
            if awaited.cut_ns is not None and now_ns - awaited.cut_ns > grace_ns:
                self._settle(awaited, awaited.played)

    def _settle_played(self, turn: int, samples: int) -> None:
        played = []
        for awaited in self._pending:
            if awaited.turn == turn:
                awaited.played = max(awaited.played, samples)
                if awaited.ends_at is not None and awaited.ends_at <= samples:
                    played.append(awaited)
        for awaited in played:
            self._settle(awaited, samples)

    def _settle(self, awaited: Utterance | Mark, played: int) -> None:
        self._pending.remove(awaited)
        awaited.settle(played)
        self._on_settled(awaited)

    async def some_played(self) -> None:
        """Until the next poll."""
        future = asyncio.get_running_loop().create_future()
        self._writers.append(future)
        self._on_change(self)
        await future

    def _wake_writers(self) -> None:
        for future in self._writers:
            if not future.done():
                future.set_result(None)
        self._writers.clear()
