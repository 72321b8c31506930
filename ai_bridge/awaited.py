"""What somebody may wait for: a stretch of what is said, counted in samples of its turn at the call's line rate."""

import asyncio
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ai_bridge.speech import SpeechQueue


class Awaited:
    """A stretch of a turn's samples that somebody may wait for. Done once played to its end, or cut off."""

    def __init__(self, queue: "SpeechQueue", begins_at: int, ends_at: int | None) -> None:
        self.turn = queue.turn
        """The turn that it belongs to."""
        self.is_done = False
        self.was_interrupted = False
        """True once it is done and the caller did not get all of it."""
        self.queue, self.begins_at, self.ends_at = queue, begins_at, ends_at
        self.played = 0
        self.cut_ns: int | None = None  # when its turn was over
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def is_cut(self) -> bool:
        """Its turn is over: what was not heard yet never will be."""
        return self.turn != self.queue.turn or self.queue.is_closed

    def settle(self, played: int) -> None:
        """The turn got this far, and will not get farther as far as this stretch is concerned."""
        self.played = played
        self.is_done = True
        self.was_interrupted = self.ends_at is None or played < self.ends_at
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    def wait(self) -> Generator[Any, None, None]:
        if not self.is_done:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            yield from future


class Mark(Awaited):
    """A place in what is said. `await` it: True once the caller heard everything before it, False if that was cut off."""

    def __init__(self, queue: "SpeechQueue", name: str, ends_at: int) -> None:
        super().__init__(queue, ends_at, ends_at)
        self.name = name

    def __await__(self) -> Generator[Any, None, bool]:
        yield from self.wait()
        return not self.was_interrupted


class Press(Mark):
    """Keys that are being pressed. `await` it: True once all went out, False if they were cut off."""


def whole_words(text: str, length: int) -> str:
    """The words that lie within the first `length` characters."""
    if length >= len(text) or text[length].isspace():
        return text[:length]
    return text[: max((n + 1 for n in range(length) if text[n].isspace()), default=0)].rstrip()


class Utterance(Awaited):
    """Something said. `heard_ms = await utterance` once its last sample is on the wire, or it was interrupted."""

    def __init__(self, queue: "SpeechQueue", begins_at: int) -> None:
        super().__init__(queue, begins_at, None)
        self.began_ns = 0
        """CLOCK_MONOTONIC when its first frame went out, as the media worker tells it. 0: not yet, or never told."""
        self.first_ends_at: int | None = None  # its first frame, once it is said
        self._beginning: list[asyncio.Future[None]] = []
        self.samples = 0
        """How long it is, at the call's line rate; that of a stream grows."""
        self.texts: list[tuple[int, int, str]] = []  # samples from, to: what they say

    @property
    def heard_samples(self) -> int:
        """What went out on the wire so far, at the call's line rate: exact."""
        played = self.played if self.is_done else max(self.played, self.queue.played_of(self.turn))
        return max(0, min(self.own_samples(played), self.samples))

    def own_samples(self, played: int) -> int:
        """Those of it, where `played` of the turn are on the wire."""
        return played - self.begins_at

    @property
    def heard_ms(self) -> float:
        return self.heard_samples * 1000 / self.queue.rate_hz

    @property
    def text(self) -> str:
        """What it says, as far as whoever said it told."""
        return "".join(text for _, _, text in self.texts)

    @property
    def heard_text(self) -> str:
        """What of `text` the caller got: whole words. Within a stretch of text, words are taken to last as long as they are written."""
        heard, found = self.heard_samples, ""
        for begins, ends, text in self.texts:
            if heard < ends:
                share = max(0, heard - begins) / max(1, ends - begins)
                return found + whole_words(text, int(len(text) * share))
            found += text
        return found

    @property
    def duration_ms(self) -> float:
        return self.samples * 1000 / self.queue.rate_hz

    def begin(self, at_ns: int) -> None:
        """Its first frame is on the wire."""
        self.began_ns = self.began_ns or at_ns
        self._wake_beginning()

    async def begun(self) -> int:
        """Until its first frame is on the wire: `began_ns`. 0 if it was cut off before."""
        if not self.began_ns and not self.is_done:
            future = asyncio.get_running_loop().create_future()
            self._beginning.append(future)
            await future
        return self.began_ns

    def _wake_beginning(self) -> None:
        for future in self._beginning:
            if not future.done():
                future.set_result(None)
        self._beginning.clear()

    def settle(self, played: int) -> None:
        super().settle(played)
        self._wake_beginning()
        self.was_interrupted = self.ends_at is None or self.heard_samples < self.samples

    def __await__(self) -> Generator[Any, None, float]:
        yield from self.wait()
        return self.heard_ms

    def __repr__(self) -> str:
        state = "interrupted" if self.was_interrupted else "heard" if self.is_done else "under way"
        return f"{type(self).__name__}(turn={self.turn}, {self.heard_ms:.0f} of {self.duration_ms:.0f} ms, {state})"
