"""Whose code is running: said in shared memory around every step of it, for the process after ours to read.

An agent's code can take its whole process down (native code, a loop without end, all of the memory), and with it the agents of all other
calls. They go on in the next process; the one that did it must be told apart from them, or it does it again and again.
What runs in threads of its own is nobody's.
"""

import collections.abc
import contextlib
from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from shm.layout import AT_WORK, BRIDGE, GENERATION, Rings

Result = TypeVar("Result")
Rows = int | npt.NDArray[np.int64]
"""Of one call, or of those whose agents do their work together."""


class AtWork(collections.abc.Coroutine[Any, Any, Result]):
    """A coroutine of an agent's. In each of its steps, and in no moment between them, its calls are marked."""

    def __init__(self, work: collections.abc.Coroutine[Any, Any, Result], rings: Rings, rows: Rows, generations: Rows) -> None:
        self.work, self.words, self.rows, self.generations = work, rings.words, rows, generations

    def send(self, value: Any) -> Any:
        self.words[self.rows, AT_WORK] = self.generations
        try:
            return self.work.send(value)
        finally:
            self.words[self.rows, AT_WORK] = 0

    def throw(self, kind: Any, value: Any = None, trace: TracebackType | None = None) -> Any:
        self.words[self.rows, AT_WORK] = self.generations
        try:
            return self.work.throw(kind if value is None else value)
        finally:
            self.words[self.rows, AT_WORK] = 0

    def close(self) -> None:
        with at_work(self.words, self.rows, self.generations):
            self.work.close()

    def __await__(self) -> Generator[Any, Any, Result]:
        return self  # all that `await` asks of it: next, send, throw and close

    def __iter__(self) -> "AtWork[Result]":
        return self

    def __next__(self) -> Any:
        return self.send(None)


@contextlib.contextmanager
def at_work(words: npt.NDArray[np.int64], rows: Rows, generations: Rows) -> Iterator[None]:
    """The same around code that does not wait."""
    words[rows, AT_WORK] = generations
    try:
        yield
    finally:
        words[rows, AT_WORK] = 0


def take_marks(rings: Rings, bridge: int) -> tuple[int, ...]:
    """Rows of the calls at whose work the bridge before us ended. The marks are gone afterwards."""
    words = rings.words
    rows = np.flatnonzero((words[:, AT_WORK] != 0) & (words[:, AT_WORK] == words[:, GENERATION]) & (words[:, BRIDGE] == bridge))
    words[rows, AT_WORK] = 0
    return tuple(rows.tolist())
